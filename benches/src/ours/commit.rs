//! A commit that is waited for. Nobody commits by hand: under a bound of one record that a kill would repeat, the next
//! record is handed out when the commit of the one before is confirmed.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kafka_client::{ConsumerInterceptor, Incoming, Received, TopicPartition};
use tokio::sync::Notify;

use super::{consumer, runtime, topic};
use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;
use crate::trip::UNMEASURED;

/// From one record, whose handler does nothing, to the next; and to the interceptor that hears of its commit.
pub(crate) fn awaited(load: &Load) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let cycles = Arc::new(Cycles { records: load.messages, seen: Mutex::default(), last: Notify::new() });
        let handler = {
            let cycles = cycles.clone();
            move |_: Received<Vec<u8>, Vec<u8>>| {
                cycles.handled();
                async { Ok::<(), Infallible>(()) }
            }
        };
        let consumer = consumer(load)
            .route(&topic(load), handler)
            .interceptor(Confirmations(cycles.clone()))
            .max_duplicate_exposure(1)
            .assign([(load.topic.as_str(), 0)])
            .build()?;
        consumer.run_until(cycles.last.notified()).await?;
        cycles.sample()
    })
}

struct Cycles {
    records: u64,
    seen: Mutex<Seen>,
    last: Notify,
}

#[derive(Default)]
struct Seen {
    handled: u64,
    since: Option<Instant>,
    window: Option<Window>,
    cycles: Vec<Duration>,
    confirmations: Vec<Duration>,
}

impl Cycles {
    fn handled(&self) {
        let now = Instant::now();
        let mut seen = self.seen();
        seen.handled += 1;
        let before = seen.since.replace(now);
        if seen.handled > UNMEASURED {
            seen.window.get_or_insert_with(Window::open);
            seen.cycles.extend(before.map(|before| now - before));
        }
        if seen.handled == self.records {
            self.last.notify_one();
        }
    }

    fn confirmed(&self) {
        let mut seen = self.seen();
        if seen.handled > UNMEASURED
            && let Some(since) = seen.since
        {
            seen.confirmations.push(since.elapsed());
        }
    }

    fn sample(&self) -> Outcome<Sample> {
        let mut seen = self.seen();
        let used = seen.window.ok_or("too few records were handled")?.close();
        let to_confirmation = Sample::median_latency(&mut seen.confirmations, used)?.value;
        let sample = Sample::median_latency(&mut seen.cycles, used)?;
        Ok(Sample { figures: [Some(("to_confirmation", to_confirmation)), None, None], ..sample })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Numbers stay numbers when a thread that held them panicked.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Confirmations(Arc<Cycles>);

impl ConsumerInterceptor for Confirmations {
    fn on_receive(&self, _: &Incoming<'_>) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(())
    }

    fn on_commit(&self, _: &TopicPartition, _: i64) {
        self.0.confirmed();
    }
}
