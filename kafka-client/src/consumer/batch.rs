//! Routes whose handler takes many records of a partition at once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kafka_serde::Deserializer;
use tokio::task::coop;
use tokio::time::{Instant, timeout_at};

use super::concurrency::Batching;
use super::handler::{Completion, Handler, Kind};
use super::lane::{Ended, Lane, Offsets, guarded_later};
use super::received::{FailedRecord, Origin, RawBatch, RawReceived, Received};
use super::router::{Route, decoded, guarded};
use super::state::{LaneState, Taken};
use crate::native::Message;
use crate::native::message::Fetched;
use crate::topic::Topic;

/// One handler call for records of a partition.
pub(super) struct BatchRoute<O, H> {
    pub(super) opener: O,
    /// `None`: what was fetched together.
    pub(super) batching: Option<Batching>,
    pub(super) handler: H,
}

/// Makes of messages what the handler takes.
pub(super) trait Opener: Send + Sync + 'static {
    type Record: Send + 'static;

    fn topic(&self) -> &str;

    /// `None` when the lane is to end first.
    fn open(
        &self,
        lane: &Arc<LaneState>,
        message: Message,
    ) -> impl Future<Output = Option<Result<Self::Record, FailedRecord>>> + Send;
}

/// Decodes them.
impl<K: Deserializer, V: Deserializer> Opener for Topic<K, V> {
    type Record = Received<K::Output, V::Output>;

    fn topic(&self) -> &str {
        self.name()
    }

    async fn open(&self, lane: &Arc<LaneState>, message: Message) -> Option<Result<Self::Record, FailedRecord>> {
        decoded(self, &lane.topic, lane, Origin::own(lane, message)).await
    }
}

/// Leaves them as they are.
pub(super) struct Undecoded(pub(super) Arc<str>);

impl Opener for Undecoded {
    type Record = RawReceived;

    fn topic(&self) -> &str {
        &self.0
    }

    async fn open(&self, lane: &Arc<LaneState>, message: Message) -> Option<Result<RawReceived, FailedRecord>> {
        Some(Ok(RawReceived::new(lane, message)))
    }
}

impl<O: Opener, H: Handler<Vec<O::Record>>> Route for BatchRoute<O, H> {
    fn topic(&self) -> &str {
        self.opener.topic()
    }

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut open = Open::new();
            while self.turn(&mut lane, &mut open).await.is_ok_and(|goes_on| goes_on) {}
            // What was begun may finish; what was only fetched is read again.
            lane.state.held.remove(open.records.len(), open.bytes);
            lane.drain().await;
        })
    }
}

/// The batch that is being put together.
struct Open<R> {
    records: Vec<R>,
    offsets: Vec<i64>,
    bytes: usize,
    /// When it is handed over though it is not full.
    due: Option<Instant>,
}

impl<R> Open<R> {
    fn new() -> Self {
        Self { records: Vec::new(), offsets: Vec::new(), bytes: 0, due: None }
    }
}

impl<O: Opener, H: Handler<Vec<O::Record>>> BatchRoute<O, H> {
    /// Takes a portion, or hands over what is due. `false` when the lane is to end.
    async fn turn(&self, lane: &mut Lane, open: &mut Open<O::Record>) -> Result<bool, Ended> {
        let fetched = match open.due {
            None => lane.fetch().await?,
            // At least once a portion is not lost by not waiting for it; at most once it must not be cut short.
            Some(due) => match timeout_at(due, lane.fetch()).await {
                Ok(fetched) => fetched?,
                Err(_) => {
                    self.hand_over(lane, open).await?;
                    return Ok(true);
                }
            },
        };
        let Some(fetched) = fetched else { return Ok(false) };
        self.records(lane, open, fetched).await?;
        if open.due.is_none() || open.due.is_some_and(|due| due <= Instant::now()) {
            self.hand_over(lane, open).await?;
        }
        Ok(true)
    }

    async fn records(&self, lane: &mut Lane, open: &mut Open<O::Record>, fetched: Fetched) -> Result<(), Ended> {
        lane.state.held.add(fetched.len(), fetched.bytes());
        for message in fetched.into_messages() {
            coop::consume_budget().await;
            let (offset, bytes) = (message.view().offset(), message.view().size());
            if lane.take(offset).await? == Taken::Finished {
                lane.state.held.remove(1, bytes);
                continue;
            }
            lane.settings.interceptors.received(&lane.state.topic, &message);
            match self.opener.open(&lane.state, message).await {
                Some(Ok(record)) => {
                    if open.records.is_empty() {
                        open.due = self.linger().map(|linger| Instant::now() + linger);
                    }
                    open.records.push(record);
                    open.offsets.push(offset);
                    open.bytes += bytes;
                    if open.records.len() >= self.most(lane) {
                        self.hand_over(lane, open).await?;
                    }
                }
                Some(Err(failed)) => {
                    // In order: what was read before it is handled before it.
                    self.hand_over(lane, open).await?;
                    if lane.state.is_stopping() || !lane.may_start(1).await {
                        return Err(Ended);
                    }
                    lane.state.held.remove(1, bytes);
                    lane.undecodable(failed).await?;
                }
                None => return Err(Ended),
            }
        }
        Ok(())
    }

    fn linger(&self) -> Option<Duration> {
        self.batching.map(|batching| batching.linger).filter(|linger| !linger.is_zero())
    }

    fn most(&self, lane: &Lane) -> usize {
        self.batching.map_or(usize::MAX, |batching| batching.records).min(lane.settings.max_exposed)
    }

    /// Hands over the open batch.
    async fn hand_over(&self, lane: &mut Lane, open: &mut Open<O::Record>) -> Result<(), Ended> {
        let (batch, bytes) = (std::mem::take(&mut open.records), std::mem::take(&mut open.bytes));
        let offsets = std::mem::take(&mut open.offsets);
        open.due = None;
        if batch.is_empty() {
            return Ok(());
        }
        if lane.state.is_stopping() || !lane.may_start(batch.len()).await {
            lane.state.held.remove(batch.len(), bytes);
            return Err(Ended);
        }
        let (count, first) = (batch.len(), offsets.first().copied().unwrap_or(-1));
        offsets.iter().for_each(|offset| lane.state.start(*offset));
        lane.state.running.begin(0, first, None, &lane.settings.clock);
        let result = lane.meanwhile(guarded(&self.handler, batch)).await;
        lane.state.running.end(0);
        lane.state.held.remove(count, bytes);
        lane.handled(Offsets::Many(offsets), result)?;
        lane.reap().await
    }
}

/// One handler call for the undecoded records of a fetch.
pub(super) struct RawRoute<H> {
    pub(super) topic: Arc<str>,
    pub(super) handler: H,
}

impl<H: Handler<RawBatch>> Route for RawRoute<H> {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn tells_records_apart(&self) -> bool {
        false
    }

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(fetched)) = lane.fetch().await {
                if self.batch(&mut lane, fetched).await.is_err() {
                    break;
                }
            }
        })
    }
}

impl<H: Handler<RawBatch>> RawRoute<H> {
    async fn batch(&self, lane: &mut Lane, fetched: Fetched) -> Result<(), Ended> {
        let count = fetched.len();
        let offset_at = |at| fetched.get(at).map(|message| message.offset());
        let (Some(first), Some(last)) = (offset_at(0), offset_at(count - 1)) else { return Ok(()) };
        let bytes = fetched.bytes();
        if !lane.may_start(count).await {
            return Err(Ended);
        }
        lane.state.held.add(count, bytes);
        lane.settings.interceptors.received_batch(&lane.state.topic, &fetched);
        lane.state.start_all(last, count as u64);
        lane.state.running.begin(0, first, None, &lane.settings.clock);
        let result = guarded(&self.handler, RawBatch::new(lane.state.topic.clone(), fetched)).await;
        let done = match result.map(Completion::into_kind) {
            Ok(Kind::Done | Kind::Unfinished) => Ok(()),
            // A batch that finishes later holds the lane: raw batches keep no account of single records.
            Ok(Kind::Later(later)) => guarded_later(later).await,
            Err(error) => Err(error),
        };
        lane.state.running.end(0);
        lane.state.held.remove(count, bytes);
        match done {
            Ok(()) => {
                lane.state.finish_all(last, count as u64);
                Ok(())
            }
            Err(error) => Err(lane.handler_failed(error, Some(first))),
        }
    }
}
