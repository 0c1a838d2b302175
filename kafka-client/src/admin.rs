//! Looking after a cluster: its topics, its groups and what they have committed, its configurations.
//!
//! ```text
//!   topics · groups · group_offsets · offsets · configs ──▶ session ──▶ native
//!                                                           ask · ask again, while the cluster is busy with itself
//! ```
//!
//! Each call is a session of its own: a client that is made for it and ends with it.

mod topics;
mod groups;
mod group_offsets;
mod offsets;
mod configs;
mod session;

use std::fmt;
use std::time::Duration;

use crate::native::{Code, NativeError};
use crate::{Error, ErrorKind, Kafka, Retry};

pub use configs::{ConfigAlteration, ConfigEntry, ConfigResource, ConfigSource, ResourceConfig};
pub use group_offsets::{CommittedOffset, OffsetChange, OffsetTarget, PartitionLag};
pub use groups::{
    AclOperation, DeletedGroup, GroupDescription, GroupList, GroupListing, GroupMember, GroupState, GroupType, Node,
};
pub use offsets::{Isolation, ListedOffset, OffsetSpec};
pub use topics::{Deleted, Ensured, ListedTopic, TopicChange, TopicDescription, TopicSpec};

/// Looks after topics, groups and configurations.
///
/// | | |
/// |---|---|
/// | topics | [`ensure_topics`](Self::ensure_topics), [`list_topics`](Self::list_topics), [`describe_topic`](Self::describe_topic), [`delete_topics`](Self::delete_topics) |
/// | groups | [`list_groups`](Self::list_groups), [`describe_groups`](Self::describe_groups), [`delete_groups`](Self::delete_groups) |
/// | offsets of groups | [`group_offsets`](Self::group_offsets), [`group_lag`](Self::group_lag), [`alter_group_offsets`](Self::alter_group_offsets), [`delete_group_offsets`](Self::delete_group_offsets) |
/// | offsets of partitions | [`list_offsets`](Self::list_offsets) |
/// | configurations | [`describe_configs`](Self::describe_configs), [`alter_configs_incremental`](Self::alter_configs_incremental) |
///
/// Made by [`Kafka::admin`]. Each call opens a connection of its own and closes it at the end, so an idle `Admin` costs
/// nothing. Cheap to clone.
///
/// Calls about several things answer for each of them: a `Vec<Result<..>>` in the order asked, so that one failure
/// hides no success. Such a call fails as a whole when what is asked cannot be, or when nothing was answered.
///
/// ```
/// use kafka_client::{Isolation, Kafka, OffsetSpec, TopicSpec};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), kafka_client::Error> {
/// # let kafka = Kafka::embedded()?;
/// let ensured = kafka
///     .ensure_topics(&[
///         TopicSpec::new("orders", 6).config("retention.ms", "604800000"),
///         TopicSpec::new("orders.dlq", 1).config("cleanup.policy", "compact"),
///     ])
///     .await?;
/// for topic in ensured {
///     println!("{}: {:?}", topic.name(), topic.change());
/// }
///
/// // A group that is to read everything again, shown before it is done.
/// let (admin, orders) = (kafka.admin(), [("orders", 0), ("orders", 1)]);
/// for change in admin.plan_group_offsets("billing", &orders, OffsetSpec::Earliest).await? {
///     let change = change?;
///     println!("orders-{}: from {:?} to {}", change.partition(), change.from(), change.to());
/// }
/// for change in admin.alter_group_offsets("billing", &orders, OffsetSpec::Earliest).await? {
///     change?;
/// }
/// for lag in admin.group_lag("billing", Isolation::ReadCommitted).await? {
///     let lag = lag?;
///     println!("{}-{}: {} behind", lag.topic(), lag.partition(), lag.lag());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Admin {
    kafka: Kafka,
    timeout: Duration,
}

impl Admin {
    pub(crate) fn new(kafka: Kafka) -> Self {
        Self { kafka, timeout: Duration::from_secs(30) }
    }

    /// Sets how long a call may take, overriding the default of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("kafka", &self.kafka).field("timeout", &self.timeout).finish()
    }
}

/// Whether the cluster is the broker inside the process.
fn is_embedded(kafka: &Kafka) -> bool {
    #[cfg(feature = "embedded")]
    return kafka.embedded_broker().is_some();
    #[cfg(not(feature = "embedded"))]
    {
        let _ = kafka;
        false
    }
}

fn is_topic_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(fits)
}

/// Whether the same request may succeed in a moment: the cluster is busy with itself.
fn is_transient(error: &NativeError) -> bool {
    error.retriable
        || matches!(
            error.code,
            Code::NotController
                | Code::RequestTimedOut
                | Code::LeaderNotAvailable
                | Code::BrokerNotAvailable
                | Code::NetworkException
                | Code::BrokerTransportFailure
                | Code::ThrottlingQuotaExceeded
                | Code::NotLeaderForPartition
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::OffsetNotAvailable
                | Code::UnstableOffsetCommit
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::WaitingForCoordinator
                // No partition that was asked about has a leader.
                | Code::NoEnt
        )
}

/// A change that the cluster refuses for what was asked.
fn refusal(error: NativeError) -> Error {
    match error.code {
        Code::InvalidConfig | Code::InvalidReplicationFactor | Code::InvalidTopic => {
            Error::new(ErrorKind::Config, format!("{} ({})", error.text, error.name)).with_retry(Retry::Permanent)
        }
        _ => Error::native(error),
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
