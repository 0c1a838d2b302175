//! Read, and written on: exactly once, and without transactions.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_client::{
    BatchError, Bytes, Completion, ConsumerBuilder, ConsumerInterceptor, Error, Incoming, Kafka, ProducerBuilder,
    Received, Topic, TopicPartition,
};
use tokio::sync::Notify;

use super::{Plain, consumer, producer, runtime, topic};
use crate::audit::{Audit, Found};
use crate::frame::{self, Load, MAX_IN_FLIGHT, Outcome, Sample};
use crate::meter::{Used, Window};

/// A run that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// When a transaction is committed.
#[derive(Clone, Copy)]
struct Pace {
    lanes: usize,
    records: usize,
    interval: Duration,
}

/// By size alone, but for the last transaction of each lane, which comes to an end after this.
const LONG: Duration = Duration::from_secs(1);
/// The part of the records until which the time is taken: the last transactions are not full, and wait.
const COUNTED_PERCENT: u64 = 95;

pub(crate) fn in_one_lane(load: &Load) -> Outcome<Sample> {
    exactly_once(load, Pace { lanes: 1, records: 10_000, interval: LONG })
}

pub(crate) fn in_four_lanes(load: &Load) -> Outcome<Sample> {
    exactly_once(load, Pace { lanes: 4, records: 10_000, interval: LONG })
}

pub(crate) fn at_an_interval(load: &Load) -> Outcome<Sample> {
    exactly_once(load, Pace { lanes: 1, records: 1_000_000, interval: Duration::from_millis(100) })
}

/// A record as it comes.
pub(super) type Input = Received<Vec<u8>, Vec<u8>>;

fn exactly_once(load: &Load, pace: Pace) -> Outcome<Sample> {
    copied(load, |progress| {
        runtime()?.block_on(async {
            let (consumers, producers, commits) = (load.clone(), load.clone(), Commits(progress.clone()));
            let (out, copying) = (output(load), progress.clone());
            let pipeline = Kafka::connect(&load.bootstrap)
                .exactly_once(group(load))
                .from(&topic(load))
                .lanes(pace.lanes)
                .max_records(pace.records)
                .commit_interval(pace.interval)
                .transaction_timeout(LONG * 10)
                .consumer(move |builder| configured(builder, &consumers).interceptor(commits))
                .producer(move |builder| producing(builder, &producers))
                .process(move |batch, tx| {
                    let (out, copying) = (out.clone(), copying.clone());
                    async move {
                        copying.begun();
                        tx.send_batch(batch.iter().map(|record| out.record(record.key(), record.value()))).await?;
                        Ok(())
                    }
                });
            progress.run(pipeline.run_until(progress.last.notified())).await
        })
    })
}

/// The same consumer and the same work; a batch is finished when its records are acknowledged, and the next one is begun
/// before that.
pub(crate) fn without_transactions(load: &Load) -> Outcome<Sample> {
    copied(load, |progress| {
        runtime()?.block_on(async {
            let (out, copying, producer) = (output(load), progress.clone(), producer(load, MAX_IN_FLIGHT)?);
            let handler = move |batch: Vec<Input>| {
                copying.begun();
                let (out, copying, producer) = (out.clone(), copying.clone(), producer.clone());
                async move {
                    Ok::<_, Error>(Completion::later(async move {
                        let records: Vec<_> =
                            batch.iter().map(|record| out.record(record.key(), record.value())).collect();
                        copying.finished(producer.send_batch(records).await? as u64);
                        Ok::<_, BatchError>(())
                    }))
                }
            };
            let consumer = consumer(load).route_batch(&topic(load), handler).build()?;
            progress.run(consumer.run_until(progress.last.notified())).await
        })
    })
}

/// Runs a side, and looks after it: whatever it did, each record is there once.
fn copied(load: &Load, side: impl FnOnce(Arc<Progress>) -> Outcome<Used>) -> Outcome<Sample> {
    let audit = Audit::open(&load.bootstrap, &load.output).of_numbers();
    let progress = Arc::new(Progress { records: load.messages, seen: Mutex::default(), last: Notify::new() });
    let used = side(progress.clone())?;
    let Found { transactions, .. } = audit.close(load.messages)?;
    let sample = Sample::rate(progress.seen().counted, used);
    Ok(Sample { figures: [Some(("markers_of_a_partition", transactions as f64)), None, None], ..sample })
}

pub(super) fn output(load: &Load) -> Plain {
    Topic::new(load.output.as_str(), Bytes, Bytes)
}

/// Of this round alone.
pub(super) fn group(load: &Load) -> String {
    format!("{}-{:08x}", load.topic, frame::random() as u32)
}

fn configured(builder: ConsumerBuilder, load: &Load) -> ConsumerBuilder {
    let settings = load.consumer_settings().into_iter().filter(|(key, _)| *key != "group.id");
    settings.fold(builder.max_batch_records(1000), |builder, (key, value)| builder.set(key, value))
}

fn producing(builder: ProducerBuilder, load: &Load) -> ProducerBuilder {
    let settings = load.producer_settings().into_iter().filter(|(key, _)| !key.starts_with("queue.buffering.max."));
    let builder = builder.max_in_flight_records(MAX_IN_FLIGHT as usize);
    settings.fold(builder, |builder, (key, value)| builder.set(key, value))
}

/// How far a run is. The clock starts at the first batch.
struct Progress {
    records: u64,
    seen: Mutex<Seen>,
    last: Notify,
}

#[derive(Default)]
struct Seen {
    window: Option<Window>,
    finished: u64,
    /// How many were finished when the clock was stopped.
    counted: u64,
    committed: BTreeMap<i32, i64>,
    used: Option<Used>,
}

impl Progress {
    fn begun(&self) {
        self.seen().window.get_or_insert_with(Window::open);
    }

    fn finished(&self, records: u64) {
        let mut seen = self.seen();
        seen.finished += records;
        self.look(&mut seen);
    }

    /// What is behind an offset of a partition, whose first is 0, is committed.
    fn committed(&self, partition: i32, offset: i64) {
        let mut seen = self.seen();
        seen.committed.insert(partition, offset);
        seen.finished = seen.committed.values().sum::<i64>() as u64;
        self.look(&mut seen);
    }

    fn look(&self, seen: &mut Seen) {
        if seen.finished >= self.records * COUNTED_PERCENT / 100 && seen.used.is_none() {
            (seen.used, seen.counted) = (seen.window.map(Window::close), seen.finished);
        }
        if seen.finished >= self.records {
            self.last.notify_one();
        }
    }

    async fn run<T>(&self, running: impl Future<Output = Result<T, Error>>) -> Outcome<Used> {
        match tokio::time::timeout(PATIENCE, running).await {
            Ok(ended) => drop(ended?),
            Err(_) => return Err(format!("stuck at {} of {} records", self.seen().finished, self.records).into()),
        }
        self.seen().used.ok_or_else(|| "it ended before its end".into())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Numbers stay numbers when a thread that held them panicked.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Commits(Arc<Progress>);

impl ConsumerInterceptor for Commits {
    fn on_receive(&self, _: &Incoming<'_>) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(())
    }

    fn on_commit(&self, partition: &TopicPartition, offset: i64) {
        self.0.committed(partition.partition(), offset);
    }
}
