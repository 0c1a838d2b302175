//! Which dialects a record's headers are written in: one pass over their names.

use crate::dead_letter::HeadersView;

use super::Dialect;

/// A set of dialects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    bits: u32,
}

/// Signs that are one only together.
const SOURCE_TOPIC: u32 = 1 << 30;
const SOURCE_OFFSET: u32 = 1 << 29;
const SIGNS: u32 = SOURCE_TOPIC | SOURCE_OFFSET;

const fn bit(dialect: Dialect) -> u32 {
    1 << dialect as u32
}

impl Marks {
    pub(crate) fn of(headers: HeadersView<'_>) -> Self {
        let mut bits = 0;
        headers.for_each(|name, _| bits |= mark(name));
        if bits & SIGNS == SIGNS {
            bits |= bit(Dialect::Karafka);
        }
        // Both write `original_offset`; only one of them names the topic.
        if bits & bit(Dialect::Karafka) != 0 {
            bits &= !bit(Dialect::Arroyo);
        }
        Self { bits: bits & !SIGNS }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.bits == 0
    }

    pub(crate) fn dialects(self) -> impl Iterator<Item = Dialect> {
        Dialect::ALL.into_iter().filter(move |dialect| self.bits & bit(*dialect) != 0)
    }
}

/// What one name says. Only names that stand on every dead letter of a dialect, or that nobody else would use, count.
#[inline]
fn mark(name: &[u8]) -> u32 {
    use Dialect::*;
    // Most headers are the application's, and most of those are out after one byte.
    match name.first() {
        Some(b'k') => {
            if let Some(rest) = name.strip_prefix(b"kafka_dlt-") {
                // The group also stands on the records of retry topics.
                return if rest == b"original-consumer-group" { 0 } else { bit(Spring) };
            }
            if name.starts_with(b"kafka_original-") { bit(SpringRetry) } else { 0 }
        }
        Some(b'r') if name.starts_with(b"retry_topic-") => bit(SpringRetry),
        Some(b'r') if name == b"reason_poisoned" => bit(Watermill),
        Some(b't') if name == b"topic_poisoned" => bit(Watermill),
        Some(b'_') if name.starts_with(b"__streams.errors.") => bit(Streams),
        Some(b'_') if name.starts_with(b"__connect.errors.") => bit(Connect),
        Some(b'_') if name.starts_with(b"__dlq.errors.") => bit(ShareGroup),
        Some(b'd') => match name {
            b"dlq.topic" | b"dlq.partition" | b"dlq.offset" => bit(Ours),
            b"dead-letter-topic" | b"dead-letter-offset" | b"dead-letter-exception-class-name" => bit(SmallRye),
            b"delayed-retry-topic" | b"delayed-retry-offset" | b"delayed-retry-count" => bit(SmallRyeRetry),
            b"deserialization-failure-topic" | b"deserialization-failure-reason" => bit(SmallRye),
            _ => 0,
        },
        Some(b'o') => match name {
            b"original_topic" => bit(Karafka),
            b"original_offset" => bit(Arroyo),
            b"original-destination" => bit(Wolverine),
            _ => 0,
        },
        Some(b's') => match name {
            b"source_topic" => SOURCE_TOPIC,
            b"source_offset" => SOURCE_OFFSET,
            _ => 0,
        },
        Some(b'x') => match name {
            b"x-ruststream-retry-count" => bit(Ruststream),
            b"x-source-topic" | b"x-failure-reason" | b"x-failed-attempts" => bit(Silverback),
            _ => 0,
        },
        _ => 0,
    }
}
