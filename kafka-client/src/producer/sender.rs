//! The shortest way for many records of one topic from one task.

use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;

use futures::future::Either;
use kafka_serde::Serializer;

use super::attempt::Attempt;
use super::core::Permit;
use super::handles::Handle;
use super::slot::SlotRef;
use super::{Delivery, MOST_MISSES, OwnedProducer, Producer, SendError, forgetful};
use crate::error::Error;
use crate::record::Record;
use crate::record::sealed::Scratch;
use crate::topic::Topic;

/// Sends records of one topic from one owner: the topic is looked up once, and the buffer belongs to the sender.
///
/// ```
/// # use kafka_client::{Kafka, Topic, Utf8};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kafka = Kafka::embedded()?;
/// let producer = kafka.producer().build()?;
/// let lines = Topic::new("lines", Utf8, Utf8);
/// let mut sender = producer.sender(&lines)?;
/// let mut deliveries = Vec::new();
/// for line in ["one", "two", "three"] {
///     deliveries.push(sender.enqueue(lines.record("file", line)).await?);
/// }
/// for delivery in deliveries {
///     delivery.await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Sender<K, V> {
    topic: Topic<K, V>,
    handle: Arc<Handle>,
    scratch: Scratch,
    producer: Arc<OwnedProducer>,
}

impl Producer {
    /// A sender for one topic, with one owner.
    ///
    /// # Errors
    /// When the topic's name cannot be one.
    pub fn sender<K: Serializer, V: Serializer>(&self, topic: &Topic<K, V>) -> Result<Sender<K, V>, Error> {
        let shared = self.shared();
        let handle = shared.handles.with(topic.id(), Arc::clone);
        Ok(Sender {
            topic: topic.clone(),
            handle: handle.map_err(|error| shared.native(error).with_topic(topic.name()))?,
            scratch: Scratch::default(),
            producer: self.handle.clone(),
        })
    }
}

impl<K: Serializer, V: Serializer> Sender<K, V> {
    /// Puts a record in the queue, waiting for room if need be, and returns its [`Delivery`].
    ///
    /// # Errors
    /// As [`Producer::enqueue`].
    ///
    /// # Cancel safety
    /// As [`Producer::enqueue`].
    #[inline]
    pub fn enqueue<'s>(
        &'s mut self,
        record: Record<'s, K, V>,
    ) -> impl Future<Output = Result<Delivery, SendError>> + use<'s, K, V> {
        match self.attempt(&record, &mut None) {
            Attempt::Placed(slot) => Either::Left(ready(Ok(Delivery::new(slot)))),
            Attempt::Failed(error) => Either::Left(ready(Err(error))),
            need => Either::Right(Box::pin(async move { self.enqueue_slowly(record, need).await.map(Delivery::new) })),
        }
    }

    #[inline]
    fn attempt(&mut self, record: &Record<'_, K, V>, permit: &mut Option<Permit>) -> Attempt {
        let shared = &self.producer.shared;
        if record.is_for(&self.topic) {
            return shared.attempt_at(&self.handle, &mut self.scratch, record, permit);
        }
        // A record of another topic with the same types goes the general way.
        shared.attempt(record, permit, &mut None)
    }

    async fn enqueue_slowly(&mut self, record: Record<'_, K, V>, mut need: Attempt) -> Result<SlotRef, SendError> {
        let mut permit = None;
        for _ in 0..MOST_MISSES {
            let met = self.producer.shared.meet(need, &mut permit).await;
            met.map_err(|error| SendError::new(error.with_topic(self.topic.name()), false, None))?;
            need = match self.attempt(&record, &mut permit) {
                Attempt::Placed(slot) => return Ok(slot),
                Attempt::Failed(error) => return Err(error),
                need => need,
            };
        }
        Err(forgetful(self.topic.name()))
    }
}

impl<K, V> fmt::Debug for Sender<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("topic", &self.topic).finish_non_exhaustive()
    }
}
