//! How do I hear of deliveries without waiting for them? A callback for one record, a hook for all of them.
//!
//! Callbacks run on threads of their own: one that is slow and one that panics delay nobody.
//!
//! Run it with `cargo run --bin callbacks`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kafka_client::{Acknowledgement, Kafka, Outcome, Topic, TopicSpec, Utf8};
use tokio::sync::mpsc;

const TOPIC: &str = "examples.callbacks";
const RECORDS: usize = 1_000;
const SLOW: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The library tells of a callback that panics or takes long as `tracing` events.
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let kafka = Kafka::from_env_or_embedded()?;
    let lines = Topic::new(TOPIC, Utf8, Utf8);
    kafka.ensure_topics(&[TopicSpec::new(TOPIC, 4)]).await?;

    // The hook hears how every record ended, whichever way it was sent.
    let delivered = Arc::new(AtomicU64::new(0));
    let count = delivered.clone();
    let hook = move |acknowledgement: &Acknowledgement| match acknowledgement.outcome() {
        Ok(_) => _ = count.fetch_add(1, Ordering::Relaxed),
        Err(error) => eprintln!("a record for {} was not delivered: {error}", acknowledgement.topic()),
    };
    let producer = kafka.producer().on_delivery(hook).build()?;

    // A callback hears how one record ended.
    let report = |outcome: Outcome| match outcome {
        Ok(delivered) => println!("callback  partition {}, offset {}", delivered.partition(), delivered.offset()),
        Err(error) => eprintln!("callback  {error}"),
    };
    producer.send_with(lines.record("file-1", "a line"), report).await?;

    // Two that misbehave, and many that do not.
    producer.send_with(lines.record("file-1", "slow"), |_| sleep(SLOW)).await?;
    producer.send_with(lines.record("file-1", "bad"), |_| panic!("a bug in a callback")).await?;
    let start = Instant::now();
    let (answered, mut answers) = mpsc::unbounded_channel();
    for _ in 0..RECORDS {
        let answered = answered.clone();
        let note = move |outcome: Outcome| {
            // Nobody to tell any more is no error.
            let _ = answered.send(outcome.is_ok());
        };
        producer.send_with(lines.record("file-1", "a line"), note).await?;
    }
    drop(answered);
    let mut good = 0;
    while let Some(delivered) = answers.recv().await {
        good += usize::from(delivered);
    }
    let took = start.elapsed();
    println!(
        "callback  {good} of {RECORDS} more within {took:?}, while one of them slept for {SLOW:?} and one panicked"
    );

    // Waits for the callbacks, too.
    let closed = producer.close(DEADLINE).await;
    println!("hook      {} delivered; close counted {} more", delivered.load(Ordering::Relaxed), closed.delivered);
    match took < SLOW {
        true => Ok(()),
        false => Err("a slow callback has held up the others".into()),
    }
}
