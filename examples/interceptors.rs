//! How do I add something to every record, and watch every answer, in one place? With an interceptor.
//!
//! Run it with `cargo run --bin interceptors`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_client::{Acknowledgement, Kafka, Outgoing, ProducerInterceptor, Topic, TopicSpec, Utf8};

const TOPIC: &str = "examples.interceptors";
const DEADLINE: Duration = Duration::from_secs(10);

/// Writes into every record which service it comes from.
struct Origin(&'static str);

impl ProducerInterceptor for Origin {
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        record.headers_mut().push("origin", self.0);
        Ok(())
    }
}

/// Counts how records ended. Shared with whoever shows the numbers.
#[derive(Clone, Default)]
struct Counter {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    /// Delivered with the header of [`Origin`].
    marked: AtomicU64,
}

impl ProducerInterceptor for Counter {
    fn on_send(&self, _: &mut Outgoing<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Called once for every record for which `on_send` was, on a thread of its own.
    fn on_acknowledgement(&self, record: &Acknowledgement) {
        let ended = match record.outcome() {
            Ok(_) => &self.counts.delivered,
            Err(_) => &self.counts.failed,
        };
        ended.fetch_add(1, Ordering::Relaxed);
        if record.outcome().is_ok() && record.headers().last("origin").is_some() {
            self.counts.marked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let lines = Topic::new(TOPIC, Utf8, Utf8);
    kafka.ensure_topics(&[TopicSpec::new(TOPIC, 4)]).await?;

    // They run in this order. The code that sends knows nothing of them.
    let counter = Counter::default();
    let producer = kafka.producer().interceptor(Origin("checkout")).interceptor(counter.clone()).build()?;

    producer.send(lines.record("file-1", "one")).await?;
    producer.send_batch(["two", "three"].map(|line| lines.record("file-1", line))).await?;
    // Too large for Kafka. The interceptors saw it go, so they hear of its end.
    let novel = "x".repeat(2_000_000);
    if let Err(error) = producer.send(lines.record("file-1", &novel)).await {
        println!("{error}");
    }

    // Acknowledgements come a moment after the answers; `close` waits for them.
    let closed = producer.close(DEADLINE).await;
    let Counts { sent, delivered, failed, marked } = &*counter.counts;
    let [sent, delivered, failed, marked] =
        [sent, delivered, failed, marked].map(|count| count.load(Ordering::Relaxed));
    println!("{sent} sent = {delivered} delivered + {failed} failed; {marked} with the header `origin` in the log");
    match closed.is_complete() && sent == delivered + failed && marked == delivered {
        true => Ok(()),
        false => Err("a record was not counted, or not marked".into()),
    }
}
