//! Routes: a topic joined to a handler.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_serde::{Deserializer, Miss, Retry};
use tokio::task::coop;
use tracing::Instrument;

use super::handler::{Completion, Handler, HandlerError};
use super::lane::{Ended, FailedRecordRoute, Lane, LaneState, Offsets, guarded_later};
use super::received::{Decoded, FailedRecord, RawBatch, Received, decode, failed};
use crate::native::Message;
use crate::native::message::Fetched;
use crate::producer::panic_text;
use crate::topic::Topic;

/// What a consumer does with one topic. A whole lane is one call, so that nothing is boxed for each record.
pub(super) trait Route: Send + Sync {
    fn topic(&self) -> &str;
    fn run(self: Arc<Self>, lane: Lane) -> BoxFuture<'static, ()>;
}

/// A handler that panicked.
#[derive(Debug)]
pub(super) struct HandlerPanic(pub(super) String);

impl fmt::Display for HandlerPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HandlerPanic {}

impl From<Box<dyn Any + Send>> for HandlerPanic {
    fn from(panic: Box<dyn Any + Send>) -> Self {
        Self(panic_text(&*panic).to_owned())
    }
}

/// Runs user code; a panic becomes an error.
pub(super) async fn guarded<I, H: Handler<I>>(handler: &H, input: I) -> Result<Completion, HandlerError> {
    // In a block, so that a handler that panics before it returns its future is caught as well.
    match AssertUnwindSafe(async { handler.handle(input).await }).catch_unwind().await {
        Ok(result) => result.map_err(Into::into),
        Err(panic) => Err(Box::new(HandlerPanic::from(panic))),
    }
}

/// One handler call a record.
pub(super) struct RecordRoute<K, V, H> {
    pub(super) topic: Topic<K, V>,
    pub(super) handler: H,
}

impl<K, V, H> Route for RecordRoute<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Received<K::Output, V::Output>>,
{
    fn topic(&self) -> &str {
        self.topic.name()
    }

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(fetched)) = lane.fetch().await {
                if self.records(&mut lane, fetched).await.is_err() {
                    break;
                }
            }
            // What was begun may finish; what was only fetched is read again.
            lane.drain().await;
        })
    }
}

impl<K, V, H> RecordRoute<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Received<K::Output, V::Output>>,
{
    async fn records(&self, lane: &mut Lane, fetched: Fetched) -> Result<(), Ended> {
        let name = lane.state.topic.clone();
        for message in fetched.into_messages() {
            if lane.state.is_stopping() {
                break;
            }
            coop::consume_budget().await;
            match decoded(&self.topic, &lane.state, message).await {
                Some(Ok(record)) => {
                    let offset = record.offset();
                    lane.state.begin(offset);
                    let handling = guarded(&self.handler, record);
                    let result = match tracing::enabled!(tracing::Level::DEBUG) {
                        false => lane.meanwhile(handling).await,
                        true => {
                            let partition = lane.state.partition;
                            let span = tracing::debug_span!("receive", topic = %name, partition, offset);
                            lane.meanwhile(handling.instrument(span)).await
                        }
                    };
                    lane.handled(Offsets::One(offset), result)?;
                }
                Some(Err(failed)) => lane.undecodable(failed).await?,
                None => break,
            }
            lane.reap().await?;
        }
        Ok(())
    }
}

/// Decodes a record, fetching what is missing. `None` when the lane is to end first.
///
/// An outage (of a registry, say) is not the record's fault: it is waited out.
pub(super) async fn decoded<K: Deserializer, V: Deserializer>(
    topic: &Topic<K, V>,
    lane: &LaneState,
    mut message: Message,
) -> Option<Result<Received<K::Output, V::Output>, FailedRecord>> {
    let mut pause = Duration::from_millis(100);
    loop {
        match decode(topic, &lane.topic, message) {
            Decoded::Received(record) => return Some(Ok(record)),
            Decoded::Failed(record) => return Some(Err(record)),
            Decoded::Miss(miss, same) => {
                message = same;
                match resolved(miss, &mut pause, lane).await {
                    Resolved::Again => (),
                    Resolved::Never(error) => return Some(Err(failed(&lane.topic, message, error))),
                    Resolved::Stopping => return None,
                }
            }
        }
    }
}

enum Resolved {
    Again,
    Never(kafka_serde::Error),
    Stopping,
}

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

async fn resolved(miss: Miss, pause: &mut Duration, lane: &LaneState) -> Resolved {
    let outcome = tokio::select! {
        outcome = miss.resolve() => outcome,
        () = lane.until_stopping() => return Resolved::Stopping,
    };
    match outcome {
        Ok(()) => Resolved::Again,
        Err(error) if error.retry() == Retry::Permanent => Resolved::Never(error),
        Err(error) => {
            tracing::warn!(topic = %lane.topic, partition = lane.partition, %error, "waiting to decode");
            let waiting = *pause;
            *pause = (waiting * 2).min(LONGEST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(waiting) => Resolved::Again,
                () = lane.until_stopping() => Resolved::Stopping,
            }
        }
    }
}

/// One handler call for the decoded records of a fetch.
pub(super) struct BatchRoute<K, V, H> {
    pub(super) topic: Topic<K, V>,
    pub(super) handler: H,
}

impl<K, V, H> Route for BatchRoute<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Vec<Received<K::Output, V::Output>>>,
{
    fn topic(&self) -> &str {
        self.topic.name()
    }

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(fetched)) = lane.fetch().await {
                if self.records(&mut lane, fetched).await.is_err() {
                    break;
                }
            }
            lane.drain().await;
        })
    }
}

impl<K, V, H> BatchRoute<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Vec<Received<K::Output, V::Output>>>,
{
    async fn records(&self, lane: &mut Lane, fetched: Fetched) -> Result<(), Ended> {
        let mut batch = Vec::with_capacity(fetched.len());
        for message in fetched.into_messages() {
            coop::consume_budget().await;
            match decoded(&self.topic, &lane.state, message).await {
                Some(Ok(record)) => batch.push(record),
                Some(Err(failed)) => {
                    // In order: what was read before it is handled before it.
                    self.batch(lane, std::mem::take(&mut batch)).await?;
                    if lane.state.is_stopping() {
                        return Ok(());
                    }
                    lane.undecodable(failed).await?;
                }
                None => return Ok(()),
            }
        }
        self.batch(lane, batch).await
    }

    async fn batch(&self, lane: &mut Lane, batch: Vec<Received<K::Output, V::Output>>) -> Result<(), Ended> {
        if batch.is_empty() || lane.state.is_stopping() {
            return Ok(());
        }
        let offsets: Vec<i64> = batch.iter().map(Received::offset).collect();
        offsets.iter().for_each(|offset| lane.state.begin(*offset));
        let result = lane.meanwhile(guarded(&self.handler, batch)).await;
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

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(fetched)) = lane.fetch().await {
                let (count, first) = (fetched.len(), fetched.get(0).map(|message| message.offset()));
                let Some(next) = fetched.get(count - 1).map(|message| message.offset() + 1) else { continue };
                lane.state.begin_all(next, count as u64);
                let result = guarded(&self.handler, RawBatch::new(lane.state.topic.clone(), fetched)).await;
                let done = match result.map(Completion::into_later) {
                    Ok(None) => Ok(()),
                    // A batch that finishes later holds the lane: raw batches keep no account of single records.
                    Ok(Some(later)) => guarded_later(later).await,
                    Err(error) => Err(error),
                };
                match done {
                    Ok(()) => lane.state.finish_all(next, count as u64),
                    Err(error) => {
                        lane.handler_failed(error, first);
                        return;
                    }
                }
            }
        })
    }
}

/// The handler for undecodable records.
pub(super) struct FailedHandler<H>(pub(super) H);

impl<H: Handler<FailedRecord>> FailedRecordRoute for FailedHandler<H> {
    fn handle(&self, record: FailedRecord) -> BoxFuture<'_, Result<Completion, HandlerError>> {
        Box::pin(guarded(&self.0, record))
    }
}
