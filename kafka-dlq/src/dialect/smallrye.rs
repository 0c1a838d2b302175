//! SmallRye Reactive Messaging: `dead-letter-*` and `delayed-retry-*`, text, put **before** the application's headers, the
//! newest hop first; `deserialization-failure-*` behind them.

use super::shape::{Field, Fields, Numbers, Order, Shape};

pub(crate) const DEAD_LETTER: Shape = Shape {
    order: Order::NewestFirst,
    numbers: Numbers::Text,
    names: &[
        ("dead-letter-exception-class-name", Field::Class),
        ("dead-letter-reason", Field::Message),
        ("dead-letter-cause-class-name", Field::CauseClass),
        ("dead-letter-cause", Field::Trace),
        ("dead-letter-topic", Field::Topic),
        ("dead-letter-partition", Field::Partition),
        ("dead-letter-offset", Field::Offset),
        ("deserialization-failure-topic", Field::DecodeTopic),
        ("deserialization-failure-reason", Field::DecodeReason),
        ("deserialization-failure-key", Field::InKey),
    ],
};

pub(crate) const RETRY: Shape = Shape {
    order: Order::NewestFirst,
    numbers: Numbers::Text,
    names: &[
        ("delayed-retry-exception-class-name", Field::Class),
        ("delayed-retry-reason", Field::Message),
        ("delayed-retry-cause-class-name", Field::CauseClass),
        ("delayed-retry-cause", Field::Trace),
        ("delayed-retry-topic", Field::Topic),
        ("delayed-retry-partition", Field::Partition),
        ("delayed-retry-offset", Field::Offset),
        ("delayed-retry-original-timestamp", Field::Timestamp),
        ("delayed-retry-first-processing-timestamp", Field::FirstFailure),
        ("delayed-retry-count", Field::Attempts),
    ],
};

const DESERIALIZATION: [&str; 8] =
    ["deserializer", "topic", "key", "reason", "cause", "key-data", "value-data", "data"];

pub(crate) fn owns(name: &[u8]) -> bool {
    if let Some(rest) = name.strip_prefix(b"deserialization-failure-") {
        return DESERIALIZATION.iter().any(|other| other.as_bytes() == rest);
    }
    DEAD_LETTER.field(name).or_else(|| RETRY.field(name)).is_some()
}

/// The count starts at 0 with the first failure.
pub(crate) fn attempts(fields: &Fields<'_>) -> Option<i64> {
    fields.number(fields.newest(Field::Attempts))?.checked_add(1)
}

/// Whether the value of the dead letter is a copy of its key, and the original value is nowhere: what SmallRye does when
/// the key alone cannot be decoded.
pub(crate) fn lost_its_value(fields: &Fields<'_>, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
    // Two failures (key and value) leave both bytes in place.
    fields.has(Field::InKey) && fields.count(Field::DecodeReason) < 2 && value.is_some() && key == value
}
