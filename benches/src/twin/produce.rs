//! The C produce loop: one thread produces, a second one polls for delivery reports.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka_sys::bindings as c;

use super::{Client, NO_ERROR, TopicHandle, UNASSIGNED, last_error, send};
use crate::frame::{Load, MAX_IN_FLIGHT, Outcome, PARTITIONS, Sample, VALUE};
use crate::meter::Window;

/// What the delivery callback counts. Only the polling thread calls it, so plain loads and stores do.
struct Acknowledged {
    count: AtomicU64,
    /// The code of the last failed delivery, or 0.
    failure: AtomicI32,
    /// The count at which the producing thread wants to be woken.
    wake_at: AtomicU64,
    stop: AtomicBool,
}

unsafe extern "C" fn on_delivery(_: *mut c::rd_kafka_t, message: *const c::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the Acknowledged given to rd_kafka_conf_set_opaque, which outlives the client, and librdkafka
    // passes a live message.
    let (acknowledged, error) = unsafe { (&*opaque.cast::<Acknowledged>(), (*message).err) };
    if error != NO_ERROR {
        acknowledged.failure.store(error as i32, Ordering::Relaxed);
    }
    acknowledged.count.store(acknowledged.count.load(Ordering::Relaxed) + 1, Ordering::Release);
}

/// Produces the load with an idempotent producer and waits for the last acknowledgement.
pub(crate) fn produce(load: &Load) -> Outcome<Sample> {
    with_producer(load, |topic, acknowledged| {
        warm_up(topic, acknowledged)?;
        produce_all(load, topic, acknowledged)
    })
}

/// Fills a topic for the consuming cases, with the load and nothing else.
pub(crate) fn fill(load: &Load) -> Outcome<()> {
    with_producer(load, |topic, acknowledged| produce_all(load, topic, acknowledged)).map(|_| ())
}

fn with_producer(
    load: &Load,
    work: impl FnOnce(&TopicHandle<'_>, &Acknowledged) -> Outcome<Sample>,
) -> Outcome<Sample> {
    let acknowledged = Acknowledged {
        count: AtomicU64::new(0),
        failure: AtomicI32::new(0),
        wake_at: AtomicU64::new(u64::MAX),
        stop: AtomicBool::new(false),
    };
    let (kind, settings) = (c::rd_kafka_type_t::RD_KAFKA_PRODUCER, load.producer_settings());
    let client = Client::open(kind, &load.bootstrap, &settings, &acknowledged, |configuration| {
        // SAFETY: the configuration is alive.
        unsafe { c::rd_kafka_conf_set_dr_msg_cb(configuration, Some(on_delivery)) }
    })?;
    let topic = client.topic(&load.topic)?;
    let producing = thread::current();
    thread::scope(|scope| {
        scope.spawn(|| poll(&client, &acknowledged, &producing));
        let outcome = work(&topic, &acknowledged);
        acknowledged.stop.store(true, Ordering::Relaxed);
        outcome
    })
}

/// One message a partition, acknowledged: connection, producer id and metadata are there when the clock starts.
fn warm_up(topic: &TopicHandle<'_>, acknowledged: &Acknowledged) -> Outcome<()> {
    for partition in 0..PARTITIONS {
        // SAFETY: the topic is alive.
        if !unsafe { send(topic.handle, partition, b"warm up!", VALUE) } {
            return Err(last_error().into());
        }
    }
    wait_for(acknowledged, PARTITIONS.unsigned_abs().into())
}

fn produce_all(load: &Load, topic: &TopicHandle<'_>, acknowledged: &Acknowledged) -> Outcome<Sample> {
    let keys = Load::keys();
    let start = acknowledged.count.load(Ordering::Acquire);
    let end = start + load.messages;
    let mut room_until = start + MAX_IN_FLIGHT;

    let window = Window::open();
    for (number, key) in (start..end).zip(keys.iter().cycle()) {
        if number == room_until {
            // Half of the room at once: a sleep for every batch would cost more than the batch.
            wait_for(acknowledged, number - MAX_IN_FLIGHT / 2)?;
            room_until = acknowledged.count.load(Ordering::Acquire) + MAX_IN_FLIGHT;
        }
        // SAFETY: the topic is alive.
        if !unsafe { send(topic.handle, UNASSIGNED, key, VALUE) } {
            return Err(last_error().into());
        }
    }
    wait_for(acknowledged, end)?;
    Ok(Sample::rate(load.messages, window.close()))
}

/// Serves the callbacks until told to stop.
fn poll(client: &Client<'_, Acknowledged>, acknowledged: &Acknowledged, producing: &Thread) {
    while !acknowledged.stop.load(Ordering::Relaxed) {
        // SAFETY: the client is alive.
        unsafe { c::rd_kafka_poll(client.handle, 100) };
        // Pairs with the fence in `wait_for`: either we see its `wake_at`, or it sees our count.
        fence(Ordering::SeqCst);
        if acknowledged.count.load(Ordering::Relaxed) >= acknowledged.wake_at.load(Ordering::Relaxed) {
            producing.unpark();
        }
    }
}

/// Sleeps until `count` messages are acknowledged.
fn wait_for(acknowledged: &Acknowledged, count: u64) -> Outcome<()> {
    acknowledged.wake_at.store(count, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    while acknowledged.count.load(Ordering::Acquire) < count {
        thread::park_timeout(Duration::from_millis(100));
    }
    acknowledged.wake_at.store(u64::MAX, Ordering::Relaxed);
    match acknowledged.failure.load(Ordering::Relaxed) {
        0 => Ok(()),
        code => Err(format!("a delivery failed with code {code}").into()),
    }
}
