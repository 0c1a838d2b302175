//! What does it look like? A typed event goes out and comes in, through a broker inside this process.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_client::{Json, Kafka, Received, Topic, Utf8};
use tokio::sync::Notify;

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    item: String,
    cents: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let t = Instant::now();
    let mut kafka = Kafka::embedded()?;
    if std::env::var_os("DEBUG").is_some() { tracing_subscriber::fmt().with_env_filter("debug").with_writer(std::io::stderr).init(); kafka = kafka.set("debug", "all"); }
    eprintln!("embedded {:?}", t.elapsed());
    let orders = Topic::new("orders", Utf8, Json::<Order>::new());
    if std::env::var_os("ENSURE").is_some() {
        kafka.ensure_topics(&[kafka_client::TopicSpec::new("orders", 4)]).await?;
        eprintln!("ensured {:?}", t.elapsed());
    }
    if std::env::var_os("CREATE").is_some() {
        kafka.embedded_broker().unwrap().create_topic("orders", 4)?;
        eprintln!("created {:?}", t.elapsed());
    }

    let producer = match std::env::var_os("PART").is_some() { true => kafka.producer().partitioner(|_: &kafka_client::Unassigned<'_>| None).build()?, false => kafka.producer().build()?};
    eprintln!("producer {:?}", t.elapsed());
    let delivered = producer.send(orders.record("o-1", &Order { item: "tea".into(), cents: 450 })).await?;
    eprintln!("sent {:?} {delivered:?}", t.elapsed());
    let _ = producer.close(Duration::from_secs(5)).await;
    eprintln!("closed {:?}", t.elapsed());

    let handled = Arc::new(Notify::new());
    let done = handled.clone();
    let report = kafka
        .consumer("billing").set("fetch.wait.max.ms", std::env::var("WAIT").unwrap_or("500".into()))
        .route(&orders, move |order: Received<String, Order>| {
            let done = done.clone();
            async move {
                eprintln!("got {:?}", t.elapsed());
                println!("in:   {} costs {} cents", order.value().item, order.value().cents);
                done.notify_one();
                Ok::<(), kafka_client::Error>(())
            }
        })
        .build()?
        .run_until(handled.notified())
        .await?;
    eprintln!("end {:?} {report:?}", t.elapsed());
    drop(kafka);
    eprintln!("dropped {:?}", t.elapsed());
    Ok(())
}
