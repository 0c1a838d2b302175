//! Transactions of a producer, each way.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use kafka_client::{Kafka, TransactionalProducer};

use super::{Plain, runtime, topic};
use crate::audit::{Audit, Found, Stamp};
use crate::frame::{self, Load, MAX_IN_FLIGHT, Outcome, PARTITIONS, Sample};
use crate::meter::{Used, Window};

/// Records of a large transaction.
pub(crate) const LARGE: u64 = 10_000;
/// Producers of large transactions at a time.
const LANES: u64 = 4;
/// How long a transaction collects where time decides, and how many records a batch of it has.
const INTERVAL: Duration = Duration::from_millis(100);
const BATCH: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn of_ten(load: &Load) -> Outcome<Sample> {
    one_after_the_other(load, load.messages, 10)
}

/// A tenth of them: each waits for its commit.
pub(crate) fn of_one(load: &Load) -> Outcome<Sample> {
    one_after_the_other(load, load.messages / 10, 1)
}

pub(crate) fn large(load: &Load) -> Outcome<Sample> {
    one_after_the_other(load, load.messages, LARGE)
}

fn one_after_the_other(load: &Load, messages: u64, size: u64) -> Outcome<Sample> {
    audited(load, |stamp| {
        runtime()?.block_on(async {
            let mut writer = Writer::start(load, stamp, 0).await?;
            let window = Window::open();
            writer.write(0..messages, size).await?;
            let used = window.close();
            writer.close().await?;
            Ok((messages, messages + WARM_UP, used))
        })
    })
}

/// Several producers, each with an id of its own: one commits while others send.
pub(crate) fn large_in_lanes(load: &Load) -> Outcome<Sample> {
    audited(load, |stamp| {
        runtime()?.block_on(async {
            let mut writers = try_join_all((0..LANES).map(|lane| Writer::start(load, stamp, lane))).await?;
            // Whole transactions for each.
            let each = (load.messages / LANES / LARGE).max(1) * LARGE;
            let window = Window::open();
            let shares =
                writers.iter_mut().zip(0..).map(|(writer, lane)| writer.write(lane * each..(lane + 1) * each, LARGE));
            try_join_all(shares).await?;
            let used = window.close();
            for writer in writers {
                writer.close().await?;
            }
            Ok((each * LANES, (each + WARM_UP) * LANES, used))
        })
    })
}

/// As many records as an interval takes, up to those of the load.
pub(crate) fn of_an_interval(load: &Load) -> Outcome<Sample> {
    audited(load, |stamp| {
        runtime()?.block_on(async {
            let mut writer = Writer::start(load, stamp, 0).await?;
            // Ten transactions, whatever they hold.
            let mut sent = 0;
            let window = Window::open();
            for _ in 0..10 {
                sent = writer.write_until(Instant::now() + INTERVAL, sent).await?;
            }
            let used = window.close();
            writer.close().await?;
            Ok((sent, sent + WARM_UP, used))
        })
    })
}

/// Runs a side, which tells how many records count, how many are in the log, and what they took; and looks after it.
pub(crate) fn audited(load: &Load, side: impl FnOnce(Stamp) -> Outcome<(u64, u64, Used)>) -> Outcome<Sample> {
    let audit = Audit::open(&load.bootstrap, &load.topic);
    let (counted, records, used) = side(audit.stamp())?;
    let Found { transactions, .. } = audit.close(records)?;
    let sample = Sample::rate(counted, used);
    Ok(Sample { figures: [Some(("markers_of_a_partition", transactions as f64)), None, None], ..sample })
}

/// Records that each writer sends before the clock starts.
pub(crate) const WARM_UP: u64 = PARTITIONS as u64;

/// The number of a record of the warm-up.
pub(crate) fn of_warm_up(lane: u64, partition: i32) -> u64 {
    (1 << 62) + lane * WARM_UP + u64::from(partition.unsigned_abs())
}

struct Writer {
    producer: TransactionalProducer,
    topic: Plain,
    keys: Vec<[u8; 8]>,
    stamp: Stamp,
}

impl Writer {
    /// One transaction on all partitions: connection, producer id and metadata are there when the clock starts.
    async fn start(load: &Load, stamp: Stamp, lane: u64) -> Outcome<Self> {
        let settings = transactional_settings(load);
        let producer = Kafka::connect(&load.bootstrap)
            .transactional_producer(format!("{}-{lane}-{:08x}", load.topic, frame::random() as u32))
            .producer(move |builder| {
                let builder = builder.max_in_flight_records(MAX_IN_FLIGHT as usize);
                settings.iter().fold(builder, |builder, (key, value)| builder.set(*key, value.as_str()))
            })
            .build()
            .await?;
        let mut writer = Self { producer, topic: topic(load), keys: Load::keys(), stamp };
        let topic = &writer.topic;
        writer
            .producer
            .transaction(async |tx| {
                for partition in 0..PARTITIONS {
                    let value = stamp.value(of_warm_up(lane, partition));
                    tx.send(topic.record(b"warm up!", &value).partition(partition)).await?;
                }
                Ok(())
            })
            .await?;
        Ok(writer)
    }

    async fn write(&mut self, numbers: std::ops::Range<u64>, size: u64) -> Outcome<()> {
        let Self { producer, topic, keys, stamp } = self;
        let mut values = Vec::with_capacity(size as usize);
        for from in numbers.clone().step_by(size as usize) {
            let some = from..numbers.end.min(from + size);
            values.clear();
            values.extend(some.clone().map(|number| stamp.value(number)));
            let records = values.iter().zip(some).map(|(value, number)| topic.record(key(keys, number), value));
            producer
                .transaction(async |tx| {
                    tx.send_batch(records).await?;
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    /// One transaction; the number behind its last record.
    async fn write_until(&mut self, end: Instant, mut next: u64) -> Outcome<u64> {
        let Self { producer, topic, keys, stamp } = self;
        let next = producer
            .transaction(async |tx| {
                while Instant::now() < end {
                    let some = next..next + BATCH;
                    let values: Vec<_> = some.clone().map(|number| stamp.value(number)).collect();
                    let records = values.iter().zip(some).map(|(value, number)| topic.record(key(keys, number), value));
                    tx.send_batch(records).await?;
                    next += BATCH;
                    // A steady flow, which leaves the broker its breath.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Ok(next)
            })
            .await?;
        Ok(next)
    }

    async fn close(self) -> Outcome<()> {
        match self.producer.close(PATIENCE).await.is_complete() {
            true => Ok(()),
            false => Err("records were left behind".into()),
        }
    }
}

fn key(keys: &[[u8; 8]], number: u64) -> &[u8; 8] {
    &keys[number as usize % keys.len()]
}

/// What all transactional sides set; our own bound is the bound that the twin keeps itself.
fn transactional_settings(load: &Load) -> Vec<(&'static str, String)> {
    load.producer_settings().into_iter().filter(|(key, _)| !key.starts_with("queue.buffering.max.")).collect()
}
