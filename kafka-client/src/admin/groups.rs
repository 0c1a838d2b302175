//! Groups: list them, look into them, delete them.

use std::collections::HashSet;
use std::fmt;

use super::Admin;
use super::session::Session;
use crate::native::admin::Requests;
use crate::native::admin::groups::{Described, DescribedMember, Kind, Listed};
use crate::native::{Code, Event, NativeError};
use crate::{Error, ErrorKind, Kafka, Retry};

const LIST: &str = "list groups";
const DESCRIBE: &str = "describe groups";
const DELETE: &str = "delete groups";

impl Admin {
    /// Lists the consumer groups of the cluster: those that have members, and those that only have committed offsets.
    ///
    /// Every broker lists the groups that it coordinates. Groups of other kinds (Kafka Connect, share groups) are left
    /// out.
    ///
    /// The [embedded broker](Kafka::embedded) cannot list groups.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Unreachable`], [`ErrorKind::Timeout`]: call again.
    /// - [`ErrorKind::Denied`], [`ErrorKind::Broker`]: the cluster refuses; [`Error::code`] says why.
    ///
    /// When some brokers answer and some do not, [`GroupList::errors`] holds what those said.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn list_groups(&self) -> Result<GroupList, Error> {
        self.list_groups_in(&[]).await
    }

    /// Lists the consumer groups that are in one of these states; in any, if there are none.
    ///
    /// # Errors
    ///
    /// As for [`list_groups`](Self::list_groups), and [`ErrorKind::Config`] for [`GroupState::Unknown`], which nobody
    /// can look for.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn list_groups_in(&self, states: &[GroupState]) -> Result<GroupList, Error> {
        self.list(states).await.map_err(|error| error.with_operation(LIST))
    }

    async fn list(&self, states: &[GroupState]) -> Result<GroupList, Error> {
        if states.contains(&GroupState::Unknown) {
            return Err(Error::config("`GroupState::Unknown` is no state to look for"));
        }
        let mut names: Vec<&str> = states.iter().map(|state| state.name()).collect();
        names.sort_unstable();
        names.dedup();
        needs_real(&self.kafka, "list groups")?;
        let mut session = Session::open(&self.kafka, self.timeout).await?;
        let listing = session.list_groups(&names).await?;
        let errors: Vec<Error> =
            listing.errors.into_iter().map(|error| Error::native(error).with_operation(LIST)).collect();
        let mut groups: Vec<GroupListing> = listing.groups.into_iter().map(GroupListing::from).collect();
        if let (true, Some(error)) = (groups.is_empty(), errors.first()) {
            return Err(error.clone());
        }
        // A group that changes its coordinator may be listed by both.
        groups.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        groups.dedup_by(|one, other| one.id == other.id);
        Ok(GroupList { groups, errors })
    }

    /// Tells what consumer groups are like: their state, their members and what those read. One answer a group, in the
    /// order of `ids`.
    ///
    /// The [embedded broker](Kafka::embedded) cannot describe groups.
    ///
    /// # Errors
    ///
    /// As for [`list_groups`](Self::list_groups), and [`ErrorKind::Config`] for an id that cannot be or is there twice.
    /// A group that does not exist has the [code](Error::code) `GROUP_ID_NOT_FOUND`; it does not keep the others from
    /// being described.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn describe_groups(&self, ids: &[&str]) -> Result<Vec<Result<GroupDescription, Error>>, Error> {
        let named = |error: Error| error.with_operation(DESCRIBE);
        let described = self.describe_all(ids).await.map_err(named)?;
        Ok(described.into_iter().map(|group| group.map_err(named)).collect())
    }

    async fn describe_all(&self, ids: &[&str]) -> Result<Vec<Result<GroupDescription, Error>>, Error> {
        check_groups(ids)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        needs_real(&self.kafka, "describe groups")?;
        let mut session = Session::open(&self.kafka, self.timeout).await?;
        describe(&mut session, ids).await
    }

    /// Deletes consumer groups, with the offsets that they have committed. A group that does not exist is no error. One
    /// answer a group, in the order of `ids`.
    ///
    /// The [embedded broker](Kafka::embedded) cannot delete groups.
    ///
    /// # Errors
    ///
    /// As for [`describe_groups`](Self::describe_groups). A group with members stays, and has the
    /// [code](Error::code) `NON_EMPTY_GROUP`; it does not keep the others from going.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting. Groups may have been deleted, or may be still; calling again is fine.
    pub async fn delete_groups(&self, ids: &[&str]) -> Result<Vec<Result<DeletedGroup, Error>>, Error> {
        let named = |error: Error| error.with_operation(DELETE);
        let deleted = self.delete_all_groups(ids).await.map_err(named)?;
        Ok(deleted.into_iter().map(|group| group.map_err(named)).collect())
    }

    async fn delete_all_groups(&self, ids: &[&str]) -> Result<Vec<Result<DeletedGroup, Error>>, Error> {
        check_groups(ids)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        needs_real(&self.kafka, "delete groups")?;
        let mut session = Session::open(&self.kafka, self.timeout).await?;
        let keys: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let submit = |requests: &Requests<'_>, open: &[usize]| {
            requests.delete_groups(&open.iter().map(|at| ids[*at]).collect::<Vec<_>>())
        };
        let explain = |at: usize, error| group_error(ids[at], error);
        let answers = session.each(&keys, submit, Event::deleted_groups, explain).await?;
        let one = |(id, answer): (String, Result<(), Error>)| match answer {
            Ok(()) => Ok(DeletedGroup { id, existed: true }),
            Err(error) if error.code() == Some(NO_SUCH_GROUP) => Ok(DeletedGroup { id, existed: false }),
            Err(error) => Err(error),
        };
        Ok(keys.into_iter().zip(answers).map(one).collect())
    }
}

/// What the coordinators say about these groups, whose ids are checked.
pub(super) async fn describe(
    session: &mut Session,
    ids: &[&str],
) -> Result<Vec<Result<GroupDescription, Error>>, Error> {
    let keys: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let submit = |requests: &Requests<'_>, open: &[usize]| {
        requests.describe_groups(&open.iter().map(|at| ids[*at]).collect::<Vec<_>>())
    };
    let explain = |at: usize, error| group_error(ids[at], error);
    let answers = session.each(&keys, submit, Event::group_descriptions, explain).await?;
    let one = |(id, answer): (String, Result<Described, Error>)| match GroupDescription::new(id, answer?) {
        // How a coordinator of the classic protocol describes what it has never heard of.
        group if group.state == GroupState::Dead && group.members.is_empty() => {
            Err(group_error(&group.id, NativeError::no_such_group()))
        }
        group => Ok(group),
    };
    Ok(keys.into_iter().zip(answers).map(one).collect())
}

/// How Kafka calls it when a group does not exist.
pub(super) const NO_SUCH_GROUP: &str = "GROUP_ID_NOT_FOUND";

/// What went wrong with a group, and with which.
pub(super) fn group_error(group: &str, error: NativeError) -> Error {
    match error.code {
        Code::GroupIdNotFound => Error::native(error.with_text(format!("group {group} does not exist"))),
        Code::NonEmptyGroup => has_members(group, "members"),
        _ => {
            let text = format!("group {group}: {}", error.text);
            Error::native(error.with_text(text))
        }
    }
}

/// What can be done only while a group is not at work.
pub(super) fn has_members(group: &str, members: &str) -> Error {
    let text = format!("group {group} has {members}: stop them first, or wait until their session ends");
    Error::native(NativeError::group_has_members().with_text(text)).with_retry(Retry::Temporary)
}

/// Refuses what the broker inside the process does not speak.
pub(super) fn needs_real(kafka: &Kafka, what: &str) -> Result<(), Error> {
    #[cfg(feature = "embedded")]
    if kafka.embedded_broker().is_some() {
        return Err(Error::new(ErrorKind::Broker, format!("the embedded broker cannot {what}")));
    }
    let _ = (kafka, what, ErrorKind::Broker);
    Ok(())
}

/// Refuses ids that cannot be, and ids said twice.
pub(super) fn check_groups(ids: &[&str]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for id in ids {
        check_group(id)?;
        if !seen.insert(id) {
            return Err(Error::config(format!("group {id} is named twice")));
        }
    }
    Ok(())
}

pub(super) fn check_group(id: &str) -> Result<(), Error> {
    match id {
        "" => Err(Error::config("a group's id is not empty")),
        id if id.contains('\0') => Err(Error::config(format!("a group's id has no NUL, as {id:?} has"))),
        id if id.len() > LONGEST_ID => {
            Err(Error::config(format!("a group's id has {LONGEST_ID} bytes at most, not {}", id.len())))
        }
        _ => Ok(()),
    }
}

/// The longest string that Kafka's protocol takes.
const LONGEST_ID: usize = i16::MAX as usize;

/// The consumer groups of a cluster, in the order of their ids.
#[derive(Clone, Debug)]
pub struct GroupList {
    groups: Vec<GroupListing>,
    errors: Vec<Error>,
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
    fn new(id: String, described: Described) -> Self {
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
    fn named(name: &str) -> Self {
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
    id: String,
    existed: bool,
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
