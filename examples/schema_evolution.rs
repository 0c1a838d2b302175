//! What happens to old records, and to old readers, when a type changes?
//!
//! Run it with `cargo run --bin schema_evolution`: a broker and a registry inside this process.

use kafka_client::serde::{Avro, AvroSchema, Registry, Schema};
use kafka_client::{Error, Kafka, Received, Topic, TopicSpec, Utf8};
use tokio::sync::mpsc;

/// The first version.
#[derive(serde::Serialize, serde::Deserialize)]
struct OrderV1 {
    id: i32,
    item: String,
}

impl AvroSchema for OrderV1 {
    fn avro_schema() -> Schema {
        Schema::avro(
            r#"{"type": "record", "name": "Order", "fields": [
                {"name": "id", "type": "int"},
                {"name": "item", "type": "string"}
            ]}"#,
        )
    }
}

/// The second: the id is wider, the item is called product, and there is an amount.
#[derive(serde::Serialize, serde::Deserialize)]
struct OrderV2 {
    id: i64,
    product: String,
    amount: i32,
}

impl AvroSchema for OrderV2 {
    fn avro_schema() -> Schema {
        Schema::avro(
            r#"{"type": "record", "name": "Order", "fields": [
                {"name": "id", "type": "long"},
                {"name": "product", "aliases": ["item"], "type": "string"},
                {"name": "amount", "type": "int", "default": 1}
            ]}"#,
        )
    }
}

/// A third, which could not read old records: the weight has no default.
const BROKEN: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "long"},
    {"name": "weight", "type": "double"}
]}"#;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let kafka = Kafka::embedded()?;
    let registry = Registry::in_memory();
    let v1 = Topic::new("orders", Utf8, Avro::<OrderV1>::new(&registry));
    let v2 = Topic::new("orders", Utf8, Avro::<OrderV2>::new(&registry));
    kafka.ensure_topics(&[TopicSpec::new("orders", 1)]).await?;

    let producer = kafka.producer().build()?;
    producer.send(v1.record("o-1", &OrderV1 { id: 1, item: "tea".into() })).await?;
    producer.send(v2.record("o-2", &OrderV2 { id: 1 << 40, product: "jam".into(), amount: 3 })).await?;

    // One reader, both versions: what the first lacks, the schema's default fills in.
    let (seen, mut all) = mpsc::unbounded_channel();
    let on_order = move |order: Received<String, OrderV2>| {
        let OrderV2 { id, product, amount } = order.value();
        println!("in       {id}: {amount} x {product}");
        std::future::ready(seen.send(()))
    };
    let both = async {
        for _ in 0..2 {
            all.recv().await;
        }
    };
    kafka.consumer("billing").route(&v2, on_order).build()?.run_until(both).await?;

    // The registry is asked before the first record of a new schema is written.
    match registry.register("orders-value", &Schema::avro(BROKEN)).await {
        Ok(_) => println!("the registry accepted what it should not"),
        Err(refused) => println!("refused  {:?}: {refused}", refused.kind()),
    }
    Ok(())
}
