//! Thousands of tasks share a small queue: in order, in turn, within its bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use kafka_client::{ErrorKind, Producer};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tests::harness::Cluster;
use tests::harness::oracle::Stored;

use crate::given::{self, Lines, built};

const EACH: usize = 5;

/// What the log of one partition tells about tasks that wrote 0, 1, 2, .. each.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    records: usize,
    /// Records that come after a later one of the same task.
    out_of_order: usize,
    /// How many records a task was ever ahead of another.
    most_ahead: usize,
}

impl Told {
    /// Reads a log in which the key is the task, and the value the record's number.
    fn by(log: &[Stored], tasks: usize) -> Self {
        let number = |bytes: &Option<Vec<u8>>| given::text(bytes.as_deref()).parse::<usize>().unwrap();
        let mut written: BTreeMap<usize, usize> = (0..tasks).map(|task| (task, 0)).collect();
        let mut last = BTreeMap::new();
        // How many tasks have written how many records; the fewest are found without looking at each task.
        let mut having = [0; EACH + 1];
        having[0] = tasks;
        let mut told = Self { records: log.len(), out_of_order: 0, most_ahead: 0 };
        for stored in log {
            let (task, n) = (number(&stored.key), number(&stored.value));
            told.out_of_order += usize::from(last.get(&task).is_some_and(|last| *last > n));
            last.insert(task, n);
            let count = written.entry(task).or_default();
            having[*count] -= 1;
            *count += 1;
            having[*count] += 1;
            let fewest = having.iter().position(|tasks| *tasks > 0).unwrap_or(0);
            told.most_ahead = told.most_ahead.max(*count - fewest);
        }
        told
    }
}

#[tokio::test]
async fn three_thousand_tasks_share_room_for_a_hundred_records_in_turn() {
    const TASKS: usize = 3_000;
    const ROOM: usize = 100;
    let lines = given::topic("saturated", 1);
    let producer = built(given::kafka().producer().linger(Duration::from_millis(1)).max_in_flight_records(ROOM));
    // Connected; from here on the time is that of the queue.
    producer.send(given::topic("other", 1).record("k", "v")).await.unwrap();

    let start = Instant::now();
    let most = Arc::new(AtomicUsize::new(0));
    let tasks = (0..TASKS).map(|task| {
        let (producer, lines, most) = (producer.clone(), lines.clone(), most.clone());
        tokio::spawn(async move {
            for n in 0..EACH {
                let delivery = producer.enqueue(lines.record(&task.to_string(), &n.to_string())).await.unwrap();
                most.fetch_max(producer.in_flight(), Relaxed);
                delivery.await.unwrap();
            }
        })
    });
    try_join_all(tasks.collect::<Vec<_>>()).await.unwrap();
    let took = start.elapsed();

    let told = Told::by(&given::log(&lines), TASKS);
    assert_eq!((told.records, told.out_of_order), (TASKS * EACH, 0));
    // Who waits in line is served before whoever comes back.
    assert!(told.most_ahead <= 2, "{told:?}");
    assert_eq!(most.load(Relaxed), ROOM, "the room is used, and no more than that");
    // 150 times a full queue: sleeping when it is full would take 100 ms each time.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Each task sends its records at once; which of them come first is decided by the order of the calls.
#[tokio::test]
async fn the_order_of_calls_is_kept_however_many_of_them_wait() {
    const TASKS: usize = 300;
    const ROOM: usize = 20;
    let lines = given::topic("pipelined", 1);
    let producer = built(given::kafka().producer().linger(Duration::from_millis(1)).max_in_flight_records(ROOM));
    let tasks = (0..TASKS).map(|task| send_all_at_once(task, lines.clone(), producer.clone()));
    join_all(tasks).await;
    let told = Told::by(&given::log(&lines), TASKS);
    assert_eq!((told.records, told.out_of_order), (TASKS * EACH, 0));

    // The negative control: rdkafka's own, which sleeps while its queue is full and then tries again.
    let lines = given::topic("pipelined-naive", 1);
    let naive: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", Cluster::shared().bootstrap())
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", ROOM.to_string())
        .set("linger.ms", "1")
        .create()
        .unwrap();
    let tasks = (0..TASKS).map(|task| send_all_naively(task, lines.clone(), naive.clone()));
    join_all(tasks.map(tokio::spawn)).await;
    let told = Told::by(&given::log(&lines), TASKS);
    assert_eq!(told.records, TASKS * EACH);
    assert!(told.out_of_order > 0 && told.most_ahead > 2, "the naive code is worse than this: {told:?}");
}

async fn send_all_at_once(task: usize, lines: Lines, producer: Producer) {
    let key = task.to_string();
    let values: Vec<_> = (0..EACH).map(|n| n.to_string()).collect();
    for outcome in join_all(values.iter().map(|value| producer.send(lines.record(&key, value)))).await {
        outcome.unwrap();
    }
}

async fn send_all_naively(task: usize, lines: Lines, producer: FutureProducer) {
    let key = task.to_string();
    let values: Vec<_> = (0..EACH).map(|n| n.to_string()).collect();
    let record = |value| FutureRecord::to(lines.name()).key(&key).payload(value);
    for outcome in join_all(values.iter().map(|value| producer.send(record(value), Timeout::Never))).await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn bytes_in_flight_stay_within_their_bound() {
    const BOUND: usize = 10_000;
    const RECORD: usize = 1_000;
    let lines = given::topic("bytes", 1);
    let producer = built(given::kafka().producer().linger(Duration::from_millis(1)).max_in_flight_bytes(BOUND));
    let value = "v".repeat(RECORD - 2);
    let most = AtomicUsize::new(0);
    let tasks = (0..50).map(async |task| {
        for _ in 0..10 {
            let delivery = producer.enqueue(lines.record(&format!("{task:02}"), &value)).await.unwrap();
            most.fetch_max(producer.in_flight(), Relaxed);
            delivery.await.unwrap();
        }
    });
    join_all(tasks).await;
    assert_eq!(most.load(Relaxed) * RECORD, BOUND, "the bound is used, and kept");
    assert_eq!(producer.send_batch((0..500).map(|_| lines.record("by", &value))).await.unwrap(), 500);
    assert_eq!(given::log(&lines).len(), 1000);
}

#[tokio::test]
async fn a_record_larger_than_the_bound_goes_alone_and_in_turn() {
    let lines = given::topic("large", 1);
    // Only a flush sends anything.
    let producer = built(given::kafka().producer().linger(Duration::from_secs(200)).max_in_flight_bytes(1_000));
    let large = "v".repeat(50_000);
    let enqueue = |value: &str| {
        let (producer, lines, value) = (producer.clone(), lines.clone(), value.to_owned());
        tokio::spawn(async move { producer.enqueue(lines.record("k", &value)).await })
    };
    let mut deliveries = Vec::new();
    for value in ["1", "2", "3"] {
        deliveries.push(producer.enqueue(lines.record("k", value)).await.unwrap());
    }
    let fourth = enqueue(&large);
    let fifth = enqueue("5");
    tokio::task::yield_now().await;
    assert_eq!(producer.in_flight(), 3, "the large one waits until it has the bound for itself");
    let refused = producer.try_enqueue(lines.record("k", "past the line")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::Full);

    assert!(producer.flush(Duration::from_secs(30)).await.is_complete());
    deliveries.push(fourth.await.unwrap().unwrap());
    // The flush may go on for a moment, and send the large one, too.
    assert!(producer.in_flight() <= 1, "nobody joins the large one");

    assert!(producer.flush(Duration::from_secs(30)).await.is_complete());
    deliveries.push(fifth.await.unwrap().unwrap());
    assert!(producer.flush(Duration::from_secs(30)).await.is_complete());
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(given::values(&given::log(&lines)), ["1", "2", "3", large.as_str(), "5"]);
}
