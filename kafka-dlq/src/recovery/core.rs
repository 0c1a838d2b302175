//! What a recovery knows and does, whatever the types of its topic and its handler.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{AtRisk, BoxError, Completion, ConsumerBuilder, GivenBack, Headers, RawReceived, RawRecord};
use metrics::Counter;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::fault::{Fault, Stopped};
use super::in_place::InPlace;
use super::start;
use super::tally::Tally;
use super::writer::Writer;
use super::{Dialect, Settings};
use crate::backoff::Tried;
use crate::breaker::{Circuit, Permit};
use crate::budget::Account;
use crate::dialect::{connect, ours, spring};
use crate::inspect::Steer;
use crate::policy::{Decision, Means, Step, Why};
use crate::retry_topic::gate::{Gate, InTransit, key_of};
use crate::retry_topic::hop::{Hop, WAIT};
use crate::retry_topic::{NEVER, RetryTopic};
use crate::{Failure, Order, TimestampType};

pub(crate) struct Core {
    pub(crate) source: String,
    pub(crate) group: String,
    pub(crate) settings: Settings,
    pub(crate) writer: Arc<Writer>,
    pub(crate) tally: Tally,
    processed: OnceLock<Counter>,
    circuit: Option<Mutex<Circuit>>,
    /// Whether the circuit is open: looked at for each record.
    open: AtomicBool,
    closed: Notify,
    successes: AtomicU64,
    budget: Option<Mutex<Account>>,
    /// Records that wait for their next attempt where they are.
    pub(crate) in_place: InPlace,
    /// How many partitions the two topics have; 0 while not known.
    pub(crate) dead_letter_partitions: AtomicI32,
    pub(crate) retry_partitions: AtomicI32,
    /// How old a dead letter may be, in milliseconds, before its topic deletes it at once; -1 for any age.
    pub(crate) retention_ms: AtomicI64,
    /// How old, and how far ahead, a timestamp may be for the brokers of both topics, in milliseconds.
    pub(crate) timestamp_before_ms: AtomicI64,
    pub(crate) timestamp_after_ms: AtomicI64,
}

/// How often a record was tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    attempts: u32,
    first_failure: Option<SystemTime>,
    /// As they were when the record came here: what an outage sets them back to.
    before: (u32, Option<SystemTime>),
}

impl Tries {
    pub(crate) fn new(attempts: u32, first_failure_ms: Option<i64>) -> Self {
        let first =
            first_failure_ms.and_then(|ms| u64::try_from(ms).ok()).map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        Self { attempts, first_failure: first, before: (attempts, first) }
    }

    /// Counts a failure; what a decision goes by.
    fn failed(&mut self, record: &RawReceived) -> Tried {
        let now = SystemTime::now();
        self.attempts = self.attempts.saturating_add(1);
        Tried {
            attempts: self.attempts,
            first_failure: *self.first_failure.get_or_insert(now),
            written: record.timestamp(),
            now,
            random: fastrand::f64(),
        }
    }

    pub(crate) fn set_back(&mut self) {
        (self.attempts, self.first_failure) = self.before;
    }
}

/// Where a record is being tried.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Source,
    Retry(&'a Arc<Gate>),
}

/// What follows a failure.
pub(crate) enum After {
    Again,
    Done(Completion),
}

/// Leave to try a record.
pub(crate) struct Pass<'a> {
    probe: Option<&'a Core>,
    /// Whether there was an outage to wait for.
    pub(crate) waited: bool,
}

impl Pass<'_> {
    fn probed(mut self, reached: bool) {
        if let Some(core) = self.probe.take() {
            core.probed(reached);
        }
    }

    fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(circuit) = self.probe.take().and_then(|core| core.circuit.as_ref()) {
            circuit.lock().abandoned(Instant::now());
        }
    }
}

impl Core {
    /// Sets up what does not depend on types. `unordered`: the route begins records of one key at the same time, though
    /// their order is to be kept.
    pub(crate) fn join(
        builder: ConsumerBuilder,
        source: &str,
        settings: Settings,
        unordered: bool,
    ) -> (ConsumerBuilder, Arc<Self>) {
        let now = Instant::now();
        let tally = Tally::new(builder.group(), source);
        let core = Arc::new(Self {
            source: source.to_owned(),
            group: builder.group().to_owned(),
            circuit: settings.breaker.map(|breaker| Mutex::new(Circuit::new(breaker, now))),
            budget: settings.budget.map(|budget| Mutex::new(Account::new(budget, now))),
            writer: Arc::new(Writer::new(tally.clone(), start::producer(&builder, &settings))),
            settings,
            tally,
            processed: OnceLock::new(),
            open: AtomicBool::new(false),
            closed: Notify::new(),
            successes: AtomicU64::new(0),
            in_place: InPlace::default(),
            dead_letter_partitions: AtomicI32::new(0),
            retry_partitions: AtomicI32::new(0),
            retention_ms: AtomicI64::new(-1),
            timestamp_before_ms: AtomicI64::new(i64::MAX),
            timestamp_after_ms: AtomicI64::new(i64::MAX),
        });
        let plan = start::Plan::new(&builder, unordered);
        let starting = core.clone();
        let builder = builder.before_start(async move {
            let _ = starting.processed.set(starting.tally.processed());
            plan.carry_out(&starting).await
        });
        (builder.attach(core.clone()), core)
    }

    pub(crate) fn retry_topic(&self) -> Option<RetryTopic> {
        self.settings.retry_topic.clone()
    }

    pub(crate) fn has_dead_letters(&self) -> bool {
        self.settings.dead_letter.is_some()
    }

    /// The gate and the key of a record of the source, where keys keep an order.
    pub(crate) fn ordered(&self, record: &RawReceived) -> Option<(Arc<Gate>, u64)> {
        let retries = self.settings.retry_topic.as_ref().filter(|topic| topic.kind() != Order::Unordered)?;
        let key = key_of(&self.source, record.key_bytes()?);
        Some((retries.gate(record.partition()), key))
    }

    /// Before a record of the source is tried: its turn, as far as its key is concerned. `Some`: it was sent behind another
    /// one of its key.
    pub(crate) async fn turn_of_key(&self, record: &RawReceived) -> Result<Option<Completion>, BoxError> {
        let Some((gate, key)) = self.ordered(record) else { return Ok(None) };
        gate.loaded(record).await?;
        match self.settings.retry_topic.as_ref().map(RetryTopic::kind) {
            Some(Order::KeepOrder) if gate.line.lock().is_blocked(key) => {
                let transit = InTransit::begin(&gate, key, record.offset());
                let mut headers = record.headers().to_owned();
                let kind =
                    if record.is_log_append_time() { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
                let behind = Failure {
                    timestamp_ms: record.timestamp_ms(),
                    timestamp_type: record.timestamp_ms().map(|_| kind),
                    ..Failure::at(record.topic(), record.partition(), record.offset())
                };
                ours::write(&behind, &mut headers);
                Hop::write(&mut headers, 0, record.offset(), &self.source);
                self.hop(record, headers, Some(transit)).await.map(Some)
            }
            Some(Order::LatestWins) => {
                gate.supersede(record, key).await?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Waits while there is an outage, and counts what is tried for the first time.
    pub(crate) async fn pass(&self, record: &RawReceived, tries: &Tries) -> Result<Pass<'_>, GivenBack> {
        if let (Some(budget), 0) = (&self.budget, tries.attempts) {
            budget.lock().earn();
        }
        let mut pass = Pass { probe: None, waited: false };
        let Some(circuit) = self.circuit.as_ref().filter(|_| self.open.load(Ordering::Relaxed)) else {
            return Ok(pass);
        };
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            let permit = circuit.lock().permit(fault_key(record), Instant::now());
            let wait = match permit {
                Permit::Go => return Ok(pass),
                Permit::Probe => {
                    (pass.probe, pass.waited) = (Some(self), true);
                    return Ok(pass);
                }
                Permit::Wait(wait) => wait,
            };
            pass.waited = true;
            tokio::select! {
                () = tokio::time::sleep(wait) => (),
                () = closed => (),
                () = record.stopping() => return Err(GivenBack),
            }
        }
    }

    fn probed(&self, reached: bool) {
        let Some(circuit) = &self.circuit else { return };
        if circuit.lock().probed(reached, Instant::now()) {
            self.open.store(false, Ordering::Relaxed);
            self.closed.notify_waiters();
            self.tally.breaker(false);
            tracing::warn!(group = self.group, topic = self.source, reached, "the outage is over; going on");
        }
    }

    /// So many records were handled.
    #[inline]
    pub(crate) fn succeeded(&self, pass: Pass<'_>, records: u64) {
        self.successes.fetch_add(records, Ordering::Relaxed);
        if let Some(processed) = self.processed.get() {
            processed.increment(records);
        }
        pass.probed(true);
    }

    /// A call that would be retried has failed. Whether there is an outage.
    pub(crate) fn is_outage(&self, record: &RawReceived, pass: Pass<'_>) -> bool {
        let Some(circuit) = &self.circuit else { return false };
        if pass.is_probe() {
            pass.probed(false);
            return true;
        }
        let mut circuit = circuit.lock();
        if circuit.failed(fault_key(record), self.successes.load(Ordering::Relaxed), Instant::now()) {
            self.open.store(true, Ordering::Relaxed);
            self.tally.breaker(true);
            tracing::error!(
                group = self.group,
                topic = self.source,
                "records of many keys fail: this is an outage, and no fault of theirs; trying one at a time until it is over"
            );
        }
        circuit.is_open()
    }

    /// A record has failed for the last time, and may be among the first that an outage makes fail. Whether the breaker opens
    /// before another record is handled; not waited for any longer than [`LAST_FAILURE`].
    async fn is_first_of_an_outage(&self, record: &RawReceived) -> Result<bool, GivenBack> {
        if self.circuit.is_none() {
            return Ok(false);
        }
        let (until, before) = (Instant::now() + LAST_FAILURE, self.successes.load(Ordering::Relaxed));
        while !self.open.load(Ordering::Relaxed) {
            if self.successes.load(Ordering::Relaxed) != before || Instant::now() >= until {
                return Ok(false);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => (),
                () = record.stopping() => return Err(GivenBack),
            }
        }
        Ok(true)
    }

    /// What to do with a record that has failed.
    pub(crate) async fn failed(
        &self,
        record: &RawReceived,
        tries: &mut Tries,
        decision: Decision,
        fault: Fault,
        pass: Pass<'_>,
        place: Place<'_>,
    ) -> Result<After, BoxError> {
        self.tally.failed(fault.class);
        let would_retry = matches!(decision, Decision::Retry(_));
        if !would_retry {
            // The other side has answered: this is the record's own fault.
            pass.probed(true);
        } else if self.is_outage(record, pass) {
            tries.set_back();
            return Ok(After::Again);
        }
        let tried = tries.failed(record);
        let step = decision.step(&tried, self.means(place));
        if would_retry
            && matches!(step, Step::DeadLetter(_) | Step::Stop(_))
            && self.is_first_of_an_outage(record).await?
        {
            tries.set_back();
            return Ok(After::Again);
        }
        tracing::debug!(?record, attempts = tries.attempts, ?step, error = %fault.error, "a record has failed");
        match step {
            Step::Again(delay) => {
                self.tally.retried("in_place");
                match self.pause(record, tries, delay, false).await? {
                    None | Some(Steer::RetryNow | Steer::Unpark) => Ok(After::Again),
                    Some(steer) => self.steered(record, tries, steer, &fault, place).await.map(After::Done),
                }
            }
            Step::Later(delay) => {
                self.tally.retried("retry_topic");
                let due = tried.now.checked_add(delay).and_then(|due| due.duration_since(UNIX_EPOCH).ok());
                // Rounded up: never early.
                let due = due.map_or(NEVER - 1, |due| i64::try_from(due.as_millis()).map_or(NEVER - 1, |ms| ms + 1));
                self.later(record, tries, &fault, place, due).await.map(After::Done)
            }
            Step::Park => self.later(record, tries, &fault, place, NEVER).await.map(After::Done),
            Step::DeadLetter(reason) => {
                self.dead_letter(record, Some(tries), reason, &fault, place).await.map(After::Done)
            }
            Step::Skip(reason) => {
                self.tally.skipped(&reason);
                tracing::warn!(?record, reason = &*reason, error = %fault.error, "a record is skipped");
                Ok(After::Done(Completion::done()))
            }
            Step::Stop(why) => Err(stopped(why, fault)),
        }
    }

    /// A batch has failed that would be retried: `None` when it is to be tried again, after the wait; else what it failed
    /// with.
    pub(crate) async fn again_in_place(
        &self,
        record: &RawReceived,
        tries: &mut Tries,
        decision: Decision,
        fault: Fault,
        pass: Pass<'_>,
    ) -> Result<Option<(Decision, Fault)>, BoxError> {
        if self.is_outage(record, pass) {
            self.tally.failed(fault.class);
            tries.set_back();
            return Ok(None);
        }
        let mut tried = *tries;
        match decision.clone().step(&tried.failed(record), self.means(Place::Source)) {
            Step::Again(delay) => {
                *tries = tried;
                self.tally.failed(fault.class);
                self.tally.retried("in_place");
                // A batch is not steered by one record of it: it is only tried sooner.
                let _ = self.pause(record, tries, delay, true).await?;
                Ok(None)
            }
            _ => Ok(Some((decision, fault))),
        }
    }

    /// Before a record is handled that may end the process.
    pub(crate) async fn at_risk(&self, record: &RawReceived) -> Result<Option<AtRisk>, GivenBack> {
        match self.settings.quarantine {
            Some(_) => record.at_risk().await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether an earlier process may have died of one of these.
    pub(crate) fn has_suspects(&self, records: &[RawReceived]) -> bool {
        self.settings.quarantine.is_some() && records.iter().any(|record| record.deaths() > 0)
    }

    /// A record that has ended its process too often is not handled any more.
    pub(crate) async fn quarantined(
        &self,
        record: &RawReceived,
        mut tries: Tries,
        place: Place<'_>,
    ) -> Result<Option<Completion>, BoxError> {
        let Some(limit) = self.settings.quarantine else { return Ok(None) };
        let deaths = record.deaths();
        if deaths < limit {
            return Ok(None);
        }
        tries.attempts = tries.attempts.saturating_add(deaths);
        let fault = Fault::deadly(deaths);
        self.tally.failed(fault.class);
        self.dead_letter(record, Some(&tries), Cow::Borrowed("quarantine"), &fault, place).await.map(Some)
    }

    /// A record that cannot be decoded.
    pub(crate) async fn undecodable(
        &self,
        record: &RawReceived,
        fault: Fault,
        place: Place<'_>,
    ) -> Result<Completion, BoxError> {
        self.tally.failed(fault.class);
        let decision = match &self.settings.undecodable {
            Some(Decision::Retry(_)) | None => Decision::dead_letter("decode"),
            Some(decision) => decision.clone(),
        };
        let now = SystemTime::now();
        let tried = Tried { attempts: 1, first_failure: now, written: None, now, random: 0.0 };
        let mut tries = Tries::new(1, None);
        tries.first_failure = Some(now);
        match decision.step(&tried, self.means(place)) {
            Step::DeadLetter(reason) => self.dead_letter(record, None, reason, &fault, place).await,
            Step::Park | Step::Again(_) | Step::Later(_) => self.later(record, &tries, &fault, place, NEVER).await,
            Step::Skip(reason) => {
                self.tally.skipped(&reason);
                tracing::warn!(?record, reason = &*reason, error = %fault.error, "an undecodable record is skipped");
                Ok(Completion::done())
            }
            Step::Stop(why) => Err(stopped(why, fault)),
        }
    }

    fn means(&self, place: Place<'_>) -> Means {
        let in_place = match place {
            Place::Source => self.settings.in_place(),
            Place::Retry(_) => 0,
        };
        let dead_letters = self.settings.dead_letter.is_some();
        Means { in_place, retry_topic: self.settings.retry_topic.is_some(), dead_letters }
    }

    /// Waits for the next attempt in place, and for the budget to allow it; or until somebody wants something else.
    async fn pause(
        &self,
        record: &RawReceived,
        tries: &Tries,
        mut delay: Duration,
        is_batch: bool,
    ) -> Result<Option<Steer>, GivenBack> {
        let mut waits = self.in_place.wait(record, tries.attempts, delay, is_batch);
        loop {
            tokio::select! {
                () = tokio::time::sleep(delay) => (),
                steer = waits.steered() => return Ok(Some(steer)),
                () = record.stopping() => return Err(GivenBack),
            }
            match &self.budget {
                Some(budget) => match budget.lock().spend(Instant::now()) {
                    Ok(()) => return Ok(None),
                    Err(wait) => delay = wait,
                },
                None => return Ok(None),
            }
        }
    }

    /// Does with a record what somebody wants, in place of trying it again.
    async fn steered(
        &self,
        record: &RawReceived,
        tries: &Tries,
        steer: Steer,
        fault: &Fault,
        place: Place<'_>,
    ) -> Result<Completion, BoxError> {
        match steer {
            Steer::DeadLetter => self.dead_letter(record, Some(tries), Cow::Borrowed(ASKED), fault, place).await,
            Steer::Park => self.later(record, tries, fault, place, NEVER).await,
            Steer::Skip | Steer::RetryNow | Steer::Unpark => {
                self.tally.skipped(ASKED);
                tracing::warn!(?record, "a record is skipped, because somebody has asked for it");
                Ok(Completion::done())
            }
        }
    }

    /// A record of the retry topic of which somebody wants that it is not tried again: it is done with.
    pub(crate) async fn ordered_away(
        &self,
        record: &RawReceived,
        tries: &Tries,
        gate: &Arc<Gate>,
    ) -> Result<Option<Completion>, BoxError> {
        let Some(steer) = gate.take_order(record.offset()) else { return Ok(None) };
        self.steered(record, tries, steer, &Fault::asked(), Place::Retry(gate)).await.map(Some)
    }

    /// The record waits on the retry topic, until `due`.
    async fn later(
        &self,
        record: &RawReceived,
        tries: &Tries,
        fault: &Fault,
        place: Place<'_>,
        due: i64,
    ) -> Result<Completion, BoxError> {
        let ordered = self.settings.keeps_order();
        let hop = Hop::read(record);
        if let (Place::Retry(gate), Some(hop), true, Some(key)) = (place, hop, ordered, record.key_bytes()) {
            // Its place in the log is its place in the order: it stays there.
            gate.again(record.clone(), key_of(&self.source, key), hop.offset, due, tries.attempts);
            return Ok(Completion::unfinished());
        }
        let mut headers = record.headers().to_owned();
        let text = (fault.error.to_string(), fault.chain());
        ours::write_within(&self.failure(record, Some(tries), None, fault, &text), &mut headers, MAX_HEADER_BYTES);
        let (offset, transit) = match place {
            Place::Source => {
                let transit = self.ordered(record).map(|(gate, key)| InTransit::begin(&gate, key, record.offset()));
                (record.offset(), transit)
            }
            Place::Retry(_) => (hop.map_or(record.offset(), |hop| hop.offset), None),
        };
        Hop::write(&mut headers, due, offset, &self.source);
        self.hop(record, headers, transit).await
    }

    async fn hop(
        &self,
        record: &RawReceived,
        headers: Headers,
        transit: Option<InTransit>,
    ) -> Result<Completion, BoxError> {
        let topic = self.settings.retry_topic.as_ref().map(RetryTopic::name).unwrap_or_default();
        let mut raw = self.copy(record, topic, headers);
        raw.partition = same_partition(record, &self.retry_partitions);
        self.writer.write(raw, record, transit, Box::new(|| ())).await
    }

    async fn dead_letter(
        &self,
        record: &RawReceived,
        tries: Option<&Tries>,
        reason: Cow<'static, str>,
        fault: &Fault,
        place: Place<'_>,
    ) -> Result<Completion, BoxError> {
        let topic = self.settings.dead_letter.as_deref().unwrap_or_default();
        let mut headers = record.headers().to_owned();
        headers.remove(WAIT);
        let text = (fault.error.to_string(), fault.chain());
        let failure = self.failure(record, tries, Some(&reason), fault, &text);
        match self.settings.dialect {
            Dialect::Ours => ours::write(&failure, &mut headers),
            foreign => {
                // They know of no retry topic of ours: the origin is what they call the original.
                let origin = Origin::take(&mut headers, place);
                let failure = origin.as_ref().map_or(failure, |origin| origin.applied(failure));
                match foreign {
                    Dialect::Spring => spring::write(&failure, &mut headers),
                    _ => connect::write(&failure, &mut headers),
                }
            }
        }
        let mut raw = self.copy(record, topic, headers);
        raw.partition = same_partition(record, &self.dead_letter_partitions);
        let retention = self.retention_ms.load(Ordering::Relaxed);
        let now = millis(SystemTime::now());
        // It would be deleted for its age, soon or at once. The headers have the time.
        raw.timestamp = raw.timestamp.filter(|time| retention < 0 || now.saturating_sub(*time) <= retention / 2);
        tracing::warn!(?record, reason = &*reason, error = %fault.error, "a record is dead-lettered");
        let tally = self.tally.clone();
        self.writer.write(raw, record, None, Box::new(move || tally.dead_lettered(&reason))).await
    }

    /// The record bit for bit, with other headers, for another topic. Without its timestamp where a broker would refuse it;
    /// the headers have the time.
    fn copy(&self, record: &RawReceived, topic: &str, headers: Headers) -> RawRecord {
        let mut raw = RawRecord::new(topic, record.key_bytes().map(Vec::from), record.value_bytes().map(Vec::from));
        let now = millis(SystemTime::now());
        // A tenth less: clocks differ.
        let most = |bound: &AtomicI64| bound.load(Ordering::Relaxed) / 10 * 9;
        let is_taken = |time: &i64| {
            now.saturating_sub(*time) <= most(&self.timestamp_before_ms)
                && time.saturating_sub(now) <= most(&self.timestamp_after_ms)
        };
        (raw.headers, raw.timestamp) = (headers, record.timestamp_ms().filter(is_taken));
        raw
    }

    fn failure<'a>(
        &'a self,
        record: &'a RawReceived,
        tries: Option<&Tries>,
        reason: Option<&'a str>,
        fault: &'a Fault,
        text: &'a (String, String),
    ) -> Failure<'a> {
        let kind = if record.is_log_append_time() { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        Failure {
            timestamp_ms: record.timestamp_ms(),
            timestamp_type: record.timestamp_ms().map(|_| kind),
            group: Some(&self.group),
            class: Some(fault.class),
            message: Some(&text.0),
            trace: fault.error.source().map(|_| text.1.as_str()),
            attempts: tries.map(|tries| tries.attempts),
            first_failure_ms: tries.and_then(|tries| tries.first_failure).map(millis),
            failed_at_ms: Some(millis(SystemTime::now())),
            reason,
            ..Failure::at(record.topic(), record.partition(), record.offset())
        }
    }
}

/// How long a record whose attempts are used up waits, with nothing else handled meanwhile, for the failures of others: they
/// may tell that this is an outage.
const LAST_FAILURE: Duration = Duration::from_secs(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// How long the rest of a suspect's work counts as handling it, at most: it may wait for another record.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// A handler has returned: what is left to do for a suspect is watched, too.
pub(crate) async fn watched(
    record: &RawReceived,
    completion: Completion,
    risk: Option<AtRisk>,
) -> Result<Completion, BoxError> {
    let Some(risk) = risk.filter(|risk| risk.is_alone() && !completion.is_unfinished()) else { return Ok(completion) };
    let mut rest = Box::pin(completion.finished());
    tokio::select! {
        biased;
        ended = &mut rest => return ended.map(|()| Completion::done()),
        () = tokio::time::sleep(LONGEST_REST) => (),
        () = record.stopping() => (),
    }
    drop(risk);
    Ok(Completion::later(rest))
}

/// The reason of what somebody has asked for.
const ASKED: &str = "asked";

/// What a failure is counted by: the key, or the record where it has none.
fn fault_key(record: &RawReceived) -> u64 {
    match record.key_bytes() {
        Some(key) => key_of("", key),
        None => key_of("offset", format!("{}-{}", record.partition(), record.offset()).as_bytes()),
    }
}

/// What the headers of a waiting record take at most, beside [`WAIT`].
const MAX_HEADER_BYTES: usize = ours::MAX_BYTES - 300;

fn stopped(why: Why, fault: Fault) -> BoxError {
    let why = match why {
        Why::Decided => return fault.error,
        Why::Exhausted(limit) => {
            format!("no attempts are left ({}), and there is no dead-letter topic", limit.as_str())
        }
        Why::NoDeadLetters => "the record is to be dead-lettered, and there is no dead-letter topic".to_owned(),
        Why::NoRetryTopic => "the record is to be parked, and there is no retry topic".to_owned(),
    };
    Stopped { why, source: fault.error }.into()
}

/// The partition of the same number, in a topic of so many.
fn same_partition(record: &RawReceived, partitions: &AtomicI32) -> Option<i32> {
    match partitions.load(Ordering::Relaxed) {
        0 => None,
        partitions => Some(record.partition() % partitions),
    }
}

fn millis(time: SystemTime) -> i64 {
    crate::retry_topic::millis(time)
}

/// Where a record of the retry topic came from, by the headers of our own dialect.
struct Origin {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp_ms: Option<i64>,
    timestamp_type: Option<TimestampType>,
}

impl Origin {
    /// Takes our headers off, and says what they told. `None` for a record of the source.
    fn take(headers: &mut Headers, place: Place<'_>) -> Option<Self> {
        let Place::Retry(_) = place else { return None };
        let text = |name: &str| std::str::from_utf8(headers.last(name)??).ok();
        let number = |name: &str| text(name)?.parse::<i64>().ok();
        let origin = Self {
            topic: text(ours::TOPIC)?.to_owned(),
            partition: i32::try_from(number(ours::PARTITION)?).ok()?,
            offset: number(ours::OFFSET)?,
            timestamp_ms: number(ours::TIMESTAMP),
            timestamp_type: match text(ours::TIMESTAMP_TYPE) {
                Some("LogAppendTime") => Some(TimestampType::LogAppendTime),
                Some(_) => Some(TimestampType::CreateTime),
                None => None,
            },
        };
        for name in ours::NAMES {
            headers.remove(name);
        }
        Some(origin)
    }

    fn applied<'a>(&'a self, failure: Failure<'a>) -> Failure<'a> {
        Failure {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            timestamp_type: self.timestamp_type,
            ..failure
        }
    }
}
