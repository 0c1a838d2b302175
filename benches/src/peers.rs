//! rdkafka, used the way its documentation shows; and, for the formats, other clients of a schema registry.

/// schema-registry-client, in a feature of its own: it brings a second TLS library and older versions of much.
#[cfg(feature = "schema-registry-client")]
pub(crate) mod client;
#[cfg(not(feature = "schema-registry-client"))]
#[path = "peers/no_client.rs"]
pub(crate) mod client;
mod place;
pub(crate) mod python;
pub(crate) mod serde;
pub(crate) mod transactions;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::frame::{Load, Outcome, PARTITIONS, SATURATED_QUEUE, SATURATED_TASKS, Sample, VALUE};
use crate::meter::Window;
use crate::trip::Trip;
use crate::twin;

fn config(load: &Load, settings: Vec<(&'static str, String)>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &load.bootstrap);
    config.extend(settings.into_iter().map(|(key, value)| (key.to_owned(), value)));
    config
}

/// Many tasks share a `FutureProducer` whose queue is far smaller than their number; each hands over all of its records
/// in order and then waits for their deliveries.
pub(crate) fn future_producer_saturated(load: &Load) -> Outcome<Sample> {
    saturated(load, |producer, topic, partition, records| async move {
        try_join_all((0..records).map(|_| send(&producer, &topic, partition))).await
    })
}

/// The same, but each task waits for one delivery before it sends the next record, which cannot but keep the order.
pub(crate) fn future_producer_one_at_a_time(load: &Load) -> Outcome<Sample> {
    saturated(load, |producer, topic, partition, records| async move {
        let mut offsets = Vec::new();
        for _ in 0..records {
            offsets.push(send(&producer, &topic, partition).await?);
        }
        Ok(offsets)
    })
}

/// Runs `task` [`SATURATED_TASKS`] times at once; each answers the offsets of its records in the order of its calls.
fn saturated<F>(load: &Load, task: impl Fn(FutureProducer, Arc<str>, i32, u64) -> F) -> Outcome<Sample>
where
    F: Future<Output = Result<Vec<i64>, String>> + Send + 'static,
{
    let mut config = config(load, load.producer_settings());
    config.set("queue.buffering.max.messages", SATURATED_QUEUE.to_string());
    let producer: FutureProducer = config.create()?;
    let topic: Arc<str> = load.topic.as_str().into();
    let each = load.messages / SATURATED_TASKS;
    runtime()?.block_on(async {
        // One record a partition: connection, producer id and metadata are there when the clock starts.
        for partition in 0..PARTITIONS {
            send(&producer, &topic, partition).await?;
        }
        let window = Window::open();
        let tasks = (0..SATURATED_TASKS).map(|number| {
            let partition = (number % u64::from(PARTITIONS.unsigned_abs())) as i32;
            tokio::spawn(task(producer.clone(), topic.clone(), partition, each))
        });
        let offsets = try_join_all(tasks).await?;
        let used = window.close();
        let mut order_kept = true;
        for task in offsets {
            order_kept &= task?.is_sorted();
        }
        Ok(Sample { order_kept: Some(order_kept), ..Sample::rate(each * SATURATED_TASKS, used) })
    })
}

async fn send(producer: &FutureProducer, topic: &str, partition: i32) -> Result<i64, String> {
    let record = FutureRecord::to(topic).partition(partition).key("key-0000").payload(VALUE);
    let delivery = producer.send(record, Timeout::Never).await;
    delivery.map(|delivery| delivery.offset).map_err(|(error, _)| error.to_string())
}

/// `StreamConsumer::stream().next()`, key and value seen as text.
pub(crate) fn stream_next(load: &Load) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let consumer: StreamConsumer = config(load, load.consumer_settings()).create()?;
        consumer.assign(&assignment(load)?)?;
        let mut stream = consumer.stream();
        let (mut window, mut seen, mut bytes) = (None, 0, 0);
        while seen < load.messages {
            let message = stream.next().await.ok_or("the stream ended")??;
            window.get_or_insert_with(Window::open);
            let key = message.key_view::<str>().transpose()?;
            let value = message.payload_view::<str>().transpose()?;
            bytes += key.map_or(0, str::len) + value.map_or(0, str::len);
            seen += 1;
        }
        std::hint::black_box(bytes);
        Ok(Sample::rate(seen, window.ok_or("nothing was consumed")?.close()))
    })
}

/// From the C produce call to `BaseConsumer::poll` in another thread.
pub(crate) fn base_consumer_end_to_end(load: &Load) -> Outcome<Sample> {
    let trip = Trip::new(load);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| trip.cancelled_on_error(twin::send_trip(load, &trip)));
        let received = trip.cancelled_on_error(receive_trip(load, &trip));
        sending.join().map_err(|_| "the sending thread panicked")??;
        received
    })?;
    trip.sample()
}

fn receive_trip(load: &Load, trip: &Trip) -> Outcome<()> {
    let consumer: BaseConsumer = config(load, load.consumer_settings()).create()?;
    consumer.assign(&assignment(load)?)?;
    while !trip.is_over() {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            trip.arrive(message?.payload().unwrap_or_default());
        }
    }
    Ok(())
}

/// As the twin assigns them.
fn assignment(load: &Load) -> Outcome<TopicPartitionList> {
    let offset = if load.starts.is_filled() { Offset::Beginning } else { Offset::End };
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(&load.topic, partition, offset)?;
    }
    Ok(partitions)
}

/// The runtime of every async side: as many workers as the machine has cores.
pub(crate) fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
