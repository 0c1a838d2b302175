//! Records by the batch, as raw bytes or as a stream: all of them, in order, and finished as one says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt;
use kafka_client::{
    Acknowledgeable, Bytes, Completion, Error, ErrorKind, Headers, Optional, RawBatch, RawRecord, Received,
    RecordStream, Topic,
};
use parking_lot::Mutex;
use tests::harness::oracle::Stored;
use tests::harness::{eventually, unique};

use crate::given::{self, Lines};
use crate::group::{Account, Door, Member, SOON, commits, committed, fill, quick};

/// The partition and the offsets of a batch.
type Batch = (i32, Vec<i64>);

/// Batches in the order in which they came.
#[derive(Clone, Default)]
struct Batches(Arc<Mutex<Vec<Batch>>>);

impl Batches {
    fn add(&self, batch: &[Received<String, String>]) {
        for record in batch {
            assert_eq!((record.topic(), record.partition()), (batch[0].topic(), batch[0].partition()), "one partition");
            assert_eq!(*record.value(), record.offset().to_string());
        }
        self.0.lock().push((batch[0].partition(), batch.iter().map(Received::offset).collect()));
    }

    fn all(&self) -> Vec<Batch> {
        self.0.lock().clone()
    }

    /// The offsets of a partition.
    fn offsets(&self, partition: i32) -> Vec<i64> {
        self.all().into_iter().filter(|(of, _)| *of == partition).flat_map(|(_, offsets)| offsets).collect()
    }

    fn records(&self) -> usize {
        self.0.lock().iter().map(|(_, offsets)| offsets.len()).sum()
    }
}

#[tokio::test]
async fn batches_hold_every_record_once_and_in_order() {
    const RECORDS: i64 = 3_000;
    let (topic, group, batches) = (given::topic("orders", 2), unique("billing"), Batches::default());
    fill(&topic, 0, RECORDS as usize);
    fill(&topic, 1, 10);
    let handler = {
        let batches = batches.clone();
        move |batch: Vec<Received<String, String>>| {
            batches.add(&batch);
            async { Ok::<_, Error>(()) }
        }
    };
    let member = Member::start(quick(&given::kafka(), &group).max_batch_records(64).route_batch(&topic, handler));
    commits(&group, &topic, &[(0, RECORDS), (1, 10)]).await;
    let report = member.stop().await;
    assert_eq!((report.handled, report.unfinished), (RECORDS as u64 + 10, 0));
    assert_eq!(batches.offsets(0), (0..RECORDS).collect::<Vec<_>>());
    assert_eq!(batches.offsets(1), (0..10).collect::<Vec<_>>());
    let sizes: Vec<_> = batches.all().into_iter().map(|(_, offsets)| offsets.len()).collect();
    assert!(sizes.iter().all(|size| (1..=64).contains(size)), "{sizes:?}");
    // A backlog comes in full batches: only where a fetch ends may one be smaller.
    assert!(sizes.len() < 200, "{} batches", sizes.len());
}

#[tokio::test]
async fn a_batch_is_finished_as_a_whole() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 30);
    let (batches, door) = (Batches::default(), Door::closed());
    let handler = {
        let (batches, door) = (batches.clone(), door.clone());
        move |batch: Vec<Received<String, String>>| {
            batches.add(&batch);
            // The work on a batch ends with its last record.
            let pass = door.pass(batch.last().unwrap().offset());
            let work = async {
                pass.await;
                Ok::<_, Error>(())
            };
            async { Ok::<_, Error>(Completion::later(work)) }
        }
    };
    let member = Member::start(quick(&given::kafka(), &group).max_batch_records(10).route_batch(&topic, handler));
    eventually("all are begun", SOON, async || batches.records() == 30).await;
    let (_, first) = batches.all().remove(0);
    let ends: Vec<i64> = batches.all().iter().map(|(_, offsets)| offsets.last().unwrap() + 1).collect();
    assert!(ends.len() >= 3);

    door.open_to(first.len() as i64);
    commits(&group, &topic, &[(0, ends[0])]).await;
    // All of the second batch but its last record: the work on it has not ended.
    door.open_to(ends[1] - 1);
    fill(&topic, 0, 1);
    eventually("one more is begun", SOON, async || batches.records() == 31).await;
    assert_eq!(committed(&group, &topic), [(0, ends[0])].into());
    door.open_to(ends[1]);
    commits(&group, &topic, &[(0, ends[1])]).await;
    door.open();
    commits(&group, &topic, &[(0, 31)]).await;
    member.stop().await;
}

/// Records of every shape that Kafka knows.
fn shapes(topic: &Lines) -> Vec<RawRecord> {
    let bytes = [None, Some(vec![]), Some(vec![0]), Some(b"text".to_vec()), Some((0..=255).collect::<Vec<u8>>())];
    let mut records = Vec::new();
    for (at, key) in bytes.iter().enumerate() {
        for value in &bytes {
            let mut record = RawRecord::new(topic.name(), key.clone(), value.clone());
            record.partition = Some(at as i32 % 2);
            record.timestamp = Some(given::yesterday() + records.len() as i64);
            records.push(record);
        }
    }
    for (record, attempts) in records.iter_mut().zip([1, 2, 3].into_iter().cycle()) {
        for attempt in 0..attempts {
            // The same name again, the second time with the same value.
            record.headers.push("attempt", (attempt / 2).to_string());
        }
        record.headers.push_null("reviewed");
        record.headers.push("empty", "");
        record.headers.push("bytes", [0, 0xff, 10]);
        record.headers.push("", "no name");
        record.headers.push("größe", "5 m²");
    }
    // And one without any.
    records[0].headers = Headers::new();
    records
}

/// What was sent, as the log should have it: in order within each partition.
fn as_stored(records: &[RawRecord]) -> Vec<Stored> {
    let mut stored = Vec::new();
    for partition in [0, 1] {
        for (offset, record) in (0..).zip(records.iter().filter(|record| record.partition == Some(partition))) {
            stored.push(Stored {
                partition,
                offset,
                key: record.key.clone(),
                value: record.value.clone(),
                headers: names_and_values(&record.headers),
                timestamp: record.timestamp,
            });
        }
    }
    stored
}

fn names_and_values(headers: &Headers) -> Vec<(String, Option<Vec<u8>>)> {
    headers.iter().map(|header| (header.name().into_owned(), header.value().map(Vec::from))).collect()
}

#[derive(Clone, Default)]
struct Read(Arc<Mutex<Vec<Stored>>>);

impl Read {
    /// Waits for all of them, and returns them as the oracle does.
    async fn all(&self, count: usize) -> Vec<Stored> {
        eventually("all are read", SOON, async || self.0.lock().len() >= count).await;
        let mut read = self.0.lock().clone();
        // Stable: what is out of order within a partition stays so.
        read.sort_by_key(|stored| stored.partition);
        read
    }
}

#[tokio::test]
async fn raw_and_typed_records_are_what_the_log_has() {
    let (topic, producer) = (given::topic("shapes", 2), given::built(given::kafka().producer()));
    let records = shapes(&topic);
    producer.send_batch(&records).await.unwrap();
    let log = given::log(&topic);
    assert_eq!(log, as_stored(&records));

    let raw = Read::default();
    let handler = {
        let raw = raw.clone();
        move |batch: RawBatch| {
            assert!(!batch.is_empty() && batch.len() == batch.iter().len() && batch.get(batch.len()).is_none());
            for (index, record) in batch.iter().enumerate() {
                assert_eq!(batch.get(index).unwrap().offset(), record.offset());
                raw.0.lock().push(Stored {
                    partition: batch.partition(),
                    offset: record.offset(),
                    key: record.key().map(Vec::from),
                    value: record.value().map(Vec::from),
                    headers: names_and_values(&record.headers()),
                    timestamp: record.timestamp_ms(),
                });
            }
            async { Ok::<_, Error>(()) }
        }
    };
    let group = unique("raw");
    let member = Member::start(quick(&given::kafka(), &group).max_batch_records(4).route_raw(topic.name(), handler));
    assert_eq!(raw.all(log.len()).await, log);
    let ends: Vec<_> = [0, 1].map(|at| (at, log.iter().filter(|stored| stored.partition == at).count() as i64)).into();
    commits(&group, &topic, &ends).await;
    assert_eq!(member.stop().await.handled, log.len() as u64);

    let typed = Read::default();
    let handler = {
        let typed = typed.clone();
        move |record: Received<Option<Vec<u8>>, Option<Vec<u8>>>| {
            assert_eq!(
                (record.key().as_deref(), record.value().as_deref()),
                (record.key_bytes(), record.value_bytes())
            );
            let millis = Duration::from_millis(record.timestamp_ms().unwrap() as u64);
            assert_eq!(record.timestamp(), Some(UNIX_EPOCH + millis));
            assert_eq!(record.headers().len(), record.headers().iter().count());
            let headers = record.headers().to_owned();
            let raw = record.to_raw();
            assert_eq!((&raw.headers, raw.timestamp, raw.partition), (&headers, record.timestamp_ms(), None));
            typed.0.lock().push(Stored {
                partition: record.partition(),
                offset: record.offset(),
                headers: names_and_values(&headers),
                timestamp: record.timestamp_ms(),
                key: record.key().clone(),
                value: record.value().clone(),
            });
            async { Ok::<_, Error>(()) }
        }
    };
    let bytes = Topic::new(topic.name(), Optional::new(Bytes), Optional::new(Bytes));
    let member = Member::start(quick(&given::kafka(), &unique("typed")).route(&bytes, handler));
    assert_eq!(typed.all(log.len()).await, log);
    member.stop().await;
}

type Stream = RecordStream<String, String>;
type Held = Acknowledgeable<String, String>;

fn stream(group: &str, topic: &Lines) -> Stream {
    quick(&given::kafka(), group).stream(topic).unwrap_or_else(|e| panic!("{e}"))
}

async fn next(stream: &mut Stream) -> Held {
    let item = tokio::time::timeout(SOON, stream.next()).await.expect("there is a record");
    item.expect("the stream goes on").unwrap_or_else(|e| panic!("{e:?}"))
}

/// The next so many records of the one partition, which begin at `from`.
async fn held(stream: &mut Stream, from: i64, count: usize) -> BTreeMap<i64, Held> {
    let mut held = BTreeMap::new();
    for offset in (from..).take(count) {
        let record = next(stream).await;
        assert_eq!((record.offset(), record.value().as_str()), (offset, offset.to_string().as_str()), "in order");
        held.insert(offset, record);
    }
    held
}

#[tokio::test]
async fn what_is_acknowledged_is_committed_and_what_is_dropped_is_read_again() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 10);
    let mut first = stream(&group, &topic);
    for (offset, record) in held(&mut first, 0, 10).await {
        match offset {
            // In two ways.
            0..4 => record.ack(),
            4 | 5 | 7 | 8 => assert_eq!(*record.into_acked().value(), offset.to_string()),
            _ => drop(record),
        }
    }
    let report = first.close().await.unwrap();
    assert_eq!(report.committed, BTreeMap::from([((topic.name().to_owned(), 0), 6)]));
    assert_eq!((report.handled, report.unfinished, report.left_group), (8, 2, true));
    assert_eq!(committed(&group, &topic), [(0, 6)].into());

    let mut second = stream(&group, &topic);
    held(&mut second, 6, 4).await.into_values().for_each(Held::ack);
    commits(&group, &topic, &[(0, 10)]).await;
    second.close().await.unwrap();
}

#[tokio::test]
async fn acknowledgements_out_of_order_wait_for_those_before() {
    let (topic, group) = (given::topic("orders", 2), unique("billing"));
    fill(&topic, 0, 5);
    let mut stream = stream(&group, &topic);
    let mut held = held(&mut stream, 0, 5).await;
    // The other partition is the clock: when its new record is committed, so is what was acknowledged before it.
    let mut ticks = 0;
    for (offset, expected) in [(3, None), (1, None), (0, Some(2)), (4, Some(2)), (2, Some(5))] {
        held.remove(&offset).unwrap().ack();
        fill(&topic, 1, 1);
        let tick = next(&mut stream).await;
        assert_eq!((tick.partition(), tick.offset()), (1, ticks));
        tick.ack();
        ticks += 1;
        let all: Vec<_> = expected.map(|next| (0, next)).into_iter().chain([(1, ticks)]).collect();
        commits(&group, &topic, &all).await;
    }
    assert_eq!(stream.close().await.unwrap().unfinished, 0);
}

#[tokio::test]
async fn close_waits_for_records_that_somebody_holds() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 5);
    let mut stream = stream(&group, &topic);
    let held = held(&mut stream, 0, 3).await;
    let closing = tokio::spawn(stream.close());
    for (_, record) in held {
        tokio::task::yield_now().await;
        assert!(!closing.is_finished());
        record.ack();
    }
    let report = tokio::time::timeout(SOON, closing).await.unwrap().unwrap().unwrap();
    assert_eq!((report.handled, report.unfinished, report.left_group), (3, 0, true));
    assert_eq!(committed(&group, &topic), [(0, 3)].into(), "what was read ahead is not");
}

#[tokio::test]
async fn a_stream_that_is_dropped_commits_what_is_acknowledged_and_leaves() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 5);
    let mut first = stream(&group, &topic);
    held(&mut first, 0, 2).await.into_values().for_each(Held::ack);
    drop(first);
    commits(&group, &topic, &[(0, 2)]).await;
    // Had it not left, the next would wait for the end of its session.
    let mut second = stream(&group, &topic);
    let rest = tokio::time::timeout(Duration::from_secs(5), held(&mut second, 2, 3)).await.expect("before that");
    rest.into_values().for_each(Held::ack);
    assert_eq!(second.close().await.unwrap().handled, 3);
}

#[tokio::test]
async fn a_stream_that_has_failed_yields_the_error_once_and_ends() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 3);
    // Nothing is committed, and there is no default: the consumer must not begin anywhere.
    let builder = quick(&given::kafka(), &group).start_from(kafka_client::StartFrom::Fail);
    let mut stream = builder.stream(&topic).unwrap();
    let error = tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.topic(), error.partition()), (Some(topic.name()), Some(0)), "{error:?}");
    assert!(stream.next().await.is_none());
    assert!(stream.next().await.is_none());
    assert_eq!(stream.close().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(committed(&group, &topic), [].into());
}

#[tokio::test]
async fn two_streams_share_the_partitions() {
    let (topic, group, account) = (given::topic("orders", 4), unique("billing"), Account::default());
    let mut readers = Vec::new();
    for by in ['a', 'b'] {
        let (mut stream, account) = (stream(&group, &topic), account.clone());
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut stopped => return stream.close().await.unwrap(),
                    record = stream.next() => {
                        let record = record.unwrap().unwrap();
                        account.record(by, &record);
                        record.ack();
                    }
                }
            }
        });
        readers.push((stop, task));
    }
    // Until both take part, records trickle.
    let mut written = 0;
    eventually("both read", SOON, async || {
        (0..4).for_each(|partition| fill(&topic, partition, 1));
        written += 4;
        account.of('a') > 0 && account.of('b') > 0
    })
    .await;
    account.reaches(written).await;
    for (stop, task) in readers {
        drop(stop);
        tokio::time::timeout(SOON, task).await.unwrap().unwrap();
    }
    let expected = (0..4).map(|partition| (partition, written as i64 / 4)).collect();
    assert_eq!(committed(&group, &topic), expected);
    for partition in 0..4 {
        assert_eq!(account.offsets(partition), (0..written as i64 / 4).collect::<Vec<_>>(), "once and in order");
    }
}
