//! What groups have committed: read it, measure it, move it, delete it.
//!
//! ```text
//!   alter ──▶ committed · earliest · latest · by time ──▶ plan (pure) ──▶ a dry run ends here
//!                                                           └─ nobody is at work? ──▶ commit
//! ```

use std::collections::HashSet;

use super::Admin;
use super::groups::{NO_SUCH_GROUP, check_group, describe, group_error, has_members, needs_real};
use super::offset_plan::{Goal, Range, goal};
use super::offsets::{Isolation, OffsetSpec, check_partition, list, partition_error};
use super::session::Session;
use crate::native::admin::Requests;
use crate::native::admin::offsets::{Committed, Listed, PerPartition, Spec};
use crate::native::{Code, Event, NativeError};
use crate::{Error, ErrorKind};

const READ: &str = "read group offsets";
const LAG: &str = "measure group lag";
const PLAN: &str = "plan group offsets";
const ALTER: &str = "alter group offsets";
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

    /// Commits offsets for a group that is not at work: where its members go on once they start. One answer a
    /// partition, in the order of `of`, with what was committed before.
    ///
    /// An offset outside the log is moved to its start or end, and [`OffsetChange::wanted`] tells so. A time after the
    /// last record means the end. What was committed along with the offset ([`CommittedOffset::metadata`]) goes. A
    /// group that does not exist yet comes to be, so the offsets of a group can be set before its first member starts.
    ///
    /// [`plan_group_offsets`](Self::plan_group_offsets) tells what it would do.
    ///
    /// ```
    /// use kafka_client::{Kafka, OffsetSpec, TopicSpec};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), kafka_client::Error> {
    /// # let kafka = Kafka::embedded()?;
    /// kafka.ensure_topics(&[TopicSpec::new("orders", 2)]).await?;
    /// let orders = [("orders", 0), ("orders", 1)];
    /// for change in kafka.admin().alter_group_offsets("billing", &orders, OffsetSpec::Latest).await? {
    ///     let change = change?;
    ///     println!("{}-{}: from {:?} to {}", change.topic(), change.partition(), change.from(), change.to());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`group_offsets_of`](Self::group_offsets_of), and:
    ///
    /// - For all: the [code](Error::code) `NON_EMPTY_GROUP` when the group has members. Stop them, or wait until their
    ///   session ends, and call again. Should one come in the middle of the call, the partitions have that code.
    /// - For one: [`ErrorKind::UnknownTopic`]; [`ErrorKind::Config`] for [`OffsetTarget::ShiftBy`] where nothing is
    ///   committed to shift from. These do not keep the others from being committed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting. Offsets may have been committed, or may be still, all or none of those of a
    /// call. Calling again is fine, but for [`OffsetTarget::ShiftBy`], which may have shifted already.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        of: &[(&str, i32)],
        target: impl Into<OffsetTarget>,
    ) -> Result<Vec<Result<OffsetChange, Error>>, Error> {
        let (target, named) = (target.into(), |error: Error| error.with_operation(ALTER));
        let altered = self.change(group, of, target, Carry::Out).await.map_err(named)?;
        Ok(altered.into_iter().map(|change| change.map_err(named)).collect())
    }

    /// Tells what [`alter_group_offsets`](Self::alter_group_offsets) would do, and changes nothing. The group may be at
    /// work.
    ///
    /// # Errors
    ///
    /// As for [`alter_group_offsets`](Self::alter_group_offsets), but for `NON_EMPTY_GROUP`.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn plan_group_offsets(
        &self,
        group: &str,
        of: &[(&str, i32)],
        target: impl Into<OffsetTarget>,
    ) -> Result<Vec<Result<OffsetChange, Error>>, Error> {
        let (target, named) = (target.into(), |error: Error| error.with_operation(PLAN));
        let planned = self.change(group, of, target, Carry::Nothing).await.map_err(named)?;
        Ok(planned.into_iter().map(|change| change.map_err(named)).collect())
    }

    async fn change(
        &self,
        group: &str,
        of: &[(&str, i32)],
        target: OffsetTarget,
        carry: Carry,
    ) -> Result<Vec<Result<OffsetChange, Error>>, Error> {
        check(group, of)?;
        let by_time = target.by_time()?;
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = Session::open_for_group(&self.kafka, self.timeout, group).await?;
        if carry == Carry::Out {
            refuse_members(&mut session, group).await?;
        }
        let mut changes = plan(&mut session, group, of, target, by_time).await?;
        if carry == Carry::Out {
            commit(&mut session, group, &mut changes).await?;
        }
        Ok(changes)
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Carry {
    Out,
    Nothing,
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

/// Refuses a group that has members. Whoever may not describe it learns from the commit.
async fn refuse_members(session: &mut Session, group: &str) -> Result<(), Error> {
    if session.is_embedded() {
        return Ok(());
    }
    match describe(session, &[group]).await?.pop() {
        Some(Ok(described)) if !described.members().is_empty() => {
            let count = described.members().len();
            let noun = if count == 1 { "member" } else { "members" };
            Err(has_members(group, &format!("{count} {noun}")))
        }
        Some(Err(error)) if error.code() != Some(NO_SUCH_GROUP) && error.kind() != ErrorKind::Denied => Err(error),
        _ => Ok(()),
    }
}

/// What is to be done for each partition.
async fn plan(
    session: &mut Session,
    group: &str,
    of: &[(&str, i32)],
    target: OffsetTarget,
    by_time: Option<Spec>,
) -> Result<Vec<Result<OffsetChange, Error>>, Error> {
    // The ends of the log are those of all its records, as for Kafka's own tools.
    let specs = [Some(Spec::Earliest), Some(Spec::Latest), by_time];
    let lines = |spec| of.iter().map(move |(topic, partition)| (*topic, *partition, spec));
    let lines: Vec<_> = specs.into_iter().flatten().flat_map(lines).collect();
    let mut listed = list(session, &lines, Isolation::ReadUncommitted).await?.into_iter();
    let mut next = || listed.by_ref().take(of.len()).collect::<Vec<_>>();
    let (earliest, latest, found) = (next(), next(), next());
    let mut found = found.into_iter();
    let committed = committed(session, group, Some(of)).await?.into_iter().map(|(_, committed)| committed);
    let one = |((((topic, partition), earliest), latest), committed): (Edges<'_>, Result<Committed, Error>)| {
        let at = |error: Error| error.with_topic(topic).with_partition(Some(partition));
        let known = |listed: Listed| listed.offset.ok_or_else(|| at(Error::native(NativeError::no_answer())));
        let found = found.next().transpose();
        let range = Range { earliest: known(earliest?)?, latest: known(latest?)? };
        let (found, from) = (found?.and_then(|listed| listed.offset), committed?.offset);
        let nothing = || at(Error::config(format!("group {group} has committed no offset to shift from")));
        let Goal { offset, wanted } = goal(target, from, range, found).ok_or_else(nothing)?;
        Ok(OffsetChange { topic: topic.to_owned(), partition, from, to: offset, wanted })
    };
    Ok(of.iter().copied().zip(earliest).zip(latest).zip(committed).map(one).collect())
}

/// A partition, where it starts and where it ends.
type Edges<'a> = (((&'a str, i32), Result<Listed, Error>), Result<Listed, Error>);

/// Commits the changes that can be, and puts what becomes of them in their place.
async fn commit(session: &mut Session, group: &str, changes: &mut [Result<OffsetChange, Error>]) -> Result<(), Error> {
    let ready: Vec<(usize, (String, i32), i64)> = changes
        .iter()
        .enumerate()
        .filter_map(|(at, change)| {
            let change = change.as_ref().ok()?;
            Some((at, (change.topic.clone(), change.partition), change.to))
        })
        .collect();
    if ready.is_empty() {
        return Ok(());
    }
    let keys: Vec<(String, i32)> = ready.iter().map(|(_, key, _)| key.clone()).collect();
    let submit = |requests: &Requests<'_>, open: &[usize]| {
        let line = |at: &usize| {
            let (_, (topic, partition), offset) = &ready[*at];
            (topic.as_str(), *partition, *offset)
        };
        requests.alter_group_offsets(group, &open.iter().map(line).collect::<Vec<_>>())
    };
    let explain = |at: usize, error| group_partition_error(group, (&keys[at].0, keys[at].1), error);
    let committed = session.each(&keys, submit, Event::changed_offsets, explain).await;
    let committed = committed.map_err(|error| at_work(group, error))?;
    for ((at, ..), committed) in ready.iter().zip(committed) {
        if let Err(error) = committed {
            changes[*at] = Err(error);
        }
    }
    Ok(())
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

/// Where the offset of a group is to go.
///
/// An [`OffsetSpec`] is one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetTarget {
    /// To the start, the end, or a time.
    At(OffsetSpec),
    /// To this offset.
    Exact(i64),
    /// So many offsets forwards, or backwards if negative, from what is committed.
    ShiftBy(i64),
}

impl OffsetTarget {
    /// What has to be looked for, and whether the target can be at all.
    fn by_time(self) -> Result<Option<Spec>, Error> {
        match self {
            Self::At(OffsetSpec::Earliest | OffsetSpec::Latest) | Self::Exact(0..) | Self::ShiftBy(_) => Ok(None),
            Self::At(spec) => spec.native().map(Some),
            Self::Exact(offset) => Err(Error::config(format!("an offset is not negative, as {offset} is"))),
        }
    }
}

impl From<OffsetSpec> for OffsetTarget {
    fn from(spec: OffsetSpec) -> Self {
        Self::At(spec)
    }
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    topic: String,
    partition: i32,
    offset: Option<i64>,
    metadata: Vec<u8>,
    leader_epoch: Option<i32>,
}

impl CommittedOffset {
    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset of the record that the group reads next; `None` if it has committed none.
    pub fn offset(&self) -> Option<i64> {
        self.offset
    }

    /// What was committed along with it: any bytes, often none.
    pub fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    /// The epoch of the leader that the record before was read from; `None` if it was not told.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }
}

/// How far a group is behind on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    topic: String,
    partition: i32,
    committed: i64,
    end: i64,
}

impl PartitionLag {
    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset that the group has committed.
    pub fn committed(&self) -> i64 {
        self.committed
    }

    /// Where the partition ends.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// How many offsets lie between; none if the group is past the end, as it is when the end is that of committed
    /// transactions only. Not every offset has a record.
    pub fn lag(&self) -> i64 {
        self.end.saturating_sub(self.committed).max(0)
    }
}

/// What is done, or would be, to the offset of a group on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetChange {
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: i64,
    wanted: Option<i64>,
}

impl OffsetChange {
    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// What was committed before; `None` if nothing was.
    pub fn from(&self) -> Option<i64> {
        self.from
    }

    /// What is committed now, or would be.
    pub fn to(&self) -> i64 {
        self.to
    }

    /// What was asked for, where that is outside the log; [`to`](Self::to) is then the log's start or end.
    pub fn wanted(&self) -> Option<i64> {
        self.wanted
    }
}
