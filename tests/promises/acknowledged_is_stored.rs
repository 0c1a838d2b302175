//! Acknowledged means stored: every acknowledged record is in the log once, bit for bit, also when brokers fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, UNIX_EPOCH};

use futures::future::try_join_all;
use kafka_client::serde::{Encoded, Serializer, Stop, Target};
use kafka_client::{Acks, Bytes, Delivered, Headers, Kafka, Producer, RawRecord, Topic, Utf8};
use tests::harness::oracle::{self, Stored};
use tests::harness::{Breakable, Cluster, Logs, eventually};
use tokio::task::block_in_place;

use crate::given::{self, Lines, built, log_on, values};

/// An election takes the 3 s of a broker's session and a little more.
const FAILOVER: Duration = Duration::from_secs(60);

#[tokio::test]
async fn whichever_way_it_is_sent_a_record_is_stored_once_and_bit_for_bit() {
    let lines = given::topic("stored", 3);
    let producer = built(given::kafka().producer().linger(Duration::from_millis(1)));
    let frames = Topic::new(lines.name(), Bytes, Bytes);
    let mut sender = producer.sender(&frames).unwrap();

    let mut expected = Vec::new();
    let mut placed = Vec::new();
    for (n, record) in kinds(&lines).into_iter().enumerate() {
        let mut marked = |way: &str| {
            let mut record = record.clone();
            record.headers.push("way", format!("{way} {n}"));
            expected.push(record.clone());
            record
        };
        placed.push(("send", producer.send(marked("send")).await.unwrap()));
        placed.push(("enqueue", producer.enqueue(marked("enqueue")).await.unwrap().await.unwrap()));
        placed.push(("try_enqueue", producer.try_enqueue(marked("try_enqueue")).unwrap().await.unwrap()));
        let (answer, answered) = std::sync::mpsc::channel();
        producer.send_with(marked("send_with"), move |outcome| answer.send(outcome).unwrap()).await.unwrap();
        placed.push(("send_with", block_on_answer(&answered)));
        assert_eq!(producer.send_batch([marked("batch")]).await.unwrap(), 1);
        // A sender is typed, so it has no null keys.
        if let (Some(key), Some(value)) = (&record.key, &record.value) {
            let of_sender = marked("sender");
            let mut typed = frames.record(key, value).headers(of_sender.headers.clone());
            if let Some(partition) = of_sender.partition {
                typed = typed.partition(partition);
            }
            if let Some(millis) = of_sender.timestamp {
                typed = typed.timestamp(UNIX_EPOCH + Duration::from_millis(millis as u64));
            }
            placed.push(("sender", sender.enqueue(typed).await.unwrap().await.unwrap()));
        }
    }
    // Without headers a batch goes another way into librdkafka.
    let plain: Vec<_> = (0..1000).map(|n| given::raw(&lines, n % 7, n)).collect();
    assert_eq!(producer.send_batch(&plain).await.unwrap(), plain.len());
    expected.extend(plain);

    let log = given::log(&lines);
    assert_eq!(log.len(), expected.len());
    let mut stored: Vec<_> = log.iter().map(content).collect();
    let mut sent: Vec<_> = expected.iter().map(wanted).collect();
    stored.sort();
    sent.sort();
    for (stored, sent) in stored.iter().zip(&sent) {
        assert_eq!((&stored.0, &stored.1, &stored.2), (&sent.0, &sent.1, &sent.2));
    }
    for record in expected.iter().filter(|record| record.partition.is_some() || record.timestamp.is_some()) {
        let found = log.iter().find(|stored| content(stored) == wanted(record)).unwrap();
        assert!(record.partition.is_none_or(|partition| found.partition == partition), "{found:?}");
        assert!(record.timestamp.is_none_or(|millis| found.timestamp == Some(millis)), "{found:?}");
    }
    for (way, delivered) in placed {
        let found = at(&log, &delivered).unwrap_or_else(|| panic!("nothing is where {way} was told"));
        assert!(found.headers.iter().any(|(name, _)| name == "way"), "{way}: {found:?}");
        assert!(given::text(found.headers.last().unwrap().1.as_deref()).starts_with(way), "{way}: {found:?}");
        assert_eq!(found.timestamp, Some(delivered.timestamp_ms()));
    }
}

/// Records of every kind.
fn kinds(lines: &Lines) -> Vec<RawRecord> {
    let record = |key: Option<&[u8]>, value: Option<&[u8]>| {
        RawRecord::new(lines.name(), key.map(Vec::from), value.map(Vec::from))
    };
    let long: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let mut routed = record(Some(b"routed"), Some(b"explicit"));
    routed.partition = Some(2);
    routed.timestamp = Some(given::yesterday());
    let mut with_headers = record(Some(b"with headers"), Some(b"v"));
    with_headers.headers = headers();
    vec![
        record(Some(b"key"), Some(b"value")),
        record(Some(b""), Some(b"")),
        record(None, Some(b"no key")),
        record(Some(b"tombstone"), None),
        record(None, None),
        record(Some(&[0, 0xff, 0xc3, 0x28]), Some(&[0, 0xff, 0xfe, 0])),
        record(Some(b"long"), Some(&long)),
        routed,
        with_headers,
    ]
}

fn headers() -> Headers {
    let mut headers = Headers::new();
    headers.push("twice", "1");
    headers.push("other", [0, 0xff]);
    headers.push("twice", "2");
    headers.push_null("null");
    headers.push("empty", "");
    headers.push("", "without a name");
    headers.push("größe", "l");
    headers
}

/// Text, whose values have a header where they start with a capital letter; as a serde has it that tells the schema in
/// a header, and a topic that has tombstones too.
struct Marked;

impl Serializer for Marked {
    type Input = str;

    fn serialize(&self, value: &str, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        out.extend_from_slice(value.as_bytes());
        if value.starts_with(char::is_uppercase) {
            to.add_header("capital", Some(&value.as_bytes()[..1]));
        }
        Ok(Encoded::Bytes)
    }
}

#[tokio::test]
async fn headers_that_a_serde_adds_go_with_their_record_also_in_a_batch() {
    let lines = given::topic("marked", 1);
    let marked = Topic::new(lines.name(), Utf8, Marked);
    let producer = built(given::kafka().producer().linger(Duration::from_millis(1)));
    let values = ["a", "b", "C", "d", "E", "F", "g", "h"];
    let batch = producer.send_batch(values.iter().map(|value| marked.record("k", *value)));
    let sent = tokio::time::timeout(FAILOVER / 3, batch).await.expect("each record of the batch has its answer");
    assert_eq!(sent.unwrap(), values.len());
    for value in values {
        producer.send(marked.record("k", value)).await.unwrap();
    }
    let log = given::log(&lines);
    assert_eq!(given::values(&log), values.repeat(2));
    for stored in log {
        let value = stored.value.unwrap();
        let capital = value[0].is_ascii_uppercase().then(|| ("capital".to_owned(), Some(value.clone())));
        assert_eq!(stored.headers, Vec::from_iter(capital));
    }
}

type Content = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn content(stored: &Stored) -> Content {
    (stored.key.clone(), stored.value.clone(), stored.headers.clone())
}

fn wanted(record: &RawRecord) -> Content {
    let header = |header: kafka_client::Header<'_>| (header.name().into_owned(), header.value().map(Vec::from));
    (record.key.clone(), record.value.clone(), record.headers.iter().map(header).collect())
}

fn at<'a>(log: &'a [Stored], delivered: &Delivered) -> Option<&'a Stored> {
    log.iter().find(|stored| (stored.partition, stored.offset) == (delivered.partition(), delivered.offset()))
}

fn block_on_answer(answered: &std::sync::mpsc::Receiver<kafka_client::Outcome>) -> Delivered {
    answered.recv_timeout(Duration::from_secs(30)).unwrap().unwrap()
}

const PARTITIONS: i32 = 3;
const EACH: usize = 4_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_loses_duplicates_and_reorders_nothing() {
    let kafka = block_in_place(|| Cluster::start(3));
    let lines = block_in_place(|| given::topic_on(&kafka, "failover", PARTITIONS));
    let leader = block_in_place(|| oracle::leader(kafka.bootstrap(), lines.name(), 0));
    let node = kafka.nodes().iter().find(|node| node.id() == leader).unwrap();
    let producer = Kafka::connect(kafka.bootstrap()).producer().linger(Duration::from_millis(1));
    let producer = built(producer.max_in_flight_records(500));

    let count = Arc::new(AtomicUsize::new(0));
    let all = PARTITIONS as usize * EACH;
    let acknowledged =
        async |share| eventually("a share is acknowledged", FAILOVER, async || count.load(Relaxed) >= share).await;
    let writers = (0..PARTITIONS)
        .map(|partition| tokio::spawn(write_in_order(producer.clone(), lines.clone(), partition, count.clone())));
    let writers: Vec<_> = writers.collect();
    acknowledged(all / 3).await;
    block_in_place(|| node.kill());
    assert!(producer.in_flight() > 0, "the leader was killed in the middle of writing");
    acknowledged(all * 2 / 3).await;
    block_in_place(|| node.start());
    let written = try_join_all(writers).await.unwrap().concat();
    assert_eq!(written.len(), all, "every record was acknowledged in the end");

    let log = block_in_place(|| log_on(&kafka, &lines));
    assert_eq!(missing(&written, &values(&log)), [""; 0]);
    assert_eq!(repeated(&values(&log)), [""; 0]);
    for partition in 0..PARTITIONS {
        let part: Vec<_> = log.iter().filter(|stored| stored.partition == partition).cloned().collect();
        let in_order: Vec<_> = (0..EACH).map(|n| format!("{partition}/{n}")).collect();
        assert!(values(&part) == in_order, "partition {partition} is out of order");
    }
}

/// Writes to one partition as fast as it goes, and returns what was acknowledged.
async fn write_in_order(producer: Producer, lines: Lines, partition: i32, count: Arc<AtomicUsize>) -> Vec<String> {
    let mut deliveries = Vec::new();
    for n in 0..EACH {
        let value = format!("{partition}/{n}");
        let delivery = producer.enqueue(lines.record("k", &value).partition(partition)).await.unwrap();
        let count = count.clone();
        deliveries.push(tokio::spawn(async move {
            delivery.await.ok()?;
            count.fetch_add(1, Relaxed);
            Some(value)
        }));
    }
    try_join_all(deliveries).await.unwrap().into_iter().flatten().collect()
}

/// The check of this file: what was acknowledged, and is not in the log.
fn missing(acknowledged: &[String], log: &[String]) -> Vec<String> {
    let log: std::collections::HashSet<_> = log.iter().collect();
    acknowledged.iter().filter(|value| !log.contains(value)).cloned().collect()
}

/// What is in the log more than once.
fn repeated(log: &[String]) -> Vec<String> {
    let mut count = BTreeMap::new();
    log.iter().for_each(|value| *count.entry(value).or_insert(0) += 1);
    count.into_iter().filter(|(_, count)| *count > 1).map(|(value, _)| value.clone()).collect()
}

/// The negative control: `acks=0` takes "sent" for "stored".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_acknowledgements_a_killed_leader_loses_what_was_called_delivered() {
    let kafka = block_in_place(Cluster::breakable);
    let lines = block_in_place(|| given::topic_on(&kafka, "unacknowledged", 1));
    let naive = built(Kafka::connect(kafka.bootstrap()).producer().idempotence(false).acks(Acks::None));
    // Connected, and nothing on the way.
    naive.send(lines.record("k", "first")).await.unwrap();
    eventually("the first record is stored", FAILOVER, async || {
        block_in_place(|| oracle::end_offsets(kafka.bootstrap(), lines.name()))[&0] == 1
    })
    .await;

    kafka.broker().stop();
    let sent: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for value in &sent {
        naive.send(lines.record("k", value)).await.unwrap();
    }
    block_in_place(|| kafka.broker().kill());
    drop(naive);
    block_in_place(|| kafka.broker().start());
    let log = block_in_place(|| log_on(&kafka, &lines));
    assert_eq!(missing(&sent, &values(&log)), sent);
}

/// Lost answers: a broker that is stopped for longer than a request may take gets the records twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_sent_again_after_a_lost_answer_is_stored_once() {
    let kafka = block_in_place(Cluster::breakable);
    let ours = stored_after_a_lost_answer(&kafka, true).await;
    assert_eq!((repeated(&ours), ours.len()), (Vec::new(), 101));

    // The negative control: without idempotence the broker cannot tell the second copy from another record.
    let naive = stored_after_a_lost_answer(&kafka, false).await;
    assert_ne!(repeated(&naive), [""; 0]);
}

async fn stored_after_a_lost_answer(kafka: &Breakable, idempotence: bool) -> Vec<String> {
    let lines = block_in_place(|| given::topic_on(kafka, "lost-answer", 1));
    let producer = Kafka::connect(kafka.bootstrap()).producer().idempotence(idempotence);
    let producer = built(producer.linger(Duration::ZERO).set("socket.timeout.ms", "1000"));
    producer.send(lines.record("k", "first")).await.unwrap();

    let logs = Logs::listen();
    kafka.broker().stop();
    let mut deliveries = Vec::new();
    for n in 0..100 {
        deliveries.push(producer.enqueue(lines.record("k", &n.to_string())).await.unwrap());
    }
    let broker = format!(":{}/", kafka.broker().port());
    eventually("the client gives up waiting for the answer", FAILOVER, async || {
        logs.any(|line| line.field("facility") == "REQTMOUT" && line.message.contains(&broker))
    })
    .await;
    kafka.broker().cont();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let log = block_in_place(|| log_on(kafka, &lines));
    values(&log)
}
