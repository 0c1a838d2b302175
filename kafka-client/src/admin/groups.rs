//! Groups: list them, look into them, delete them.

mod model;

use std::collections::HashSet;

use super::session::Session;
use super::{Admin, is_embedded};
use crate::native::admin::Requests;
use crate::native::admin::groups::Described;
use crate::native::{Code, Event, NativeError};
use crate::{Error, ErrorKind, Kafka, Retry};

pub use model::{
    AclOperation, DeletedGroup, GroupDescription, GroupList, GroupListing, GroupMember, GroupState, GroupType, Node,
};

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
        groups.sort_unstable_by(|one, other| one.id().cmp(other.id()));
        groups.dedup_by(|one, other| one.id() == other.id());
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
        group if group.state() == GroupState::Dead && group.members().is_empty() => {
            Err(group_error(group.id(), NativeError::no_such_group()))
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
    match is_embedded(kafka) {
        true => Err(Error::new(ErrorKind::Broker, format!("the embedded broker cannot {what}"))),
        false => Ok(()),
    }
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
