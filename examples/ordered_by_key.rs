//! How do I handle many records of a partition at the same time, and keep the order of each key?
//!
//! The records of one partition are handled in three ways, and the order is checked. The check is worth something: the
//! third way, which does not care for keys, fails it.
//!
//! Run it with `cargo run --bin ordered_by_key`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{Concurrency, Json, Kafka, Received, Topic, TopicSpec, Utf8};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

const RECORDS: u32 = 600;
/// So few that records of the same account often meet.
const ACCOUNTS: u32 = 40;
const IN_FLIGHT: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

type Movements = Topic<Utf8, Json<u32>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let movements = Topic::new(format!("examples.ordered_by_key-{run}"), Utf8, Json::<u32>::new());
    // Partitions are handled in parallel in any case: this is about what one of them can do.
    kafka.ensure_topics(&[TopicSpec::new(movements.name(), 1)]).await?;
    let producer = kafka.producer().build()?;
    let numbered: Vec<(String, u32)> = (0..RECORDS).map(|number| (account(number), number)).collect();
    producer.send_batch(numbered.iter().map(|(account, number)| movements.record(account, number))).await?;

    println!("{RECORDS} records of {ACCOUNTS} keys in one partition, 0 to 5 ms of work each");
    println!("                time     keys out of order");
    let serial = handle(&kafka, &movements, "by_partition", Concurrency::by_partition()).await?;
    let by_key = handle(&kafka, &movements, "by_key", Concurrency::by_key(IN_FLIGHT)).await?;
    let unordered = handle(&kafka, &movements, "unordered", Concurrency::unordered(IN_FLIGHT)).await?;
    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[movements.name()]).await?;
    }
    match [&serial, &by_key].iter().all(|seen| seen.out_of_order == 0) && unordered.out_of_order > 0 {
        true => {
            println!("by_key took 1/{:.0} of the time", serial.took.div_duration_f64(by_key.took));
            Ok(())
        }
        false => Err("the order of a key was not kept, or the check sees nothing".into()),
    }
}

/// Handles all records, and looks at the order.
async fn handle(
    kafka: &Kafka,
    movements: &Movements,
    name: &str,
    concurrency: Concurrency,
) -> Result<Seen, Box<dyn Error>> {
    let (log, done) = (Arc::new(Log::default()), Arc::new(Notify::new()));
    let book = {
        let (log, done) = (log.clone(), done.clone());
        move |movement: Received<String, u32>| {
            let (log, done) = (log.clone(), done.clone());
            async move {
                let (account, number) = movement.into_parts();
                log.note(&account, number);
                sleep(Duration::from_millis(u64::from(scattered(number) % 6))).await;
                if log.note(&account, number) == 2 * RECORDS as usize {
                    done.notify_one();
                }
                Ok::<_, Infallible>(())
            }
        }
    };
    let consumer = kafka
        .consumer(format!("{}-{name}", movements.name()))
        // The one line that makes the difference.
        .route_concurrent(movements, concurrency, book)
        .build()?;
    let finished = timeout(PATIENCE, done.notified());
    let report = consumer.run_until(finished).await?;
    let seen = log.seen();
    println!("{name:<14}  {:>4} ms  {:>17}", seen.took.as_millis(), seen.out_of_order);
    match report.handled == u64::from(RECORDS) {
        true => Ok(seen),
        false => Err(format!("{} of {RECORDS} records were handled", report.handled).into()),
    }
}

/// What handlers did, in the order in which they did it: each record stands here when it is begun and when it is done.
#[derive(Default)]
struct Log(Mutex<Vec<(String, u32, Instant)>>);

struct Seen {
    took: Duration,
    out_of_order: usize,
}

impl Log {
    fn note(&self, account: &str, number: u32) -> usize {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push((account.to_owned(), number, Instant::now()));
        entries.len()
    }

    fn seen(&self) -> Seen {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut accounts: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (account, number, _) in entries.iter() {
            accounts.entry(account).or_default().push(*number);
        }
        let took = entries.first().zip(entries.last()).map_or(Duration::ZERO, |(first, last)| last.2 - first.2);
        // 1 1 2 2 is right; in 1 2 1 2 the second was begun before the first was done.
        Seen { took, out_of_order: accounts.values().filter(|numbers| !numbers.is_sorted()).count() }
    }
}

fn account(number: u32) -> String {
    format!("account-{}", scattered(number) % ACCOUNTS)
}

/// The same in every run, and without a pattern.
fn scattered(number: u32) -> u32 {
    let mixed = (number ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b1);
    (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b) >> 8
}
