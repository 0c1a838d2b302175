//! What happens to my records while a service that they need is down?
//!
//! Nothing: failures spread over many keys are an outage and no fault of theirs. One record at a time is tried, no attempt
//! counts, no record becomes a dead letter, and when the service is back everything goes on at once.
//!
//! Run it with `cargo run --bin outage_breaker`.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{Concurrency, Json, Kafka, Received, Topic, TopicSpec, Utf8};
use kafka_dlq::{Backoff, Breaker, Recovery};
use tokio::sync::Notify;
use tokio::time::timeout;

const ORDERS: u32 = 500;
const OUTAGE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection refused")
    }
}

impl Error for Down {}

/// Down from the hundredth call on, for a while.
struct Service {
    start: Instant,
    calls: AtomicU32,
    refused: AtomicU32,
    charged: AtomicU32,
    down_since: std::sync::OnceLock<Instant>,
    all_charged: Notify,
}

impl Service {
    fn charge(&self) -> Result<(), Down> {
        if self.calls.fetch_add(1, Ordering::SeqCst) == 100 {
            println!("{:4.1} s  the service goes down", self.start.elapsed().as_secs_f64());
            self.down_since.get_or_init(Instant::now);
        }
        if self.down_since.get().is_some_and(|since| since.elapsed() < OUTAGE) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Down);
        }
        if self.charged.fetch_add(1, Ordering::SeqCst) + 1 == ORDERS {
            println!("{:4.1} s  all orders are charged", self.start.elapsed().as_secs_f64());
            self.all_charged.notify_one();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let name = format!("examples.outage-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let orders = Topic::new(name.as_str(), Utf8, Json::<u32>::new());
    kafka.ensure_topics(&[TopicSpec::new(&name, 2)]).await?;
    let producer = kafka.producer().build()?;
    let numbered: Vec<(String, u32)> = (0..ORDERS).map(|n| (format!("o-{n}"), n)).collect();
    producer.send_batch(numbered.iter().map(|(key, n)| orders.record(key, n))).await?;

    let service = Arc::new(Service {
        start: Instant::now(),
        calls: AtomicU32::new(0),
        refused: AtomicU32::new(0),
        charged: AtomicU32::new(0),
        down_since: std::sync::OnceLock::new(),
        all_charged: Notify::new(),
    });
    let charge = {
        let service = service.clone();
        move |_: Received<String, u32>| {
            let outcome = service.charge();
            async { outcome }
        }
    };
    // Three attempts: they would be gone within the first second of the outage.
    let recovery = Recovery::retry(Backoff::fixed(Duration::from_millis(200)).attempts(3))
        .breaker(Breaker::over_keys(5).probe_every(Duration::from_millis(250)))
        .dead_letter(format!("{name}.dlq"))
        .wrap(charge);
    let consumer =
        kafka.consumer(name.as_str()).route_concurrent(&orders, Concurrency::by_key(20), recovery).build()?;
    timeout(PATIENCE, consumer.run_until(service.all_charged.notified())).await??;

    let (charged, refused) = (service.charged.load(Ordering::SeqCst), service.refused.load(Ordering::SeqCst));
    println!(
        "{charged} of {ORDERS} charged, {} dead letters; {refused} calls were refused in {OUTAGE:?}",
        ORDERS - charged
    );
    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[&name, &format!("{name}.dlq")]).await?;
    }
    match charged == ORDERS && refused < 100 {
        true => Ok(()),
        false => Err("orders were blamed for the outage, or the service got no rest".into()),
    }
}
