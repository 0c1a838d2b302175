//! Routes: a topic joined to a handler.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_serde::{Deserializer, Miss, Retry};
use tracing::Instrument;

use super::handler::{Completion, Handler, HandlerError};
use super::lane::{Ended, FailedRecordRoute, Lane, LaneState, Offsets};
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
    match AssertUnwindSafe(handler.handle(input)).catch_unwind().await {
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
                    return;
                }
            }
            // What was begun may finish; what was only fetched is somebody else's.
            let _ = lane.drain().await;
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
            let offset = message.view().offset();
            lane.state.begin(offset);
            match decoded(&self.topic, &lane.state, message).await {
                Some(Ok(record)) => {
                    let handling = guarded(&self.handler, record);
                    let result = match tracing::enabled!(tracing::Level::DEBUG) {
                        false => handling.await,
                        true => {
                            let partition = lane.state.partition;
                            handling.instrument(tracing::debug_span!("receive", topic = %name, partition, offset)).await
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
    match miss.resolve().await {
        Ok(()) => Resolved::Again,
        Err(error) if error.retry() == Retry::Permanent => Resolved::Never(error),
        Err(error) => {
            tracing::warn!(topic = %lane.topic, partition = lane.partition, %error, "waiting to decode");
            if lane.is_stopping() {
                return Resolved::Stopping;
            }
            tokio::time::sleep(*pause).await;
            *pause = (*pause * 2).min(LONGEST_PAUSE);
            if lane.is_stopping() { Resolved::Stopping } else { Resolved::Again }
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
                let mut batch = Vec::with_capacity(fetched.len());
                for message in fetched.into_messages() {
                    if lane.state.is_stopping() {
                        break;
                    }
                    let offset = message.view().offset();
                    match decoded(&self.topic, &lane.state, message).await {
                        Some(Ok(record)) => {
                            lane.state.begin(offset);
                            batch.push(record);
                        }
                        Some(Err(failed)) => {
                            // In order: what was read before it is handled before it.
                            if self.batch(&mut lane, std::mem::take(&mut batch)).await.is_err() {
                                return;
                            }
                            lane.state.begin(offset);
                            if lane.undecodable(failed).await.is_err() {
                                return;
                            }
                        }
                        None => break,
                    }
                }
                if self.batch(&mut lane, batch).await.is_err() {
                    return;
                }
            }
            let _ = lane.drain().await;
        })
    }
}

impl<K, V, H> BatchRoute<K, V, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Vec<Received<K::Output, V::Output>>>,
{
    async fn batch(&self, lane: &mut Lane, batch: Vec<Received<K::Output, V::Output>>) -> Result<(), Ended> {
        let offsets: Vec<i64> = batch.iter().map(Received::offset).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let result = guarded(&self.handler, batch).await;
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
                let (count, first) = (fetched.len(), fetched.get(0).map_or(-1, |message| message.offset()));
                let last = fetched.get(count - 1).map_or(-1, |message| message.offset());
                let result = guarded(&self.handler, RawBatch::new(lane.state.topic.clone(), fetched)).await;
                let done = match result.map(Completion::into_later) {
                    Ok(None) => {
                        lane.handled_all(last + 1, count);
                        Ok(())
                    }
                    // A batch that finishes later holds the lane: raw batches keep no account of single records.
                    Ok(Some(later)) => later.await.map(|()| lane.handled_all(last + 1, count)),
                    Err(error) => Err(error),
                };
                if let Err(error) = done {
                    lane.handler_failed(error, first);
                    return;
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
