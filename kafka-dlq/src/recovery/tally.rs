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
use parking_lot::Mutex;

/// How many counters are kept at hand; a policy that makes up a reason for each record gets no further.
const KEPT: usize = 64;

#[derive(Clone)]
pub(crate) struct Tally(Arc<Inner>);

struct Inner {
    group: String,
    topic: String,
    stuck: AtomicU64,
    /// Those with a label that varies, by their name and its value.
    counters: Mutex<Vec<(&'static str, String, Counter)>>,
}

impl Tally {
    pub(crate) fn new(group: &str, topic: &str) -> Self {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        Self(Arc::new(Inner { group, topic, stuck: AtomicU64::new(0), counters: Mutex::default() }))
    }

    /// The one that counts every record; looked up once, when the consumer starts.
    pub(crate) fn processed(&self) -> Counter {
        counter!("kafka_dlq_processed_total", "group" => self.0.group.clone(), "topic" => self.0.topic.clone())
    }

    /// Counts one; the counter is looked up the first time.
    fn with(&self, name: &'static str, label: &'static str, value: &str) {
        let mut counters = self.0.counters.lock();
        if let Some((.., counter)) = counters.iter().find(|(of, with, _)| *of == name && with == value) {
            return counter.increment(1);
        }
        let (group, topic, value) = (self.0.group.clone(), self.0.topic.clone(), value.to_owned());
        let counter = counter!(name, "group" => group, "topic" => topic, label => value.clone());
        counter.increment(1);
        if counters.len() < KEPT {
            counters.push((name, value, counter));
        }
    }

    pub(crate) fn failed(&self, class: &'static str) {
        self.with("kafka_dlq_failed_total", "class", class);
    }

    pub(crate) fn retried(&self, place: &'static str) {
        self.with("kafka_dlq_retried_total", "place", place);
    }

    pub(crate) fn dead_lettered(&self, reason: &str) {
        self.with("kafka_dlq_dead_lettered_total", "reason", reason);
    }

    pub(crate) fn skipped(&self, reason: &str) {
        self.with("kafka_dlq_skipped_total", "reason", reason);
    }

    pub(crate) fn write_failed(&self, to: &str) {
        self.with("kafka_dlq_dead_letter_failures_total", "to", to);
    }

    pub(crate) fn breaker(&self, open: bool) {
        let gauge = gauge!("kafka_dlq_breaker_open", "group" => self.0.group.clone(), "topic" => self.0.topic.clone());
        gauge.set(f64::from(u8::from(open)));
    }

    /// A write is held up until the guard goes.
    pub(crate) fn stuck(&self) -> Stuck {
        self.set_stuck(self.0.stuck.fetch_add(1, Ordering::Relaxed) + 1);
        Stuck(self.clone())
    }

    fn set_stuck(&self, now: u64) {
        gauge!("kafka_dlq_stuck", "group" => self.0.group.clone(), "topic" => self.0.topic.clone()).set(now as f64);
    }
}

/// A write that is held up.
pub(crate) struct Stuck(Tally);

impl Drop for Stuck {
    fn drop(&mut self) {
        self.0.set_stuck(self.0.0.stuck.fetch_sub(1, Ordering::Relaxed).saturating_sub(1));
    }
}
