//! A lane: the task that drains one assigned partition.
//!
//! ```text
//!   partition queue ──▶ Lane ──▶ route (decode, handler) ──▶ finished ──▶ account ──▶ committed by the control task
//!                        ▲ stop: take no more, finish what is held, end
//! ```

use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop;

use super::Guarantee;
use super::handler::{Completion, GivenBack, HandlerError, Kind, Later};
use super::interceptor::Interceptors;
use super::received::FailedRecord;
use super::router::HandlerPanic;
use super::running::CoarseClock;
use super::state::{LaneState, Taken};
use crate::error::{Error, ErrorKind};
use crate::native::message::Fetched;
use crate::native::{Client, Queue};

/// How many completions a lane may wait for before it takes no more records.
const MOST_PENDING: usize = 10_000;

/// What a lane asks of the control task.
pub(super) enum Request {
    /// A record or its handler failed: the consumer is to end with this.
    Fail(Error),
    /// At most once: commit this before the records are handled.
    Commit(Arc<LaneState>, i64, oneshot::Sender<()>),
    /// A transaction has committed this offset.
    Committed(Arc<LaneState>, i64),
    /// A transaction was undone: go on at the committed offset. The lane was told to stop.
    Rewind(Arc<LaneState>),
}

/// What all lanes of a consumer have in common.
#[derive(Clone)]
pub(super) struct LaneSettings {
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) guarantee: Guarantee,
    /// How many records are taken at once.
    pub(super) max_batch_records: usize,
    /// How many records of a partition may be taken and not finished.
    pub(super) max_records: usize,
    /// How many bytes they may have.
    pub(super) max_bytes: usize,
    /// How many records may be handed out at once under the bound on exposure.
    pub(super) max_exposed: usize,
    pub(super) failed_records: Option<Arc<dyn FailedRecordRoute>>,
    pub(super) interceptors: Interceptors,
    pub(super) clock: Arc<CoarseClock>,
}

/// The lane itself, in the hands of its route.
pub(super) struct Lane {
    pub(super) state: Arc<LaneState>,
    pub(super) settings: LaneSettings,
    queue: Queue,
    pending: Pending,
    /// An error that stood behind records: theirs is the first turn.
    broken: Option<Error>,
    /// Whether nothing more may be begun: an error was reported, or records were given back.
    ended: bool,
}

type Pending = FuturesUnordered<Rest>;

/// What is left to do when a handler has returned, and the records that are finished with it.
struct Rest {
    /// Until it is done.
    offsets: Option<Offsets>,
    later: Later,
}

impl Future for Rest {
    type Output = (Offsets, Result<(), HandlerError>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = panic::catch_unwind(AssertUnwindSafe(|| self.later.as_mut().poll(context)));
        let result = ready!(polled.unwrap_or_else(|panic| Poll::Ready(Err(HandlerPanic::from(panic).into()))));
        match self.offsets.take() {
            Some(offsets) => Poll::Ready((offsets, result)),
            None => unreachable!("it is not polled when it is done"),
        }
    }
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

    fn give_up(&self, lane: &LaneState) {
        match self {
            Offsets::One(offset) | Offsets::Failed(offset) => lane.give_up(*offset),
            Offsets::Many(offsets) => offsets.iter().for_each(|offset| lane.give_up(*offset)),
        }
    }

    fn take_back(&self, lane: &LaneState) {
        lane.take_back(match self {
            Offsets::One(_) | Offsets::Failed(_) => 1,
            Offsets::Many(offsets) => offsets.len(),
        });
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

/// What a lane that waits gets.
pub(super) enum Next {
    Fetched(Fetched),
    Completed(Offsets, Result<(), HandlerError>),
    /// To look around: it may have to stop.
    Rung,
}

impl Lane {
    pub(super) fn new(state: Arc<LaneState>, queue: Queue, settings: LaneSettings) -> Self {
        Self { state, settings, queue, pending: FuturesUnordered::new(), broken: None, ended: false }
    }

    /// Lets librdkafka, and whoever stops the lane, wake it.
    pub(super) fn listening(mut self) -> Self {
        self.queue = self.queue.wakes();
        self.state.listen(self.queue.signal().cloned());
        self
    }

    /// The client of the partition's queue, to ask the cluster something.
    pub(super) fn client(&self) -> &Arc<Client> {
        self.queue.client()
    }

    /// What follows the last thing that was taken off the queue; `None` before the first.
    pub(super) fn position(&self) -> Option<i64> {
        self.queue.position(&self.state.topic, self.state.partition)
    }

    /// Whether an error was reported, or records were given back: nothing more may be begun.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Waits for records, where they are wanted, for completions, and for whoever rings.
    ///
    /// Cancel safe.
    pub(super) async fn next(&mut self, wants_records: bool) -> Next {
        let portion = self.portion();
        let state = &self.state;
        tokio::select! {
            biased;
            Some((offsets, result)) = self.pending.next(), if !self.pending.is_empty() => Next::Completed(offsets, result),
            () = state.rung() => Next::Rung,
            fetched = self.queue.fetched(portion, || state.is_held_up()),
                if wants_records && !state.is_held_up() => Next::Fetched(fetched),
        }
    }

    /// How many records may be taken at once.
    fn portion(&self) -> usize {
        self.settings.max_records.saturating_sub(self.state.held.records()).clamp(1, self.settings.max_batch_records)
    }

    /// Whether more records may be taken, with so many held already.
    ///
    /// # Errors
    /// When the partition cannot be read any further.
    pub(super) fn wants_records(&mut self) -> Result<bool, Ended> {
        if let Some(error) = self.broken.take() {
            return Err(self.fail(error, None));
        }
        let (held, settings) = (&self.state.held, &self.settings);
        if held.records() == 0
            && let Some(next) = self.queue.position(&self.state.topic, self.state.partition)
        {
            // Markers of transactions take offsets behind the last record, and nobody else tells.
            self.state.taken_to(next);
        }
        // Said first: what is finished after the look wakes the lane then.
        self.state.wait_for_finished(true);
        let wants = !self.ended
            && !self.state.is_held_up()
            && self.pending.len() < MOST_PENDING
            && held.records() < settings.max_records
            && held.bytes() < settings.max_bytes
            && self.state.has_room_for(settings.max_batch_records);
        if wants {
            self.state.wait_for_finished(false);
        }
        Ok(wants)
    }

    /// Takes a record, waiting until it can be taken. For routes that handle one batch after the other.
    ///
    /// # Errors
    /// When the lane is to end.
    pub(super) async fn take(&mut self, offset: i64) -> Result<Taken, Ended> {
        loop {
            self.state.wait_for_finished(true);
            match self.state.take(offset) {
                Taken::NotYet if self.state.is_stopping() || self.ended => return Err(Ended),
                Taken::NotYet => {
                    if let Next::Completed(offsets, result) = self.next(false).await {
                        self.completed(&offsets, result)?;
                    }
                }
                taken => {
                    self.state.wait_for_finished(false);
                    return Ok(taken);
                }
            }
        }
    }

    /// The next records, or `None` when the lane is to end. Completions go on meanwhile. For routes that handle one
    /// batch after the other.
    ///
    /// # Errors
    /// When the partition cannot be read, or a completion failed.
    ///
    /// # Cancel safety
    /// Records are not lost to a caller that waits no longer, at least once.
    pub(super) async fn fetch(&mut self) -> Result<Option<Fetched>, Ended> {
        loop {
            // Records that are there already are not waited for: without this a lane with a backlog would never let
            // another task of its thread run.
            coop::consume_budget().await;
            if self.state.is_stopping() || self.ended {
                return Ok(None);
            }
            let wants_records = self.wants_records()?;
            match self.next(wants_records).await {
                Next::Fetched(fetched) => {
                    let Some(fetched) = self.accept(fetched) else { continue };
                    if self.settings.guarantee != Guarantee::AtMostOnce {
                        return Ok(Some(fetched));
                    }
                    if self.commit_first(&fetched).await {
                        return Ok(Some(fetched));
                    }
                    // These records are not handled, so none after them may be.
                    self.ended = true;
                }
                Next::Completed(offsets, result) => self.completed(&offsets, result)?,
                Next::Rung => (),
            }
        }
    }

    /// What of the fetched records may be handled now; `None` where it is nothing.
    pub(super) fn accept(&mut self, mut fetched: Fetched) -> Option<Fetched> {
        // An error takes the place of a record. What came before it is handled first; what follows is not read past it.
        let good = (0..fetched.len()).take_while(|at| fetched.get(*at).is_some_and(|one| !one.failed())).count();
        if let Some(Err(error)) = fetched.get(good).map(|message| message.error()) {
            self.broken = Some(Error::native(error).with_operation("receive"));
            fetched.truncate(good);
        }
        fetched.get(0)?;
        Some(fetched)
    }

    /// At most once: the position is committed before anything is handled. `false` when the lane is to end first.
    async fn commit_first(&mut self, fetched: &Fetched) -> bool {
        let Some(answer) = self.ask_to_commit(fetched) else { return false };
        tokio::select! {
            answer = answer => answer.is_ok(),
            () = self.state.until_stopping() => false,
        }
    }

    /// At most once: asks for a commit of everything that was fetched.
    pub(super) fn ask_to_commit(&mut self, fetched: &Fetched) -> Option<oneshot::Receiver<()>> {
        let (first, last) = (fetched.get(0)?.offset(), fetched.get(fetched.len() - 1)?.offset());
        self.state.expect(first);
        let (committed, answer) = oneshot::channel();
        self.settings.requests.send(Request::Commit(self.state.clone(), last + 1, committed)).ok()?;
        Some(answer)
    }

    /// Gives back records that are not to be handled in this life of the partition.
    pub(super) fn give_back(&mut self) {
        self.ended = true;
    }

    /// Waits until so many records may be handed out under the bound on exposure. `false` when the lane is to end first.
    pub(super) async fn may_start(&mut self, records: usize) -> bool {
        loop {
            if self.state.may_start(records) {
                return true;
            }
            let (state, pending) = (&self.state, &mut self.pending);
            let completed = tokio::select! {
                biased;
                Some(completed) = pending.next(), if !pending.is_empty() => Some(completed),
                () = state.has_exposure_room(records) => None,
                () = state.until_stopping() => return false,
            };
            if let Some((offsets, result)) = completed
                && self.completed(&offsets, result).is_err()
            {
                return false;
            }
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
        match result.map(Completion::into_kind) {
            Ok(Kind::Done) => self.completed(&offsets, Ok(()))?,
            Ok(Kind::Unfinished) => offsets.take_back(&self.state),
            Ok(Kind::Later(later)) => self.pending.push(Rest { offsets: Some(offsets), later }),
            Err(error) => self.completed(&offsets, Err(error))?,
        }
        if self.ended { Err(Ended) } else { Ok(()) }
    }

    pub(super) fn completed(&mut self, offsets: &Offsets, result: Result<(), HandlerError>) -> Result<(), Ended> {
        match result {
            Ok(()) => {
                offsets.finish(&self.state);
                Ok(())
            }
            // What is undone will be handled again, however it ended here: it may have failed because of that.
            Err(error) if error.is::<GivenBack>() && self.state.is_stopping() || self.state.is_lost() => {
                tracing::debug!(topic = %self.state.topic, partition = self.state.partition, %error, "given back");
                offsets.give_up(&self.state);
                Ok(())
            }
            Err(error) => Err(self.handler_failed(error, offsets.first())),
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
        while let Some((offsets, result)) = self.pending.next().await {
            // A failure is reported, and the others may still come to their end.
            let _ = self.completed(&offsets, result);
        }
    }

    /// Hands an undecodable record, which was taken, to whoever takes them; without one the consumer ends with its error.
    pub(super) async fn undecodable(&mut self, record: FailedRecord) -> Result<(), Ended> {
        let offset = record.offset();
        self.state.start(offset);
        match self.settings.failed_records.clone() {
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
        let _ = self.settings.requests.send(Request::Fail(error));
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
