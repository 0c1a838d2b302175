//! Records on their way in: typed, failed, or as bytes in a batch.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_serde::{Deserializer, Part, Source, Stop};

use super::at_risk::AtRisk;
use super::handler::GivenBack;
use super::kept::Kept;
use super::router::decoded;
use super::state::LaneState;
use crate::error::Error;
use crate::headers::{Headers, HeadersRef};
use crate::native::headers::HeaderList;
use crate::native::message::Fetched;
use crate::native::{Message, MessageRef};
use crate::partition::TopicPartition;
use crate::record::RawRecord;
use crate::topic::Topic;
use crate::transaction::Transaction;

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

/// A record that was read and is not decoded: its bytes, where it stands, and the partition's life that it belongs to.
///
/// For wrappers that may need a record more than once. Cheap to clone; [`decode`](Self::decode) it as often as need be.
#[derive(Clone)]
pub struct RawReceived {
    lane: Arc<LaneState>,
    body: Shared,
}

/// A record, and the life of its partition.
pub(super) struct Origin {
    lane: Arc<LaneState>,
    body: Body,
}

/// Who holds the record's bytes.
enum Body {
    Own(Message),
    Shared(Shared),
}

/// Who holds them where several may. As small as can be: a hundred thousand may wait.
#[derive(Clone)]
enum Shared {
    Message(Arc<Message>),
    Kept(Arc<Kept>),
}

impl Shared {
    #[inline]
    fn read(&self) -> Bytes<'_> {
        match self {
            Self::Message(message) => Bytes::Message(message),
            Self::Kept(kept) => Bytes::Kept(kept),
        }
    }
}

impl Origin {
    #[inline]
    pub(super) fn own(lane: &Arc<LaneState>, message: Message) -> Self {
        Self { lane: lane.clone(), body: Body::Own(message) }
    }

    #[inline]
    fn read(&self) -> Bytes<'_> {
        match &self.body {
            Body::Own(message) => Bytes::Message(message),
            Body::Shared(shared) => shared.read(),
        }
    }
}

/// The record's bytes, to look at.
#[derive(Clone, Copy)]
enum Bytes<'a> {
    Message(&'a Message),
    Kept(&'a Kept),
}

impl<'a> Bytes<'a> {
    #[inline]
    fn offset(self) -> i64 {
        match self {
            Self::Message(message) => message.view().offset(),
            Self::Kept(kept) => kept.offset(),
        }
    }

    fn timestamp(self) -> Option<(i64, bool)> {
        match self {
            Self::Message(message) => message.view().timestamp(),
            Self::Kept(kept) => kept.timestamp(),
        }
    }

    #[inline]
    fn key(self) -> Option<&'a [u8]> {
        match self {
            Self::Message(message) => message.view().key(),
            Self::Kept(kept) => kept.key(),
        }
    }

    #[inline]
    fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Message(message) => message.view().payload(),
            Self::Kept(kept) => kept.value(),
        }
    }

    fn headers(self) -> HeadersRef<'a> {
        match self {
            Self::Message(message) => HeadersRef::new(message.headers()),
            Self::Kept(kept) => HeadersRef::kept(kept),
        }
    }
}

macro_rules! coordinates {
    () => {
        /// The topic.
        pub fn topic(&self) -> &str {
            &self.lane().topic
        }

        /// The partition.
        pub fn partition(&self) -> i32 {
            self.lane().partition
        }

        /// The topic and the partition.
        pub fn topic_partition(&self) -> TopicPartition {
            TopicPartition::new(self.lane().topic.clone(), self.partition())
        }

        /// The offset.
        pub fn offset(&self) -> i64 {
            self.read().offset()
        }

        /// The timestamp in milliseconds since the epoch; `None` where the record has none.
        pub fn timestamp_ms(&self) -> Option<i64> {
            self.read().timestamp().map(|(millis, _)| millis)
        }

        /// The timestamp; `None` where the record has none.
        pub fn timestamp(&self) -> Option<SystemTime> {
            self.timestamp_ms().map(system_time)
        }

        /// Whether the broker set the timestamp (`message.timestamp.type=LogAppendTime`), and not the producer.
        pub fn is_log_append_time(&self) -> bool {
            self.read().timestamp().is_some_and(|(_, by_broker)| by_broker)
        }

        /// The headers, parsed on first use.
        pub fn headers(&self) -> HeadersRef<'_> {
            self.read().headers()
        }

        /// The key as it stands in the log; `None` is null.
        pub fn key_bytes(&self) -> Option<&[u8]> {
            self.read().key()
        }

        /// The value as it stands in the log; `None` is null.
        pub fn value_bytes(&self) -> Option<&[u8]> {
            self.read().value()
        }

        /// How many bytes key and value take in the log.
        pub fn size(&self) -> usize {
            self.key_bytes().map_or(0, <[u8]>::len) + self.value_bytes().map_or(0, <[u8]>::len)
        }

        /// The transaction that will commit the record's offset, for a consumer with
        /// [`Guarantee::ExactlyOnce`](crate::Guarantee::ExactlyOnce): what is sent there counts if and only if the record is
        /// finished. Of an attempt that fails nothing counts.
        ///
        /// Others refuse what is sent with [`ErrorKind::Config`](crate::ErrorKind::Config).
        pub fn transaction(&self) -> Transaction {
            let lane = self.lane();
            Transaction::of_record(if lane.is_transactional() { lane.draft(self.offset()) } else { None })
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

    #[inline]
    fn read(&self) -> Bytes<'_> {
        self.origin.read()
    }

    fn lane(&self) -> &Arc<LaneState> {
        &self.origin.lane
    }

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

    fn read(&self) -> Bytes<'_> {
        self.origin.read()
    }

    fn lane(&self) -> &Arc<LaneState> {
        &self.origin.lane
    }

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

impl RawReceived {
    coordinates!();

    #[inline]
    fn read(&self) -> Bytes<'_> {
        self.body.read()
    }

    fn lane(&self) -> &Arc<LaneState> {
        &self.lane
    }

    pub(super) fn new(lane: &Arc<LaneState>, message: Message) -> Self {
        Self { lane: lane.clone(), body: Shared::Message(Arc::new(message)) }
    }

    /// A copy that holds nothing of librdkafka's, for records that wait for long.
    pub(super) fn kept(lane: &Arc<LaneState>, message: &Message) -> Self {
        Self { lane: lane.clone(), body: Shared::Kept(Arc::new(Kept::copy(message))) }
    }

    /// Decodes the record with the serdes of `topic`, which need not be the topic it was read from: a record of a retry
    /// topic is decoded as one of the topic it belongs to, whose name the serdes see.
    ///
    /// What is missing (a schema) is fetched. An outage of a registry is not the record's fault: it is waited out.
    ///
    /// # Errors
    /// [`Undecoded::Failed`] where its bytes are wrong; [`Undecoded::Stopping`] where the partition is to stop before a
    /// schema could be fetched.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn decode<K: Deserializer, V: Deserializer>(
        &self,
        topic: &Topic<K, V>,
    ) -> Result<Received<K::Output, V::Output>, Undecoded> {
        // That of a route may be a pattern.
        let name = if topic.name().starts_with('^') { self.topic() } else { topic.name() };
        let origin = Origin { lane: self.lane.clone(), body: Body::Shared(self.body.clone()) };
        match decoded(topic, name, &self.lane, origin).await {
            Some(Ok(record)) => Ok(record),
            Some(Err(failed)) => Err(Undecoded::Failed(failed)),
            None => Err(Undecoded::Stopping),
        }
    }

    /// Waits until the partition is to stop: it moves to another member, or the consumer ends. A handler that waits for
    /// something should then return [`GivenBack`](crate::GivenBack), so that nobody waits for it.
    ///
    /// # Cancel safety
    /// It only waits.
    pub async fn stopping(&self) {
        self.lane.until_stopping().await;
    }

    /// How many processes in a row have died, or were lost to their group, while they may have been handling this record:
    /// 0 as a rule. See [`at_risk`](Self::at_risk), without which nobody ever knows.
    pub fn deaths(&self) -> u32 {
        self.lane.suspects().lock().deaths(self.offset())
    }

    /// Says durably that the record, and those of its partition that were read before it, are about to be handled, and
    /// waits until they may be. For wrappers that want to know, after a restart, what ended their process.
    ///
    /// What is said rides in the metadata of commits, a stretch ahead: on the normal road it costs no commit of its own, but
    /// for the first record of a partition. When the process dies, all unfinished records of that stretch are suspects:
    /// [`deaths`](Self::deaths) is 1. A suspect is handled alone: this waits until no other record of the consumer is
    /// handled between `at_risk` and the drop of its [`AtRisk`], and until a commit has named the record, which takes a
    /// round trip. So each further death is counted for one record. A suspect that was handled, whatever came of it, is one
    /// no more; and an orderly end, or a partition that moves in good order, makes no suspects.
    ///
    /// Drop it as soon as the record was handled. It must not be held while waiting for another record: that one may wait
    /// for this. At most once it does nothing, since nothing is handled twice.
    ///
    /// # Errors
    /// [`GivenBack`](crate::GivenBack) when the partition is to stop first: return it.
    ///
    /// # Cancel safety
    /// It waits no longer, and the record counts as not handled.
    pub async fn at_risk(&self) -> Result<AtRisk, GivenBack> {
        AtRisk::begin(&self.lane, self.offset()).await
    }

    /// Whether the record's results go into a [`transaction`](Self::transaction).
    pub fn is_transactional(&self) -> bool {
        self.lane.is_transactional()
    }

    /// Exactly once: whether nothing that is made of the record can count any more, because what was not committed is being
    /// undone. A handler that fails has failed because of that: it should return [`GivenBack`](crate::GivenBack).
    pub fn is_undone(&self) -> bool {
        self.lane.is_transactional() && self.lane.is_lost()
    }

    /// Exactly once: drops what was sent for the record so far. For wrappers, before a record is tried again.
    pub fn undo(&self) {
        self.lane.undo(self.offset());
    }

    /// Whether the partition is to stop.
    pub fn is_stopping(&self) -> bool {
        self.lane.is_stopping()
    }
}

impl fmt::Debug for RawReceived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawReceived")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .finish_non_exhaustive()
    }
}

/// Why a [`RawReceived`] was not decoded.
#[derive(Debug)]
pub enum Undecoded {
    /// Its bytes are wrong, or their schema cannot be had.
    Failed(FailedRecord),
    /// The partition is to stop; the record will be read again.
    Stopping,
}

/// What decoding a record came to.
pub(super) enum Decoded<K, V> {
    Received(Received<K, V>),
    Failed(FailedRecord),
    /// A schema has to be fetched first; then the same record again.
    Miss(kafka_serde::Miss, Origin),
}

/// Decodes a record of `topic`, which its serdes know as `name`.
#[inline]
pub(super) fn decode<K, V>(topic: &Topic<K, V>, name: &str, origin: Origin) -> Decoded<K::Output, V::Output>
where
    K: Deserializer,
    V: Deserializer,
{
    let headers = LazyHeaders(&origin);
    let source = |part| Source::new(name, part).with_headers(&headers);
    let key = topic.key().deserialize(origin.read().key(), &source(Part::Key));
    let stop = match key {
        Ok(key) => match topic.value().deserialize(origin.read().value(), &source(Part::Value)) {
            Ok(value) => return Decoded::Received(Received { key, value, origin }),
            Err(stop) => stop.at(name, Part::Value),
        },
        Err(stop) => stop.at(name, Part::Key),
    };
    match stop {
        Stop::Miss(miss) => Decoded::Miss(miss, origin),
        Stop::Error(error) => Decoded::Failed(failed(origin, error)),
    }
}

/// A record whose schema cannot be had, or whose bytes are wrong.
pub(super) fn failed(origin: Origin, error: kafka_serde::Error) -> FailedRecord {
    let error = Error::undecodable(error)
        .with_operation("receive")
        .with_topic(&*origin.lane.topic)
        .with_partition(Some(origin.lane.partition))
        .with_offset(Some(origin.read().offset()));
    FailedRecord { error, origin }
}

/// The headers of a record, parsed only when a serde looks for one.
struct LazyHeaders<'a>(&'a Origin);

impl kafka_serde::FindHeader for LazyHeaders<'_> {
    fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        self.0.read().headers().last(name)
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
