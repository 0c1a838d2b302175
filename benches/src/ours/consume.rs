//! Consuming: borrowed batches, and a handler a record.

use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};

use kafka_client::{Error, RawBatch, Received, Topic, Utf8};
use tokio::sync::Notify;

use super::{consumer, runtime};
use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;

/// What handlers count. Lanes take turns on one thread here, so nobody waits for the lock.
#[derive(Default)]
pub(super) struct Tally {
    counts: Mutex<Counts>,
    pub(super) last: Notify,
}

#[derive(Default)]
struct Counts {
    messages: u64,
    bytes: usize,
    offsets: i64,
    window: Option<Window>,
    sample: Option<Sample>,
}

impl Tally {
    /// Counts records; the window opens at the first and closes at the last.
    pub(super) fn add(&self, messages: u64, bytes: usize, offsets: i64, expected: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.window.get_or_insert_with(Window::open);
        counts.messages += messages;
        counts.bytes += bytes;
        counts.offsets += offsets;
        if counts.messages >= expected && counts.sample.is_none() {
            counts.sample = counts.window.as_ref().map(|window| Sample::rate(counts.messages, window.close()));
            black_box((counts.bytes, counts.offsets));
            self.last.notify_one();
        }
    }

    pub(super) fn sample(&self) -> Outcome<Sample> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.sample.clone().ok_or_else(|| format!("only {} messages were consumed", counts.messages).into())
    }
}

/// Batches of borrowed records: every message is looked at, none is decoded.
pub(crate) fn batches(load: &Load) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let (tally, expected) = (Arc::new(Tally::default()), load.messages);
        let handler = {
            let tally = tally.clone();
            move |batch: RawBatch| {
                let (mut bytes, mut offsets) = (0, 0);
                for record in batch.iter() {
                    bytes += record.value().map_or(0, <[u8]>::len);
                    offsets += record.offset();
                }
                tally.add(batch.len() as u64, bytes, offsets, expected);
                async { Ok::<(), Error>(()) }
            }
        };
        let consumer = consumer(load).route_raw(load.topic.as_str(), handler).build()?;
        consumer.run_until(tally.last.notified()).await?;
        tally.sample()
    })
}

/// A handler that does nothing, for every typed record.
pub(crate) fn records(load: &Load) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let (tally, expected) = (Arc::new(Tally::default()), load.messages);
        let handler = {
            let tally = tally.clone();
            move |record: Received<String, String>| {
                tally.add(1, record.key().len() + record.value().len(), record.offset(), expected);
                async { Ok::<(), Error>(()) }
            }
        };
        let topic = Topic::new(load.topic.as_str(), Utf8, Utf8);
        let consumer = consumer(load).route(&topic, handler).build()?;
        consumer.run_until(tally.last.notified()).await?;
        tally.sample()
    })
}
