//! The ten rules that a reader and a way back must get right, across dialects.

use kafka_dlq::{DeadLetter, Dialect, Failure, Missing, Refusal, TopicKind, dialect};

use super::{APPLICATION, Lines, headers, push, standing_in, with};

const CONNECT: Lines<'static> = &[
    ("__connect.errors.topic", Some(b"orders")),
    ("__connect.errors.partition", Some(b"3")),
    ("__connect.errors.offset", Some(b"4211")),
    ("__connect.errors.connector.name", Some(b"warehouse")),
    ("__connect.errors.exception.class.name", Some(b"DataException")),
];

fn spring(topic: &str, offset: i64) -> kafka_client::Headers {
    let mut headers = kafka_client::Headers::new();
    let failure = Failure { class: Some("CardDeclined"), group: Some("billing"), ..Failure::at(topic, 0, offset) };
    dialect::spring::write(&failure, &mut headers);
    headers
}

fn append(to: &mut kafka_client::Headers, more: &kafka_client::Headers) {
    for header in more.iter() {
        match header.value() {
            Some(value) => to.push(header.name_bytes(), value),
            None => to.push_null(header.name_bytes()),
        }
    }
}

#[test]
fn rule_1_values_are_not_paired_by_position_across_names() {
    // The second hop has no group (2.7), so the first group is not the first hop's only by luck.
    let mut record = with(
        "orders-dlt-dlt",
        &[
            ("kafka_dlt-original-topic", Some(b"orders")),
            ("kafka_dlt-original-partition", Some(&[0, 0, 0, 3])),
            ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 0, 7])),
            ("kafka_dlt-original-topic", Some(b"orders-dlt")),
            ("kafka_dlt-original-partition", Some(&[0, 0, 0, 0])),
            ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 0, 1])),
        ],
    );
    push(&mut record.headers, &[("kafka_dlt-original-consumer-group", Some(b"janitor"))]);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@7");
    assert_eq!(letter.group().as_deref(), Some("janitor"));
    assert_eq!(letter.damage(), []);
}

#[test]
fn rule_1_hops_of_which_a_part_is_missing_are_said_to_be_uneven() {
    let record = with(
        "x-dlt",
        &[
            ("kafka_dlt-original-topic", Some(b"orders")),
            ("kafka_dlt-original-topic", Some(b"orders-dlt")),
            ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 0, 7])),
        ],
    );
    assert_eq!(DeadLetter::of(&record).damage(), [kafka_dlq::Damage::UnevenHops]);
}

#[test]
fn rule_2_a_second_framework_behind_the_first_is_followed() {
    // Connect dead-lettered it, and a Spring application failed on Connect's queue.
    let mut record = with("warehouse-dlq-dlt", APPLICATION);
    push(&mut record.headers, CONNECT);
    append(&mut record.headers, &spring("warehouse-dlq", 5));
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::Spring, Dialect::Connect]);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.life(), letter.origin());
    assert_eq!(letter.last_hop().to_string(), "warehouse-dlq-0@5");
    assert_eq!(letter.class().as_deref(), Some("CardDeclined"), "of the last failure");
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}

#[test]
fn rule_2_the_order_is_told_by_the_chain_and_not_by_the_place_of_the_headers() {
    // Spring failed first; SmallRye puts its headers in front, and Connect behind.
    let mut record = with(
        "dead-letter-topic-x",
        &[
            ("dead-letter-exception-class-name", Some(b"IOException")),
            ("dead-letter-topic", Some(b"orders-dlt")),
            ("dead-letter-partition", Some(b"0")),
            ("dead-letter-offset", Some(b"1")),
        ],
    );
    append(&mut record.headers, &spring("orders", 4));
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::SmallRye, Dialect::Spring]);
    assert_eq!(letter.origin().to_string(), "orders-0@4");

    // The other way round: SmallRye failed first, and its headers stand at the same place.
    let mut record = with(
        "dead-letter-topic-orders-dlt",
        &[
            ("dead-letter-exception-class-name", Some(b"IOException")),
            ("dead-letter-topic", Some(b"orders")),
            ("dead-letter-partition", Some(b"0")),
            ("dead-letter-offset", Some(b"4")),
        ],
    );
    append(&mut record.headers, &spring("dead-letter-topic-orders", 1));
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::Spring, Dialect::SmallRye]);
    assert_eq!(letter.origin().to_string(), "orders-0@4");
}

#[test]
fn rule_2_headers_that_came_with_the_data_are_the_applications() {
    // A stream processor made an invoice of an order that had been dead-lettered once, and handed its headers on.
    let mut record = with("invoices-dlt", CONNECT);
    append(&mut record.headers, &spring("invoices", 7));
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "invoices-0@7", "an invoice must not go to orders");
    assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::Spring]);
    assert_eq!(letter.application_headers(), headers(CONNECT));

    // The same within one dialect.
    let mut record = with("invoices-dlt", &[]);
    record.headers = spring("orders", 4);
    append(&mut record.headers, &spring("invoices", 7));
    assert_eq!(DeadLetter::of(&record).origin().to_string(), "invoices-0@7");
}

#[test]
fn rule_2_a_record_that_was_sent_back_with_its_headers_lives_again() {
    let mut record = with("orders-dlt", CONNECT);
    append(&mut record.headers, &spring("orders", 9_000));
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.life().to_string(), "orders-0@9000");
}

#[test]
fn rule_3_negative_internal_and_dead_origins_are_refused_with_the_reason() {
    let at = |topic: &'static [u8], offset: &'static [u8]| {
        with(
            "dlq",
            &[
                ("__connect.errors.topic", Some(topic)),
                ("__connect.errors.partition", Some(b"0")),
                ("__connect.errors.offset", Some(offset)),
            ],
        )
    };
    let record = at(b"orders", b"-1");
    assert_eq!(DeadLetter::of(&record).way_back(), Err(Refusal::NegativeOrigin("orders-0@-1".into())));
    let record = at(b"__consumer_offsets", b"1");
    assert_eq!(DeadLetter::of(&record).way_back(), Err(Refusal::InternalTopic("__consumer_offsets")));
    let record = at(b"orders-dlt", b"1");
    assert_eq!(DeadLetter::of(&record).way_back(), Err(Refusal::DeadLetterTopic("orders-dlt")));
    let record = at(b"orders-retry-0", b"1");
    assert!(DeadLetter::of(&record).way_back().is_ok(), "its consumer handles it");
    let record = at(b"", b"1");
    assert_eq!(DeadLetter::of(&record).way_back(), Err(Refusal::NoTopic(Dialect::Connect)));
}

#[test]
fn rule_4_frameworks_go_and_the_application_stays_in_order_with_duplicates_and_nulls() {
    let mut record = with("orders-dlt", &APPLICATION[..2]);
    append(&mut record.headers, &spring("orders", 4));
    push(&mut record.headers, &[("kafka_deliveryAttempt", Some(&[0, 0, 0, 1]))]);
    push(&mut record.headers, &[("springDeserializerExceptionKey", Some(&[0xac, 0xed]))]);
    push(&mut record.headers, &APPLICATION[2..]);
    assert_eq!(DeadLetter::of(&record).application_headers(), headers(APPLICATION));
}

#[test]
fn rule_5_values_may_be_null_and_all_but_the_coordinates_are_optional() {
    let record = with(
        "orders-dlt",
        &[
            ("kafka_dlt-original-topic", Some(b"orders")),
            ("kafka_dlt-original-partition", Some(&[3])),
            ("kafka_dlt-original-offset", Some(&[0x10, 0x73])),
            ("kafka_dlt-exception-message", None),
            ("kafka_dlt-original-consumer-group", None),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!((letter.message(), letter.group()), (None, None));
}

#[test]
fn rule_7_without_headers_the_user_names_the_target() {
    let record = standing_in("some-dlq");
    let letter = DeadLetter::of(&record);
    assert_eq!((letter.way_back(), letter.refusal()), (Err(Refusal::NoDialect), None));
    assert_eq!(letter.missing().len(), 7);
}

#[test]
fn rule_8_the_original_timestamp_is_known_where_every_framework_on_the_way_kept_it() {
    let mut record = with("warehouse-dlq", CONNECT);
    record.timestamp = Some(5);
    assert_eq!(DeadLetter::of(&record).original_timestamp_ms(), Some(5));
    // Spring, behind it, wrote the record with a time of its own.
    append(&mut record.headers, &spring("warehouse-dlq", 5));
    assert_eq!(DeadLetter::of(&record).original_timestamp_ms(), None);
    assert!(DeadLetter::of(&record).missing().contains(&Missing::Timestamp));
}

#[test]
fn rule_9_the_same_record_twice_has_the_same_life() {
    let (mut one, mut other) = (standing_in("dlq"), standing_in("dlq"));
    (one.headers, other.headers) = (headers(CONNECT), headers(CONNECT));
    push(&mut other.headers, &[("__connect.errors.task.id", Some(b"1"))]);
    assert_eq!(DeadLetter::of(&one).life(), DeadLetter::of(&other).life());
    assert!(DeadLetter::of(&one).life().is_complete());
}

#[test]
fn rule_10_the_group_is_told_where_the_framework_writes_it() {
    let record = with("dlq", CONNECT);
    assert_eq!(DeadLetter::of(&record).group().as_deref(), Some("connect-warehouse"));
    for lines in [
        &[("__streams.errors.topic", Some(&b"orders"[..]))][..],
        &[("dead-letter-topic", Some(&b"orders"[..]))],
        &[("original_offset", Some(&b"1"[..]))],
    ] {
        let record = with("dlq", lines);
        let letter = DeadLetter::of(&record);
        assert!(letter.dialect().is_some() && letter.group().is_none());
    }
}

#[test]
fn topics_are_guessed_by_their_names() {
    assert_eq!(TopicKind::of("orders-dlt"), TopicKind::DeadLetters);
    assert_eq!(TopicKind::of("orders"), TopicKind::Ordinary);
}
