//! What it costs to look for a dead letter in a record with ten headers: in one that is none, and in one that is; and what
//! it would cost to put the headers into a map first.

use std::collections::HashMap;
use std::hint::black_box;

use kafka_client::RawRecord;
use kafka_dlq::{DeadLetter, Failure, RecordView, dialect};

use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;

/// Ten headers of an application.
fn plain() -> RawRecord {
    let mut record = RawRecord::new("orders", Some(b"o-1".to_vec()), Some(b"{}".to_vec()));
    for name in
        ["traceparent", "tracestate", "content-type", "source", "kind", "tenant", "user", "xid", "original", "tag"]
    {
        record.headers.push(name, "some value of a usual length");
    }
    record
}

/// Ten headers, of which most are Spring's.
fn dead() -> RawRecord {
    let mut record = RawRecord::new("orders-dlt", Some(b"o-1".to_vec()), Some(b"{}".to_vec()));
    record.headers.push("traceparent", "some value of a usual length");
    let failure = Failure {
        timestamp_ms: Some(1_700_000_000_000),
        group: Some("billing"),
        class: Some("org.springframework.kafka.listener.ListenerExecutionFailedException"),
        cause_class: Some("com.shop.CardDeclined"),
        message: Some("Listener failed; card declined"),
        trace: Some("a stack trace"),
        ..Failure::at("orders", 3, 4211)
    };
    dialect::spring::write(&failure, &mut record.headers);
    record
}

pub(crate) fn undecided(load: &Load) -> Outcome<Sample> {
    let record = plain();
    let window = Window::open();
    let mut found = 0;
    for _ in 0..load.messages {
        let letter = DeadLetter::of(black_box(&record));
        found += u64::from(letter.dialect().is_some());
    }
    let used = window.close();
    match (found, used.allocations) {
        (0, 0) => Ok(Sample::nanoseconds(load.messages, used)),
        (found, allocations) => Err(format!("{found} dialects and {allocations} allocations, not none").into()),
    }
}

pub(crate) fn dead_letter(load: &Load) -> Outcome<Sample> {
    let record = dead();
    assert_eq!(record.headers.len(), 10);
    let window = Window::open();
    let mut sum = 0;
    for _ in 0..load.messages {
        let letter = DeadLetter::of(black_box(&record));
        let class = letter.class().map_or(0, |class| class.len());
        sum += letter.origin().offset.unwrap_or(0) + class as i64 + i64::from(letter.attempts().unwrap_or(0));
    }
    let used = window.close();
    match sum == load.messages as i64 * (4211 + "com.shop.CardDeclined".len() as i64) {
        true => Ok(Sample::nanoseconds(load.messages, used)),
        false => Err("the dead letter was not read".into()),
    }
}

pub(crate) fn map_undecided(load: &Load) -> Outcome<Sample> {
    by_map(load, &plain())
}

pub(crate) fn map_dead_letter(load: &Load) -> Outcome<Sample> {
    by_map(load, &dead())
}

/// What many write: a map of the headers, and questions to it.
fn by_map(load: &Load, record: &RawRecord) -> Outcome<Sample> {
    const ASKED: [&str; 6] = [
        "kafka_dlt-original-topic",
        "kafka_dlt-original-offset",
        "kafka_dlt-exception-cause-fqcn",
        "__connect.errors.topic",
        "__streams.errors.topic",
        "dead-letter-topic",
    ];
    let window = Window::open();
    let mut found = 0;
    for _ in 0..load.messages {
        let view = RecordView::from(black_box(record));
        let mut map: HashMap<String, Vec<u8>> = HashMap::new();
        view.headers.for_each(|name, value| {
            map.insert(String::from_utf8_lossy(name).into_owned(), value.unwrap_or_default().to_vec());
        });
        found += ASKED.iter().filter(|name| black_box(&map).contains_key(**name)).count();
    }
    black_box(found);
    Ok(Sample::nanoseconds(load.messages, window.close()))
}
