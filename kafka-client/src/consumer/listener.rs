//! Rebalance listeners: code that runs when partitions come and go.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::future::Future;
use std::time::SystemTime;

use futures::future::BoxFuture;

use crate::partition::TopicPartition;

/// An error of a listener or an interceptor, of any type.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Is told when partitions come to this member and when they leave it.
///
/// ```text
///   assigned ──▶ records are handled ──▶ (intake stops, handlers finish, offsets are committed) ──▶ revoked
///                                   └──▶ (the member was taken for dead, or a deadline passed)  ──▶ lost
/// ```
///
/// All three are async and may take their time, within bounds: `assigned` holds up the new partitions only;
/// `revoked` shares one deadline with the drain and the commit (`drain_timeout`), because the group waits for it, and
/// meanwhile no other partition of this member is fetched. At the deadline the partitions are lost. Nobody waits for `lost`
/// but partitions that come back, what else the listener is told, and the consumer's end; after `drain_timeout` it is
/// dropped.
///
/// Partitions that a member keeps stand still until the answer, in the cooperative protocols, too. Measured with a
/// `revoked` of 1.5 s: they paused for 2.4 s with cooperative-sticky and 2.1 s with Kafka 4's protocol, beyond what had
/// been fetched already, and went on by themselves.
///
/// ```
/// use kafka_client::{Assigned, BoxError, RebalanceListener, TopicPartition};
///
/// struct Cache;
///
/// impl RebalanceListener for Cache {
///     async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
///         for partition in assigned.partitions() {
///             println!("warming up for {partition}");
///         }
///         Ok(())
///     }
///
///     async fn revoked(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
///         println!("{} partitions are finished here", partitions.len());
///         Ok(())
///     }
/// }
/// ```
pub trait RebalanceListener: Send + Sync + 'static {
    /// Partitions were assigned; none of their records is handled before this returns. May set where to start, from a
    /// store of its own for instance.
    ///
    /// # Errors
    /// End the consumer.
    fn assigned(&self, assigned: &mut Assigned) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = assigned;
        async { Ok(()) }
    }

    /// Partitions go to other members, or the consumer ends: their handlers have finished, and their offsets are
    /// committed. Where this is not done by the deadline it is dropped, and the partitions are [`lost`](Self::lost).
    ///
    /// # Errors
    /// End the consumer.
    fn revoked(&self, partitions: &[TopicPartition]) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = partitions;
        async { Ok(()) }
    }

    /// Partitions belong to other members already: nothing more can be committed, and what was not is handled again
    /// there, records included that were read here after the group had taken this member for dead and before it heard of
    /// that. Work that is not undone by itself (open transactions, local state) should be dropped here.
    ///
    /// # Errors
    /// End the consumer.
    fn lost(&self, partitions: &[TopicPartition]) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = partitions;
        async { Ok(()) }
    }
}

/// Partitions that have just been assigned, and where to start on them.
#[derive(Debug)]
pub struct Assigned {
    partitions: Vec<TopicPartition>,
    committed: BTreeMap<TopicPartition, i64>,
    starts: BTreeMap<TopicPartition, StartAt>,
}

/// Where to start, or to seek to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartAt {
    /// The record with this offset, or the next one there is. Beyond the end of the partition, or before its beginning,
    /// Kafka knows no such place, and [`StartFrom`](crate::StartFrom) decides.
    Offset(i64),
    /// The oldest record.
    Beginning,
    /// Behind the newest record.
    End,
    /// The first record that is not older than this; behind the newest where there is none.
    Time(SystemTime),
}

impl Assigned {
    pub(super) fn new(partitions: Vec<TopicPartition>, committed: BTreeMap<TopicPartition, i64>) -> Self {
        Self { partitions, committed, starts: BTreeMap::new() }
    }

    /// The partitions.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.partitions.clone()
    }

    /// The offset that the group has committed, where it has.
    pub fn committed(&self, partition: &TopicPartition) -> Option<i64> {
        self.committed.get(partition).copied()
    }

    /// Sets where to start on a partition, overriding the committed offset and `start_from`. Ignored for a partition
    /// that is not among those assigned.
    pub fn start_at(&mut self, partition: &TopicPartition, start: StartAt) {
        if self.partitions.contains(partition) {
            self.starts.insert(partition.clone(), start);
        }
    }

    pub(super) fn into_starts(self) -> BTreeMap<TopicPartition, StartAt> {
        self.starts
    }
}

/// The listener as the control task sees it.
pub(super) trait DynListener: Send + Sync {
    fn assigned<'a>(&'a self, assigned: &'a mut Assigned) -> BoxFuture<'a, Result<(), BoxError>>;
    fn revoked<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<(), BoxError>>;
    fn lost<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<(), BoxError>>;
}

impl<L: RebalanceListener> DynListener for L {
    fn assigned<'a>(&'a self, assigned: &'a mut Assigned) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RebalanceListener::assigned(self, assigned))
    }

    fn revoked<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RebalanceListener::revoked(self, partitions))
    }

    fn lost<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RebalanceListener::lost(self, partitions))
    }
}
