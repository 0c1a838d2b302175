//! Kafka Connect.

use kafka_dlq::{DeadLetter, Dialect, Failure, Refusal, dialect};

use super::{APPLICATION, Lines, headers, push, standing_in, with};

const HOP: Lines<'static> = &[
    ("__connect.errors.topic", Some(b"orders")),
    ("__connect.errors.partition", Some(b"3")),
    ("__connect.errors.offset", Some(b"4211")),
    ("__connect.errors.connector.name", Some(b"to-warehouse")),
    ("__connect.errors.task.id", Some(b"0")),
    ("__connect.errors.stage", Some(b"VALUE_CONVERTER")),
    ("__connect.errors.class.name", Some(b"org.apache.kafka.connect.json.JsonConverter")),
    ("__connect.errors.exception.class.name", Some(b"org.apache.kafka.connect.errors.DataException")),
    ("__connect.errors.exception.message", Some(b"Converting byte[] to Kafka Connect data failed")),
    ("__connect.errors.exception.stacktrace", Some(b"...")),
];

#[test]
fn the_group_is_the_connectors() {
    let mut record = with("warehouse-dlq", APPLICATION);
    record.timestamp = Some(1_700_000_000_000);
    push(&mut record.headers, HOP);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::Connect));
    assert_eq!(letter.group().as_deref(), Some("connect-to-warehouse"));
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.reason().as_deref(), Some("VALUE_CONVERTER"));
    assert!(letter.is_undecodable());
    assert_eq!(letter.original_timestamp_ms(), Some(1_700_000_000_000));
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}

#[test]
fn a_failed_transformation_is_not_a_failed_decoding() {
    let mut record = with("warehouse-dlq", &HOP[..5]);
    push(&mut record.headers, &[("__connect.errors.stage", Some(b"TRANSFORMATION"))]);
    assert!(!DeadLetter::of(&record).is_undecodable());
}

#[test]
fn without_context_headers_nothing_can_be_told() {
    let record = standing_in("warehouse-dlq");
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), None);
    assert_eq!(letter.way_back(), Err(Refusal::NoDialect));
    assert_eq!(letter.refusal(), None, "it may be sent to a target that is named");
}

#[test]
fn several_connectors_hops_are_appended() {
    let mut record = with("second-dlq", HOP);
    push(
        &mut record.headers,
        &[
            ("__connect.errors.topic", Some(b"warehouse-dlq")),
            ("__connect.errors.partition", Some(b"0")),
            ("__connect.errors.offset", Some(b"1")),
            ("__connect.errors.connector.name", Some(b"janitor")),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.last_hop().to_string(), "warehouse-dlq-0@1");
    assert_eq!(letter.group().as_deref(), Some("connect-janitor"));
}

#[test]
fn what_we_write_in_it_is_read_back() {
    let failure = Failure {
        group: Some("connect-to-warehouse"),
        class: Some("DataException"),
        reason: Some("VALUE_CONVERTER"),
        ..Failure::at("orders", 3, 4211)
    };
    let mut record = with("warehouse-dlq", APPLICATION);
    dialect::connect::write(&failure, &mut record.headers);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.group().as_deref(), Some("connect-to-warehouse"));
    assert_eq!(letter.class().as_deref(), Some("DataException"));
    assert_eq!(letter.message(), None);
    assert_eq!(record.headers.last("__connect.errors.exception.message"), Some(None), "null, as Connect writes it");
}
