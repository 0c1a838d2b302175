//! A failed record tells the truth about itself: whether it may be in the log, and what it was.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use kafka_client::{Acks, ErrorKind, Fault, Kafka, Producer, RawRecord, Request, Retry, SendError};
use tests::harness::oracle::{self, Stored};
use tests::harness::{Breakable, Cluster, Node, eventually};
use tokio::task::block_in_place;

use crate::given::{self, Lines, built, log_on};

const PATIENCE: Duration = Duration::from_secs(30);
const RECORDS: usize = 3_000;

/// How records ended that were interrupted in the middle.
struct Interrupted {
    lines: Lines,
    /// Keeps the connection open, so that the broker can answer what it was asked.
    _producer: Producer,
    acknowledged: Vec<RawRecord>,
    failures: Vec<(RawRecord, SendError)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_stopped_broker_what_was_not_written_is_not_there_and_can_be_sent_again() {
    let kafka = block_in_place(Cluster::breakable);
    let interrupted = interrupted(&kafka, Node::stop).await;
    kafka.broker().cont();
    assert!(interrupted.failures.iter().any(|(_, error)| error.maybe_written()), "five requests were on their way");
    told_the_truth(&kafka, &interrupted, 1).await;

    // The negative control: who sends again whatever failed has some of it twice.
    let everything: Vec<_> = interrupted.failures.iter().filter_map(|(_, error)| error.record()).collect();
    send_again(&kafka, &everything).await;
    let copies = copies(&block_in_place(|| log_on(&kafka, &interrupted.lines)));
    let twice = |unknown: &&(RawRecord, SendError)| unknown.1.maybe_written() && copies[&value(&unknown.0)] > 1;
    assert!(interrupted.failures.iter().any(|failure| twice(&failure)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_killed_broker_what_was_not_written_is_not_there_and_can_be_sent_again() {
    let kafka = block_in_place(Cluster::breakable);
    let interrupted = interrupted(&kafka, Node::kill).await;
    block_in_place(|| kafka.broker().start());
    told_the_truth(&kafka, &interrupted, 0).await;
}

/// Sends records, breaks the broker in the middle, and gives up after a second.
async fn interrupted(kafka: &Breakable, break_it: fn(&Node)) -> Interrupted {
    let lines = block_in_place(|| given::topic_on(kafka, "interrupted", 1));
    // Small requests, of which five are on their way at most: the rest waits in the client.
    let producer = Kafka::connect(kafka.bootstrap()).producer().linger(Duration::ZERO).set("batch.num.messages", "10");
    let producer = built(producer);
    let mut sent = Vec::new();
    for record in records(&lines) {
        let delivery = producer.enqueue(&record).await.unwrap();
        sent.push((record, delivery));
    }
    eventually("some are acknowledged", PATIENCE, async || producer.in_flight() <= RECORDS - 100).await;
    block_in_place(|| break_it(kafka.broker()));
    let left = producer.in_flight() as u64;
    let report = producer.close(Duration::from_secs(1)).await;

    let ended = sent.into_iter().map(async |(record, delivery)| (record, delivery.await));
    let (mut acknowledged, mut failures) = (Vec::new(), Vec::new());
    for (record, outcome) in join_all(ended).await {
        match outcome {
            Ok(_) => acknowledged.push(record),
            Err(error) => failures.push((record, error)),
        }
    }
    let unknown = failures.iter().filter(|(_, error)| error.maybe_written()).count() as u64;
    assert_eq!((report.unknown, report.failed), (unknown, failures.len() as u64 - unknown));
    assert!(report.delivered + report.failed + report.unknown <= left, "{report:?} of {left}");
    assert!(report.failed > 0, "the broker was broken in the middle: {report:?}");
    Interrupted { lines, _producer: producer, acknowledged, failures }
}

fn records(lines: &Lines) -> Vec<RawRecord> {
    let record = |n: usize| {
        let mut record = given::raw(lines, n % 7, format!("value {n}"));
        record.partition = Some(0);
        record.timestamp = Some(given::yesterday() + n as i64);
        record.headers.push("number", n.to_string());
        record.headers.push_null("null");
        record
    };
    (0..RECORDS).map(record).collect()
}

/// Checks what the errors say against the log, of which at least so many records are unknown ones; then sends again
/// what is not there.
async fn told_the_truth(kafka: &Breakable, interrupted: &Interrupted, unknown_there: i64) {
    let Interrupted { lines, acknowledged, failures, .. } = interrupted;
    for (record, error) in failures {
        assert_eq!(error.record(), Some(record), "it comes back bit for bit");
        assert_eq!(error.error().kind(), ErrorKind::Closed);
        let said = error.to_string();
        let ending =
            if error.maybe_written() { "; the record may have been written" } else { "; the record was not written" };
        assert!(said.starts_with("send failed for ") && said.ends_with(ending), "{said}");
    }
    eventually("the broker has worked off what it had been sent", PATIENCE, async || {
        let end = block_in_place(|| oracle::end_offsets(kafka.bootstrap(), lines.name()))[&0];
        end >= acknowledged.len() as i64 + unknown_there
    })
    .await;
    let not_written: Vec<_> = failures.iter().filter(|(_, error)| !error.maybe_written()).collect();
    let before = copies(&block_in_place(|| log_on(kafka, lines)));
    assert!(not_written.iter().all(|(record, _)| !before.contains_key(&value(record))));

    let again: Vec<_> = not_written.iter().filter_map(|(_, error)| error.record()).collect();
    send_again(kafka, &again).await;
    let log = block_in_place(|| log_on(kafka, lines));
    let after = copies(&log);
    for record in acknowledged.iter().chain(not_written.iter().map(|(record, _)| record)) {
        assert_eq!(after.get(&value(record)), Some(&1), "{record:?}");
    }
    assert!(after.values().all(|copies| *copies == 1), "unknown ones are there once or not at all");
    let sent: BTreeMap<_, _> = records(lines).into_iter().map(|record| (record.value.clone(), record)).collect();
    for stored in &log {
        let record = &sent[&stored.value];
        assert_eq!((&stored.key, stored.timestamp), (&record.key, record.timestamp));
        assert_eq!(stored.headers.len(), record.headers.len());
    }
}

async fn send_again(kafka: &Breakable, records: &[&RawRecord]) {
    let producer = built(Kafka::connect(kafka.bootstrap()).producer());
    assert_eq!(producer.send_batch(records.iter().copied()).await.unwrap(), records.len());
}

fn value(record: &RawRecord) -> String {
    given::text(record.value.as_deref())
}

/// How often each value is in a log.
fn copies(log: &[Stored]) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    given::values(log).into_iter().for_each(|value| *copies.entry(value).or_insert(0) += 1);
    copies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_the_waiting_and_not_the_record() {
    let kafka = block_in_place(Cluster::breakable);
    let lines = block_in_place(|| given::topic_on(&kafka, "deadline", 1));
    let producer = Kafka::connect(kafka.bootstrap()).producer().linger(Duration::ZERO).max_in_flight_records(2);
    let producer = built(producer);
    producer.send(lines.record("k", "first")).await.unwrap();

    kafka.broker().stop();
    let wait = Duration::from_millis(100);
    let accepted = [
        producer.send_within(lines.record("k", "send_within"), wait).await,
        producer.enqueue(lines.record("k", "within")).await.unwrap().within(wait).await,
    ];
    for error in accepted.map(Result::unwrap_err) {
        assert_eq!((error.error().kind(), error.error().retry()), (ErrorKind::Timeout, Retry::Temporary));
        assert!(error.maybe_written() && error.record().is_none(), "it is still on its way: {error}");
    }
    // The queue is full by now.
    let refused = given::raw(&lines, "k", "refused");
    let error = producer.send_within(&refused, wait).await.unwrap_err();
    assert_eq!((error.error().kind(), error.error().retry()), (ErrorKind::Timeout, Retry::Temporary));
    assert!(!error.maybe_written(), "{error}");
    assert_eq!(error.record(), Some(&refused));

    kafka.broker().cont();
    assert!(producer.close(PATIENCE).await.is_complete());
    let log = block_in_place(|| log_on(&kafka, &lines));
    assert_eq!(given::values(&log), ["first", "send_within", "within"]);
}

#[tokio::test]
async fn a_record_that_the_broker_refuses_was_not_written() {
    let lines = given::topic("refused", 1);
    let limited =
        kafka_client::TopicSpec::new(lines.name().to_owned() + "-small", 1).config("max.message.bytes", "2000");
    given::kafka().ensure_topics(std::slice::from_ref(&limited)).await.unwrap();
    let small = kafka_client::Topic::new(limited.name(), kafka_client::Utf8, kafka_client::Utf8);
    // How long a topic that nobody knows may take to become known.
    let producer = built(given::kafka().producer().set("topic.metadata.propagation.max.ms", "500"));
    let mut too_large = given::raw(&small, "k", "v".repeat(5_000));
    too_large.partition = Some(0);
    too_large.timestamp = Some(given::yesterday());
    let error = producer.send(&too_large).await.unwrap_err();
    assert_eq!((error.error().kind(), error.error().retry()), (ErrorKind::TooLarge, Retry::Permanent));
    assert_eq!((error.maybe_written(), error.record()), (false, Some(&too_large)));
    assert_eq!(error.error().code(), Some("MSG_SIZE_TOO_LARGE"));

    let nowhere =
        given::raw(&kafka_client::Topic::new("no-such-topic", kafka_client::Utf8, kafka_client::Utf8), "k", "v");
    let error = producer.send(&nowhere).await.unwrap_err();
    assert_eq!((error.error().kind(), error.error().topic()), (ErrorKind::UnknownTopic, Some("no-such-topic")));
    assert!(!error.maybe_written());

    let mut beyond = given::raw(&lines, "k", "v");
    beyond.partition = Some(1);
    let error = producer.send(&beyond).await.unwrap_err();
    assert_eq!((error.error().kind(), error.error().partition()), (ErrorKind::UnknownTopic, Some(1)));
    assert!(!error.maybe_written());
    assert_eq!(given::log(&lines).len() + given::log(&small).len(), 0);
}

/// librdkafka reports records as delivered that it has no offset of. One kind of them are those that it concludes to be
/// written because later ones are, and a broker that has just started proves it wrong. Another kind comes here: "you have
/// written that before".
#[tokio::test]
async fn a_report_without_an_offset_is_no_delivery() {
    const DUPLICATE_SEQUENCE_NUMBER: Fault = Fault::Code(46);
    let kafka = Kafka::embedded().unwrap();
    let broker = kafka.embedded_broker().unwrap();
    broker.create_topic("lines", 1).unwrap();
    let producer = built(kafka.producer());
    let record = || RawRecord::new("lines", None, Some(b"once".to_vec()));
    assert_eq!(producer.send(record()).await.unwrap().offset(), 0);
    broker.fail_requests(Request::Produce, DUPLICATE_SEQUENCE_NUMBER, 1).unwrap();
    let error = producer.send(record()).await.unwrap_err();
    assert!(error.maybe_written() && error.error().retry() == Retry::Temporary, "{error:?}");
    assert_eq!(error.record().unwrap().value.as_deref(), Some(&b"once"[..]));
    // The next one has an offset again; and with acks=0 none has, and nothing else is to be had.
    assert!(producer.send(record()).await.unwrap().offset() > 0);
    let blind = built(kafka.producer().acks(Acks::None).idempotence(false));
    assert_eq!(blind.send(record()).await.unwrap().offset(), -1);
}
