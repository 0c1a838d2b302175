//! What is written of a record that waits, or is dead: its bytes, and headers that say why.

use std::borrow::Cow;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::time::SystemTime;

use kafka_client::{BoxError, Completion, Headers, RawReceived, RawRecord};

use super::Dialect;
use super::core::Core;
use super::failed::Place;
use super::fault::Fault;
use super::tries::Tries;
use crate::dialect::{connect, ours, spring};
use crate::retry_topic::RetryTopic;
use crate::retry_topic::gate::{InTransit, key_of};
use crate::retry_topic::hop::{Hop, WAIT};
use crate::{Failure, TimestampType};

impl Core {
    /// The record waits on the retry topic, until `due`.
    pub(super) async fn later(
        &self,
        record: &RawReceived,
        tries: &Tries,
        fault: &Fault,
        place: Place<'_>,
        due: i64,
    ) -> Result<Completion, BoxError> {
        let ordered = self.settings.keeps_order();
        let hop = Hop::read(record);
        if let (Place::Retry(gate), Some(hop), true, Some(key)) = (place, hop, ordered, record.key_bytes()) {
            // Its place in the log is its place in the order: it stays there.
            gate.again(record.clone(), key_of(&self.source, key), hop.offset, due, tries.attempts);
            return Ok(Completion::unfinished());
        }
        let mut headers = headers_with_room(record);
        let text = fault.texts();
        ours::write_within(&self.failure(record, Some(tries), None, fault, &text), &mut headers, MAX_HEADER_BYTES);
        let (offset, transit) = match place {
            Place::Source => {
                let transit = self.ordered(record).map(|(gate, key)| InTransit::begin(&gate, key, record.offset()));
                (record.offset(), transit)
            }
            Place::Retry(_) => (hop.map_or(record.offset(), |hop| hop.offset), None),
        };
        Hop::write(&mut headers, due, offset, &self.source);
        self.hop(record, headers, transit).await
    }

    pub(super) async fn hop(
        &self,
        record: &RawReceived,
        headers: Headers,
        transit: Option<InTransit>,
    ) -> Result<Completion, BoxError> {
        let topic = self.settings.retry_topic.as_ref().map(RetryTopic::name).unwrap_or_default();
        let mut raw = self.copy(record, topic, headers);
        raw.partition = same_partition(record, &self.retry_partitions);
        self.writer.write(raw, record, move || transit.into_iter().for_each(InTransit::written)).await
    }

    pub(super) async fn dead_letter(
        &self,
        record: &RawReceived,
        tries: Option<&Tries>,
        reason: Cow<'static, str>,
        fault: &Fault,
        place: Place<'_>,
    ) -> Result<Completion, BoxError> {
        let topic = self.settings.dead_letter.as_deref().unwrap_or_default();
        let mut headers = headers_with_room(record);
        headers.remove(WAIT);
        let text = fault.texts();
        let failure = self.failure(record, tries, Some(&reason), fault, &text);
        match self.settings.dialect {
            Dialect::Ours => ours::write(&failure, &mut headers),
            foreign => {
                // They know of no retry topic of ours: the origin is what they call the original.
                let origin = Origin::take(&mut headers, place);
                let failure = origin.as_ref().map_or(failure, |origin| origin.applied(failure));
                match foreign {
                    Dialect::Spring => spring::write(&failure, &mut headers),
                    _ => connect::write(&failure, &mut headers),
                }
            }
        }
        let mut raw = self.copy(record, topic, headers);
        raw.partition = same_partition(record, &self.dead_letter_partitions);
        let retention = self.retention_ms.load(Ordering::Relaxed);
        let now = millis(SystemTime::now());
        // It would be deleted for its age, soon or at once. The headers have the time.
        raw.timestamp = raw.timestamp.filter(|time| retention < 0 || now.saturating_sub(*time) <= retention / 2);
        tracing::warn!(?record, reason = &*reason, error = %fault.error, "a record is dead-lettered");
        let tally = self.tally.clone();
        self.writer.write(raw, record, move || tally.dead_lettered(&reason)).await
    }

    /// The record bit for bit, with other headers, for another topic. Without its timestamp where a broker would refuse it;
    /// the headers have the time.
    fn copy(&self, record: &RawReceived, topic: &str, headers: Headers) -> RawRecord {
        let mut raw = RawRecord::new(topic, record.key_bytes().map(Vec::from), record.value_bytes().map(Vec::from));
        let now = millis(SystemTime::now());
        // A tenth less: clocks differ.
        let most = |bound: &AtomicI64| bound.load(Ordering::Relaxed) / 10 * 9;
        let is_taken = |time: &i64| {
            now.saturating_sub(*time) <= most(&self.timestamp_before_ms)
                && time.saturating_sub(now) <= most(&self.timestamp_after_ms)
        };
        (raw.headers, raw.timestamp) = (headers, record.timestamp_ms().filter(is_taken));
        raw
    }

    fn failure<'a>(
        &'a self,
        record: &'a RawReceived,
        tries: Option<&Tries>,
        reason: Option<&'a str>,
        fault: &'a Fault,
        text: &'a (String, Option<String>),
    ) -> Failure<'a> {
        Failure {
            group: Some(&self.group),
            class: Some(fault.class),
            message: Some(&text.0),
            trace: text.1.as_deref(),
            attempts: tries.map(|tries| tries.attempts),
            first_failure_ms: tries.and_then(|tries| tries.first_failure).map(millis),
            failed_at_ms: Some(millis(SystemTime::now())),
            reason,
            ..standing(record)
        }
    }
}

/// Where a record stands, and since when.
pub(super) fn standing(record: &RawReceived) -> Failure<'_> {
    let kind = if record.is_log_append_time() { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
    Failure {
        timestamp_ms: record.timestamp_ms(),
        timestamp_type: record.timestamp_ms().map(|_| kind),
        ..Failure::at(record.topic(), record.partition(), record.offset())
    }
}

/// The record's headers, with room for what is written behind them.
pub(super) fn headers_with_room(record: &RawReceived) -> Headers {
    let mut headers = record.headers().to_owned();
    headers.reserve(ours::NAMES.len(), ours::MAX_BYTES);
    headers
}

/// What the headers of a waiting record take at most, beside [`WAIT`].
const MAX_HEADER_BYTES: usize = ours::MAX_BYTES - 300;

/// The partition of the same number, in a topic of so many.
fn same_partition(record: &RawReceived, partitions: &AtomicI32) -> Option<i32> {
    match partitions.load(Ordering::Relaxed) {
        0 => None,
        partitions => Some(record.partition() % partitions),
    }
}

fn millis(time: SystemTime) -> i64 {
    crate::retry_topic::millis(time)
}

/// Where a record of the retry topic came from, by the headers of our own dialect.
struct Origin {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp_ms: Option<i64>,
    timestamp_type: Option<TimestampType>,
}

impl Origin {
    /// Takes our headers off, and says what they told. `None` for a record of the source.
    fn take(headers: &mut Headers, place: Place<'_>) -> Option<Self> {
        let Place::Retry(_) = place else { return None };
        let text = |name: &str| std::str::from_utf8(headers.last(name)??).ok();
        let number = |name: &str| text(name)?.parse::<i64>().ok();
        let origin = Self {
            topic: text(ours::TOPIC)?.to_owned(),
            partition: i32::try_from(number(ours::PARTITION)?).ok()?,
            offset: number(ours::OFFSET)?,
            timestamp_ms: number(ours::TIMESTAMP),
            timestamp_type: match text(ours::TIMESTAMP_TYPE) {
                Some("LogAppendTime") => Some(TimestampType::LogAppendTime),
                Some(_) => Some(TimestampType::CreateTime),
                None => None,
            },
        };
        for name in ours::NAMES {
            headers.remove(name);
        }
        Some(origin)
    }

    fn applied<'a>(&'a self, failure: Failure<'a>) -> Failure<'a> {
        Failure {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            timestamp_type: self.timestamp_type,
            ..failure
        }
    }
}
