//! A lane: the task that drains one assigned partition, record after record.
//!
//! ```text
//!   partition queue ──fetched()──▶ Lane ──▶ route (decode, handler) ──▶ finished ──▶ watermark ──▶ committed by the control task
//!                                   ▲ stop: take no more, finish what is held, end
//! ```

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use super::Guarantee;
use super::handler::{Completion, HandlerError};
use super::received::FailedRecord;
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
    signal: Arc<Signal>,
    tracker: Mutex<Watermark>,
    /// The offset to commit; -1: none yet.
    next: AtomicI64,
    pub(super) handled: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Records of a stream that somebody holds.
    open: AtomicUsize,
    settled: Notify,
}

impl LaneState {
    pub(super) fn new(topic: Arc<str>, partition: i32, signal: Arc<Signal>) -> Self {
        Self {
            topic,
            partition,
            stopping: AtomicBool::new(false),
            stopped: Notify::new(),
            signal,
            tracker: Mutex::default(),
            next: AtomicI64::new(-1),
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            settled: Notify::new(),
        }
    }

    /// Tells the lane to take no more records.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.signal.wake();
        self.stopped.notify_waiters();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
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

    /// The offset to commit.
    pub(super) fn watermark(&self) -> Option<i64> {
        let next = self.next.load(Ordering::Acquire);
        (next >= 0).then_some(next)
    }

    pub(super) fn unfinished(&self) -> usize {
        self.tracker.lock().unfinished()
    }

    pub(super) fn begin(&self, offset: i64) {
        self.tracker.lock().begin(offset);
    }

    pub(super) fn finish(&self, offset: i64) {
        if let Some(next) = self.tracker.lock().finish(offset) {
            self.next.store(next, Ordering::Release);
        }
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything before `next` is finished, `count` records of it new.
    fn finish_all(&self, next: i64, count: u64) {
        self.next.store(next, Ordering::Release);
        self.handled.fetch_add(count, Ordering::Relaxed);
    }

    /// Waits until nobody holds a record of a stream any more.
    pub(super) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// A record of a stream was handed out.
    pub(super) fn open_one(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// A record of a stream is acknowledged, or was dropped.
    pub(super) fn close_one(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
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
}

impl Offsets {
    fn as_slice(&self) -> &[i64] {
        match self {
            Offsets::One(offset) => std::slice::from_ref(offset),
            Offsets::Many(offsets) => offsets,
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
        Self { state, queue, requests, guarantee, max_records, failed_records, pending: FuturesUnordered::new() }
    }

    /// The next records, or `None` when the lane is to end. Completions go on meanwhile.
    ///
    /// # Errors
    /// When the partition cannot be read, or a completion failed.
    pub(super) async fn fetch(&mut self) -> Result<Option<Fetched>, Ended> {
        loop {
            while self.pending.len() >= MOST_PENDING && !self.state.is_stopping() {
                self.next_completion().await?;
            }
            if self.state.is_stopping() {
                return Ok(None);
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
            let mut fetched = match next {
                Next::Fetched(fetched) => fetched,
                Next::Completed(offsets, result) => {
                    self.completed(&offsets, result)?;
                    continue;
                }
            };
            // An error takes the place of a record: what came before it is handled first.
            let good = (0..fetched.len()).take_while(|at| fetched.get(*at).is_some_and(|one| !one.failed())).count();
            if good < fetched.len() {
                if good == 0 {
                    let Some(Err(error)) = fetched.get(0).map(|message| message.error()) else { continue };
                    return Err(self.fail(Error::native(error).with_operation("receive"), None));
                }
                fetched.truncate(good);
            }
            let Some(last) = fetched.len().checked_sub(1).and_then(|last| fetched.get(last)) else { continue };
            if self.guarantee == Guarantee::AtMostOnce && !self.commit_first(last.offset() + 1).await {
                return Ok(None);
            }
            return Ok(Some(fetched));
        }
    }

    /// At most once: the position is committed before anything is handled. `false` when the lane is to end first.
    async fn commit_first(&mut self, next: i64) -> bool {
        let (committed, answer) = oneshot::channel();
        if self.requests.send(Request::Commit(self.state.clone(), next, committed)).is_err() {
            return false;
        }
        tokio::select! {
            answer = answer => answer.is_ok(),
            () = self.state.until_stopping() => false,
        }
    }

    /// Records are handled, as far as their handler goes.
    pub(super) fn handled(
        &mut self,
        offsets: Offsets,
        result: Result<Completion, HandlerError>,
    ) -> Result<(), Ended> {
        match result.map(Completion::into_later) {
            Ok(None) => self.completed(&offsets, Ok(())),
            Ok(Some(later)) => {
                self.pending.push(Box::pin(async move { (offsets, later.await) }));
                Ok(())
            }
            Err(error) => self.completed(&offsets, Err(error)),
        }
    }

    /// Everything before `next` is finished; for raw batches, whose records end together.
    pub(super) fn handled_all(&mut self, next: i64, count: usize) {
        self.state.finish_all(next, count as u64);
    }

    fn completed(&mut self, offsets: &Offsets, result: Result<(), HandlerError>) -> Result<(), Ended> {
        let offsets = offsets.as_slice();
        match result {
            Ok(()) => {
                offsets.iter().for_each(|offset| self.state.finish(*offset));
                Ok(())
            }
            Err(error) => Err(self.handler_failed(error, offsets.first().copied().unwrap_or(-1))),
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

    /// Waits for what is still open; the control task sets the deadline, by aborting the lane.
    pub(super) async fn drain(&mut self) -> Result<(), Ended> {
        while !self.pending.is_empty() {
            self.next_completion().await?;
        }
        Ok(())
    }

    /// Hands an undecodable record to whoever takes them; without one the consumer ends with its error.
    pub(super) async fn undecodable(&mut self, record: FailedRecord) -> Result<(), Ended> {
        let offset = record.offset();
        self.state.failed.fetch_add(1, Ordering::Relaxed);
        match self.failed_records.clone() {
            Some(route) => {
                let result = route.handle(record).await;
                self.handled(Offsets::One(offset), result)
            }
            None => {
                let error = record.into_error();
                Err(self.fail(error, Some(offset)))
            }
        }
    }

    pub(super) fn handler_failed(&self, error: HandlerError, offset: i64) -> Ended {
        let error = match error.downcast::<super::router::HandlerPanic>() {
            Ok(panic) => Error::new(ErrorKind::Panicked, format!("the handler panicked: {}", panic.0)),
            Err(error) => Error::new(ErrorKind::Handler, "the handler returned an error").with_source(error),
        };
        self.fail(error.with_operation("handle"), Some(offset))
    }

    /// Reports an error with the lane's coordinates; the consumer ends.
    pub(super) fn fail(&self, error: Error, offset: Option<i64>) -> Ended {
        let error = error
            .with_topic(&*self.state.topic)
            .with_partition(Some(self.state.partition))
            .with_offset(offset);
        let _ = self.requests.send(Request::Fail(error));
        Ended
    }
}

/// The lanes of the present assignment.
pub(super) type Lanes = BTreeMap<(Arc<str>, i32), RunningLane>;

/// A lane and its task.
pub(super) struct RunningLane {
    pub(super) state: Arc<LaneState>,
    pub(super) task: tokio::task::JoinHandle<()>,
    /// What Kafka has confirmed.
    pub(super) committed: Option<i64>,
}
