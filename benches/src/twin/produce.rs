//! The C produce loop: one thread produces, a second one polls for delivery reports.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka_sys::bindings as c;

use super::{Client, NO_ERROR, TopicHandle, UNASSIGNED, error_text, last_error, send};
use crate::frame::{Load, MAX_IN_FLIGHT, Outcome, PARTITIONS, Sample, VALUE};
use crate::meter::Window;

/// Messages that one batch call hands over.
const BATCH: u64 = 1000;

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

/// The same through `rd_kafka_produce_batch`, which takes librdkafka's locks once a call.
pub(crate) fn produce_in_batches(load: &Load) -> Outcome<Sample> {
    with_producer(load, |topic, acknowledged| {
        warm_up(topic, acknowledged)?;
        produce_all_in_batches(load, topic, acknowledged)
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
    let (mut room, messages) = Room::new(acknowledged, load);

    let window = Window::open();
    for (number, key) in messages.clone().zip(keys.iter().cycle()) {
        room.wait_until(number + 1)?;
        // SAFETY: the topic is alive.
        if !unsafe { send(topic.handle, UNASSIGNED, key, VALUE) } {
            return Err(last_error().into());
        }
    }
    wait_for(acknowledged, messages.end)?;
    Ok(Sample::rate(load.messages, window.close()))
}

fn produce_all_in_batches(load: &Load, topic: &TopicHandle<'_>, acknowledged: &Acknowledged) -> Outcome<Sample> {
    let keys = Load::keys();
    let (mut room, messages) = Room::new(acknowledged, load);
    let mut keys = keys.iter().cycle();
    let mut batch = Vec::with_capacity(BATCH as usize);

    let window = Window::open();
    let mut next = messages.start;
    while next < messages.end {
        let end = messages.end.min(next + BATCH);
        room.wait_until(end)?;
        batch.clear();
        batch.extend((next..end).zip(keys.by_ref()).map(|(_, key)| c::rd_kafka_message_t {
            err: NO_ERROR,
            rkt: std::ptr::null_mut(),
            partition: UNASSIGNED,
            payload: VALUE.as_ptr().cast_mut().cast(),
            len: VALUE.len(),
            key: key.as_ptr().cast_mut().cast(),
            key_len: key.len(),
            offset: 0,
            _private: std::ptr::null_mut(),
        }));
        // SAFETY: the topic is alive and the batch has as many messages as told; with F_COPY librdkafka copies key and
        // value before it returns, and writes to the messages only.
        let taken = unsafe {
            let (flags, count) = (c::RD_KAFKA_MSG_F_COPY, batch.len() as c_int);
            c::rd_kafka_produce_batch(topic.handle, UNASSIGNED, flags, batch.as_mut_ptr(), count)
        };
        if taken as u64 != end - next {
            let refused = batch.iter().map(|message| message.err).find(|&error| error != NO_ERROR);
            return Err(error_text(refused.unwrap_or(NO_ERROR)).into());
        }
        next = end;
    }
    wait_for(acknowledged, messages.end)?;
    Ok(Sample::rate(load.messages, window.close()))
}

/// Bounds the messages in flight. Messages are numbered on from those that are acknowledged already.
struct Room<'a> {
    acknowledged: &'a Acknowledged,
    /// The number that the next message must be below.
    until: u64,
}

impl<'a> Room<'a> {
    /// The room, and the numbers of the load's messages.
    fn new(acknowledged: &'a Acknowledged, load: &Load) -> (Self, Range<u64>) {
        let start = acknowledged.count.load(Ordering::Acquire);
        (Self { acknowledged, until: start + MAX_IN_FLIGHT }, start..start + load.messages)
    }

    /// Waits until the messages up to `end` have room.
    #[inline]
    fn wait_until(&mut self, end: u64) -> Outcome<()> {
        if end > self.until {
            // Half of the room at once: a sleep for every batch would cost more than the batch.
            wait_for(self.acknowledged, end - MAX_IN_FLIGHT / 2)?;
            self.until = self.acknowledged.count.load(Ordering::Acquire) + MAX_IN_FLIGHT;
        }
        Ok(())
    }
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
