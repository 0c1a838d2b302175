//! Records on their way out: typed, or as bytes.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_serde::{Encoded, Part, Serializer, Stop, Target};

use crate::headers::Headers;
use crate::topic::{Topic, TopicName};

/// A record to send: borrowed key and value, encoded when it is sent.
///
/// ```
/// # use kafka_client::{Topic, Utf8};
/// let lines = Topic::new("lines", Utf8, Utf8);
/// let record = lines.record("file-1", "first line").header("charset", "utf-8").partition(2);
/// ```
pub struct Record<'a, K: Serializer, V: Serializer> {
    topic: &'a Topic<K, V>,
    key: &'a K::Input,
    value: Option<&'a V::Input>,
    partition: Option<i32>,
    /// What few records have; boxed, so that the others are small.
    extras: Option<Box<Extras>>,
}

#[derive(Debug, Default)]
struct Extras {
    timestamp: Option<i64>,
    headers: Headers,
}

impl<'a, K: Serializer, V: Serializer> Record<'a, K, V> {
    pub(crate) fn new(topic: &'a Topic<K, V>, key: &'a K::Input, value: Option<&'a V::Input>) -> Self {
        Self { topic, key, value, partition: None, extras: None }
    }

    /// Sends it to this partition, instead of letting the partitioner decide.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the record's timestamp, instead of the time at which it is sent. Kafka keeps milliseconds.
    pub fn timestamp(mut self, timestamp: SystemTime) -> Self {
        self.extras().timestamp = Some(epoch_millis(timestamp));
        self
    }

    /// Appends a header.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.extras().headers.push(name, value);
        self
    }

    /// Appends a header whose value is null.
    pub fn null_header(mut self, name: impl AsRef<[u8]>) -> Self {
        self.extras().headers.push_null(name);
        self
    }

    pub(crate) fn is_for(&self, topic: &Topic<K, V>) -> bool {
        self.topic.id() == topic.id()
    }

    /// Replaces all headers.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.extras().headers = headers;
        self
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }
}

impl<K: Serializer, V: Serializer> fmt::Debug for Record<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.topic.name())
            .field("partition", &self.partition)
            .field("extras", &self.extras)
            .finish_non_exhaustive()
    }
}

/// A record as bytes: what a failed send gives back, and what can be sent as it is.
///
/// One that was given back has the headers with which it was sent, those of interceptors and serdes included. Sending
/// it again, it passes the interceptors without being shown to them a second time.
#[derive(Clone, Debug)]
pub struct RawRecord {
    topic: String,
    /// The partition asked for, or the one that the partitioner had chosen.
    pub partition: Option<i32>,
    /// The key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is null (a tombstone).
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Headers,
    /// Milliseconds since the epoch; `None`: the time at which it is sent.
    pub timestamp: Option<i64>,
    intercepted: bool,
}

/// Equal as records; whether interceptors have seen them does not count.
impl PartialEq for RawRecord {
    fn eq(&self, other: &Self) -> bool {
        (&self.topic, self.partition, &self.key, &self.value, &self.headers, self.timestamp)
            == (&other.topic, other.partition, &other.key, &other.value, &other.headers, other.timestamp)
    }
}

impl Eq for RawRecord {}

impl RawRecord {
    /// A record of these bytes, without headers.
    pub fn new(topic: impl Into<String>, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Self {
        let (topic, headers) = (topic.into(), Headers::new());
        Self { topic, partition: None, key, value, headers, timestamp: None, intercepted: false }
    }

    /// The topic it is for.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The same record for another topic, on a partition of the partitioner's choice.
    #[must_use]
    pub fn for_topic(mut self, topic: impl Into<String>) -> Self {
        (self.topic, self.partition) = (topic.into(), None);
        self
    }

    pub(crate) fn set_intercepted(&mut self, intercepted: bool) {
        self.intercepted = intercepted;
    }
}

/// What can be sent: a typed [`Record`], or a [`RawRecord`]. Sealed.
pub trait Sendable: sealed::Sendable {}

impl<K: Serializer, V: Serializer> Sendable for Record<'_, K, V> {}
impl Sendable for RawRecord {}
impl Sendable for &RawRecord {}

pub(crate) mod sealed {
    use super::*;
    use crate::native::topic::Piece;

    pub trait Sendable: Sized {
        /// Runs `with` on the topic's name (with its hash).
        fn with_topic<T>(&self, with: impl FnOnce(&TopicName) -> T) -> T;
        fn topic_text(&self) -> &str;
        fn partition(&self) -> Option<i32>;
        fn timestamp(&self) -> Option<i64>;
        /// The headers, if any.
        fn headers(&self) -> Option<&Headers>;
        /// Whether there is neither timestamp nor header.
        fn is_plain(&self) -> bool;
        /// Whether interceptors have seen it before.
        fn is_intercepted(&self) -> bool {
            false
        }
        /// Key and value, where both stand in the record as they are sent.
        fn in_place(&self) -> Option<[Option<&[u8]>; 2]>;
        /// Encodes key and value, in place or at the end of `scratch`, which keeps what it held.
        fn encode_parts<'s>(&'s self, scratch: &mut Scratch) -> Result<[Piece<'s>; 2], Stop>;

        /// Encodes key and value, in place or into `scratch`, which must be empty.
        #[inline]
        fn encode<'s>(&'s self, scratch: &'s mut Scratch) -> Result<Encoding<'s>, Stop> {
            let [key, value] = self.encode_parts(scratch)?;
            Ok(scratch.encoding(key, value))
        }
    }

    impl<K: Serializer, V: Serializer> Sendable for Record<'_, K, V> {
        #[inline]
        fn with_topic<T>(&self, with: impl FnOnce(&TopicName) -> T) -> T {
            with(self.topic.id())
        }

        fn topic_text(&self) -> &str {
            self.topic.name()
        }

        #[inline]
        fn partition(&self) -> Option<i32> {
            self.partition
        }

        fn timestamp(&self) -> Option<i64> {
            self.extras.as_ref()?.timestamp
        }

        fn headers(&self) -> Option<&Headers> {
            self.extras.as_ref().map(|extras| &extras.headers).filter(|headers| !headers.is_empty())
        }

        #[inline]
        fn is_plain(&self) -> bool {
            self.extras.is_none()
        }

        #[inline]
        fn in_place(&self) -> Option<[Option<&[u8]>; 2]> {
            let key = self.topic.key().as_bytes(self.key)?;
            match self.value {
                Some(value) => Some([Some(key), Some(self.topic.value().as_bytes(value)?)]),
                None => Some([Some(key), None]),
            }
        }

        #[inline]
        fn encode_parts<'s>(&'s self, scratch: &mut Scratch) -> Result<[Piece<'s>; 2], Stop> {
            let name = self.topic.name();
            let key = scratch.part(self.topic.key(), self.key, name, Part::Key)?;
            let value = match self.value {
                Some(value) => scratch.part(self.topic.value(), value, name, Part::Value)?,
                None => Piece::Null,
            };
            Ok([key, value])
        }
    }

    impl Sendable for RawRecord {
        fn with_topic<T>(&self, with: impl FnOnce(&TopicName) -> T) -> T {
            with(&TopicName::new(self.topic.as_str().into()))
        }

        fn topic_text(&self) -> &str {
            &self.topic
        }

        fn partition(&self) -> Option<i32> {
            self.partition
        }

        fn timestamp(&self) -> Option<i64> {
            self.timestamp
        }

        fn headers(&self) -> Option<&Headers> {
            (!self.headers.is_empty()).then_some(&self.headers)
        }

        fn is_plain(&self) -> bool {
            self.headers.is_empty() && self.timestamp.is_none()
        }

        fn is_intercepted(&self) -> bool {
            self.intercepted
        }

        fn in_place(&self) -> Option<[Option<&[u8]>; 2]> {
            Some([self.key.as_deref(), self.value.as_deref()])
        }

        fn encode_parts<'s>(&'s self, _: &mut Scratch) -> Result<[Piece<'s>; 2], Stop> {
            Ok([Piece::of(self.key.as_deref()), Piece::of(self.value.as_deref())])
        }
    }

    impl<R: Sendable> Sendable for &R {
        fn with_topic<T>(&self, with: impl FnOnce(&TopicName) -> T) -> T {
            (**self).with_topic(with)
        }

        fn topic_text(&self) -> &str {
            (**self).topic_text()
        }

        fn partition(&self) -> Option<i32> {
            (**self).partition()
        }

        fn timestamp(&self) -> Option<i64> {
            (**self).timestamp()
        }

        fn headers(&self) -> Option<&Headers> {
            (**self).headers()
        }

        fn is_plain(&self) -> bool {
            (**self).is_plain()
        }

        fn is_intercepted(&self) -> bool {
            (**self).is_intercepted()
        }

        fn in_place(&self) -> Option<[Option<&[u8]>; 2]> {
            (**self).in_place()
        }

        fn encode_parts<'s>(&'s self, scratch: &mut Scratch) -> Result<[Piece<'s>; 2], Stop> {
            (**self).encode_parts(scratch)
        }
    }

    /// Key and value as bytes, and the headers that their serdes added.
    #[derive(Clone, Copy)]
    pub struct Encoding<'s> {
        pub(crate) key: Option<&'s [u8]>,
        pub(crate) value: Option<&'s [u8]>,
        pub(crate) added: &'s Headers,
    }

    impl Encoding<'_> {
        #[inline]
        pub(crate) fn bytes(&self) -> usize {
            self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
        }
    }

    /// Buffers for one record's encoding, reused.
    #[derive(Default)]
    pub struct Scratch {
        pub(crate) bytes: Vec<u8>,
        pub(crate) headers: Headers,
    }

    impl Scratch {
        /// What a buffer may keep between records; one large record does not stay in memory for ever.
        const KEPT_BYTES: usize = 256 * 1024;

        #[inline]
        pub(crate) fn reset(&mut self) {
            self.bytes.clear();
            if self.bytes.capacity() > Self::KEPT_BYTES {
                self.bytes = Vec::new();
            }
            self.headers.clear();
        }

        /// Two halves, as slices of where they stand.
        #[inline]
        pub(crate) fn encoding<'s>(&'s self, key: Piece<'s>, value: Piece<'s>) -> Encoding<'s> {
            Encoding { key: key.slice(&self.bytes), value: value.slice(&self.bytes), added: &self.headers }
        }

        #[inline]
        fn part<'v, S: Serializer>(
            &mut self,
            serde: &S,
            value: &'v S::Input,
            topic: &str,
            part: Part,
        ) -> Result<Piece<'v>, Stop> {
            if let Some(bytes) = serde.as_bytes(value) {
                return Ok(Piece::InPlace(bytes));
            }
            let from = self.bytes.len();
            let mut target = Target::new(topic, part).with_headers(&mut self.headers);
            match serde.serialize(value, &mut target, &mut self.bytes) {
                Ok(Encoded::Bytes) => Ok(Piece::Buffered { from, len: self.bytes.len() - from }),
                Ok(Encoded::Null) => Ok(Piece::Null),
                Err(stop) => Err(stop.at(topic, part)),
            }
        }
    }
}

/// Milliseconds since the epoch, as Kafka's timestamps; times before it are negative.
pub(crate) fn epoch_millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    }
}
