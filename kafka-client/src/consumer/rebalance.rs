//! Rebalances: partitions come, go, or are lost.
//!
//! ```text
//!   assigned ──▶ queues cut off ──▶ answer ──▶ committed offsets, listener (in a task) ──▶ lanes
//!   revoked  ──▶ intake stops ──▶ handlers finish ──▶ commit ──▶ listener ──▶ answer        before one deadline
//!                       └── the deadline passes, or a commit says that the member is gone ──▶ lost
//!   lost     ──▶ lanes dropped, nothing committed ──▶ answer ──▶ listener
//! ```
//!
//! Until an event is answered the whole group waits, and nothing of this member is fetched.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::{Instant, timeout, timeout_at};

use super::arrival::told;
use super::commit::Answer;
use super::control::{Control, Key, Phase};
use crate::error::{Error, ErrorKind};
use crate::native::client::LATEST;
use crate::native::{Entry, Event, Partitions, Queue};
use crate::partition::TopicPartition;

/// The part of the deadline that the commit and the listener have for themselves, when handlers take all the rest.
const AFTER_HANDLERS: Duration = Duration::from_secs(1);
/// How long the last commit of a lane may take: always this long, also where the drain has used up its time.
const SHORTEST_COMMIT: Duration = Duration::from_secs(1);
/// And never longer than this: a broker that does not answer by then is not there.
const LONGEST_COMMIT: Duration = Duration::from_secs(5);

/// How partitions left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Finished and committed.
    InOrder,
    /// They belong to others already, or will at any moment.
    Lost,
}

impl Control {
    pub(super) async fn rebalance(&mut self, event: Event) -> Result<(), Error> {
        let (assigns, partitions) = (event.assigns(), event.partitions());
        drop(event);
        self.abandoned = None;
        self.has_joined = true;
        match assigns {
            Some(true) => self.assigned(&partitions).await,
            Some(false) => self.revoked(&partitions).await,
            // The assignor failed.
            None => {
                let stopped = self.take_away(None).await.map(drop);
                self.native(|client| client.assign(None)).await.and(stopped)
            }
        }
    }

    async fn assigned(&mut self, partitions: &[Entry]) -> Result<(), Error> {
        tracing::info!(count = partitions.len(), "partitions assigned");
        self.metrics.rebalance("assigned");
        // Before the assignment is answered: the answer starts the fetching, and a queue that is cut off later may
        // have passed on records to the consumer's queue. Once cut off it stays so.
        let queues: Vec<_> = partitions.iter().map(|entry| self.queue_of(entry)).collect::<Result<_, _>>()?;
        // Without a committed offset a partition would never be ready for the seek to where the listener wants to start.
        let anywhere = (self.listener.is_some() && self.options.start_fails).then_some(LATEST);
        let list = list_at(partitions, anywhere)?;
        self.native(move |client| match client.is_cooperative() {
            true => client.incremental_assign(&list),
            false => client.assign(Some(&list)),
        })
        .await?;
        self.status.ready(true);
        if !queues.is_empty() {
            self.arrive(queues, None);
        }
        Ok(())
    }

    /// Partitions that the user has chosen, without a group's protocol.
    pub(super) async fn assigned_by_hand(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let entry = |one: &TopicPartition| Entry {
            topic: one.topic().to_owned(),
            partition: one.partition(),
            offset: None,
            metadata: None,
            code: None,
            error: None,
        };
        let partitions: Vec<_> = partitions.iter().map(entry).collect();
        self.assigned(&partitions).await
    }

    fn queue_of(&self, entry: &Entry) -> Result<(Key, Queue), Error> {
        let topic: Arc<str> = Arc::from(entry.topic.as_str());
        if self.routes.find(&topic).is_none() {
            let text = "assigned a partition of a topic without a route";
            return Err(Error::new(ErrorKind::Config, text).with_topic(&*topic));
        }
        match Queue::partition(&self.client, &topic, entry.partition) {
            Some(queue) => Ok(((topic, entry.partition), queue)),
            None => Err(Error::new(ErrorKind::Broker, "the partition has no queue").with_topic(&*topic)),
        }
    }

    async fn revoked(&mut self, partitions: &[Entry]) -> Result<(), Error> {
        let lost = self.client.assignment_lost();
        tracing::info!(count = partitions.len(), lost, "partitions revoked");
        self.metrics.rebalance(if lost { "lost" } else { "revoked" });
        let keys = self.keys(Some(partitions));
        let left = match lost {
            true => Ok(Left::Lost),
            // Nothing is taken away: the group waits for no more than the answer.
            false if keys.is_empty() => Ok(Left::InOrder),
            false => self.take_away(Some(&keys)).await,
        };
        let gone = match left {
            Ok(Left::InOrder) => Vec::new(),
            _ => self.abandon(&keys),
        };
        let list = list(partitions)?;
        let answered = self.native(move |client| match client.is_cooperative() {
            true => client.incremental_unassign(&list),
            false => client.assign(None),
        });
        // Answered in any case: the group waits for it, and so does the end of the consumer.
        let answered = answered.await;
        self.tell_lost(gone);
        answered.and(left.map(drop))
    }

    /// Stops lanes (all, or some), waits for what they hold, commits it and tells the listener: all before one deadline.
    async fn take_away(&mut self, keys: Option<&[Key]>) -> Result<Left, Error> {
        let deadline = Instant::now() + self.options.drain_timeout;
        let keys = keys.map_or_else(|| self.keys(None), <[Key]>::to_vec);
        self.phase = Phase::Draining;
        let left = self.drain(&keys, deadline).await;
        self.phase = Phase::Running;
        let left = left?;
        if left == Left::InOrder {
            self.forget(&keys);
        }
        Ok(left)
    }

    async fn drain(&mut self, keys: &[Key], deadline: Instant) -> Result<Left, Error> {
        self.stop_lanes(keys);
        let mut failure = None;
        let reserve = AFTER_HANDLERS.min(self.options.drain_timeout / 4);
        let evicted = self.until_ended(keys, deadline - reserve, &mut failure).await;
        if evicted {
            return failure.map_or(Ok(Left::Lost), Err);
        }
        for key in keys {
            let Some(lane) = self.lanes.get(key).filter(|lane| !lane.ended) else { continue };
            tracing::warn!(topic = %key.0, partition = key.1, "a handler did not end in time; it is cancelled");
            lane.abort.abort();
            lane.state.suspects().lock().close();
        }
        let now = Instant::now();
        let committed = self.commit_until(deadline.clamp(now + SHORTEST_COMMIT, now + LONGEST_COMMIT)).await;
        let left = match committed {
            Ok(Answer::Evicted) => Left::Lost,
            Ok(_) => self.tell_revoked(keys, deadline).await?,
            Err(error) => return Err(failure.unwrap_or(error)),
        };
        failure.map_or(Ok(left), Err)
    }

    /// Waits until lanes have ended, or the time is over; commits go on meanwhile. `true` when the member is gone: a
    /// commit said so, or the client has heard it, which then sends none.
    async fn until_ended(&mut self, keys: &[Key], until: Instant, failure: &mut Option<Error>) -> bool {
        // At once, and not only at the next tick: it tells early whether the member is gone.
        self.commit();
        loop {
            let busy = keys
                .iter()
                .any(|key| self.lanes.get(key).is_some_and(|lane| !lane.ended) || self.arriving.contains_key(key));
            if !busy || self.evicted || self.client.assignment_lost() {
                return std::mem::take(&mut self.evicted) || self.client.assignment_lost();
            }
            let Ok(step) = timeout_at(until, self.step(false)).await else { return false };
            if let Err(error) = self.handle(step) {
                failure.get_or_insert(error);
            }
        }
    }

    async fn tell_revoked(&mut self, keys: &[Key], deadline: Instant) -> Result<Left, Error> {
        let Some(listener) = self.listener.clone() else { return Ok(Left::InOrder) };
        let partitions = self.heard_of(keys);
        if partitions.is_empty() {
            return Ok(Left::InOrder);
        }
        let lost_before = self.telling.take();
        let telling = async {
            let before = until_told(lost_before.clone()).await;
            before.and(told("revoked", listener.revoked(&partitions)).await)
        };
        match timeout_at(deadline, telling).await {
            Ok(told) => told.map(|()| Left::InOrder),
            Err(_) => {
                tracing::warn!("the rebalance listener did not end in time; its partitions count as lost");
                self.telling = lost_before;
                // It hears so, since it may be in the middle of what it does when they are revoked.
                self.heard.extend(partitions.iter().map(|one| (one.topic_arc().clone(), one.partition())));
                Ok(Left::Lost)
            }
        }
    }

    /// Begins to tell the listener about partitions that are lost. Nobody waits for it but the partitions that come, what
    /// else it is told, and the end: others are read on.
    pub(super) fn tell_lost(&mut self, partitions: Vec<TopicPartition>) {
        let Some(listener) = self.listener.clone().filter(|_| !partitions.is_empty()) else { return };
        let before = self.telling.take();
        let within = self.options.drain_timeout;
        let telling = async move {
            let before = until_told(before).await;
            let told = match timeout(within, told("lost", listener.lost(&partitions))).await {
                Ok(told) => told,
                Err(_) => {
                    tracing::warn!("the rebalance listener did not end in time when partitions were lost");
                    Ok(())
                }
            };
            before.and(told)
        };
        self.telling = Some(telling.boxed().shared());
    }

    fn stop_lanes(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(lane) = self.lanes.get_mut(key) {
                lane.state.stop();
                // It does not begin anew here.
                lane.again = None;
                lane.leaves = true;
            }
            // Somebody may be told of it at this moment, and hears the rest, too; else there is nothing to wait for.
            match self.listener {
                Some(_) => self.arriving.get_mut(key).into_iter().for_each(|arriving| arriving.wanted = false),
                None => drop(self.arriving.remove(key)),
            }
        }
        // Those that wait for a commit before they handle anything handle nothing any more.
        self.waiting.retain(|waiting| !waiting.lane.is_stopping());
    }

    /// Drops lanes whose partitions belong to others already: nothing is committed, nothing late counts.
    pub(super) fn abandon(&mut self, keys: &[Key]) -> Vec<TopicPartition> {
        let heard_of = self.heard_of(keys);
        for key in keys {
            if let Some(lane) = self.lanes.get(key) {
                lane.state.lose();
                lane.state.stop();
                lane.abort.abort();
            }
        }
        self.forget(keys);
        heard_of
    }

    /// The partitions that the listener believes to be ours; it is about to hear that they are not.
    fn heard_of(&mut self, keys: &[Key]) -> Vec<TopicPartition> {
        let heard = |key: &&Key| self.heard.remove(*key);
        keys.iter().filter(heard).map(|key| TopicPartition::new(key.0.clone(), key.1)).collect()
    }

    /// The lives of lanes are over.
    fn forget(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(arriving) = self.arriving.remove(key) {
                arriving.abort.abort();
            }
            if let Some(lane) = self.lanes.remove(key) {
                self.life_ended(key, &lane);
            }
        }
        self.waiting.retain(|waiting| !waiting.lane.is_stopping());
        self.status.assigned(self.lanes.len());
    }

    pub(super) fn keys(&self, partitions: Option<&[Entry]>) -> Vec<Key> {
        let all = self.lanes.keys().chain(self.arriving.keys());
        match partitions {
            None => all.cloned().collect(),
            Some(entries) => {
                let named = |key: &&Key| entries.iter().any(|entry| entry.topic == *key.0 && entry.partition == key.1);
                all.filter(named).cloned().collect()
            }
        }
    }

    /// Shutdown, first half: intake stops, what is held is finished and committed, and the listener is told.
    pub(super) async fn stop(&mut self) -> Result<(), Error> {
        let stopped = self.take_away(None).await;
        let lost = match stopped {
            Ok(Left::Lost) | Err(_) => {
                let keys = self.keys(None);
                self.abandon(&keys)
            }
            Ok(Left::InOrder) => Vec::new(),
        };
        self.tell_lost(lost);
        let told = until_told(self.telling.take()).await;
        // A handler may have failed while the consumer was ending.
        let failed = self.failure();
        failed.and(stopped.map(drop)).and(told)
    }
}

/// What the listener is being told; whoever awaits it moves it on.
pub(super) type Telling = Shared<BoxFuture<'static, Result<(), Error>>>;

/// Waits until the listener has heard it.
///
/// # Errors
/// The listener's.
pub(super) async fn until_told(telling: Option<Telling>) -> Result<(), Error> {
    match telling {
        Some(telling) => telling.await,
        None => Ok(()),
    }
}

pub(super) fn list(partitions: &[Entry]) -> Result<Partitions, Error> {
    list_at(partitions, None)
}

fn list_at(partitions: &[Entry], offset: Option<i64>) -> Result<Partitions, Error> {
    let mut list = Partitions::new();
    partitions
        .iter()
        .try_for_each(|entry| list.add(&entry.topic, entry.partition, offset, None))
        .map_err(|error| Error::native(error).with_operation("rebalance"))?;
    Ok(list)
}
