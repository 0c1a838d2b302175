//! How do I keep the order of a key while one of its records is being tried again, and hold up nobody else?
//!
//! Movements of ten accounts are booked; account 3 is locked for a second. Its movements wait on the retry topic, one behind
//! the other, while the other accounts go on. The order is checked, and the check is worth something: without an order the
//! same run fails it.
//!
//! Run it with `cargo run --bin ordered_retry`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{Concurrency, Json, Kafka, Received, Topic, TopicSpec, Utf8};
use kafka_dlq::{Backoff, Order, Recovery, RetryTopic};
use tokio::sync::Notify;
use tokio::time::timeout;

const ACCOUNTS: u32 = 10;
const MOVEMENTS: u32 = 300;
const LOCKED: &str = "account-3";
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Locked;

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the account is locked")
    }
}

impl Error for Locked {}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let movements = Topic::new(format!("examples.movements-{run}"), Utf8, Json::<u32>::new());
    kafka.ensure_topics(&[TopicSpec::new(movements.name(), 1)]).await?;
    let producer = kafka.producer().build()?;
    let numbered: Vec<(String, u32)> = (0..MOVEMENTS).map(|n| (format!("account-{}", n % ACCOUNTS), n)).collect();
    producer.send_batch(numbered.iter().map(|(account, n)| movements.record(account, n))).await?;

    let kept = book(&kafka, &movements, Order::KeepOrder).await?;
    let lost = book(&kafka, &movements, Order::Unordered).await?;
    for (name, seen) in [("KeepOrder", &kept), ("Unordered", &lost)] {
        println!(
            "{name}: the others were booked after {:.1} s, account 3 after {:.1} s; {} movements out of order",
            seen.others.as_secs_f64(),
            seen.locked.as_secs_f64(),
            seen.out_of_order
        );
    }
    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[movements.name()]).await?;
    }
    match kept.out_of_order == 0 && lost.out_of_order > 0 && kept.others < kept.locked {
        true => Ok(()),
        false => Err("the order of a key was not kept, or somebody was held up, or the check sees nothing".into()),
    }
}

struct Seen {
    others: Duration,
    locked: Duration,
    out_of_order: usize,
}

#[derive(Default)]
struct Books {
    /// The movements of each account, in the order in which they were booked, and when the last was.
    accounts: BTreeMap<String, (Vec<u32>, Duration)>,
    booked: u32,
}

/// Books all movements, and looks at the order.
async fn book(kafka: &Kafka, movements: &Topic<Utf8, Json<u32>>, order: Order) -> Result<Seen, Box<dyn Error>> {
    let (books, last, start) = (Arc::new(Mutex::new(Books::default())), Arc::new(Notify::new()), Instant::now());
    let handler = {
        let (books, last) = (books.clone(), last.clone());
        move |movement: Received<String, u32>| {
            let (account, number) = movement.into_parts();
            let since = start.elapsed();
            let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
            // Locked at first, and each of its movements once more after that: somebody looks at it.
            let locked =
                account == LOCKED && (since < Duration::from_secs(2) || number % 7 == 0 && since.as_millis() % 2 == 0);
            if !locked {
                let (numbers, at) = books.accounts.entry(account).or_default();
                numbers.push(number);
                *at = since;
                books.booked += 1;
                if books.booked == MOVEMENTS {
                    last.notify_one();
                }
            }
            async move { if locked { Err(Locked) } else { Ok(()) } }
        }
    };
    let group = format!("{}-{order:?}", movements.name());
    let retries = format!("{group}.retry");
    let recovery =
        Recovery::retry(Backoff::exponential(Duration::from_millis(50), Duration::from_secs(1)).without_limit())
            .in_place(0)
            .retry_topic(RetryTopic::new(&retries).order(order))
            .wrap(handler);
    let consumer = kafka.consumer(group).route_concurrent(movements, Concurrency::by_key(10), recovery).build()?;
    timeout(PATIENCE, consumer.run_until(last.notified())).await??;
    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[&retries]).await?;
    }
    let books = books.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |account: &str| books.accounts.get(account).map_or(Duration::ZERO, |(_, at)| *at);
    let others = books.accounts.keys().filter(|account| *account != LOCKED).map(|account| of(account)).max();
    let numbers = books.accounts.values().map(|(numbers, _)| numbers);
    let out_of_order = numbers.flat_map(|numbers| numbers.windows(2)).filter(|pair| pair[0] > pair[1]).count();
    Ok(Seen { others: others.unwrap_or_default(), locked: of(LOCKED), out_of_order })
}
