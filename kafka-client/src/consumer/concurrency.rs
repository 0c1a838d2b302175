//! How many records of a partition are handled at the same time, and which of them wait for each other.

use std::time::Duration;

use super::keyed::KeyHash;

/// How many records of one partition a route handles at the same time, and in which order.
///
/// Offsets are committed up to the lowest unfinished record in any case, and what is finished beyond it rides in the
/// commit's metadata, so that a restart does not repeat it.
///
/// The handlers of a partition share one task, which suits handlers that wait for something. One that computes for long
/// should do so in `tokio::task::spawn_blocking` or in a task of its own.
///
/// ```
/// use kafka_client::Concurrency;
///
/// // Records of one key in their order, those of a hundred keys at the same time.
/// let by_key = Concurrency::by_key(100);
/// assert_ne!(by_key, Concurrency::by_partition());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    order: Order,
    width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Partition,
    Key,
    None,
}

impl Concurrency {
    /// One record after the other, in the order of the partition. The default; partitions run in parallel.
    pub fn by_partition() -> Self {
        Self { order: Order::Partition, width: 1 }
    }

    /// Up to `in_flight` records of a partition at the same time, those of one key one after the other in their order.
    /// Keys are compared as bytes; records without a key wait for nobody.
    pub fn by_key(in_flight: usize) -> Self {
        Self { order: Order::Key, width: in_flight }
    }

    /// Up to `in_flight` records of a partition at the same time, in any order.
    pub fn unordered(in_flight: usize) -> Self {
        Self { order: Order::None, width: in_flight }
    }

    /// How many records of a partition are handled at the same time.
    pub fn in_flight(&self) -> usize {
        self.width
    }

    /// Whether records of one key are handled one after the other.
    pub fn keeps_key_order(&self) -> bool {
        self.order != Order::None || self.width == 1
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// What a record waits for.
    #[inline]
    pub(super) fn key(&self, key: Option<&[u8]>) -> Option<KeyHash> {
        match self.order {
            Order::Key => key.map(KeyHash::of),
            Order::Partition | Order::None => None,
        }
    }
}

/// How records are put together for a handler of batches.
///
/// ```
/// use std::time::Duration;
/// use kafka_client::Batching;
///
/// let batching = Batching::up_to(1_000).linger(Duration::from_millis(200));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    pub(super) records: usize,
    pub(super) linger: Duration,
}

impl Batching {
    /// Batches of up to `records` records of one partition, handed over as soon as there are any.
    pub fn up_to(records: usize) -> Self {
        Self { records, linger: Duration::ZERO }
    }

    /// Sets how long the first record of a batch waits for others, overriding the default of not at all. A batch that is
    /// full does not wait.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }
}
