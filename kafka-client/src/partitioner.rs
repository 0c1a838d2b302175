//! Partitioners: which partition a record goes to.

use std::error::Error as StdError;

use crate::headers::Headers;

/// Chooses the partition of a record.
///
/// Without one, keyed records go where a Java producer puts them (murmur2 of the encoded key), and records without a
/// key stay on one random partition for a moment, so that batches fill ("sticky"). A custom partitioner is asked in
/// the sender's task, for every way of sending, unless the record names its partition. Any
/// `Fn(&Unassigned) -> Option<i32>` is one.
///
/// ```
/// use kafka_client::{Partitioner, Unassigned};
///
/// /// Large customers have partition 0 for themselves.
/// fn by_size(record: &Unassigned<'_>) -> Option<i32> {
///     record.key().is_some_and(|key| key.starts_with(b"large-")).then_some(0)
/// }
/// # fn is_partitioner(_: impl Partitioner) {}
/// # is_partitioner(by_size);
/// ```
pub trait Partitioner: Send + Sync + 'static {
    /// The partition for this record; `None` leaves the choice to the default partitioner.
    ///
    /// # Errors
    /// The record is not sent, and the error is its cause. So is a partition that does not exist, or a panic.
    fn partition(&self, record: &Unassigned<'_>) -> Result<Option<i32>, Box<dyn StdError + Send + Sync>>;
}

impl<F: Fn(&Unassigned<'_>) -> Option<i32> + Send + Sync + 'static> Partitioner for F {
    fn partition(&self, record: &Unassigned<'_>) -> Result<Option<i32>, Box<dyn StdError + Send + Sync>> {
        Ok(self(record))
    }
}

/// A record without a partition.
#[derive(Debug)]
pub struct Unassigned<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a Headers,
    pub(crate) partitions: i32,
}

impl Unassigned<'_> {
    /// The topic.
    pub fn topic(&self) -> &str {
        self.topic
    }

    /// The encoded key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key
    }

    /// The encoded value.
    pub fn value(&self) -> Option<&[u8]> {
        self.value
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        self.headers
    }

    /// How many partitions the topic has; they are numbered from 0.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }
}
