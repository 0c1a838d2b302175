//! One lane of exactly-once processing: transaction after transaction, under one `transactional.id`.
//!
//! ```text
//!   inbox ──▶ batch ──▶ user's code ──▶ tx.send          until the interval is over, or it is large enough
//!                                          │
//!   acknowledgements ──▶ offsets + membership ──▶ commit ──▶ partitions: finished
//!                 └── anything failed ──▶ abort ──▶ partitions: back to the committed offset
//! ```

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep, sleep_until};

use super::batch::{Batch, Decision, Poisoned, Undone};
use super::engine::{Engine, Recipe};
use super::failure::{Ended, Failure};
use super::handle::Transaction;
use super::hook::DeadLetter;
use super::patience::{Patience, Verdict};
use super::touched::Touched;
use crate::consumer::{BoxError, Entry, Inbox, Portion, Source};
use crate::error::{Error, ErrorKind};
use crate::producer::{Producer, panic_text};
use crate::record::RawRecord;

/// When transactions end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) records: usize,
    /// How long the user's code may take, in one transaction.
    pub(super) work: Duration,
    /// How often a record may fail alone.
    pub(super) attempts: u32,
}

/// Told when a transaction was undone.
pub(super) type OnUndone = Arc<dyn Fn(&Undone<'_>) + Send + Sync>;

pub(super) struct Session<I, P> {
    recipe: Recipe,
    engine: Option<Engine>,
    inbox: Inbox<I>,
    /// What was taken out of the inbox, and had no room in the transaction.
    left: VecDeque<Portion<I>>,
    pace: Pace,
    patience: Patience,
    /// Whether the record that was handed over first came with its bytes.
    has_bytes: bool,
    /// Shared, not borrowed: the compiler could not tell then that a session may go between threads.
    process: Arc<P>,
    dead_letter: Option<DeadLetter>,
    on_undone: Option<OnUndone>,
}

/// The records of a batch: where each came from.
struct Handed<I> {
    records: Vec<I>,
    /// Runs of records of one life: up to which offset, and how many.
    runs: Vec<(Source, Vec<i64>)>,
    /// The first record, where it is the only one, as bytes.
    raw: Option<RawRecord>,
}

/// What comes next.
enum Next<I> {
    Batch(Handed<I>),
    Poisoned(Source, Poisoned),
    Nothing,
}

/// Why the work on a transaction ends.
enum Work {
    Commit,
    /// The user's code wants it undone, or has failed.
    Undo(Error),
}

impl<I, P, Fut, D> Session<I, P>
where
    I: Send,
    P: Fn(Batch<I>, Transaction) -> Fut + Send + Sync,
    Fut: Future<Output = Result<D, BoxError>> + Send,
    D: Into<Decision> + Send,
{
    pub(super) fn new(
        recipe: Recipe,
        engine: Engine,
        inbox: Inbox<I>,
        pace: Pace,
        process: Arc<P>,
        dead_letter: Option<DeadLetter>,
        on_undone: Option<OnUndone>,
    ) -> Self {
        let patience = Patience::new(pace.records, pace.attempts);
        let left = VecDeque::new();
        let (engine, has_bytes) = (Some(engine), false);
        Self { recipe, engine, inbox, left, pace, patience, has_bytes, process, dead_letter, on_undone }
    }

    /// Runs until the consumer has ended.
    ///
    /// # Errors
    /// When no further try can help.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        while self.wait_for_records().await {
            self.transaction().await?;
        }
        if let Some(engine) = self.engine.take() {
            engine.close().await;
        }
        Ok(())
    }

    /// `false` when there will be no more.
    async fn wait_for_records(&mut self) -> bool {
        loop {
            self.left.retain(|portion| !portion.source.is_over());
            if !self.left.is_empty() {
                return true;
            }
            match self.inbox.portions.recv().await {
                Some(portion) => self.left.push_back(portion),
                None => return false,
            }
        }
    }

    async fn transaction(&mut self) -> Result<(), Error> {
        let Some(client) = self.left.front().map(|portion| portion.source.client().clone()) else { return Ok(()) };
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => self.revived().await?,
        };
        // Before any record is taken: what the member is now is what it was when these were read. If the group goes on
        // without it meanwhile, the offsets are refused.
        let begun = engine.conductor.begin_as(client).await;
        let mut touched = Touched::default();
        let ended = match begun {
            // Not a member now: it hears of that soon, and what was read goes with its partitions.
            Ok(membership) if !membership.as_ref().is_some_and(|membership| membership.is_bound()) => {
                Err(Failure::Aborted(Error::new(ErrorKind::Fenced, "the consumer is no member of its group now")))
            }
            Err(failure) => Err(failure),
            Ok(membership) => match self.work(engine.producer.clone(), &mut touched).await {
                Work::Commit if touched.records() == 0 => engine.conductor.abort().await,
                Work::Commit => match (
                    touched.offsets(membership.unwrap_or_else(|| unreachable!("it is bound"))),
                    touched.is_valid(),
                ) {
                    (Ok(offsets), valid) => engine.conductor.commit(vec![offsets], valid).await,
                    (Err(error), _) => Err(Failure::Aborted(error)),
                },
                Work::Undo(error) => match engine.conductor.abort().await {
                    Ok(()) => Err(Failure::Aborted(error)),
                    Err(failure) => Err(failure),
                },
            },
        };
        match ended {
            Ok(()) => {
                self.engine = Some(engine);
                if touched.records() > 0 {
                    self.patience.committed();
                }
                self.inbox.door.with_bytes.store(self.patience.isolates(), Ordering::Relaxed);
                touched.committed();
                Ok(())
            }
            Err(failure) => {
                // A record that no broker will ever take is as good as one that cannot be processed.
                if let Failure::Aborted(error) = &failure
                    && is_of_the_records(error.kind())
                {
                    self.failed(touched.records(), touched.only(), error);
                }
                self.undo(failure, engine, touched).await
            }
        }
    }

    /// What was made of so many records has failed, or of one that was alone.
    fn failed(&mut self, count: usize, only: Option<(Source, i64)>, error: &Error) {
        self.patience.failed(count, only, self.has_bytes, error);
        self.inbox.door.with_bytes.store(self.patience.isolates(), Ordering::Relaxed);
    }

    /// Lets the user's code work, until the transaction is to end.
    async fn work(&mut self, producer: Producer, touched: &mut Touched) -> Work {
        let started = Instant::now();
        let due = started + self.pace.interval;
        let until = started + self.pace.work;
        loop {
            match self.next(touched) {
                // What comes next has to be alone.
                Next::Nothing if !self.left.is_empty() && touched.records() > 0 => return Work::Commit,
                Next::Nothing => (),
                Next::Poisoned(source, poisoned) => {
                    let (offset, text) = (poisoned.offset, poisoned.error.to_string());
                    tracing::warn!(
                        topic = poisoned.topic(),
                        partition = poisoned.partition,
                        offset,
                        error = text,
                        "poisoned"
                    );
                    touched.add(&source, offset, 1);
                    if let Err(error) = self.bury(poisoned, producer.clone(), until).await {
                        return Work::Undo(error);
                    }
                }
                Next::Batch(handed) => match self.hand_over(handed, producer.clone(), touched, until).await {
                    Ok(Decision::GoOn) => (),
                    Ok(Decision::Commit | Decision::CommitUpTo(_)) => return Work::Commit,
                    Ok(Decision::Abort) => {
                        return Work::Undo(Error::new(ErrorKind::Aborted, "the user's code has decided to abort"));
                    }
                    Err(error) => return Work::Undo(error),
                },
            }
            if touched.records() >= self.patience.most() || Instant::now() >= due || touched.is_wanted() {
                return Work::Commit;
            }
            if self.left.is_empty() {
                tokio::select! {
                    biased;
                    () = self.inbox.door.hurry.notified() => (),
                    portion = self.inbox.portions.recv() => match portion {
                        Some(portion) => self.left.push_back(portion),
                        None => return Work::Commit,
                    },
                    () = sleep_until(due) => return Work::Commit,
                }
            }
            while let Ok(portion) = self.inbox.portions.try_recv() {
                self.left.push_back(portion);
            }
        }
    }

    /// The records that go into the transaction next.
    fn next(&mut self, touched: &mut Touched) -> Next<I> {
        let mut handed = Handed { records: Vec::new(), runs: Vec::new(), raw: None };
        let room = self.patience.most().saturating_sub(touched.records());
        while handed.records.len() < room {
            let Some(mut portion) = self.left.pop_front() else { break };
            if !portion.hold.open() {
                continue;
            }
            let mut offsets = Vec::new();
            let mut poisoned = None;
            while handed.records.len() < room {
                // An undecodable record, or one that has failed too often, comes alone and in its turn.
                let alone = |entry: &Entry<I>| {
                    entry.raw.is_some()
                        && (entry.input.is_err() || self.patience.has_given_up(&portion.source, entry.offset))
                };
                match portion.entries.as_slice().first() {
                    None => break,
                    Some(entry) if alone(entry) && !(handed.records.is_empty() && touched.records() == 0) => break,
                    Some(entry) if alone(entry) => {
                        poisoned = portion.entries.next();
                        break;
                    }
                    Some(_) => (),
                }
                let Some(entry) = portion.entries.next() else { break };
                let Ok(input) = entry.input else { break };
                if handed.records.is_empty() {
                    handed.raw = entry.raw;
                }
                offsets.push(entry.offset);
                handed.records.push(input);
            }
            let source = portion.source.clone();
            if let Some(Entry { offset, input, raw: Some(record) }) = poisoned {
                let error = match input {
                    Err(failed) => failed.into_error(),
                    Ok(_) => self.patience.last_error(),
                };
                self.put_back(portion, touched);
                let partition = source.partition();
                return Next::Poisoned(source, Poisoned { record, partition, offset, error });
            }
            let stops = !portion.entries.as_slice().is_empty();
            if !offsets.is_empty() {
                handed.runs.push((source, offsets));
            }
            self.put_back(portion, touched);
            if stops {
                break;
            }
        }
        match handed.records.is_empty() {
            true => Next::Nothing,
            false => Next::Batch(handed),
        }
    }

    /// A portion of which nothing is left is kept until the transaction has ended; else its rest comes next.
    fn put_back(&mut self, portion: Portion<I>, touched: &mut Touched) {
        match portion.entries.as_slice().is_empty() {
            true => touched.keep(portion.hold),
            false => self.left.push_front(portion),
        }
    }

    async fn hand_over(
        &mut self,
        handed: Handed<I>,
        producer: Producer,
        touched: &mut Touched,
        until: Instant,
    ) -> Result<Decision, Error> {
        let Handed { records, runs, raw } = handed;
        let count = records.len();
        let only = match &runs[..] {
            [(source, offsets)] if offsets.len() == 1 => Some((source.clone(), offsets[0])),
            _ => None,
        };
        // In the transaction from here on: if it is undone, they go back.
        runs.iter().for_each(|(source, _)| touched.leave(source));
        let (transaction, gate) = Transaction::new(producer);
        self.has_bytes = raw.is_some();
        let process = self.process.clone();
        let process = async move { process(Batch::new(records), transaction).await };
        let result = bounded(process, until, &self.inbox.door.hurry, || touched.is_lost()).await;
        gate.close();
        touched.note(gate.notes());
        let decision = match result {
            Ok(decision) => decision.into(),
            Err(error) => {
                let only = only.filter(|_| touched.records() == 0);
                self.failed(count, only, &error);
                return Err(error);
            }
        };
        let mut rest = match decision {
            Decision::CommitUpTo(most) => most,
            Decision::Abort => return Ok(decision),
            _ => count,
        };
        touched.take_back();
        for (source, offsets) in runs {
            let processed = offsets.len().min(rest);
            rest -= processed;
            if let Some(last) = offsets[..processed].last() {
                touched.add(&source, *last, processed as u64);
            }
            if processed < offsets.len() {
                touched.leave(&source);
            }
        }
        Ok(decision)
    }

    async fn bury(&mut self, poisoned: Poisoned, producer: Producer, until: Instant) -> Result<(), Error> {
        let Some(dead_letter) = &self.dead_letter else {
            let Poisoned { record, partition, offset, error } = poisoned;
            self.patience.give_up();
            return Err(error.with_topic(record.topic()).with_partition(Some(partition)).with_offset(Some(offset)));
        };
        let (transaction, gate) = Transaction::new(producer);
        let buried = bounded(dead_letter(poisoned, transaction), until, &self.inbox.door.hurry, || false).await;
        gate.close();
        buried?;
        self.patience.buried();
        Ok(())
    }

    /// The transaction was not committed, or nobody knows: its partitions go back to the committed offset.
    async fn undo(&mut self, failure: Failure, engine: Engine, touched: Touched) -> Result<(), Error> {
        let error = failure.error().clone();
        tracing::warn!(%error, records = touched.records(), "a transaction was undone");
        match failure {
            Failure::Aborted(_) => self.engine = Some(engine),
            // Before anything is read again: only the next producer of this id knows how it ended.
            Failure::Ended(ended) => {
                drop(engine);
                self.engine = Some(self.rebuilt(ended).await?);
            }
        }
        if let Some(on_undone) = &self.on_undone {
            on_undone(&Undone { partitions: &touched.partitions(), error: &error });
        }
        let verdict = self.patience.undone(&error);
        touched.undone();
        match verdict {
            Verdict::Again(pause) => {
                tokio::select! {
                    () = sleep(pause) => (),
                    () = self.inbox.door.hurry.notified() => (),
                }
                Ok(())
            }
            Verdict::Stop => Err(error),
        }
    }

    async fn revived(&mut self) -> Result<Engine, Error> {
        match self.recipe.start().await {
            Ok(engine) => Ok(engine),
            Err(ended) => self.rebuilt(ended).await,
        }
    }

    /// A new producer in place of one that has ended.
    async fn rebuilt(&mut self, mut ended: Ended) -> Result<Engine, Error> {
        loop {
            let Some(pause) = self.patience.rebuild(ended.cause) else { return Err(ended.error) };
            tracing::warn!(error = %ended.error, "the producer of transactions has ended; building a new one");
            sleep(pause).await;
            match self.recipe.start().await {
                Ok(engine) => return Ok(engine),
                Err(next) => ended = next,
            }
        }
    }
}

/// Whether an error is about what was sent, and will be the same another time.
fn is_of_the_records(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Config | ErrorKind::Encode | ErrorKind::TooLarge | ErrorKind::UnknownTopic)
}

/// Runs user code, until `until` at most, and no longer than what it works on is there.
async fn bounded<T>(
    work: impl Future<Output = Result<T, BoxError>>,
    until: Instant,
    hurry: &tokio::sync::Notify,
    is_lost: impl Fn() -> bool,
) -> Result<T, Error> {
    let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
    loop {
        tokio::select! {
            result = &mut work => {
                return match result {
                    Ok(Ok(value)) => Ok(value),
                    Ok(Err(error)) => Err(Error::new(ErrorKind::Handler, "the processing failed").with_source(error)),
                    Err(panic) => {
                        let text = format!("the processing panicked: {}", panic_text(&*panic));
                        Err(Error::new(ErrorKind::Panicked, text))
                    }
                };
            }
            () = hurry.notified() => {
                if is_lost() {
                    return Err(Error::new(ErrorKind::Fenced, "a partition that was read from has moved to another member"));
                }
            }
            () = sleep_until(until) => {
                return Err(Error::new(ErrorKind::Timeout, "the processing took longer than a transaction may"));
            }
        }
    }
}
