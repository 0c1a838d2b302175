//! Close and flush end within their deadline, also when the broker does not answer, and report what is true.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kafka_client::{Delivery, ErrorKind, FlushReport, Kafka, Producer};
use tests::harness::{Breakable, Cluster, Logs, eventually};
use tokio::task::block_in_place;

use crate::given::{self, Lines, built, log_on};

const PATIENCE: Duration = Duration::from_secs(30);
/// What a machine with other things to do may add to a deadline.
const SLACK: Duration = Duration::from_millis(700);

fn report(delivered: u64, failed: u64, unknown: u64) -> (u64, u64, u64) {
    (delivered, failed, unknown)
}

fn told(report: FlushReport) -> (u64, u64, u64) {
    (report.delivered, report.failed, report.unknown)
}

/// A producer that has been connected, and a topic, on a broker that was stopped afterwards.
async fn stopped(kafka: &Breakable) -> (Producer, Lines) {
    let lines = block_in_place(|| given::topic_on(kafka, "stopped", 1));
    let producer = Kafka::connect(kafka.bootstrap()).producer().linger(Duration::ZERO).set("batch.num.messages", "10");
    let producer = built(producer.max_in_flight_records(500));
    producer.send(lines.record("k", "first")).await.unwrap();
    kafka.broker().stop();
    (producer, lines)
}

async fn enqueued(producer: &Producer, lines: &Lines, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for n in 0..count {
        deliveries.push(producer.enqueue(lines.record("k", &n.to_string())).await.unwrap());
    }
    deliveries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_stopped_broker_close_returns_within_its_deadline_and_every_record_has_an_answer() {
    let kafka = block_in_place(Cluster::breakable);
    for deadline in [Duration::from_secs(1), Duration::from_millis(200), Duration::ZERO] {
        let (producer, lines) = stopped(&kafka).await;
        let deliveries = enqueued(&producer, &lines, 500).await;
        // The queue is full: these wait in line.
        let waiting: Vec<_> = (0..10)
            .map(|n| {
                let (producer, record) = (producer.clone(), given::raw(&lines, "waiting", n));
                tokio::spawn(async move { (record.clone(), producer.send(record).await) })
            })
            .collect();
        tokio::task::yield_now().await;

        let start = Instant::now();
        let closed = producer.close(deadline).await;
        assert!(start.elapsed() <= deadline + SLACK, "{:?} for {deadline:?}", start.elapsed());
        assert_eq!(closed.delivered + closed.failed + closed.unknown, 500);
        for waiting in join_all(waiting).await {
            let (record, outcome) = waiting.unwrap();
            let error = outcome.unwrap_err();
            assert_eq!((error.error().kind(), error.maybe_written()), (ErrorKind::Closed, false));
            assert_eq!(error.record(), Some(&record));
        }

        let outcomes = tokio::time::timeout(PATIENCE, join_all(deliveries)).await.expect("every record has an answer");
        let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert!(errors.iter().all(|error| error.error().kind() == ErrorKind::Closed && error.record().is_some()));
        let unknown = errors.iter().filter(|error| error.maybe_written()).count() as u64;
        if deadline > Duration::ZERO {
            assert_eq!(told(closed), report(500 - errors.len() as u64, errors.len() as u64 - unknown, unknown));
            assert!(closed.failed > 0, "what never left the client is known not to be written: {closed:?}");
        } else {
            // Without a moment to look, what is known is chance; but never more than is true.
            assert!(closed.delivered == 0 && closed.failed <= errors.len() as u64 - unknown, "{closed:?}");
        }

        kafka.broker().cont();
        let log = given::values(&block_in_place(|| log_on(&kafka, &lines)));
        let written = errors.iter().filter(|error| !error.maybe_written());
        let written = written.filter(|error| log.contains(&given::text(error.record().unwrap().value.as_deref())));
        assert_eq!(written.count(), 0, "what is said not to be written is not there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_stopped_broker_flush_returns_within_its_deadline_and_gives_nothing_up() {
    let kafka = block_in_place(Cluster::breakable);
    let (producer, lines) = stopped(&kafka).await;
    let deliveries = enqueued(&producer, &lines, 100).await;
    let deadline = Duration::from_millis(300);
    let start = Instant::now();
    let flushed = producer.flush(deadline).await;
    assert!((deadline..=deadline + SLACK).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(told(flushed), report(0, 0, 100));
    // The negative control: who waits for the answers instead waits for as long as the broker is away.
    let mut answers = join_all(deliveries);
    assert!(tokio::time::timeout(deadline + SLACK, &mut answers).await.is_err());

    kafka.broker().cont();
    assert!(producer.flush(PATIENCE).await.is_complete());
    assert!(answers.await.iter().all(Result::is_ok));
    assert_eq!(block_in_place(|| log_on(&kafka, &lines)).len(), 101);
}

#[tokio::test]
async fn close_delivers_what_lingers_and_refuses_what_comes_later() {
    let lines = given::topic("closed", 1);
    let producer = built(given::kafka().producer().linger(Duration::from_secs(200)));
    let clone = producer.clone();
    let deliveries = enqueued(&producer, &lines, 100).await;
    assert_eq!(told(producer.close(PATIENCE).await), report(100, 0, 0));
    assert!(join_all(deliveries).await.iter().all(Result::is_ok));

    let late = given::raw(&lines, "k", "late");
    let refused = clone.send(&late).await.unwrap_err();
    assert_eq!((refused.error().kind(), refused.maybe_written()), (ErrorKind::Closed, false));
    assert_eq!(refused.record(), Some(&late));
    let refused = clone.try_enqueue(late.clone()).unwrap_err();
    assert_eq!((refused.error().kind(), refused.into_record()), (ErrorKind::Closed, late.clone()));
    let refused = clone.send_batch([&late, &late]).await.unwrap_err();
    assert_eq!((refused.delivered(), refused.failures().len()), (0, 2));
    assert!(refused.failures().iter().all(|failure| failure.error().record() == Some(&late)));
    let called = clone.send_with(&late, |_| panic!("called for a record that was refused")).await;
    assert_eq!(called.unwrap_err().error().kind(), ErrorKind::Closed);

    // Again, and at once.
    let start = Instant::now();
    assert_eq!(told(clone.close(PATIENCE).await), report(0, 0, 0));
    assert_eq!(told(clone.flush(PATIENCE).await), report(0, 0, 0));
    assert!(start.elapsed() < SLACK);
    assert_eq!(given::log(&lines).len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_nobody_waits_for_any_more_still_sends_what_lingers() {
    // More partitions than requests may be on their way, so that some linger on while the broker is stopped.
    const PARTITIONS: i32 = 20;
    let kafka = block_in_place(Cluster::breakable);
    let lines = block_in_place(|| given::topic_on(&kafka, "closed-and-left", PARTITIONS));
    let producer = built(Kafka::connect(kafka.bootstrap()).producer().linger(Duration::from_secs(200)));
    let send_everywhere = async || {
        let mut deliveries = Vec::new();
        for partition in 0..PARTITIONS {
            deliveries.push(producer.enqueue(lines.record("k", "v").partition(partition)).await.unwrap());
        }
        deliveries
    };
    let connected = send_everywhere().await;
    assert!(producer.flush(PATIENCE).await.is_complete());
    drop(connected);

    kafka.broker().stop();
    let deliveries = send_everywhere().await;
    let cut_short = tokio::time::timeout(Duration::from_millis(200), producer.close(PATIENCE / 3)).await;
    assert!(cut_short.is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    kafka.broker().cont();
    let answers = join_all(deliveries).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

#[tokio::test]
async fn two_closes_at_once_both_wait_for_the_end() {
    let lines = given::topic("closed-twice", 1);
    let producer = built(given::kafka().producer().linger(Duration::from_secs(200)));
    let deliveries = enqueued(&producer, &lines, 100).await;
    let (one, other) = futures::future::join(producer.close(PATIENCE), producer.close(PATIENCE)).await;
    assert_eq!((told(one), told(other)), (report(100, 0, 0), report(100, 0, 0)));
    assert!(join_all(deliveries).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn any_deadline_is_possible() {
    let lines = given::topic("forever", 1);
    let producer = built(given::kafka().producer());
    let delivery = producer.enqueue(lines.record("k", "v")).await.unwrap();
    assert_eq!(told(producer.flush(Duration::MAX).await), report(1, 0, 0));
    delivery.within(Duration::MAX).await.unwrap();
    producer.send_within(lines.record("k", "v"), Duration::MAX).await.unwrap();
    assert!(producer.close(Duration::MAX).await.is_complete());
}

/// Without a runtime: nothing of it depends on one.
#[test]
fn a_producer_dropped_without_close_delivers_what_it_has_and_logs_how_much_that_was() {
    let lines = given::topic("dropped", 1);
    let producer = built(given::kafka().producer().linger(Duration::from_secs(200)));
    let logs = Logs::listen();
    // A number that no other test leaves behind.
    let deliveries: Vec<_> =
        (0..337).map(|n| producer.try_enqueue(lines.record("k", &n.to_string())).unwrap()).collect();
    let clone = producer.clone();
    drop(producer);
    assert_eq!(clone.in_flight(), 337, "a clone keeps it going");
    drop(clone);
    for delivery in deliveries {
        futures::executor::block_on(delivery).unwrap();
    }
    assert_eq!(given::log(&lines).len(), 337);
    let said = |text: &str, field: &str| {
        logs.any(|line| {
            line.message.starts_with(text) && line.field(field) == "337" && line.level <= tracing::Level::WARN
        })
    };
    assert!(said("producer dropped without close", "in_flight"));
    tests::harness::eventually_blocking("the log tells how it ended", PATIENCE, || {
        said("what a dropped producer had left", "delivered")
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_dropped_while_the_broker_is_stopped_goes_on_in_the_background() {
    let kafka = block_in_place(Cluster::breakable);
    let (producer, lines) = stopped(&kafka).await;
    let deliveries = enqueued(&producer, &lines, 100).await;
    let start = Instant::now();
    drop(producer);
    assert!(start.elapsed() < SLACK, "dropping does not wait");
    kafka.broker().cont();
    assert!(join_all(deliveries).await.iter().all(Result::is_ok));
    eventually("all are stored", PATIENCE, async || block_in_place(|| log_on(&kafka, &lines)).len() == 101).await;
}
