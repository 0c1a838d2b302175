//! What a consumer with recoveries is doing: what runs, what waits and until when, and a hand on it.
//!
//! ```text
//!   consumer.inspect() ─▶ Inspector ─▶ partitions: head, blocked keys, attempts, next due, running since, exposure
//!                             │
//!                             ├─▶ retry now · skip · dead-letter · park · unpark      each is logged
//!                             └─▶ InspectServer: the same over HTTP (feature `inspect`)
//! ```

#[cfg(feature = "inspect")]
mod json;
#[cfg(feature = "inspect")]
mod server;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{
    Consumer, ConsumerHandle, PartitionStatus, RawReceived, RunningConsumer, RunningHandler, TopicPartition,
};

use crate::error::{Error, ErrorKind};
use crate::recovery::core::Core;
use crate::recovery::in_place::Heard;
use crate::retry_topic::gate::Gate;
use crate::retry_topic::hop::Hop;
use crate::retry_topic::{Item, NEVER, RetryTopic};

#[cfg(feature = "inspect")]
pub use server::InspectServer;

/// Looks into a consumer that has recoveries: `consumer.inspect()`.
///
/// ```no_run
/// use kafka_dlq::Inspect;
/// # use kafka_client::{Error, Kafka, Received, Topic, Utf8};
/// # use kafka_dlq::{Backoff, Recovery};
/// # async fn example(kafka: Kafka, orders: Topic<Utf8, Utf8>, recovery: Recovery<fn(&Error) -> kafka_dlq::Decision>) -> Result<(), Box<dyn std::error::Error>> {
/// # async fn charge(_: Received<String, String>) -> Result<(), Error> { Ok(()) }
/// let consumer = kafka.consumer("billing").route(&orders, recovery.wrap(charge)).build()?.spawn();
/// let inspector = consumer.inspect();
/// for partition in inspector.partitions(100).await? {
///     println!("{} at {:?}: {} wait", partition.partition, partition.head, partition.pending);
///     for record in partition.waiting {
///         println!("  {} was tried {} times; again at {:?}", record.offset, record.attempts, record.due);
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub trait Inspect {
    /// What sees what is in the recoveries of this consumer, in this process.
    fn inspect(&self) -> Inspector;
}

impl Inspect for ConsumerHandle {
    fn inspect(&self) -> Inspector {
        Inspector { recoveries: self.attached(), handle: self.clone() }
    }
}

impl Inspect for Consumer {
    fn inspect(&self) -> Inspector {
        self.handle().inspect()
    }
}

impl Inspect for RunningConsumer {
    fn inspect(&self) -> Inspector {
        self.handle().inspect()
    }
}

/// Sees what is in the recoveries of a consumer, and steers it; made by [`Inspect::inspect`]. Cheap to clone.
#[derive(Clone)]
pub struct Inspector {
    handle: ConsumerHandle,
    recoveries: Vec<Arc<Core>>,
}

/// One partition that is assigned to this consumer, of a source or of a retry topic.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionView {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset that is not finished: the record that holds back the commit. `None` before the first record.
    pub head: Option<i64>,
    /// The offset that Kafka has confirmed last.
    pub committed: Option<i64>,
    /// The offset of the record that is taken next.
    pub position: Option<i64>,
    /// Records that were handed out and are not finished.
    pub in_flight: u64,
    /// Records that a kill would repeat.
    pub exposure: u64,
    /// Whether it is paused.
    pub paused: bool,
    /// The handlers that run, and since when.
    pub running: Vec<RunningHandler>,
    /// How many keys are blocked: of a source, by records that wait in place, or wait or are being written to the
    /// partition's retry topic.
    pub blocked_keys: usize,
    /// How many records wait here.
    pub pending: usize,
    /// When the next of them is due; `None` where none has a time.
    pub next_due: Option<SystemTime>,
    /// Records that wait here, the next one first; no more than were asked for.
    pub waiting: Vec<Waiting>,
}

/// A record that waits for its next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Its offset in the partition that it waits in.
    pub offset: i64,
    /// Its key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// How many attempts have failed.
    pub attempts: u32,
    /// When it is tried again; `None` where it is parked.
    pub due: Option<SystemTime>,
    /// On a retry topic: the topic, and the offset, that it was read from first.
    pub origin: Option<(String, i64)>,
    /// Whether it waits behind another one of its key, whatever its own time is.
    pub behind: bool,
}

/// What is to become of a record that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Steer {
    /// It is tried now.
    RetryNow,
    /// It is finished, unhandled, and counted as skipped.
    Skip,
    /// It is dead-lettered, with the reason `asked`.
    DeadLetter,
    /// It waits until it is unparked. In place this takes a retry topic, where it goes; on a retry topic it holds until the
    /// partition moves or the process restarts, when the record's own time counts again.
    Park,
    /// A parked one is tried now.
    Unpark,
}

impl Steer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::RetryNow, Self::Skip, Self::DeadLetter, Self::Park, Self::Unpark];

    /// Its name: `retry`, `skip`, `dead-letter`, `park`, `unpark`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RetryNow => "retry",
            Self::Skip => "skip",
            Self::DeadLetter => "dead-letter",
            Self::Park => "park",
            Self::Unpark => "unpark",
        }
    }
}

impl FromStr for Steer {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::config(format!("action: `{name}` is none of {names}"))
        })
    }
}

impl Inspector {
    /// The assigned partitions, with up to `waiting` records of each that wait.
    ///
    /// # Errors
    /// [`ErrorKind::Kafka`] when the consumer has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn partitions(&self, waiting: usize) -> Result<Vec<PartitionView>, Error> {
        let partitions =
            self.handle.partitions().await.map_err(|error| Error::kafka("look into the consumer", error))?;
        Ok(partitions.into_iter().map(|status| self.view(status, waiting)).collect())
    }

    /// A handle of the consumer.
    pub fn handle(&self) -> &ConsumerHandle {
        &self.handle
    }

    /// Does with a record that waits, in place or on a retry topic, what `steer` says. `offset` is that of the partition that
    /// it waits in. A record that waits behind another one of its key is steered when its turn comes.
    ///
    /// # Errors
    /// [`ErrorKind::NotWaiting`] where no such record waits in this process; [`ErrorKind::Unsupported`] where the recovery
    /// has no dead-letter topic, or no retry topic, for what is asked, and for a record that is tried with its batch.
    pub fn steer(&self, partition: &TopicPartition, offset: i64, steer: Steer) -> Result<(), Error> {
        let done = self.steered(partition, offset, steer);
        let (action, refused) = (steer.name(), done.as_ref().err().map(ToString::to_string));
        let (topic, number) = (partition.topic(), partition.partition());
        tracing::warn!(topic, partition = number, offset, action, refused, "somebody steers a record that waits");
        done
    }

    /// Tries a record now.
    ///
    /// # Errors
    /// As [`steer`](Self::steer).
    pub fn retry_now(&self, partition: &TopicPartition, offset: i64) -> Result<(), Error> {
        self.steer(partition, offset, Steer::RetryNow)
    }

    /// Finishes a record unhandled.
    ///
    /// # Errors
    /// As [`steer`](Self::steer).
    pub fn skip(&self, partition: &TopicPartition, offset: i64) -> Result<(), Error> {
        self.steer(partition, offset, Steer::Skip)
    }

    /// Dead-letters a record.
    ///
    /// # Errors
    /// As [`steer`](Self::steer).
    pub fn dead_letter(&self, partition: &TopicPartition, offset: i64) -> Result<(), Error> {
        self.steer(partition, offset, Steer::DeadLetter)
    }

    /// Lets a record wait until it is [unparked](Self::unpark).
    ///
    /// # Errors
    /// As [`steer`](Self::steer).
    pub fn park(&self, partition: &TopicPartition, offset: i64) -> Result<(), Error> {
        self.steer(partition, offset, Steer::Park)
    }

    /// Tries a parked record now.
    ///
    /// # Errors
    /// As [`steer`](Self::steer).
    pub fn unpark(&self, partition: &TopicPartition, offset: i64) -> Result<(), Error> {
        self.steer(partition, offset, Steer::Unpark)
    }

    fn steered(&self, partition: &TopicPartition, offset: i64, steer: Steer) -> Result<(), Error> {
        let not_waiting = || {
            let text =
                format!("no record waits in {partition} at {offset}: it is finished, is being tried, or has moved");
            Error::new(ErrorKind::NotWaiting, text)
        };
        if let Some(gate) = self.gate(partition) {
            if steer == Steer::DeadLetter && !self.has_dead_letters(&gate, offset) {
                return Err(no_topic("dead-letter"));
            }
            return if gate.steer(offset, steer) { Ok(()) } else { Err(not_waiting()) };
        }
        for core in &self.recoveries {
            if !core.in_place.of(partition).iter().any(|record| record.offset == offset) {
                continue;
            }
            if steer == Steer::DeadLetter && !core.has_dead_letters() {
                return Err(no_topic("dead-letter"));
            }
            if steer == Steer::Park && core.retry_topic().is_none() {
                return Err(no_topic("retry"));
            }
            match core.in_place.steer(partition, offset, steer) {
                Heard::Yes => return Ok(()),
                Heard::NotWaiting => (),
                Heard::Batch => {
                    let text = format!(
                        "action: the record is tried together with its batch, which knows no `{}`",
                        steer.name()
                    );
                    return Err(Error::new(ErrorKind::Unsupported, text));
                }
            }
        }
        Err(not_waiting())
    }

    /// The gate of a retry topic's partition.
    fn gate(&self, partition: &TopicPartition) -> Option<Arc<Gate>> {
        self.retry_topic(partition.topic())?.known_gate(partition.partition())
    }

    fn retry_topic(&self, topic: &str) -> Option<RetryTopic> {
        self.recoveries.iter().filter_map(|core| core.retry_topic()).find(|retries| retries.name() == topic)
    }

    /// Whether the recovery that a waiting record belongs to has a dead-letter topic.
    fn has_dead_letters(&self, gate: &Gate, offset: i64) -> bool {
        let line = gate.line.lock();
        let Some((item, _)) = line.items().find(|(item, _)| item.offset == offset) else { return true };
        let Some(hop) = Hop::read(&item.record) else { return false };
        self.recoveries.iter().any(|core| core.source == hop.topic && core.has_dead_letters())
    }

    fn view(&self, status: PartitionStatus, most: usize) -> PartitionView {
        let partition = status.partition;
        let (blocked_keys, mut waiting) = match self.gate(&partition) {
            Some(gate) => (gate.line.lock().blocked_keys(), on_retry_topic(&gate)),
            None => {
                let in_place: Vec<Waiting> =
                    self.recoveries.iter().flat_map(|core| core.in_place.of(&partition)).collect();
                // Of its own retry topic the partition of the same number holds the rest of its keys.
                let source = |core: &&Arc<Core>| core.source == partition.topic();
                let retries = self.recoveries.iter().find(source).and_then(|core| core.retry_topic());
                let gate = retries.and_then(|retries| retries.known_gate(partition.partition()));
                (in_place.len() + gate.map_or(0, |gate| gate.line.lock().blocked_keys()), in_place)
            }
        };
        // Those behind another one have no turn, whatever their time; those that are parked have none either.
        waiting.sort_by_key(|record| (record.behind, record.due.is_none(), record.due, record.offset));
        let next_due = waiting.first().filter(|record| !record.behind).and_then(|record| record.due);
        let pending = waiting.len();
        waiting.truncate(most);
        PartitionView {
            partition,
            head: status.head,
            committed: status.committed,
            position: status.position,
            in_flight: status.in_flight,
            exposure: status.exposure,
            paused: status.paused,
            running: status.running,
            blocked_keys,
            pending,
            next_due,
            waiting,
        }
    }
}

fn on_retry_topic(gate: &Gate) -> Vec<Waiting> {
    let shown = |(item, behind): (&Item<RawReceived>, bool)| {
        let hop = Hop::read(&item.record);
        Waiting {
            offset: item.offset,
            key: item.record.key_bytes().map(<[u8]>::to_vec),
            attempts: gate.attempts(item.offset).or(hop.map(|hop| hop.attempts)).unwrap_or(0),
            due: time(item.due),
            origin: hop.map(|hop| (hop.topic.to_owned(), hop.offset)),
            behind,
        }
    };
    gate.line.lock().items().map(shown).collect()
}

fn time(due: i64) -> Option<SystemTime> {
    (due != NEVER).then(|| UNIX_EPOCH + Duration::from_millis(u64::try_from(due).unwrap_or(0)))
}

fn no_topic(kind: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("action: the recovery has no {kind} topic for it"))
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").field("handle", &self.handle).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_name_of_its_own_and_others_are_refused_by_the_field() {
        for steer in Steer::ALL {
            assert_eq!(steer.name().parse::<Steer>().unwrap(), steer);
        }
        assert_eq!("".parse::<Steer>().unwrap_err().kind(), ErrorKind::Config);
        assert!("delete".parse::<Steer>().unwrap_err().to_string().starts_with("action: `delete` is none of retry, "));
    }
}
