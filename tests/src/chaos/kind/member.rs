//! What members of all kinds have in common.

use std::time::Duration;

use kafka_client::{Consumer, ConsumerBuilder, Error, Kafka, Received};

use crate::chaos::ledger::{Entry, What};
use crate::chaos::order::Order;
use crate::chaos::process::asked_to_end;

/// A member of the order's group.
pub(super) fn member(order: &Order) -> ConsumerBuilder {
    let kafka = Kafka::connect(order.text("bootstrap"));
    order
        .protocol()
        .member(&kafka, order.text("group"), order.session())
        .set("max.poll.interval.ms", "30000")
        .set("reconnect.backoff.max.ms", "500")
        .drain_timeout(Duration::from_secs(10))
}

/// Runs it until somebody asks it to end.
pub(super) async fn run(consumer: Result<Consumer, Error>) -> Result<(), String> {
    let consumer = consumer.map_err(told)?;
    consumer.run_until(tokio::task::spawn_blocking(asked_to_end)).await.map(drop).map_err(told)
}

/// What the ledger is told of a record.
pub(super) fn entry(record: &Received<String, String>, what: What) -> Entry<'_> {
    Entry {
        what,
        topic: record.topic(),
        partition: record.partition(),
        offset: record.offset(),
        key: record.key(),
        value: record.value(),
    }
}

/// How long a record takes: up to so many milliseconds, not the same for neighbours.
pub(super) fn takes(offset: i64, most: u64) -> Duration {
    Duration::from_millis(offset.unsigned_abs().wrapping_mul(2_654_435_761) % (most + 1))
}

/// An error and its causes.
pub(super) fn told(error: Error) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
