//! The shortest way for many records of one topic from one task.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use kafka_serde::Serializer;

use super::ahead::Ahead;
use super::attempt::{Attempt, Refused, bytes_of};
use super::core::Permit;
use super::handles::Handle;
use super::missing::Waiting;
use super::slot::Slot;
use super::soon::Soon;
use super::{Delivery, OwnedProducer, Producer, SendError};
use crate::error::Error;
use crate::native::topic::Outgoing;
use crate::record::Record;
use crate::record::sealed::{Scratch, Sendable as _};
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
    ahead: Ahead,
    /// Neither partitioner nor interceptors.
    simple: bool,
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
            ahead: Ahead::none(),
            simple: shared.simple,
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
        match self.at_once(&record) {
            Ok(slot) => Soon::now(Delivery::new(slot)),
            Err(refused) => self.enqueue_otherwise(record, refused),
        }
    }

    /// The shortest way: a record whose bytes can be taken as they stand, and room taken ahead.
    #[inline(always)]
    fn at_once(&mut self, record: &Record<'_, K, V>) -> Result<&'static Slot, Option<Refused>> {
        if self.simple
            && record.is_plain()
            && record.is_for(&self.topic)
            && let Some([key, value]) = record.in_place()
            && let Some((slot, token)) = self.ahead.take(bytes_of([key, value]))
        {
            return self.handle.hand_over(Outgoing { partition: record.partition(), key, value, token }, slot);
        }
        Err(None)
    }

    #[inline(never)]
    fn enqueue_otherwise<'s>(
        &'s mut self,
        record: Record<'s, K, V>,
        refused: Option<Refused>,
    ) -> Soon<Delivery, impl Future<Output = Result<Delivery, SendError>> + use<'s, K, V>> {
        let attempt = match refused {
            Some(refused) => Attempt::Failed(self.producer.shared.refused_at_once(&record, refused)),
            None => self.attempt(&record, &mut None),
        };
        match attempt {
            Attempt::Placed(slot) => Soon::now(Delivery::new(slot)),
            need => Soon::later(async move { self.enqueue_slowly(record, need).await.map(Delivery::new) }),
        }
    }

    fn attempt(&mut self, record: &Record<'_, K, V>, permit: &mut Option<Permit>) -> Attempt {
        let shared = &self.producer.shared;
        if record.is_for(&self.topic) {
            return shared.attempt_at(&self.handle, &mut self.scratch, &mut self.ahead, record, permit);
        }
        // A record of another topic with the same types goes the general way.
        shared.attempt(record, permit, &mut None)
    }

    async fn enqueue_slowly(
        &mut self,
        record: Record<'_, K, V>,
        mut need: Attempt,
    ) -> Result<&'static Slot, SendError> {
        let mut waiting = Waiting::new();
        loop {
            if let Attempt::Failed(error) = need {
                return Err(error);
            }
            let met = self.producer.shared.meet(need, self.topic.name(), &mut waiting).await;
            met.map_err(|error| self.producer.shared.unaccepted(&record, error))?;
            need = match self.attempt(&record, &mut waiting.permit) {
                Attempt::Placed(slot) => return Ok(slot),
                need => need,
            };
        }
    }
}

impl<K, V> Drop for Sender<K, V> {
    fn drop(&mut self) {
        self.producer.shared.core.give_back(&self.ahead);
    }
}

impl<K, V> fmt::Debug for Sender<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("topic", &self.topic).finish_non_exhaustive()
    }
}
