//! What does a failed send tell me? What went wrong, whether the record may be in the log all the same, what to do
//! now, and the record itself.
//!
//! Run it with `cargo run --bin producer_errors`: on the embedded broker only, since that one goes wrong on demand.

use std::error::Error;
use std::time::Duration;

use kafka_client::{Embedded, ErrorKind, Fault, Kafka, Producer, Request, Retry, SendError, Topic, TopicSpec, Utf8};

type Lines = Topic<Utf8, Utf8>;

/// What to do about a record that was not delivered, as far as is known.
fn advice(error: &SendError) -> &'static str {
    match (error.maybe_written(), error.error().retry()) {
        _ if error.error().is_fatal() => "build a new producer",
        // Sending it again may write it twice; not sending it again may lose it.
        (true, _) => "look whether it is there, or let readers skip what they have seen",
        (false, _) if error.error().kind() == ErrorKind::Closed => "send it again, with another producer",
        (false, Retry::Temporary) => "send it again, after a pause",
        (false, Retry::Persistent) => "it was retried for minutes: send it again when the cluster is well",
        (false, Retry::Permanent) => "no use in sending it again: mend the record, the permission, the program",
    }
}

fn explain(what: &str, error: &SendError) {
    println!("{what}\n  {error}");
    println!("  kind {:?}, code {}", error.error().kind(), error.error().code().unwrap_or("none"));
    match error.record() {
        Some(record) => println!("  the record is back: {} bytes", record.value.as_ref().map_or(0, Vec::len)),
        None => println!("  the record is still on its way"),
    }
    println!("  so: {}\n", advice(error));
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::embedded()?;
    let broker = kafka.embedded_broker().ok_or("no embedded broker")?;
    let lines = Topic::new("examples.producer_errors", Utf8, Utf8);
    kafka.ensure_topics(&[TopicSpec::new(lines.name(), 1)]).await?;
    let producer = kafka.producer().build()?;

    too_large(&producer, &lines).await?;
    refused(&producer, broker).await?;
    retried(&producer, &lines, broker).await?;
    too_late(&producer, &lines, broker).await?;
    given_up(&producer, &lines, broker).await?;
    closed(&kafka, &producer, &lines).await
}

async fn too_large(producer: &Producer, lines: &Lines) -> Result<(), Box<dyn Error>> {
    let novel = "x".repeat(2_000_000);
    let error = failure(producer.send(lines.record("file-1", &novel)).await)?;
    explain("A record larger than `message.max.bytes`", &error);
    Ok(())
}

/// The broker refuses. librdkafka then refuses all records of that topic by itself, until it next asks for metadata.
async fn refused(producer: &Producer, broker: &Embedded) -> Result<(), Box<dyn Error>> {
    let salaries = Topic::new("salaries", Utf8, Utf8);
    broker.create_topic(salaries.name(), 1)?;
    broker.fail_requests(Request::Produce, Fault::TopicAuthorizationFailed, 1)?;
    let error = failure(producer.send(salaries.record("ada", "a fortune")).await)?;
    explain("No permission to write", &error);
    Ok(())
}

/// Most of what goes wrong is not yours to handle: the producer retries, without duplicates and in order.
async fn retried(producer: &Producer, lines: &Lines, broker: &Embedded) -> Result<(), Box<dyn Error>> {
    broker.fail_requests(Request::Produce, Fault::NotEnoughReplicas, 3)?;
    let delivered = producer.send(lines.record("file-1", "a line")).await?;
    println!(
        "Three refusals for want of replicas\n  no error: retried, and delivered at offset {}\n",
        delivered.offset()
    );
    Ok(())
}

/// A deadline ends the waiting, not the record.
async fn too_late(producer: &Producer, lines: &Lines, broker: &Embedded) -> Result<(), Box<dyn Error>> {
    broker.unreachable()?;
    let sent = producer.send_within(lines.record("file-1", "a line"), Duration::from_millis(300)).await;
    explain("No broker within the caller's deadline", &failure(sent)?);
    broker.reachable()?;
    let flushed = producer.flush(Duration::from_secs(10)).await;
    println!("  the broker is back: {} delivered after all\n", flushed.delivered);
    Ok(())
}

/// The process has to end while an answer is outstanding: nobody can know, and the error says so.
async fn given_up(producer: &Producer, lines: &Lines, broker: &Embedded) -> Result<(), Box<dyn Error>> {
    broker.round_trip(Duration::from_secs(5))?;
    let delivery = producer.enqueue(lines.record("file-1", "the last line")).await?;
    // So that its request is out.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let report = producer.close(Duration::from_secs(1)).await;
    explain("Closed before the broker answered", &failure(delivery.await)?);
    println!(
        "  the report of close: {} delivered, {} failed, {} unknown\n",
        report.delivered, report.failed, report.unknown
    );
    broker.round_trip(Duration::ZERO)?;
    Ok(())
}

/// The record comes back as bytes, which can be kept, or sent as they are: with certainty it was not written.
async fn closed(kafka: &Kafka, producer: &Producer, lines: &Lines) -> Result<(), Box<dyn Error>> {
    let error = failure(producer.send(lines.record("file-1", "one more line")).await)?;
    explain("Sent after close", &error);
    if let (false, Some(record)) = (error.maybe_written(), error.record()) {
        let delivered = kafka.producer().build()?.send(record).await?;
        println!("  sent again by another producer: offset {}", delivered.offset());
    }
    Ok(())
}

/// The error that this example is about.
fn failure<T>(outcome: Result<T, SendError>) -> Result<SendError, &'static str> {
    outcome.err().ok_or("it was delivered, which was not expected")
}
