//! arroyo (Python).

use kafka_dlq::{Damage, DeadLetter, Dialect, Refusal};

use super::with;

#[test]
fn it_names_partition_and_offset_and_the_user_names_the_topic() {
    let record = with("events-dlq", &[("original_partition", Some(b"3")), ("original_offset", Some(b"4211"))]);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::Arroyo));
    assert_eq!(letter.origin().to_string(), "?-3@4211");
    assert_eq!(letter.way_back(), Err(Refusal::NoTopic(Dialect::Arroyo)));
    assert_eq!(letter.refusal(), None);
    assert!(letter.application_headers().is_empty());
}

#[test]
fn the_oldest_hop_stands_first() {
    let record = with(
        "events-dlq",
        &[
            ("original_partition", Some(b"3")),
            ("original_offset", Some(b"4211")),
            ("original_partition", Some(b"0")),
            ("original_offset", Some(b"9")),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "?-3@4211");
    assert_eq!(letter.last_hop().to_string(), "?-0@9");
}

#[test]
fn an_empty_value_may_have_been_a_tombstone() {
    let mut record = with("events-dlq", &[("original_partition", Some(b"3")), ("original_offset", Some(b"4211"))]);
    record.value = Some(Vec::new());
    assert_eq!(DeadLetter::of(&record).refusal(), Some(Refusal::Damaged(Damage::NullMayBeEmpty)));
}
