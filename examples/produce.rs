//! How do I send? One record awaited, many in flight, without waiting, as a batch, and from a single owner.
//!
//! Run it with `cargo run --bin produce`.

use std::error::Error;
use std::time::Duration;

use kafka_client::{Kafka, Producer, Retry, Topic, TopicSpec, Utf8};

const TOPIC: &str = "examples.produce";
/// So few only to show what happens when there is no room; the default is 100,000.
const MAX_IN_FLIGHT: usize = 100;
const DEADLINE: Duration = Duration::from_secs(10);

type Lines = Topic<Utf8, Utf8>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let lines = Topic::new(TOPIC, Utf8, Utf8);
    kafka.ensure_topics(&[TopicSpec::new(TOPIC, 4)]).await?;
    let producer = kafka.producer().max_in_flight_records(MAX_IN_FLIGHT).build()?;

    one_after_the_other(&producer, &lines).await?;
    many_in_flight(&producer, &lines).await?;
    without_waiting(&producer, &lines).await?;
    as_a_batch(&producer, &lines).await?;
    from_a_single_owner(&producer, &lines).await?;

    // At the end of a process; whoever forgets it loses what is in flight, and finds that in the log.
    let closed = producer.close(DEADLINE).await;
    println!("close        {}", if closed.is_complete() { "nothing was left behind" } else { "records were lost" });
    Ok(())
}

/// The simplest, for a record now and then: each costs a round trip.
async fn one_after_the_other(producer: &Producer, lines: &Lines) -> Result<(), Box<dyn Error>> {
    let delivered = producer.send(lines.record("file-1", "first line").header("charset", "utf-8")).await?;
    println!("send         partition {}, offset {}", delivered.partition(), delivered.offset());
    Ok(())
}

/// `enqueue` waits for room only, so records share requests; the answers come later, in any order you like.
async fn many_in_flight(producer: &Producer, lines: &Lines) -> Result<(), Box<dyn Error>> {
    let mut deliveries = Vec::new();
    for number in 0..1_000 {
        deliveries.push(producer.enqueue(lines.record("file-1", &format!("line {number}"))).await?);
    }
    let count = deliveries.len();
    for delivery in deliveries {
        delivery.await?;
    }
    println!("enqueue      {count} delivered, in the order of the calls");
    Ok(())
}

/// `try_enqueue` never waits: where there is no room it gives the record back.
async fn without_waiting(producer: &Producer, lines: &Lines) -> Result<(), kafka_client::Error> {
    let (mut accepted, mut waited) = (0, 0);
    for _ in 0..2 * MAX_IN_FLIGHT {
        match producer.try_enqueue(lines.record("file-2", "a line")) {
            // Dropping the delivery gives up the answer, not the record: `flush` and `close` still count it.
            Ok(delivery) => {
                drop(delivery);
                accepted += 1;
            }
            // No room now. Others would skip this sample, or slow down; here the record is worth a wait after all.
            Err(full) if full.error().retry() == Retry::Temporary => {
                drop(producer.enqueue(full.into_record()).await?);
                waited += 1;
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    println!("try_enqueue  {accepted} accepted at once, {waited} given back");
    let flushed = producer.flush(DEADLINE).await;
    println!("flush        {} delivered, {} failed, {} unknown", flushed.delivered, flushed.failed, flushed.unknown);
    Ok(())
}

/// Many records, one answer: the least work a record.
async fn as_a_batch(producer: &Producer, lines: &Lines) -> Result<(), Box<dyn Error>> {
    let texts: Vec<String> = (0..1_000).map(|number| format!("line {number}")).collect();
    match producer.send_batch(texts.iter().map(|text| lines.record("file-3", text))).await {
        Ok(delivered) => println!("send_batch   {delivered} delivered"),
        // The others are delivered all the same; each failure tells its index, its error, and has the record.
        Err(partly) => {
            for failure in partly.failures() {
                eprintln!("record {} of the batch: {}", failure.index(), failure.error());
            }
            return Err(partly.into());
        }
    }
    Ok(())
}

/// One task that sends to one topic all day: a `Sender` finds the topic once and keeps its buffer.
async fn from_a_single_owner(producer: &Producer, lines: &Lines) -> Result<(), Box<dyn Error>> {
    let mut sender = producer.sender(lines)?;
    let mut last = None;
    for number in 0..1_000 {
        last = Some(sender.enqueue(lines.record("file-4", &number.to_string())).await?);
    }
    // One key is one partition, and a partition is written in order; so this answer comes after all others.
    if let Some(delivery) = last {
        println!("sender       last offset {}", delivery.await?.offset());
    }
    Ok(())
}
