//! The example of the README, compiled and run.

use std::convert::Infallible;

use kafka_client::{Error, Json, Kafka, Received, Topic, TopicSpec, Utf8};

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    item: String,
    cents: u32,
}

async fn charge(order: Received<String, Order>) -> Result<(), Infallible> {
    println!("charging {} cents for {} ({})", order.value().cents, order.value().item, order.key());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let kafka = match std::env::var_os("KAFKA_BOOTSTRAP_SERVERS") {
        Some(_) => Kafka::from_env()?,
        None => Kafka::embedded()?, // a broker inside this process
    };
    let orders = Topic::new("orders", Utf8, Json::<Order>::new());
    kafka.ensure_topics(&[TopicSpec::new(orders.name(), 4)]).await?;

    let producer = kafka.producer().build()?;
    let delivered = producer.send(orders.record("o-1", &Order { item: "tea".into(), cents: 450 })).await?;
    println!("stored in partition {} at offset {}", delivered.partition(), delivered.offset());

    let consumer = kafka.consumer("billing").route(&orders, charge).build()?;
    consumer.run_until(tokio::signal::ctrl_c()).await?;
    Ok(())
}
