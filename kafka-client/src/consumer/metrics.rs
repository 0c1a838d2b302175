//! What a consumer says through the `metrics` facade; [`Consumer`](crate::Consumer) documents it.
//!
//! Series are labelled by group and topic, never by partition: the facade cannot take a series back, so one for each
//! partition would stay behind when the partition moves to another member. (Per partition there is
//! [`ConsumerHandle::partitions`](crate::ConsumerHandle::partitions).)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use parking_lot::Mutex;

use super::control::Key;
use super::lives::RunningLane;
use super::state::Totals;

const HANDLED: &str = "kafka_consumer_records_handled_total";
const FAILED: &str = "kafka_consumer_records_failed_total";
const COMMITS: &str = "kafka_consumer_commits_total";
const COMMIT_SECONDS: &str = "kafka_consumer_commit_seconds";
const REBALANCES: &str = "kafka_consumer_rebalances_total";
const ASSIGNED: &str = "kafka_consumer_assigned_partitions";
const PAUSED: &str = "kafka_consumer_paused_partitions";
const IN_FLIGHT: &str = "kafka_consumer_in_flight";
const BUFFERED_RECORDS: &str = "kafka_consumer_buffered_records";
const BUFFERED_BYTES: &str = "kafka_consumer_buffered_bytes";
const LAG: &str = "kafka_consumer_lag";
const EXPOSURE: &str = "kafka_consumer_exposure";
const STUCK: &str = "kafka_consumer_stuck_handlers";

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
        describe();
        Self { group, seen: Arc::default() }
    }

    pub(super) fn group(&self) -> &Arc<str> {
        &self.group
    }

    fn counter(&self, name: &'static str, topic: &Arc<str>) -> Counter {
        counter!(name, "group" => self.group.to_string(), "topic" => topic.to_string())
    }

    /// A commit was answered.
    pub(super) fn commit(&self, confirmed: bool, took: Duration) {
        let result = if confirmed { "confirmed" } else { "refused" };
        counter!(COMMITS, "group" => self.group.to_string(), "result" => result).increment(1);
        histogram!(COMMIT_SECONDS, "group" => self.group.to_string()).record(took);
    }

    /// Partitions came, went, or were lost.
    pub(super) fn rebalance(&self, kind: &'static str) {
        counter!(REBALANCES, "group" => self.group.to_string(), "kind" => kind).increment(1);
    }

    pub(super) fn stuck(&self, handlers: usize) {
        gauge!(STUCK, "group" => self.group.to_string()).set(handlers as f64);
    }

    /// A life has ended: what it did since the last look counts, too.
    pub(super) fn ended(&self, key: &Key, life: u64, totals: Totals) {
        let mut seen = self.seen.lock();
        let before = seen.totals.remove(&(key.clone(), life)).unwrap_or_default();
        seen.topics.insert(key.0.clone());
        self.count(&key.0, before, totals);
    }

    fn count(&self, topic: &Arc<str>, before: Totals, now: Totals) {
        self.counter(HANDLED, topic).increment(now.handled - before.handled);
        self.counter(FAILED, topic).increment(now.failed - before.failed);
    }

    /// The gauges, and what was counted since the last time.
    pub(super) fn gauges(&self, lanes: &BTreeMap<Key, RunningLane>, lags: &BTreeMap<Key, i64>, exposure: usize) {
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
            of_topic.lag += lags.get(key).copied().unwrap_or_default();
        }
        for (topic, of) in &topics {
            let set = |name: &'static str, value: f64| {
                gauge!(name, "group" => self.group.to_string(), "topic" => topic.to_string()).set(value);
            };
            set(ASSIGNED, of.partitions as f64);
            set(PAUSED, of.paused as f64);
            set(IN_FLIGHT, of.in_flight as f64);
            set(BUFFERED_RECORDS, of.buffered_records as f64);
            set(BUFFERED_BYTES, of.buffered_bytes as f64);
            set(LAG, of.lag as f64);
        }
        seen.topics.extend(topics.into_keys());
        gauge!(EXPOSURE, "group" => self.group.to_string()).set(exposure as f64);
    }

    /// Nobody looks any more: what stayed as it was would be taken for true.
    pub(super) fn end(&self, exposure: usize) {
        self.gauges(&BTreeMap::new(), &BTreeMap::new(), exposure);
        self.stuck(0);
    }
}

fn describe() {
    describe_counter!(HANDLED, Unit::Count, "Records that were handled to the end.");
    describe_counter!(FAILED, Unit::Count, "Records that could not be decoded, handled to the end.");
    describe_counter!(COMMITS, Unit::Count, "Commits by their result: confirmed, refused.");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "How long commits took until they were answered.");
    describe_counter!(REBALANCES, Unit::Count, "Rebalances by their kind: assigned, revoked, lost.");
    describe_gauge!(ASSIGNED, Unit::Count, "Partitions that are read.");
    describe_gauge!(PAUSED, Unit::Count, "Partitions that are paused.");
    describe_gauge!(IN_FLIGHT, Unit::Count, "Records that were handed to handlers and are not finished.");
    describe_gauge!(BUFFERED_RECORDS, Unit::Count, "Records that were taken from Kafka and are not finished.");
    describe_gauge!(BUFFERED_BYTES, Unit::Bytes, "The bytes of their keys and values.");
    describe_gauge!(LAG, Unit::Count, "Records between what would be committed and the ends of the partitions.");
    describe_gauge!(EXPOSURE, Unit::Count, "Records that a kill would repeat.");
    describe_gauge!(STUCK, Unit::Count, "Handlers that run for longer than they may.");
}
