//! Consumer interceptors: code that sees every record on its way in, and every commit that Kafka has confirmed.

use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use crate::headers::HeadersRef;
use crate::native::headers::HeaderList;
use crate::native::message::Fetched;
use crate::native::{Message, MessageRef};
use crate::partition::TopicPartition;
use crate::producer::panic_text;

/// Sees every record that a consumer hands out, and every confirmed commit.
///
/// Errors and panics are logged, and change nothing for the record, the commit or other interceptors. Both methods are
/// called on the consumer's tasks, so they must not block.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use kafka_client::{ConsumerInterceptor, Incoming};
///
/// #[derive(Default)]
/// struct Bytes(AtomicU64);
///
/// impl ConsumerInterceptor for Bytes {
///     fn on_receive(&self, record: &Incoming<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         self.0.fetch_add(record.value().map_or(0, <[u8]>::len) as u64, Ordering::Relaxed);
///         Ok(())
///     }
/// }
/// ```
pub trait ConsumerInterceptor: Send + Sync + 'static {
    /// Called once for each record that is handed out, before it is decoded; again where it is handed out again. (Records
    /// that are handed out together are seen while they are gathered: some may go back, when their partition moves away
    /// before that.)
    ///
    /// # Errors
    /// Are logged; the record is handled all the same.
    fn on_receive(&self, record: &Incoming<'_>) -> Result<(), Box<dyn StdError + Send + Sync>>;

    /// Called when Kafka has confirmed that everything before `offset` is finished.
    fn on_commit(&self, partition: &TopicPartition, offset: i64) {
        let _ = (partition, offset);
    }
}

/// A record as it came, before it is decoded.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    topic: &'a str,
    message: MessageRef<'a>,
    headers: Parsed<'a>,
}

/// Where the headers are, once they are asked for.
#[derive(Clone, Copy)]
enum Parsed<'a> {
    Message(&'a Message),
    /// Of a record in a raw batch, by its index.
    Batch(&'a Fetched, usize, &'a OnceLock<Option<HeaderList>>),
}

impl<'a> Incoming<'a> {
    /// The topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.message.partition()
    }

    /// The offset.
    pub fn offset(&self) -> i64 {
        self.message.offset()
    }

    /// The timestamp in milliseconds since the epoch; `None` where the record has none.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.message.timestamp().map(|(millis, _)| millis)
    }

    /// The key; `None` is null.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.message.key()
    }

    /// The value; `None` is null.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.message.payload()
    }

    /// The headers.
    pub fn headers(&self) -> HeadersRef<'a> {
        HeadersRef::new(match self.headers {
            Parsed::Message(message) => message.headers(),
            Parsed::Batch(batch, at, parsed) => parsed.get_or_init(|| batch.headers(at)).as_ref(),
        })
    }
}

impl std::fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("topic", &self.topic)
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .finish_non_exhaustive()
    }
}

/// All interceptors of a consumer.
#[derive(Clone, Default)]
pub(super) struct Interceptors(Option<Arc<[Box<dyn ConsumerInterceptor>]>>);

impl Interceptors {
    pub(super) fn new(all: Vec<Box<dyn ConsumerInterceptor>>) -> Self {
        Self((!all.is_empty()).then(|| all.into()))
    }

    #[inline]
    pub(super) fn received(&self, topic: &str, message: &Message) {
        if let Some(all) = &self.0 {
            let incoming = Incoming { topic, message: message.view(), headers: Parsed::Message(message) };
            all.iter().for_each(|one| guarded("on_receive", || one.on_receive(&incoming)));
        }
    }

    /// Records that are handed out together, borrowed.
    pub(super) fn received_batch(&self, topic: &str, batch: &Fetched) {
        let Some(all) = &self.0 else { return };
        for (at, message) in (0..batch.len()).filter_map(|at| Some((at, batch.get(at)?))) {
            let parsed = OnceLock::new();
            let incoming = Incoming { topic, message, headers: Parsed::Batch(batch, at, &parsed) };
            all.iter().for_each(|one| guarded("on_receive", || one.on_receive(&incoming)));
        }
    }

    pub(super) fn committed(&self, topic: &str, partition: i32, offset: i64) {
        if let Some(all) = &self.0 {
            let partition = TopicPartition::new(topic, partition);
            all.iter().for_each(|one| {
                guarded("on_commit", || {
                    one.on_commit(&partition, offset);
                    Ok(())
                });
            });
        }
    }
}

fn guarded(what: &str, call: impl FnOnce() -> Result<(), Box<dyn StdError + Send + Sync>>) {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => (),
        Ok(Err(error)) => tracing::error!(%error, "a consumer interceptor failed: {what}"),
        Err(panic) => tracing::error!(panic = panic_text(&*panic), "a consumer interceptor panicked: {what}"),
    }
}
