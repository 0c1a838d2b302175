//! What a consumer has done, said when it ends.

use std::collections::BTreeMap;

use super::state::Totals;

/// What a consumer did until it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerReport {
    /// Records that were handled to the end.
    pub handled: u64,
    /// Records that could not be decoded, and that the handler for failed records has handled to the end.
    pub failed: u64,
    /// Records that were handed out and not finished; at least once, they are read again.
    pub unfinished: u64,
    /// The offsets that Kafka confirmed last, by topic and partition.
    pub committed: BTreeMap<(String, i32), i64>,
    /// Whether the group was left properly; if not, its other members notice after `session.timeout.ms`. A static
    /// member (`group.instance.id`) never tells them, so that it can come back in that time.
    pub left_group: bool,
}

impl ConsumerReport {
    pub(super) fn add(&mut self, life: Totals) {
        self.handled += life.handled;
        self.failed += life.failed;
        self.unfinished += life.unfinished;
    }

    /// What it did before it joined anew.
    pub(super) fn begin_with(&mut self, before: Self) {
        self.handled += before.handled;
        self.failed += before.failed;
        self.unfinished += before.unfinished;
        for (partition, offset) in before.committed {
            self.committed.entry(partition).or_insert(offset);
        }
    }
}
