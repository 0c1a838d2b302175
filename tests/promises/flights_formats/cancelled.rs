//! A flight that is cancelled, as a table of flights has it: first an event in which departure, delay and time in the air
//! are null, then a tombstone, with which its key is gone.

use std::collections::BTreeMap;

use kafka_client::serde::{Avro, Deserializer, Part, Source, Stop};
use kafka_client::{Error, FailedRecord, Optional, Received, Topic, TopicSpec, Utf8};
use serde_json::Value;
use tests::harness::oracle::{Isolation, read_all};
use tests::harness::{Cluster, eventually, unique};

use super::{CANCELLED, Event, FLIGHTS, Line, PATIENCE, avro, lines, named, real};
use crate::given::{self, kafka};
use crate::group::{Member, Taken, quick};

/// Each flight of the file has one of its own.
fn key(line: &Line) -> String {
    format!("{} {}{} {}", line.time_hour, line.carrier, line.flight, line.origin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_flight_is_an_event_of_nulls_and_then_a_tombstone() {
    let registry = real().await;
    let format = avro(&registry).await;
    let name = unique("flights-cancelled");
    // Kafka compacts what is behind the segment that is written to, and these are too few for a second one: all are counted.
    let compacted = TopicSpec::new(&name, 4).config("cleanup.policy", "compact");
    kafka().ensure_topics(&[compacted]).await.unwrap();

    let (mut written, mut expected) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
    for line in lines() {
        let (key, is_cancelled) = (key(&line), line.dep_time.is_none());
        assert!(!is_cancelled || (line.dep_delay, line.air_time) == (None, None), "{line:?}");
        written.push((key.clone(), Some(named::Two::of(&line))));
        let of_key = expected.entry(key.clone()).or_default();
        of_key.push(Some(line));
        if is_cancelled {
            written.push((key, None));
            of_key.push(None);
        }
    }
    assert_eq!((expected.len(), written.len()), (FLIGHTS, FLIGHTS + CANCELLED));
    let flights = Topic::new(name.as_str(), Utf8, Optional::new(format.two));
    let producer = given::built(kafka().producer());
    let records = written.iter().map(|(key, event)| flights.record(key.as_str(), event));
    assert_eq!(producer.send_batch(records).await.unwrap(), FLIGHTS + CANCELLED);

    // Whoever knows of tombstones reads both, here with the older version of the schema; for the others they are failed records.
    let (table, told) = (Topic::new(name.as_str(), Utf8, Optional::new(format.one.clone())), Taken::new());
    let book = told.clone();
    let knowing =
        quick(&kafka(), &unique("table")).route(&table, move |event: Received<String, Option<named::One>>| {
            let (key, event) = event.into_parts();
            book.push((key, event.map(Event::line)));
            async { Ok::<_, Error>(()) }
        });
    let (events, seen, refused) = (Topic::new(name.as_str(), Utf8, format.one), Taken::new(), Taken::new());
    let (book, failures) = (seen.clone(), refused.clone());
    let unaware = quick(&kafka(), &unique("unaware"))
        .route(&events, move |event: Received<String, named::One>| {
            book.push(key(&event.into_parts().1.line()));
            async { Ok::<_, Error>(()) }
        })
        .on_failed_record(move |failed: FailedRecord| {
            let key = String::from_utf8(failed.key_bytes().unwrap().to_vec()).unwrap();
            let why = std::error::Error::source(failed.error()).unwrap().to_string();
            failures.push((key, failed.value_bytes().is_none(), why));
            async { Ok::<_, Error>(()) }
        });
    let (knowing, unaware) = (Member::start(knowing), Member::start(unaware));
    eventually("all are read", PATIENCE, async || {
        told.len() == FLIGHTS + CANCELLED && seen.len() + refused.len() == FLIGHTS + CANCELLED
    })
    .await;
    knowing.stop().await;
    unaware.stop().await;

    let mut read = BTreeMap::<_, Vec<_>>::new();
    for (key, event) in told.take() {
        read.entry(key).or_default().push(event);
    }
    assert_eq!(read, expected);
    // What a table keeps of it: the last of each key.
    let flown = read.values().filter(|of_key| of_key.last().is_some_and(Option::is_some)).count();
    assert_eq!(flown, FLIGHTS - CANCELLED);

    let mut seen = seen.take();
    seen.sort_unstable();
    assert!(seen.iter().eq(expected.keys()), "each event once, those of cancelled flights too");
    let mut tombstones = Vec::new();
    for (key, was_null, why) in refused.take() {
        assert!(was_null && why.contains("null where Avro is expected"), "{key}: {why}");
        tombstones.push(key);
    }
    tombstones.sort_unstable();
    let cancelled = Vec::from_iter(expected.iter().filter(|(_, of_key)| of_key.len() == 2).map(|(key, _)| key));
    assert!(tombstones.iter().eq(cancelled));

    // And in the log itself, read without our types.
    let any = Avro::<Value>::from_registry(&registry);
    let (mut nulls, mut tombstones) = (0, 0);
    for stored in read_all(Cluster::shared().bootstrap(), &name, Isolation::ReadUncommitted) {
        let Some(bytes) = stored.value else {
            tombstones += 1;
            continue;
        };
        let from = Source::new(&name, Part::Value);
        let event = loop {
            match any.deserialize(Some(&bytes), &from) {
                Ok(event) => break event,
                Err(Stop::Miss(miss)) => miss.resolve().await.unwrap(),
                Err(Stop::Error(error)) => panic!("{error}"),
            }
        };
        nulls += usize::from(event["dep_time"].is_null() && event["dep_delay"].is_null());
    }
    assert_eq!((nulls, tombstones), (CANCELLED, CANCELLED));
}
