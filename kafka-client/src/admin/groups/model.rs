//! What is told about groups.

use std::fmt;

use crate::Error;
use crate::native::admin::groups::{Described, DescribedMember, Kind, Listed};

/// The consumer groups of a cluster, in the order of their ids.
#[derive(Clone, Debug)]
pub struct GroupList {
    pub(super) groups: Vec<GroupListing>,
    pub(super) errors: Vec<Error>,
}

impl GroupList {
    /// The groups.
    pub fn groups(&self) -> &[GroupListing] {
        &self.groups
    }

    /// The groups, for keeping.
    pub fn into_groups(self) -> Vec<GroupListing> {
        self.groups
    }

    /// What those brokers said that could not list their groups; these are missing then. Empty: the list is complete.
    pub fn errors(&self) -> &[Error] {
        &self.errors
    }
}

/// A consumer group, as a broker lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    id: String,
    state: GroupState,
    group_type: GroupType,
    simple: bool,
}

impl GroupListing {
    /// Its id: `group.id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is doing.
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// Which protocol its members speak.
    pub fn group_type(&self) -> GroupType {
        self.group_type
    }

    /// Whether there are only committed offsets, by somebody who never joined.
    pub fn is_simple(&self) -> bool {
        self.simple
    }
}

impl From<Listed> for GroupListing {
    fn from(listed: Listed) -> Self {
        let Listed { id, state, kind, simple } = listed;
        Self { id, state: GroupState::named(&state), group_type: kind.into(), simple }
    }
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupState {
    /// It waits for its members to join again.
    PreparingRebalance,
    /// It hands out partitions.
    CompletingRebalance,
    /// Its members read what they have been given.
    Stable,
    /// It is going, or gone.
    Dead,
    /// It has no members; its offsets are kept.
    Empty,
    /// Anything else. The consumer protocol's `Assigning` and `Reconciling`, while partitions move, are told as this.
    Unknown,
}

impl GroupState {
    const ALL: [Self; 5] = [Self::PreparingRebalance, Self::CompletingRebalance, Self::Stable, Self::Dead, Self::Empty];

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
            Self::Empty => "Empty",
            Self::Unknown => "Unknown",
        }
    }

    fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.name() == name).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which protocol the members of a group speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupType {
    /// `group.protocol=classic`: the members hand out the partitions. Groups without members are of this type as well.
    Classic,
    /// `group.protocol=consumer` (KIP-848): the broker hands them out.
    Consumer,
    /// The broker does not tell.
    Unknown,
}

impl From<Kind> for GroupType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Classic => Self::Classic,
            Kind::Consumer => Self::Consumer,
            Kind::Unknown => Self::Unknown,
        }
    }
}

/// A consumer group, as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    id: String,
    state: GroupState,
    group_type: GroupType,
    simple: bool,
    assignor: Option<String>,
    coordinator: Option<Node>,
    operations: Option<Vec<AclOperation>>,
    members: Vec<GroupMember>,
}

impl GroupDescription {
    pub(super) fn new(id: String, described: Described) -> Self {
        let Described { state, kind, simple, assignor, coordinator, operations, members } = described;
        let operation = |name: String| AclOperation::named(&name);
        Self {
            id,
            state: GroupState::named(&state),
            group_type: kind.into(),
            simple,
            assignor: Some(assignor).filter(|assignor| !assignor.is_empty()),
            coordinator: coordinator.map(|(id, host, port)| Node { id, host, port }),
            operations: operations.map(|names| names.into_iter().map(operation).collect()),
            members: members.into_iter().map(GroupMember::from).collect(),
        }
    }

    /// Its id: `group.id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is doing.
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// Which protocol its members speak.
    pub fn group_type(&self) -> GroupType {
        self.group_type
    }

    /// Whether there are only committed offsets, by somebody who never joined.
    pub fn is_simple(&self) -> bool {
        self.simple
    }

    /// Who hands out the partitions: `range`, `cooperative-sticky`, `uniform`. `None` while nobody does.
    pub fn assignor(&self) -> Option<&str> {
        self.assignor.as_deref()
    }

    /// The broker that keeps the group.
    pub fn coordinator(&self) -> Option<&Node> {
        self.coordinator.as_ref()
    }

    /// What the caller may do with the group; `None` where the cluster does not say.
    pub fn authorized_operations(&self) -> Option<&[AclOperation]> {
        self.operations.as_deref()
    }

    /// Its members.
    pub fn members(&self) -> &[GroupMember] {
        &self.members
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    id: String,
    client_id: String,
    host: String,
    instance_id: Option<String>,
    assignment: Vec<(String, i32)>,
    target_assignment: Option<Vec<(String, i32)>>,
}

impl GroupMember {
    /// The id that it has for as long as it is a member.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its `client.id`.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Where it connects from, as the broker sees it: `/10.0.0.7`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name that it keeps over restarts, `group.instance.id`; `None` if it is no static member.
    pub fn instance_id(&self) -> Option<&str> {
        self.instance_id.as_deref()
    }

    /// The topics and partitions that it reads.
    pub fn assignment(&self) -> &[(String, i32)] {
        &self.assignment
    }

    /// Those that it is to read once every member has given up what it should. `None` in the classic protocol.
    pub fn target_assignment(&self) -> Option<&[(String, i32)]> {
        self.target_assignment.as_deref()
    }
}

impl From<DescribedMember> for GroupMember {
    fn from(member: DescribedMember) -> Self {
        let DescribedMember { id, client_id, host, instance_id, mut assignment, mut target } = member;
        assignment.sort_unstable();
        if let Some(target) = &mut target {
            target.sort_unstable();
        }
        Self { id, client_id, host, instance_id, assignment, target_assignment: target }
    }
}

/// A broker, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    id: i32,
    host: String,
    port: u16,
}

impl Node {
    /// Its number: `node.id`.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The host that clients connect to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Something that a caller may do or not, as Kafka's access control has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "Kafka's own names, which say it")]
pub enum AclOperation {
    All,
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
    /// One that has no name here.
    Unknown,
}

impl AclOperation {
    pub(in crate::admin) fn named(name: &str) -> Self {
        match name {
            "ALL" => Self::All,
            "READ" => Self::Read,
            "WRITE" => Self::Write,
            "CREATE" => Self::Create,
            "DELETE" => Self::Delete,
            "ALTER" => Self::Alter,
            "DESCRIBE" => Self::Describe,
            "CLUSTER_ACTION" => Self::ClusterAction,
            "DESCRIBE_CONFIGS" => Self::DescribeConfigs,
            "ALTER_CONFIGS" => Self::AlterConfigs,
            "IDEMPOTENT_WRITE" => Self::IdempotentWrite,
            _ => Self::Unknown,
        }
    }
}

/// A group that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedGroup {
    pub(super) id: String,
    pub(super) existed: bool,
}

impl DeletedGroup {
    /// Its id: `group.id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether there was one, which this call has deleted.
    pub fn existed(&self) -> bool {
        self.existed
    }
}
