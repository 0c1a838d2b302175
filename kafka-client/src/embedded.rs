//! A broker inside the process, for trying out and for tests.

use std::fmt;
use std::time::Duration;

use crate::Error;
use crate::native::NativeError;
use crate::native::mock::Mock;

/// One broker is enough for everything that this can prove.
const BROKERS: i32 = 1;

/// A broker inside this process, and the strings to make it misbehave.
///
/// Made by [`Kafka::embedded`](crate::Kafka::embedded) and reached through
/// [`Kafka::embedded_broker`](crate::Kafka::embedded_broker). It stops when the last handle to it goes, and with it
/// everything that was written.
///
/// It speaks Kafka's protocol as far as producing, consuming and groups go. **What it cannot do:**
///
/// - It proves nothing about transactions: it shows aborted records under `read_committed`, drops the offsets that a
///   transaction commits, and fences no zombie.
/// - It keeps about 5 MiB a partition; older records go first, read or not.
/// - It has no topic configurations, no retention by time, no compaction, no quotas, no permissions, no TLS, no login.
/// - Topics cannot be deleted or grown. A producer that sends to an unknown topic creates it, with 4 partitions.
/// - One broker: no replication, no change of leaders.
/// - Every join of a group but its first takes nearly `session.timeout.ms` (2 s there, unless set), and while another
///   member joins, commits are refused, so that a hand-over repeats records which real Kafka would not repeat.
/// - Every acknowledgement carries the same made-up timestamp, and a static member (`group.instance.id`) that was
///   killed gets nothing when it comes back.
///
/// ```
/// use kafka_client::{Fault, Kafka, Request};
///
/// # fn main() -> Result<(), kafka_client::Error> {
/// let kafka = Kafka::embedded()?;
/// if let Some(broker) = kafka.embedded_broker() {
///     broker.create_topic("orders", 3)?;
///     // The next two requests to write are refused; a producer sends again and nothing is lost.
///     broker.fail_requests(Request::Produce, Fault::NotEnoughReplicas, 2)?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Embedded {
    /// Stopped where the last handle is dropped: that takes less than a millisecond, and its own client ends elsewhere.
    mock: Mock,
    bootstrap_servers: String,
}

impl Embedded {
    pub(crate) fn start() -> Result<Self, Error> {
        let failed = |error| Error::native(error).with_operation("start the embedded broker");
        let mock = Mock::new(BROKERS).map_err(failed)?;
        Ok(Self { bootstrap_servers: mock.bootstrap_servers(), mock })
    }

    /// Where it listens, for clients of another kind.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Creates a topic.
    ///
    /// # Errors
    ///
    /// When the topic exists, or when the name or the number of partitions is none.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), Error> {
        if name.is_empty() || partitions < 1 {
            let text = format!("a topic has a name and a partition at least, not {name:?} and {partitions}");
            return Err(Error::config(text).with_operation("create topic"));
        }
        self.ask("create topic", |mock| mock.create_topic(name, partitions)).map_err(|error| error.with_topic(name))
    }

    /// Answers the next `times` requests of a kind with a fault, whoever sends them.
    ///
    /// # Errors
    ///
    /// When [`Fault::Code`] holds a number that is no error of Kafka.
    pub fn fail_requests(&self, request: Request, fault: Fault, times: usize) -> Result<(), Error> {
        self.ask("fail requests", |mock| mock.fail_requests(request as i16, fault.code(), times))
    }

    /// Delays every answer, as a network of this round trip would. Zero is the default.
    ///
    /// # Errors
    ///
    /// When the broker is gone.
    pub fn round_trip(&self, delay: Duration) -> Result<(), Error> {
        self.ask("set the round trip", |mock| mock.round_trip(BROKERS, delay))
    }

    /// Closes every connection and takes no new one, until it is [`reachable`](Self::reachable) again.
    ///
    /// # Errors
    ///
    /// When the broker is gone.
    pub fn unreachable(&self) -> Result<(), Error> {
        self.ask("take the broker off the network", |mock| mock.reachable(BROKERS, false))
    }

    /// Takes connections again, after [`unreachable`](Self::unreachable).
    ///
    /// # Errors
    ///
    /// When the broker is gone.
    pub fn reachable(&self) -> Result<(), Error> {
        self.ask("put the broker on the network", |mock| mock.reachable(BROKERS, true))
    }

    fn ask(&self, operation: &'static str, ask: impl FnOnce(&Mock) -> Result<(), NativeError>) -> Result<(), Error> {
        ask(&self.mock).map_err(|error| Error::native(error).with_operation(operation))
    }

    /// The native cluster, for who needs its own answers.
    pub(crate) fn mock(&self) -> &Mock {
        &self.mock
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("bootstrap_servers", &self.bootstrap_servers).finish()
    }
}

/// What a client asks a broker for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Request {
    /// Write records.
    Produce = 0,
    /// Read records.
    Fetch = 1,
    /// Where a partition starts and ends.
    ListOffsets = 2,
    /// Which topics, partitions and leaders there are.
    Metadata = 3,
    /// Store the offsets of a group.
    OffsetCommit = 8,
    /// Read the offsets of a group.
    OffsetFetch = 9,
    /// Who coordinates a group or a transaction.
    FindCoordinator = 10,
    /// Enter a group.
    JoinGroup = 11,
    /// Stay in a group.
    Heartbeat = 12,
    /// Leave a group.
    LeaveGroup = 13,
    /// Hand out the partitions of a group.
    SyncGroup = 14,
    /// Start an idempotent or transactional producer.
    InitProducerId = 22,
    /// Add partitions to a transaction.
    AddPartitionsToTransaction = 24,
    /// Add a group to a transaction.
    AddOffsetsToTransaction = 25,
    /// Commit or abort a transaction.
    EndTransaction = 26,
    /// Store the offsets of a group in a transaction.
    TransactionOffsetCommit = 28,
}

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The connection breaks; the client does not learn whether the request was served.
    Disconnect,
    /// Somebody else leads the partition by now.
    NotLeader,
    /// It took the broker too long.
    RequestTimedOut,
    /// The record is too large.
    MessageTooLarge,
    /// The group's coordinator is not there yet.
    CoordinatorNotAvailable,
    /// Somebody else coordinates the group by now.
    NotCoordinator,
    /// Too few replicas are in sync; nothing was written.
    NotEnoughReplicas,
    /// Too few replicas are in sync; the record was written before that was known.
    NotEnoughReplicasAfterAppend,
    /// The member has missed a rebalance.
    IllegalGeneration,
    /// The member was put out of its group.
    UnknownMember,
    /// The group hands out its partitions anew.
    RebalanceInProgress,
    /// The client may not use the topic.
    TopicAuthorizationFailed,
    /// The client may not use the group.
    GroupAuthorizationFailed,
    /// The broker's disk fails.
    StorageError,
    /// Any other, by Kafka's number for it.
    Code(i16),
}

impl Fault {
    fn code(self) -> i16 {
        match self {
            // librdkafka's own code for a broken connection: its broker breaks it.
            Self::Disconnect => -195,
            Self::NotLeader => 6,
            Self::RequestTimedOut => 7,
            Self::MessageTooLarge => 10,
            Self::CoordinatorNotAvailable => 15,
            Self::NotCoordinator => 16,
            Self::NotEnoughReplicas => 19,
            Self::NotEnoughReplicasAfterAppend => 20,
            Self::IllegalGeneration => 22,
            Self::UnknownMember => 25,
            Self::RebalanceInProgress => 27,
            Self::TopicAuthorizationFailed => 29,
            Self::GroupAuthorizationFailed => 30,
            Self::StorageError => 56,
            Self::Code(code) => code,
        }
    }
}
