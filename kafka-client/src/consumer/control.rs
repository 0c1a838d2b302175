//! The control task of a consumer: it answers rebalances, commits what is finished, and ends the consumer.
//!
//! ```text
//!   consumer queue ──rebalance──▶ control ──▶ lanes started, or stopped + drained + committed ──▶ answer to librdkafka
//!   commit timer   ──────────────▶   │   ──▶ what is finished in all lanes ──▶ commit ──▶ result (own queue)
//!   lanes, handles ──requests────▶   │
//!   shutdown       ──────────────▶   ▼   stop intake, drain, commit, leave the group
//! ```
//!
//! One loop, one step at a time: [`Control::step`] waits for whatever comes first, [`Control::handle`] deals with it.
//! A rebalance drains lanes by taking the same steps, without further events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::arrival::committed;
use super::builder::build::Options;
use super::commit::{Answer, InFlight};
use super::handle::{Command, Status};
use super::lag::LagWatch;
use super::lane::{LaneSettings, Request, Turn};
use super::listener::DynListener;
use super::lives::{Again, Arrived, Arriving, RunningLane};
use super::metrics::Metrics;
use super::rebalance::{Telling, until_told};
use super::report::ConsumerReport;
use super::router::Routes;
use super::running::CoarseClock;
use super::state::{LaneState, Shared};
use super::transacting::{Outcome, Plan, Transactions};
use super::watchdog::Watchdog;
use crate::error::{Error, ErrorKind, Retry};
use crate::logging;
use crate::native::{Client, Code, Event, EventKind, NativeError, Partitions, Queue};

/// How often the queue is polled at least, so that librdkafka sees the application alive, and handlers are looked after.
/// A process whose runtime is stuck stops doing that, and its partitions go to others after `max.poll.interval.ms`: that
/// is intended.
const TICK: Duration = Duration::from_millis(100);
/// After how many of these the gauges are set.
const GAUGES_EVERY: u64 = 10;
/// How long a member that was told it is gone waits for the event that lets it join again.
const REJOIN: Duration = Duration::from_secs(120);
/// A partition.
pub(super) type Key = (Arc<str>, i32);

/// What the parts of a consumer are, when it runs.
pub(super) struct Parts {
    pub(super) routes: Routes,
    pub(super) listener: Option<Arc<dyn DynListener>>,
    pub(super) options: Options,
    pub(super) settings: LaneSettings,
    pub(super) shared: Arc<Shared>,
    pub(super) status: Arc<Status>,
    pub(super) metrics: Metrics,
    /// Exactly once.
    pub(super) transactions: Option<Plan>,
}

pub(super) struct Control {
    pub(super) client: Arc<Client>,
    pub(super) events: Arc<Queue>,
    pub(super) commits: Queue,
    pub(super) routes: Arc<Routes>,
    pub(super) listener: Option<Arc<dyn DynListener>>,
    pub(super) options: Options,
    pub(super) settings: LaneSettings,
    pub(super) shared: Arc<Shared>,
    pub(super) status: Arc<Status>,
    pub(super) metrics: Metrics,
    watchdog: Watchdog,
    pub(super) lanes: BTreeMap<Key, RunningLane>,
    /// Partitions whose lanes are about to start.
    pub(super) arriving: HashMap<Key, Arriving>,
    /// Partitions that the listener believes to be ours.
    pub(super) heard: BTreeSet<Key>,
    pub(super) paused: BTreeSet<Key>,
    /// Counts lives, so that what belongs to an earlier one is known.
    pub(super) lives: u64,
    pub(super) ended: FuturesUnordered<BoxFuture<'static, (Key, u64)>>,
    pub(super) arrivals: FuturesUnordered<BoxFuture<'static, Arrived>>,
    /// One lane a partition: the next life of a partition waits until the one before has really ended. One entry for
    /// each partition that was ever assigned.
    pub(super) turns: HashMap<Key, Turn>,
    /// A lane has one request under way at most.
    inbox: mpsc::UnboundedReceiver<Request>,
    /// What handles ask; also while partitions are given back, since a handler may ask, and be waited for.
    pub(super) commands: mpsc::Receiver<Command>,
    /// At most once: lanes that wait for their position to be committed.
    pub(super) waiting: Vec<Waiting>,
    pub(super) in_flight: Option<InFlight>,
    /// Exactly once: commits are transactions; how they are made, and once it has started, whoever makes them.
    plan: Option<Plan>,
    pub(super) transactions: Option<Transactions>,
    pub(super) phase: Phase,
    /// Whether the group has answered that it is a member.
    pub(super) has_joined: bool,
    /// Whether the application was silent for longer than `max.poll.interval.ms`.
    overslept: bool,
    /// Whether a commit has said that the member is gone.
    pub(super) evicted: bool,
    /// When all lanes were dropped because of that; until the next event.
    pub(super) abandoned: Option<Instant>,
    pub(super) lags: LagWatch,
    /// Questions to the cluster.
    pub(super) asking: JoinSet<()>,
    /// The listener is being told that partitions are lost.
    pub(super) telling: Option<Telling>,
    commit_timer: Interval,
    tick: Interval,
    ticks: u64,
    pub(super) report: ConsumerReport,
}

/// A lane that handles nothing before `next` is committed.
pub(super) struct Waiting {
    pub(super) lane: Arc<LaneState>,
    pub(super) next: i64,
    pub(super) answer: oneshot::Sender<()>,
}

/// Why a consumer ended that nobody has asked to.
pub(super) enum Ending {
    Failed(Error),
    /// The static member that was there before has not been released yet: its session has to end first.
    Unreleased(Error),
    /// The application was not heard of for longer than `max.poll.interval.ms`, and the client could not join again.
    /// (librdkafka 2.12, under KIP-848 and with a revocation unanswered: it joins with partitions that it still counts as
    /// its own, the broker calls that invalid, and librdkafka takes it for fatal.) A new one can.
    Overslept(Error),
}

/// Whether a rebalance waits for our answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Draining,
}

/// What came first.
pub(super) enum Step {
    Event(Event),
    Request(Request),
    Command(Command),
    Ended(Key, u64),
    Arrived(Arrived),
    /// The listener has heard that partitions are lost.
    Told(Result<(), Error>),
    Committed(Event),
    Transacted(Outcome),
    CommitTimer,
    CommitSoon,
    Tick,
}

impl Control {
    pub(super) fn new(
        client: Arc<Client>,
        parts: &Parts,
        inbox: mpsc::UnboundedReceiver<Request>,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, Error> {
        let events = Queue::consumer(&client).ok_or_else(|| Error::config("group.id: a consumer needs a group"))?;
        Ok(Self {
            events: Arc::new(events.wakes()),
            commits: Queue::new(&client).wakes(),
            client,
            routes: Arc::new(parts.routes.clone()),
            listener: parts.listener.clone(),
            watchdog: Watchdog::new(parts.options.watchdog),
            commit_timer: timer(parts.options.commit_interval),
            options: parts.options.clone(),
            settings: parts.settings.clone(),
            shared: parts.shared.clone(),
            status: parts.status.clone(),
            metrics: parts.metrics.clone(),
            lanes: BTreeMap::new(),
            arriving: HashMap::new(),
            heard: BTreeSet::new(),
            paused: BTreeSet::new(),
            lives: 0,
            ended: FuturesUnordered::new(),
            arrivals: FuturesUnordered::new(),
            turns: HashMap::new(),
            inbox,
            commands,
            waiting: Vec::new(),
            in_flight: None,
            plan: parts.transactions.clone(),
            transactions: None,
            phase: Phase::Running,
            has_joined: false,
            overslept: false,
            evicted: false,
            abandoned: None,
            lags: LagWatch::default(),
            asking: JoinSet::new(),
            telling: None,
            tick: timer(TICK),
            ticks: 0,
            report: ConsumerReport::default(),
        })
    }

    /// Runs until `shutdown` is ready or something fails; drains, commits and leaves in either case.
    pub(super) async fn run(
        mut self,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) -> (ConsumerReport, Result<(), Ending>, mpsc::Receiver<Command>) {
        let ended = self.live(shutdown).await;
        self.status.ready(false);
        let stopped = self.stop().await;
        let overslept = self.overslept;
        let (report, commands) = self.leave().await;
        tracing::info!(
            handled = report.handled,
            failed = report.failed,
            unfinished = report.unfinished,
            "consumer ended"
        );
        let ended = match ended {
            // It was asked to end.
            Ok(()) => stopped.map_err(Ending::Failed),
            Err(error) if overslept && error.is_fatal() => Err(Ending::Overslept(error)),
            Err(error) if error.code() == Some("UNRELEASED_INSTANCE_ID") => Err(Ending::Unreleased(error)),
            Err(error) => Err(Ending::Failed(error)),
        };
        (report, ended, commands)
    }

    async fn live(&mut self, shutdown: &mut (impl Future<Output = ()> + Unpin)) -> Result<(), Error> {
        // librdkafka does not ask again when a coordinator that has just been made refuses its one question for the offsets
        // of partitions assigned by hand (members of a group ask it other things first). So it is asked before.
        let answered = match self.options.assigned.clone() {
            None => true,
            Some(partitions) => {
                let keys: Vec<Key> = partitions.iter().map(|one| (one.topic_arc().clone(), one.partition())).collect();
                tokio::select! {
                    biased;
                    () = &mut *shutdown => false,
                    offsets = committed(&self.client, &keys) => offsets.map(|_| true)?,
                }
            }
        };
        // Before the group is joined: what a predecessor has left open is aborted by then.
        if let Some(plan) = &self.plan {
            let started = tokio::select! {
                biased;
                () = &mut *shutdown => return Ok(()),
                started = Transactions::start(plan) => started,
            };
            self.transactions = Some(started.map_err(|error| error.with_operation("begin transactions"))?);
        }
        self.begin().await?;
        self.status.run(true);
        match answered {
            true => self.serve(shutdown).await,
            false => Ok(()),
        }
    }

    async fn begin(&mut self) -> Result<(), Error> {
        if let Some(partitions) = self.options.assigned.clone() {
            return self.assigned_by_hand(&partitions).await;
        }
        let subscription = Partitions::topics(self.routes.topics());
        subscription
            .and_then(|topics| self.client.subscribe(&topics))
            .map_err(|error| Error::native(error).with_operation("subscribe"))
    }

    async fn serve(&mut self, shutdown: &mut (impl Future<Output = ()> + Unpin)) -> Result<(), Error> {
        loop {
            let step = tokio::select! {
                biased;
                () = &mut *shutdown => return Ok(()),
                step = self.step(true) => step,
            };
            match step {
                Step::Event(event) => self.event(event).await?,
                step => self.handle(step)?,
            }
            if std::mem::take(&mut self.evicted) {
                let keys = self.keys(None);
                tracing::warn!(
                    partitions = keys.len(),
                    "the member is no longer part of its group; its partitions are lost"
                );
                self.metrics.rebalance("lost");
                let lost = self.abandon(&keys);
                self.abandoned = Some(Instant::now());
                self.tell_lost(lost);
            }
            // librdkafka joins again by itself, and says so. If it does not, nobody would ever know.
            if self.abandoned.is_some_and(|since| since.elapsed() > REJOIN) {
                let text = "the member is no longer part of its group, and did not join it again";
                return Err(Error::new(ErrorKind::Fenced, text).with_retry(Retry::Persistent));
            }
        }
    }

    /// Waits for whatever comes first.
    ///
    /// Cancel safe.
    pub(super) async fn step(&mut self, takes_events: bool) -> Step {
        let commit_soon: &Notify = &self.shared.commit_soon;
        let transacts = self.transactions.as_ref().is_some_and(Transactions::is_under_way);
        tokio::select! {
            biased;
            event = self.events.next(), if takes_events => Step::Event(event),
            Some(request) = self.inbox.recv() => Step::Request(request),
            event = self.commits.next(), if self.in_flight.is_some() => Step::Committed(event),
            Some((key, life)) = self.ended.next(), if !self.ended.is_empty() => Step::Ended(key, life),
            Some(arrived) = self.arrivals.next(), if !self.arrivals.is_empty() => Step::Arrived(arrived),
            told = until_told(self.telling.clone()), if self.telling.is_some() => Step::Told(told),
            outcome = Self::until_transacted(&mut self.transactions), if transacts => Step::Transacted(outcome),
            () = commit_soon.notified(), if self.in_flight.is_none() && !transacts => Step::CommitSoon,
            _ = self.commit_timer.tick() => Step::CommitTimer,
            _ = self.tick.tick() => Step::Tick,
            Some(command) = self.commands.recv() => Step::Command(command),
        }
    }

    pub(super) fn handle(&mut self, step: Step) -> Result<(), Error> {
        match step {
            // Only the main loop takes events.
            Step::Event(_) => Ok(()),
            Step::Request(Request::Fail(error)) => Err(error),
            Step::Request(Request::Commit(lane, next, answer)) => {
                self.waiting.push(Waiting { lane, next, answer });
                self.commit();
                Ok(())
            }
            Step::Request(Request::Committed(lane, offset)) => {
                self.committed_elsewhere(&lane, offset);
                Ok(())
            }
            Step::Request(Request::Rewind(lane)) => {
                self.undone(&lane);
                Ok(())
            }
            Step::Command(command) => {
                self.command(command);
                Ok(())
            }
            Step::Ended(key, life) => {
                self.lane_ended(key, life);
                Ok(())
            }
            Step::Arrived(arrived) => self.arrived(arrived),
            Step::Told(told) => {
                self.telling = None;
                told
            }
            Step::Committed(event) => {
                match self.committed(&event)? {
                    // What was refused has to wait for a timer: the reason does not go away at once.
                    Answer::Confirmed if !self.waiting.is_empty() => self.commit(),
                    Answer::Evicted => self.evicted = true,
                    _ => (),
                }
                Ok(())
            }
            Step::Transacted(outcome) => self.transacted(outcome),
            Step::CommitTimer => {
                self.commit();
                self.begin_those_again();
                // For the next time: idle lanes look whether anything but records has come.
                self.lanes.values().for_each(|lane| lane.state.ring());
                Ok(())
            }
            Step::CommitSoon => {
                self.commit();
                Ok(())
            }
            Step::Tick => self.look_around(),
        }
    }

    /// Looks after the handlers, and goes on to the next poll of the queue.
    fn look_around(&mut self) -> Result<(), Error> {
        self.settings.clock.set();
        self.status.alive();
        // What was refused is tried again; and what was named as a suspect and is handled is not for longer than need be.
        if !self.waiting.is_empty() || self.lanes.values().any(|lane| lane.state.suspects().lock().wants_commit()) {
            self.commit();
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(GAUGES_EVERY) {
            self.gauges();
        }
        let found = self.watchdog.look(&self.lanes, &self.settings.clock);
        self.status.stuck(found.all);
        self.metrics.stuck(found.count);
        for (key, offset) in found.to_rewind {
            if let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.again.is_none()) {
                lane.state.cancel(offset);
                match self.plan {
                    None => {
                        lane.again = Some(Again::Rewind);
                        lane.state.stop();
                    }
                    // What is finished behind it does not count without it.
                    Some(_) => self.undo_all(),
                }
            }
        }
        found.to_leave_for.map_or(Ok(()), Err)?;
        self.is_able()
    }

    /// Whether the client can still do something.
    ///
    /// # Errors
    /// The one that ended it.
    fn is_able(&self) -> Result<(), Error> {
        self.client.fatal_error().map_or(Ok(()), |error| Err(advised(error)))
    }

    fn gauges(&mut self) {
        while self.asking.try_join_next().is_some() {}
        let (lags, asking) = self.lags.look(&self.client, &self.lanes);
        if let Some(asking) = asking {
            self.asking.spawn(asking);
        }
        self.metrics.gauges(&self.lanes, &lags, self.shared.exposure.now());
    }

    async fn event(&mut self, event: Event) -> Result<(), Error> {
        match event.kind() {
            EventKind::Rebalance => self.rebalance(event).await,
            EventKind::Error => {
                logging::client_error(&event, "consumer");
                match event.error() {
                    Err(error) if error.code == Code::PollExceeded => {
                        self.overslept = true;
                        Ok(())
                    }
                    // A fatal error's event may say only that it is one, or only which; the client knows both.
                    Err(error) if error.fatal || error.code == Code::Fatal => {
                        Err(advised(self.client.fatal_error().unwrap_or(error)))
                    }
                    Err(error) if ends_consumer(&error) => Err(advised(error)),
                    _ => self.is_able(),
                }
            }
            EventKind::Log => {
                logging::client_log(&event);
                Ok(())
            }
            EventKind::Fetch => {
                // Partition queues are cut off before their first record is fetched. Should one slip through all the
                // same, going on would skip it.
                Err(Error::new(ErrorKind::Broker, "a record arrived outside its partition queue")
                    .with_retry(Retry::Temporary))
            }
            _ => Ok(()),
        }
    }

    /// The failure of a handler that nobody has heard of yet.
    pub(super) fn failure(&mut self) -> Result<(), Error> {
        while let Ok(request) = self.inbox.try_recv() {
            if let Request::Fail(error) = request {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Calls librdkafka where it may block.
    pub(super) fn native(
        &self,
        call: impl FnOnce(&Client) -> Result<(), NativeError> + Send + 'static,
    ) -> BoxFuture<'static, Result<(), Error>> {
        let client = self.client.clone();
        let task = tokio::task::spawn_blocking(move || call(&client));
        Box::pin(async move {
            match task.await {
                Ok(result) => result.map_err(|error| Error::native(error).with_operation("rebalance")),
                Err(_) => Err(Error::new(ErrorKind::Closed, "the runtime is shutting down")),
            }
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Where the run was cancelled, lanes must not go on without anybody to commit for them.
        let keys = self.keys(None);
        self.abandon(&keys);
        self.metrics.end(self.shared.exposure.now());
        self.status.stuck(Vec::new());
        self.status.ready(false);
        self.status.run(false);
    }
}

fn timer(period: Duration) -> Interval {
    let mut timer = tokio::time::interval(period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

/// Whether waiting cannot help.
fn ends_consumer(error: &NativeError) -> bool {
    Error::native(error.clone()).kind() == ErrorKind::Denied
}

/// An error that ends the consumer, with what to do about it.
fn advised(error: NativeError) -> Error {
    let code = error.code;
    let advice = match code {
        Code::FencedInstanceId => Some("another member has the same `group.instance.id`: give each its own"),
        Code::UnreleasedInstanceId => {
            Some("the member that had this `group.instance.id` was not heard of for less than its session")
        }
        Code::UnsupportedAssignor => {
            Some("the broker does not know `group.remote.assignor`: it has `uniform` and `range`")
        }
        Code::InconsistentGroupProtocol => Some(
            "other members of the group use other values of `partition.assignment.strategy`: use one that all share",
        ),
        Code::GroupAuthorizationFailed => Some("the group needs the permission READ"),
        Code::TopicAuthorizationFailed => Some("the topic needs the permission READ"),
        _ => None,
    };
    let error = Error::native(error).with_operation("consume");
    match advice {
        Some(advice) => error.with_advice(advice),
        None => error,
    }
}

/// What all lanes of a consumer share with its control task.
pub(super) fn channel() -> (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Request>, Arc<CoarseClock>) {
    let (requests, inbox) = mpsc::unbounded_channel();
    (requests, inbox, Arc::new(CoarseClock::new()))
}
