//! Queues: where librdkafka puts events and fetched records.

use std::ffi::c_void;
use std::future::poll_fn;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rdkafka_sys::bindings as sys;

use super::client::{c_string, millis};
use super::message::Fetched;
use super::{Client, Event, Signal};

/// An `rd_kafka_queue_t`. One task or thread reads a queue.
pub(crate) struct Queue {
    ptr: NonNull<sys::rd_kafka_queue_t>,
    signal: Option<Arc<Signal>>,
    client: Arc<Client>,
}

// SAFETY: queue operations are thread-safe in librdkafka.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A queue of our own, for the results of commits and admin requests.
    pub(crate) fn new(client: &Arc<Client>) -> Self {
        // SAFETY: the instance is alive; the queue is ours and never null.
        let ptr = unsafe { sys::rd_kafka_queue_new(client.raw()) };
        Self::wrap(client, ptr).unwrap_or_else(|| unreachable!("rd_kafka_queue_new never returns null"))
    }

    /// The main queue: delivery reports, errors, logs, statistics.
    pub(crate) fn main(client: &Arc<Client>) -> Self {
        // SAFETY: the instance is alive; every instance has a main queue.
        let ptr = unsafe { sys::rd_kafka_queue_get_main(client.raw()) };
        Self::wrap(client, ptr).unwrap_or_else(|| unreachable!("every instance has a main queue"))
    }

    /// The consumer's queue: rebalances, and what is not taken elsewhere. `None` without a group.
    pub(crate) fn consumer(client: &Arc<Client>) -> Option<Self> {
        // SAFETY: the instance is alive.
        Self::wrap(client, unsafe { sys::rd_kafka_queue_get_consumer(client.raw()) })
    }

    /// The queue of one assigned partition, cut off from the consumer's queue.
    pub(crate) fn partition(client: &Arc<Client>, topic: &str, partition: i32) -> Option<Self> {
        let topic = c_string(topic).ok()?;
        // SAFETY: the instance and the C string are alive.
        let ptr = unsafe { sys::rd_kafka_queue_get_partition(client.raw(), topic.as_ptr(), partition) };
        let queue = Self::wrap(client, ptr)?;
        // SAFETY: the queue is alive; forwarding to null means: to nowhere, so that it is read here only.
        unsafe { sys::rd_kafka_queue_forward(queue.raw(), ptr::null_mut()) };
        Some(queue)
    }

    fn wrap(client: &Arc<Client>, ptr: *mut sys::rd_kafka_queue_t) -> Option<Self> {
        NonNull::new(ptr).map(|ptr| Self { ptr, signal: None, client: client.clone() })
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.ptr.as_ptr()
    }

    /// The client it belongs to.
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The next event, waiting up to `wait` for it. Blocks, unless `wait` is zero.
    pub(crate) fn poll(&self, wait: Duration) -> Option<Event> {
        // SAFETY: the queue is alive; the event is ours.
        Event::wrap(unsafe { sys::rd_kafka_queue_poll(self.raw(), millis(wait)) })
    }

    /// Ends a [`poll`](Self::poll) that waits on another thread.
    pub(crate) fn interrupt(&self) {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_yield(self.raw()) };
    }

    /// Lets librdkafka wake a task when the queue is no longer empty.
    pub(crate) fn wakes(mut self) -> Self {
        let signal = self.signal.get_or_insert_with(Arc::default).clone();
        // SAFETY: the queue is alive, and the signal outlives the callback: `drop` disables it before the `Arc` goes.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.raw(), Some(wake), Arc::as_ptr(&signal) as *mut c_void);
        }
        self
    }

    /// What wakes the reader of this queue, for whoever has another reason to.
    pub(crate) fn signal(&self) -> Option<&Arc<Signal>> {
        self.signal.as_ref()
    }

    /// The next event, without blocking a thread. The queue must be one that [wakes](Self::wakes).
    ///
    /// Cancel safe: an event is taken only when it is returned.
    pub(crate) async fn next(&self) -> Event {
        poll_fn(|context| {
            if let Some(event) = self.poll(Duration::ZERO) {
                return Poll::Ready(event);
            }
            // Registered before the second look: an event that arrives in between wakes the waker, one that arrived
            // before is seen by the look.
            if let Some(signal) = &self.signal {
                signal.register(context.waker());
            }
            match self.poll(Duration::ZERO) {
                Some(event) => Poll::Ready(event),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Takes up to `max` fetched records that are there already. For partition queues only: on the consumer's own
    /// queue the native call would swallow rebalances.
    pub(crate) fn drain(&self, max: usize) -> Fetched {
        let mut pointers = Vec::with_capacity(max);
        // SAFETY: the queue is alive, and the vector has room for `max` pointers, of which librdkafka fills as many
        // as it returns. Each is a message of ours.
        unsafe {
            let taken = sys::rd_kafka_consume_batch_queue(self.raw(), 0, pointers.as_mut_ptr(), max);
            pointers.set_len(usize::try_from(taken).unwrap_or(0));
        }
        // SAFETY: as above, of this client.
        unsafe { Fetched::own(pointers, &self.client) }
    }

    /// What follows the last thing that was taken off this queue of a partition: a record, or a marker of a transaction.
    /// `None` before the first.
    pub(crate) fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        self.client.position(topic, partition)
    }

    /// Waits for fetched records, without blocking a thread, and takes up to `max`; nothing once `stopped` says so.
    /// The queue must be one that [wakes](Self::wakes); whoever stops it wakes its signal.
    ///
    /// Cancel safe: records are taken only when they are returned.
    pub(crate) async fn fetched(&self, max: usize, stopped: impl Fn() -> bool) -> Fetched {
        poll_fn(|context| {
            for look in [Look::First, Look::AfterRegistering] {
                if stopped() {
                    // SAFETY: nothing is owned.
                    return Poll::Ready(unsafe { Fetched::own(Vec::new(), &self.client) });
                }
                if let (Look::AfterRegistering, Some(signal)) = (look, &self.signal) {
                    // Before the look, as in `next`.
                    signal.register(context.waker());
                    if stopped() {
                        continue;
                    }
                }
                let fetched = self.drain(max);
                if fetched.len() > 0 {
                    return Poll::Ready(fetched);
                }
            }
            match stopped() {
                // SAFETY: nothing is owned.
                true => Poll::Ready(unsafe { Fetched::own(Vec::new(), &self.client) }),
                false => Poll::Pending,
            }
        })
        .await
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is alive. The callback goes before its opaque does, and the reference is given back once.
        unsafe {
            if self.signal.is_some() {
                sys::rd_kafka_queue_cb_event_enable(self.raw(), None, ptr::null_mut());
            }
            sys::rd_kafka_queue_destroy(self.raw());
        }
    }
}

#[derive(Clone, Copy)]
enum Look {
    First,
    AfterRegistering,
}

unsafe extern "C" fn wake(_client: *mut sys::rd_kafka_t, signal: *mut c_void) {
    // SAFETY: `signal` is the `Arc<Signal>` of a queue that is alive while the callback is enabled.
    unsafe { &*signal.cast_const().cast::<Signal>() }.wake();
}
