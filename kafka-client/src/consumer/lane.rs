//! A lane: the task that drains one assigned partition, record after record.
//!
//! ```text
//!   partition queue ──fetched()──▶ Lane ──▶ route (decode, handler) ──▶ finished ──▶ watermark ──▶ committed by the control task
//!                                   ▲ stop: take no more, finish what is held, end
//! ```

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::coop;

use super::Guarantee;
use super::handler::{Completion, HandlerError};
use super::received::FailedRecord;
use super::router::HandlerPanic;
use super::watermark::Watermark;
use crate::error::{Error, ErrorKind};
use crate::native::message::Fetched;
use crate::native::{Queue, Signal};

/// How many completions a lane may wait for before it takes no more records.
const MOST_PENDING: usize = 10_000;

/// What a lane and the control task share about a partition's present life. A later life has its own; whatever an
/// earlier one still does counts for nothing.
pub(super) struct LaneState {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    stopping: AtomicBool,
    stopped: Notify,
    /// What wakes the lane while it waits for records.
    signal: Mutex<Option<Arc<Signal>>>,
    tracker: Mutex<Watermark>,
    /// The offset to commit once what is before it is finished; -1: none yet.
    next: AtomicI64,
    /// The offset after the last record that was handed to user code; -1: nothing was fetched yet.
    handed_out: AtomicI64,
    begun: AtomicU64,
    handled: AtomicU64,
    failed: AtomicU64,
    /// Records of a stream that somebody holds.
    open: AtomicUsize,
    settled: Notify,
}

impl LaneState {
    pub(super) fn new(topic: Arc<str>, partition: i32) -> Self {
        Self {
            topic,
            partition,
            stopping: AtomicBool::new(false),
            stopped: Notify::new(),
            signal: Mutex::default(),
            tracker: Mutex::default(),
            next: AtomicI64::new(-1),
            handed_out: AtomicI64::new(-1),
            begun: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            settled: Notify::new(),
        }
    }

    /// Tells the lane to take no more records.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // A lane that begins to listen after this looks at `stopping` after it has had the lock.
        if let Some(signal) = &*self.signal.lock() {
            signal.wake();
        }
        self.stopped.notify_waiters();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until the lane is to stop.
    pub(super) async fn until_stopping(&self) {
        let stopped = self.stopped.notified();
        tokio::pin!(stopped);
        stopped.as_mut().enable();
        if !self.is_stopping() {
            stopped.await;
        }
    }

    /// The offset to commit once what is before it is finished.
    pub(super) fn watermark(&self) -> Option<i64> {
        let next = self.next.load(Ordering::Acquire);
        (next >= 0).then_some(next)
    }

    /// The offset of the next record to hand out.
    pub(super) fn handed_out(&self) -> Option<i64> {
        let next = self.handed_out.load(Ordering::Acquire);
        (next >= 0).then_some(next)
    }

    /// Records that were handled to the end, and failed records that were.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.handled.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Records that were begun and not finished.
    pub(super) fn unfinished(&self) -> u64 {
        let (handled, failed) = self.totals();
        self.begun.load(Ordering::Relaxed).saturating_sub(handled + failed)
    }

    /// A record is handed to user code.
    pub(super) fn begin(&self, offset: i64) {
        self.tracker.lock().begin(offset);
        self.begin_all(offset + 1, 1);
    }

    /// Everything before `next` is handed to user code, `count` records of it new.
    pub(super) fn begin_all(&self, next: i64, count: u64) {
        self.handed_out.store(next, Ordering::Release);
        self.begun.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn finish(&self, offset: i64) {
        self.move_watermark(offset);
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    /// Of a record that could not be decoded.
    fn finish_failed(&self, offset: i64) {
        self.move_watermark(offset);
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn move_watermark(&self, offset: i64) {
        let mut tracker = self.tracker.lock();
        if let Some(next) = tracker.finish(offset) {
            // Under the lock: stored after it, an older value could replace a newer one.
            self.next.store(next, Ordering::Release);
        }
    }

    /// Everything before `next` is finished, `count` records of it new.
    pub(super) fn finish_all(&self, next: i64, count: u64) {
        self.next.store(next, Ordering::Release);
        self.handled.fetch_add(count, Ordering::Relaxed);
    }

    /// A record will not be finished: nothing from it on can be committed in this life of the partition.
    pub(super) fn give_up(&self, offset: i64) {
        self.tracker.lock().give_up(offset);
    }

    /// Waits until nobody holds a record of a stream any more. The lane is stopping, so no more are handed out.
    pub(super) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.open.load(Ordering::SeqCst) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// A record of a stream is about to be handed out. `false` once the lane is stopping: then it must not be.
    pub(super) fn open_one(&self) -> bool {
        // In this order, as `settled` looks in the other: either it sees the record, or this sees that it is too late.
        self.open.fetch_add(1, Ordering::SeqCst);
        let goes_on = !self.is_stopping();
        if !goes_on {
            self.close_one();
        }
        goes_on
    }

    /// A record of a stream is acknowledged, or was dropped.
    pub(super) fn close_one(&self) {
        if self.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.settled.notify_waiters();
        }
    }
}

/// What a lane asks of the control task.
pub(super) enum Request {
    /// A record or its handler failed: the consumer is to end with this.
    Fail(Error),
    /// At most once: commit this before the records are handled.
    Commit(Arc<LaneState>, i64, oneshot::Sender<()>),
}

/// The lane itself, in the hands of its route.
pub(super) struct Lane {
    pub(super) state: Arc<LaneState>,
    pub(super) queue: Queue,
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) guarantee: Guarantee,
    pub(super) max_records: usize,
    pub(super) failed_records: Option<Arc<dyn FailedRecordRoute>>,
    pending: Pending,
    /// An error that stood behind records: theirs is the first turn.
    broken: Option<Error>,
    /// Whether nothing more may be begun: an error was reported, or records were given back.
    ended: bool,
}

type Pending = FuturesUnordered<Pin<Box<dyn Future<Output = (Offsets, Result<(), HandlerError>)> + Send>>>;

/// What a lane that waits for records gets.
enum Next {
    Fetched(Fetched),
    Completed(Offsets, Result<(), HandlerError>),
}

/// The records that a completion finishes.
pub(super) enum Offsets {
    One(i64),
    Many(Vec<i64>),
    /// Of a record that could not be decoded.
    Failed(i64),
}

impl Offsets {
    fn first(&self) -> Option<i64> {
        match self {
            Offsets::One(offset) | Offsets::Failed(offset) => Some(*offset),
            Offsets::Many(offsets) => offsets.first().copied(),
        }
    }

    fn finish(&self, lane: &LaneState) {
        match self {
            Offsets::One(offset) => lane.finish(*offset),
            Offsets::Many(offsets) => offsets.iter().for_each(|offset| lane.finish(*offset)),
            Offsets::Failed(offset) => lane.finish_failed(*offset),
        }
    }
}

/// A lane that has to end: its error has been reported.
pub(super) struct Ended;

/// Where undecodable records go.
pub(super) trait FailedRecordRoute: Send + Sync {
    fn handle(&self, record: FailedRecord) -> BoxFuture<'_, Result<Completion, HandlerError>>;
}

impl Lane {
    pub(super) fn new(
        state: Arc<LaneState>,
        queue: Queue,
        requests: mpsc::UnboundedSender<Request>,
        guarantee: Guarantee,
        max_records: usize,
        failed_records: Option<Arc<dyn FailedRecordRoute>>,
    ) -> Self {
        let pending = FuturesUnordered::new();
        Self { state, queue, requests, guarantee, max_records, failed_records, pending, broken: None, ended: false }
    }

    /// Lets librdkafka, and whoever stops the lane, wake it.
    pub(super) fn listening(mut self) -> Self {
        self.queue = self.queue.wakes();
        *self.state.signal.lock() = self.queue.signal().cloned();
        self
    }

    /// The next records, or `None` when the lane is to end. Completions go on meanwhile.
    ///
    /// # Errors
    /// When the partition cannot be read, or a completion failed.
    pub(super) async fn fetch(&mut self) -> Result<Option<Fetched>, Ended> {
        loop {
            // Records that are there already are not waited for: without this a lane with a backlog would never let
            // another task of its thread run.
            coop::consume_budget().await;
            while self.pending.len() >= MOST_PENDING && !self.state.is_stopping() {
                self.next_completion().await?;
            }
            if self.state.is_stopping() || self.ended {
                return Ok(None);
            }
            if let Some(error) = self.broken.take() {
                return Err(self.fail(error, None));
            }
            let state = self.state.clone();
            let records = self.queue.fetched(self.max_records, || state.is_stopping());
            let next = match self.pending.is_empty() {
                true => Next::Fetched(records.await),
                false => tokio::select! {
                    biased;
                    Some((offsets, result)) = self.pending.next() => Next::Completed(offsets, result),
                    fetched = records => Next::Fetched(fetched),
                },
            };
            match next {
                Next::Fetched(fetched) => match self.accept(fetched).await {
                    Some(fetched) => return Ok(Some(fetched)),
                    None => continue,
                },
                Next::Completed(offsets, result) => self.completed(&offsets, result)?,
            }
        }
    }

    /// What of the fetched records may be handled now; `None` where it is nothing.
    async fn accept(&mut self, mut fetched: Fetched) -> Option<Fetched> {
        // An error takes the place of a record. What came before it is handled first; what follows is not read past it.
        let good = (0..fetched.len()).take_while(|at| fetched.get(*at).is_some_and(|one| !one.failed())).count();
        if let Some(Err(error)) = fetched.get(good).map(|message| message.error()) {
            self.broken = Some(Error::native(error).with_operation("receive"));
            fetched.truncate(good);
        }
        let first = fetched.get(0)?.offset();
        let last = fetched.get(good - 1)?.offset();
        if self.guarantee == Guarantee::AtMostOnce && !self.commit_first(first, last + 1).await {
            // These records are not handled, so none after them may be.
            self.ended = true;
            return None;
        }
        Some(fetched)
    }

    /// At most once: the position is committed before anything is handled. `false` when the lane is to end first.
    async fn commit_first(&mut self, first: i64, next: i64) -> bool {
        self.state.begin_all(first, 0);
        let (committed, answer) = oneshot::channel();
        if self.requests.send(Request::Commit(self.state.clone(), next, committed)).is_err() {
            return false;
        }
        tokio::select! {
            answer = answer => answer.is_ok(),
            () = self.state.until_stopping() => false,
        }
    }

    /// Awaits a handler. Completions go on meanwhile: it may be one of them that it waits for.
    pub(super) async fn meanwhile<T>(&mut self, handler: impl Future<Output = T>) -> T {
        if self.pending.is_empty() {
            return handler.await;
        }
        let mut handler = pin!(handler);
        loop {
            tokio::select! {
                biased;
                result = &mut handler => return result,
                Some((offsets, result)) = self.pending.next() => {
                    // A failure is reported; the handler that runs may come to its end.
                    let _ = self.completed(&offsets, result);
                }
            }
        }
    }

    /// Records are handled, as far as their handler goes.
    pub(super) fn handled(&mut self, offsets: Offsets, result: Result<Completion, HandlerError>) -> Result<(), Ended> {
        match result.map(Completion::into_later) {
            Ok(None) => self.completed(&offsets, Ok(()))?,
            Ok(Some(later)) => self.pending.push(Box::pin(async move { (offsets, guarded_later(later).await) })),
            Err(error) => self.completed(&offsets, Err(error))?,
        }
        if self.ended { Err(Ended) } else { Ok(()) }
    }

    fn completed(&mut self, offsets: &Offsets, result: Result<(), HandlerError>) -> Result<(), Ended> {
        match result {
            Ok(()) => {
                offsets.finish(&self.state);
                Ok(())
            }
            Err(error) => Err(self.handler_failed(error, offsets.first())),
        }
    }

    async fn next_completion(&mut self) -> Result<(), Ended> {
        match self.pending.next().await {
            Some((offsets, result)) => self.completed(&offsets, result),
            None => Ok(()),
        }
    }

    /// Finishes completions that are ready, without waiting.
    pub(super) async fn reap(&mut self) -> Result<(), Ended> {
        while !self.pending.is_empty() {
            let ready = poll_fn(|context| match self.pending.poll_next_unpin(context) {
                Poll::Ready(ready) => Poll::Ready(ready),
                Poll::Pending => Poll::Ready(None),
            })
            .await;
            let Some((offsets, result)) = ready else { break };
            self.completed(&offsets, result)?;
        }
        Ok(())
    }

    /// Waits for what is still open, also after a failure; the control task sets the deadline, by aborting the lane.
    pub(super) async fn drain(&mut self) {
        while !self.pending.is_empty() {
            // A failure is reported, and the others may still come to their end.
            let _ = self.next_completion().await;
        }
    }

    /// Hands an undecodable record to whoever takes them; without one the consumer ends with its error.
    pub(super) async fn undecodable(&mut self, record: FailedRecord) -> Result<(), Ended> {
        let offset = record.offset();
        self.state.begin(offset);
        match self.failed_records.clone() {
            Some(route) => {
                let result = self.meanwhile(route.handle(record)).await;
                self.handled(Offsets::Failed(offset), result)
            }
            None => {
                let error = record.into_error();
                Err(self.fail(error, Some(offset)))
            }
        }
    }

    pub(super) fn handler_failed(&mut self, error: HandlerError, offset: Option<i64>) -> Ended {
        let error = match error.downcast::<HandlerPanic>() {
            Ok(panic) => Error::new(ErrorKind::Panicked, format!("the handler panicked: {}", panic.0)),
            Err(error) => Error::new(ErrorKind::Handler, "the handler returned an error").with_source(error),
        };
        self.fail(error.with_operation("handle"), offset)
    }

    /// Reports an error with the lane's coordinates; the consumer ends.
    pub(super) fn fail(&mut self, error: Error, offset: Option<i64>) -> Ended {
        self.ended = true;
        let error = error.with_topic(&*self.state.topic).with_partition(Some(self.state.partition)).with_offset(offset);
        let _ = self.requests.send(Request::Fail(error));
        Ended
    }
}

/// Runs the rest of a handler; a panic becomes an error.
pub(super) async fn guarded_later(later: impl Future<Output = Result<(), HandlerError>>) -> Result<(), HandlerError> {
    match AssertUnwindSafe(later).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(Box::new(HandlerPanic::from(panic))),
    }
}

/// Whose turn it is to read a partition: held by a lane until it is gone.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// The lanes of the present assignment.
pub(super) type Lanes = BTreeMap<(Arc<str>, i32), RunningLane>;

/// A lane and its task.
pub(super) struct RunningLane {
    pub(super) state: Arc<LaneState>,
    pub(super) task: tokio::task::JoinHandle<()>,
    /// What Kafka has confirmed.
    pub(super) committed: Option<i64>,
}
