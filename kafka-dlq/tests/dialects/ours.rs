//! Our own dialect: written and read back.

use kafka_client::Headers;
use kafka_dlq::dialect::ours::{MAX_BYTES, write, write_within};
use kafka_dlq::{DeadLetter, Dialect, Failure, TimestampType};

use super::{APPLICATION, headers, with};

fn failure() -> Failure<'static> {
    Failure {
        timestamp_ms: Some(1_700_000_000_000),
        timestamp_type: Some(TimestampType::CreateTime),
        group: Some("billing"),
        class: Some("CardDeclined"),
        cause_class: Some("io::Error"),
        message: Some("card declined"),
        trace: Some("card declined: connection reset"),
        attempts: Some(4),
        first_failure_ms: Some(1_700_000_000_100),
        failed_at_ms: Some(1_700_000_009_000),
        reason: Some("attempts"),
        ..Failure::at("orders", 3, 4211)
    }
}

fn bytes_of_ours(headers: &Headers) -> usize {
    let ours = headers.iter().filter(|header| header.name().starts_with("dlq."));
    ours.map(|header| header.name_bytes().len() + header.value().map_or(0, <[u8]>::len)).sum()
}

#[test]
fn what_is_written_is_read_back() {
    let mut record = with("orders.dlq", APPLICATION);
    write(&failure(), &mut record.headers);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::Ours));
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.last_hop(), letter.origin());
    assert_eq!(letter.attempts(), Some(4));
    assert_eq!(letter.reason().as_deref(), Some("attempts"));
    assert_eq!(letter.group().as_deref(), Some("billing"));
    assert_eq!(letter.class().as_deref(), Some("CardDeclined"));
    assert_eq!(letter.cause_class().as_deref(), Some("io::Error"));
    assert_eq!(letter.message().as_deref(), Some("card declined"));
    assert_eq!(letter.trace().as_deref(), Some("card declined: connection reset"));
    assert_eq!(letter.original_timestamp_ms(), Some(1_700_000_000_000));
    assert_eq!(letter.original_timestamp_type(), Some(TimestampType::CreateTime));
    assert_eq!(letter.first_failure_ms(), Some(1_700_000_000_100));
    assert_eq!(letter.failed_at_ms(), Some(1_700_000_009_000));
    assert_eq!(letter.missing(), []);
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}

#[test]
fn the_bytes_are_text() {
    let mut written = Headers::new();
    write(&Failure { message: Some("boom"), ..Failure::at("orders", 3, 4211) }, &mut written);
    let expected: super::Lines<'_> = &[
        ("dlq.topic", Some(b"orders")),
        ("dlq.partition", Some(b"3")),
        ("dlq.offset", Some(b"4211")),
        ("dlq.message", Some(b"boom")),
    ];
    assert_eq!(written, headers(expected));
}

#[test]
fn a_hundred_hops_take_no_more_than_one_and_keep_the_origin() {
    let mut record = with("orders.dlq", APPLICATION);
    let long = "ü".repeat(5_000);
    let first = Failure { trace: Some(&long), message: Some(&long), ..failure() };
    write(&first, &mut record.headers);
    for hop in 0..100 {
        let next = Failure { topic: "orders.retry", partition: 0, offset: hop, ..first };
        write(&next, &mut record.headers);
        assert!(bytes_of_ours(&record.headers) <= MAX_BYTES);
    }
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.life(), letter.origin());
    assert_eq!(letter.last_hop().to_string(), "orders.retry-0@99");
    assert_eq!(letter.first_failure_ms(), Some(1_700_000_000_100));
    assert_eq!(record.headers.last("dlq.hops"), Some(Some(&b"101"[..])));
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}

#[test]
fn texts_are_cut_on_a_character_and_say_so() {
    for limit in 300..340 {
        let mut written = Headers::new();
        let trace = "aü€😀".repeat(200);
        write_within(&Failure { trace: Some(&trace), ..Failure::at("orders", 3, 4211) }, &mut written, limit);
        let cut = written.last("dlq.trace").unwrap().unwrap();
        let text = std::str::from_utf8(cut).unwrap();
        assert!(text.ends_with('…') && trace.starts_with(text.trim_end_matches('…')));
        assert!(bytes_of_ours(&written) <= limit && bytes_of_ours(&written) > limit - 8, "{limit}");
    }
}

#[test]
fn the_longest_names_of_kafka_are_within_the_limit_and_whole() {
    let (topic, last) = ("t".repeat(249), "l".repeat(249));
    let group = "g".repeat(255);
    let mut record = with("orders.dlq", &[]);
    let first = Failure { topic: &topic, group: Some(&group), offset: i64::MAX, partition: i32::MAX, ..failure() };
    write(&first, &mut record.headers);
    write(&Failure { topic: &last, ..first }, &mut record.headers);
    assert!(bytes_of_ours(&record.headers) <= MAX_BYTES);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.last_hop().topic, Some(&*last));
    assert_eq!(record.headers.last("dlq.topic"), Some(Some(topic.as_bytes())));
}

#[test]
fn a_record_that_was_sent_back_and_failed_again_lives_again() {
    let mut record = with("orders.dlq", APPLICATION);
    write(&failure(), &mut record.headers);
    write(&Failure { offset: 9_000, ..failure() }, &mut record.headers);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.life().to_string(), "orders-3@9000");
}

#[test]
fn damaged_headers_of_an_earlier_hop_are_replaced() {
    let mut record = with(
        "orders.dlq",
        &[
            ("dlq.topic", Some(b"\xff")),
            ("dlq.partition", Some(b"x")),
            ("dlq.offset", None),
            ("dlq.hops", Some(b"99999999999999999999")),
        ],
    );
    write(&failure(), &mut record.headers);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.damage(), []);
}

#[test]
fn how_often_it_was_sent_back_outlives_the_next_failure() {
    let mut record = with("orders.dlq", &[("dlq.redrives", Some(b"2"))]);
    write(&failure(), &mut record.headers);
    assert_eq!(DeadLetter::of(&record).redrives(), 2);
}
