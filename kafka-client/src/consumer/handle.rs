//! The handle of a running consumer: pause, seek, look inside.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::exposure::Exposure;
use super::listener::StartAt;
use crate::error::{Error, ErrorKind};
use crate::partition::TopicPartition;

/// How many calls may wait for the consumer; more wait before they are taken.
const MOST_COMMANDS: usize = 64;
/// How long the consumer may be silent and still count as live.
const LIVE: Duration = Duration::from_secs(5);

/// What a handle asks of the control task.
pub(super) enum Command {
    Pause(Vec<TopicPartition>, bool, Answer<()>),
    Seek(TopicPartition, StartAt, Answer<()>),
    Partitions(Answer<Vec<PartitionStatus>>),
    Lag(Answer<Vec<Lag>>),
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// Steers a running [`Consumer`](crate::Consumer) and looks inside it; made by
/// [`Consumer::handle`](crate::Consumer::handle). Cheap to clone. What is asked before the consumer runs is answered when
/// it does.
///
/// ```
/// # use kafka_client::{Error, Kafka, Received, Topic, Utf8};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kafka = Kafka::embedded()?;
/// # let lines = Topic::new("lines", Utf8, Utf8);
/// # kafka.producer().build()?.send(lines.record("k", "v")).await?;
/// let consumer = kafka
///     .consumer("readers")
///     .route(&lines, async |line: Received<String, String>| {
///         println!("{}", line.value());
///         Ok::<_, Error>(())
///     })
///     .build()?;
/// let handle = consumer.handle();
/// let running = tokio::spawn(consumer.run_until(tokio::time::sleep(std::time::Duration::from_secs(1))));
/// for lag in handle.lag().await? {
///     println!("{}: {} records behind", lag.partition, lag.records);
/// }
/// println!("{:?}", handle.health());
/// # running.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConsumerHandle {
    commands: mpsc::Sender<Command>,
    status: Arc<Status>,
}

/// Something of a wrapper's.
pub(super) type Attached = Arc<dyn Any + Send + Sync>;

/// What the control task tells the handles.
pub(super) struct Status {
    /// What wrappers around handlers have attached.
    attached: Vec<Attached>,
    exposure: Arc<Exposure>,
    running: AtomicBool,
    ready: AtomicBool,
    assigned: AtomicUsize,
    times: Mutex<Times>,
    stuck: Mutex<Vec<StuckHandler>>,
}

#[derive(Default)]
struct Times {
    alive: Option<Instant>,
    committed: Option<Instant>,
}

/// One assigned partition, as the consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the record that is taken next; `None` before the first.
    pub position: Option<i64>,
    /// The first offset that is not finished: the record that holds back the commit; `None` before the first record.
    pub head: Option<i64>,
    /// The offset that Kafka has confirmed last.
    pub committed: Option<i64>,
    /// Records that were handed out and are not finished.
    pub in_flight: u64,
    /// Records that a kill would repeat.
    pub exposure: u64,
    /// Records that were taken from Kafka and are not finished, those in flight included.
    pub buffered_records: usize,
    /// Their bytes.
    pub buffered_bytes: usize,
    /// Whether it is paused.
    pub paused: bool,
    /// The handlers that run, by offset. Of a batch, its first record.
    pub running: Vec<RunningHandler>,
}

/// A handler that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningHandler {
    /// The record's offset.
    pub offset: i64,
    /// The first bytes of the record's key; `None` where it is null, and for batches.
    pub key: Option<Vec<u8>>,
    /// For how long it has been running, or waiting to try again; to a tenth of a second.
    pub running_for: Duration,
}

/// How far a partition is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// The partition.
    pub partition: TopicPartition,
    /// Records between the offset that is committed, or would be, and the end of the partition. (Offsets, to be exact:
    /// markers of transactions and records that were compacted away count.)
    pub records: u64,
    /// The end of the partition: of committed transactions, unless `isolation.level` says otherwise.
    pub end: i64,
}

/// A handler that runs for longer than `handler_limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StuckHandler {
    /// The partition of its record.
    pub partition: TopicPartition,
    /// The record's offset.
    pub offset: i64,
    /// The first bytes of the record's key; `None` where it is null, and for batches.
    pub key: Option<Vec<u8>>,
    /// For how long it has been running.
    pub running_for: Duration,
}

/// Whether a consumer does what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether its control task runs: if not for long, the process should be restarted.
    pub live: bool,
    /// Whether it is a member of its group and has heard which partitions are its own (maybe none).
    pub ready: bool,
    /// Handlers that run for longer than they may.
    pub stuck: Vec<StuckHandler>,
    /// How long ago Kafka confirmed a commit; `None` before the first. With nothing to do there is nothing to commit.
    pub last_commit: Option<Duration>,
    /// How many partitions are assigned.
    pub assigned: usize,
}

impl ConsumerHandle {
    pub(super) fn new(exposure: Arc<Exposure>, attached: Vec<Attached>) -> (Self, mpsc::Receiver<Command>) {
        let (commands, inbox) = mpsc::channel(MOST_COMMANDS);
        let status = Status {
            attached,
            exposure,
            running: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            assigned: AtomicUsize::new(0),
            times: Mutex::default(),
            stuck: Mutex::default(),
        };
        (Self { commands, status: Arc::new(status) }, inbox)
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Begins no more records of these partitions until they are [resumed](Self::resume), also after they have moved
    /// away and come back. Handlers that run go on, and so do commits. A partition may be paused before it is assigned.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the consumer has ended.
    ///
    /// # Cancel safety
    /// Once polled, it may be done though nobody waits.
    pub async fn pause<P: Into<TopicPartition>>(&self, partitions: impl IntoIterator<Item = P>) -> Result<(), Error> {
        let partitions = partitions.into_iter().map(Into::into).collect();
        self.ask(|answer| Command::Pause(partitions, true, answer)).await
    }

    /// Goes on with paused partitions.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    ///
    /// # Cancel safety
    /// As [`pause`](Self::pause).
    pub async fn resume<P: Into<TopicPartition>>(&self, partitions: impl IntoIterator<Item = P>) -> Result<(), Error> {
        let partitions = partitions.into_iter().map(Into::into).collect();
        self.ask(|answer| Command::Pause(partitions, false, answer)).await
    }

    /// Goes on elsewhere in a partition that is assigned: takes no more records, lets the handlers of the partition
    /// finish, commits, and then begins at the new place. What is committed follows the records that are handled there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the partition is not assigned to this member; [`ErrorKind::Closed`] when the consumer
    /// has ended, or the partition moves away meanwhile.
    ///
    /// # Cancel safety
    /// As [`pause`](Self::pause).
    pub async fn seek(&self, partition: impl Into<TopicPartition>, to: StartAt) -> Result<(), Error> {
        let partition = partition.into();
        self.ask(|answer| Command::Seek(partition, to, answer)).await
    }

    /// The assigned partitions: positions, commits, what is in flight.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the consumer has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn partitions(&self) -> Result<Vec<PartitionStatus>, Error> {
        self.ask(Command::Partitions).await
    }

    /// How far each assigned partition is behind, paused ones included: asked of the cluster.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the consumer has ended; what the cluster answers.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn lag(&self) -> Result<Vec<Lag>, Error> {
        self.ask(Command::Lag).await
    }

    /// Whether the consumer does what it should. Asks nobody.
    pub fn health(&self) -> Health {
        let (status, times) = (&self.status, self.status.times.lock());
        let alive = times.alive.is_some_and(|alive| alive.elapsed() < LIVE);
        Health {
            live: alive && status.running.load(Ordering::Relaxed),
            ready: alive && status.ready.load(Ordering::Relaxed),
            stuck: status.stuck.lock().clone(),
            last_commit: times.committed.map(|committed| committed.elapsed()),
            assigned: status.assigned.load(Ordering::Relaxed),
        }
    }

    /// What was [attached](crate::ConsumerBuilder::attach) of this type, in the order in which it was.
    pub fn attached<T: Any + Send + Sync>(&self) -> Vec<Arc<T>> {
        self.status.attached.iter().cloned().filter_map(|one| one.downcast().ok()).collect()
    }

    /// How many records a kill would repeat now, over all partitions.
    pub fn exposure(&self) -> usize {
        self.status.exposure.now()
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Error> {
        let closed = || Error::new(ErrorKind::Closed, "the consumer has ended");
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Status {
    pub(super) fn run(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
        self.alive();
    }

    pub(super) fn alive(&self) {
        self.times.lock().alive = Some(Instant::now());
    }

    pub(super) fn committed(&self) {
        self.times.lock().committed = Some(Instant::now());
    }

    pub(super) fn ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    pub(super) fn assigned(&self, partitions: usize) {
        self.assigned.store(partitions, Ordering::Relaxed);
    }

    pub(super) fn stuck(&self, stuck: Vec<StuckHandler>) {
        *self.stuck.lock() = stuck;
    }
}

impl fmt::Debug for ConsumerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerHandle").field("health", &self.health()).finish_non_exhaustive()
    }
}
