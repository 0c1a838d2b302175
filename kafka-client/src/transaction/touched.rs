//! What a transaction was made of: partitions, and how far each was read.

use std::sync::Arc;

use super::handle::Notes;
use super::stage::Offsets;
use crate::consumer::{Hold, Source};
use crate::error::Error;
use crate::native::{Membership, NativeError, Partitions};
use crate::partition::TopicPartition;

/// The partitions whose records are in the open transaction.
#[derive(Default)]
pub(super) struct Touched {
    list: Vec<One>,
    records: usize,
    /// What is committed with the offsets.
    notes: Notes,
    /// Kept until the transaction has ended: what is read ahead waits, and partitions are not given away before.
    holds: Vec<Hold>,
}

/// No record yet.
const BEFORE: i64 = -1;

struct One {
    source: Source,
    last: i64,
    count: u64,
    /// The last record and the count of each batch.
    batches: Vec<(i64, u64)>,
    /// What was taken and not counted: it goes back.
    left: bool,
}

impl One {
    fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.source.topic().clone(), self.source.partition())
    }
}

impl Touched {
    /// Records up to `last` of this life are in the transaction.
    pub(super) fn add(&mut self, source: &Source, last: i64, count: u64) {
        source.start(last, count);
        self.records += count as usize;
        let one = self.entry(source, last);
        one.last = last;
        one.count += count;
        one.batches.push((last, count));
    }

    /// Records of this life were handed out, and are not in the transaction.
    pub(super) fn leave(&mut self, source: &Source) {
        self.entry(source, BEFORE).left = true;
    }

    /// All that was handed out is in the transaction.
    pub(super) fn take_back(&mut self) {
        self.list.iter_mut().for_each(|one| one.left = false);
    }

    fn entry(&mut self, source: &Source, last: i64) -> &mut One {
        let at = self.list.iter().position(|one| one.source.is(source)).unwrap_or_else(|| {
            self.list.push(One { source: source.clone(), last, count: 0, batches: Vec::new(), left: false });
            self.list.len() - 1
        });
        &mut self.list[at]
    }

    pub(super) fn note(&mut self, notes: Notes) {
        self.notes.extend(notes);
    }

    pub(super) fn keep(&mut self, hold: Hold) {
        self.holds.push(hold);
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// The record, where there is one only.
    pub(super) fn only(&self) -> Option<(Source, i64)> {
        match &self.list[..] {
            [one] if self.records == 1 => Some((one.source.clone(), one.last)),
            _ => None,
        }
    }

    /// Whether a partition is about to go: the transaction should end soon.
    pub(super) fn is_wanted(&self) -> bool {
        self.list.iter().any(|one| one.source.is_over())
    }

    /// Whether a partition has gone: the transaction must not be committed.
    pub(super) fn is_lost(&self) -> bool {
        self.list.iter().any(|one| one.source.is_lost())
    }

    /// The same question, for another thread.
    pub(super) fn is_valid(&self) -> impl Fn() -> bool + Send + 'static {
        let sources: Vec<Source> = self.list.iter().map(|one| one.source.clone()).collect();
        move || !sources.iter().any(Source::is_lost)
    }

    /// What to commit: behind the last record of each partition.
    pub(super) fn offsets(&self, membership: Arc<Membership>) -> Result<Offsets, Error> {
        let mut list = Partitions::new();
        let mut lines = self.list.iter().filter(|one| one.count > 0);
        let added: Result<(), NativeError> = lines.try_for_each(|one| {
            let note = self.notes.get(&one.partition()).map(String::as_bytes);
            list.add(one.source.topic(), one.source.partition(), Some(one.last + 1), note)
        });
        added.map_err(Error::native)?;
        Ok(Offsets { list, membership })
    }

    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.list.iter().map(One::partition).collect()
    }

    /// The transaction was committed.
    pub(super) fn committed(self) {
        for one in &self.list {
            if one.count > 0 {
                one.source.committed(&one.batches, one.last);
            }
            if one.left {
                one.source.rewind();
            }
        }
    }

    /// The transaction was undone: every partition goes on where the group has committed.
    pub(super) fn undone(self) {
        self.list.iter().for_each(|one| one.source.rewind());
    }
}
