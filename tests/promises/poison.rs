//! Bytes that are no record of their topic: whoever takes them gets them whole, and without a taker nothing goes past
//! them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use kafka_client::{Completion, Error, ErrorKind, FailedRecord, Headers, Json, RawRecord, Received, Topic, Utf8};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use serde::{Deserialize, Serialize};
use tests::harness::oracle::{Isolation, Stored};
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given;
use crate::group::{Member, SOON, Taken, committed_of, quick};

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
struct Order {
    id: u64,
    item: String,
}

type Orders = Topic<Utf8, Json<Order>>;

fn orders(partitions: i32) -> Orders {
    let name = unique("orders");
    oracle::create_topic(Cluster::shared().bootstrap(), &name, partitions, 1);
    Topic::new(name, Utf8, Json::new())
}

/// Key and value of a record; none is null.
type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

fn good(id: u64) -> Pair {
    let order = Order { id, item: format!("tea {id}") };
    (Some(format!("o-{id}").into_bytes()), Some(serde_json::to_vec(&order).unwrap()))
}

/// Keys and values that are no order, and the half that is wrong.
fn poison() -> Vec<(Pair, &'static str)> {
    let key = || Some(b"o-1".to_vec());
    let mut poison: Vec<(Pair, &'static str)> = [
        &b"{\"id\":1,\"item\":\"tea\""[..],
        b"{\"id\":\"one\",\"item\":\"tea\"}",
        b"{\"id\":1,\"item\":\"tea\"} and more",
        b"null",
        b"",
        b" ",
        b"\xff\xfe\xfd",
        b"{\"id\":1,\"item\":\"\xff\"}",
        b"\0\0\0\0\x01tea",
    ]
    .map(|value| ((key(), Some(value.to_vec())), "value"))
    .into();
    poison.push(((key(), None), "value"));
    poison.push(((Some(b"\xff\xfe".to_vec()), good(1).1), "key"));
    poison.push(((None, good(1).1), "key"));
    poison.push(((None, None), "key"));
    let mut random = 42;
    for length in 1..40 {
        let bytes = (0..length * 7).map(|_| next_byte(&mut random)).collect();
        poison.push(((key(), Some(bytes)), "value"));
    }
    poison
}

/// The same bytes in every run; never a valid start of JSON at the front.
fn next_byte(state: &mut u64) -> u8 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as u8 | 0x80
}

fn write(topic: &Orders, partition: i32, pairs: &[Pair]) {
    let records: Vec<_> =
        pairs.iter().map(|(key, value)| (Some(partition), key.as_deref(), value.as_deref())).collect();
    oracle::produce(Cluster::shared().bootstrap(), topic.name(), &records);
}

fn stored(topic: &str) -> Vec<Stored> {
    oracle::read_all(Cluster::shared().bootstrap(), topic, Isolation::ReadUncommitted)
}

#[tokio::test]
async fn poison_reaches_its_handler_bit_for_bit_and_its_neighbours_are_handled() {
    let (topic, group) = (orders(1), unique("billing"));
    let mut pairs = vec![good(0)];
    for (n, (pair, _)) in poison().into_iter().enumerate() {
        pairs.extend([pair, good(n as u64 + 1)]);
    }
    write(&topic, 0, &pairs);

    let (handled, failed) = (Taken::new(), Taken::new());
    let (at, taken) = (handled.clone(), failed.clone());
    let consumer = quick(&given::kafka(), &group)
        .route(&topic, move |order: Received<String, Order>| {
            at.push((order.offset(), order.value().id));
            async { Ok::<_, Error>(()) }
        })
        .on_failed_record(move |record: FailedRecord| {
            taken.push(record);
            async { Ok::<_, Error>(()) }
        });
    let member = Member::start(consumer);
    let all = BTreeMap::from([(0, pairs.len() as i64)]);
    eventually("all is committed", SOON, async || committed_of(&group, topic.name()) == all).await;
    let report = member.stop().await;

    let count = poison().len();
    assert_eq!((report.handled, report.failed, report.unfinished), (count as u64 + 1, count as u64, 0));
    let neighbours: Vec<_> = (0..=count).map(|n| (2 * n as i64, n as u64)).collect();
    assert_eq!(handled.all(), neighbours);

    // The consumer has ended; the records are still whole.
    let log = stored(topic.name());
    let failed = failed.take();
    assert_eq!(failed.len(), count);
    for (n, (record, (_, part))) in failed.iter().zip(poison()).enumerate() {
        let stored = &log[2 * n + 1];
        assert_eq!((record.topic(), record.partition()), (topic.name(), 0));
        assert_eq!((record.offset(), record.timestamp_ms()), (stored.offset, stored.timestamp));
        assert_eq!(record.key_bytes(), stored.key.as_deref());
        assert_eq!(record.value_bytes(), stored.value.as_deref());
        let (error, at) = (record.error(), stored.offset);
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert_eq!((error.topic(), error.partition(), error.offset()), (Some(topic.name()), Some(0), Some(at)));
        assert_eq!(
            error.to_string(),
            format!("receive failed for {}-0 at {at}: the record cannot be decoded", topic.name())
        );
        let cause = error.source().unwrap().to_string();
        assert!(cause.starts_with(&format!("{part} of {}: ", topic.name())), "{cause}");
    }
}

#[tokio::test]
async fn a_failed_record_can_be_sent_on_as_it_was_headers_and_all() {
    let (topic, parked, group) = (orders(1), unique("parked"), unique("billing"));
    oracle::create_topic(Cluster::shared().bootstrap(), &parked, 1, 1);
    let producer = given::kafka().producer().build().unwrap();
    let mut headers = Headers::new();
    headers.push("trace", "1");
    headers.push("trace", [0xff, 0x00]);
    headers.push_null("reviewed");
    headers.push("empty", "");
    let mut poison = RawRecord::new(topic.name(), Some(b"k\xff".to_vec()), None);
    poison.headers = headers;
    // Of an hour ago: a very old one would be deleted by age.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    poison.timestamp = Some(now - 3_600_000);
    producer.send(&poison).await.unwrap();

    let (sender, to) = (producer.clone(), parked.clone());
    // The offset waits for the broker's acknowledgement, the consumer does not.
    let park = move |record: FailedRecord| {
        let (sender, raw) = (sender.clone(), record.to_raw());
        let mut sent = RawRecord::new(to.as_str(), raw.key, raw.value);
        (sent.headers, sent.timestamp) = (raw.headers, raw.timestamp);
        async move { sender.enqueue(sent).await.map(Completion::from) }
    };
    let consumer = quick(&given::kafka(), &group)
        .route(&topic, async |_: Received<String, Order>| Ok::<_, Error>(()))
        .on_failed_record(park);
    let member = Member::start(consumer);
    eventually("it is committed", SOON, async || committed_of(&group, topic.name()) == [(0, 1)].into()).await;
    assert_eq!(member.stop().await.failed, 1);
    assert_eq!(stored(&parked), stored(topic.name()));
    assert_eq!(stored(&parked)[0].headers.len(), 4);
}

#[tokio::test]
async fn without_a_taker_the_consumer_ends_at_the_poison_and_commits_what_is_before_it() {
    for (pair, part) in [poison().swap_remove(0), poison().swap_remove(9), poison().swap_remove(10)] {
        let (topic, group) = (orders(1), unique("billing"));
        write(&topic, 0, &[good(0), good(1), good(2), pair, good(4)]);
        // The second consumer stands where the first one stood: nothing is skipped, nothing is handled twice.
        for expected in [&[0, 1, 2][..], &[]] {
            let handled = Taken::new();
            let at = handled.clone();
            let handler = move |order: Received<String, Order>| {
                at.push(order.offset());
                async { Ok::<_, Error>(()) }
            };
            let error = Member::start(quick(&given::kafka(), &group).route(&topic, handler)).failure().await;
            assert_eq!((error.kind(), error.operation()), (ErrorKind::Decode, Some("receive")));
            assert_eq!((error.topic(), error.partition(), error.offset()), (Some(topic.name()), Some(0), Some(3)));
            let cause = error.source().unwrap().to_string();
            assert!(cause.starts_with(&format!("{part} of {}: ", topic.name())), "{cause}");
            assert_eq!(handled.all(), expected);
            assert_eq!(committed_of(&group, topic.name()), [(0, 3)].into());
        }
        // With a taker it goes on.
        let consumer = quick(&given::kafka(), &group)
            .route(&topic, async |_: Received<String, Order>| Ok::<_, Error>(()))
            .on_failed_record(async |_: FailedRecord| Ok::<_, Error>(()));
        let member = Member::start(consumer);
        eventually("all is committed", SOON, async || committed_of(&group, topic.name()) == [(0, 5)].into()).await;
        let report = member.stop().await;
        assert_eq!((report.handled, report.failed), (1, 1));
    }
}

#[tokio::test]
async fn a_taker_that_fails_ends_the_consumer_before_the_poison() {
    let (topic, group) = (orders(1), unique("billing"));
    write(&topic, 0, &[good(0), (None, None), good(2)]);
    let consumer = quick(&given::kafka(), &group)
        .route(&topic, async |_: Received<String, Order>| Ok::<_, Error>(()))
        .on_failed_record(async |_: FailedRecord| Err::<(), _>(std::io::Error::other("the parking lot is full")));
    let error = Member::start(consumer).failure().await;
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Handler, Some(1)));
    assert_eq!(error.source().unwrap().to_string(), "the parking lot is full");
    assert_eq!(committed_of(&group, topic.name()), [(0, 1)].into());
}

#[tokio::test]
async fn in_a_batch_what_was_read_before_the_poison_is_handled_before_it() {
    let (topic, group) = (orders(1), unique("billing"));
    write(&topic, 0, &[good(0), good(1), (None, None), good(3), (None, None), (None, None), good(6)]);
    let order = Taken::new();
    let (batches, poison) = (order.clone(), order.clone());
    let consumer = quick(&given::kafka(), &group)
        .route_batch(&topic, move |batch: Vec<Received<String, Order>>| {
            batches.push(batch.iter().map(Received::offset).collect::<Vec<_>>());
            async { Ok::<_, Error>(()) }
        })
        .on_failed_record(move |record: FailedRecord| {
            poison.push(vec![-record.offset()]);
            async { Ok::<_, Error>(()) }
        });
    let member = Member::start(consumer);
    eventually("all is committed", SOON, async || committed_of(&group, topic.name()) == [(0, 7)].into()).await;
    member.stop().await;
    assert_eq!(order.all().concat(), [0, 1, -2, 3, -4, -5, 6]);
}

#[tokio::test]
async fn a_stream_yields_what_is_before_the_poison_and_then_the_error() {
    let (topic, group) = (orders(1), unique("billing"));
    write(&topic, 0, &[good(0), good(1), (None, None), good(3)]);
    let mut stream = quick(&given::kafka(), &group).stream(&topic).unwrap();
    for expected in 0..2 {
        let order = stream.next().await.unwrap().unwrap();
        assert_eq!((order.offset(), order.value().id), (expected, expected as u64));
        order.ack();
    }
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Decode, Some(2)));
    assert!(stream.next().await.is_none());
    assert_eq!(committed_of(&group, topic.name()), [(0, 2)].into());
}

#[tokio::test]
async fn a_stream_goes_on_past_poison_that_is_taken() {
    let (topic, group) = (orders(1), unique("billing"));
    write(&topic, 0, &[(None, None), good(1), (None, None), good(3)]);
    let taken = Taken::new();
    let at = taken.clone();
    let mut stream = quick(&given::kafka(), &group)
        .on_failed_record(move |record: FailedRecord| {
            at.push(record.offset());
            async { Ok::<_, Error>(()) }
        })
        .stream(&topic)
        .unwrap();
    for expected in [1, 3] {
        let order = stream.next().await.unwrap().unwrap();
        assert_eq!(order.offset(), expected);
        order.ack();
    }
    assert_eq!(taken.all(), [0, 2]);
    let report = stream.close().await.unwrap();
    assert_eq!((report.handled, report.failed), (2, 2));
    assert_eq!(committed_of(&group, topic.name()), [(0, 4)].into());
}

#[test]
fn the_careless_way_skips_poison_and_nobody_hears_of_it() {
    let (topic, group) = (orders(1), unique("billing"));
    write(&topic, 0, &[good(0), (None, None), good(2)]);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", Cluster::shared().bootstrap())
        .set("group.id", &group)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic.name()]).unwrap();
    let mut accounted_for = Vec::new();
    while accounted_for.last() != Some(&2) {
        let Some(Ok(record)) = consumer.poll(SOON) else { continue };
        // What is often written: `let Ok(order) = serde_json::from_slice(..) else { continue }`.
        let Ok(order) = serde_json::from_slice::<Order>(record.payload().unwrap_or_default()) else { continue };
        accounted_for.push(order.id);
    }
    assert_eq!(accounted_for, [0, 2], "the check that every offset is handled, taken or named finds one missing");
}
