//! Where callbacks, delivery hooks and acknowledgement interceptors run: on threads of their own.
//!
//! The event thread only puts jobs in line. One runner takes them in order. When it is stuck in one for longer than
//! [`PATIENCE`], another runner takes its place and goes on with the rest, while up to [`MOST_RUNNERS`] are stuck; so a
//! slow callback delays nobody's delivery, and other callbacks only for that long.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use smallbox::SmallBox;
use smallbox::space::S4;

use super::outcome::Outcome;
use super::slot::Slot;
use crate::interceptor::{Acknowledgement, AcknowledgementHook};

/// What `send_with` calls, once. A closure of up to four words is kept in place, a larger one in a box.
pub(super) struct Callback(SmallBox<dyn Call, S4>);

/// A `FnOnce` that can be called where it stands.
trait Call: Send {
    /// Calls it; the second time, nothing happens.
    fn call(&mut self, outcome: Outcome);
}

impl<F: FnOnce(Outcome) + Send> Call for Option<F> {
    fn call(&mut self, outcome: Outcome) {
        if let Some(callback) = self.take() {
            callback(outcome);
        }
    }
}

impl Callback {
    #[inline]
    pub(super) fn new(callback: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self(smallbox::smallbox!(Some(callback)))
    }

    pub(super) fn call(mut self, outcome: Outcome) {
        self.0.call(outcome);
    }
}

/// How long a callback may run before others stop waiting for it.
const PATIENCE: Duration = Duration::from_millis(10);
/// How many callbacks may be stuck at once before the others wait after all.
const MOST_RUNNERS: usize = 16;

pub(super) enum Job {
    /// Calls the callback of this slot with its result.
    Callback(Called),
    Acknowledged(Box<Acknowledgement>),
}

/// A slot whose callback is to be called. Dropping it drops the callback.
pub(super) struct Called(&'static Slot);

impl Called {
    #[inline]
    pub(super) fn new(slot: &'static Slot) -> Self {
        Self(slot)
    }

    fn call(self) {
        let (callback, outcome) = self.0.take_callback();
        // The slot is somebody else's from here on.
        mem::forget(self);
        if let Some(callback) = callback {
            callback.call(outcome);
        }
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        drop(self.0.take_callback());
    }
}

/// The line of jobs, and the threads that run them.
pub(super) struct Runners {
    line: Mutex<Line>,
    /// Runners wait here for jobs.
    ready: Condvar,
    /// `close` waits here for the runners.
    idle: Condvar,
    hooks: Vec<Box<dyn AcknowledgementHook>>,
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    hands: Vec<Arc<Hand>>,
    waiting: usize,
    closed: bool,
}

/// What a runner has taken out of the line. It can be taken back when the runner is stuck.
struct Hand {
    jobs: Mutex<VecDeque<Job>>,
    begun: AtomicU64,
    /// The event thread's last look: how many jobs had been begun, and since when.
    seen: Mutex<(u64, Instant)>,
    /// Whether another runner has taken the place of this one, which ends when it is done with what it is stuck in.
    /// Of the others there is one: so jobs begin in their order. Changed under the lock of the line.
    replaced: AtomicBool,
}

impl Runners {
    pub(super) fn new(hooks: Vec<Box<dyn AcknowledgementHook>>) -> Arc<Self> {
        Arc::new(Self { line: Mutex::default(), ready: Condvar::new(), idle: Condvar::new(), hooks })
    }

    /// Whether anybody wants to hear of every acknowledgement.
    pub(super) fn hooked(&self) -> bool {
        !self.hooks.is_empty()
    }

    /// Puts an event's jobs in line.
    pub(super) fn push(self: &Arc<Self>, jobs: &mut VecDeque<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut line = self.line.lock();
        if line.jobs.is_empty() {
            mem::swap(&mut line.jobs, jobs);
        } else {
            line.jobs.append(jobs);
        }
        if line.hands.is_empty() {
            self.add_runner(&mut line);
        } else if line.waiting > 0 {
            self.ready.notify_one();
        }
    }

    /// Whether jobs wait, or run.
    pub(super) fn busy(&self) -> bool {
        let line = self.line.lock();
        !line.jobs.is_empty() || line.waiting < line.hands.len()
    }

    /// Looks after the runner, to be called every few milliseconds while [`busy`](Self::busy): when it is stuck,
    /// another one takes its place, what it holds, and the line.
    pub(super) fn watch(self: &Arc<Self>) {
        let mut line = self.line.lock();
        if let Some(hand) = line.hands.iter().find(|hand| !hand.is_replaced()).cloned() {
            if line.waiting > 0 || !hand.is_stuck(Instant::now()) {
                return;
            }
            // Older than anything in the line.
            let mut held = mem::take(&mut *hand.jobs.lock());
            held.append(&mut line.jobs);
            line.jobs = held;
            if line.jobs.is_empty() || line.hands.len() >= MOST_RUNNERS {
                return;
            }
            tracing::warn!(waiting = line.jobs.len(), "a delivery callback runs for long; others go on without it");
            hand.replaced.store(true, Ordering::Relaxed);
        }
        if !line.jobs.is_empty() && line.hands.len() < MOST_RUNNERS {
            self.add_runner(&mut line);
        }
    }

    fn add_runner(self: &Arc<Self>, line: &mut Line) {
        let hand = Arc::new(Hand {
            jobs: Mutex::default(),
            begun: AtomicU64::new(0),
            seen: Mutex::new((0, Instant::now())),
            replaced: AtomicBool::new(false),
        });
        let (runners, mine) = (self.clone(), hand.clone());
        match thread::Builder::new().name("kafka-callbacks".into()).spawn(move || runners.run(&mine)) {
            Ok(_) => line.hands.push(hand),
            Err(error) => tracing::error!(%error, "no thread to run delivery callbacks on"),
        }
    }

    /// Waits until every job has run, or the time is over; what is left then is dropped with a count.
    pub(super) fn close(self: &Arc<Self>, deadline: Instant) {
        let mut line = self.line.lock();
        while !line.jobs.is_empty() || line.waiting < line.hands.len() {
            let now = Instant::now();
            if now >= deadline {
                let left = line.jobs.len() + line.hands.iter().map(|hand| hand.jobs.lock().len()).sum::<usize>();
                tracing::error!(left, "delivery callbacks did not end in time");
                line.hands.iter().for_each(|hand| hand.jobs.lock().clear());
                line.jobs.clear();
                break;
            }
            self.idle.wait_until(&mut line, deadline.min(now + PATIENCE));
            MutexGuard::unlocked(&mut line, || self.watch());
        }
        line.closed = true;
        self.ready.notify_all();
    }

    fn run(&self, hand: &Arc<Hand>) {
        loop {
            while let Some(job) = hand.next() {
                // Nobody else writes it.
                hand.begun.store(hand.begun.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                self.job(job);
            }
            let mut line = self.line.lock();
            if hand.is_replaced() || (line.jobs.is_empty() && !self.wait(&mut line)) {
                line.hands.retain(|other| !Arc::ptr_eq(other, hand));
                self.idle.notify_all();
                return;
            }
            // The whole line, by exchange: nothing is moved, and what a stuck runner holds can be taken back.
            mem::swap(&mut *hand.jobs.lock(), &mut line.jobs);
        }
    }

    /// Waits for jobs; `false` when the runner is to end.
    fn wait(&self, line: &mut MutexGuard<'_, Line>) -> bool {
        if line.closed {
            return false;
        }
        line.waiting += 1;
        if line.waiting == line.hands.len() {
            self.idle.notify_all();
        }
        self.ready.wait(line);
        line.waiting -= 1;
        !line.closed || !line.jobs.is_empty()
    }

    fn job(&self, job: Job) {
        match job {
            Job::Callback(called) => guarded("callback", || called.call()),
            Job::Acknowledged(acknowledgement) => {
                for hook in &self.hooks {
                    guarded("acknowledgement hook", || hook.acknowledged(&acknowledgement));
                }
            }
        }
    }
}

impl Hand {
    fn next(&self) -> Option<Job> {
        self.jobs.lock().pop_front()
    }

    fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Whether no further job was begun for a while.
    fn is_stuck(&self, now: Instant) -> bool {
        let begun = self.begun.load(Ordering::Relaxed);
        let mut seen = self.seen.lock();
        if begun != seen.0 {
            *seen = (begun, now);
        }
        now - seen.1 >= PATIENCE
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
