//! How does every record count exactly once, whatever is killed? Departures in, delay totals of each carrier out.
//!
//! Kill it with `kill -9`, as often as you like, and start it again: it goes on, and the totals are right to the minute.
//! It needs a real Kafka; a broker inside the process proves nothing about transactions.
//!
//! Run it with `KAFKA_BOOTSTRAP_SERVERS=localhost:9092 cargo run --bin exactly_once`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{ConsumerHandle, Json, Kafka, Received, Topic, TopicSpec, Utf8};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// New York, 7 to 10 February 2013: a blizzard.
const FLIGHTS: &str = include_str!("data/flights.csv");
const PARTITIONS: i32 = 3;
/// This instance, of one: whoever starts under the same names takes over at once from the one that was killed.
const INSTANCE: &str = "examples.delays-0";

/// The answer in code: what is sent through `tx`, and the offsets of what it was made of, count together or not at all.
async fn count(kafka: &Kafka, departures: &Departures, delays: &Delays) -> Result<u64, kafka_client::Error> {
    let pipeline = kafka
        .exactly_once("examples.delays")
        .from(departures)
        // A producer of the same id aborts what its predecessor has left open; without one, others wait for a timeout.
        .transactional_id(INSTANCE)
        .consumer(|consumer| consumer.static_member(INSTANCE))
        // Small transactions; the default is what 100 ms bring, 10,000 at most.
        .max_records(100)
        .process(async |batch, tx| {
            let mut shares = BTreeMap::<&str, Delay>::new();
            for departure in &batch {
                shares.entry(departure.key()).or_default().add(departure.value());
            }
            for (carrier, share) in &shares {
                tx.send(delays.record(*carrier, share)).await?;
            }
            println!("counted {} departures, and not committed them", batch.len());
            // Time to be killed in.
            sleep(Duration::from_millis(100)).await;
            Ok(())
        })
        .build()?;
    let handle = pipeline.handle();
    // Counted by this process; a predecessor may have done some of the work.
    Ok(pipeline.run_until(end_of(handle)).await?.handled)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env()?;
    let file: Vec<Departure> = csv::Reader::from_reader(FLIGHTS.as_bytes()).deserialize().collect::<Result<_, _>>()?;
    let departures = Topic::new("examples.departures", Utf8, Json::<Departure>::new());
    let delays = Topic::new("examples.delays", Utf8, Json::<Delay>::new());
    let specs = [TopicSpec::new(departures.name(), PARTITIONS), TopicSpec::new(delays.name(), PARTITIONS)];
    kafka.ensure_topics(&specs).await?;

    write_once(&kafka, &departures, &file).await?;
    println!("{} departures were counted by this process", count(&kafka, &departures, &delays).await?);
    let totals = totals(&read(&kafka, &delays).await?);

    println!("carrier  departures  cancelled  minutes late");
    for (carrier, Delay { departures, cancelled, minutes }) in &totals {
        println!("{carrier:<7}  {departures:>10}  {cancelled:>9}  {minutes:>12}");
    }
    let of_the_file: Vec<_> = file.iter().map(|departure| (departure.carrier.clone(), Delay::of(departure))).collect();
    match totals == self::totals(&of_the_file) {
        true => println!("as in the file, to the minute"),
        false => return Err("the totals are not those of the file".into()),
    }
    Ok(())
}

type Departures = Topic<Utf8, Json<Departure>>;
type Delays = Topic<Utf8, Json<Delay>>;

/// What is read of a line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Departure {
    carrier: String,
    flight: u16,
    /// Minutes; absent where the flight was cancelled.
    dep_delay: Option<i64>,
}

/// What some departures of a carrier add to its totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Delay {
    departures: u64,
    cancelled: u64,
    minutes: i64,
}

impl Delay {
    fn of(departure: &Departure) -> Self {
        let minutes = departure.dep_delay;
        Self { departures: 1, cancelled: minutes.is_none().into(), minutes: minutes.unwrap_or(0) }
    }

    fn add(&mut self, departure: &Departure) {
        self.merge(Self::of(departure));
    }

    fn merge(&mut self, other: Self) {
        self.departures += other.departures;
        self.cancelled += other.cancelled;
        self.minutes += other.minutes;
    }
}

fn totals(shares: &[(String, Delay)]) -> BTreeMap<String, Delay> {
    let mut totals = BTreeMap::<String, Delay>::new();
    shares.iter().for_each(|(carrier, share)| totals.entry(carrier.clone()).or_default().merge(*share));
    totals
}

/// Writes the file, unless that is done: in one transaction, so that a kill leaves all of it or nothing.
async fn write_once(kafka: &Kafka, departures: &Departures, file: &[Departure]) -> Result<(), Box<dyn Error>> {
    // First: it ends what a predecessor may have left open.
    let mut producer = kafka.transactional_producer("examples.departures-0").build().await?;
    if read(kafka, departures).await?.is_empty() {
        producer
            .transaction(async |tx| {
                let records = file.iter().map(|departure| departures.record(&departure.carrier, departure));
                Ok(tx.send_batch(records).await?)
            })
            .await?;
    }
    let closed = producer.close(Duration::from_secs(10)).await;
    if closed.is_complete() { Ok(()) } else { Err(format!("the file is not written: {closed:?}").into()) }
}

/// All of a topic that is committed.
async fn read<V>(kafka: &Kafka, topic: &Topic<Utf8, Json<V>>) -> Result<Vec<(String, V)>, Box<dyn Error>>
where
    V: Serialize + for<'a> Deserialize<'a> + Send + Sync + 'static,
{
    let all = Arc::new(Mutex::new(Vec::new()));
    let seen = all.clone();
    // A group of its own each time, so that it starts with the oldest record.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let reader = kafka
        .consumer(format!("examples.reader-{now}"))
        .commit_interval(Duration::from_millis(100))
        .set("isolation.level", "read_committed")
        .assign((0..PARTITIONS).map(|partition| (topic.name(), partition)))
        .route(topic, move |record: Received<String, V>| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(record.into_parts());
            async { Ok::<_, kafka_client::Error>(()) }
        })
        .build()?;
    let handle = reader.handle();
    reader.run_until(end_of(handle)).await?;
    Ok(std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Until nothing is left to be read, and all of it is finished.
async fn end_of(handle: ConsumerHandle) {
    loop {
        match handle.lag().await {
            Ok(lags) if !lags.is_empty() && lags.iter().all(|lag| lag.records == 0) => return,
            // Not there yet, or nobody answers now; the consumer itself says what is wrong.
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
}
