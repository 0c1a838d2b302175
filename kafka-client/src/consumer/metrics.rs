//! What a consumer says through the `metrics` facade.
//!
//! Series are labelled by group and topic, never by partition: the facade cannot take a series back, so one for each
//! partition would stay behind when the partition moves to another member. (Per partition there is
//! [`ConsumerHandle::partitions`](crate::ConsumerHandle::partitions).)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, counter, gauge, histogram};
use parking_lot::Mutex;

use super::control::{Key, RunningLane};
use super::exposure::Exposure;
use super::state::Totals;
use crate::native::Client;

#[derive(Clone)]
pub(super) struct Metrics {
    group: Arc<str>,
    /// What was counted before, by lane; and the topics that were ever seen.
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    totals: BTreeMap<(Key, u64), Totals>,
    topics: BTreeSet<Arc<str>>,
}

/// What the partitions of a topic add up to.
#[derive(Default)]
struct OfTopic {
    partitions: usize,
    in_flight: u64,
    buffered_records: usize,
    buffered_bytes: usize,
    paused: usize,
    lag: i64,
}

impl Metrics {
    pub(super) fn new(group: Arc<str>) -> Self {
        Self { group, seen: Arc::default() }
    }

    fn counter(&self, name: &'static str, topic: &Arc<str>) -> Counter {
        counter!(name, "group" => self.group.to_string(), "topic" => topic.to_string())
    }

    /// A commit was answered.
    pub(super) fn commit(&self, confirmed: bool, took: Duration) {
        let result = if confirmed { "confirmed" } else { "refused" };
        counter!("kafka_consumer_commits_total", "group" => self.group.to_string(), "result" => result).increment(1);
        histogram!("kafka_consumer_commit_seconds", "group" => self.group.to_string()).record(took);
    }

    /// Partitions came, went, or were lost.
    pub(super) fn rebalance(&self, kind: &'static str) {
        counter!("kafka_consumer_rebalances_total", "group" => self.group.to_string(), "kind" => kind).increment(1);
    }

    pub(super) fn stuck(&self, handlers: usize) {
        gauge!("kafka_consumer_stuck_handlers", "group" => self.group.to_string()).set(handlers as f64);
    }

    /// A life has ended: what it did since the last look counts, too.
    pub(super) fn ended(&self, key: &Key, life: u64, totals: Totals) {
        let mut seen = self.seen.lock();
        let before = seen.totals.remove(&(key.clone(), life)).unwrap_or_default();
        self.count(&key.0, before, totals);
    }

    fn count(&self, topic: &Arc<str>, before: Totals, now: Totals) {
        self.counter("kafka_consumer_records_handled_total", topic).increment(now.handled - before.handled);
        self.counter("kafka_consumer_records_failed_total", topic).increment(now.failed - before.failed);
    }

    /// The gauges, and what was counted since the last time.
    pub(super) fn gauges(&self, client: &Client, lanes: &BTreeMap<Key, RunningLane>, exposure: &Exposure) {
        let mut seen = self.seen.lock();
        let mut topics: BTreeMap<Arc<str>, OfTopic> =
            seen.topics.iter().map(|topic| (topic.clone(), OfTopic::default())).collect();
        for (key, lane) in lanes {
            let (state, totals) = (&lane.state, lane.state.totals());
            let before = seen.totals.insert((key.clone(), lane.life), totals).unwrap_or_default();
            self.count(&key.0, before, totals);
            let of_topic = topics.entry(key.0.clone()).or_default();
            of_topic.partitions += 1;
            of_topic.in_flight += totals.unfinished;
            of_topic.buffered_records += state.held.records();
            of_topic.buffered_bytes += state.held.bytes();
            of_topic.paused += usize::from(state.is_paused());
            // The end is what the last fetch has told: while a partition is paused it stands still.
            if let (Some(end), Some(point)) = (client.known_end(&key.0, key.1), state.commit_point()) {
                of_topic.lag += (end - point.offset).max(0);
            }
        }
        for (topic, of) in &topics {
            let set = |name: &'static str, value: f64| {
                gauge!(name, "group" => self.group.to_string(), "topic" => topic.to_string()).set(value);
            };
            set("kafka_consumer_assigned_partitions", of.partitions as f64);
            set("kafka_consumer_paused_partitions", of.paused as f64);
            set("kafka_consumer_in_flight", of.in_flight as f64);
            set("kafka_consumer_buffered_records", of.buffered_records as f64);
            set("kafka_consumer_buffered_bytes", of.buffered_bytes as f64);
            set("kafka_consumer_lag", of.lag as f64);
        }
        seen.topics.extend(topics.into_keys());
        gauge!("kafka_consumer_exposure", "group" => self.group.to_string()).set(exposure.now() as f64);
    }
}
