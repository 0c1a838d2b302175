//! A record that cannot be decoded is never skipped in silence: it reaches the handler for failed records with its
//! bytes and its coordinates, or it ends the consumer, which then stands before it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kafka_client::{ConsumerBuilder, Error, ErrorKind, FailedRecord, Json, Received, Topic, Utf8};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::Deserialize;
use tests::harness::oracle::{self, Isolation, Stored};
use tests::harness::{Cluster, eventually, unique};

use crate::given;
use crate::group::{Member, SOON, quick};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Order {
    number: i64,
}

type Orders = Topic<Utf8, Json<Order>>;

/// Bytes of a key and of a value; none are null.
type KeyAndValue = (Option<Vec<u8>>, Option<Vec<u8>>);

fn good(number: i64) -> KeyAndValue {
    (Some(b"good".to_vec()), Some(format!(r#"{{"number":{number}}}"#).into_bytes()))
}

/// What no `Order` is: a name, the part that is wrong, and the bytes.
fn poison() -> Vec<(&'static str, &'static str, KeyAndValue)> {
    let value = |bytes: &[u8]| (Some(b"bad".to_vec()), Some(bytes.to_vec()));
    vec![
        ("no JSON", "value", value(b"<order/>")),
        ("JSON cut short", "value", value(br#"{"number":1"#)),
        ("JSON of another shape", "value", value(br#"{"number":"one"}"#)),
        ("JSON without the field", "value", value(b"{}")),
        ("two values", "value", value(br#"{"number":1}{"number":2}"#)),
        ("a null value", "value", (Some(b"bad".to_vec()), None)),
        ("an empty value", "value", value(b"")),
        ("random bytes", "value", (Some(b"bad".to_vec()), Some(random(700)))),
        ("a key that is not UTF-8", "key", (Some(vec![b'k', 0xff, 0xfe]), good(1).1)),
        ("a null key", "key", (None, good(1).1)),
        ("nothing right", "key", (Some(vec![0xc0, 0xaf]), Some(random(3)))),
    ]
}

/// Bytes without a meaning, the same in every run.
fn random(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A topic of its own.
fn orders(partitions: i32) -> Orders {
    Topic::new(given::topic("orders", partitions).name(), Utf8, Json::new())
}

/// Writes records without the toolkit, each with headers that tell its number.
async fn write(topic: &Orders, partition: i32, records: impl IntoIterator<Item = KeyAndValue>) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", Cluster::shared().bootstrap())
        .set("linger.ms", "0")
        .set("max.in.flight.requests.per.connection", "1")
        .create()
        .unwrap();
    let mut deliveries = Vec::new();
    for (number, (key, value)) in records.into_iter().enumerate() {
        let number = number.to_string();
        let headers = OwnedHeaders::new()
            .insert(Header { key: "number", value: Some(&number) })
            .insert(Header { key: "number", value: Some("again") })
            .insert(Header { key: "null", value: None::<&[u8]> });
        let mut record = FutureRecord::<[u8], [u8]>::to(topic.name()).partition(partition).headers(headers);
        (record.key, record.payload) = (key.as_deref(), value.as_deref());
        deliveries.push(producer.send_result(record.timestamp(given::yesterday())).unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap().unwrap();
    }
}

/// What a consumer has seen, in its order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Sight>>>);

enum Sight {
    Handled { partition: i32, offset: i64, number: i64 },
    Failed(FailedRecord),
}

impl Sight {
    fn at(&self) -> (i32, i64) {
        match self {
            Self::Handled { partition, offset, .. } => (*partition, *offset),
            Self::Failed(record) => (record.partition(), record.offset()),
        }
    }
}

impl Seen {
    fn handled(&self, record: &Received<String, Order>) {
        let (partition, offset, number) = (record.partition(), record.offset(), record.value().number);
        self.0.lock().push(Sight::Handled { partition, offset, number });
    }

    fn offsets(&self, of: impl Fn(&Sight) -> bool) -> Vec<i64> {
        self.0.lock().iter().filter(|sight| of(sight)).map(|sight| sight.at().1).collect()
    }

    fn good(&self) -> Vec<i64> {
        self.offsets(|sight| matches!(sight, Sight::Handled { .. }))
    }

    fn bad(&self) -> Vec<i64> {
        self.offsets(|sight| matches!(sight, Sight::Failed(_)))
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// The records of a log that were neither handled nor reported: the check that a careless consumer fails.
fn skipped(log: &[Stored], seen: &Seen) -> Vec<(i32, i64)> {
    let seen: Vec<_> = seen.0.lock().iter().map(Sight::at).collect();
    log.iter().map(|stored| (stored.partition, stored.offset)).filter(|at| !seen.contains(at)).collect()
}

fn one_by_one(builder: ConsumerBuilder, topic: &Orders, seen: &Seen) -> ConsumerBuilder {
    let seen = seen.clone();
    builder.route(topic, move |order: Received<String, Order>| {
        seen.handled(&order);
        async { Ok::<_, Error>(()) }
    })
}

fn by_the_batch(builder: ConsumerBuilder, topic: &Orders, seen: &Seen) -> ConsumerBuilder {
    let seen = seen.clone();
    builder.route_batch(topic, move |orders: Vec<Received<String, Order>>| {
        orders.iter().for_each(|order| seen.handled(order));
        async { Ok::<_, Error>(()) }
    })
}

fn reporting(builder: ConsumerBuilder, seen: &Seen) -> ConsumerBuilder {
    let seen = seen.clone();
    builder.on_failed_record(move |record: FailedRecord| {
        seen.0.lock().push(Sight::Failed(record));
        async { Ok::<_, Error>(()) }
    })
}

type Route = fn(ConsumerBuilder, &Orders, &Seen) -> ConsumerBuilder;
const ROUTES: [Route; 2] = [one_by_one, by_the_batch];

/// Writes each poison between two good records to partition 0, and good ones only to partition 1.
async fn poisoned() -> (Orders, Vec<Stored>) {
    let topic = orders(2);
    let between = poison().into_iter().zip(1..).flat_map(|((_, _, bad), number)| [bad, good(number)]);
    write(&topic, 0, [good(0)].into_iter().chain(between)).await;
    write(&topic, 1, (0..10).map(good)).await;
    let log = oracle::read_all(Cluster::shared().bootstrap(), topic.name(), Isolation::ReadUncommitted);
    assert_eq!(log.len(), 1 + 2 * poison().len() + 10);
    (topic, log)
}

/// Every record of `poisoned` was seen once and in order, the good ones handled, the others reported as they stand in
/// the log.
#[track_caller]
fn all_seen(topic: &Orders, log: &[Stored], seen: &Seen) {
    assert_eq!(skipped(log, seen), []);
    assert_eq!(seen.len(), log.len());
    let poison = poison();
    for partition in [0, 1] {
        let stored = log.iter().filter(|stored| stored.partition == partition);
        let sights = seen.0.lock();
        let sights = sights.iter().filter(|sight| sight.at().0 == partition);
        for ((stored, sight), at) in stored.zip(sights).zip(0..) {
            assert_eq!(sight.at(), (partition, stored.offset), "in order");
            match sight {
                Sight::Handled { number, .. } if partition == 0 => assert_eq!((at % 2, *number), (0, at / 2)),
                Sight::Handled { number, .. } => assert_eq!(*number, at),
                Sight::Failed(record) => {
                    assert_eq!((partition, at % 2), (0, 1));
                    let (name, part, bytes) = &poison[at as usize / 2];
                    as_it_stands(record, stored, bytes, name);
                    names_it(record.error(), topic, part, stored, name);
                }
            }
        }
    }
}

#[track_caller]
fn as_it_stands(record: &FailedRecord, stored: &Stored, bytes: &KeyAndValue, name: &str) {
    let (key, value) = (record.key_bytes().map(Vec::from), record.value_bytes().map(Vec::from));
    assert_eq!((&key, &value), (&bytes.0, &bytes.1), "{name}");
    assert_eq!((key, value), (stored.key.clone(), stored.value.clone()), "{name}");
    let headers = record.headers();
    let headers: Vec<_> =
        headers.iter().map(|header| (header.name().into_owned(), header.value().map(Vec::from))).collect();
    assert_eq!(headers, stored.headers, "{name}");
    assert_eq!(headers.len(), 3, "{name}");
    assert_eq!(record.timestamp_ms(), stored.timestamp, "{name}");
    assert_eq!(record.timestamp_ms(), Some(given::yesterday()), "{name}");
    let raw = record.to_raw();
    assert_eq!((&raw.key, &raw.value), (&stored.key, &stored.value), "{name}");
    assert_eq!((raw.topic(), raw.timestamp, raw.headers.len()), (record.topic(), stored.timestamp, 3), "{name}");
}

#[track_caller]
fn names_it(error: &Error, topic: &Orders, part: &str, stored: &Stored, name: &str) {
    assert_eq!(error.kind(), ErrorKind::Decode, "{name}");
    assert_eq!(error.operation(), Some("receive"), "{name}");
    let at = (error.topic(), error.partition(), error.offset());
    assert_eq!(at, (Some(topic.name()), Some(stored.partition), Some(stored.offset)), "{name}");
    let said = error.to_string();
    assert!(said.contains(&format!("{}-{} at {}", topic.name(), stored.partition, stored.offset)), "{name}: {said}");
    let source = error.source().expect("there is a cause").to_string();
    assert!(source.starts_with(&format!("{part} of {}: ", topic.name())), "{name}: {source}");
    let all = format!("{error:?}");
    assert!(all.contains(&said) && all.contains(&source), "{name}: {all}");
}

fn committed(group: &str, topic: &Orders) -> Vec<(i32, i64)> {
    oracle::committed(Cluster::shared().bootstrap(), group, topic.name()).into_iter().collect()
}

#[tokio::test]
async fn undecodable_records_reach_their_handler_as_they_stand_in_the_log() {
    let (topic, log) = poisoned().await;
    let bad = poison().len();
    let ends = vec![(0, 1 + 2 * bad as i64), (1, 10)];
    for route in ROUTES {
        let (group, seen) = (unique("billing"), Seen::default());
        let member = Member::start(reporting(route(quick(&given::kafka(), &group), &topic, &seen), &seen));
        eventually("all is committed", SOON, async || committed(&group, &topic) == ends).await;
        let report = member.stop().await;
        assert_eq!((report.handled, report.failed, report.unfinished), (log.len() as u64 - bad as u64, bad as u64, 0));
        all_seen(&topic, &log, &seen);
    }
}

#[tokio::test]
async fn a_stream_hands_them_to_their_handler_too() {
    let (topic, log) = poisoned().await;
    let (group, seen) = (unique("billing"), Seen::default());
    let mut stream = reporting(quick(&given::kafka(), &group), &seen).stream(&topic).unwrap();
    for _ in 0..log.len() - poison().len() {
        let record = tokio::time::timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
        seen.handled(&record);
        record.ack();
    }
    let report = stream.close().await.unwrap();
    assert_eq!((report.failed, report.unfinished), (poison().len() as u64, 0));
    assert_eq!(committed(&group, &topic), [(0, 1 + 2 * poison().len() as i64), (1, 10)]);
    all_seen(&topic, &log, &seen);
}

#[tokio::test]
async fn the_careless_way_skips_them() {
    let (topic, log) = poisoned().await;
    let seen = Seen::default();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", Cluster::shared().bootstrap())
        .set("group.id", unique("billing"))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic.name()]).unwrap();
    for _ in 0..log.len() {
        let mut polled = None;
        while polled.is_none() {
            polled = consumer.poll(Duration::from_millis(100));
        }
        let record = polled.unwrap().unwrap();
        // What cannot be read is not for us.
        let Some(Ok(_)) = record.key_view::<str>() else { continue };
        let Ok(order) = serde_json::from_slice::<Order>(record.payload().unwrap_or_default()) else { continue };
        let (partition, offset) = (record.partition(), record.offset());
        seen.0.lock().push(Sight::Handled { partition, offset, number: order.number });
    }
    let bad: Vec<_> = (0..poison().len()).map(|at| (0, 1 + 2 * at as i64)).collect();
    assert_eq!(skipped(&log, &seen), bad);
}

#[tokio::test]
async fn without_a_handler_the_consumer_ends_before_the_first_of_them() {
    for ((name, part, bytes), route) in poison().into_iter().zip(ROUTES.into_iter().cycle()) {
        let (topic, group) = (orders(1), unique("billing"));
        write(&topic, 0, [good(0), good(1), good(2), bytes, good(4), good(5)]).await;
        let log = oracle::read_all(Cluster::shared().bootstrap(), topic.name(), Isolation::ReadUncommitted);
        let member = |seen: &Seen| route(quick(&given::kafka(), &group), &topic, seen);

        let first = Seen::default();
        let error = Member::start(member(&first)).failure().await;
        names_it(&error, &topic, part, &log[3], name);
        assert_eq!(first.good(), [0, 1, 2], "{name}");
        assert_eq!(committed(&group, &topic), [(0, 3)], "{name}");

        let second = Seen::default();
        let error = Member::start(member(&second)).failure().await;
        assert_eq!((error.offset(), second.len()), (Some(3), 0), "{name}: it starts at it");
        assert_eq!(committed(&group, &topic), [(0, 3)], "{name}");

        let third = Seen::default();
        let member = Member::start(reporting(member(&third), &third));
        eventually("the rest is committed", SOON, async || committed(&group, &topic) == [(0, 6)]).await;
        member.stop().await;
        assert_eq!((third.bad(), third.good()), (vec![3], vec![4, 5]), "{name}");
    }
}

#[tokio::test]
async fn a_stream_without_a_handler_yields_what_is_before_it_and_its_error_and_ends() {
    let (topic, group) = (orders(1), unique("billing"));
    let (_, part, bytes) = poison().remove(0);
    write(&topic, 0, [good(0), good(1), bytes, good(3)]).await;
    let log = oracle::read_all(Cluster::shared().bootstrap(), topic.name(), Isolation::ReadUncommitted);
    for before in [vec![0, 1], vec![]] {
        let mut stream = quick(&given::kafka(), &group).stream(&topic).unwrap();
        let mut read = Vec::new();
        let error = loop {
            match tokio::time::timeout(SOON, stream.next()).await.unwrap().expect("it ends with an error") {
                Ok(record) => read.push(record.into_acked().offset()),
                Err(error) => break error,
            }
        };
        assert_eq!(read, before);
        names_it(&error, &topic, part, &log[2], "a stream");
        assert!(stream.next().await.is_none() && stream.next().await.is_none());
        assert_eq!(committed(&group, &topic), [(0, 2)]);
    }
}

#[tokio::test]
async fn raw_batches_hold_them_like_all_others() {
    let (topic, log) = poisoned().await;
    let (group, read) = (unique("billing"), Arc::new(Mutex::new(Vec::new())));
    let handler = {
        let read = read.clone();
        move |batch: kafka_client::RawBatch| {
            let bytes = |bytes: Option<&[u8]>| bytes.map(Vec::from);
            let records = batch
                .iter()
                .map(|record| (batch.partition(), record.offset(), bytes(record.key()), bytes(record.value())));
            read.lock().extend(records);
            async { Ok::<_, Error>(()) }
        }
    };
    let member = Member::start(quick(&given::kafka(), &group).route_raw(topic.name(), handler));
    eventually("all are read", SOON, async || read.lock().len() >= log.len()).await;
    assert_eq!(member.stop().await.handled, log.len() as u64);
    let mut read = std::mem::take(&mut *read.lock());
    read.sort_by_key(|(partition, offset, ..)| (*partition, *offset));
    let stored: Vec<_> = log.into_iter().map(|at| (at.partition, at.offset, at.key, at.value)).collect();
    assert_eq!(read, stored);
}
