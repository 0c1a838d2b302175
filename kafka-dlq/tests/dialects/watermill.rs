//! Watermill's poison queue.

use kafka_dlq::{Damage, DeadLetter, Dialect, Missing, Refusal};

use super::with;

#[test]
fn the_topic_and_the_reason_are_all_it_tells() {
    let record = with(
        "poison",
        &[
            ("_watermill_message_uuid", Some(b"")),
            ("handler_poisoned", Some(b"charge")),
            ("trace-id", Some(b"7")),
            ("topic_poisoned", Some(b"orders")),
            ("subscriber_poisoned", Some(b"kafka.Subscriber")),
            ("reason_poisoned", Some(b"card declined")),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::Watermill));
    assert_eq!(letter.origin().to_string(), "orders-?@?");
    assert_eq!(letter.message().as_deref(), Some("card declined"));
    assert_eq!(
        letter.missing(),
        [Missing::Partition, Missing::Offset, Missing::Timestamp, Missing::Group, Missing::Class, Missing::Attempts]
    );
    assert_eq!(letter.way_back().unwrap().topic, Some("orders"));
    assert_eq!(letter.damage(), [Damage::HeadersRearranged]);
    assert_eq!(letter.refusal(), None, "this one kept its key");
    let kept: Vec<_> = letter.application_headers().iter().map(|header| header.name().into_owned()).collect();
    assert_eq!(kept, ["trace-id"]);
}

#[test]
fn a_uuid_of_the_source_is_the_applications() {
    let record = with("poison", &[("_watermill_message_uuid", Some(b"u-1")), ("topic_poisoned", Some(b"orders"))]);
    assert_eq!(DeadLetter::of(&record).application_headers().len(), 1);
}

#[test]
fn a_lost_key_is_told_before_it_is_sent() {
    let mut record = with("poison", &[("topic_poisoned", Some(b"orders"))]);
    record.key = None;
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.refusal(), Some(Refusal::Damaged(Damage::KeyMayBeLost)));
}
