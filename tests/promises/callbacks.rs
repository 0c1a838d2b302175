//! Callbacks and hooks hear of every record once, on threads that nothing else waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use kafka_client::{Kafka, Outcome};
use tests::harness::{Logs, eventually};

use crate::given::{self, built};

const PATIENCE: Duration = Duration::from_secs(30);
/// How long the callbacks hang that do.
const HANG: Duration = Duration::from_secs(3);

/// The thread that this runs on.
fn thread_name() -> String {
    thread::current().name().unwrap_or("foreign").to_owned()
}

#[tokio::test]
async fn each_callback_is_called_once_on_a_thread_of_its_own_with_the_records_answer() {
    const RECORDS: usize = 2_000;
    let lines = given::topic("called", 2);
    let (hooked, hooks) = mpsc::channel();
    let producer = given::kafka().producer().linger(Duration::from_millis(1)).max_in_flight_records(200);
    let producer = built(producer.on_delivery(move |acknowledgement| {
        let key = given::text(acknowledgement.key());
        hooked.send((key, acknowledgement.outcome().is_ok(), thread_name())).unwrap();
    }));
    let (called, calls) = mpsc::channel();
    for n in 0..RECORDS {
        let called = called.clone();
        let (key, value) = (n.to_string(), "v");
        let record = lines.record(&key, value).partition(0);
        let call = move |outcome: Outcome| called.send((n, outcome, thread_name())).unwrap();
        producer.send_with(record, call).await.unwrap();
    }
    drop(called);
    assert!(producer.close(PATIENCE).await.is_complete());
    let mut order = Vec::new();
    for (n, outcome, on) in &calls {
        assert_eq!(outcome.unwrap().offset(), n as i64);
        assert!(is_our_own(&on), "called on {on}");
        order.push(n);
    }
    // They begin in the order of the answers. One that the machine lets wait just then is overtaken, as it should be.
    let overtaken = order.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(overtaken < RECORDS / 100, "{overtaken} of {RECORDS} out of order");
    order.sort_unstable();
    assert!(order.into_iter().eq(0..RECORDS), "each once");
    // And none is left that could call again.
    assert_eq!(calls.try_recv().err(), Some(mpsc::TryRecvError::Disconnected));
    drop(producer);
    let mut keys: Vec<_> = hooks
        .iter()
        .map(|(key, delivered, on)| {
            assert!(delivered && is_our_own(&on), "told on {on}");
            key.parse::<usize>().unwrap()
        })
        .collect();
    keys.sort_unstable();
    assert!(keys.into_iter().eq(0..RECORDS), "each record once");
}

/// Neither one of librdkafka's, nor the one that forwards its events, nor the caller's.
fn is_our_own(name: &str) -> bool {
    // librdkafka's threads are not Rust's, and so have no name here.
    !["foreign", "kafka-producer", thread_name().as_str()].contains(&name)
}

#[tokio::test]
async fn a_callback_that_hangs_or_panics_delays_no_delivery_and_no_other_callback() {
    let lines = given::topic("hanging", 1);
    let producer = built(given::kafka().producer().linger(Duration::ZERO));
    producer.send(lines.record("k", "first")).await.unwrap();
    let logs = Logs::listen();
    let hangs = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let hangs = hangs.clone();
        let hang = move |_: Outcome| {
            hangs.fetch_add(1, Ordering::Release);
            thread::sleep(HANG);
        };
        producer.send_with(lines.record("k", "hangs"), hang).await.unwrap();
        producer
            .send_with(lines.record("k", "panics"), |_| panic!("a callback that panics, on purpose"))
            .await
            .unwrap();
    }
    let start = Instant::now();
    let (called, calls) = mpsc::channel();
    for n in 0..100 {
        let called = called.clone();
        producer.send_with(lines.record("k", "v"), move |_| called.send(n).unwrap()).await.unwrap();
        let sent = Instant::now();
        producer.send(lines.record("k", "v")).await.unwrap();
        assert!(sent.elapsed() < Duration::from_secs(1), "a delivery waited {:?}", sent.elapsed());
    }
    let mut heard: Vec<i32> = (0..100).map(|_| calls.recv_timeout(Duration::from_secs(1)).unwrap()).collect();
    assert!(start.elapsed() < HANG, "the others still hang");
    assert_eq!(hangs.load(Ordering::Acquire), 3);
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..100), "each once");
    // A panic is told by its own thread, which others do not wait for.
    let told = || logs.any(|line| line.field("panic") == "a callback that panics, on purpose");
    eventually("the panic is told", PATIENCE, async || told()).await;
    assert!(producer.close(PATIENCE).await.is_complete());
}

/// The negative control: on the thread that serves librdkafka's events, one callback holds up every answer.
#[test]
fn rdkafkas_callbacks_do_hold_up_each_other() {
    use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};

    struct Hanging {
        hung: AtomicBool,
        called: mpsc::Sender<()>,
    }

    impl rdkafka::ClientContext for Hanging {}

    impl ProducerContext for Hanging {
        type DeliveryOpaque = ();

        fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {
            if !self.hung.swap(true, Ordering::AcqRel) {
                thread::sleep(HANG);
            }
            self.called.send(()).unwrap();
        }
    }

    let lines = given::topic("hanging-naive", 1);
    let (called, calls) = mpsc::channel();
    let naive: ThreadedProducer<_> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", tests::harness::Cluster::shared().bootstrap())
        .create_with_context(Hanging { hung: AtomicBool::new(false), called })
        .unwrap();
    for _ in 0..2 {
        naive.send(BaseRecord::to(lines.name()).key("k").payload("v")).map_err(|(e, _)| e).unwrap();
    }
    assert_eq!(calls.recv_timeout(HANG - Duration::from_secs(1)), Err(RecvTimeoutError::Timeout));
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(()));
}

#[tokio::test]
async fn close_waits_for_callbacks_and_one_that_hangs_keeps_no_other_from_being_called() {
    let lines = given::topic("closing", 1);
    let producer = built(given::kafka().producer().linger(Duration::from_secs(200)));
    let (called, calls) = mpsc::channel();
    for n in 0..100 {
        let called = called.clone();
        let call = move |_: Outcome| {
            if n % 50 == 0 {
                thread::sleep(HANG);
            }
            called.send(n).unwrap();
        };
        producer.send_with(lines.record("k", "v"), call).await.unwrap();
    }
    let start = Instant::now();
    assert!(producer.close(Duration::from_secs(2)).await.is_complete());
    assert!(start.elapsed() < HANG, "it does not wait longer than its deadline");
    let mut heard: Vec<i32> = calls.try_iter().collect();
    assert_eq!(heard.len(), 98, "all but those that hang");
    heard.extend((0..2).map(|_| calls.recv_timeout(PATIENCE).unwrap()));
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..100), "each once");
}

#[tokio::test]
async fn a_callback_may_use_the_producer() {
    let kafka: Kafka = given::kafka();
    let lines = given::topic("nested", 1);
    let producer = built(kafka.producer().linger(Duration::ZERO).max_in_flight_records(10));
    let (called, calls) = mpsc::channel();
    let (again, other) = (producer.clone(), lines.clone());
    let first = move |outcome: Outcome| {
        let first = outcome.unwrap().offset();
        // Waits for an answer, which comes though this thread is occupied.
        let second = futures::executor::block_on(again.send(other.record("k", "second"))).unwrap().offset();
        called.send((first, second)).unwrap();
    };
    producer.send_with(lines.record("k", "first"), first).await.unwrap();
    let heard = tokio::task::spawn_blocking(move || calls.recv_timeout(PATIENCE)).await.unwrap();
    assert_eq!(heard, Ok((0, 1)));
}
