//! Moving the offsets of a group.
//!
//! ```text
//!   committed · earliest · latest · by time ──▶ plan (pure) ──▶ a dry run ends here
//!                                                 └─ nobody is at work? ──▶ commit
//! ```

use super::plan::{Goal, Range, goal};
use super::{OffsetChange, OffsetTarget};
use super::{at_work, check, committed, group_partition_error};
use crate::admin::Admin;
use crate::admin::groups::{NO_SUCH_GROUP, describe, has_members};
use crate::admin::offsets::{Isolation, list};
use crate::admin::session::Session;
use crate::native::admin::Requests;
use crate::native::admin::offsets::{Committed, Listed, Spec};
use crate::native::{Event, NativeError};
use crate::{Error, ErrorKind};

const PLAN: &str = "plan group offsets";
const ALTER: &str = "alter group offsets";

impl Admin {
    /// Commits offsets for a group that is not at work: where its members go on once they start. One answer a
    /// partition, in the order of `of`, with what was committed before.
    ///
    /// An offset outside the log is moved to its start or end, and [`OffsetChange::wanted`] tells so. A time after the
    /// last record means the end. What was committed along with the offset ([`metadata`](super::CommittedOffset::metadata)) goes. A
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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Carry {
    Out,
    Nothing,
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
