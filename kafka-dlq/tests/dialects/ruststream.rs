//! ruststream.

use kafka_dlq::{DeadLetter, Dialect, Refusal};

use super::with;

#[test]
fn it_counts_failures_and_tells_no_origin() {
    let record = with("orders-dlq", &[("x-ruststream-retry-count", Some(b"3")), ("trace-id", Some(b"7"))]);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::Ruststream));
    assert_eq!(letter.attempts(), Some(3));
    assert_eq!(letter.origin().to_string(), "?-?@?");
    assert_eq!(letter.way_back(), Err(Refusal::NoTopic(Dialect::Ruststream)));
    assert_eq!(letter.application_headers().len(), 1);
}

#[test]
fn a_copy_in_the_source_topic_waits_for_another_attempt() {
    let record = with("orders", &[("x-ruststream-retry-count", Some(b"1"))]);
    assert_eq!(DeadLetter::of(&record).refusal(), Some(Refusal::Pending));
}
