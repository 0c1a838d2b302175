//! SmallRye Reactive Messaging, both ways.

use kafka_dlq::{Damage, DeadLetter, Dialect, Refusal};

use super::{APPLICATION, Lines, headers, push, with};

const HOP: Lines<'static> = &[
    ("dead-letter-exception-class-name", Some(b"com.shop.CardDeclined")),
    ("dead-letter-reason", Some(b"card declined")),
    ("dead-letter-cause-class-name", Some(b"java.io.IOException")),
    ("dead-letter-cause", Some(b"timeout")),
    ("dead-letter-topic", Some(b"orders")),
    ("dead-letter-partition", Some(b"3")),
    ("dead-letter-offset", Some(b"4211")),
];

#[test]
fn its_headers_stand_before_the_applications() {
    let mut record = with("dead-letter-topic-orders", HOP);
    push(&mut record.headers, APPLICATION);
    record.timestamp = Some(1);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::SmallRye));
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.class().as_deref(), Some("com.shop.CardDeclined"));
    assert_eq!(letter.cause_class().as_deref(), Some("java.io.IOException"));
    assert_eq!(letter.message().as_deref(), Some("card declined"));
    assert_eq!(letter.original_timestamp_ms(), None, "the record's own is that of the dead letter");
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}

#[test]
fn the_newest_hop_stands_first() {
    let mut record = with(
        "dead-letter-topic-janitor",
        &[
            ("dead-letter-exception-class-name", Some(b"java.lang.Error")),
            ("dead-letter-topic", Some(b"dead-letter-topic-orders")),
            ("dead-letter-partition", Some(b"0")),
            ("dead-letter-offset", Some(b"9")),
        ],
    );
    push(&mut record.headers, HOP);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.last_hop().to_string(), "dead-letter-topic-orders-0@9");
    assert_eq!(letter.class().as_deref(), Some("java.lang.Error"));
}

#[test]
fn after_the_last_retry_there_are_only_the_headers_of_retries() {
    let mut record = with(
        "dead-letter-topic-orders",
        &[
            ("delayed-retry-exception-class-name", Some(b"com.shop.CardDeclined")),
            ("delayed-retry-reason", Some(b"again")),
            ("delayed-retry-topic", Some(b"orders_retry_2000")),
            ("delayed-retry-partition", Some(b"3")),
            ("delayed-retry-offset", Some(b"1")),
            ("delayed-retry-exception-class-name", Some(b"com.shop.CardDeclined")),
            ("delayed-retry-reason", Some(b"first")),
            ("delayed-retry-topic", Some(b"orders")),
            ("delayed-retry-partition", Some(b"3")),
            ("delayed-retry-offset", Some(b"4211")),
        ],
    );
    push(&mut record.headers, APPLICATION);
    push(
        &mut record.headers,
        &[
            ("delayed-retry-original-timestamp", Some(b"1700000000000")),
            ("delayed-retry-first-processing-timestamp", Some(b"1700000000500")),
            ("delayed-retry-count", Some(b"1")),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::SmallRyeRetry));
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.last_hop().to_string(), "orders_retry_2000-3@1");
    assert_eq!(letter.attempts(), Some(2), "the count starts at 0");
    assert_eq!(letter.message().as_deref(), Some("again"));
    assert_eq!(letter.original_timestamp_ms(), Some(1_700_000_000_000));
    assert_eq!(letter.first_failure_ms(), Some(1_700_000_000_500));
    assert!(!letter.is_pending());
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}

#[test]
fn what_waits_on_a_retry_topic_is_not_dead() {
    let record = with(
        "orders_retry_2000",
        &[
            ("delayed-retry-topic", Some(b"orders")),
            ("delayed-retry-partition", Some(b"3")),
            ("delayed-retry-offset", Some(b"4211")),
            ("delayed-retry-count", Some(b"0")),
        ],
    );
    assert_eq!(DeadLetter::of(&record).refusal(), Some(Refusal::Pending));
}

const KEY_FAILED: Lines<'static> = &[
    ("deserialization-failure-deserializer", Some(b"IntegerDeserializer")),
    ("deserialization-failure-topic", Some(b"orders")),
    ("deserialization-failure-key", Some(b"true")),
    ("deserialization-failure-reason", Some(b"Size of data received is not 4")),
    ("deserialization-failure-cause", Some(b"...")),
    ("deserialization-failure-key-data", Some(b"\xff\xff")),
    ("deserialization-failure-data", Some(b"\xff\xff")),
];

#[test]
fn a_key_that_alone_cannot_be_decoded_has_cost_the_value() {
    let mut record = with("dead-letter-topic-orders", HOP);
    push(&mut record.headers, APPLICATION);
    push(&mut record.headers, KEY_FAILED);
    (record.key, record.value) = (Some(b"\xff\xff".to_vec()), Some(b"\xff\xff".to_vec()));
    let letter = DeadLetter::of(&record);
    assert!(letter.is_undecodable());
    assert_eq!(letter.damage(), [Damage::ValueIsKey]);
    assert_eq!(letter.refusal(), Some(Refusal::Damaged(Damage::ValueIsKey)));
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}

#[test]
fn when_both_cannot_be_decoded_both_are_there() {
    let mut record = with("dead-letter-topic-orders", HOP);
    push(&mut record.headers, KEY_FAILED);
    push(
        &mut record.headers,
        &[
            ("deserialization-failure-deserializer", Some(b"IntegerDeserializer")),
            ("deserialization-failure-topic", Some(b"orders")),
            ("deserialization-failure-reason", Some(b"Size of data received is not 4")),
            ("deserialization-failure-value-data", Some(b"\xfe")),
        ],
    );
    (record.key, record.value) = (Some(b"\xff\xff".to_vec()), Some(b"\xfe".to_vec()));
    assert_eq!(DeadLetter::of(&record).damage(), []);
}
