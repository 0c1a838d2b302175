//! Members that send dead letters back, all of them copies of one job.

use std::convert::Infallible;
use std::time::Duration;

use futures::FutureExt;
use kafka_client::{Concurrency, Headers, Kafka, RawReceived, RawRecord};
use kafka_dlq::Redrive;

use super::Kind;
use super::member::told;
use crate::chaos::feed::APPLICATION;
use crate::chaos::ledger::{Entry, Pen, What};
use crate::chaos::order::Order;
use crate::chaos::process::asked_to_end;

/// The engine of ours.
pub(in crate::chaos) const REDRIVE: Kind =
    Kind { name: "redrive", about: "`Redrive`, again and again under one name", lives: true, run: redrives };

/// Without transactions.
pub(in crate::chaos) const RESENDS: Kind = Kind {
    name: "resends",
    about: "a consumer that sends each record back, awaits it, and commits",
    lives: false,
    run: resends,
};

/// The name of the job.
const JOB: &str = "again";
/// How many records a copy sends a second: a transaction is spread over half of that.
const RATE: f64 = 400.0;

/// The group of the job over this topic.
pub(in crate::chaos) fn group(input: &str) -> String {
    Redrive::new(&Kafka::connect("nowhere:1"), input).job(JOB).group()
}

fn kafka(order: &Order) -> Kafka {
    let kafka = Kafka::connect(order.text("bootstrap")).set("reconnect.backoff.max.ms", "500");
    order.protocol().settle_all(kafka, order.session())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn redrives(order: &Order) -> Result<(), String> {
    let pen = order.pen();
    let redrive = Redrive::new(&kafka(order), order.text("input")).job(JOB).rate(RATE).check(move |record| {
        // About to be sent, in a transaction that is open.
        begins(&pen, record);
        Ok(())
    });
    let ends = tokio::task::spawn_blocking(asked_to_end).map(drop).shared();
    while ends.peek().is_none() {
        let report = redrive.run_until(ends.clone()).await.map_err(|error| causes(&error))?;
        tracing::info!(%report, "a run has ended");
        // What has come meanwhile is for the next run of the job.
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => (),
            () = ends.clone() => (),
        }
    }
    Ok(())
}

fn begins(pen: &Pen, record: &RawRecord) {
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    let (key, value) = (text(&record.key), text(&record.value));
    pen.write(Entry { what: What::Begin, topic: "", partition: -1, offset: -1, key: &key, value: &value });
}

fn causes(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", causes(cause))).unwrap_or_default();
    format!("{error}{cause}")
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn resends(order: &Order) -> Result<(), String> {
    let kafka = kafka(order);
    let producer = kafka.producer().build().map_err(told)?;
    let (pen, output) = (order.pen(), order.text("output").to_owned());
    let handler = move |letter: RawReceived| {
        let (pen, producer, output) = (pen.clone(), producer.clone(), output.clone());
        async move {
            let mut record = letter.to_raw().for_topic(output);
            record.headers = Headers::new();
            for header in letter.headers().iter().filter(|header| APPLICATION.contains(&&*header.name())) {
                match header.value() {
                    Some(value) => record.headers.push(header.name_bytes(), value),
                    None => record.headers.push_null(header.name_bytes()),
                }
            }
            record.headers.push("dlq.redrives", "1");
            begins(&pen, &record);
            // As fast as the other, about.
            tokio::time::sleep(Duration::from_secs_f64(4.0 / RATE)).await;
            while producer.send(&record).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok::<_, Infallible>(())
        }
    };
    let member = kafka.consumer(order.text("group")).commit_interval(Duration::from_secs(1));
    let consumer = member.route_undecoded(order.text("input"), Concurrency::by_partition(), handler);
    let consumer = consumer.build().map_err(told)?;
    consumer.run_until(tokio::task::spawn_blocking(asked_to_end)).await.map(drop).map_err(told)
}
