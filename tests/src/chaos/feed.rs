//! `Feed` produces the input without the toolkit: some of it at once, the rest evenly over the time of the plan.

mod sort;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

use sort::Produced;

use super::Dice;
use super::clock::Clock;

/// How long brokers may be away for the feed to wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much is there from the start, so that members have something to catch up with.
const AT_ONCE: f64 = 0.3;
const PAUSE: Duration = Duration::from_millis(5);

/// Records on their way.
#[derive(Debug)]
pub(super) struct Feed {
    thread: JoinHandle<()>,
}

/// What to produce.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) bootstrap: String,
    pub(super) topic: String,
    pub(super) records: usize,
    pub(super) keys: usize,
    pub(super) over: Duration,
    pub(super) sort: Sort,
    /// Where dead letters say that they come from.
    pub(super) origin: String,
}

pub(super) use sort::APPLICATION;
pub use sort::Sort;

impl Feed {
    /// Starts to produce. Keys are drawn at random.
    pub(super) fn start(flow: Flow, dice: Dice, clock: Arc<Clock>) -> Self {
        Self { thread: thread::spawn(move || produce(&flow, dice, &clock)) }
    }

    /// Waits until all is acknowledged.
    ///
    /// # Panics
    ///
    /// If it is not, in time.
    pub(super) fn join(self) {
        self.thread.join().unwrap_or_else(|_| panic!("the input could not be produced"));
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }
}

fn produce(flow: &Flow, mut dice: Dice, clock: &Clock) {
    // Idempotent: what it writes stands in the log once, and in order, whatever happens to brokers.
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &flow.bootstrap)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "2")
        .set("retry.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .create()
        .unwrap_or_else(|e| panic!("no producer: {e}"));
    let mut numbers: HashMap<usize, u64> = HashMap::new();
    let mut sent = 0;
    while sent < flow.records {
        let passed = clock.now().as_secs_f64() / flow.over.as_secs_f64().max(0.001);
        let due = flow.records as f64 * (AT_ONCE + (1.0 - AT_ONCE) * passed);
        while sent < flow.records && (sent as f64) < due {
            let key = dice.number(0..flow.keys);
            let number = numbers.entry(key).or_default();
            let record = flow.sort.record(&mut dice, key, *number, sent, &flow.origin);
            send(&producer, &flow.topic, &record);
            (*number, sent) = (*number + 1, sent + 1);
        }
        producer.poll(PAUSE);
    }
    let flushed = producer.flush(PATIENCE);
    flushed.unwrap_or_else(|e| panic!("{} was not acknowledged: {e}", flow.topic));
}

fn send(producer: &BaseProducer, topic: &str, produced: &Produced) {
    let deadline = Instant::now() + PATIENCE;
    let mut record = produced.for_topic(topic);
    while let Err((e, unsent)) = producer.send(record) {
        let full = e == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert!(full && Instant::now() < deadline, "producing to {topic} failed: {e}");
        producer.poll(PAUSE);
        record = unsent;
    }
}
