//! Handlers that wait: how long they really did, and whether the records of each key came in their order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kafka_client::{Concurrency, Error, Received};
use tokio::sync::Notify;

use super::{consumer, topic};
use crate::frame::{Load, Outcome, Sample};
use crate::meter::{Used, Window};

/// A run that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// What came of a run.
pub(super) struct Done {
    pub(super) used: Used,
    /// All handlers together; tokio's timer rounds up to the next millisecond.
    pub(super) slept: Duration,
    /// Whether each record of a key began after the one before it had ended.
    pub(super) order_kept: bool,
}

impl Done {
    /// What the sleeps take when always so many run at the same time.
    pub(super) fn ideal(&self, in_flight: usize) -> Used {
        Used { wall: self.slept / in_flight as u32, ..self.used }
    }
}

/// Reads the first records of a partition; the handler of each sleeps as long as `time` says for its offset.
pub(super) async fn run(
    load: &Load,
    (partition, records): (i32, u64),
    concurrency: Concurrency,
    time: impl Fn(i64) -> Duration + Send + Sync + 'static,
) -> Outcome<Done> {
    let work = Arc::new(Work { records, seen: Mutex::default(), last: Notify::new() });
    let handler = {
        let (work, time) = (work.clone(), Arc::new(time));
        move |record: Received<Vec<u8>, Vec<u8>>| {
            let (work, time) = (work.clone(), time(record.offset()));
            async move {
                work.handle(record.key(), record.offset(), time).await;
                Ok::<(), Error>(())
            }
        }
    };
    let consumer = consumer(load)
        .route_concurrent(&topic(load), concurrency, handler)
        .assign([(load.topic.as_str(), partition)])
        .build()?;
    tokio::select! {
        ended = consumer.run_until(work.last.notified()) => drop(ended?),
        () = tokio::time::sleep(PATIENCE) => {
            let seen = work.seen();
            return Err(format!("stuck: {} of {records} records were begun, {} handled", seen.begun, seen.handled).into());
        }
    }
    let seen = work.seen();
    let used = seen.used.ok_or_else(|| format!("{} of {records} records were handled", seen.handled))?;
    Ok(Done { used, slept: seen.slept, order_kept: !seen.disorder })
}

struct Work {
    records: u64,
    seen: Mutex<Seen>,
    last: Notify,
}

#[derive(Default)]
struct Seen {
    begun: u64,
    handled: u64,
    slept: Duration,
    /// Of each key: its last offset, and whether that is being handled.
    keys: HashMap<Vec<u8>, (i64, bool)>,
    disorder: bool,
    window: Option<Window>,
    used: Option<Used>,
}

impl Work {
    async fn handle(&self, key: &[u8], offset: i64, time: Duration) {
        let counts = self.begin(key, offset);
        let start = Instant::now();
        tokio::time::sleep(time).await;
        if counts {
            self.end(key, offset, start.elapsed());
        }
    }

    /// Whether the record counts: the topic may hold more, which keep the last ones of ours company.
    fn begin(&self, key: &[u8], offset: i64) -> bool {
        let mut seen = self.seen();
        if seen.begun == self.records {
            return false;
        }
        seen.begun += 1;
        seen.window.get_or_insert_with(Window::open);
        if let Some((before, busy)) = seen.keys.insert(key.to_vec(), (offset, true)) {
            seen.disorder |= busy || before >= offset;
        }
        true
    }

    fn end(&self, key: &[u8], offset: i64, slept: Duration) {
        let mut seen = self.seen();
        seen.slept += slept;
        seen.handled += 1;
        match seen.keys.get_mut(key) {
            Some((last, busy)) if *last == offset => *busy = false,
            _ => seen.disorder = true,
        }
        if seen.handled == self.records {
            seen.used = seen.window.map(Window::close);
            self.last.notify_one();
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Numbers stay numbers when a thread that held them panicked.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two sides of one run: what it took, and its ideal. Whichever side is asked for first runs, and leaves the other's
/// for when that is asked for in the same round.
pub(super) struct Halves(Mutex<[Option<Sample>; 2]>);

#[derive(Clone, Copy)]
pub(super) enum Half {
    Ours,
    Ideal,
}

impl Halves {
    pub(super) const fn new() -> Self {
        Self(Mutex::new([None, None]))
    }

    pub(super) fn ask(&self, half: Half, run: impl FnOnce() -> Outcome<[Sample; 2]>) -> Outcome<Sample> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sample) = left[half as usize].take() {
            return Ok(sample);
        }
        *left = run()?.map(Some);
        left[half as usize].take().ok_or_else(|| "the run told nothing".into())
    }
}
