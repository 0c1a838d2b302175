//! Our side of every case, written as a user would: the public API, and nothing else. But for the parts of a consumer
//! that are measured by themselves.

pub(crate) mod commit;
mod consume;
pub(crate) mod dialect;
pub(crate) mod efficiency;
pub(crate) mod failover;
mod fill;
mod group;
pub(crate) mod keyed;
mod latency;
pub(crate) mod offset_map;
pub(crate) mod pipeline;
mod produce;
pub(crate) mod recovery;
pub(crate) mod redrive;
pub(crate) mod serde;
pub(crate) mod ticker;
pub(crate) mod tracker;
pub(crate) mod transactions;
mod work;

use kafka_client::{Bytes, ConsumerBuilder, Kafka, Producer, Topic};
use tokio::runtime::{Builder, Runtime};

pub(crate) use consume::{batches, records};
pub(crate) use fill::{fill, fill_numbered};
pub(crate) use latency::{acknowledgement, end_to_end};
pub(crate) use produce::{awaited, awaited_shared, batch, callback, saturated};

use crate::frame::{Load, MAX_IN_FLIGHT, Outcome, PARTITIONS, VALUE};

/// Keys and values as they come.
type Plain = Topic<Bytes, Bytes>;

fn topic(load: &Load) -> Plain {
    Topic::new(load.topic.as_str(), Bytes, Bytes)
}

/// One thread for the tasks, as the twin has one for its loop.
fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// The same settings as the twin; our own bound is the bound that the twin keeps itself.
fn producer(load: &Load, max_records: u64) -> Outcome<Producer> {
    let mut builder = Kafka::connect(&load.bootstrap).producer().max_in_flight_records(max_records as usize);
    for (key, value) in load.producer_settings() {
        if !key.starts_with("queue.buffering.max.") {
            builder = builder.set(key, value);
        }
    }
    Ok(builder.build()?)
}

fn consumer(load: &Load) -> ConsumerBuilder {
    let mut settings = load.consumer_settings();
    let group = settings.swap_remove(settings.iter().position(|(key, _)| *key == "group.id").unwrap_or_default()).1;
    settings
        .into_iter()
        .fold(Kafka::connect(&load.bootstrap).consumer(group).max_batch_records(1000), |builder, (key, value)| {
            builder.set(key, value)
        })
}

/// One message a partition, acknowledged: connection, producer id and metadata are there when the clock starts.
async fn warm_up(producer: &Producer, topic: &Plain) -> Outcome<()> {
    for partition in 0..PARTITIONS {
        producer.send(topic.record(b"warm up!", VALUE).partition(partition)).await?;
    }
    Ok(())
}

/// How many deliveries are kept before the oldest are awaited: half of the room, as the twin waits for half at once.
const HELD: usize = MAX_IN_FLIGHT as usize / 2;
