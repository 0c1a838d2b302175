//! Members that handle records and write to nothing but the ledger.

use std::convert::Infallible;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use std::collections::HashMap;

use kafka_client::{BoxError, Concurrency, ConsumerHandle, RebalanceListener, Received, Topic, TopicPartition, Utf8};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::OwnedMessage;

use super::Kind;
use super::member::{entry, member, run, takes};
use crate::chaos::ledger::{Entry, Pen, What};
use crate::chaos::order::Order;
use crate::chaos::process::asked_to_end;

/// A consumer of ours that handles by key, with a bound on what a kill repeats: `exposure` in its order.
pub(in crate::chaos) const BY_KEY: Kind = Kind {
    name: "by-key",
    about: "a consumer of ours, by key, with a bound on exposure",
    lives: true,
    run: |order| by_key(order, true),
};

/// The same without the bound, which commits every five seconds: a kill repeats what was handled since.
pub(in crate::chaos) const NO_BOUND: Kind = Kind {
    name: "no-bound",
    about: "the same without the bound, committing every 5 s",
    lives: true,
    run: |order| by_key(order, false),
};

/// librdkafka's defaults, faster: what was polled counts as handled.
pub(in crate::chaos) const COMMITS_WHAT_IS_POLLED: Kind = Kind {
    name: "commits-what-is-polled",
    about: "commits records as it receives them",
    lives: false,
    run: commits_what_is_polled,
};

/// How many records of a partition are handled at the same time.
const IN_FLIGHT: usize = 8;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn by_key(order: &Order, bounded: bool) -> Result<(), String> {
    let topic = Topic::new(order.text("input"), Utf8, Utf8);
    let pen = order.pen();
    let writes = pen.clone();
    let handler = move |record: Received<String, String>| {
        let pen = pen.clone();
        async move {
            pen.write(entry(&record, What::Begin));
            tokio::time::sleep(takes(record.offset(), 5)).await;
            pen.write(entry(&record, What::Finish));
            Ok::<_, Infallible>(())
        }
    };
    let exposure = order.number("exposure").unwrap_or(100);
    let member = member(order).on_rebalance(Tells(writes.clone()));
    let member = match bounded {
        true => member.max_duplicate_exposure(usize::try_from(exposure).unwrap_or(usize::MAX)),
        false => member.commit_interval(Duration::from_secs(5)),
    };
    let consumer = member.route_concurrent(&topic, Concurrency::by_key(IN_FLIGHT), handler).build();
    if let Ok(consumer) = &consumer {
        tokio::spawn(tell_exposure(consumer.handle(), writes));
    }
    run(consumer).await
}

/// Tells the ledger that the group has gone on without this member: a machine that is busy enough does that too.
struct Tells(Pen);

impl RebalanceListener for Tells {
    async fn lost(&self, _: &[TopicPartition]) -> Result<(), BoxError> {
        self.0.record(What::Lost, -1, -1, "");
        Ok(())
    }
}

/// Writes down what a kill would repeat, whenever it is more than before.
async fn tell_exposure(handle: ConsumerHandle, pen: Pen) {
    let mut most = 0;
    loop {
        let now = handle.exposure();
        if now > most {
            most = now;
            pen.record(What::Exposed, -1, i64::try_from(now).unwrap_or(i64::MAX), "");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn commits_what_is_polled(order: &Order) -> Result<(), String> {
    let consumer: BaseConsumer = order
        .protocol()
        .foreign(order.text("bootstrap"), order.text("group"), order.session())
        .set("reconnect.backoff.max.ms", "500")
        .set("auto.commit.interval.ms", "10")
        .create()
        .map_err(|e| e.to_string())?;
    consumer.subscribe(&[order.text("input")]).map_err(|e| e.to_string())?;
    // A thread a partition, which handles in order what waits for it.
    let mut partitions: HashMap<i32, Sender<OwnedMessage>> = HashMap::new();
    let ended = thread::spawn(asked_to_end);
    while !ended.is_finished() {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(10)) else { continue };
        let handler = partitions.entry(record.partition()).or_insert_with(|| {
            let (sender, records) = channel::<OwnedMessage>();
            let pen = order.pen();
            thread::spawn(move || records.into_iter().for_each(|record| handle(&pen, &record)));
            sender
        });
        // Its thread lives as long as this one.
        let _ = handler.send(record.detach());
    }
    Ok(())
}

fn handle(pen: &Pen, record: &OwnedMessage) {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let (key, value) = (text(record.key()), text(record.payload()));
    let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
    let entry = |what| Entry { what, topic, partition, offset, key: &key, value: &value };
    pen.write(entry(What::Begin));
    thread::sleep(takes(offset, 5));
    pen.write(entry(What::Finish));
}
