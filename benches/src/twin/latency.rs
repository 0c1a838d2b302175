//! The C latency loops: one record at a time, from the produce call to its acknowledgement or to another thread.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use rdkafka_sys::bindings as c;

use super::{Client, NO_ERROR, TopicHandle, UNASSIGNED, consume, error_text, last_error, send};
use crate::frame::{Load, Outcome, Sample, VALUE};
use crate::meter::Window;
use crate::trip::{Trip, UNMEASURED};

/// What the delivery callback, called by the thread that polls, leaves for that thread.
struct Acknowledged {
    count: AtomicU64,
    failure: AtomicI32,
}

impl Acknowledged {
    fn none() -> Self {
        Self { count: AtomicU64::new(0), failure: AtomicI32::new(0) }
    }

    fn check(&self) -> Outcome<()> {
        match self.failure.load(Ordering::Relaxed) {
            0 => Ok(()),
            code => Err(format!("a delivery failed with code {code}").into()),
        }
    }
}

unsafe extern "C" fn on_delivery(_: *mut c::rd_kafka_t, message: *const c::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the Acknowledged that the client was opened with, and librdkafka passes a live message.
    let (acknowledged, error) = unsafe { (&*opaque.cast::<Acknowledged>(), (*message).err) };
    if error != NO_ERROR {
        acknowledged.failure.store(error as i32, Ordering::Relaxed);
    }
    acknowledged.count.store(acknowledged.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

fn producer<'o>(load: &Load, acknowledged: &'o Acknowledged) -> Outcome<Client<'o, Acknowledged>> {
    let (kind, settings) = (c::rd_kafka_type_t::RD_KAFKA_PRODUCER, load.producer_settings());
    Client::open(kind, &load.bootstrap, &settings, acknowledged, |configuration| {
        // SAFETY: the configuration is alive.
        unsafe { c::rd_kafka_conf_set_dr_msg_cb(configuration, Some(on_delivery)) }
    })
}

/// Produces one message and polls until it is acknowledged.
fn send_and_wait(
    client: &Client<'_, Acknowledged>,
    topic: &TopicHandle<'_>,
    acknowledged: &Acknowledged,
    key: &[u8],
) -> Outcome<()> {
    let count = acknowledged.count.load(Ordering::Relaxed) + 1;
    // SAFETY: client and topic are alive.
    unsafe {
        if !send(topic.handle, UNASSIGNED, key, VALUE) {
            return Err(last_error().into());
        }
        while acknowledged.count.load(Ordering::Relaxed) < count {
            c::rd_kafka_poll(client.handle, 1000);
        }
    }
    acknowledged.check()
}

/// The time from the produce call to its acknowledgement, one record in flight.
pub(crate) fn sync_produce(load: &Load) -> Outcome<Sample> {
    let acknowledged = Acknowledged::none();
    let client = producer(load, &acknowledged)?;
    let topic = client.topic(&load.topic)?;
    let keys = Load::keys();
    let mut keys = keys.iter().cycle();
    for key in keys.by_ref().take(UNMEASURED as usize) {
        send_and_wait(&client, &topic, &acknowledged, key)?;
    }
    let mut latencies = Vec::with_capacity(load.messages as usize);
    let window = Window::open();
    for key in keys.take(load.messages as usize) {
        let start = Instant::now();
        send_and_wait(&client, &topic, &acknowledged, key)?;
        latencies.push(start.elapsed());
    }
    Sample::median_latency(&mut latencies, window.close())
}

/// Sends the records of an end-to-end round at their pace, each handed over at once.
pub(crate) fn send_trip(load: &Load, trip: &Trip) -> Outcome<()> {
    let acknowledged = Acknowledged::none();
    let client = producer(load, &acknowledged)?;
    let topic = client.topic(&load.topic)?;
    let keys = Load::keys();
    for (stamp, key) in trip.departures().zip(keys.iter().cycle()) {
        // SAFETY: client and topic are alive.
        unsafe {
            if !send(topic.handle, UNASSIGNED, key, &stamp.value()) {
                return Err(last_error().into());
            }
            c::rd_kafka_poll(client.handle, 0);
        }
        acknowledged.check()?;
    }
    // SAFETY: the client is alive.
    match unsafe { c::rd_kafka_flush(client.handle, 10_000) } {
        NO_ERROR => acknowledged.check(),
        late => Err(error_text(late).into()),
    }
}

/// The time from the produce call to `rd_kafka_consumer_poll` in another thread.
pub(crate) fn end_to_end(load: &Load) -> Outcome<Sample> {
    let trip = Trip::new(load);
    thread::scope(|scope| {
        let sending = scope.spawn(|| trip.cancelled_on_error(send_trip(load, &trip)));
        let received = receive_trip(load, &trip);
        let received = trip.cancelled_on_error(received);
        sending.join().map_err(|_| "the sending thread panicked")??;
        received
    })?;
    trip.sample()
}

fn receive_trip(load: &Load, trip: &Trip) -> Outcome<()> {
    let (kind, settings) = (c::rd_kafka_type_t::RD_KAFKA_CONSUMER, load.consumer_settings());
    let client = Client::open(kind, &load.bootstrap, &settings, &(), |_| ())?;
    consume::assign(&client, load)?;
    while !trip.is_over() {
        // SAFETY: the client is alive; a message that is not null is ours until it is destroyed, and a record's
        // payload lives as long.
        unsafe {
            let message = c::rd_kafka_consumer_poll(client.handle, 100);
            if message.is_null() {
                continue;
            }
            let error = (*message).err;
            if error == NO_ERROR {
                trip.arrive(std::slice::from_raw_parts((*message).payload.cast::<u8>(), (*message).len));
            }
            c::rd_kafka_message_destroy(message);
            if error != NO_ERROR {
                return Err(error_text(error).into());
            }
        }
    }
    Ok(())
}
