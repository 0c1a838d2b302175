//! What does a service look like? `main` is the code of the README, line by line; `tests/readme.rs` compares.
//!
//! Run it with `KAFKA_BOOTSTRAP_SERVERS=localhost:9092 cargo run --bin readme`; it needs a Kafka, and ends with Ctrl-C.

use std::convert::Infallible;

use kafka_client::{Error, FailedRecord, Json, Kafka, Received, Topic, Utf8};

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    item: String,
    cents: u32,
}

/// Why an order could not be charged. Nothing that is printed fails.
type ChargeError = Infallible;

// So that the comments stay where the README has them.
#[rustfmt::skip]
#[tokio::main]
async fn main() -> Result<(), Error> {
    let kafka = Kafka::from_env()?;                        // KAFKA_BOOTSTRAP_SERVERS=..., or Kafka::embedded()
    let orders = Topic::new("orders", Utf8, Json::<Order>::new());

    let producer = kafka.producer().build()?;
    let delivered = producer.send(orders.record("o-1", &Order { item: "book".into(), cents: 1250 })).await?;
    println!("stored in partition {} at offset {}", delivered.partition(), delivered.offset());

    async fn charge(order: Received<String, Order>) -> Result<(), ChargeError> {
        println!("{} owes {} cents for a {}", order.key(), order.value().cents, order.value().item);
        Ok(())                                             // now, and not before, its offset may be committed
    }

    let report = kafka
        .consumer("billing")
        .route(&orders, charge)
        .on_failed_record(async |failed: FailedRecord| {   // undecodable: raw bytes and coordinates
            eprintln!("{}: {:?}", failed.error(), failed.value_bytes());
            Ok::<_, ChargeError>(())
        })
        .build()?
        .run_until(tokio::signal::ctrl_c())                // then: drain, commit, leave
        .await?;
    println!("{} handled", report.handled);
    Ok(())
}
