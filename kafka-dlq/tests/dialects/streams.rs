//! Kafka Streams.

use kafka_dlq::{DeadLetter, Dialect, Missing, Refusal};

use super::{APPLICATION, Lines, headers, push, with};

const HOP: Lines<'static> = &[
    ("__streams.errors.exception", Some(b"java.lang.ArithmeticException")),
    ("__streams.errors.message", None),
    ("__streams.errors.stacktrace", Some(b"java.lang.ArithmeticException\n\tat x")),
    ("__streams.errors.topic", Some(b"orders")),
    ("__streams.errors.partition", Some(b"3")),
    ("__streams.errors.offset", Some(b"4211")),
];

#[test]
fn the_origin_is_text_and_the_message_may_be_null() {
    let mut record = with("orders-streams-dlq", APPLICATION);
    record.timestamp = Some(1_700_000_000_000);
    push(&mut record.headers, HOP);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::Streams));
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.class().as_deref(), Some("java.lang.ArithmeticException"));
    assert_eq!(letter.message(), None);
    assert_eq!(letter.original_timestamp_ms(), Some(1_700_000_000_000), "the record's own is the original");
    assert_eq!(letter.missing(), [Missing::Group, Missing::Attempts]);
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}

#[test]
fn a_punctuator_has_no_record_to_send_back() {
    let record = with(
        "dlq",
        &[
            ("__streams.errors.exception", Some(b"java.lang.RuntimeException")),
            ("__streams.errors.topic", None),
            ("__streams.errors.partition", Some(b"-1")),
            ("__streams.errors.offset", Some(b"-1")),
        ],
    );
    assert_eq!(DeadLetter::of(&record).way_back(), Err(Refusal::NoRecord));
}

#[test]
fn an_internal_topic_is_no_way_back() {
    let record = with(
        "dlq",
        &[
            ("__streams.errors.topic", Some(b"app-KSTREAM-AGGREGATE-0003-repartition")),
            ("__streams.errors.partition", Some(b"0")),
            ("__streams.errors.offset", Some(b"1")),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.way_back(), Err(Refusal::InternalTopic("app-KSTREAM-AGGREGATE-0003-repartition")));
}

#[test]
fn a_second_hop_appends() {
    let mut record = with("dlq-dlq", HOP);
    push(
        &mut record.headers,
        &[
            ("__streams.errors.exception", Some(b"java.lang.Error")),
            ("__streams.errors.message", Some(b"again")),
            ("__streams.errors.topic", Some(b"dlq")),
            ("__streams.errors.partition", Some(b"0")),
            ("__streams.errors.offset", Some(b"7")),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.last_hop().to_string(), "dlq-0@7");
    assert_eq!(letter.class().as_deref(), Some("java.lang.Error"));
}
