//! What a recovery says through the `metrics` facade.
//!
//! | name | labels | |
//! |---|---|---|
//! | `kafka_dlq_processed_total` | group, topic | records that were handled |
//! | `kafka_dlq_failed_total` | and class | calls of a handler that failed, by the error's type |
//! | `kafka_dlq_retried_total` | and place | retries, `in_place` or on the `retry_topic` |
//! | `kafka_dlq_dead_lettered_total` | and reason | dead letters that the broker has acknowledged |
//! | `kafka_dlq_skipped_total` | and reason | records that the policy left out |
//! | `kafka_dlq_dead_letter_failures_total` | | writes of dead letters and retries that failed, and are tried again |
//! | `kafka_dlq_stuck` | | writes that are held up so now |
//! | `kafka_dlq_breaker_open` | | 1 during an outage |
//! | `kafka_dlq_retry_pending`, `kafka_dlq_blocked_keys` | group, retry topic | what waits on the retry topic here |
//! | `kafka_dlq_oldest_retry_age_seconds` | group, retry topic | since the first failure of what waits longest there |
//!
//! In flight, exposure and commit latency are those of the consumer (`kafka_consumer_..`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, counter, gauge};

#[derive(Clone)]
pub(crate) struct Tally {
    group: Arc<str>,
    topic: Arc<str>,
    stuck: Arc<AtomicU64>,
}

impl Tally {
    pub(crate) fn new(group: &str, topic: &str) -> Self {
        Self { group: group.into(), topic: topic.into(), stuck: Arc::default() }
    }

    /// The one that counts every record; looked up once, when the consumer starts.
    pub(crate) fn processed(&self) -> Counter {
        counter!("kafka_dlq_processed_total", "group" => self.group.to_string(), "topic" => self.topic.to_string())
    }

    fn with(&self, name: &'static str, label: &'static str, value: String) {
        counter!(name, "group" => self.group.to_string(), "topic" => self.topic.to_string(), label => value)
            .increment(1);
    }

    pub(crate) fn failed(&self, class: &'static str) {
        self.with("kafka_dlq_failed_total", "class", class.to_owned());
    }

    pub(crate) fn retried(&self, place: &'static str) {
        self.with("kafka_dlq_retried_total", "place", place.to_owned());
    }

    pub(crate) fn dead_lettered(&self, reason: &str) {
        self.with("kafka_dlq_dead_lettered_total", "reason", reason.to_string());
    }

    pub(crate) fn skipped(&self, reason: &str) {
        self.with("kafka_dlq_skipped_total", "reason", reason.to_string());
    }

    pub(crate) fn write_failed(&self, to: &str) {
        self.with("kafka_dlq_dead_letter_failures_total", "to", to.to_owned());
    }

    pub(crate) fn breaker(&self, open: bool) {
        let gauge =
            gauge!("kafka_dlq_breaker_open", "group" => self.group.to_string(), "topic" => self.topic.to_string());
        gauge.set(f64::from(u8::from(open)));
    }

    /// A write is held up until the guard goes.
    pub(crate) fn stuck(&self) -> Stuck {
        self.set_stuck(self.stuck.fetch_add(1, Ordering::Relaxed) + 1);
        Stuck(self.clone())
    }

    fn set_stuck(&self, now: u64) {
        gauge!("kafka_dlq_stuck", "group" => self.group.to_string(), "topic" => self.topic.to_string()).set(now as f64);
    }
}

/// A write that is held up.
pub(crate) struct Stuck(Tally);

impl Drop for Stuck {
    fn drop(&mut self) {
        self.0.set_stuck(self.0.stuck.fetch_sub(1, Ordering::Relaxed).saturating_sub(1));
    }
}
