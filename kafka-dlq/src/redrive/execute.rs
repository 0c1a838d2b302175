//! The run itself: each batch of dead letters is one transaction, with its records and the job's offsets.
//!
//! ```text
//! batch ─▶ verdicts ─▶ tx.send ─▶ commit ──▶ counted, when the next batch comes or the run has ended
//!              │                    └ undone: not counted, and read again
//!              └▶ behind the end: the partition is paused, the rest is not taken
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use kafka_client::{Batch, BoxError, ConsumerHandle, Decision, NoKey, RawRecord, Received, Topic, Transaction};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Redrive;
use super::pace::Pace;
use super::plan::Verdict;
use super::report::{End, RedriveReport};
use super::run::{Progress, now_ms};
use super::survey::Surveyed;
use crate::dead_letter::DeadLetter;
use crate::error::{Error, ErrorKind};
use crate::reader::{self, Span};
use crate::values::PASSES;

/// How many dead letters a transaction has at most.
const BATCH: usize = 5_000;
/// How long a transaction may be spread by the rate.
const SPREAD: Duration = Duration::from_millis(500);
/// How often the group is asked whether others have finished what is theirs.
const ASK: Duration = Duration::from_millis(500);
/// How long Kafka may give no answer before the job fails.
const SILENCE: Duration = Duration::from_secs(30);
/// How often the job is begun again after it came no further.
const ATTEMPTS: u32 = 3;

impl Redrive {
    /// Runs the job, until it has seen what stood there when it began, or `shutdown` is ready.
    ///
    /// What was sent and what is committed of the job's progress are one transaction, also when it is stopped: the same
    /// job goes on from there.
    ///
    /// # Errors
    /// As [`dry_run`](Self::dry_run), before anything is sent; [`ErrorKind::Kafka`] when no further try can help, or Kafka has
    /// not answered for 30 s. What was committed before that stays, and counts as progress.
    ///
    /// # Cancel safety
    /// Dropping the future is as a kill: nothing is lost, and the same job goes on.
    pub async fn run_until(&self, shutdown: impl Future) -> Result<RedriveReport, Error> {
        let begun = Instant::now();
        self.checked()?;
        self.make_room_for_marks().await?;
        let surveyed = Arc::new(self.survey().await?);
        let state = Arc::new(State::new(self.report(&surveyed), &surveyed, self.rate, self.limit));
        let mut shutdown = std::pin::pin!(shutdown);
        let mut attempts = 0;
        let mut committed = self.committed(&surveyed.spans).await?;
        while !is_done(&surveyed.ends, &committed) && state.is_on() {
            self.round(&surveyed, &state, &mut shutdown).await?;
            let now = self.committed(&surveyed.spans).await?;
            state.settle_by(&now);
            attempts = if now == committed { attempts + 1 } else { 0 };
            committed = now;
            let trouble = state.trouble();
            let is_denied = trouble.as_ref().is_some_and(|error| error.kind() == kafka_client::ErrorKind::Denied);
            if (attempts == ATTEMPTS || is_denied) && state.is_on() && !is_done(&surveyed.ends, &committed) {
                let text = format!("the job comes no further at {committed:?} of {:?}", surveyed.ends);
                let error = Error::new(ErrorKind::Kafka, text);
                return Err(match trouble {
                    Some(trouble) => self.naming_rights(error.with_source(trouble), &surveyed),
                    None => error,
                });
            }
        }
        let mut report = state.report();
        report.elapsed = begun.elapsed();
        self.tell(&surveyed, &state, begun);
        self.write_audit(&report).await?;
        Ok(report)
    }

    /// The error, with the right that is missing, if it is that: of the topic that is read, or of one that is written.
    fn naming_rights(&self, error: Error, surveyed: &Surveyed) -> Error {
        let targets: Vec<&str> = surveyed.known.keys().map(String::as_str).collect();
        error.lacking("WRITE", &targets.join(" or "), &self.group())
    }

    /// One life of the pipeline.
    async fn round(
        &self,
        surveyed: &Arc<Surveyed>,
        state: &Arc<State>,
        shutdown: &mut (impl Future + Unpin),
    ) -> Result<(), Error> {
        let steering: Arc<OnceLock<ConsumerHandle>> = Arc::default();
        let most = self.rate.map_or(BATCH, |rate| ((rate * SPREAD.as_secs_f64()) as usize).clamp(1, BATCH));
        let (undone, steers) = (state.clone(), steering.clone());
        let steering = &steering;
        let work = |batch: Batch<Received<(), ()>>, transaction: Transaction| async move {
            let worked = self.batch(&batch, &transaction, surveyed, state).await?;
            if let (Some(partition), Some(handle)) = (worked.behind, steering.get()) {
                // Asked, and not waited for: a consumer that is about to end, or gives partitions away, takes no commands
                // until this batch is done. If it was not heard, the next batch asks again.
                drop(handle.pause([(self.source.as_str(), partition)]).now_or_never());
            }
            Ok::<_, BoxError>(Decision::CommitUpTo(worked.taken))
        };
        let pipeline = self
            .kafka
            .exactly_once(self.group())
            .from(&Topic::new(self.source.as_str(), NoKey, NoKey))
            .max_records(most)
            .on_undone(move |what| {
                undone.undo(what.error());
                // What was paused at its end goes back to before that.
                if let Some(handle) = steers.get() {
                    drop(handle.resume(what.partitions().iter().cloned()).now_or_never());
                }
            })
            .consumer(move |consumer| consumer.max_batch_records(most.max(100)))
            .process(work)
            .build()
            .map_err(|error| Error::kafka("build the job", error))?;
        let handle = pipeline.handle();
        let _ = steering.set(handle);
        let (gone, silence) = (Notify::new(), Mutex::new(None));
        let end = async {
            tokio::select! {
                _ = shutdown => state.end(End::Stopped),
                () = state.over.notified() => (),
                ended = self.until_all_have_finished(surveyed) => {
                    if let Err(error) = ended {
                        *silence.lock() = Some(error);
                        gone.notify_one();
                    }
                }
                repeated = self.until_one_comes_back(surveyed) => state.end(End::Repeated(repeated)),
                () = self.keep_telling(surveyed, state) => (),
            }
        };
        let denied = |error: kafka_client::Error| {
            let reads = error.topic() == Some(&self.source);
            let error = Error::kafka("send back", error);
            match reads {
                true => error.lacking("READ", &self.source, &self.group()),
                false => self.naming_rights(error, surveyed),
            }
        };
        tokio::select! {
            ran = pipeline.run_until(end) => ran.map(drop).map_err(denied),
            // An end in good order would wait for brokers that are not there.
            () = gone.notified() => Err(silence.lock().take().unwrap_or_else(|| Error::config("nobody has ended it"))),
        }
    }

    /// Decides about a batch, and sends what is to be sent.
    async fn batch(
        &self,
        batch: &[Received<(), ()>],
        transaction: &Transaction,
        surveyed: &Surveyed,
        state: &State,
    ) -> Result<Worked, BoxError> {
        let mut open = Pending { report: RedriveReport::default(), reached: HashMap::new() };
        let mut records = Vec::new();
        let (mut worked, now) = (Worked { taken: 0, behind: None }, now_ms());
        state.settle();
        if let Some(first) = batch.first() {
            state.resolve(first.partition(), first.offset());
        }
        let begun = Instant::now();
        for record in batch {
            let end = surveyed.spans.iter().find(|span| span.partition == record.partition()).map_or(0, |span| span.to);
            if record.offset() >= end {
                worked.behind = Some(record.partition());
                break;
            }
            let letter = DeadLetter::of(record);
            let verdict = self.verdict(&letter, surveyed, now).await?;
            if !verdict.is_left() {
                if !state.may_send(&open.report) {
                    state.end(End::Limit);
                    break;
                }
                // A transaction that is spread too long would be cut short.
                let wait = state.wait();
                if wait > SPREAD || (!wait.is_zero() && begun.elapsed() > SPREAD * 4) {
                    if worked.taken == 0 {
                        tokio::time::sleep(SPREAD).await;
                    }
                    break;
                }
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                state.sent();
            }
            open.report.count(&verdict);
            open.reached.insert(record.partition(), record.offset() + 1);
            worked.taken += 1;
            if let Verdict::Send(record) | Verdict::Park(record) = verdict {
                match self.rate {
                    None => records.push(record),
                    Some(_) => transaction.send(record).await?,
                }
            }
        }
        transaction.send_batch(records).await?;
        state.open(open, surveyed);
        Ok(worked)
    }

    /// What becomes of a dead letter, after what it takes to know that was asked for.
    async fn verdict(&self, letter: &DeadLetter<'_>, surveyed: &Surveyed, now: i64) -> Result<Verdict, Error> {
        let mut verdict = surveyed.verdict(&self.orders, letter, now);
        if let Some(values) = &self.orders.values {
            for _ in 0..PASSES {
                if !values.resolve().await? {
                    break;
                }
                verdict = surveyed.verdict(&self.orders, letter, now);
            }
        }
        Ok(verdict)
    }

    /// Waits until the whole group has come to the end: other copies of the job work, too. Or until Kafka has given no
    /// answer for so long that nobody should wait any more.
    async fn until_all_have_finished(&self, surveyed: &Surveyed) -> Result<(), Error> {
        let mut heard = Instant::now();
        loop {
            tokio::time::sleep(ASK).await;
            match self.committed(&surveyed.spans).await {
                Ok(committed) if is_done(&surveyed.ends, &committed) => return Ok(()),
                Ok(_) => heard = Instant::now(),
                Err(error) if heard.elapsed() < SILENCE => {
                    tracing::debug!(%error, "the job's progress cannot be read at the moment");
                }
                Err(error) => {
                    let text = format!(
                        "Kafka has not answered for {} s: what is committed stays, and the same job goes on from there",
                        heard.elapsed().as_secs()
                    );
                    return Err(Error::new(ErrorKind::Kafka, text).with_source(error));
                }
            }
        }
    }

    /// Waits for a record that was sent back and has come back; for ever where that is no matter.
    async fn until_one_comes_back(&self, surveyed: &Surveyed) -> String {
        if !self.stop_on_repeat {
            return std::future::pending().await;
        }
        let mut seen: HashMap<i32, i64> = surveyed.spans.iter().map(|span| (span.partition, span.to)).collect();
        loop {
            tokio::time::sleep(ASK).await;
            let Ok(now) = reader::spans(&self.kafka, &self.source).await else { continue };
            let tail = |span: Span| Span { from: seen.get(&span.partition).copied().unwrap_or(span.from), ..span };
            let tails: Vec<Span> = now.into_iter().map(tail).collect();
            let found = Arc::new(Mutex::new(None));
            let slot = found.clone();
            let each = move |letter: &DeadLetter<'_>| match letter.redrives() {
                0 => std::ops::ControlFlow::Continue(()),
                _ => {
                    let record = letter.record();
                    let place =
                        crate::Place { topic: Some(record.topic), partition: record.partition, offset: record.offset };
                    *slot.lock() = Some(place.to_string());
                    std::ops::ControlFlow::Break(())
                }
            };
            if reader::read(&self.kafka, &self.source, &tails, each).await.is_ok() {
                if let Some(place) = found.lock().take() {
                    return place;
                }
                seen.extend(tails.iter().map(|span| (span.partition, span.to)));
            }
        }
    }

    async fn keep_telling(&self, surveyed: &Surveyed, state: &State) {
        let begun = Instant::now();
        loop {
            self.tell(surveyed, state, begun);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn tell(&self, surveyed: &Surveyed, state: &State, begun: Instant) {
        if let Some(tell) = &self.progress {
            let (read, sent) = state.so_far();
            tell(&Progress { read, of: surveyed.to_read, sent, elapsed: begun.elapsed() });
        }
    }

    async fn write_audit(&self, report: &RedriveReport) -> Result<(), Error> {
        let Some(topic) = &self.audit else { return Ok(()) };
        let text = report.audit(&self.who, self.orders.told(), now_ms());
        let record = RawRecord::new(topic.as_str(), Some(report.job.clone().into_bytes()), Some(text.into_bytes()));
        let producer = self.kafka.producer().build().map_err(|error| Error::kafka("write the audit record", error))?;
        let sent = producer.send(record).await;
        let _ = producer.close(Duration::from_secs(5)).await;
        let failed = |error: kafka_client::SendError| {
            let failed = Error::kafka("write the audit record", error.error().clone());
            failed.lacking("WRITE", topic, "")
        };
        sent.map(drop).map_err(failed)
    }
}

/// What became of a batch.
struct Worked {
    /// How many of it are in the transaction.
    taken: usize,
    /// A partition whose records from here on came after the job began.
    behind: Option<i32>,
}

/// Whether the group has come to the end of every partition that has any records.
fn is_done(ends: &BTreeMap<i32, i64>, committed: &BTreeMap<i32, i64>) -> bool {
    ends.iter().all(|(partition, end)| committed.get(partition).is_some_and(|committed| committed >= end))
}

/// What the batches of a job share.
pub(super) struct State {
    inner: Mutex<Inner>,
    /// The job is at its end, as far as this copy knows.
    over: Notify,
    started: Instant,
    limit: Option<u64>,
    ends: BTreeMap<i32, i64>,
}

struct Inner {
    /// Committed.
    report: RedriveReport,
    /// In the open transaction, or the last one.
    pending: Option<Pending>,
    /// Of transactions that were told to be undone, whose commit may have succeeded all the same, with its answer lost.
    doubtful: Vec<Pending>,
    pace: Option<Pace>,
    /// Why a transaction was undone, the last time.
    trouble: Option<kafka_client::Error>,
    /// How far each partition is, of what is this copy's.
    reached: HashMap<i32, i64>,
    ended: bool,
}

/// What a transaction did, for as long as it is not known to be committed.
struct Pending {
    report: RedriveReport,
    reached: HashMap<i32, i64>,
}

impl State {
    fn new(report: RedriveReport, surveyed: &Surveyed, rate: Option<f64>, limit: Option<u64>) -> Self {
        let (pending, doubtful) = (None, Vec::new());
        let inner = Inner {
            report,
            pending,
            doubtful,
            pace: rate.map(Pace::new),
            trouble: None,
            reached: HashMap::new(),
            ended: false,
        };
        Self {
            inner: Mutex::new(inner),
            over: Notify::new(),
            started: Instant::now(),
            limit,
            ends: surveyed.ends.clone(),
        }
    }

    /// The transaction before is committed: a new one begins only then, and one that was undone has been told.
    fn settle(&self) {
        self.inner.lock().settle();
    }

    /// The run has ended: what is committed counts.
    fn settle_by(&self, committed: &BTreeMap<i32, i64>) {
        let mut inner = self.inner.lock();
        let is_committed = |pending: &Pending| {
            pending.reached.iter().all(|(partition, next)| committed.get(partition).is_some_and(|at| at >= next))
        };
        let last = inner.pending.take();
        let doubtful = std::mem::take(&mut inner.doubtful);
        doubtful.into_iter().chain(last).filter(is_committed).for_each(|pending| inner.count(pending));
    }

    /// The transaction is told to be undone; what its partitions give next tells whether it was.
    fn undo(&self, why: &kafka_client::Error) {
        let mut inner = self.inner.lock();
        inner.trouble = Some(why.clone());
        let undone = inner.pending.take();
        inner.doubtful.extend(undone);
    }

    /// A partition goes on here: before what was in doubt, so that was undone, or behind it, so it was committed.
    fn resolve(&self, partition: i32, next: i64) {
        let mut inner = self.inner.lock();
        let doubtful = std::mem::take(&mut inner.doubtful);
        for pending in doubtful {
            match pending.reached.get(&partition) {
                Some(reached) if *reached <= next => inner.count(pending),
                Some(_) => (),
                None => inner.doubtful.push(pending),
            }
        }
    }

    fn open(&self, pending: Pending, surveyed: &Surveyed) {
        let mut inner = self.inner.lock();
        let mut reached = inner.reached.clone();
        reached.extend(pending.reached.iter().map(|(partition, next)| (*partition, *next)));
        let is_there = |(partition, end): (&i32, &i64)| {
            let start = surveyed.spans.iter().find(|span| span.partition == *partition).map(|span| span.from);
            reached.get(partition).copied().or(start).is_some_and(|next| next >= *end)
        };
        if self.ends.iter().all(is_there) {
            self.over.notify_one();
        }
        inner.pending = Some(pending);
    }

    /// Whether one more may be sent, beyond what is committed and `open`.
    fn may_send(&self, open: &RedriveReport) -> bool {
        let inner = self.inner.lock();
        let sent = |report: &RedriveReport| report.sent + report.parked;
        !inner.ended && self.limit.is_none_or(|limit| sent(&inner.report) + sent(open) < limit)
    }

    /// How long to wait before a record is sent.
    fn wait(&self) -> Duration {
        let now = self.started.elapsed();
        self.inner.lock().pace.as_ref().map_or(Duration::ZERO, |pace| pace.wait(now))
    }

    /// A record is sent now.
    fn sent(&self) {
        let now = self.started.elapsed();
        if let Some(pace) = &mut self.inner.lock().pace {
            pace.sent(now);
        }
    }

    fn end(&self, end: End) {
        let mut inner = self.inner.lock();
        if !inner.ended {
            (inner.report.end, inner.ended) = (end, true);
        }
        self.over.notify_one();
    }

    fn trouble(&self) -> Option<kafka_client::Error> {
        self.inner.lock().trouble.clone()
    }

    fn is_on(&self) -> bool {
        !self.inner.lock().ended
    }

    fn so_far(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.report.read, inner.report.sent + inner.report.parked)
    }

    fn report(&self) -> RedriveReport {
        self.inner.lock().report.clone()
    }
}

impl Inner {
    fn settle(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.count(pending);
        }
    }

    fn count(&mut self, committed: Pending) {
        self.report.add(&committed.report);
        self.reached.extend(committed.reached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let surveyed = Surveyed {
            spans: Vec::new(),
            ends: BTreeMap::new(),
            known: HashMap::new(),
            duplicates: Default::default(),
            discarded: Default::default(),
            before: 0,
            to_read: 0,
        };
        State::new(RedriveReport::default(), &surveyed, None, None)
    }

    fn timeout() -> kafka_client::Error {
        // Some error of a client: one without an address.
        kafka_client::Kafka::connect("").producer().build().err().unwrap()
    }

    fn read(state: &State, records: u64, reached: i64) {
        let report = RedriveReport { read: records, sent: records, ..RedriveReport::default() };
        state.inner.lock().pending = Some(Pending { report, reached: HashMap::from([(0, reached)]) });
    }

    #[test]
    fn what_was_undone_does_not_count_and_what_was_committed_all_the_same_does() {
        // Read again from before: it was undone.
        let state = state();
        read(&state, 12, 12);
        state.undo(&timeout());
        state.resolve(0, 0);
        read(&state, 12, 12);
        state.settle_by(&BTreeMap::from([(0, 12)]));
        assert_eq!(state.so_far(), (12, 12));
        // The partition goes on behind it: the answer was lost, and not the transaction.
        read(&state, 5, 17);
        state.undo(&timeout());
        state.resolve(1, 40);
        assert_eq!(state.so_far(), (12, 12), "of another partition nothing is known by that");
        state.resolve(0, 17);
        assert_eq!(state.so_far(), (17, 17));
        // Nothing comes any more: what is committed tells.
        read(&state, 3, 20);
        state.undo(&timeout());
        state.settle_by(&BTreeMap::from([(0, 20)]));
        assert_eq!(state.so_far(), (20, 20));
        read(&state, 4, 24);
        state.undo(&timeout());
        state.settle_by(&BTreeMap::from([(0, 20)]));
        assert_eq!(state.so_far(), (20, 20));
    }
}
