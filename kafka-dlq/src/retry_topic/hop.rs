//! The header with which a record waits on the retry topic. Pure.

use std::str::from_utf8;

use kafka_client::{Headers, HeadersRef, RawReceived};

use super::line::NEVER;
use crate::dialect::ours;

/// Until when, in milliseconds since the epoch, or `never`; the offset and the topic it came from. Stands beside the headers of
/// [`dialect::ours`](crate::dialect::ours), whose origin may be an earlier one.
pub(crate) const WAIT: &str = "dlq.wait";

/// Why a record waits, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop<'a> {
    pub(crate) due: i64,
    pub(crate) offset: i64,
    pub(crate) topic: &'a str,
    /// Attempts that have failed.
    pub(crate) attempts: u32,
    pub(crate) first_failure_ms: Option<i64>,
}

impl<'a> Hop<'a> {
    /// `None` where the record has no such header, or a damaged one.
    pub(crate) fn read(record: &'a RawReceived) -> Option<Self> {
        Self::of(record.headers())
    }

    fn of(headers: HeadersRef<'a>) -> Option<Self> {
        let text = |name: &str| from_utf8(headers.last(name)??).ok();
        let mut parts = text(WAIT)?.splitn(3, ' ');
        let due = match parts.next()? {
            "never" => NEVER,
            due => due.parse().ok()?,
        };
        let number = |name| text(name)?.parse().ok();
        Some(Self {
            due,
            offset: parts.next()?.parse().ok()?,
            topic: parts.next()?,
            attempts: number(ours::ATTEMPTS).and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or(0),
            first_failure_ms: number(ours::FIRST_FAILURE),
        })
    }

    /// Replaces what an earlier hop wrote.
    pub(crate) fn write(headers: &mut Headers, due: i64, offset: i64, topic: &str) {
        headers.remove(WAIT);
        let due = if due == NEVER { "never".to_owned() } else { due.to_string() };
        headers.push(WAIT, format!("{due} {offset} {topic}"));
    }
}
