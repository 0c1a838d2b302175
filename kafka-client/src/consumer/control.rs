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
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout_at};

use super::Guarantee;
use super::arrival::{Beginning, arrive, committed, seek};
use super::builder::Options;
use super::commit::{Answer, InFlight};
use super::handle::{Answer as CommandAnswer, Command, PartitionStatus, Status};
use super::lag::{LagWatch, lag, reached};
use super::lane::{Lane, LaneSettings, Request, Turn};
use super::listener::{DynListener, StartAt};
use super::metrics::Metrics;
use super::offset_map::OffsetMap;
use super::rebalance::{Telling, until_told};
use super::report::ConsumerReport;
use super::router::{Route, Routes};
use super::running::CoarseClock;
use super::state::{CommitPoint, LaneState, Shared};
use super::tracker::Tracker;
use super::watchdog::Watchdog;
use crate::error::{Error, ErrorKind, Retry};
use crate::logging;
use crate::native::{Client, Code, Event, EventKind, NativeError, Partitions, Queue};
use crate::partition::TopicPartition;
use crate::producer::panic_text;

/// How often the queue is polled at least, so that librdkafka sees the application alive, and handlers are looked after.
/// A process whose runtime is stuck stops doing that, and its partitions go to others after `max.poll.interval.ms`: that
/// is intended.
const TICK: Duration = Duration::from_millis(100);
/// After how many of these the gauges are set.
const GAUGES_EVERY: u64 = 10;
/// How long a member that was told it is gone waits for the event that lets it join again.
const REJOIN: Duration = Duration::from_secs(120);
/// How long leaving the group may take. librdkafka asks for 5 s, and then counts as closed without an answer: what is
/// closed before that was answered.
const LEAVE_WAIT: Duration = Duration::from_millis(4_500);

/// How much of it a member that is still joining waits for its first answer.
const JOIN_WAIT: Duration = Duration::from_secs(3);

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
}

pub(super) struct Control {
    pub(super) client: Arc<Client>,
    pub(super) events: Arc<Queue>,
    pub(super) commits: Queue,
    pub(super) routes: Arc<Routes>,
    pub(super) listener: Option<Arc<dyn DynListener>>,
    pub(super) options: Options,
    pub(super) settings: LaneSettings,
    shared: Arc<Shared>,
    pub(super) status: Arc<Status>,
    pub(super) metrics: Metrics,
    watchdog: Watchdog,
    pub(super) lanes: BTreeMap<Key, RunningLane>,
    /// Partitions whose lanes are about to start.
    pub(super) arriving: HashMap<Key, Arriving>,
    /// Partitions that the listener believes to be ours.
    pub(super) heard: BTreeSet<Key>,
    paused: BTreeSet<Key>,
    /// Counts lives, so that what belongs to an earlier one is known.
    lives: u64,
    ended: FuturesUnordered<BoxFuture<'static, (Key, u64)>>,
    arrivals: FuturesUnordered<BoxFuture<'static, Arrived>>,
    /// One lane a partition: the next life of a partition waits until the one before has really ended. One entry for
    /// each partition that was ever assigned.
    turns: HashMap<Key, Turn>,
    /// A lane has one request under way at most.
    inbox: mpsc::UnboundedReceiver<Request>,
    /// At most once: lanes that wait for their position to be committed.
    pub(super) waiting: Vec<Waiting>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) phase: Phase,
    /// Whether the group has answered that it is a member.
    pub(super) has_joined: bool,
    /// Whether the application was silent for longer than `max.poll.interval.ms`.
    overslept: bool,
    /// Whether a commit has said that the member is gone.
    pub(super) evicted: bool,
    /// When all lanes were dropped because of that; until the next event.
    pub(super) abandoned: Option<Instant>,
    lags: LagWatch,
    /// Questions to the cluster.
    asking: JoinSet<()>,
    /// The listener is being told that partitions are lost.
    pub(super) telling: Option<Telling>,
    commit_timer: Interval,
    tick: Interval,
    ticks: u64,
    pub(super) report: ConsumerReport,
}

/// A lane and its task.
pub(super) struct RunningLane {
    pub(super) state: Arc<LaneState>,
    pub(super) abort: AbortHandle,
    pub(super) life: u64,
    /// What Kafka has confirmed.
    pub(super) committed: Option<CommitPoint>,
    /// Whether its task has ended.
    pub(super) ended: bool,
    /// Whether it begins anew when it has ended, and where.
    pub(super) again: Option<Again>,
}

/// Why a lane begins anew.
pub(super) enum Again {
    /// Somebody has asked for another place.
    Seek(StartAt, CommandAnswer<()>),
    /// A handler was given up: at the lowest unfinished record.
    Rewind,
}

/// A partition whose lane is about to start.
pub(super) struct Arriving {
    life: u64,
    queue: Queue,
    /// Not, when it has been taken away meanwhile.
    pub(super) wanted: bool,
    pub(super) abort: AbortHandle,
    answer: Option<CommandAnswer<()>>,
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

/// Lives that may start now.
pub(super) struct Arrived {
    lives: Vec<(Key, u64)>,
    result: Result<Vec<Beginning>, Error>,
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
    CommitTimer,
    CommitSoon,
    Tick,
}

impl Control {
    pub(super) fn new(
        client: Arc<Client>,
        parts: &Parts,
        inbox: mpsc::UnboundedReceiver<Request>,
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
            waiting: Vec::new(),
            in_flight: None,
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
        commands: &mut mpsc::Receiver<Command>,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) -> (ConsumerReport, Result<(), Ending>) {
        let ended = self.live(commands, shutdown).await;
        self.status.ready(false);
        let stopped = self.stop().await;
        let overslept = self.overslept;
        let report = self.leave().await;
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
        (report, ended)
    }

    async fn live(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<(), Error> {
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
        self.begin().await?;
        self.status.run(true);
        match answered {
            true => self.serve(commands, shutdown).await,
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

    async fn serve(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<(), Error> {
        loop {
            let step = tokio::select! {
                biased;
                () = &mut *shutdown => return Ok(()),
                step = self.step(true) => step,
                Some(command) = commands.recv() => Step::Command(command),
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
        tokio::select! {
            biased;
            event = self.events.next(), if takes_events => Step::Event(event),
            Some(request) = self.inbox.recv() => Step::Request(request),
            event = self.commits.next(), if self.in_flight.is_some() => Step::Committed(event),
            Some((key, life)) = self.ended.next(), if !self.ended.is_empty() => Step::Ended(key, life),
            Some(arrived) = self.arrivals.next(), if !self.arrivals.is_empty() => Step::Arrived(arrived),
            told = until_told(self.telling.clone()), if self.telling.is_some() => Step::Told(told),
            () = commit_soon.notified(), if self.in_flight.is_none() => Step::CommitSoon,
            _ = self.commit_timer.tick() => Step::CommitTimer,
            _ = self.tick.tick() => Step::Tick,
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
            Step::CommitTimer => {
                self.commit();
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
        if !self.waiting.is_empty() {
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
                lane.again = Some(Again::Rewind);
                lane.state.cancel(offset);
                lane.state.stop();
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

    /// Prepares partitions; their lanes start when that is done.
    pub(super) fn arrive(&mut self, queues: Vec<(Key, Queue)>, answer: Option<CommandAnswer<()>>) {
        let keys: Vec<Key> = queues.iter().map(|(key, _)| key.clone()).collect();
        let tells_apart = |key: &Key| self.routes.find(&key.0).is_some_and(|route| route.tells_records_apart());
        let needs_committed = self.options.guarantee == Guarantee::AtLeastOnce && keys.iter().any(tells_apart);
        let (listener, start_fails) = (self.listener.clone(), self.options.start_fails);
        let work = arrive(self.client.clone(), keys, needs_committed, listener, start_fails);
        // What is lost is told before what comes: it may be the same partitions.
        let telling = self.telling.clone();
        self.arrive_after(queues, answer, async move {
            // Its failure is reported where it is awaited in any case.
            let _ = until_told(telling).await;
            work.await
        });
    }

    fn arrive_after(
        &mut self,
        queues: Vec<(Key, Queue)>,
        mut answer: Option<CommandAnswer<()>>,
        work: impl Future<Output = Result<Vec<Beginning>, Error>> + Send + 'static,
    ) {
        self.lives += 1;
        let life = self.lives;
        let task = tokio::spawn(work);
        let abort = task.abort_handle();
        let mut lives = Vec::new();
        for (key, queue) in queues {
            lives.push((key.clone(), life));
            let arriving = Arriving { life, queue, wanted: true, abort: abort.clone(), answer: answer.take() };
            self.arriving.insert(key, arriving);
        }
        self.arrivals.push(Box::pin(async move {
            let result = task.await.unwrap_or_else(|_| Ok(Vec::new()));
            Arrived { lives, result }
        }));
    }

    fn arrived(&mut self, arrived: Arrived) -> Result<(), Error> {
        let mut beginnings = match arrived.result {
            Ok(beginnings) => beginnings,
            Err(error) => {
                for (key, life) in arrived.lives {
                    if self.arriving.get(&key).is_some_and(|arriving| arriving.life == life)
                        && let Some(Arriving { answer: Some(answer), .. }) = self.arriving.remove(&key)
                    {
                        // Only who asked to seek can do something about it; but the partition must not stand still.
                        let _ = answer.send(Err(error.clone()));
                    }
                }
                return Err(error);
            }
        };
        for (key, life) in arrived.lives {
            if self.arriving.get(&key).is_none_or(|arriving| arriving.life != life) {
                continue;
            }
            let Some(arriving) = self.arriving.remove(&key) else { continue };
            let Some(at) = beginnings.iter().position(|beginning| beginning.key == key) else { continue };
            if self.listener.is_some() {
                self.heard.insert(key.clone());
            }
            let beginning = beginnings.swap_remove(at);
            if arriving.wanted {
                self.start_lane(key, arriving.queue, beginning.tracker);
                if let Some(answer) = arriving.answer {
                    let _ = answer.send(Ok(()));
                }
            }
        }
        self.status.assigned(self.lanes.len());
        Ok(())
    }

    fn start_lane(&mut self, key: Key, queue: Queue, tracker: Tracker) {
        let Some(route) = self.routes.find(&key.0).cloned() else { return };
        self.lives += 1;
        let life = self.lives;
        let tracker = if route.tells_records_apart() { tracker } else { Tracker::new() };
        let state = Arc::new(LaneState::new(key.0.clone(), key.1, tracker, route.width(), &self.shared));
        state.pause(self.paused.contains(&key));
        let turn = self.turns.entry(key.clone()).or_default().clone();
        let lane = Lane::new(state.clone(), queue, self.settings.clone());
        let task = tokio::spawn(live(lane, route, turn));
        let lane = RunningLane { state, abort: task.abort_handle(), life, committed: None, ended: false, again: None };
        self.lanes.insert(key.clone(), lane);
        self.ended.push(Box::pin(async move {
            // A panic was caught inside; what is left is that it was cancelled.
            let _ = task.await;
            (key, life)
        }));
    }

    fn lane_ended(&mut self, key: Key, life: u64) {
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.life == life) else { return };
        lane.ended = true;
        if lane.again.is_some() {
            self.begin_again(key);
        }
    }

    /// What a life has done goes into the books.
    pub(super) fn life_ended(&mut self, key: &Key, lane: &RunningLane) {
        let totals = lane.state.end();
        self.metrics.ended(key, lane.life, totals);
        self.report.add(totals);
    }

    /// A lane has ended to begin anew.
    fn begin_again(&mut self, key: Key) {
        // What is finished goes into the next commit while the lane is still known.
        self.commit();
        let Some(mut lane) = self.lanes.remove(&key) else { return };
        let (again, point) = (lane.again.take(), lane.state.commit_point());
        self.life_ended(&key, &lane);
        let Some(queue) = Queue::partition(&self.client, &key.0, key.1) else { return };
        let client = self.client.clone();
        let (start, tracker, answer) = match again {
            Some(Again::Seek(start, answer)) => (start, Tracker::new(), Some(answer)),
            _ => match point.or_else(|| lane.state.not_handed_out()) {
                Some(point) => (StartAt::Offset(point.offset), resumed(&point), None),
                // Nothing was ever taken.
                None => return self.start_lane(key, queue, Tracker::new()),
            },
        };
        let moving = key.clone();
        self.arrive_after(vec![(key, queue)], answer, async move {
            seek(&client, &moving, start).await?;
            Ok(vec![Beginning { key: moving, tracker }])
        });
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Pause(partitions, paused, answer) => {
                for partition in partitions {
                    let key = (partition.topic_arc().clone(), partition.partition());
                    if let Some(lane) = self.lanes.get(&key) {
                        lane.state.pause(paused);
                    }
                    match paused {
                        true => self.paused.insert(key),
                        false => self.paused.remove(&key),
                    };
                }
                let _ = answer.send(Ok(()));
            }
            Command::Seek(partition, to, answer) => {
                let key = (partition.topic_arc().clone(), partition.partition());
                match self.lanes.get_mut(&key).filter(|lane| lane.again.is_none()) {
                    Some(lane) => {
                        lane.again = Some(Again::Seek(to, answer));
                        lane.state.stop();
                    }
                    None => {
                        let text = "seek: the partition is not assigned to this member now, or is being moved already";
                        let error = Error::config(text).with_operation("seek");
                        let error = error.with_topic(partition.topic()).with_partition(Some(partition.partition()));
                        let _ = answer.send(Err(error));
                    }
                }
            }
            Command::Partitions(answer) => {
                let _ = answer.send(Ok(self.lanes.iter().map(status).collect()));
            }
            Command::Lag(answer) => {
                let positions: Vec<_> = self.lanes.iter().map(|(key, lane)| (key.clone(), reached(lane))).collect();
                self.asking.spawn(lag(self.client.clone(), positions, answer));
            }
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

    /// Shutdown, second half: leaves the group. Events are answered inline from here on.
    async fn leave(mut self) -> ConsumerReport {
        let deadline = Instant::now() + LEAVE_WAIT;
        // librdkafka says nothing when it ends in the middle of a join, and the broker counts on a member that will never
        // come: the group's next rebalance would wait for the end of its session.
        let join = Instant::now() + JOIN_WAIT;
        while !self.has_joined && self.options.assigned.is_none() && self.client.fatal_error().is_none() {
            let Ok(event) = timeout_at(join, self.events.next()).await else { break };
            self.has_joined = event.kind() == EventKind::Rebalance;
            self.answer(event).await;
        }
        let queue = self.events.clone();
        let closing = queue.clone();
        let started = self.native(move |client| client.close_into(&closing)).await;
        if started.is_ok() {
            while !self.client.closed() && Instant::now() < deadline {
                if let Ok(event) = timeout_at(Instant::now() + Duration::from_millis(20), queue.next()).await {
                    self.answer(event).await;
                }
            }
        }
        self.report.left_group = self.client.closed();
        if !self.report.left_group {
            tracing::warn!("the group was not left in time; the broker notices after session.timeout.ms");
        }
        std::mem::take(&mut self.report)
    }

    /// Deals with an event while leaving.
    async fn answer(&mut self, event: Event) {
        match event.kind() {
            EventKind::Rebalance => {
                let (assigns, list) = (event.assigns(), super::rebalance::list(&event.partitions()));
                drop(event);
                let answer = self.native(move |client| match (client.is_cooperative(), assigns, list) {
                    // Nobody reads what is fetched now. It is taken away in a moment; to refuse it would be an error,
                    // and librdkafka would wait for a better answer.
                    (true, Some(true), Ok(list)) => client.incremental_assign(&list),
                    (true, Some(false), Ok(list)) => client.incremental_unassign(&list),
                    _ => client.assign(None),
                });
                if let Err(error) = answer.await {
                    tracing::debug!(%error, "while leaving");
                }
            }
            EventKind::Log => logging::client_log(&event),
            EventKind::Error => logging::client_error(&event, "consumer"),
            _ => (),
        }
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

/// The life of a lane.
async fn live(lane: Lane, route: Arc<dyn Route>, turn: Turn) {
    // Two readers of one queue would take each other's wakeups, so the one before must be gone. As a rule it is; a
    // handler that was cancelled and never awaits anything holds up the next life of its partition.
    let state = lane.state.clone();
    let _turn = tokio::select! {
        turn = turn.lock_owned() => turn,
        () = state.until_stopping() => return,
    };
    let requests = lane.settings.requests.clone();
    if let Err(panic) = AssertUnwindSafe(route.run(lane.listening())).catch_unwind().await {
        // Handlers' panics are caught where their record is known: this is a serde's, or a fault of ours.
        let error = Error::new(ErrorKind::Panicked, format!("panicked: {}", panic_text(&*panic)));
        let error = error.with_operation("receive").with_topic(&*state.topic).with_partition(Some(state.partition));
        let _ = requests.send(Request::Fail(error));
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

/// What the lane before has finished is not handled again.
fn resumed(point: &CommitPoint) -> Tracker {
    let map = point.map.as_deref().and_then(|text| OffsetMap::decode(text, point.offset).ok().flatten());
    Tracker::resume(point.offset, map.unwrap_or_default())
}

fn status((key, lane): (&Key, &RunningLane)) -> PartitionStatus {
    let state = &lane.state;
    PartitionStatus {
        partition: TopicPartition::new(key.0.clone(), key.1),
        position: state.position(),
        committed: lane.committed.as_ref().map(|point| point.offset),
        in_flight: state.totals().unfinished,
        exposure: state.exposed(),
        buffered_records: state.held.records(),
        buffered_bytes: state.held.bytes(),
        paused: state.is_paused(),
    }
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
