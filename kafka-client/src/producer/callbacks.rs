//! Where callbacks, delivery hooks and acknowledgement interceptors run: on threads of their own.
//!
//! The event thread only puts jobs in line. One runner takes them in order. When it is stuck in one for longer than
//! [`PATIENCE`], another runner goes on with the rest, up to [`MOST_RUNNERS`]; so a slow callback delays nobody's
//! delivery, and other callbacks only for that long.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::outcome::Outcome;
use crate::interceptor::{Acknowledgement, AcknowledgementHook};

/// What `send_with` calls, once.
pub(super) type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// How long a callback may run before others stop waiting for it.
const PATIENCE: Duration = Duration::from_millis(10);
/// How many callbacks may be stuck at once before the others wait after all.
const MOST_RUNNERS: usize = 16;
/// How long a runner without work stays, unless it is the only one.
const LINGER: Duration = Duration::from_secs(1);

pub(super) enum Job {
    Callback(Callback, Outcome),
    Acknowledged(Acknowledgement),
}

/// The line of jobs, and the threads that run them.
pub(super) struct Runners {
    line: Mutex<Line>,
    ready: Condvar,
    begun: AtomicU64,
    hooks: Vec<Box<dyn AcknowledgementHook>>,
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    runners: usize,
    waiting: usize,
    closed: bool,
}

impl Runners {
    pub(super) fn new(hooks: Vec<Box<dyn AcknowledgementHook>>) -> Arc<Self> {
        Arc::new(Self { line: Mutex::default(), ready: Condvar::new(), begun: AtomicU64::new(0), hooks })
    }

    /// Whether anybody wants to hear of every acknowledgement.
    pub(super) fn hooked(&self) -> bool {
        !self.hooks.is_empty()
    }

    /// Puts an event's jobs in line.
    pub(super) fn push(self: &Arc<Self>, jobs: &mut Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut line = self.line.lock();
        line.jobs.extend(jobs.drain(..));
        if line.runners == 0 {
            self.add_runner(&mut line);
        } else if line.waiting > 0 {
            self.ready.notify_all();
        }
    }

    /// Whether jobs wait.
    pub(super) fn busy(&self) -> bool {
        !self.line.lock().jobs.is_empty()
    }

    fn add_runner(self: &Arc<Self>, line: &mut Line) {
        let runners = self.clone();
        match thread::Builder::new().name("kafka-callbacks".into()).spawn(move || runners.run()) {
            Ok(_) => line.runners += 1,
            Err(error) => tracing::error!(%error, "no thread to run delivery callbacks on"),
        }
    }

    /// Waits until every job has run, or the time is over; what is left then is dropped with a count.
    pub(super) fn close(&self, deadline: Instant) {
        let mut line = self.line.lock();
        while !(line.jobs.is_empty() && line.waiting == line.runners) {
            if self.ready.wait_until(&mut line, deadline).timed_out() {
                tracing::error!(left = line.jobs.len(), "delivery callbacks did not end in time");
                break;
            }
        }
        line.closed = true;
        line.jobs.clear();
        self.ready.notify_all();
    }

    fn run(&self) {
        let mut line = self.line.lock();
        loop {
            if let Some(job) = line.jobs.pop_front() {
                drop(line);
                self.begun.fetch_add(1, Ordering::Relaxed);
                self.job(job);
                line = self.line.lock();
                continue;
            }
            if line.closed {
                break;
            }
            line.waiting += 1;
            if line.waiting == line.runners {
                // `close` may wait for this moment.
                self.ready.notify_all();
            }
            let timed_out = self.ready.wait_for(&mut line, LINGER).timed_out();
            line.waiting -= 1;
            if timed_out && line.jobs.is_empty() && line.runners > 1 {
                break;
            }
        }
        line.runners -= 1;
        self.ready.notify_all();
    }

    fn job(&self, job: Job) {
        match job {
            Job::Callback(callback, outcome) => guarded("callback", || callback(outcome)),
            Job::Acknowledged(acknowledgement) => {
                for hook in &self.hooks {
                    guarded("acknowledgement hook", || hook.acknowledged(&acknowledgement));
                }
            }
        }
    }
}

/// The event thread's eye on the runners: how many jobs had been begun, and when that last changed.
pub(super) struct Watch {
    begun: u64,
    since: Instant,
}

impl Default for Watch {
    fn default() -> Self {
        Self { begun: 0, since: Instant::now() }
    }
}

impl Watch {
    /// Adds a runner where the others are stuck; to be called every few milliseconds while jobs wait.
    pub(super) fn look(&mut self, runners: &Arc<Runners>) {
        let begun = runners.begun.load(Ordering::Relaxed);
        let now = Instant::now();
        if begun != self.begun {
            *self = Self { begun, since: now };
            return;
        }
        let mut line = runners.line.lock();
        if line.jobs.is_empty() || line.waiting > 0 || now - self.since < PATIENCE {
            return;
        }
        if line.runners < MOST_RUNNERS {
            tracing::warn!(waiting = line.jobs.len(), "a delivery callback runs for long; others go on without it");
            runners.add_runner(&mut line);
        }
        self.since = now;
    }
}

/// Runs user code; a panic ends here and is told.
fn guarded(what: &'static str, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        tracing::error!(panic = panic_text(&*panic), "a {what} panicked; the delivery itself is not affected");
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
