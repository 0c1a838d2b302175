//! Spring Kafka's retry topics.

use kafka_client::RawRecord;
use kafka_dlq::{DeadLetter, Dialect, Refusal};

use super::{APPLICATION, Lines, headers, push, with};

const FIRST: Lines<'static> = &[
    ("kafka_original-topic", Some(b"orders")),
    ("kafka_original-partition", Some(&[0, 0, 0, 3])),
    ("kafka_original-offset", Some(&[0, 0, 0, 0, 0, 0, 0x10, 0x73])),
    ("kafka_original-timestamp", Some(&[0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00])),
    ("kafka_original-timestamp-type", Some(b"CreateTime")),
    ("kafka_dlt-original-consumer-group", Some(b"billing")),
    ("kafka_exception-fqcn", Some(b"org.springframework.kafka.listener.ListenerExecutionFailedException")),
    ("kafka_exception-cause-fqcn", Some(b"com.shop.CardDeclined")),
    ("kafka_exception-message", Some(b"Listener failed; card declined")),
];

/// Six, four and one byte, as seen.
const HOP_2: Lines<'static> = &[
    ("retry_topic-original-timestamp", Some(&[0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00])),
    ("retry_topic-attempts", Some(&[0, 0, 0, 2])),
    ("retry_topic-backoff-timestamp", Some(&[0x01, 0x8b, 0xcf, 0xe5, 0x6b, 0xe8])),
];
const HOP_3: Lines<'static> = &[
    ("retry_topic-original-timestamp", Some(&[0x01, 0x8b, 0xcf, 0xe5])),
    ("retry_topic-attempts", Some(&[0, 0, 0, 3])),
    ("retry_topic-backoff-timestamp", Some(&[0])),
];

fn after_two_hops(topic: &str) -> RawRecord {
    let mut record = with(topic, APPLICATION);
    push(&mut record.headers, FIRST);
    push(&mut record.headers, HOP_2);
    push(&mut record.headers, HOP_3);
    record
}

#[test]
fn the_last_copy_counts_and_is_the_number_of_the_next_delivery() {
    let record = after_two_hops("orders-dlt");
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::SpringRetry));
    assert_eq!(letter.attempts(), Some(2));
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.group().as_deref(), Some("billing"));
    assert_eq!(letter.class().as_deref(), Some("com.shop.CardDeclined"));
    assert_eq!(letter.original_timestamp_ms(), Some(1_700_000_000_000));
}

#[test]
fn what_waits_on_a_retry_topic_is_not_dead() {
    let record = after_two_hops("orders-retry-1");
    let letter = DeadLetter::of(&record);
    assert!(letter.is_pending());
    assert_eq!(letter.refusal(), Some(Refusal::Pending));
    let record = after_two_hops("orders-retry-dlt");
    assert!(!DeadLetter::of(&record).is_pending());
}

#[test]
fn version_2_7_0_writes_the_attempts_in_one_unsigned_byte() {
    for (byte, failures) in [(5, 4), (200, 199)] {
        let record =
            with("orders-dlt", &[("kafka_original-topic", Some(b"orders")), ("retry_topic-attempts", Some(&[byte]))]);
        assert_eq!(DeadLetter::of(&record).attempts(), Some(failures));
    }
}

#[test]
fn every_copy_is_taken_off_on_the_way_back() {
    let record = after_two_hops("orders-dlt");
    assert_eq!(DeadLetter::of(&record).application_headers(), headers(APPLICATION));
}

#[test]
fn the_true_partition_is_in_the_header_alone() {
    let mut record = after_two_hops("orders-dlt");
    record.partition = Some(0);
    assert_eq!(DeadLetter::of(&record).origin().partition, Some(3));
}

#[test]
fn a_recoverer_behind_the_dead_letter_topic_has_a_group_and_a_topic_of_its_own() {
    let mut record = after_two_hops("orders-dlt-dlt");
    push(
        &mut record.headers,
        &[
            ("kafka_dlt-exception-fqcn", Some(b"java.lang.Error")),
            ("kafka_dlt-original-topic", Some(b"orders-dlt")),
            ("kafka_dlt-original-partition", Some(&[0, 0, 0, 0])),
            ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 0, 1])),
            ("kafka_dlt-original-consumer-group", Some(b"janitor")),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::Spring, Dialect::SpringRetry]);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.last_hop().to_string(), "orders-dlt-0@1");
    assert_eq!(letter.group().as_deref(), Some("janitor"));
    assert_eq!(letter.attempts(), Some(2), "the only one who counts");
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}
