//! Latency: one record in flight, and from one thread to another.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kafka_client::{Error, RawBatch};

use super::{consumer, producer, runtime, topic};
use crate::frame::{Load, MAX_IN_FLIGHT, Outcome, Sample, VALUE};
use crate::meter::Window;
use crate::trip::{Trip, UNMEASURED};

/// The time from `send` to its acknowledgement.
pub(crate) fn acknowledgement(load: &Load) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let (producer, topic, keys) = (producer(load, MAX_IN_FLIGHT)?, topic(load), Load::keys());
        let mut keys = keys.iter().cycle();
        for key in keys.by_ref().take(UNMEASURED as usize) {
            producer.send(topic.record(key, VALUE)).await?;
        }
        let mut latencies = Vec::with_capacity(load.messages as usize);
        let window = Window::open();
        for key in keys.take(load.messages as usize) {
            let start = Instant::now();
            producer.send(topic.record(key, VALUE)).await?;
            latencies.push(start.elapsed());
        }
        Sample::median_latency(&mut latencies, window.close())
    })
}

/// The time from `enqueue` to a handler in another thread.
pub(crate) fn end_to_end(load: &Load) -> Outcome<Sample> {
    let trip = Arc::new(Trip::new(load));
    thread::scope(|scope| {
        let sending = scope.spawn(|| trip.cancelled_on_error(send(load, &trip)));
        let received = trip.cancelled_on_error(receive(load, &trip));
        sending.join().map_err(|_| "the sending thread panicked")??;
        received
    })?;
    trip.sample()
}

fn send(load: &Load, trip: &Trip) -> Outcome<()> {
    runtime()?.block_on(async {
        let (producer, topic, keys) = (producer(load, MAX_IN_FLIGHT)?, topic(load), Load::keys());
        for (stamp, key) in trip.departures().zip(keys.iter().cycle()) {
            drop(producer.enqueue(topic.record(key, &stamp.value())).await?);
        }
        let report = producer.flush(Duration::from_secs(10)).await;
        if report.is_complete() { Ok(()) } else { Err(format!("{report:?}").into()) }
    })
}

fn receive(load: &Load, trip: &Arc<Trip>) -> Outcome<()> {
    runtime()?.block_on(async {
        let arrivals = trip.clone();
        let handler = move |batch: RawBatch| {
            batch.iter().for_each(|record| arrivals.arrive(record.value().unwrap_or_default()));
            async { Ok::<(), Error>(()) }
        };
        let over = async {
            while !trip.is_over() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        consumer(load).route_raw(load.topic.as_str(), handler).build()?.run_until(over).await?;
        Ok(())
    })
}
