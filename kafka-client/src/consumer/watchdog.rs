//! The watchdog: finds handlers that run for longer than they may, names them, and says what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::control::Key;
use super::handle::StuckHandler;
use super::lives::RunningLane;
use super::running::{CoarseClock, LongRunning};
use crate::error::{Error, ErrorKind, Retry};
use crate::partition::TopicPartition;

/// What to do about a handler that runs for longer than its limit. Other partitions go on in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStuck {
    /// Say so in the log, in [`Health`](crate::Health) and in the metrics, and wait. The default.
    #[default]
    Warn,
    /// Cancel it, let the other handlers of the partition finish, and go on at the lowest unfinished record: the record
    /// is handled again. A handler that blocks its thread cannot be cancelled.
    Rewind,
    /// End the consumer with an error that names the record, so that another member takes over.
    Leave,
}

/// How long a handler may run, and what then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) limit: Duration,
    pub(super) then: OnStuck,
}

pub(super) struct Watchdog {
    limit: Limit,
    /// Those that were named already.
    named: BTreeSet<(Key, i64)>,
}

/// What the watchdog has found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) count: usize,
    pub(super) all: Vec<StuckHandler>,
    pub(super) to_rewind: Vec<(Key, i64)>,
    pub(super) to_leave_for: Option<Error>,
}

impl Watchdog {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, named: BTreeSet::new() }
    }

    pub(super) fn look(&mut self, lanes: &BTreeMap<Key, RunningLane>, clock: &CoarseClock) -> Found {
        let mut found = Found::default();
        let mut still = BTreeSet::new();
        for (key, lane) in lanes {
            for long in lane.state.running.longer_than(self.limit.limit, clock) {
                let name = (key.clone(), long.offset);
                if !self.named.contains(&name) {
                    self.first_seen(key, &long, &mut found);
                }
                still.insert(name);
                found.count += 1;
                found.all.push(StuckHandler {
                    partition: TopicPartition::new(key.0.clone(), key.1),
                    offset: long.offset,
                    key: long.key,
                    running_for: long.running_for,
                });
            }
        }
        self.named = still;
        found
    }

    fn first_seen(&self, key: &Key, long: &LongRunning, found: &mut Found) {
        let record_key = long.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let (offset, seconds) = (long.offset, long.running_for.as_secs_f32());
        let then = self.limit.then;
        tracing::warn!(topic = %key.0, partition = key.1, offset, key = %record_key, seconds, ?then, "a handler is stuck");
        match self.limit.then {
            OnStuck::Warn => (),
            OnStuck::Rewind => found.to_rewind.push((key.clone(), offset)),
            OnStuck::Leave => {
                let text =
                    format!("a handler has been running for {seconds:.1} s, its limit is {:?}", self.limit.limit);
                let error = Error::new(ErrorKind::Stuck, text).with_operation("handle").with_retry(Retry::Persistent);
                found.to_leave_for =
                    Some(error.with_topic(&*key.0).with_partition(Some(key.1)).with_offset(Some(offset)));
            }
        }
    }
}
