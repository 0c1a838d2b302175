//! What groups have committed: read it, measure it, move it, delete it.

mod alter;
mod model;
mod plan;

use std::collections::HashSet;

use super::Admin;
use super::groups::{NO_SUCH_GROUP, check_group, group_error, has_members, needs_real};
use super::offsets::{Isolation, check_partition, list, partition_error};
use super::session::Session;
use crate::Error;
use crate::native::admin::Requests;
use crate::native::admin::offsets::{Committed, Listed, PerPartition, Spec};
use crate::native::{Code, Event, NativeError};

pub use model::{CommittedOffset, OffsetChange, OffsetTarget, PartitionLag};

const READ: &str = "read group offsets";
const LAG: &str = "measure group lag";
const DELETE: &str = "delete group offsets";

/// The answers about partitions, each with what was asked.
type Answers<T> = Vec<((String, i32), Result<T, Error>)>;

impl Admin {
    /// Tells what a group has committed, by topic and partition. A group that does not exist has committed nothing.
    ///
    /// # Errors
    ///
    /// For all: [`ErrorKind::Config`] for an id that cannot be; [`ErrorKind::Unreachable`] and [`ErrorKind::Timeout`],
    /// after which to call again; [`ErrorKind::Denied`], [`ErrorKind::Broker`]. For one: what the coordinator says
    /// about that partition.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    ///
    /// [`ErrorKind::Config`]: crate::ErrorKind::Config
    /// [`ErrorKind::Unreachable`]: crate::ErrorKind::Unreachable
    /// [`ErrorKind::Timeout`]: crate::ErrorKind::Timeout
    /// [`ErrorKind::Denied`]: crate::ErrorKind::Denied
    /// [`ErrorKind::Broker`]: crate::ErrorKind::Broker
    pub async fn group_offsets(&self, group: &str) -> Result<Vec<Result<CommittedOffset, Error>>, Error> {
        self.read(group, None).await
    }

    /// Tells what a group has committed for these partitions. One answer a partition, in the order of `of`.
    ///
    /// # Errors
    ///
    /// As for [`group_offsets`](Self::group_offsets), and [`ErrorKind::Config`] for a partition that cannot be or is
    /// there twice.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    ///
    /// [`ErrorKind::Config`]: crate::ErrorKind::Config
    pub async fn group_offsets_of(
        &self,
        group: &str,
        of: &[(&str, i32)],
    ) -> Result<Vec<Result<CommittedOffset, Error>>, Error> {
        self.read(group, Some(of)).await
    }

    async fn read(
        &self,
        group: &str,
        of: Option<&[(&str, i32)]>,
    ) -> Result<Vec<Result<CommittedOffset, Error>>, Error> {
        let named = |error: Error| error.with_operation(READ);
        let read = async {
            check(group, of.unwrap_or_default())?;
            let mut session = Session::open_for_group(&self.kafka, self.timeout, group).await?;
            committed(&mut session, group, of).await
        };
        let one = |((topic, partition), answer): ((String, i32), Result<Committed, Error>)| {
            let Committed { offset, metadata, leader_epoch } = answer.map_err(named)?;
            Ok(CommittedOffset { topic, partition, offset, metadata, leader_epoch })
        };
        Ok(read.await.map_err(named)?.into_iter().map(one).collect())
    }

    /// Tells how far a group is behind, on every partition that it has committed an offset for.
    ///
    /// `isolation` says where a partition ends, as the group's consumers see it: it should be their `isolation.level`.
    /// Partitions that the group reads but has not committed for are not there.
    ///
    /// # Errors
    ///
    /// As for [`group_offsets`](Self::group_offsets). A partition that is gone has [`ErrorKind::UnknownTopic`], which
    /// does not keep the others from being measured.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    ///
    /// [`ErrorKind::UnknownTopic`]: crate::ErrorKind::UnknownTopic
    pub async fn group_lag(
        &self,
        group: &str,
        isolation: Isolation,
    ) -> Result<Vec<Result<PartitionLag, Error>>, Error> {
        let named = |error: Error| error.with_operation(LAG);
        let measure = async {
            check(group, &[])?;
            let mut session = Session::open_for_group(&self.kafka, self.timeout, group).await?;
            let committed = committed(&mut session, group, None).await?;
            let ends = list(&mut session, &ends_of(&committed), isolation).await?;
            Ok(lags(committed, ends))
        };
        let lags: Vec<Result<PartitionLag, Error>> = measure.await.map_err(named)?;
        Ok(lags.into_iter().map(|lag| lag.map_err(named)).collect())
    }

    /// Deletes what a group has committed for these partitions. One answer a partition, in the order of `of`. Where
    /// nothing is committed, nothing is done, which is no error.
    ///
    /// The [embedded broker](crate::Kafka::embedded) cannot delete offsets.
    ///
    /// # Errors
    ///
    /// As for [`group_offsets_of`](Self::group_offsets_of), and:
    ///
    /// - For all: the [code](Error::code) `GROUP_ID_NOT_FOUND` when there is no such group.
    /// - For one: the code `NON_EMPTY_GROUP` while the group has members that read the topic.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting. Offsets may have been deleted, or may be still; calling again is fine.
    pub async fn delete_group_offsets(&self, group: &str, of: &[(&str, i32)]) -> Result<Vec<Result<(), Error>>, Error> {
        let named = |error: Error| error.with_operation(DELETE);
        let delete = async {
            check(group, of)?;
            if of.is_empty() {
                return Ok(Vec::new());
            }
            needs_real(&self.kafka, "delete offsets")?;
            let mut session = Session::open(&self.kafka, self.timeout).await?;
            let keys = owned(of);
            let submit = |requests: &Requests<'_>, open: &[usize]| {
                requests.delete_group_offsets(group, &open.iter().map(|at| of[*at]).collect::<Vec<_>>())
            };
            let explain = |at: usize, error| group_partition_error(group, of[at], error);
            session.each(&keys, submit, Event::changed_offsets, explain).await.map_err(|error| at_work(group, error))
        };
        let deleted: Vec<Result<(), Error>> = delete.await.map_err(named)?;
        Ok(deleted.into_iter().map(|result| result.map_err(named)).collect())
    }
}

/// Refuses ids and partitions that cannot be, and partitions said twice.
fn check(group: &str, of: &[(&str, i32)]) -> Result<(), Error> {
    check_group(group)?;
    let mut seen = HashSet::new();
    for (topic, partition) in of {
        check_partition(topic, *partition)?;
        if !seen.insert((topic, partition)) {
            let error = Error::config("the partition is named twice");
            return Err(error.with_topic(*topic).with_partition(Some(*partition)));
        }
    }
    Ok(())
}

fn owned(of: &[(&str, i32)]) -> Vec<(String, i32)> {
    of.iter().map(|(topic, partition)| ((*topic).to_owned(), *partition)).collect()
}

/// What the group has committed, for these partitions or for all for which it has.
async fn committed(
    session: &mut Session,
    group: &str,
    of: Option<&[(&str, i32)]>,
) -> Result<Answers<Committed>, Error> {
    if let Some(of) = of {
        let keys = owned(of);
        let submit = |requests: &Requests<'_>, open: &[usize]| {
            requests.group_offsets(group, Some(&open.iter().map(|at| of[*at]).collect::<Vec<_>>()))
        };
        let explain = |at: usize, error| partition_error(of[at].0, of[at].1, error);
        let answers = match keys.is_empty() {
            true => Vec::new(),
            false => session.each(&keys, submit, Event::committed_offsets, explain).await?,
        };
        return Ok(keys.into_iter().zip(answers).collect());
    }
    let mut all = all_committed(session, group).await?;
    all.retain(|(_, answer)| !matches!(answer, Ok(committed) if committed.offset.is_none()));
    all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let explain = |((topic, partition), answer): ((String, i32), Result<Committed, NativeError>)| {
        let answer = answer.map_err(|error| partition_error(&topic, partition, error));
        ((topic, partition), answer)
    };
    Ok(all.into_iter().map(explain).collect())
}

async fn all_committed(session: &mut Session, group: &str) -> Result<PerPartition<Committed>, Error> {
    if !session.is_embedded() {
        return session.ask(|requests| requests.group_offsets(group, None), Event::committed_offsets).await;
    }
    // The embedded broker takes "all" for none: ask about each.
    let all = session.all_partitions().await?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let all: Vec<(&str, i32)> = all.iter().map(|(topic, partition)| (topic.as_str(), *partition)).collect();
    session.ask(|requests| requests.group_offsets(group, Some(&all)), Event::committed_offsets).await
}

/// What to ask about the partitions whose committed offset is known.
fn ends_of(answers: &Answers<Committed>) -> Vec<(&str, i32, Spec)> {
    let readable = answers.iter().filter(|(_, answer)| answer.is_ok());
    readable.map(|((topic, partition), _)| (topic.as_str(), *partition, Spec::Latest)).collect()
}

/// Puts committed offsets and ends together; there is an end for every committed offset that is known.
fn lags(committed: Answers<Committed>, ends: Vec<Result<Listed, Error>>) -> Vec<Result<PartitionLag, Error>> {
    let mut ends = ends.into_iter();
    let mut lag = |((topic, partition), answer): ((String, i32), Result<Committed, Error>)| {
        let committed = answer?.offset.unwrap_or(0);
        let end = match ends.next() {
            Some(end) => end?.offset,
            None => None,
        };
        let end = end.ok_or_else(|| partition_error(&topic, partition, NativeError::no_answer()))?;
        Ok(PartitionLag { topic, partition, committed, end })
    };
    committed.into_iter().map(&mut lag).collect()
}

/// What went wrong with a group on a partition. A member that came in between shows as an error about *us*: we are
/// none.
fn group_partition_error(group: &str, (topic, partition): (&str, i32), error: NativeError) -> Error {
    let error = match error.code {
        Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::StaleMemberEpoch
        | Code::RebalanceInProgress
        | Code::GroupSubscribedToTopic => has_members(group, "active members").with_source(error),
        Code::UnknownTopicOrPartition => Error::native(error),
        _ => group_error(group, error),
    };
    error.with_topic(topic).with_partition(Some(partition))
}

/// What went wrong with a group as a whole.
fn at_work(group: &str, error: Error) -> Error {
    match error.code() {
        Some("UNKNOWN_MEMBER_ID" | "NON_EMPTY_GROUP") => has_members(group, "active members").with_source(error),
        Some(NO_SUCH_GROUP) => group_error(group, NativeError::no_such_group()),
        _ => error,
    }
}
