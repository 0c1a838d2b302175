//! How do I send JSON that is checked against a schema?
//!
//! Run it with `cargo run --bin json_schema`: a broker and a registry inside this process.

use std::convert::Infallible;

use kafka_client::serde::{HasJsonSchema, JsonSchema, Registry, Schema, Validation};
use kafka_client::{Error, Kafka, Received, Topic, TopicSpec, Utf8};
use tokio::sync::Notify;

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    id: u64,
    item: String,
    price: f64,
}

impl HasJsonSchema for Order {
    fn json_schema() -> Schema {
        Schema::json(
            r#"{"title": "Order", "type": "object", "required": ["id", "item", "price"], "properties": {
                "id": {"type": "integer", "minimum": 1},
                "item": {"type": "string", "minLength": 1},
                "price": {"type": "number", "exclusiveMinimum": 0}
            }}"#,
        )
    }
}

static DONE: Notify = Notify::const_new();

async fn on_order(order: Received<String, Order>) -> Result<(), Infallible> {
    let Order { id, item, price } = order.value();
    println!("in       {id} {item} for {price}");
    DONE.notify_one();
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let kafka = Kafka::embedded()?;
    let registry = Registry::in_memory();
    // As in Java, nothing is checked unless you say so.
    let checked = JsonSchema::<Order>::new(&registry).validation(Validation::Both);
    let orders = Topic::new("orders", Utf8, checked);
    kafka.ensure_topics(&[TopicSpec::new(orders.name(), 1)]).await?;

    let producer = kafka.producer().build()?;
    producer.send(orders.record("o-1", &Order { id: 1, item: "tea".into(), price: 4.5 })).await?;
    // It never leaves this process, and the error names the field.
    if let Err(refused) = producer.send(orders.record("o-2", &Order { id: 2, item: "jam".into(), price: 0.0 })).await {
        let mut error: &dyn std::error::Error = refused.error();
        while let Some(source) = error.source() {
            error = source;
        }
        println!("refused  {error}");
    }
    kafka.consumer("billing").route(&orders, on_order).build()?.run_until(DONE.notified()).await?;
    Ok(())
}
