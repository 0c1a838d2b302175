//! Does every record arrive? 3,375 flights travel as typed JSON events through Kafka, and every one is accounted for.
//!
//! Run it with `cargo run --bin flights`: through the Kafka of `KAFKA_BOOTSTRAP_SERVERS` where that is set, else
//! through a broker inside this process.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::ready;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{ConsumerReport, Json, Kafka, Received, Topic, TopicSpec, Utf8};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// librdkafka allocates once a record, so on small records the allocator decides. The choice is the application's.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// New York, 7 to 10 February 2013: a blizzard.
const FLIGHTS: &str = include_str!("data/flights.csv");
const PARTITIONS: i32 = 6;
/// How long to wait for the last flight before saying that some are missing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Flights by carrier. Each carrier's are in order, since its name is the key: one key, one partition.
type Carriers = BTreeMap<String, Vec<Flight>>;

type Flights = Topic<Utf8, Json<Flight>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file: Vec<Flight> = csv::Reader::from_reader(FLIGHTS.as_bytes()).deserialize().collect::<Result<_, _>>()?;
    let kafka = Kafka::from_env_or_embedded()?;
    // A topic of its own for every run, so that the flights of another one are not counted.
    let name = format!("flights-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let flights = Topic::new(name, Utf8, Json::<Flight>::new());
    kafka.ensure_topics(&[TopicSpec::new(flights.name(), PARTITIONS)]).await?;

    let delivered = produce(&kafka, &flights, &file).await?;
    let (handled, report) = consume(&kafka, &flights, file.len()).await?;
    print_table(&handled);
    let accounted = account(&file, delivered, &handled, &report);

    // The embedded broker goes with the process, and everything in it.
    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[flights.name()]).await?;
    }
    accounted
}

/// Sends every flight and waits for the broker's answer to each. Returns how many were delivered.
async fn produce(kafka: &Kafka, flights: &Flights, file: &[Flight]) -> Result<u64, Box<dyn Error>> {
    let producer = kafka.producer().build()?;
    let mut deliveries = Vec::with_capacity(file.len());
    for flight in file {
        deliveries.push(producer.enqueue(flights.record(&flight.carrier, flight)).await?);
    }
    let mut delivered = 0;
    for delivery in deliveries {
        delivery.await?;
        delivered += 1;
    }
    Ok(delivered)
}

/// Handles flights until `expected` have come.
async fn consume(
    kafka: &Kafka,
    flights: &Flights,
    expected: usize,
) -> Result<(Carriers, ConsumerReport), Box<dyn Error>> {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let consumer = kafka
        .consumer(flights.name())
        .route(flights, move |flight: Received<String, Flight>| ready(arrived.send(flight.into_parts())))
        .build()?;

    let mut carriers = Carriers::new();
    let mut enter = |(carrier, flight)| carriers.entry(carrier).or_default().push(flight);
    let all = async {
        for _ in 0..expected {
            if let Some(arrival) = arrivals.recv().await {
                enter(arrival);
            }
        }
    };
    let report = consumer.run_until(timeout(PATIENCE, all)).await?;
    // What came on top would be a flight too many.
    while let Ok(surplus) = arrivals.try_recv() {
        enter(surplus);
    }
    Ok((carriers, report))
}

/// One line of the file; what is empty there is absent here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Flight {
    time_hour: String,
    carrier: String,
    flight: u16,
    tailnum: Option<String>,
    origin: String,
    dest: String,
    sched_dep_time: u16,
    dep_time: Option<u16>,
    dep_delay: Option<i16>,
    sched_arr_time: u16,
    arr_time: Option<u16>,
    arr_delay: Option<i16>,
    air_time: Option<u16>,
    distance: u16,
}

fn print_table(handled: &Carriers) {
    println!("carrier  flights  cancelled  mean delay");
    for (carrier, flights) in handled {
        let delays: Vec<i64> = flights.iter().filter_map(|flight| flight.dep_delay).map(i64::from).collect();
        let mean = delays.iter().sum::<i64>() / (delays.len() as i64).max(1);
        println!("{carrier:<7}  {:>7}  {:>9}  {mean:>6} min", flights.len(), cancelled(flights));
    }
}

/// Prints what became of the flights; an error unless every one arrived once, unchanged, and in its carrier's order.
fn account(file: &[Flight], delivered: u64, handled: &Carriers, report: &ConsumerReport) -> Result<(), Box<dyn Error>> {
    let arrived: Vec<&Flight> = handled.values().flatten().collect();
    let committed: i64 = report.committed.values().sum();
    println!(
        "accounted: {} produced, {delivered} delivered, {} handled, {committed} committed; {} cancelled, {} without a \
         tail number",
        file.len(),
        arrived.len(),
        cancelled(arrived.iter().copied()),
        arrived.iter().filter(|flight| flight.tailnum.is_none()).count(),
    );
    let mut expected = Carriers::new();
    for flight in file {
        expected.entry(flight.carrier.clone()).or_default().push(flight.clone());
    }
    let all = file.len() as u64;
    match *handled == expected && [delivered, report.handled, committed as u64] == [all; 3] {
        true => Ok(()),
        false => Err("the flights that arrived are not those of the file".into()),
    }
}

fn cancelled<'a>(flights: impl IntoIterator<Item = &'a Flight>) -> usize {
    flights.into_iter().filter(|flight| flight.dep_time.is_none()).count()
}
