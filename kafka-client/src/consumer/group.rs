//! How members of a group agree on who reads what.

use crate::config::Settings;

/// How members of a group agree on who reads which partitions. All members of a group must use the same protocol, and
/// share an assignor.
///
/// ```
/// use kafka_client::{Assignor, GroupProtocol};
///
/// // Moves as few partitions as possible, and stops only those that move.
/// let calm = GroupProtocol::Classic(Assignor::CooperativeSticky);
/// // Kafka 4: the broker decides.
/// let new = GroupProtocol::Consumer { remote_assignor: None };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupProtocol {
    /// A member decides for all (`group.protocol=classic`).
    Classic(Assignor),
    /// The broker decides (`group.protocol=consumer`, KIP-848; Kafka 4.0 and later). Session and heartbeat are the
    /// group's then, not the member's.
    Consumer {
        /// `group.remote.assignor`: `uniform` or `range`; `None`: the broker's default, `uniform`. Only `range` gives the
        /// same partition numbers of several topics to one member.
        remote_assignor: Option<String>,
    },
}

/// Who reads what, in the classic protocol (`partition.assignment.strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Assignor {
    /// Consecutive partitions of each topic; the same numbers of several topics go to one member.
    Range,
    /// Partitions of all topics in turn.
    RoundRobin,
    /// Even, and as it was before as far as possible; only partitions that move are stopped (KIP-429).
    CooperativeSticky,
}

impl GroupProtocol {
    pub(super) fn apply(&self, settings: &mut Settings) {
        match self {
            Self::Classic(assignor) => {
                settings.typed("group.protocol", "classic");
                settings.typed("partition.assignment.strategy", assignor.name());
            }
            Self::Consumer { remote_assignor } => {
                settings.typed("group.protocol", "consumer");
                if let Some(assignor) = remote_assignor {
                    settings.typed("group.remote.assignor", assignor.clone());
                }
            }
        }
    }
}

impl Assignor {
    fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }
}
