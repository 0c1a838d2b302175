//! Hostile bytes and lengths are data.

use kafka_client::RawRecord;
use kafka_dlq::{DeadLetter, Failure, dialect};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Every name that any dialect knows, and some that are close.
const NAMES: &[&str] = &[
    "dlq.topic",
    "dlq.partition",
    "dlq.offset",
    "dlq.hops",
    "dlq.last.topic",
    "dlq.last.offset",
    "dlq.first-failure",
    "dlq.redrives",
    "kafka_deliveryAttempt",
    "kafka_dlt-original-topic",
    "kafka_dlt-original-partition",
    "kafka_dlt-original-offset",
    "kafka_dlt-original-timestamp",
    "kafka_dlt-exception-fqcn",
    "kafka_dlt-exception-message",
    "kafka_dlt-exception-stacktrace",
    "kafka_dlt-key-exception-fqcn",
    "kafka_original-topic",
    "kafka_original-offset",
    "retry_topic-attempts",
    "springDeserializerExceptionKey",
    "__streams.errors.topic",
    "__streams.errors.offset",
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.connector.name",
    "dead-letter-topic",
    "dead-letter-offset",
    "deserialization-failure-key",
    "deserialization-failure-topic",
    "delayed-retry-topic",
    "delayed-retry-count",
    "_watermill_message_uuid",
    "topic_poisoned",
    "original_topic",
    "original_offset",
    "source_topic",
    "source_offset",
    "x-ruststream-retry-count",
    "x-source-topic",
    "original-destination",
    "attempts",
    "",
];

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    let texts = ["orders", "orders-dlt", "-1", "9223372036854775807", "Listener failed; nested exception is x", "//"];
    option::of(prop_oneof![
        vec(any::<u8>(), 0..12),
        prop::sample::select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
    ])
}

fn ask_everything(record: &RawRecord) {
    let letter = DeadLetter::of(record);
    let _ = (letter.dialect(), letter.origin(), letter.life(), letter.last_hop(), letter.hops(), letter.attempts());
    let _ = (letter.reason(), letter.class(), letter.cause_class(), letter.message(), letter.trace(), letter.group());
    let _ = (letter.original_timestamp_ms(), letter.first_failure_ms(), letter.failed_at_ms(), letter.redrives());
    let _ = (letter.missing(), letter.damage(), letter.way_back().map_err(|why| why.to_string()), letter.refusal());
    assert!(letter.application_headers().len() <= record.headers.len());
}

proptest! {
    #[test]
    fn any_headers_can_be_asked_for_everything(
        lines in vec((prop::sample::select(NAMES.to_vec()), value()), 0..40),
        key in value(),
        body in value(),
    ) {
        let mut record = RawRecord::new("orders-dlt", key, body);
        for (name, value) in &lines {
            match value {
                Some(value) => record.headers.push(name, value),
                None => record.headers.push_null(name),
            }
        }
        ask_everything(&record);
        // And whatever stands there, a failure can be written onto it and is read back.
        dialect::ours::write(&Failure { message: Some("x"), ..Failure::at("orders", 1, 2) }, &mut record.headers);
        ask_everything(&record);
        let ours = |name| record.headers.last(name).flatten().is_some();
        prop_assert!(ours("dlq.topic") && ours("dlq.partition") && ours("dlq.offset"));
    }
}

#[test]
fn ten_thousand_hops_are_read_in_a_moment() {
    let mut record = RawRecord::new("orders-dlt", None, None);
    for hop in 0..10_000_i64 {
        record.headers.push("kafka_dlt-original-topic", "orders-dlt");
        record.headers.push("kafka_dlt-original-partition", 0_i32.to_be_bytes());
        record.headers.push("kafka_dlt-original-offset", hop.to_be_bytes());
    }
    let begun = std::time::Instant::now();
    ask_everything(&record);
    // A reader that looks each hop up from the start needs minutes.
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_stack_trace_of_megabytes_is_borrowed_and_not_walked_twice() {
    let mut record = RawRecord::new("orders-dlt", None, None);
    let trace = "Caused by: a.b.C: x\n".repeat(500_000);
    record.headers.push("kafka_dlt-original-topic", "orders");
    record.headers.push("kafka_dlt-exception-stacktrace", &trace);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.cause_class().as_deref(), Some("a.b.C"));
    assert!(matches!(letter.trace(), Some(std::borrow::Cow::Borrowed(_))));
}
