//! The C consume loops: manual assignment from the beginning, no commits, every message looked at and destroyed.

use std::ffi::{CString, c_void};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka_sys::bindings as c;

use super::{Client, NO_ERROR, error_text};
use crate::frame::{Load, Outcome, PARTITIONS, Sample};
use crate::meter::Window;

/// Messages that one batch call may return.
const BATCH: usize = 1000;

/// Sums what it is shown, so that reading the messages cannot be optimised away.
struct Tally {
    messages: u64,
    bytes: usize,
    offsets: i64,
    error: c::rd_kafka_resp_err_t,
    /// Open from the first message on: joining, metadata and connecting are not measured.
    window: Option<Window>,
}

impl Tally {
    fn new() -> Self {
        Self { messages: 0, bytes: 0, offsets: 0, error: NO_ERROR, window: None }
    }

    /// # Safety
    /// `message` is a live message of the caller's; it is destroyed here.
    #[inline]
    unsafe fn take(&mut self, message: *mut c::rd_kafka_message_t) {
        // SAFETY: the message is alive until the destroy call, which comes last.
        unsafe {
            if (*message).err == NO_ERROR {
                self.messages += 1;
                self.bytes += (*message).len;
                self.offsets += (*message).offset;
            } else {
                self.error = (*message).err;
            }
            c::rd_kafka_message_destroy(message);
        }
    }

    fn started(&mut self) {
        self.window.get_or_insert_with(Window::open);
    }

    fn check(&self) -> Outcome<()> {
        if self.error == NO_ERROR { Ok(()) } else { Err(error_text(self.error).into()) }
    }

    fn finish(self) -> Outcome<Sample> {
        let used = self.window.ok_or("nothing was consumed")?.close();
        let Self { messages, .. } = black_box(self);
        Ok(Sample::rate(messages, used))
    }
}

/// `rd_kafka_consumer_poll` until the load is read: one message a call.
pub(crate) fn consumer_poll(load: &Load) -> Outcome<Sample> {
    let client = open(load, &())?;
    assign(&client, load)?;
    let mut tally = Tally::new();
    while tally.messages < load.messages {
        // SAFETY: the client is alive; a message that is not null is ours.
        unsafe {
            let message = c::rd_kafka_consumer_poll(client.handle, 100);
            if !message.is_null() {
                tally.started();
                tally.take(message);
            }
        }
        tally.check()?;
    }
    tally.finish()
}

/// Wakes the consuming thread when a partition's queue is no longer empty.
struct Bell {
    rung: AtomicBool,
    consuming: Thread,
}

unsafe extern "C" fn ring(_: *mut c::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: the opaque is the Bell that outlives the queues it was registered with.
    let bell = unsafe { &*opaque.cast::<Bell>() };
    if !bell.rung.swap(true, Ordering::AcqRel) {
        bell.consuming.unpark();
    }
}

/// `rd_kafka_consume_batch_queue` on each partition's own queue in turn, asleep only when all are empty.
pub(crate) fn consume_batch(load: &Load) -> Outcome<Sample> {
    let bell = Bell { rung: AtomicBool::new(false), consuming: thread::current() };
    let client = open(load, &bell)?;
    assign(&client, load)?;
    let queues = PartitionQueues::split(&client, &load.topic, &bell)?;

    let mut batch = [std::ptr::null_mut(); BATCH];
    let mut tally = Tally::new();
    while tally.messages < load.messages {
        bell.rung.store(false, Ordering::Release);
        let before = tally.messages;
        for &queue in &queues.0 {
            // SAFETY: the queue is alive, the array has room for BATCH messages, and those returned are ours.
            unsafe {
                let count = c::rd_kafka_consume_batch_queue(queue, 0, batch.as_mut_ptr(), BATCH);
                let count = usize::try_from(count).map_err(|_| super::last_error())?;
                if count > 0 {
                    tally.started();
                }
                for &message in &batch[..count] {
                    tally.take(message);
                }
            }
        }
        tally.check()?;
        while tally.messages == before && !bell.rung.load(Ordering::Acquire) {
            thread::park_timeout(Duration::from_millis(100));
        }
    }
    tally.finish()
}

pub(super) fn open<'o, O: Sync>(load: &Load, opaque: &'o O) -> Outcome<Client<'o, O>> {
    let settings = load.consumer_settings();
    Client::open(c::rd_kafka_type_t::RD_KAFKA_CONSUMER, &load.bootstrap, &settings, opaque, |_| ())
}

/// Assigns all partitions of the topic, from its beginning where it is full, else from its end.
pub(super) fn assign<O: Sync>(client: &Client<'_, O>, load: &Load) -> Outcome<()> {
    let name = CString::new(load.topic.as_str())?;
    let offset = if load.starts.is_filled() { c::RD_KAFKA_OFFSET_BEGINNING } else { c::RD_KAFKA_OFFSET_END };
    // SAFETY: the list is made and destroyed here, its elements live as long, and the client is alive.
    let answer = unsafe {
        let list = c::rd_kafka_topic_partition_list_new(PARTITIONS);
        for partition in 0..PARTITIONS {
            (*c::rd_kafka_topic_partition_list_add(list, name.as_ptr(), partition)).offset = offset.into();
        }
        let answer = c::rd_kafka_assign(client.handle, list);
        c::rd_kafka_topic_partition_list_destroy(list);
        answer
    };
    if answer == NO_ERROR { Ok(()) } else { Err(error_text(answer).into()) }
}

/// The queues of the partitions, no longer forwarded to the consumer's. They must go before the client.
struct PartitionQueues(Vec<*mut c::rd_kafka_queue_t>);

impl PartitionQueues {
    fn split(client: &Client<'_, Bell>, topic: &str, bell: &Bell) -> Outcome<Self> {
        let name = CString::new(topic)?;
        let mut queues = Self(Vec::new());
        for partition in 0..PARTITIONS {
            // SAFETY: client and name are alive; the queue is destroyed when `queues` drops, after its callback is off.
            unsafe {
                let queue = c::rd_kafka_queue_get_partition(client.handle, name.as_ptr(), partition);
                if queue.is_null() {
                    return Err(format!("{topic}-{partition} has no queue").into());
                }
                queues.0.push(queue);
                c::rd_kafka_queue_forward(queue, std::ptr::null_mut());
                let bell = std::ptr::from_ref(bell).cast_mut().cast();
                c::rd_kafka_queue_cb_event_enable(queue, Some(ring), bell);
            }
        }
        Ok(queues)
    }
}

impl Drop for PartitionQueues {
    fn drop(&mut self) {
        for &queue in &self.0 {
            // SAFETY: each queue came from rd_kafka_queue_get_partition and is destroyed once; without its callback
            // first, since the bell may be gone before librdkafka's own reference to the queue.
            unsafe {
                c::rd_kafka_queue_cb_event_enable(queue, None, std::ptr::null_mut());
                c::rd_kafka_queue_destroy(queue);
            }
        }
    }
}
