//! Interceptors: code that sees every record on its way out, and every answer on its way back.

use std::error::Error as StdError;

use crate::headers::Headers;
use crate::producer::Outcome;

/// Sees every record that a producer sends, and every acknowledgement.
///
/// Both methods are called exactly once for each record that was accepted: [`on_send`](Self::on_send) in the sender's
/// task, when the record is encoded and has its place in the queue; [`on_acknowledgement`](Self::on_acknowledgement)
/// later, on a thread of its own, also where the record failed. A record that cannot be encoded, or that
/// `try_enqueue` gives back, was not accepted and is not seen. Errors and panics are logged, and change nothing for
/// the record or for other interceptors.
///
/// ```
/// use kafka_client::{Outgoing, ProducerInterceptor};
///
/// struct Origin(&'static str);
///
/// impl ProducerInterceptor for Origin {
///     fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         record.headers_mut().push("origin", self.0);
///         Ok(())
///     }
/// }
/// ```
pub trait ProducerInterceptor: Send + Sync + 'static {
    /// Called before a record is handed over; may change its headers.
    ///
    /// # Errors
    /// Are logged; the record is sent all the same.
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), Box<dyn StdError + Send + Sync>>;

    /// Called when it is known how the record ended.
    fn on_acknowledgement(&self, acknowledgement: &Acknowledgement) {
        let _ = acknowledgement;
    }
}

/// A record that is about to be handed over.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a mut Headers,
}

impl Outgoing<'_> {
    /// The topic.
    pub fn topic(&self) -> &str {
        self.topic
    }

    /// The partition, where the record or a custom partitioner names one.
    pub fn partition(&self) -> Option<i32> {
        self.partition
    }

    /// The encoded key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key
    }

    /// The encoded value.
    pub fn value(&self) -> Option<&[u8]> {
        self.value
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        self.headers
    }

    /// The headers, to change.
    pub fn headers_mut(&mut self) -> &mut Headers {
        self.headers
    }
}

/// How a record ended, with what tells it from others.
#[derive(Clone, Debug)]
pub struct Acknowledgement {
    pub(crate) topic: String,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Headers,
    pub(crate) outcome: Outcome,
}

impl Acknowledgement {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The encoded key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The headers, with those that interceptors added.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Delivered, or why not.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }
}

/// Who hears of every acknowledgement: an interceptor, or the producer's delivery hook.
pub(crate) trait AcknowledgementHook: Send + Sync {
    fn acknowledged(&self, acknowledgement: &Acknowledgement);
}

impl AcknowledgementHook for std::sync::Arc<dyn ProducerInterceptor> {
    fn acknowledged(&self, acknowledgement: &Acknowledgement) {
        self.on_acknowledgement(acknowledgement);
    }
}

/// A producer-wide delivery hook.
pub(crate) struct DeliveryHook<F>(pub(crate) F);

impl<F: Fn(&Acknowledgement) + Send + Sync> AcknowledgementHook for DeliveryHook<F> {
    fn acknowledged(&self, acknowledgement: &Acknowledgement) {
        (self.0)(acknowledgement);
    }
}
