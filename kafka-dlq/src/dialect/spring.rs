//! Spring Kafka: the headers of its `DeadLetterPublishingRecoverer` and of its retry topics.

use kafka_client::Headers;

use crate::failure::Failure;

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
