//! Commits: what is finished goes to Kafka, one request at a time, and its result is awaited.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Guarantee;
use super::control::{Control, Key, Phase, Waiting};
use super::state::CommitPoint;
use crate::error::{Error, ErrorKind};
use crate::native::client::is_eviction;
use crate::native::{Code, Event, EventKind, NativeError, Partitions, Queue};

/// How long to wait before a commit that was refused is tried again, while the consumer waits for it.
const PAUSE: Duration = Duration::from_millis(50);

/// A commit on its way: of each partition its life, and what was sent.
pub(super) struct InFlight {
    points: BTreeMap<Key, (u64, CommitPoint)>,
    since: Instant,
    /// Of the moment when it was sent.
    phase: Phase,
}

/// What a commit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    Confirmed,
    /// Not for all partitions; another try may help.
    Refused,
    /// The member is no longer part of its group.
    Evicted,
}

impl Control {
    /// Starts committing what has been finished since the last time, unless a commit is under way.
    pub(super) fn commit(&mut self) {
        // Without a member's id a commit would go out as that of nobody, which the broker accepts for an empty group.
        if self.in_flight.is_some() || self.client.assignment_lost() {
            return;
        }
        if self.transactions.is_some() {
            return self.transact();
        }
        let points = self.to_commit();
        if points.is_empty() {
            return;
        }
        let mut list = Partitions::new();
        let added = points.iter().try_for_each(|((topic, partition), (_, point))| {
            list.add(topic, *partition, Some(point.offset), point.metadata().as_deref().map(str::as_bytes))
        });
        match added.and_then(|()| self.client.commit(&list, &self.commits)) {
            Ok(()) => self.in_flight = Some(InFlight { points, since: Instant::now(), phase: self.phase }),
            Err(error) => tracing::warn!(%error, "commit could not be started"),
        }
    }

    fn to_commit(&self) -> BTreeMap<Key, (u64, CommitPoint)> {
        let mut points = BTreeMap::new();
        for (key, lane) in &self.lanes {
            let point = match self.options.guarantee {
                Guarantee::AtLeastOnce => lane.state.commit_point(),
                // More is committed than was handed out. An orderly end takes that back, so that it loses nothing.
                Guarantee::AtMostOnce if lane.state.is_stopping() => lane.state.not_handed_out(),
                Guarantee::AtMostOnce | Guarantee::ExactlyOnce => None,
            };
            if let Some(point) = point.filter(|point| lane.committed.as_ref() != Some(point)) {
                points.insert(key.clone(), (lane.life, point));
            }
        }
        for waiting in &self.waiting {
            let key = (waiting.lane.topic.clone(), waiting.lane.partition);
            // Of an earlier life of the partition, it would commit what another member owns.
            if let Some(lane) = self.lanes.get(&key).filter(|running| Arc::ptr_eq(&running.state, &waiting.lane)) {
                points.insert(key, (lane.life, CommitPoint::at(waiting.next)));
            }
        }
        points
    }

    /// Takes the result of a commit.
    ///
    /// # Errors
    /// When no commit will ever be accepted.
    pub(super) fn committed(&mut self, event: &Event) -> Result<Answer, Error> {
        let mut answer = Answer::Confirmed;
        if event.kind() != EventKind::OffsetCommit {
            return Ok(answer);
        }
        let Some(sent) = self.in_flight.take() else { return Ok(answer) };
        let partitions = event.partitions();
        // An error of the whole request, or that of the last partition that has one of its own.
        let of_all = match partitions.iter().any(|entry| entry.code.is_some()) {
            false => event.error().err().map(|error| (error.code, error.name)),
            true => None,
        };
        let mut failure = None;
        for entry in partitions {
            let key = (Arc::from(entry.topic.as_str()), entry.partition);
            let Some((life, point)) = sent.points.get(&key) else { continue };
            match entry.code.zip(entry.error).or(of_all) {
                None => self.confirmed(&key, *life, point),
                Some((code, name)) => match refused(&key, point.offset, code, name, sent.phase) {
                    Ok(refused) => answer = answer.max(refused),
                    Err(error) => failure = failure.or(Some(error)),
                },
            }
        }
        if answer == Answer::Confirmed && failure.is_none() {
            self.status.committed();
        }
        self.metrics.commit(answer == Answer::Confirmed && failure.is_none(), sent.since.elapsed());
        match failure {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }

    pub(super) fn confirmed(&mut self, key: &Key, life: u64, point: &CommitPoint) {
        tracing::debug!(topic = %key.0, partition = key.1, offset = point.offset, "committed");
        // A later life of the partition has its own account.
        if let Some(lane) = self.lanes.get_mut(key).filter(|lane| lane.life == life) {
            lane.state.confirmed(point);
            lane.committed = Some(point.clone());
        }
        self.settings.interceptors.committed(&key.0, key.1, point.offset);
        self.report.committed.insert((key.0.to_string(), key.1), point.offset);
        // Tells the lanes whose position it is.
        let is_answered = |waiting: &mut Waiting| {
            *waiting.lane.topic == *key.0 && waiting.lane.partition == key.1 && waiting.next <= point.offset
        };
        for waiting in self.waiting.extract_if(.., is_answered) {
            let _ = waiting.answer.send(());
        }
    }

    /// Commits everything that is finished, and waits for the result.
    ///
    /// # Errors
    /// When no commit will ever be accepted.
    pub(super) async fn commit_until(&mut self, deadline: Instant) -> Result<Answer, Error> {
        if self.transactions.is_some() {
            return self.transact_until(deadline).await;
        }
        let mut last = Answer::Confirmed;
        while Instant::now() < deadline {
            // Nothing is sent then, which is no confirmation.
            if self.client.assignment_lost() {
                return Ok(Answer::Evicted);
            }
            self.commit();
            if self.in_flight.is_none() {
                return Ok(last);
            }
            let Ok(event) = timeout_at(deadline, self.commits.next()).await else { break };
            last = self.committed(&event)?;
            match last {
                Answer::Confirmed => (),
                Answer::Refused => tokio::time::sleep(PAUSE).await,
                Answer::Evicted => return Ok(last),
            }
        }
        tracing::warn!("the last commit was not confirmed in time");
        if self.in_flight.take().is_some() {
            // A late result must not be taken for that of a later commit: it finds its queue gone.
            self.commits = Queue::new(&self.client).wakes();
        }
        Ok(Answer::Refused)
    }
}

/// What a refused commit means.
///
/// # Errors
/// When no commit will ever be accepted.
fn refused(key: &Key, next: i64, code: Code, name: &'static str, phase: Phase) -> Result<Answer, Error> {
    tracing::warn!(topic = %key.0, partition = key.1, offset = next, code = name, "commit failed");
    let error = Error::native(NativeError::named(Some(code), name)).with_operation("commit");
    match error.kind() {
        _ if code == Code::Fatal => Err(error),
        ErrorKind::Denied | ErrorKind::TooLarge => {
            Err(error.with_topic(&*key.0).with_partition(Some(key.1)).with_offset(Some(next)))
        }
        // Sent before a rebalance and answered after it: the next try names the new generation. While an event waits for
        // our answer there is no new one for us: what is sent then and refused says that the group has gone on without us.
        _ if code == Code::IllegalGeneration && phase == Phase::Running => Ok(Answer::Refused),
        _ if is_eviction(code) => Ok(Answer::Evicted),
        _ => Ok(Answer::Refused),
    }
}
