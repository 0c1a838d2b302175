//! What does it look like? A typed event goes out and comes in, through a broker and a schema registry inside this process.
//!
//! Run it with `cargo run --bin quickstart`.

use std::convert::Infallible;
use std::time::Instant;

use kafka_client::serde::{Avro, AvroSchema, Registry};
use kafka_client::{Error, Kafka, Received, Topic, TopicSpec, Utf8};
use tokio::sync::Notify;

/// The schema is derived from the type, and registered with the first record.
#[derive(AvroSchema, serde::Serialize, serde::Deserialize)]
#[avro(crate = "kafka_client::serde")]
struct Order {
    item: String,
    cents: i32,
}

/// Ends the example after one order. A service runs until somebody presses Ctrl-C: see `readme.rs`.
static CHARGED: Notify = Notify::const_new();

async fn charge(order: Received<String, Order>) -> Result<(), Infallible> {
    let Order { item, cents } = order.value();
    println!("in   {} {item} for {cents} cents", order.key());
    CHARGED.notify_one();
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let start = Instant::now();
    let (kafka, registry) = (Kafka::embedded()?, Registry::in_memory());
    let orders = Topic::new("orders", Utf8, Avro::<Order>::new(&registry));
    kafka.ensure_topics(&[TopicSpec::new(orders.name(), 1)]).await?;

    let producer = kafka.producer().build()?;
    let delivered = producer.send(orders.record("o-1", &Order { item: "tea".into(), cents: 450 })).await?;
    println!("out  o-1, stored in partition {} at offset {}", delivered.partition(), delivered.offset());

    let consumer = kafka.consumer("billing").route(&orders, charge).build()?;
    let report = consumer.run_until(CHARGED.notified()).await?;
    println!("{} handled and committed, {} ms after the start", report.handled, start.elapsed().as_millis());
    println!("{NEXT}");
    Ok(())
}

const NEXT: &str = "
Next:
  cargo run --bin flights              3,375 real flights, every one accounted for
  cargo run --bin produce              every way to send
  cargo run --bin delivery_semantics   a consumer is killed: what is lost, what is handled twice?
  KAFKA_BOOTSTRAP_SERVERS=localhost:9092 cargo run --bin flights
                                       the same through your own Kafka
  examples/README.md                   the other examples; README.md tells what this is and is not";
