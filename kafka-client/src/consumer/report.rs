//! What a consumer has done, said when it ends.

use std::collections::BTreeMap;

use super::lane::RunningLane;

/// What a consumer did until it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerReport {
    /// Records that were handled to the end.
    pub handled: u64,
    /// Records that could not be decoded, and went to the handler for failed records.
    pub failed: u64,
    /// Records that were begun and not finished; they are read again.
    pub unfinished: usize,
    /// The offsets that Kafka confirmed last, by topic and partition.
    pub committed: BTreeMap<(String, i32), i64>,
    /// Whether the group was left properly; if not, its other members notice after `session.timeout.ms`.
    pub left_group: bool,
}

impl ConsumerReport {
    pub(super) fn add(&mut self, lane: &RunningLane) {
        self.handled += lane.state.handled.load(std::sync::atomic::Ordering::Relaxed);
        self.failed += lane.state.failed.load(std::sync::atomic::Ordering::Relaxed);
        self.unfinished += lane.state.unfinished();
    }
}
