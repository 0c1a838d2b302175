//! The retry topic of a group: records wait there for their next attempt, each for as long as it takes.
//!
//! ```text
//!   orders-3 ──▶ handler fails ──▶ retry topic, partition 3 ──▶ Line: by time, by key ──▶ the same handler
//!            └─▶ its key is blocked: behind it ──▲
//! ```

pub(crate) mod gate;
pub(crate) mod hop;
mod line;
mod waiting;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use futures::future::BoxFuture;
use kafka_client::{BoxError, Completion, ConsumerBuilder, RawReceived};
use metrics::gauge;
use parking_lot::Mutex;

use gate::Gate;
pub(crate) use line::{Item, NEVER};
pub(crate) use waiting::millis;

/// How many records of a partition of the retry topic are handled at the same time, unless set.
const DEFAULT_IN_FLIGHT: usize = 16;
/// How many bytes may wait in a partition, unless set.
const DEFAULT_BYTES: usize = 256 << 20;

/// What a record that waits on the retry topic means for others of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// They wait behind it, in the retry topic: a key keeps its order, other keys go on. The default.
    ///
    /// Records of a key are handled for the first time with success in the order of their partition, through retries,
    /// dead letters, restarts and rebalances. A key goes on when its record is dead-lettered. There is one window in
    /// which the order can break: the write of a record to the retry topic fails for good (`delivery_timeout`, 5 minutes)
    /// while that of a later one of its key succeeds, and the process dies before the first was written again. Exactly once
    /// ([`Guarantee::ExactlyOnce`](kafka_client::Guarantee::ExactlyOnce)) there is none: both are in the transaction that
    /// commits their offsets, or neither.
    #[default]
    KeepOrder,
    /// A newer one makes it obsolete: it is finished unhandled, and counted. For records that hold a whole state.
    LatestWins,
    /// Nothing.
    Unordered,
}

/// A topic on which records wait for their next attempt; one serves all routes of a group: clone it into the recovery of
/// each of them.
///
/// Any delay, each record its own. It is created when the consumer starts, with as many partitions as the source and
/// unlimited retention; one that exists is checked.
///
/// What waits is held in memory, without limit to its number but for the bytes: about 200 bytes a record beside its own. A
/// partition holds back about 20,000 waiting records: when there are more, the rest is read, and tried, late.
///
/// ```
/// use kafka_dlq::{Order, RetryTopic};
///
/// let retries = RetryTopic::new("billing.retry").order(Order::LatestWins);
/// ```
#[derive(Clone)]
pub struct RetryTopic {
    name: String,
    order: Order,
    in_flight: usize,
    max_bytes: usize,
    shared: Arc<Shared>,
}

/// What the recoveries of a group share.
#[derive(Default)]
pub(crate) struct Shared {
    gates: Mutex<HashMap<i32, Arc<Gate>>>,
    recoveries: Mutex<HashMap<String, Arc<dyn Retried>>>,
    joined: AtomicBool,
    /// The second in which the gauges were set last.
    gauged: AtomicU64,
}

/// Whoever tries records of a topic again.
pub(crate) trait Retried: Send + Sync {
    fn retry(&self, record: RawReceived, gate: Arc<Gate>) -> BoxFuture<'_, Result<Completion, BoxError>>;
}

impl RetryTopic {
    /// The topic of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            order: Order::default(),
            in_flight: DEFAULT_IN_FLIGHT,
            max_bytes: DEFAULT_BYTES,
            shared: Arc::default(),
        }
    }

    /// Sets what a waiting record means for others of its key, overriding the default of [`Order::KeepOrder`]. The
    /// recoveries that share the topic share the order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sets how many records of a partition of the retry topic are tried at the same time, overriding the default of 16.
    #[must_use]
    pub fn in_flight(mut self, records: usize) -> Self {
        self.in_flight = records;
        self
    }

    /// Sets how many bytes may wait in memory for each partition, overriding the default of 256 MiB. Beyond it nothing more
    /// is read, and records behind it may be tried late, never early.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn kind(&self) -> Order {
        self.order
    }

    pub(crate) fn gate(&self, partition: i32) -> Arc<Gate> {
        let mut gates = self.shared.gates.lock();
        gates.entry(partition).or_insert_with(|| Arc::new(Gate::new(self.order))).clone()
    }

    /// The gate of a partition, where there is one.
    pub(crate) fn known_gate(&self, partition: i32) -> Option<Arc<Gate>> {
        self.shared.gates.lock().get(&partition).cloned()
    }

    fn gates(&self) -> Vec<Arc<Gate>> {
        self.shared.gates.lock().values().cloned().collect()
    }

    /// How many records wait, in this process.
    pub fn pending(&self) -> usize {
        self.gates().iter().map(|gate| gate.line.lock().len()).sum()
    }

    /// How many keys are blocked, in this process: a record of theirs waits, is tried again, or is being written.
    pub fn blocked_keys(&self) -> usize {
        self.gates().iter().map(|gate| gate.line.lock().blocked_keys()).sum()
    }

    /// Makes everything due that waits in this process, parked records too; of a blocked key, its first record. Returns how
    /// many records that were.
    pub fn retry_now(&self) -> usize {
        self.hurry(None)
    }

    /// Makes due what waits in this process of one key of `source`, parked or not. Returns how many records that were.
    pub fn retry_key(&self, source: &str, key: &[u8]) -> usize {
        self.hurry(Some(gate::key_of(source, key)))
    }

    fn hurry(&self, key: Option<u64>) -> usize {
        let hurried = self.gates().into_iter().map(|gate| {
            let hurried = gate.line.lock().hurry(key);
            gate.ring();
            hurried
        });
        let hurried = hurried.sum();
        tracing::info!(topic = self.name, hurried, "somebody asked to try waiting records now");
        hurried
    }

    /// Sets the gauges of all partitions, if that was not done just now.
    fn gauges(&self, group: &str, now: SystemTime) {
        let second = u64::try_from(millis(now) / 1_000).unwrap_or(0);
        if self.shared.gauged.swap(second, Ordering::Relaxed) == second {
            return;
        }
        let set = |name: &'static str, value: usize| {
            gauge!(name, "group" => group.to_owned(), "topic" => self.name.clone()).set(value as f64);
        };
        set("kafka_dlq_retry_pending", self.pending());
        set("kafka_dlq_blocked_keys", self.blocked_keys());
        let age = self.gates().iter().filter_map(|gate| gate.oldest()).max().unwrap_or_default();
        gauge!("kafka_dlq_oldest_retry_age_seconds", "group" => group.to_owned(), "topic" => self.name.clone())
            .set(age.as_secs_f64());
    }

    /// Whoever tries records of `source` again; the first one adds the route.
    pub(crate) fn join(&self, builder: ConsumerBuilder, source: &str, retried: Arc<dyn Retried>) -> ConsumerBuilder {
        self.shared.recoveries.lock().insert(source.to_owned(), retried);
        if self.shared.joined.swap(true, Ordering::SeqCst) {
            return builder;
        }
        let (one, other, group) = (self.clone(), self.clone(), Arc::from(builder.group()));
        let schedule = move |partition: &kafka_client::TopicPartition, bell| {
            waiting::Waiting::begin(&one, &group, one.gate(partition.partition()), bell)
        };
        builder.route_scheduled(self.name.as_str(), self.in_flight, schedule, waiting::Retries(other))
    }

    pub(crate) fn recovery_of(&self, source: &str) -> Option<Arc<dyn Retried>> {
        self.shared.recoveries.lock().get(source).cloned()
    }
}

impl fmt::Debug for RetryTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryTopic").field("name", &self.name).field("order", &self.order).finish_non_exhaustive()
    }
}
