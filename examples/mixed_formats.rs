//! How do I move a topic from one format to another, while both are in it?
//!
//! Run it with `cargo run --bin mixed_formats`: a broker and a registry inside this process.

use std::convert::Infallible;

use kafka_client::serde::{Avro, AvroSchema, DeserializerExt, Registry, Schema};
use kafka_client::{Error, Json, Kafka, Received, Topic, TopicSpec, Utf8};
use tokio::sync::Notify;

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    id: i64,
    item: String,
}

impl AvroSchema for Order {
    fn avro_schema() -> Schema {
        Schema::avro(
            r#"{"type": "record", "name": "Order", "fields": [
                {"name": "id", "type": "long"},
                {"name": "item", "type": "string"}
            ]}"#,
        )
    }
}

static DONE: Notify = Notify::const_new();

async fn on_order(order: Received<String, Order>) -> Result<(), Infallible> {
    let Order { id, item } = order.value();
    println!("in       {id} {item}");
    if *id == 3 {
        DONE.notify_one();
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let kafka = Kafka::embedded()?;
    let registry = Registry::in_memory();
    let before = Topic::new("orders", Utf8, Json::<Order>::new());
    // The migration is this line: it writes Avro, and reads Avro and JSON.
    let orders = Topic::new("orders", Utf8, Avro::<Order>::new(&registry).or_else(Json::<Order>::new()));
    kafka.ensure_topics(&[TopicSpec::new("orders", 1)]).await?;

    let producer = kafka.producer().build()?;
    let order = |id: i64, item: &str| Order { id, item: item.into() };
    producer.send(before.record("o-1", &order(1, "tea, as JSON"))).await?;
    producer.send(orders.record("o-2", &order(2, "jam, as Avro"))).await?;
    producer.send(before.record("o-3", &order(3, "honey, by a straggler"))).await?;

    kafka.consumer("billing").route(&orders, on_order).build()?.run_until(DONE.notified()).await?;
    Ok(())
}
