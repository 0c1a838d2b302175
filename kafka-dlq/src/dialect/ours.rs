//! Our own dialect: text, at most 1 KiB however often a record fails, first life and last hop told apart.
//!
//! | header | value |
//! |---|---|
//! | `dlq.topic`, `dlq.partition`, `dlq.offset` | the record's **origin**: where it failed for the first time |
//! | `dlq.timestamp`, `dlq.timestamp-type` | its timestamp there, in milliseconds; `CreateTime` or `LogAppendTime` |
//! | `dlq.last.topic`, `.partition`, `.offset` | where it failed last; only from the second hop on |
//! | `dlq.hops` | how often it was written as a dead letter or to a retry topic; only from the second on |
//! | `dlq.attempts` | how many deliveries have failed |
//! | `dlq.first-failure`, `dlq.failed-at` | when the first and the last of them failed, in milliseconds |
//! | `dlq.reason`, `dlq.group` | why it is here, as one word; the consumer group that failed |
//! | `dlq.class`, `dlq.message`, `dlq.cause-class`, `dlq.trace` | the error |
//! | `dlq.redrives` | how often it was sent back (written when it is sent back, kept by [`write()`]) |
//!
//! Numbers are decimal text. Each name stands once: a later hop replaces what an earlier one wrote and keeps the origin.
//! Coordinates and times are never cut; texts share what is left of the limit, in the order reason, class, group,
//! message, cause, trace, and one that is cut ends with `…`, on a character boundary. One for which there is no room is
//! left out.

use std::io::Write;
use std::str::from_utf8;

use kafka_client::Headers;

use crate::failure::Failure;

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[
        (TOPIC, Field::Topic),
        (PARTITION, Field::Partition),
        (OFFSET, Field::Offset),
        (TIMESTAMP, Field::Timestamp),
        (TIMESTAMP_TYPE, Field::TimestampType),
        (LAST_TOPIC, Field::LastTopic),
        (LAST_PARTITION, Field::LastPartition),
        (LAST_OFFSET, Field::LastOffset),
        (HOPS, Field::Hops),
        (ATTEMPTS, Field::Attempts),
        (FIRST_FAILURE, Field::FirstFailure),
        (FAILED_AT, Field::FailedAt),
        (REASON, Field::Reason),
        (GROUP, Field::Group),
        (CLASS, Field::Class),
        (MESSAGE, Field::Message),
        (CAUSE_CLASS, Field::CauseClass),
        (TRACE, Field::Trace),
    ],
};

/// How many bytes the names and values of [`write()`] take at most.
pub const MAX_BYTES: usize = 1024;

pub(crate) const TOPIC: &str = "dlq.topic";
pub(crate) const PARTITION: &str = "dlq.partition";
pub(crate) const OFFSET: &str = "dlq.offset";
pub(crate) const TIMESTAMP: &str = "dlq.timestamp";
pub(crate) const TIMESTAMP_TYPE: &str = "dlq.timestamp-type";
pub(crate) const LAST_TOPIC: &str = "dlq.last.topic";
pub(crate) const LAST_PARTITION: &str = "dlq.last.partition";
pub(crate) const LAST_OFFSET: &str = "dlq.last.offset";
pub(crate) const HOPS: &str = "dlq.hops";
pub(crate) const ATTEMPTS: &str = "dlq.attempts";
pub(crate) const FIRST_FAILURE: &str = "dlq.first-failure";
pub(crate) const FAILED_AT: &str = "dlq.failed-at";
pub(crate) const REASON: &str = "dlq.reason";
pub(crate) const GROUP: &str = "dlq.group";
pub(crate) const CLASS: &str = "dlq.class";
pub(crate) const MESSAGE: &str = "dlq.message";
pub(crate) const CAUSE_CLASS: &str = "dlq.cause-class";
pub(crate) const TRACE: &str = "dlq.trace";
/// How often a record was sent back; survives the next failure.
pub(crate) const REDRIVES: &str = "dlq.redrives";

/// What [`write()`] replaces, and what is taken off on the way back.
pub(crate) const NAMES: [&str; 18] = [
    TOPIC,
    PARTITION,
    OFFSET,
    TIMESTAMP,
    TIMESTAMP_TYPE,
    LAST_TOPIC,
    LAST_PARTITION,
    LAST_OFFSET,
    HOPS,
    ATTEMPTS,
    FIRST_FAILURE,
    FAILED_AT,
    REASON,
    GROUP,
    CLASS,
    MESSAGE,
    CAUSE_CLASS,
    TRACE,
];

/// Writes `failure` after the application's headers, which stay as they are. Takes at most [`MAX_BYTES`].
pub fn write(failure: &Failure<'_>, headers: &mut Headers) {
    write_within(failure, headers, MAX_BYTES);
}

/// As [`write()`], with another limit, in bytes of names and values: a larger one for longer traces. Coordinates and times
/// are written even where they alone exceed it.
pub fn write_within(failure: &Failure<'_>, headers: &mut Headers, max_bytes: usize) {
    let before = Before::read(headers);
    for name in NAMES {
        headers.remove(name);
    }
    let mut out = Out { headers, left: max_bytes };
    match &before {
        Some(before) => before.write(failure, &mut out),
        None => {
            out.place([TOPIC, PARTITION, OFFSET], failure.topic, failure.partition, failure.offset);
            out.number(TIMESTAMP, failure.timestamp_ms);
            out.whole(TIMESTAMP_TYPE, failure.timestamp_type.map(|of| of.name()));
        }
    }
    let first = before.as_ref().and_then(|before| before.first_failure_ms);
    out.number(ATTEMPTS, failure.attempts.map(i64::from));
    out.number(FIRST_FAILURE, first.or(failure.first_failure_ms));
    out.number(FAILED_AT, failure.failed_at_ms);
    out.text(REASON, failure.reason, 64);
    out.text(CLASS, failure.class, 160);
    out.text(GROUP, failure.group, 255);
    out.text(MESSAGE, failure.message, max_bytes / 3);
    out.text(CAUSE_CLASS, failure.cause_class, 160);
    out.text(TRACE, failure.trace, max_bytes);
}

/// What an earlier hop wrote and a later one keeps.
struct Before {
    topic: Vec<u8>,
    partition: i64,
    offset: i64,
    timestamp: Option<i64>,
    timestamp_type: Option<Vec<u8>>,
    first_failure_ms: Option<i64>,
    hops: i64,
}

impl Before {
    /// `None` where there is no earlier hop, or one whose coordinates are damaged.
    fn read(headers: &Headers) -> Option<Self> {
        let number = |name| -> Option<i64> { from_utf8(headers.last(name)??).ok()?.parse().ok() };
        let short = |name: &str, limit| headers.last(name).flatten().filter(|text| text.len() <= limit);
        Some(Self {
            topic: short(TOPIC, 249)?.to_vec(),
            partition: number(PARTITION)?,
            offset: number(OFFSET)?,
            timestamp: number(TIMESTAMP),
            timestamp_type: short(TIMESTAMP_TYPE, 16).map(<[u8]>::to_vec),
            first_failure_ms: number(FIRST_FAILURE),
            hops: number(HOPS).filter(|hops| *hops > 0).unwrap_or(1),
        })
    }

    fn write(&self, failure: &Failure<'_>, out: &mut Out<'_>) {
        out.bytes(TOPIC, &self.topic);
        out.number(PARTITION, Some(self.partition));
        out.number(OFFSET, Some(self.offset));
        out.number(TIMESTAMP, self.timestamp);
        if let Some(of) = &self.timestamp_type {
            out.bytes(TIMESTAMP_TYPE, of);
        }
        out.place([LAST_TOPIC, LAST_PARTITION, LAST_OFFSET], failure.topic, failure.partition, failure.offset);
        out.number(HOPS, Some(self.hops.saturating_add(1)));
    }
}

/// Headers that are being written, and how many bytes they may still take.
struct Out<'h> {
    headers: &'h mut Headers,
    left: usize,
}

impl Out<'_> {
    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.headers.push(name, value);
        self.left = self.left.saturating_sub(name.len() + value.len());
    }

    fn number(&mut self, name: &str, number: Option<i64>) {
        let Some(number) = number else { return };
        // In place: a dead letter has some ten numbers.
        let mut digits = [0; 20];
        let mut rest = &mut digits[..];
        // The longest one, `i64::MIN`, has 20.
        let _ = write!(rest, "{number}");
        let left = rest.len();
        self.bytes(name, &digits[..digits.len() - left]);
    }

    fn whole(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.bytes(name, text.as_bytes());
        }
    }

    fn place(&mut self, names: [&str; 3], topic: &str, partition: i32, offset: i64) {
        self.whole(names[0], Some(topic));
        self.number(names[1], Some(partition.into()));
        self.number(names[2], Some(offset));
    }

    /// A text of at most `most` bytes, and no more than there is room for.
    fn text(&mut self, name: &str, text: Option<&str>, most: usize) {
        let Some(text) = text else { return };
        let room = self.left.saturating_sub(name.len()).min(most);
        match cut(text, room) {
            Cut::Whole => self.bytes(name, text.as_bytes()),
            Cut::Shorter(text) => self.bytes(name, text.as_bytes()),
            Cut::NoRoom => (),
        }
    }
}

enum Cut {
    Whole,
    Shorter(String),
    NoRoom,
}

/// The longest beginning of `text` that fits into `room` bytes together with the mark that it was cut.
fn cut(text: &str, room: usize) -> Cut {
    const MARK: &str = "…";
    // Fewer bytes than this tell nobody anything.
    const LEAST: usize = 12;
    if text.len() <= room {
        return Cut::Whole;
    }
    if room < LEAST {
        return Cut::NoRoom;
    }
    let most = room - MARK.len();
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Cut::Shorter([&text[..end], MARK].concat())
}
