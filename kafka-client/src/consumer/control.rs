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
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Guarantee;
use super::builder::Options;
use super::lane::{FailedRecordRoute, Lane, LaneState, Lanes, Request, RunningLane};
use super::report::ConsumerReport;
use super::router::Route;
use crate::error::{Error, ErrorKind, Retry};
use crate::logging;
use crate::native::client::is_eviction;
use crate::native::{Client, Entry, Event, EventKind, NativeError, Partitions, Queue};

/// How often the queue is polled at least, so that librdkafka sees the application alive. A process whose runtime is
/// stuck stops doing that, and its partitions go to others after `max.poll.interval.ms`: that is intended.
const ALIVE: Duration = Duration::from_millis(500);
/// How long the last commit of a lane may take: always this long, also where the drain has used up its time.
const SHORTEST_COMMIT: Duration = Duration::from_secs(1);
/// And never longer than this: a broker that does not answer by then is not there.
const LONGEST_COMMIT: Duration = Duration::from_secs(5);
/// How long leaving the group may take with nobody there to answer.
const LEAVE_WAIT: Duration = Duration::from_secs(6);

pub(super) struct Control {
    client: Arc<Client>,
    events: Arc<Queue>,
    commits: Queue,
    routes: HashMap<Arc<str>, Arc<dyn Route>>,
    failed_records: Option<Arc<dyn FailedRecordRoute>>,
    options: Options,
    lanes: Lanes,
    requests: mpsc::UnboundedSender<Request>,
    inbox: mpsc::UnboundedReceiver<Request>,
    /// At most once: lanes that wait for their position to be committed.
    waiting: Vec<(Arc<LaneState>, i64, oneshot::Sender<()>)>,
    in_flight: Option<BTreeMap<(Arc<str>, i32), i64>>,
    report: ConsumerReport,
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
            requests,
            inbox,
            waiting: Vec::new(),
            in_flight: None,
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
        tracing::info!(handled = report.handled, failed = report.failed, unfinished = report.unfinished, "consumer ended");
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
                        self.waiting.push((lane, next, answer));
                        self.commit();
                    }
                },
                event = self.commits.next(), if self.in_flight.is_some() => {
                    self.committed(&event)?;
                    if !self.waiting.is_empty() {
                        self.commit();
                    }
                }
                _ = commit_timer.tick() => self.commit(),
                // Falls through to the next poll of the queue.
                _ = alive.tick() => (),
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), Error> {
        match event.kind() {
            EventKind::Rebalance => {
                let (assigns, partitions) = (event.assigns(), event.partitions());
                drop(event);
                self.rebalance(assigns, partitions).await
            },
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
                Err(Error::new(ErrorKind::Broker, "a record arrived outside its partition queue").with_retry(Retry::Temporary))
            }
            _ => Ok(()),
        }
    }

    async fn rebalance(&mut self, assigns: Option<bool>, partitions: Vec<Entry>) -> Result<(), Error> {
        match assigns {
            Some(true) => self.assigned(&partitions).await,
            Some(false) => self.revoked(&partitions).await,
            None => {
                self.stop_lanes(None).await;
                self.native(|client| client.assign(None)).await
            }
        }
    }

    async fn assigned(&mut self, partitions: &[Entry]) -> Result<(), Error> {
        tracing::info!(count = partitions.len(), "partitions assigned");
        let list = list(partitions)?;
        self.native(move |client| match client.is_cooperative() {
            true => client.incremental_assign(&list),
            false => client.assign(Some(&list)),
        })
        .await?;
        // Forwarding is reset by every assign, so the queues are cut off after it; the first fetch needs a committed
        // offset from the broker before.
        for entry in partitions {
            self.start_lane(entry)?;
        }
        Ok(())
    }

    fn start_lane(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some((topic, route)) = self.routes.get_key_value(entry.topic.as_str()) else {
            let text = "assigned a partition of a topic without a route";
            return Err(Error::new(ErrorKind::Config, text).with_topic(&entry.topic));
        };
        let queue = Queue::partition(&self.client, topic, entry.partition).map(Queue::wakes);
        let Some((queue, signal)) = queue.and_then(|queue| queue.signal().cloned().map(|signal| (queue, signal))) else {
            return Err(Error::new(ErrorKind::Broker, "the partition has no queue").with_topic(&entry.topic));
        };
        let state = Arc::new(LaneState::new(topic.clone(), entry.partition, signal));
        let lane = Lane::new(
            state.clone(),
            queue,
            self.requests.clone(),
            self.options.guarantee,
            self.options.max_batch_records,
            self.failed_records.clone(),
        );
        let task = tokio::spawn(route.clone().run(lane));
        self.lanes.insert((topic.clone(), entry.partition), RunningLane { state, task, committed: None });
        Ok(())
    }

    async fn revoked(&mut self, partitions: &[Entry]) -> Result<(), Error> {
        let lost = self.client.assignment_lost();
        tracing::info!(count = partitions.len(), lost, "partitions revoked");
        if lost {
            self.abandon(Some(partitions));
        } else if !partitions.is_empty() {
            self.stop_lanes(Some(partitions)).await;
        }
        let list = list(partitions)?;
        self.native(move |client| match client.is_cooperative() {
            true => client.incremental_unassign(&list),
            false => client.assign(None),
        })
        .await
    }

    /// Stops lanes (all, or those of some partitions), waits for what they hold, and commits it.
    async fn stop_lanes(&mut self, partitions: Option<&[Entry]>) {
        let deadline = Instant::now() + self.options.drain_timeout;
        let keys = self.keys(partitions);
        for key in &keys {
            if let Some(lane) = self.lanes.get(key) {
                lane.state.stop();
            }
        }
        for key in &keys {
            let Some(lane) = self.lanes.get_mut(key) else { continue };
            if timeout_at(deadline, &mut lane.task).await.is_err() {
                tracing::warn!(topic = %key.0, partition = key.1, "a handler did not end in time; it is cancelled");
                lane.task.abort();
            }
        }
        let now = Instant::now();
        self.commit_until(deadline.clamp(now + SHORTEST_COMMIT, now + LONGEST_COMMIT)).await;
        for key in &keys {
            if let Some(lane) = self.lanes.remove(key) {
                self.report.add(&lane);
            }
        }
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
    }

    fn keys(&self, partitions: Option<&[Entry]>) -> Vec<(Arc<str>, i32)> {
        match partitions {
            None => self.lanes.keys().cloned().collect(),
            Some(entries) => {
                let named = |key: &&(Arc<str>, i32)| {
                    entries.iter().any(|entry| entry.topic == *key.0 && entry.partition == key.1)
                };
                self.lanes.keys().filter(named).cloned().collect()
            }
        }
    }

    /// Starts committing what has been finished since the last time, unless a commit is under way.
    fn commit(&mut self) {
        if self.in_flight.is_some() {
            return;
        }
        let mut offsets = BTreeMap::new();
        if self.options.guarantee == Guarantee::AtLeastOnce {
            for (key, lane) in &self.lanes {
                if let Some(next) = lane.state.watermark()
                    && lane.committed != Some(next)
                {
                    offsets.insert(key.clone(), next);
                }
            }
        }
        for (lane, next, _) in &self.waiting {
            let key = (lane.topic.clone(), lane.partition);
            // Of an earlier life of the partition, it would commit what another member owns.
            if self.lanes.get(&key).is_some_and(|running| Arc::ptr_eq(&running.state, lane)) {
                offsets.insert(key, *next);
            }
        }
        if offsets.is_empty() {
            return;
        }
        let mut list = Partitions::new();
        let added = offsets.iter().try_for_each(|((topic, partition), next)| list.add(topic, *partition, Some(*next), None));
        match added.and_then(|()| self.client.commit(&list, &self.commits)) {
            Ok(()) => self.in_flight = Some(offsets),
            Err(error) => tracing::warn!(%error, "commit could not be started"),
        }
    }

    /// Takes the result of a commit.
    fn committed(&mut self, event: &Event) -> Result<(), Error> {
        if event.kind() != EventKind::OffsetCommit {
            return Ok(());
        }
        let offsets = self.in_flight.take().unwrap_or_default();
        let failed = event.error().err().map(|error| (error.code, error.name));
        for entry in event.partitions() {
            let key = (Arc::from(entry.topic.as_str()), entry.partition);
            let Some(next) = offsets.get(&key) else { continue };
            match entry.code.zip(entry.error).or(failed) {
                None => {
                    tracing::debug!(topic = %key.0, partition = key.1, offset = next, "committed");
                    if let Some(lane) = self.lanes.get_mut(&key) {
                        lane.committed = Some(*next);
                    }
                    self.report.committed.insert((entry.topic, entry.partition), *next);
                    self.answer(&key, *next);
                }
                Some((code, name)) if is_eviction(code) => {
                    tracing::warn!(code = name, "no longer a member of the group; its partitions are lost");
                    self.abandon(None);
                    return Ok(());
                }
                Some((_, name)) => {
                    tracing::warn!(topic = %key.0, partition = key.1, offset = next, code = name, "commit failed");
                    let denied = matches!(name, "GROUP_AUTHORIZATION_FAILED" | "TOPIC_AUTHORIZATION_FAILED");
                    if denied || name == "OFFSET_METADATA_TOO_LARGE" {
                        let error = NativeError::named(entry.code, name);
                        let error = Error::native(error).with_operation("commit").with_topic(&*key.0);
                        return Err(error.with_partition(Some(key.1)).with_offset(Some(*next)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells lanes whose position is committed.
    fn answer(&mut self, key: &(Arc<str>, i32), next: i64) {
        let (done, open) = std::mem::take(&mut self.waiting).into_iter().partition(|(lane, wanted, _)| {
            *lane.topic == *key.0 && lane.partition == key.1 && *wanted <= next
        });
        self.waiting = open;
        let done: Vec<(Arc<LaneState>, i64, oneshot::Sender<()>)> = done;
        for (_, _, answer) in done {
            let _ = answer.send(());
        }
    }

    /// Commits everything that is finished, and waits for the result.
    async fn commit_until(&mut self, deadline: Instant) {
        // Lanes that still wait for a commit before they handle anything are stopping: they handle nothing.
        self.waiting.clear();
        loop {
            self.commit();
            if self.in_flight.is_none() {
                return;
            }
            match timeout_at(deadline, self.commits.next()).await {
                Ok(event) => {
                    let good = self.committed(&event).is_ok() && event.error().is_ok();
                    drop(event);
                    if !good {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
                Err(_) => {
                    self.in_flight = None;
                    tracing::warn!("the last commit was not confirmed in time");
                    return;
                }
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Shutdown, first half: intake stops, what is held is finished and committed.
    async fn stop(&mut self) -> Result<(), Error> {
        self.stop_lanes(None).await;
        match self.inbox.try_recv() {
            // A handler failed while the consumer was ending.
            Ok(Request::Fail(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Shutdown, second half: leaves the group. Rebalance events are answered inline from here on.
    async fn leave(mut self) -> ConsumerReport {
        let deadline = Instant::now() + LEAVE_WAIT;
        let queue = self.events.clone();
        let closing = queue.clone();
        let started = self.native(move |client| client.close_into(&closing)).await;
        if started.is_ok() {
            while !self.client.closed() && Instant::now() < deadline {
                let Ok(event) = timeout_at(Instant::now() + Duration::from_millis(20), queue.next()).await else { continue };
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
