//! How do I send Protobuf messages, with their schemas in a registry?
//!
//! Run it with `cargo run --bin protobuf`: a broker and a registry inside this process.

use std::convert::Infallible;

use kafka_client::serde::protobuf::DynamicProtobuf;
use kafka_client::serde::{Protobuf, ProtobufSchema, Registry, Schema};
use kafka_client::{Error, Kafka, Received, Topic, TopicSpec, Utf8};
use tokio::sync::Notify;

/// As `prost-build` makes it of the file below, or written by hand.
#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    item: String,
    #[prost(btree_map = "string, int32", tag = "3")]
    parts: std::collections::BTreeMap<String, i32>,
}

/// `include_str!("order.proto")` in a real project.
const FILE: &str = r#"
syntax = "proto3";
package shop;

message Customer { string name = 1; }

message Order {
  int64 id = 1;
  string item = 2;
  map<string, int32> parts = 3;
}
"#;

impl ProtobufSchema for Order {
    const MESSAGE: &str = "shop.Order";

    fn protobuf_schema() -> Schema {
        Schema::protobuf(FILE)
    }
}

static DONE: Notify = Notify::const_new();

#[tokio::main]
async fn main() -> Result<(), Error> {
    let kafka = Kafka::embedded()?;
    let registry = Registry::in_memory();
    let orders = Topic::new("orders", Utf8, Protobuf::<Order>::new(&registry));
    kafka.ensure_topics(&[TopicSpec::new(orders.name(), 1)]).await?;

    let producer = kafka.producer().build()?;
    let order = Order { id: 1, item: "bicycle".into(), parts: [("wheel".to_owned(), 2)].into() };
    producer.send(orders.record("o-1", &order)).await?;

    let typed = async |order: Received<String, Order>| {
        println!("typed    {} of {:?}", order.value().item, order.value().parts);
        DONE.notify_one();
        Ok::<_, Infallible>(())
    };
    kafka.consumer("typed").route(&orders, typed).build()?.run_until(DONE.notified()).await?;

    // Someone who has no `Order`: the descriptor comes from the registry.
    let any = Topic::new("orders", Utf8, DynamicProtobuf::new(&registry));
    let dynamic = async |message: Received<String, kafka_client::serde::protobuf::Dynamic>| {
        let message = message.value();
        println!("dynamic  a {} with item {:?}", message.name(), message.get("item"));
        DONE.notify_one();
        Ok::<_, Infallible>(())
    };
    kafka.consumer("dynamic").route(&any, dynamic).build()?.run_until(DONE.notified()).await?;
    Ok(())
}
