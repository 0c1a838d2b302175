//! When are offsets committed, and how much is handled again after a kill? By interval, by records, or within a bound.
//!
//! A consumer is killed in the middle, once for each strategy, and what the next one handles again is counted. Then a
//! handler that returns before its work is done: its offsets wait, the others do not.
//!
//! Run it with `cargo run --bin commit_strategies`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{ConsumerBuilder, Delivery, Json, Kafka, NoKey, Producer, Received, SendError, Topic, TopicSpec};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

const RECORDS: usize = 200;
/// The kill comes when so many were begun.
const FATAL: usize = 150;
const EVERY: u64 = 10;
const EXPOSED: usize = 5;
const ROUND_TRIP: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

type Numbers = Topic<NoKey, Json<usize>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let [numbers, copies] = ["numbers", "copies"]
        .map(|name| Topic::new(format!("examples.commit_strategies.{name}-{run}"), NoKey, Json::<usize>::new()));
    kafka.ensure_topics(&[TopicSpec::new(numbers.name(), 1), TopicSpec::new(copies.name(), 1)]).await?;
    let producer = kafka.producer().build()?;
    let all: Vec<usize> = (0..RECORDS).collect();
    producer.send_batch(all.iter().map(|number| numbers.record(&(), number))).await?;

    println!("{RECORDS} records, killed at {FATAL}      handled again");
    // The default: what was finished is committed every second.
    killed(&kafka, &numbers, "interval of 1 s", |consumer| consumer).await?;
    // And as soon as so many are finished.
    let records = killed(&kafka, &numbers, "every 10 records", |consumer| consumer.commit_records(EVERY)).await?;
    // No more are handed out than may be handled again. A commit is a round trip, so this is the price of it.
    let bound =
        killed(&kafka, &numbers, "never more than 5", |consumer| consumer.max_duplicate_exposure(EXPOSED)).await?;

    // Work that goes on behind a handler: here each record is sent on.
    if let Some(broker) = kafka.embedded_broker() {
        broker.round_trip(ROUND_TRIP)?;
    }
    let awaited = copied(&kafka, &numbers, &producer, &copies, "awaited in the handler", false).await?;
    let later = copied(&kafka, &numbers, &producer, &copies, "finished later", true).await?;

    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[numbers.name(), copies.name()]).await?;
    }
    match bound <= EXPOSED && records < FATAL && later < awaited {
        true => Ok(()),
        false => Err("a strategy did not keep its promise".into()),
    }
}

/// Kills a consumer in the middle and lets another one go on. Returns how many records were begun by both.
async fn killed(
    kafka: &Kafka,
    numbers: &Numbers,
    name: &str,
    strategy: impl Fn(ConsumerBuilder) -> ConsumerBuilder,
) -> Result<usize, Box<dyn Error>> {
    let (before, after) = (Begun::default(), Begun::default());
    let start = |begun: &Begun| {
        let begun = begun.clone();
        // Assigned by hand, so that the second one need not wait until the group has missed the first.
        let consumer = kafka.consumer(format!("{}-{name}", numbers.name())).assign([(numbers.name(), 0)]);
        let handle = move |number: Received<(), usize>| {
            let begun = begun.clone();
            async move {
                begun.note(*number.value());
                sleep(Duration::from_millis(2)).await;
                Ok::<_, Infallible>(())
            }
        };
        strategy(consumer).route(numbers, handle).build()
    };
    // A future that is dropped does nothing more: it finishes nothing, commits nothing, tells nobody. As a kill.
    tokio::select! {
        ended = start(&before)?.run() => return Err(format!("it ended by itself: {ended:?}").into()),
        reached = before.reaches(|begun| begun.len() >= FATAL) => reached?,
    }
    let last_one = |begun: &BTreeSet<usize>| begun.contains(&(RECORDS - 1));
    start(&after)?.run_until(after.reaches(last_one)).await?;

    let (before, after) = (before.numbers(), after.numbers());
    let again = before.intersection(&after).count();
    println!("  {name:<30} {again}");
    match before.union(&after).count() == RECORDS {
        true => Ok(again),
        false => Err("a record was lost".into()),
    }
}

/// Sends each record on, waiting for the broker's answer within the handler, or behind it.
async fn copied(
    kafka: &Kafka,
    numbers: &Numbers,
    producer: &Producer,
    copies: &Numbers,
    name: &str,
    later: bool,
) -> Result<Duration, Box<dyn Error>> {
    let (count, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let send_on = {
        let (producer, copies, count, all) = (producer.clone(), copies.clone(), count.clone(), all.clone());
        move |number: Received<(), usize>| {
            let (producer, copies, count, all) = (producer.clone(), copies.clone(), count.clone(), all.clone());
            async move {
                let delivery = producer.enqueue(copies.record(&(), number.value())).await?;
                if count.fetch_add(1, Ordering::Relaxed) + 1 == RECORDS {
                    all.notify_one();
                }
                // A delivery is a completion: the next record is handled at once, and this one's offset is committed
                // when the broker has the copy. If it fails, the consumer ends as if the handler had failed.
                Ok::<Delivery, SendError>(delivery)
            }
        }
    };
    let consumer = kafka.consumer(format!("{}-{name}", copies.name())).assign([(numbers.name(), 0)]);
    let consumer = match later {
        true => consumer.route(numbers, send_on),
        false => consumer.route(numbers, move |number| {
            let sending = send_on(number);
            async move { sending.await?.await.map(drop) }
        }),
    };
    let start = Instant::now();
    // An orderly end waits for what was begun, and commits it.
    let report = consumer.build()?.run_until(timeout(PATIENCE, all.notified())).await?;
    let took = start.elapsed();
    let committed: i64 = report.committed.values().sum();
    println!("  {name:<30} {committed} copied and committed in {} ms", took.as_millis());
    match usize::try_from(committed) == Ok(RECORDS) {
        true => Ok(took),
        false => Err(format!("{report:?}").into()),
    }
}

/// The records that were begun.
#[derive(Clone, Default)]
struct Begun(Arc<(Mutex<BTreeSet<usize>>, Notify)>);

impl Begun {
    fn note(&self, number: usize) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        self.0.1.notify_one();
    }

    fn numbers(&self) -> BTreeSet<usize> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn reaches(&self, goal: impl Fn(&BTreeSet<usize>) -> bool) -> Result<(), &'static str> {
        let reached = async {
            while !goal(&self.numbers()) {
                self.0.1.notified().await;
            }
        };
        timeout(PATIENCE, reached).await.map_err(|_| "it took too long")
    }
}
