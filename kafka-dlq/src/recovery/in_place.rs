//! Records that wait for their next attempt where they are, for whoever looks, or steers.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::{Duration, SystemTime};

use kafka_client::{RawReceived, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::inspect::{Steer, Waiting};

/// Where a record stands.
type At = (TopicPartition, i64);

/// Those of one recovery. As many as handlers run.
#[derive(Default)]
pub(crate) struct InPlace(Mutex<BTreeMap<At, Entry>>);

struct Entry {
    key: Option<Vec<u8>>,
    attempts: u32,
    due: Option<SystemTime>,
    is_batch: bool,
    order: oneshot::Sender<Steer>,
}

/// A record that waits, until this is dropped.
pub(super) struct Waits<'p> {
    places: &'p InPlace,
    at: At,
    order: Option<oneshot::Receiver<Steer>>,
}

/// Whether somebody was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Yes,
    /// The record does not wait here.
    NotWaiting,
    /// Others are tried with it.
    Batch,
}

impl InPlace {
    pub(super) fn wait(&self, record: &RawReceived, attempts: u32, delay: Duration, is_batch: bool) -> Waits<'_> {
        let (order, ordered) = oneshot::channel();
        let at = (record.topic_partition(), record.offset());
        let key = record.key_bytes().map(<[u8]>::to_vec);
        let due = SystemTime::now().checked_add(delay);
        self.0.lock().insert(at.clone(), Entry { key, attempts, due, is_batch, order });
        Waits { places: self, at, order: Some(ordered) }
    }

    /// Those of a partition, by offset.
    pub(crate) fn of(&self, partition: &TopicPartition) -> Vec<Waiting> {
        let places = self.0.lock();
        let shown = |((_, offset), entry): (&At, &Entry)| Waiting {
            offset: *offset,
            key: entry.key.clone(),
            attempts: entry.attempts,
            due: entry.due,
            origin: None,
            behind: false,
        };
        places.range((partition.clone(), 0)..=(partition.clone(), i64::MAX)).map(shown).collect()
    }

    /// Does with a record what somebody wants.
    pub(crate) fn steer(&self, partition: &TopicPartition, offset: i64, steer: Steer) -> Heard {
        let mut places = self.0.lock();
        let at = (partition.clone(), offset);
        match places.get(&at) {
            None => Heard::NotWaiting,
            Some(entry) if entry.is_batch && steer != Steer::RetryNow => Heard::Batch,
            Some(_) => match places.remove(&at).map(|entry| entry.order.send(steer)) {
                Some(Ok(())) => Heard::Yes,
                _ => Heard::NotWaiting,
            },
        }
    }
}

impl Waits<'_> {
    /// Waits until somebody wants something. Cancel safe.
    pub(super) async fn steered(&mut self) -> Steer {
        if let Some(order) = &mut self.order {
            if let Ok(steer) = order.await {
                self.order = None;
                return steer;
            }
            self.order = None;
        }
        pending().await
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.places.0.lock().remove(&self.at);
    }
}
