//! How do I choose the partition myself? Urgent orders get a partition of their own, whoever sends them and however.
//!
//! Run it with `cargo run --bin custom_partitioner`.

use std::collections::BTreeMap;
use std::error::Error;

use kafka_client::{ErrorKind, Kafka, NoKey, Partitioner, Topic, TopicSpec, Unassigned, Utf8};

const TOPIC: &str = "examples.custom_partitioner";
const PARTITIONS: i32 = 6;
/// Nothing else goes there, so that an urgent order waits behind urgent ones only.
const EXPRESS_LANE: i32 = 0;

/// Asked for every record that does not name its partition itself.
struct ExpressLane;

impl Partitioner for ExpressLane {
    fn partition(&self, order: &Unassigned<'_>) -> Result<Option<i32>, Box<dyn Error + Send + Sync>> {
        if order.headers().last("priority") == Some(Some(b"urgent")) {
            return Ok(Some(EXPRESS_LANE));
        }
        // An error refuses the record; `Ok(None)` would leave the choice to the default partitioner, Java's.
        let customer = order.key().ok_or("an order needs its customer as key")?;
        // One key stays on one partition as long as their number does; a plain hash is enough for that.
        let hash = customer.iter().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        let others = order.partitions().max(2) - 1;
        Ok(Some(1 + (hash % others.unsigned_abs()).cast_signed()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let orders = Topic::new(TOPIC, Utf8, Utf8);
    kafka.ensure_topics(&[TopicSpec::new(TOPIC, PARTITIONS)]).await?;
    let producer = kafka.producer().partitioner(ExpressLane).build()?;

    let mut lanes: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for customer in ["ada", "ben", "cleo", "dan", "eva", "finn", "gus", "hal"] {
        let delivered = producer.send(orders.record(customer, "tea")).await?;
        lanes.entry(delivered.partition()).or_default().push(customer.to_owned());
    }
    for customer in ["ben", "eva"] {
        let urgent = orders.record(customer, "medicine").header("priority", "urgent");
        let delivered = producer.send(urgent).await?;
        lanes.entry(delivered.partition()).or_default().push(format!("{customer} (urgent)"));
    }
    for (partition, customers) in &lanes {
        println!("partition {partition}: {}", customers.join(", "));
    }

    // What the partitioner refuses is not sent, and its error is the cause of the one of the record.
    let nameless = Topic::new(TOPIC, NoKey, Utf8);
    match producer.send(nameless.record(&(), "coffee")).await {
        Err(error) if error.error().kind() == ErrorKind::Partitioner => {
            // `{}` is the error alone, `{:?}` with its causes.
            println!("refused: {error:?}");
            Ok(())
        }
        other => Err(format!("an order without a customer should have been refused: {other:?}").into()),
    }
}
