//! How do I send typed events as Avro, with their schemas in a registry?
//!
//! Run it with `cargo run --bin avro`: a broker and a registry inside this process.

use std::convert::Infallible;

use kafka_client::serde::avro::Value;
use kafka_client::serde::{Avro, AvroSchema, Registry};
use kafka_client::{Error, Kafka, Optional, Received, Topic, TopicSpec, Utf8};
use tokio::sync::Notify;

/// The schema is derived from the type; `schema_evolution.rs` has some that are written by hand.
#[derive(AvroSchema, serde::Serialize, serde::Deserialize)]
#[avro(namespace = "shop", crate = "kafka_client::serde")]
struct Order {
    id: i64,
    item: String,
    note: Option<String>,
    state: State,
}

#[derive(AvroSchema, Debug, serde::Serialize, serde::Deserialize)]
#[avro(crate = "kafka_client::serde")]
enum State {
    Open,
    Shipped,
}

static DONE: Notify = Notify::const_new();

/// A null value is a tombstone: the order is gone.
async fn on_order(order: Received<String, Option<Order>>) -> Result<(), Infallible> {
    match order.value() {
        Some(Order { id, item, note, state }) => println!("typed    {id} {item}, note {note:?}, {state:?}"),
        None => {
            println!("typed    {} is deleted", order.key());
            DONE.notify_one();
        }
    }
    Ok(())
}

/// The same records, by someone who knows no `Order`: only the registry's schema.
async fn on_any(order: Received<String, Option<Value>>) -> Result<(), Infallible> {
    match order.value() {
        Some(order) => println!("generic  item {:?}, state {:?}", order.get("item"), order.get("state")),
        None => DONE.notify_one(),
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let kafka = Kafka::embedded()?;
    let registry = Registry::in_memory();
    let orders = Topic::new("orders", Utf8, Optional::new(Avro::<Order>::new(&registry)));
    kafka.ensure_topics(&[TopicSpec::new(orders.name(), 1)]).await?;

    // The schema is registered with the first record, under `orders-value`.
    let producer = kafka.producer().build()?;
    let order = Order { id: 1, item: "tea".into(), note: Some("the green one".into()), state: State::Open };
    producer.send(orders.record("o-1", &Some(order))).await?;
    let order = Order { id: 2, item: "jam".into(), note: None, state: State::Shipped };
    producer.send(orders.record("o-2", &Some(order))).await?;
    producer.send(orders.tombstone("o-1")).await?;

    kafka.consumer("typed").route(&orders, on_order).build()?.run_until(DONE.notified()).await?;
    let any = Topic::new("orders", Utf8, Optional::new(Avro::<Value>::from_registry(&registry)));
    kafka.consumer("generic").route(&any, on_any).build()?.run_until(DONE.notified()).await?;
    println!("subjects {:?}", registry.subjects(Default::default()).await.unwrap_or_default());
    Ok(())
}
