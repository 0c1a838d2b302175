//! Spring Kafka: the headers of its `DeadLetterPublishingRecoverer` (`kafka_dlt-*`) and of its retry topics (`kafka_*`,
//! `retry_topic-*`), coordinates and times in big-endian binary.
//!
//! The recoverer appends at every hop and removes the earlier exception. Retry topics write the origin once and append
//! `retry_topic-*` at every hop; the last one counts, and it is the number of the **next** delivery. The class that is
//! written first is a wrapper; the application's is the cause.

use kafka_client::Headers;

use crate::failure::Failure;

use super::shape::{Field, Fields, Numbers, Order, Shape};

pub(crate) const RECOVERER: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Binary,
    names: &[
        ("kafka_dlt-original-topic", Field::Topic),
        ("kafka_dlt-original-partition", Field::Partition),
        ("kafka_dlt-original-offset", Field::Offset),
        ("kafka_dlt-original-timestamp", Field::Timestamp),
        ("kafka_dlt-original-timestamp-type", Field::TimestampType),
        ("kafka_dlt-original-consumer-group", Field::Group),
        ("kafka_dlt-exception-fqcn", Field::Class),
        ("kafka_dlt-exception-cause-fqcn", Field::CauseClass),
        ("kafka_dlt-exception-message", Field::Message),
        ("kafka_dlt-exception-stacktrace", Field::Trace),
        ("kafka_dlt-key-exception-fqcn", Field::InKey),
        ("kafka_dlt-key-exception-message", Field::KeyMessage),
        ("kafka_dlt-key-exception-stacktrace", Field::KeyTrace),
        ("kafka_deliveryAttempt", Field::Attempts),
    ],
};

pub(crate) const RETRY: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Binary,
    names: &[
        ("kafka_original-topic", Field::Topic),
        ("kafka_original-partition", Field::Partition),
        ("kafka_original-offset", Field::Offset),
        ("kafka_original-timestamp", Field::Timestamp),
        ("kafka_original-timestamp-type", Field::TimestampType),
        ("kafka_dlt-original-consumer-group", Field::Group),
        ("kafka_exception-fqcn", Field::Class),
        ("kafka_exception-cause-fqcn", Field::CauseClass),
        ("kafka_exception-message", Field::Message),
        ("kafka_exception-stacktrace", Field::Trace),
        ("kafka_key-exception-fqcn", Field::InKey),
        ("kafka_key-exception-message", Field::KeyMessage),
        ("kafka_key-exception-stacktrace", Field::KeyTrace),
        ("retry_topic-attempts", Field::Attempts),
    ],
};

const OWN_PREFIXES: [&[u8]; 6] = [
    b"kafka_dlt-",
    b"kafka_original-",
    b"kafka_exception-",
    b"kafka_key-exception-",
    b"retry_topic-",
    // Java serialization: never to be decoded, and never to be sent back.
    b"springDeserializerException",
];

/// Other `kafka_` headers (`kafka_correlationId`) are the application's.
pub(crate) fn owns(name: &[u8]) -> bool {
    name == b"kafka_deliveryAttempt" || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const WRAPPER: &[u8] = b"ListenerExecutionFailedException";
/// With what a batch listener names the record that failed; it stands as the cause of the wrapper, and the application's
/// exception behind it.
const OF_A_BATCH: &[u8] = b"BatchListenerFailedException";
const WRAPPED: &[u8] = b"Listener failed; ";
/// Versions 2.x, which write no class of the cause.
const NESTED: &[u8] = b"nested exception is ";

/// The application's class and message, where Spring's own wrap them.
pub(crate) fn unwrapped<'a>(fields: &Fields<'a>) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let (class, message) = written(fields);
    let inner = class.filter(|class| class.ends_with(OF_A_BATCH)).and_then(|class| wrapped_by(class, fields));
    inner.map_or((class, message), |(class, message)| (Some(class), message))
}

/// The class that the headers name: the outermost, or the cause of the listener's wrapper.
fn written<'a>(fields: &Fields<'a>) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let class = fields.newest(Field::Class).or(fields.newest(Field::InKey));
    let message = fields.newest(Field::Message).or(fields.newest(Field::KeyMessage));
    let message = message.map(|message| message.strip_prefix(WRAPPED).unwrap_or(message));
    let nested = message.and_then(|message| message.strip_prefix(NESTED));
    let split = nested.and_then(|nested| nested.windows(2).position(|pair| pair == b": ").map(|at| (nested, at)));
    let (nested_class, message) = match (nested, split) {
        (_, Some((nested, at))) => (Some(&nested[..at]), Some(&nested[at + 2..])),
        (nested, None) => (nested, message),
    };
    if !class.is_some_and(|class| class.ends_with(WRAPPER)) {
        return (class, message);
    }
    (fields.newest(Field::CauseClass).or(nested_class).or(class), message)
}

/// Class and message.
type Thrown<'a> = (&'a [u8], Option<&'a [u8]>);

/// The cause of the exception of this class, which stands in the stack trace alone.
fn wrapped_by<'a>(class: &[u8], fields: &Fields<'a>) -> Option<Thrown<'a>> {
    let trace = trace(fields)?;
    // Where it is the outermost, the first cause is its own.
    match trace.starts_with(class) {
        true => causes(trace).next(),
        false => causes(trace).skip_while(|(other, _)| *other != class).nth(1),
    }
}

/// The class of the innermost cause.
pub(crate) fn innermost<'a>(fields: &Fields<'a>) -> Option<&'a [u8]> {
    causes(trace(fields)?).last().map(|(class, _)| class).filter(|class| !class.is_empty())
}

fn trace<'a>(fields: &Fields<'a>) -> Option<&'a [u8]> {
    fields.newest(Field::Trace).or(fields.newest(Field::KeyTrace))
}

/// The causes that a stack trace names, the outermost first; those of what was suppressed are indented, and not among them.
fn causes(trace: &[u8]) -> impl Iterator<Item = Thrown<'_>> {
    trace.split(|byte| *byte == b'\n').filter_map(|line| {
        let said = line.strip_suffix(b"\r").unwrap_or(line).strip_prefix(b"Caused by: ")?;
        Some(match said.windows(2).position(|pair| pair == b": ") {
            Some(at) => (&said[..at], Some(&said[at + 2..])),
            None => (said, None),
        })
    })
}

/// How many deliveries failed before the record came to where it is, by the number of the next one.
pub(crate) fn failures(fields: &Fields<'_>) -> Option<i64> {
    let next = match fields.newest(Field::Attempts)? {
        // 2.7.0 writes one byte, which is not signed.
        [byte] => i64::from(*byte),
        bytes => fields.number(Some(bytes))?,
    };
    next.checked_sub(1)
}

const EXCEPTION: [&str; 4] = [
    "kafka_dlt-exception-fqcn",
    "kafka_dlt-exception-cause-fqcn",
    "kafka_dlt-exception-message",
    "kafka_dlt-exception-stacktrace",
];

/// Writes `failure` as Spring's `DeadLetterPublishingRecoverer` does, after the application's headers: the coordinates
/// in big-endian binary; on a later hop they are appended and the earlier exception is replaced.
///
/// What has no header there is not written: reason, time of the first failure.
pub fn write(failure: &Failure<'_>, headers: &mut Headers) {
    for name in EXCEPTION {
        headers.remove(name);
    }
    if let Some(attempts) = failure.attempts {
        headers.push("kafka_deliveryAttempt", i32::try_from(attempts).unwrap_or(i32::MAX).to_be_bytes());
    }
    let texts = [failure.class, failure.cause_class, failure.message, failure.trace];
    for (name, text) in EXCEPTION.into_iter().zip(texts) {
        if let Some(text) = text {
            headers.push(name, text);
        }
    }
    headers.push("kafka_dlt-original-topic", failure.topic);
    headers.push("kafka_dlt-original-partition", failure.partition.to_be_bytes());
    headers.push("kafka_dlt-original-offset", failure.offset.to_be_bytes());
    // Java's clients have -1 for a record without a timestamp.
    headers.push("kafka_dlt-original-timestamp", failure.timestamp_ms.unwrap_or(-1).to_be_bytes());
    let timestamp_type = match failure.timestamp_ms {
        Some(_) => failure.timestamp_type.map(|of| of.name()),
        None => Some("NoTimestampType"),
    };
    if let Some(name) = timestamp_type {
        headers.push("kafka_dlt-original-timestamp-type", name);
    }
    if let Some(group) = failure.group {
        headers.push("kafka_dlt-original-consumer-group", group);
    }
}
