//! How often a record was tried.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::RawReceived;

use crate::backoff::Tried;

/// Attempts, and when the first of them failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    pub(super) attempts: u32,
    pub(super) first_failure: Option<SystemTime>,
    /// As they were when the record came here: what an outage sets them back to.
    before: (u32, Option<SystemTime>),
}

impl Tries {
    pub(crate) fn new(attempts: u32, first_failure_ms: Option<i64>) -> Self {
        let first =
            first_failure_ms.and_then(|ms| u64::try_from(ms).ok()).map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        Self { attempts, first_failure: first, before: (attempts, first) }
    }

    /// Counts a failure; what a decision goes by.
    pub(super) fn failed(&mut self, record: &RawReceived) -> Tried {
        let now = SystemTime::now();
        self.attempts = self.attempts.saturating_add(1);
        Tried {
            attempts: self.attempts,
            first_failure: *self.first_failure.get_or_insert(now),
            written: record.timestamp(),
            now,
            random: fastrand::f64(),
        }
    }

    pub(crate) fn set_back(&mut self) {
        (self.attempts, self.first_failure) = self.before;
    }
}
