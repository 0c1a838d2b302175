//! The other ways to read: typed batches, raw batches, and a stream whose records are acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use kafka_client::{
    Acknowledgeable, Bytes, Completion, Error, ErrorKind, Headers, Optional, RawBatch, RawRecord, Received,
    RecordStream, Topic,
};
use tests::harness::oracle::{Isolation, Stored};
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given::{self, Lines};
use crate::group::{Door, Member, SOON, Taken, commits, committed, fill, quick};

#[tokio::test]
async fn a_batch_holds_the_records_of_one_partition_in_order_up_to_its_size() {
    let (topic, group) = (given::topic("orders", 3), unique("billing"));
    for partition in 0..3 {
        fill(&topic, partition, 50);
    }
    let batches = Taken::new();
    let at = batches.clone();
    let handler = move |batch: Vec<Received<String, String>>| {
        at.push(batch.iter().map(|record| (record.partition(), record.offset())).collect::<Vec<_>>());
        async { Ok::<_, Error>(()) }
    };
    let member = Member::start(quick(&given::kafka(), &group).max_batch_records(7).route_batch(&topic, handler));
    commits(&group, &topic, &[(0, 50), (1, 50), (2, 50)]).await;
    assert_eq!(member.stop().await.handled, 150);
    let batches = batches.take();
    assert!(batches.iter().all(|batch| (1..=7).contains(&batch.len()) && batch.iter().all(|at| at.0 == batch[0].0)));
    assert!(batches.iter().any(|batch| batch.len() == 7), "records are batched at all");
    let mut by_partition: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for (partition, offset) in batches.concat() {
        by_partition.entry(partition).or_default().push(offset);
    }
    let all: Vec<i64> = (0..50).collect();
    assert_eq!(by_partition, (0..3).map(|partition| (partition, all.clone())).collect());
}

#[tokio::test]
async fn a_batch_is_finished_as_a_whole_and_in_any_order() {
    let (topic, group, door) = (given::topic("orders", 1), unique("billing"), Door::closed());
    fill(&topic, 0, 20);
    let (firsts, pass) = (Taken::new(), door.clone());
    let at = firsts.clone();
    // The later the batch, the earlier it is finished.
    let handler = move |batch: Vec<Received<String, String>>| {
        at.push(batch[0].offset());
        let passed = pass.pass(-batch[0].offset() + 100);
        async { Ok::<_, Error>(Completion::later(passed)) }
    };
    let member = Member::start(quick(&given::kafka(), &group).max_batch_records(5).route_batch(&topic, handler));
    eventually("all batches are begun", SOON, async || firsts.all().last() >= Some(&15)).await;
    door.open_to(100);
    // All but the first one are finished. (What is finished rides on the offset where nothing is.)
    commits(&group, &topic, &[(0, 0)]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(committed(&group, &topic), [(0, 0)].into());
    door.open();
    commits(&group, &topic, &[(0, 20)]).await;
    member.stop().await;
}

/// Key, value and headers.
type Kind = (Option<Vec<u8>>, Option<Vec<u8>>, Headers);

/// Records with every kind of null, and headers of every kind.
fn kinds() -> Vec<Kind> {
    let mut headers = Headers::new();
    headers.push("trace", "1");
    headers.push("trace", [0xff, 0x00, 0xfe]);
    headers.push_null("reviewed");
    headers.push("empty", "");
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    vec![
        (some(b"k"), some(b"v"), Headers::new()),
        (None, some(b"v"), headers.clone()),
        (some(b"k"), None, headers.clone()),
        (None, None, headers),
        (some(b""), some(b""), Headers::new()),
        (some(&[0xff; 300]), some(&(0..=255).cycle().take(100_000).collect::<Vec<u8>>()), Headers::new()),
    ]
}

async fn write_kinds(topic: &Lines) -> Vec<Stored> {
    let producer = given::built(given::kafka().producer());
    for (key, value, headers) in kinds() {
        let mut record = RawRecord::new(topic.name(), key, value);
        record.headers = headers;
        producer.send(&record).await.unwrap();
    }
    oracle::read_all(Cluster::shared().bootstrap(), topic.name(), Isolation::ReadUncommitted)
}

fn owned(headers: &Headers) -> Vec<(String, Option<Vec<u8>>)> {
    headers.iter().map(|header| (header.name().into_owned(), header.value().map(Vec::from))).collect()
}

#[tokio::test]
async fn raw_records_are_what_the_log_holds_bit_for_bit() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    let log = write_kinds(&topic).await;
    let seen = Taken::new();
    let at = seen.clone();
    let name = topic.name().to_owned();
    let handler = move |batch: RawBatch| {
        assert_eq!((batch.topic(), batch.is_empty()), (name.as_str(), false));
        assert!(batch.get(batch.len()).is_none());
        for record in batch.iter() {
            at.push(Stored {
                partition: batch.partition(),
                offset: record.offset(),
                key: record.key().map(Vec::from),
                value: record.value().map(Vec::from),
                // Asked twice: they are parsed on first use.
                headers: owned(&record.headers()).into_iter().filter(|_| record.headers().len() < 5).collect(),
                timestamp: record.timestamp_ms(),
            });
        }
        async { Ok::<_, Error>(()) }
    };
    let member = Member::start(quick(&given::kafka(), &group).route_raw(topic.name(), handler));
    commits(&group, &topic, &[(0, log.len() as i64)]).await;
    assert_eq!(member.stop().await.handled, log.len() as u64);
    assert_eq!(seen.all(), log);
}

#[tokio::test]
async fn typed_records_show_what_the_log_holds_bit_for_bit() {
    let (lines, group) = (given::topic("orders", 1), unique("billing"));
    let log = write_kinds(&lines).await;
    let topic = Topic::new(lines.name(), Optional::new(Bytes), Optional::new(Bytes));
    let seen = Taken::new();
    let at = seen.clone();
    let handler = move |record: Received<Option<Vec<u8>>, Option<Vec<u8>>>| {
        assert_eq!(record.key_bytes(), record.key().as_deref());
        assert_eq!(record.headers().len(), owned(&record.headers().to_owned()).len());
        at.push(Stored {
            partition: record.partition(),
            offset: record.offset(),
            headers: owned(&record.headers().to_owned()),
            timestamp: record.timestamp_ms(),
            key: record.key_bytes().map(Vec::from),
            value: record.into_value(),
        });
        async { Ok::<_, Error>(()) }
    };
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    commits(&group, &lines, &[(0, log.len() as i64)]).await;
    member.stop().await;
    assert_eq!(seen.all(), log);
}

#[tokio::test]
async fn a_raw_batch_that_finishes_later_is_committed_later() {
    let (topic, group, door) = (given::topic("orders", 1), unique("billing"), Door::closed());
    fill(&topic, 0, 10);
    let begun = Taken::new();
    let (at, pass) = (begun.clone(), door.clone());
    let handler = move |batch: RawBatch| {
        at.push(batch.iter().map(|record| record.offset()).collect::<Vec<_>>());
        let passed = pass.pass(0);
        async { Ok::<_, Error>(Completion::later(passed)) }
    };
    let member = Member::start(quick(&given::kafka(), &group).max_batch_records(4).route_raw(topic.name(), handler));
    eventually("it is begun", SOON, async || begun.len() > 0).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(committed(&group, &topic), [].into());
    door.open();
    commits(&group, &topic, &[(0, 10)]).await;
    assert_eq!(member.stop().await.handled, 10);
    assert_eq!(begun.take().concat(), (0..10).collect::<Vec<_>>());
}

type Record = Acknowledgeable<String, String>;

async fn next(stream: &mut RecordStream<String, String>) -> Record {
    let next = tokio::time::timeout(SOON, stream.next()).await.expect("a record in time");
    next.expect("the stream goes on").unwrap_or_else(|e| panic!("{e}"))
}

#[tokio::test]
async fn what_is_acknowledged_is_committed_up_to_the_first_record_that_is_not() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 10);
    let mut stream = quick(&given::kafka(), &group).stream(&topic).unwrap();
    let mut held = Vec::new();
    for offset in 0..10 {
        let record = next(&mut stream).await;
        assert_eq!((record.offset(), record.value().as_str()), (offset, offset.to_string().as_str()));
        held.push(record);
    }
    // 9 first, then 0, 1, 2.
    assert_eq!(held.pop().unwrap().into_acked().value(), "9");
    for record in held.drain(..3) {
        record.ack();
    }
    commits(&group, &topic, &[(0, 3)]).await;
    // Dropped, not acknowledged: nothing after it is committed any more.
    drop(held.remove(0));
    for record in held {
        record.ack();
    }
    let report = stream.close().await.unwrap();
    assert_eq!((report.handled, report.unfinished, report.left_group), (9, 1, true));
    assert_eq!(committed(&group, &topic), [(0, 3)].into());

    // After a restart it is read again, and nothing else that was there.
    fill(&topic, 0, 1);
    let mut stream = quick(&given::kafka(), &group).stream(&topic).unwrap();
    for offset in [3, 10] {
        let record = next(&mut stream).await;
        assert_eq!(record.offset(), offset);
        record.ack();
    }
    stream.close().await.unwrap();
    assert_eq!(committed(&group, &topic), [(0, 11)].into());
}

#[tokio::test]
async fn closing_waits_for_what_is_held_and_not_for_what_was_never_taken() {
    let (topic, group) = (given::topic("orders", 2), unique("billing"));
    for partition in [0, 1] {
        fill(&topic, partition, 1_000);
    }
    let mut stream = quick(&given::kafka(), &group).stream(&topic).unwrap();
    let held = next(&mut stream).await;
    let at = held.partition();
    let closing = tokio::spawn(stream.close());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!closing.is_finished(), "somebody still works on a record");
    held.ack();
    let report = tokio::time::timeout(SOON, closing).await.expect("it ends").unwrap().unwrap();
    assert_eq!((report.handled, report.unfinished), (1, 0));
    assert_eq!(committed(&group, &topic), [(at, 1)].into());
}

#[tokio::test]
async fn a_stream_that_nobody_polls_does_not_hold_up_a_rebalance() {
    let (topic, group) = (given::topic("orders", 2), unique("billing"));
    for partition in [0, 1] {
        fill(&topic, partition, 1_000);
    }
    let mut idle = quick(&given::kafka(), &group).stream(&topic).unwrap();
    next(&mut idle).await.ack();
    // Hundreds of records wait in it to be taken. Another member does not wait for them.
    let handled = Taken::new();
    let at = handled.clone();
    let handler = move |record: Received<String, String>| {
        at.push(record.partition());
        async { Ok::<_, Error>(()) }
    };
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    let soon = Duration::from_secs(10);
    eventually("the other member handles its partition", soon, async || handled.len() >= 999).await;
    // What waited in the idle one is of an earlier life: it is not handed out as if nothing had happened.
    let moved = handled.all()[0];
    for _ in 0..999 {
        let record = next(&mut idle).await;
        assert_ne!(record.partition(), moved);
        record.ack();
    }
    idle.close().await.unwrap();
    member.stop().await;
    let committed = committed(&group, &topic);
    assert_eq!(committed[&moved], 1_000);
    assert!(committed[&(1 - moved)] >= 999, "{committed:?}");
}

#[tokio::test]
async fn a_stream_that_is_dropped_ends_in_good_order_behind_the_scenes() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 10);
    let mut stream = quick(&given::kafka(), &group).commit_interval(Duration::from_secs(600)).stream(&topic).unwrap();
    for _ in 0..4 {
        next(&mut stream).await.ack();
    }
    drop(stream);
    commits(&group, &topic, &[(0, 4)]).await;
}

#[tokio::test]
async fn a_stream_is_the_only_reader() {
    let topic = given::topic("orders", 1);
    let builder = given::kafka().consumer("billing").route_raw("other", async |_: RawBatch| Ok::<_, Error>(()));
    let error = builder.stream(&topic).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`stream` contradicts `route(other)`"), "{error}");
}
