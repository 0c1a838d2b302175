//! Exactly once: commits are transactions, which hold the results of what they finish.
//!
//! ```text
//!   membership ──▶ of all lanes, at one moment: offsets, results ──▶ produced, acknowledged ──▶ committed ──▶ confirmed
//!                                         └── anything failed ──▶ aborted ──▶ all lanes: back to the committed offset
//! ```
//!
//! One transaction is under way at a time; handlers go on meanwhile, and what they finish goes into the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::commit::Answer;
use super::control::{Control, Key};
use super::lives::RunningLane;
use super::outbox::{OnCommit, Outbox, Results};
use super::state::{CommitPoint, LaneState};
use crate::error::{Error, ErrorKind};
use crate::native::{Client, Partitions};
use crate::record::RawRecord;
use crate::transaction::{Ended, Engine, Failure, Offsets, Patience, Recipe, Verdict};

/// What a consumer's transactions are made with.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) recipe: Recipe,
    pub(super) outbox: Arc<Outbox>,
}

/// Who commits in transactions.
pub(super) struct Transactor {
    recipe: Recipe,
    outbox: Arc<Outbox>,
    engine: Option<Engine>,
    patience: Patience,
}

/// The transactions of a consumer.
pub(super) struct Transactions {
    /// Not while one is under way.
    idle: Option<Transactor>,
    under_way: Option<JoinHandle<(Transactor, Outcome)>>,
    since: Instant,
    /// After a failure: when the next one may begin.
    not_before: Instant,
}

/// A lane as a transaction sees it.
struct One {
    key: Key,
    life: u64,
    state: Arc<LaneState>,
    before: Option<CommitPoint>,
}

/// What a transaction is made of.
struct Taken {
    points: BTreeMap<Key, (u64, CommitPoint)>,
    states: Vec<Arc<LaneState>>,
    results: Vec<Results>,
}

/// What a transaction came to.
pub(super) enum Outcome {
    Committed(BTreeMap<Key, (u64, CommitPoint)>),
    /// Not committed: what is not is read again, after a pause before the next one.
    Undone(Error, Duration),
    /// No further try can help.
    Hopeless(Error),
}

impl Transactions {
    /// Makes the producer, and makes it the only one of its id: what a predecessor has left open is aborted then.
    ///
    /// # Errors
    /// When there is to be none: permission, settings, another instance.
    pub(super) async fn start(plan: &Plan) -> Result<Self, Error> {
        let recipe = plan.recipe.clone();
        let patience = Patience::new(1, 1, recipe.timeout);
        let mut transactor = Transactor { recipe, outbox: plan.outbox.clone(), engine: None, patience };
        transactor.revive().await?;
        let now = Instant::now();
        Ok(Self { idle: Some(transactor), under_way: None, since: now, not_before: now })
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Waits for the end of the transaction that is under way.
    ///
    /// Cancel safe.
    async fn ended(&mut self) -> Outcome {
        let Some(task) = &mut self.under_way else { return std::future::pending().await };
        let ended = task.await;
        self.under_way = None;
        match ended {
            Ok((transactor, outcome)) => {
                self.idle = Some(transactor);
                outcome
            }
            Err(error) => {
                let text = "the task of a transaction has ended";
                Outcome::Hopeless(Error::new(ErrorKind::Panicked, text).with_source(error))
            }
        }
    }

    /// Ends the producer; nothing is open.
    pub(super) async fn close(mut self, until: Instant) {
        if self.is_under_way() {
            let _ = timeout_at(until, self.ended()).await;
        }
        if let Some(engine) = self.idle.and_then(|transactor| transactor.engine) {
            engine.close().await;
        }
    }
}

impl Control {
    /// Starts a transaction with everything that is finished, unless one is under way.
    pub(super) fn transact(&mut self) {
        let may_begin = |one: &Transactions| one.idle.is_some() && Instant::now() >= one.not_before;
        if !self.transactions.as_ref().is_some_and(may_begin) {
            return;
        }
        let client = self.client.clone();
        let one = |(key, lane): (&Key, &RunningLane)| One {
            key: key.clone(),
            life: lane.life,
            state: lane.state.clone(),
            before: lane.committed.clone(),
        };
        let is_new = |one: &One| {
            !one.state.is_lost() && one.state.commit_point().is_some_and(|point| one.before.as_ref() != Some(&point))
        };
        let lanes: Vec<One> = self.lanes.iter().map(one).collect();
        if lanes.iter().any(is_new)
            && let Some(transactions) = &mut self.transactions
            && let Some(transactor) = transactions.idle.take()
        {
            transactions.since = Instant::now();
            transactions.under_way = Some(tokio::spawn(transactor.run(client, lanes)));
        }
    }

    /// Takes what came of a transaction.
    ///
    /// # Errors
    /// When no further one can help.
    pub(super) fn transacted(&mut self, outcome: Outcome) -> Result<(), Error> {
        let took = self.transactions.as_ref().map(|transactions| transactions.since.elapsed()).unwrap_or_default();
        match outcome {
            Outcome::Committed(points) => {
                for (key, (life, point)) in &points {
                    self.confirmed(key, *life, point);
                }
                if !points.is_empty() {
                    self.status.committed();
                    self.metrics.commit(true, took);
                }
                self.begin_those_again();
                Ok(())
            }
            Outcome::Undone(error, pause) => {
                tracing::warn!(%error, "a transaction was undone; what was made of its records does not count");
                self.metrics.commit(false, took);
                if let Some(transactions) = &mut self.transactions {
                    transactions.not_before = Instant::now() + pause;
                }
                self.undo_all();
                Ok(())
            }
            Outcome::Hopeless(error) => {
                self.undo_all();
                Err(error.with_operation("commit transaction"))
            }
        }
    }

    /// What is not committed does not count, of all lanes: one may have begun what another one has finished.
    pub(super) fn undo_all(&mut self) {
        let lanes: Vec<Arc<LaneState>> = self.lanes.values().map(|lane| lane.state.clone()).collect();
        for state in &lanes {
            state.lose();
            state.stop();
        }
        lanes.iter().for_each(|state| self.undone(state));
    }

    /// Waits for the transaction that is under way.
    pub(super) async fn until_transacted(transactions: &mut Option<Transactions>) -> Outcome {
        match transactions {
            Some(transactions) => transactions.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Commits everything that is finished, and waits for it.
    ///
    /// # Errors
    /// When no further transaction can help.
    pub(super) async fn transact_until(&mut self, deadline: Instant) -> Result<Answer, Error> {
        let not_before = self.transactions.as_ref().map_or(deadline, |transactions| transactions.not_before);
        tokio::time::sleep_until(not_before.min(deadline)).await;
        while Instant::now() < deadline {
            self.transact();
            let Some(transactions) = self.transactions.as_mut().filter(|one| one.is_under_way()) else {
                return Ok(Answer::Confirmed);
            };
            let Ok(outcome) = timeout_at(deadline, transactions.ended()).await else { break };
            self.transacted(outcome)?;
        }
        tracing::warn!("the last transaction did not end in time");
        // It is aborted, where it still can be.
        self.lanes.values().filter(|lane| lane.state.is_stopping()).for_each(|lane| lane.state.lose());
        Ok(Answer::Refused)
    }
}

impl Transactor {
    async fn run(mut self, client: Arc<Client>, lanes: Vec<One>) -> (Self, Outcome) {
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => match self.revive().await {
                Ok(()) => return (self, Outcome::Committed(BTreeMap::new())),
                Err(error) => return (self, Outcome::Hopeless(error)),
            },
        };
        let outbox = self.outbox.clone();
        let mut bytes = 0;
        let ended = transaction(&engine, client, &lanes, &outbox, &mut bytes).await;
        outbox.remove(bytes);
        let failure = match ended {
            Ok(points) => {
                self.engine = Some(engine);
                self.patience.committed();
                return (self, Outcome::Committed(points));
            }
            Err(failure) => failure,
        };
        let error = failure.error().clone();
        match failure {
            Failure::Aborted(_) => self.engine = Some(engine),
            // Before anything is read again: only the next producer of this id knows how it ended.
            Failure::Ended(ended) => {
                drop(engine);
                if let Err(error) = self.rebuild(ended).await {
                    return (self, Outcome::Hopeless(error));
                }
            }
        }
        let outcome = match self.patience.undone(&error) {
            Verdict::Again(pause) => Outcome::Undone(error, pause),
            Verdict::Stop => Outcome::Hopeless(error),
        };
        (self, outcome)
    }

    async fn revive(&mut self) -> Result<(), Error> {
        match self.recipe.start().await {
            Ok(engine) => {
                self.engine = Some(engine);
                Ok(())
            }
            Err(ended) => self.rebuild(ended).await,
        }
    }

    /// A new producer in place of one that has ended.
    async fn rebuild(&mut self, mut ended: Ended) -> Result<(), Error> {
        loop {
            let Some(pause) = self.patience.rebuild(ended.cause, Instant::now().into_std()) else {
                return Err(ended.error);
            };
            tracing::warn!(error = %ended.error, "the producer of transactions has ended; building a new one");
            tokio::time::sleep(pause).await;
            match self.recipe.start().await {
                Ok(engine) => {
                    self.engine = Some(engine);
                    return Ok(());
                }
                Err(next) => ended = next,
            }
        }
    }
}

/// One transaction: its points, once it is committed. `bytes` are what it took out of the outbox.
async fn transaction(
    engine: &Engine,
    client: Arc<Client>,
    lanes: &[One],
    outbox: &Outbox,
    bytes: &mut usize,
) -> Result<BTreeMap<Key, (u64, CommitPoint)>, Failure> {
    // Before anything is taken: what the member is now is what it was when a lane that is not lost afterwards has read
    // its records. If the group goes on without it meanwhile, the offsets are refused.
    let membership = engine.conductor.begin_as(client).await?;
    let Some(membership) = membership.filter(|membership| membership.is_bound()) else {
        engine.conductor.abort().await?;
        return Err(Failure::Aborted(Error::new(ErrorKind::Fenced, "the consumer is no member of its group now")));
    };
    let taken = outbox.at_one_moment(|| Taken::of(lanes));
    *bytes = taken.results.iter().map(Results::bytes).sum();
    if taken.points.is_empty() {
        engine.conductor.abort().await?;
        return Ok(taken.points);
    }
    let (mut records, mut on_commit): (Vec<RawRecord>, Vec<OnCommit>) = Default::default();
    for results in taken.results {
        records.extend(results.records);
        on_commit.extend(results.on_commit);
    }
    if let Err(error) = engine.producer.enqueue_batch(records).await {
        engine.conductor.abort().await?;
        return Err(Failure::Aborted(error.into_parts().0));
    }
    let mut list = Partitions::new();
    let added = taken.points.iter().try_for_each(|((topic, partition), (_, point))| {
        list.add(topic, *partition, Some(point.offset), point.metadata().as_deref().map(str::as_bytes))
    });
    if let Err(error) = added {
        engine.conductor.abort().await?;
        return Err(Failure::Aborted(Error::native(error)));
    }
    let states = taken.states;
    let is_valid = move || !states.iter().any(|state| state.is_lost());
    engine.conductor.commit(vec![Offsets { list, membership }], is_valid).await?;
    on_commit.into_iter().for_each(|then| then());
    Ok(taken.points)
}

impl Taken {
    fn of(lanes: &[One]) -> Self {
        let mut taken = Self { points: BTreeMap::new(), states: Vec::new(), results: Vec::new() };
        for one in lanes {
            let Some((point, results)) = one.state.take_finished(one.before.as_ref()) else { continue };
            taken.results.extend(results);
            taken.points.insert(one.key.clone(), (one.life, point));
            taken.states.push(one.state.clone());
        }
        taken.results.sort_unstable_by_key(|results| results.at);
        taken
    }
}
