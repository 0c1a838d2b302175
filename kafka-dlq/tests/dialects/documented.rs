//! Dialects that are read by their documents: share groups, Silverback, Wolverine, Karafka.

use kafka_dlq::{DeadLetter, Dialect};

use super::{APPLICATION, Lines, headers, push, with};

fn assert_read(dialect: Dialect, lines: Lines<'_>, attempts: Option<u32>, group: Option<&str>) {
    let mut record = with("orders-dlq", APPLICATION);
    push(&mut record.headers, lines);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialects().collect::<Vec<_>>(), [dialect]);
    assert_eq!(letter.origin().to_string(), "orders-3@4211", "{dialect}");
    assert_eq!(letter.attempts(), attempts, "{dialect}");
    assert_eq!(letter.group().as_deref(), group, "{dialect}");
    assert_eq!(letter.message().as_deref(), Some("card declined"), "{dialect}");
    assert_eq!(letter.application_headers(), headers(APPLICATION), "{dialect}");
    assert_eq!(letter.way_back(), Ok(letter.origin()), "{dialect}");
}

#[test]
fn share_groups() {
    let lines: Lines<'_> = &[
        ("__dlq.errors.topic", Some(b"orders")),
        ("__dlq.errors.partition", Some(b"3")),
        ("__dlq.errors.offset", Some(b"4211")),
        ("__dlq.errors.group", Some(b"billing")),
        ("__dlq.errors.message", Some(b"card declined")),
        ("__dlq.errors.delivery.count", Some(b"5")),
    ];
    assert_read(Dialect::ShareGroup, lines, Some(5), Some("billing"));
}

#[test]
fn silverback() {
    let lines: Lines<'_> = &[
        ("x-source-topic", Some(b"orders")),
        ("x-source-partition", Some(b"3")),
        ("x-source-offset", Some(b"4211")),
        ("x-source-timestamp", Some(b"2026-01-01T00:00:00Z")),
        ("x-source-consumer-group-id", Some(b"billing")),
        ("x-failure-reason", Some(b"card declined")),
        ("x-failed-attempts", Some(b"5")),
    ];
    assert_read(Dialect::Silverback, lines, Some(5), Some("billing"));
}

#[test]
fn wolverine() {
    let lines: Lines<'_> = &[
        ("original-destination", Some(b"kafka://topic/orders")),
        ("original-partition", Some(b"3")),
        ("original-offset", Some(b"4211")),
        ("exception-type", Some(b"Shop.CardDeclined")),
        ("exception-message", Some(b"card declined")),
        ("exception-stack", Some(b"at x")),
        ("attempts", Some(b"5")),
        ("failed-at", Some(b"1700000000000")),
    ];
    assert_read(Dialect::Wolverine, lines, Some(5), None);
    let record = with("orders-dlq", lines);
    assert_eq!(DeadLetter::of(&record).failed_at_ms(), Some(1_700_000_000_000));
}

#[test]
fn karafka_in_both_versions() {
    for [topic, partition, offset, group] in [
        ["original_topic", "original_partition", "original_offset", "original_consumer_group"],
        ["source_topic", "source_partition", "source_offset", "source_consumer_group"],
    ] {
        let record = with(
            "dlq",
            &[(topic, Some(b"orders")), (partition, Some(b"3")), (offset, Some(b"4211")), (group, Some(b"billing"))],
        );
        let letter = DeadLetter::of(&record);
        assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::Karafka]);
        assert_eq!(letter.origin().to_string(), "orders-3@4211");
        assert_eq!(letter.group().as_deref(), Some("billing"));
        assert!(letter.application_headers().is_empty());
    }
}

#[test]
fn words_that_anybody_may_use_are_no_dialect() {
    let record = with(
        "orders",
        &[
            ("attempts", Some(b"5")),
            ("failed-at", Some(b"1")),
            ("source_topic", Some(b"orders")),
            ("exception-message", Some(b"x")),
        ],
    );
    assert_eq!(DeadLetter::of(&record).dialect(), None);
}
