//! Records on their way in: typed, failed, or as bytes in a batch.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_serde::{Deserializer, Part, Source, Stop};

use crate::error::Error;
use crate::headers::{Headers, HeadersRef};
use crate::native::headers::HeaderList;
use crate::native::message::Fetched;
use crate::native::{Message, MessageRef};
use crate::partition::TopicPartition;
use crate::record::RawRecord;
use crate::topic::Topic;

/// A record that was read: its decoded key and value, and where it stands.
///
/// It keeps librdkafka's own message, so headers and raw bytes are not copied; headers are parsed on first use.
pub struct Received<K, V> {
    key: K,
    value: V,
    origin: Origin,
}

/// A record that was read and could not be decoded: its bytes, and why.
pub struct FailedRecord {
    error: Error,
    origin: Origin,
}

/// A message and the topic it came from.
struct Origin {
    topic: Arc<str>,
    message: Message,
}

macro_rules! coordinates {
    () => {
        /// The topic.
        pub fn topic(&self) -> &str {
            &self.origin.topic
        }

        /// The partition.
        pub fn partition(&self) -> i32 {
            self.origin.message.view().partition()
        }

        /// The topic and the partition.
        pub fn topic_partition(&self) -> TopicPartition {
            TopicPartition::new(self.origin.topic.clone(), self.partition())
        }

        /// The offset.
        pub fn offset(&self) -> i64 {
            self.origin.message.view().offset()
        }

        /// The timestamp in milliseconds since the epoch; `None` where the record has none.
        pub fn timestamp_ms(&self) -> Option<i64> {
            self.origin.message.view().timestamp().map(|(millis, _)| millis)
        }

        /// The timestamp; `None` where the record has none.
        pub fn timestamp(&self) -> Option<SystemTime> {
            self.timestamp_ms().map(system_time)
        }

        /// The headers, parsed on first use.
        pub fn headers(&self) -> HeadersRef<'_> {
            HeadersRef::new(self.origin.message.headers())
        }

        /// The key as it stands in the log; `None` is null.
        pub fn key_bytes(&self) -> Option<&[u8]> {
            self.origin.message.view().key()
        }

        /// The value as it stands in the log; `None` is null.
        pub fn value_bytes(&self) -> Option<&[u8]> {
            self.origin.message.view().payload()
        }

        /// How many bytes key and value take in the log.
        pub fn size(&self) -> usize {
            self.origin.message.view().size()
        }

        /// A copy of the record as bytes, to send on as it is; without its partition.
        pub fn to_raw(&self) -> RawRecord {
            let (key, value) = (self.key_bytes().map(Vec::from), self.value_bytes().map(Vec::from));
            let mut raw = RawRecord::new(self.topic(), key, value);
            raw.headers = self.headers().to_owned();
            raw.timestamp = self.timestamp_ms();
            raw
        }
    };
}

impl<K, V> Received<K, V> {
    coordinates!();

    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// Key and value, owned.
    pub fn into_parts(self) -> (K, V) {
        (self.key, self.value)
    }

    /// The value, owned.
    pub fn into_value(self) -> V {
        self.value
    }
}

impl FailedRecord {
    coordinates!();

    /// Why it could not be decoded; its coordinates are those of the record.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The error alone.
    pub fn into_error(self) -> Error {
        self.error
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Received<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("key", &self.key)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FailedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedRecord")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// What decoding a message came to.
pub(super) enum Decoded<K, V> {
    Received(Received<K, V>),
    Failed(FailedRecord),
    /// A schema has to be fetched first; then the same message again.
    Miss(kafka_serde::Miss, Message),
}

/// Decodes a message of `topic`.
#[inline]
pub(super) fn decode<K, V>(topic: &Topic<K, V>, name: &Arc<str>, message: Message) -> Decoded<K::Output, V::Output>
where
    K: Deserializer,
    V: Deserializer,
{
    let headers = LazyHeaders(&message);
    let view = message.view();
    // The name of the record's own topic: that of the route may be a pattern.
    let source = |part| Source::new(name, part).with_headers(&headers);
    let key = topic.key().deserialize(view.key(), &source(Part::Key));
    let stop = match key {
        Ok(key) => match topic.value().deserialize(view.payload(), &source(Part::Value)) {
            Ok(value) => {
                return Decoded::Received(Received { key, value, origin: Origin { topic: name.clone(), message } });
            }
            Err(stop) => stop.at(name, Part::Value),
        },
        Err(stop) => stop.at(name, Part::Key),
    };
    match stop {
        Stop::Miss(miss) => Decoded::Miss(miss, message),
        Stop::Error(error) => Decoded::Failed(failed(name, message, error)),
    }
}

/// A message whose schema cannot be had, or whose bytes are wrong.
pub(super) fn failed(name: &Arc<str>, message: Message, error: kafka_serde::Error) -> FailedRecord {
    let (partition, offset) = (message.view().partition(), message.view().offset());
    let error = Error::undecodable(error)
        .with_operation("receive")
        .with_topic(&**name)
        .with_partition(Some(partition))
        .with_offset(Some(offset));
    FailedRecord { error, origin: Origin { topic: name.clone(), message } }
}

/// The headers of a message, parsed only when a serde looks for one.
struct LazyHeaders<'a>(&'a Message);

impl kafka_serde::FindHeader for LazyHeaders<'_> {
    fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        HeadersRef::new(self.0.headers()).last(name)
    }
}

/// Records of one partition that were fetched together, borrowed and undecoded: the fastest way to read.
pub struct RawBatch {
    topic: Arc<str>,
    fetched: Fetched,
}

impl RawBatch {
    pub(super) fn new(topic: Arc<str>, fetched: Fetched) -> Self {
        Self { topic, fetched }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.fetched.get(0).map_or(-1, MessageRef::partition)
    }

    /// How many records there are; at least one.
    pub fn len(&self) -> usize {
        self.fetched.len()
    }

    /// Whether there are none; never, for a handler.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<RawRef<'_>> {
        self.fetched.get(index).map(|message| RawRef { message, batch: self, index })
    }

    /// The records, in the order of their offsets.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RawRef<'_>> {
        (0..self.len()).map(|index| match self.get(index) {
            Some(record) => record,
            None => unreachable!("the index is below the length"),
        })
    }
}

impl fmt::Debug for RawBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawBatch")
            .field("topic", &self.topic)
            .field("partition", &self.partition())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// One record of a [`RawBatch`].
#[derive(Clone, Copy)]
pub struct RawRef<'a> {
    message: MessageRef<'a>,
    batch: &'a RawBatch,
    index: usize,
}

impl<'a> RawRef<'a> {
    /// The offset.
    #[inline]
    pub fn offset(&self) -> i64 {
        self.message.offset()
    }

    /// The key; `None` is null.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.message.key()
    }

    /// The value; `None` is null.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.message.payload()
    }

    /// The timestamp in milliseconds since the epoch; `None` where the record has none.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.message.timestamp().map(|(millis, _)| millis)
    }

    /// A copy of the headers.
    pub fn headers(&self) -> Headers {
        Headers::copy_of(self.batch.fetched.headers(self.index).as_ref().map(|list: &HeaderList| list))
    }
}

impl fmt::Debug for RawRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRef").field("offset", &self.offset()).finish_non_exhaustive()
    }
}

fn system_time(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}
