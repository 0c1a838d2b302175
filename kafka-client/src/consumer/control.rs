//! The control task of a consumer: it answers rebalances, commits what is finished, and ends the consumer.
//!
//! ```text
//!   consumer queue ──rebalance──▶ control ──▶ lanes started, or stopped + drained + committed ──▶ answer to librdkafka
//!   commit timer   ──────────────▶   │   ──▶ watermarks of all lanes ──▶ commit ──▶ result (own queue)
//!   lanes          ──requests────▶   │
//!   shutdown       ──────────────▶   ▼   stop intake, drain, commit, leave the group
//! ```

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Guarantee;
use super::builder::Options;
use super::lane::{FailedRecordRoute, Lane, LaneState, Lanes, Request, RunningLane, Turn};
use super::report::ConsumerReport;
use super::router::Route;
use crate::error::{Error, ErrorKind, Retry};
use crate::logging;
use crate::native::client::is_eviction;
use crate::native::{Client, Code, Entry, Event, EventKind, NativeError, Partitions, Queue};
use crate::producer::panic_text;

/// How often the queue is polled at least, so that librdkafka sees the application alive. A process whose runtime is
/// stuck stops doing that, and its partitions go to others after `max.poll.interval.ms`: that is intended.
const ALIVE: Duration = Duration::from_millis(500);
/// How long the last commit of a lane may take: always this long, also where the drain has used up its time.
const SHORTEST_COMMIT: Duration = Duration::from_secs(1);
/// And never longer than this: a broker that does not answer by then is not there.
const LONGEST_COMMIT: Duration = Duration::from_secs(5);
/// How long to wait before a commit that was refused is tried again, while the consumer waits for it.
const COMMIT_PAUSE: Duration = Duration::from_millis(50);
/// How long leaving the group may take. librdkafka asks for 5 s, and then counts as closed without an answer: what is
/// closed before that was answered.
const LEAVE_WAIT: Duration = Duration::from_millis(4_500);

/// A partition.
type Key = (Arc<str>, i32);

pub(super) struct Control {
    client: Arc<Client>,
    events: Arc<Queue>,
    commits: Queue,
    routes: HashMap<Arc<str>, Arc<dyn Route>>,
    failed_records: Option<Arc<dyn FailedRecordRoute>>,
    options: Options,
    lanes: Lanes,
    /// One lane a partition: the next life of a partition waits until the one before has really ended. One entry for
    /// each partition that was ever assigned.
    turns: HashMap<Key, Turn>,
    /// A lane has one request under way at most.
    requests: mpsc::UnboundedSender<Request>,
    inbox: mpsc::UnboundedReceiver<Request>,
    /// At most once: lanes that wait for their position to be committed.
    waiting: Vec<Waiting>,
    /// Whether a commit is under way; there is one at a time.
    in_flight: bool,
    report: ConsumerReport,
}

/// A lane that handles nothing before `next` is committed.
struct Waiting {
    lane: Arc<LaneState>,
    next: i64,
    answer: oneshot::Sender<()>,
}

/// What a commit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Confirmed,
    /// Not for all partitions; another try may help.
    Refused,
    /// The member is no longer part of its group.
    Evicted,
}

impl Control {
    pub(super) fn new(
        client: Arc<Client>,
        routes: Vec<Arc<dyn Route>>,
        failed_records: Option<Arc<dyn FailedRecordRoute>>,
        options: Options,
    ) -> Result<Self, Error> {
        let events = Queue::consumer(&client).ok_or_else(|| Error::config("group.id: a consumer needs a group"))?;
        let (requests, inbox) = mpsc::unbounded_channel();
        Ok(Self {
            events: Arc::new(events.wakes()),
            commits: Queue::new(&client).wakes(),
            client,
            routes: routes.into_iter().map(|route| (Arc::from(route.topic()), route)).collect(),
            failed_records,
            options,
            lanes: Lanes::new(),
            turns: HashMap::new(),
            requests,
            inbox,
            waiting: Vec::new(),
            in_flight: false,
            report: ConsumerReport::default(),
        })
    }

    /// Runs until `shutdown` is ready or something fails; drains, commits and leaves in either case.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<ConsumerReport, Error> {
        let subscription = Partitions::topics(self.routes.keys().map(|topic| &**topic));
        subscription
            .and_then(|topics| self.client.subscribe(&topics))
            .map_err(|error| Error::native(error).with_operation("subscribe"))?;
        tokio::pin!(shutdown);
        let ended = self.serve(&mut shutdown).await;
        let stopped = self.stop().await;
        let report = self.leave().await;
        tracing::info!(
            handled = report.handled,
            failed = report.failed,
            unfinished = report.unfinished,
            "consumer ended"
        );
        ended.and(stopped).map(|()| report)
    }

    async fn serve(&mut self, shutdown: &mut (impl Future<Output = ()> + Unpin)) -> Result<(), Error> {
        let mut commit_timer = tokio::time::interval(self.options.commit_interval);
        commit_timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut alive = tokio::time::interval(ALIVE);
        let events = self.events.clone();
        loop {
            tokio::select! {
                biased;
                () = &mut *shutdown => return Ok(()),
                event = events.next() => self.event(event).await?,
                Some(request) = self.inbox.recv() => match request {
                    Request::Fail(error) => return Err(error),
                    Request::Commit(lane, next, answer) => {
                        self.waiting.push(Waiting { lane, next, answer });
                        self.commit();
                    }
                },
                event = self.commits.next(), if self.in_flight => {
                    // What was refused has to wait for a timer: the reason does not go away at once.
                    if self.committed(&event)? == Answer::Confirmed && !self.waiting.is_empty() {
                        self.commit();
                    }
                }
                _ = commit_timer.tick() => self.commit(),
                // Goes on to the next poll of the queue.
                _ = alive.tick() => {
                    if !self.waiting.is_empty() {
                        self.commit();
                    }
                }
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), Error> {
        match event.kind() {
            EventKind::Rebalance => {
                let (assigns, partitions) = (event.assigns(), event.partitions());
                drop(event);
                self.rebalance(assigns, partitions).await
            }
            EventKind::Error => {
                logging::client_error(&event, "consumer");
                match event.error() {
                    Err(error) if ends_consumer(&error) => Err(Error::native(error).with_operation("consume")),
                    _ => Ok(()),
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

    async fn rebalance(&mut self, assigns: Option<bool>, partitions: Vec<Entry>) -> Result<(), Error> {
        match assigns {
            Some(true) => self.assigned(&partitions).await,
            Some(false) => self.revoked(&partitions).await,
            None => {
                let stopped = self.stop_lanes(None).await;
                self.native(|client| client.assign(None)).await.and(stopped)
            }
        }
    }

    async fn assigned(&mut self, partitions: &[Entry]) -> Result<(), Error> {
        tracing::info!(count = partitions.len(), "partitions assigned");
        // Before the assignment is answered: the answer starts the fetching, and a queue that is cut off later may
        // have passed on records to the consumer's queue. Once cut off it stays so.
        let lanes: Vec<_> = partitions.iter().map(|entry| self.queue_of(entry)).collect::<Result<_, _>>()?;
        let list = list(partitions)?;
        self.native(move |client| match client.is_cooperative() {
            true => client.incremental_assign(&list),
            false => client.assign(Some(&list)),
        })
        .await?;
        lanes.into_iter().for_each(|(key, queue)| self.start_lane(key, queue));
        Ok(())
    }

    fn queue_of(&self, entry: &Entry) -> Result<(Key, Queue), Error> {
        let Some((topic, _)) = self.routes.get_key_value(entry.topic.as_str()) else {
            let text = "assigned a partition of a topic without a route";
            return Err(Error::new(ErrorKind::Config, text).with_topic(&entry.topic));
        };
        match Queue::partition(&self.client, topic, entry.partition) {
            Some(queue) => Ok(((topic.clone(), entry.partition), queue)),
            None => Err(Error::new(ErrorKind::Broker, "the partition has no queue").with_topic(&entry.topic)),
        }
    }

    fn start_lane(&mut self, key: Key, queue: Queue) {
        let Some(route) = self.routes.get(&key.0).cloned() else { return };
        let state = Arc::new(LaneState::new(key.0.clone(), key.1));
        let turn = self.turns.entry(key.clone()).or_default().clone();
        let lane = Lane::new(
            state.clone(),
            queue,
            self.requests.clone(),
            self.options.guarantee,
            self.options.max_batch_records,
            self.failed_records.clone(),
        );
        let task = tokio::spawn(live(lane, route, turn));
        self.lanes.insert(key, RunningLane { state, task, committed: None });
    }

    async fn revoked(&mut self, partitions: &[Entry]) -> Result<(), Error> {
        let lost = self.client.assignment_lost();
        tracing::info!(count = partitions.len(), lost, "partitions revoked");
        let stopped = match lost {
            true => {
                self.abandon(Some(partitions));
                Ok(())
            }
            // Nothing is taken away: the group waits for no more than the answer.
            false if partitions.is_empty() => Ok(()),
            false => self.stop_lanes(Some(partitions)).await,
        };
        let list = list(partitions)?;
        let answered = self.native(move |client| match client.is_cooperative() {
            true => client.incremental_unassign(&list),
            false => client.assign(None),
        });
        // Answered in any case: the group waits for it, and so does the end of the consumer.
        answered.await.and(stopped)
    }

    /// Stops lanes (all, or those of some partitions), waits for what they hold, and commits it.
    async fn stop_lanes(&mut self, partitions: Option<&[Entry]>) -> Result<(), Error> {
        let deadline = Instant::now() + self.options.drain_timeout;
        let keys = self.keys(partitions);
        for key in &keys {
            if let Some(lane) = self.lanes.get(key) {
                lane.state.stop();
            }
        }
        // Those that wait for a commit before they handle anything handle nothing any more.
        self.waiting.retain(|waiting| !waiting.lane.is_stopping());
        for key in &keys {
            let Some(lane) = self.lanes.get_mut(key) else { continue };
            if timeout_at(deadline, &mut lane.task).await.is_err() {
                tracing::warn!(topic = %key.0, partition = key.1, "a handler did not end in time; it is cancelled");
                lane.task.abort();
            }
        }
        let now = Instant::now();
        let committed = self.commit_until(deadline.clamp(now + SHORTEST_COMMIT, now + LONGEST_COMMIT)).await;
        for key in &keys {
            if let Some(lane) = self.lanes.remove(key) {
                self.report.add(&lane);
            }
        }
        committed
    }

    /// Drops lanes whose partitions belong to others already: nothing is committed, nothing late counts.
    fn abandon(&mut self, partitions: Option<&[Entry]>) {
        for key in self.keys(partitions) {
            if let Some(lane) = self.lanes.remove(&key) {
                lane.state.stop();
                lane.task.abort();
                self.report.add(&lane);
            }
        }
        self.waiting.retain(|waiting| !waiting.lane.is_stopping());
    }

    fn keys(&self, partitions: Option<&[Entry]>) -> Vec<Key> {
        match partitions {
            None => self.lanes.keys().cloned().collect(),
            Some(entries) => {
                let named = |key: &&Key| entries.iter().any(|entry| entry.topic == *key.0 && entry.partition == key.1);
                self.lanes.keys().filter(named).cloned().collect()
            }
        }
    }

    /// Starts committing what has been finished since the last time, unless a commit is under way.
    fn commit(&mut self) {
        if self.in_flight {
            return;
        }
        let offsets = self.to_commit();
        if offsets.is_empty() {
            return;
        }
        let mut list = Partitions::new();
        let added =
            offsets.iter().try_for_each(|((topic, partition), next)| list.add(topic, *partition, Some(*next), None));
        match added.and_then(|()| self.client.commit(&list, &self.commits)) {
            Ok(()) => self.in_flight = true,
            Err(error) => tracing::warn!(%error, "commit could not be started"),
        }
    }

    fn to_commit(&self) -> BTreeMap<Key, i64> {
        let mut offsets = BTreeMap::new();
        for (key, lane) in &self.lanes {
            let next = match self.options.guarantee {
                Guarantee::AtLeastOnce => lane.state.watermark(),
                // More is committed than was handed out. An orderly end takes that back, so that it loses nothing.
                Guarantee::AtMostOnce if lane.state.is_stopping() => lane.state.handed_out(),
                Guarantee::AtMostOnce => None,
            };
            if let Some(next) = next.filter(|next| lane.committed != Some(*next)) {
                offsets.insert(key.clone(), next);
            }
        }
        for waiting in &self.waiting {
            let key = (waiting.lane.topic.clone(), waiting.lane.partition);
            // Of an earlier life of the partition, it would commit what another member owns.
            if self.lanes.get(&key).is_some_and(|running| Arc::ptr_eq(&running.state, &waiting.lane)) {
                offsets.insert(key, waiting.next);
            }
        }
        offsets
    }

    /// Takes the result of a commit.
    ///
    /// # Errors
    /// When no commit will ever be accepted.
    fn committed(&mut self, event: &Event) -> Result<Answer, Error> {
        let mut answer = Answer::Confirmed;
        if event.kind() != EventKind::OffsetCommit {
            return Ok(answer);
        }
        self.in_flight = false;
        let partitions = event.partitions();
        // An error of the whole request, or that of the last partition that has one of its own.
        let of_all = match partitions.iter().any(|entry| entry.code.is_some()) {
            false => event.error().err().map(|error| (error.code, error.name)),
            true => None,
        };
        for entry in partitions {
            let Some(next) = entry.offset else { continue };
            let key = (Arc::from(entry.topic.as_str()), entry.partition);
            match entry.code.zip(entry.error).or(of_all) {
                None => self.confirmed(&key, next),
                Some((code, name)) => answer = answer.max(refused(&key, next, code, name)?),
            }
        }
        // Where librdkafka does not call them lost, a member that is merely between two generations may keep its
        // partitions, and no event would start their lanes again.
        if answer == Answer::Evicted && self.client.assignment_lost() {
            self.abandon(None);
        }
        Ok(answer)
    }

    fn confirmed(&mut self, key: &Key, next: i64) {
        tracing::debug!(topic = %key.0, partition = key.1, offset = next, "committed");
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.committed = Some(next);
        }
        self.report.committed.insert((key.0.to_string(), key.1), next);
        // Tells the lanes whose position it is.
        let is_answered = |waiting: &mut Waiting| {
            *waiting.lane.topic == *key.0 && waiting.lane.partition == key.1 && waiting.next <= next
        };
        for waiting in self.waiting.extract_if(.., is_answered) {
            let _ = waiting.answer.send(());
        }
    }

    /// Commits everything that is finished, and waits for the result.
    async fn commit_until(&mut self, deadline: Instant) -> Result<(), Error> {
        while Instant::now() < deadline {
            self.commit();
            if !self.in_flight {
                return Ok(());
            }
            let Ok(event) = timeout_at(deadline, self.commits.next()).await else { break };
            match self.committed(&event)? {
                Answer::Confirmed => (),
                Answer::Refused => tokio::time::sleep(COMMIT_PAUSE).await,
                Answer::Evicted => return Ok(()),
            }
        }
        tracing::warn!("the last commit was not confirmed in time");
        if std::mem::take(&mut self.in_flight) {
            // A late result must not be taken for that of a later commit: it finds its queue gone.
            self.commits = Queue::new(&self.client).wakes();
        }
        Ok(())
    }

    /// Shutdown, first half: intake stops, what is held is finished and committed.
    async fn stop(&mut self) -> Result<(), Error> {
        let stopped = self.stop_lanes(None).await;
        while let Ok(request) = self.inbox.try_recv() {
            // A handler failed while the consumer was ending.
            if let Request::Fail(error) = request {
                return Err(error);
            }
        }
        stopped
    }

    /// Shutdown, second half: leaves the group. Rebalance events are answered inline from here on.
    async fn leave(mut self) -> ConsumerReport {
        let deadline = Instant::now() + LEAVE_WAIT;
        let queue = self.events.clone();
        let closing = queue.clone();
        let started = self.native(move |client| client.close_into(&closing)).await;
        if started.is_ok() {
            while !self.client.closed() && Instant::now() < deadline {
                let Ok(event) = timeout_at(Instant::now() + Duration::from_millis(20), queue.next()).await else {
                    continue;
                };
                if event.kind() == EventKind::Rebalance {
                    let list = list(&event.partitions());
                    drop(event);
                    let answer = self.native(move |client| match (client.is_cooperative(), list) {
                        (true, Ok(list)) => client.incremental_unassign(&list),
                        _ => client.assign(None),
                    });
                    if let Err(error) = answer.await {
                        tracing::debug!(%error, "while leaving");
                    }
                }
            }
        }
        self.report.left_group = self.client.closed();
        if !self.report.left_group {
            tracing::warn!("the group was not left in time; the broker notices after session.timeout.ms");
        }
        std::mem::take(&mut self.report)
    }

    /// Calls librdkafka where it may block.
    async fn native(
        &self,
        call: impl FnOnce(&Client) -> Result<(), NativeError> + Send + 'static,
    ) -> Result<(), Error> {
        let client = self.client.clone();
        match tokio::task::spawn_blocking(move || call(&client)).await {
            Ok(result) => result.map_err(|error| Error::native(error).with_operation("rebalance")),
            Err(_) => Err(Error::new(ErrorKind::Closed, "the runtime is shutting down")),
        }
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
    let requests = lane.requests.clone();
    if let Err(panic) = AssertUnwindSafe(route.run(lane.listening())).catch_unwind().await {
        // Handlers' panics are caught where their record is known: this is a serde's, or a fault of ours.
        let error = Error::new(ErrorKind::Panicked, format!("panicked: {}", panic_text(&*panic)));
        let error = error.with_operation("receive").with_topic(&*state.topic).with_partition(Some(state.partition));
        let _ = requests.send(Request::Fail(error));
    }
}

/// What a refused commit means.
///
/// # Errors
/// When no commit will ever be accepted.
fn refused(key: &Key, next: i64, code: Code, name: &'static str) -> Result<Answer, Error> {
    tracing::warn!(topic = %key.0, partition = key.1, offset = next, code = name, "commit failed");
    let error = Error::native(NativeError::named(Some(code), name)).with_operation("commit");
    match error.kind() {
        ErrorKind::Denied | ErrorKind::TooLarge => {
            Err(error.with_topic(&*key.0).with_partition(Some(key.1)).with_offset(Some(next)))
        }
        // Sent before a rebalance and answered after it: the next try names the new generation.
        _ if code == Code::IllegalGeneration => Ok(Answer::Refused),
        _ if is_eviction(code) => Ok(Answer::Evicted),
        _ => Ok(Answer::Refused),
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The run was cancelled: lanes must not go on without anybody to commit for them.
        self.abandon(None);
    }
}

fn list(partitions: &[Entry]) -> Result<Partitions, Error> {
    let mut list = Partitions::new();
    partitions
        .iter()
        .try_for_each(|entry| list.add(&entry.topic, entry.partition, None, None))
        .map_err(|error| Error::native(error).with_operation("rebalance"))?;
    Ok(list)
}

/// Whether waiting cannot help.
fn ends_consumer(error: &NativeError) -> bool {
    error.fatal || Error::native(error.clone()).kind() == ErrorKind::Denied
}
