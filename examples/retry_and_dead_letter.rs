//! How is a failed record tried again, and where does it go when that does not help?
//!
//! Orders are charged by a service that is slow to answer now and then, declines some cards, and meets an order that is no
//! JSON at all. Each goes its way; then the dead letters are read, with what they say about themselves.
//!
//! Run it with `cargo run --bin retry_and_dead_letter`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{Bytes, Json, Kafka, RawRecord, Received, Topic, TopicSpec, Utf8};
use kafka_dlq::{Backoff, Decision, Order, Recovery, RetryTopic};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Two attempts at once, then on the retry topic: 0.2 s later, 0.4 s, ..
const SOON: Backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(60)).attempts(5);
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum ChargeError {
    Timeout,
    Declined,
}

/// The answer in code: one decision for each variant. A new variant does not compile until somebody has decided.
fn decide(error: &ChargeError) -> Decision {
    match error {
        ChargeError::Timeout => Decision::Retry(SOON),
        ChargeError::Declined => Decision::dead_letter("declined"),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let name = format!("examples.orders-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let orders = Topic::new(name.as_str(), Utf8, Json::<u32>::new());
    kafka.ensure_topics(&[TopicSpec::new(&name, 1)]).await?;
    let producer = kafka.producer().build()?;
    for cents in 0..10 {
        producer.send(orders.record(&format!("o-{cents}"), &cents)).await?;
    }
    producer.send(RawRecord::new(&name, Some(b"o-x".to_vec()), Some(b"a book".to_vec()))).await?;

    let service = Arc::new(Service::default());
    let charge = {
        let service = service.clone();
        move |order: Received<String, u32>| {
            let outcome = service.charge(order.key(), *order.value());
            async { outcome }
        }
    };
    let (retries, dead) = (format!("{name}.retry"), format!("{name}.dlq"));
    let consumer = kafka
        .consumer(name.as_str())
        .route(
            &orders,
            Recovery::by(decide)
                .in_place(1)
                .retry_topic(RetryTopic::new(&retries).order(Order::KeepOrder))
                .dead_letter(&dead)
                .wrap(charge),
        )
        .build()?;
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let running = tokio::spawn(consumer.run_until(async move { stopped.notified().await }));

    // Two cards are declined, one order is no JSON, and one times out too often.
    let mut letters = Letters::read(&kafka, &dead, 4).await?;
    letters.sort();
    for (key, reason, message) in &letters {
        println!("dead letter {key}: {reason:<9} {message}");
    }
    timeout(PATIENCE, service.all_charged.notified()).await?;
    stop.notify_one();
    timeout(PATIENCE, running).await???;
    println!("charged: {:?}", service.charged());
    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[&name, &retries, &dead]).await?;
    }
    match (letters.len(), service.charged().len()) {
        (4, 7) => Ok(()),
        counts => Err(format!("not every order is accounted for: {counts:?}").into()),
    }
}

/// What charges cards.
#[derive(Default)]
struct Service {
    calls: Mutex<BTreeMap<u32, u32>>,
    charged: Mutex<Vec<u32>>,
    all_charged: Notify,
}

impl Service {
    fn charge(&self, key: &str, cents: u32) -> Result<(), ChargeError> {
        let call = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let call = calls.entry(cents).or_default();
            *call += 1;
            *call
        };
        match cents {
            2 | 5 => return Err(ChargeError::Declined),
            // Answers at the fourth call: on the retry topic.
            3 if call < 4 => return Err(ChargeError::Timeout),
            7 => return Err(ChargeError::Timeout),
            _ => println!("{key} is charged, at call {call}"),
        }
        let mut charged = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
        charged.push(cents);
        if charged.len() == 7 {
            self.all_charged.notify_one();
        }
        Ok(())
    }

    fn charged(&self) -> Vec<u32> {
        self.charged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Dead letters: key, reason, and what went wrong.
struct Letters;

impl Letters {
    async fn read(kafka: &Kafka, topic: &str, count: usize) -> Result<Vec<(String, String, String)>, Box<dyn Error>> {
        let (letters, last) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let handler = {
            let (letters, last) = (letters.clone(), last.clone());
            move |letter: Received<Vec<u8>, Vec<u8>>| {
                let header = |name| letter.headers().last(name).flatten().map_or_else(String::new, text);
                let mut letters = letters.lock().unwrap_or_else(PoisonError::into_inner);
                letters.push((text(letter.key()), header("dlq.reason"), header("dlq.message")));
                if letters.len() == count {
                    last.notify_one();
                }
                async { Ok::<_, std::convert::Infallible>(()) }
            }
        };
        kafka.ensure_topics(&[TopicSpec::new(topic, 1).config("retention.ms", "-1")]).await?;
        let readers = kafka.consumer(format!("{topic}.readers"));
        let consumer = readers.route(&Topic::new(topic, Bytes, Bytes), handler).build()?;
        timeout(PATIENCE, consumer.run_until(last.notified())).await??;
        Ok(std::mem::take(&mut *letters.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

impl fmt::Display for ChargeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no answer in time",
            Self::Declined => "the card was declined",
        })
    }
}

impl Error for ChargeError {}
