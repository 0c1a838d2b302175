//! What the user's code is given, and what it says.

use std::ops::Deref;

use crate::error::Error;
use crate::record::RawRecord;

/// Records to be processed in one transaction, in the order of each partition.
///
/// ```
/// # fn example(batch: kafka_client::Batch<kafka_client::Received<String, u64>>) {
/// let sum: u64 = batch.iter().map(|record| record.value()).sum();
/// for record in &batch {
///     println!("{} of {sum}", record.value());
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Batch<I> {
    records: Vec<I>,
}

impl<I> Batch<I> {
    pub(super) fn new(records: Vec<I>) -> Self {
        Self { records }
    }
}

impl<I> Deref for Batch<I> {
    type Target = [I];

    fn deref(&self) -> &[I] {
        &self.records
    }
}

impl<I> IntoIterator for Batch<I> {
    type Item = I;
    type IntoIter = std::vec::IntoIter<I>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

impl<'a, I> IntoIterator for &'a Batch<I> {
    type Item = &'a I;
    type IntoIter = std::slice::Iter<'a, I>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.iter()
    }
}

/// What becomes of a transaction after a batch. `()` is [`Decision::GoOn`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The batch is processed; the transaction goes on until its interval is over or it is large enough.
    #[default]
    GoOn,
    /// The batch is processed, and the transaction is committed now.
    Commit,
    /// Only the first records of the batch are processed, so many; the transaction is committed with them now. The others
    /// are read again: nothing of what was sent may have been made of them.
    CommitUpTo(usize),
    /// The transaction is aborted, and its records are read again after a pause.
    Abort,
}

impl From<()> for Decision {
    fn from((): ()) -> Self {
        Self::GoOn
    }
}

/// A record that cannot be processed: it could not be decoded, or its processing failed again and again, alone in its
/// transaction.
#[derive(Debug)]
pub struct Poisoned {
    pub(super) record: RawRecord,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) error: Error,
}

impl Poisoned {
    /// The record as bytes, to send on as it is; without its partition.
    pub fn record(&self) -> &RawRecord {
        &self.record
    }

    /// The record, owned.
    pub fn into_record(self) -> RawRecord {
        self.record
    }

    /// The topic it was read from.
    pub fn topic(&self) -> &str {
        self.record.topic()
    }

    /// The partition it was read from.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its offset there.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Why it cannot be processed.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

/// What was undone: the records of an aborted transaction, which will be read again by whoever owns their partitions then.
#[derive(Debug)]
pub struct Undone<'a> {
    pub(super) partitions: &'a [crate::TopicPartition],
    pub(super) error: &'a Error,
}

impl Undone<'_> {
    /// The partitions whose records were in it.
    pub fn partitions(&self) -> &[crate::TopicPartition] {
        self.partitions
    }

    /// Why it was aborted.
    pub fn error(&self) -> &Error {
        self.error
    }
}
