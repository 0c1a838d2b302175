//! One librdkafka instance: a producer, a consumer or an admin client.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka_sys::bindings as sys;

use super::code::{ERROR_TEXT_BYTES, text_of};
use super::{Code, Entry, NativeError, Partitions, Queue};

/// The time that means: the oldest record.
pub(crate) const EARLIEST: i64 = -2;
/// The time that means: behind the newest record.
pub(crate) const LATEST: i64 = -1;

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
}

/// An `rd_kafka_t`. Dropping the last reference destroys it, on a thread that may block.
pub(crate) struct Client {
    ptr: NonNull<sys::rd_kafka_t>,
    role: Role,
}

// SAFETY: librdkafka's API is thread-safe: every call used in this room may be made from any thread at any time.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

thread_local! {
    /// Set on threads of our own, where destroying a client (which joins its threads) holds nobody up.
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as one of ours, which may wait for a native client to end.
pub(crate) fn this_thread_may_block() {
    MAY_BLOCK.set(true);
}

impl Client {
    /// Creates an instance; everything that librdkafka would call back about arrives as an event instead.
    pub(crate) fn new<'a>(
        role: Role,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Arc<Self>, NativeError> {
        let mut config = ClientConfig::new();
        for (key, value) in settings {
            config.set(key, value);
        }
        let conf = native_config(role, &config)?;
        let kind = match role {
            Role::Producer => sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            Role::Consumer => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
        };
        let mut text = [0u8; ERROR_TEXT_BYTES];
        // SAFETY: `conf` is ours; librdkafka takes it over on success, and leaves it to us on failure.
        let client = unsafe { sys::rd_kafka_new(kind, conf, text.as_mut_ptr().cast(), text.len()) };
        let Some(ptr) = NonNull::new(client) else {
            // SAFETY: the call failed, so the configuration is still ours.
            unsafe { sys::rd_kafka_conf_destroy(conf) };
            return Err(NativeError::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG)
                .with_text(text_of(&text)));
        };
        let client = Arc::new(Self { ptr, role });
        // SAFETY: the instance is alive. With `log.queue=true` a null queue means: the main queue.
        NativeError::check(unsafe { sys::rd_kafka_set_log_queue(client.raw(), ptr::null_mut()) })?;
        if role == Role::Consumer {
            // SAFETY: the instance is alive. Moves everything from the main queue to the consumer's, so that one
            // event thread sees it all.
            NativeError::check(unsafe { sys::rd_kafka_poll_set_consumer(client.raw()) })?;
        }
        Ok(client)
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_t {
        self.ptr.as_ptr()
    }

    /// The error that ended this client for good, if any.
    pub(crate) fn fatal_error(&self) -> Option<NativeError> {
        let mut text = [0u8; ERROR_TEXT_BYTES];
        // SAFETY: the instance is alive and the buffer has the length that is passed.
        let raw = unsafe { sys::rd_kafka_fatal_error(self.raw(), text.as_mut_ptr().cast(), text.len()) };
        NativeError::check(raw).err().map(|error| error.with_text(text_of(&text)).fatal())
    }

    /// Sends what lingers and waits until every record has its report, `wait` at most. Blocks.
    pub(crate) fn flush(&self, wait: Duration) -> bool {
        // SAFETY: the instance is alive.
        let raw = unsafe { sys::rd_kafka_flush(self.raw(), millis(wait)) };
        NativeError::check(raw).is_ok()
    }

    /// Fails every record that waits in the queues or on the wire; their reports follow as events.
    pub(crate) fn purge(&self) {
        let flags = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT | sys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the instance is alive; non-blocking, so that it may be called anywhere.
        unsafe { sys::rd_kafka_purge(self.raw(), flags) };
    }

    /// Asks the cluster for its brokers; the id of the one that answered, `None` while that is only a bootstrap
    /// address. Blocks for up to `wait`.
    pub(crate) fn answering_broker(&self, wait: Duration) -> Result<Option<i32>, NativeError> {
        let mut metadata: *const sys::rd_kafka_metadata = ptr::null();
        // SAFETY: the instance is alive; a null topic means no topic in particular.
        NativeError::check(unsafe {
            sys::rd_kafka_metadata(self.raw(), 0, ptr::null_mut(), &mut metadata, millis(wait))
        })?;
        // SAFETY: the call has succeeded, so the object is there, ours, and not used after it is destroyed.
        let broker = unsafe {
            let broker = (*metadata).orig_broker_id;
            sys::rd_kafka_metadata_destroy(metadata);
            broker
        };
        Ok((broker >= 0).then_some(broker))
    }

    /// How many partitions a topic has, asked of the cluster. Blocks for up to `wait`.
    pub(crate) fn partition_count(&self, topic: &super::Topic, wait: Duration) -> Result<i32, NativeError> {
        let mut metadata: *const sys::rd_kafka_metadata = ptr::null();
        // SAFETY: instance and topic are alive; on success `metadata` points to an object that we destroy below.
        NativeError::check(unsafe { sys::rd_kafka_metadata(self.raw(), 0, topic.raw(), &mut metadata, millis(wait)) })?;
        // SAFETY: librdkafka filled the object: `topics` holds `topic_cnt` entries.
        let answer = unsafe {
            match std::slice::from_raw_parts((*metadata).topics, (*metadata).topic_cnt as usize).first() {
                None => Err(NativeError::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)),
                Some(topic) => NativeError::check(topic.err).map(|()| topic.partition_cnt),
            }
        };
        // SAFETY: ours since the successful call, and not used after this.
        unsafe { sys::rd_kafka_metadata_destroy(metadata) };
        answer
    }

    /// Joins the group for these topics; the assignment arrives as rebalance events.
    pub(crate) fn subscribe(&self, topics: &Partitions) -> Result<(), NativeError> {
        // SAFETY: both are alive; librdkafka copies the list.
        NativeError::check(unsafe { sys::rd_kafka_subscribe(self.raw(), topics.raw()) })
    }

    /// Answers a rebalance of the eager protocols, or assigns by hand; `None` takes everything away.
    pub(crate) fn assign(&self, partitions: Option<&Partitions>) -> Result<(), NativeError> {
        let list = partitions.map_or(ptr::null(), |list| list.raw().cast_const());
        // SAFETY: the instance is alive, the list is null or alive; librdkafka copies it.
        NativeError::check(unsafe { sys::rd_kafka_assign(self.raw(), list) })
    }

    /// Answers an assignment of the cooperative protocols.
    pub(crate) fn incremental_assign(&self, partitions: &Partitions) -> Result<(), NativeError> {
        // SAFETY: both are alive; librdkafka copies the list; the error object, if any, is ours.
        unsafe { NativeError::take(sys::rd_kafka_incremental_assign(self.raw(), partitions.raw())) }
    }

    /// Answers a revocation of the cooperative protocols.
    pub(crate) fn incremental_unassign(&self, partitions: &Partitions) -> Result<(), NativeError> {
        // SAFETY: as above.
        unsafe { NativeError::take(sys::rd_kafka_incremental_unassign(self.raw(), partitions.raw())) }
    }

    /// Whether the group's protocol revokes and assigns partitions one by one.
    pub(crate) fn is_cooperative(&self) -> bool {
        // SAFETY: the instance is alive; the answer is a static C string or null.
        let protocol = unsafe { sys::rd_kafka_rebalance_protocol(self.raw()) };
        // SAFETY: not null, so it is a static C string.
        !protocol.is_null() && unsafe { CStr::from_ptr(protocol) } == c"COOPERATIVE"
    }

    /// Whether the current assignment was lost (the member was fenced or left out), so that commits are pointless.
    pub(crate) fn assignment_lost(&self) -> bool {
        // SAFETY: the instance is alive.
        unsafe { sys::rd_kafka_assignment_lost(self.raw()) != 0 }
    }

    /// Starts a commit; its result arrives as an event on `results`.
    pub(crate) fn commit(&self, offsets: &Partitions, results: &Queue) -> Result<(), NativeError> {
        // SAFETY: all three are alive; librdkafka copies the list. Without a callback the result is an event.
        NativeError::check(unsafe {
            sys::rd_kafka_commit_queue(self.raw(), offsets.raw(), results.raw(), None, ptr::null_mut())
        })
    }

    /// The offsets that the group has committed, with their metadata, asked of the cluster. Blocks for up to `wait`.
    pub(crate) fn committed(&self, partitions: &Partitions, wait: Duration) -> Result<Vec<Entry>, NativeError> {
        // SAFETY: both are alive; librdkafka writes offsets and metadata into the list, which frees them.
        NativeError::check(unsafe { sys::rd_kafka_committed(self.raw(), partitions.raw(), millis(wait)) })?;
        Ok(partitions.entries())
    }

    /// The offsets of the first records that are not older than the times in the list (milliseconds since the epoch, or
    /// [`EARLIEST`], [`LATEST`]), asked of the cluster. Blocks for up to `wait`.
    pub(crate) fn offsets_for_times(&self, times: &Partitions, wait: Duration) -> Result<Vec<Entry>, NativeError> {
        // SAFETY: both are alive; librdkafka replaces the times in the list by offsets.
        NativeError::check(unsafe { sys::rd_kafka_offsets_for_times(self.raw(), times.raw(), millis(wait)) })?;
        Ok(times.entries())
    }

    /// Goes on fetching at the offsets in the list, and drops what was fetched. Blocks for up to `wait`.
    pub(crate) fn seek(&self, positions: &Partitions, wait: Duration) -> Result<Vec<Entry>, NativeError> {
        // SAFETY: both are alive; the error object, if any, is ours; errors of partitions are written into the list.
        unsafe { NativeError::take(sys::rd_kafka_seek_partitions(self.raw(), positions.raw(), millis(wait))) }?;
        Ok(positions.entries())
    }

    /// What follows the last thing of a partition that the application was given, markers of transactions included.
    pub(crate) fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        let mut list = Partitions::new();
        list.add(topic, partition, None, None).ok()?;
        // SAFETY: both are alive; librdkafka writes the position into the list.
        NativeError::check(unsafe { sys::rd_kafka_position(self.raw(), list.raw()) }).ok()?;
        list.entries().first().and_then(|entry| entry.offset)
    }

    /// The newest offset of a partition that fetching has told, without asking the cluster.
    pub(crate) fn known_end(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = c_string(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the instance and the C string are alive, and the results are locals.
        let raw =
            unsafe { sys::rd_kafka_get_watermark_offsets(self.raw(), topic.as_ptr(), partition, &mut low, &mut high) };
        NativeError::check(raw).ok().and_then(|()| (high >= 0).then_some(high))
    }

    /// Starts leaving the group; rebalance events then arrive on `queue` until [`closed`](Self::closed).
    pub(crate) fn close_into(&self, queue: &Queue) -> Result<(), NativeError> {
        // SAFETY: both are alive; the error object, if any, is ours.
        unsafe { NativeError::take(sys::rd_kafka_consumer_close_queue(self.raw(), queue.raw())) }
    }

    /// Whether the consumer has left its group.
    pub(crate) fn closed(&self) -> bool {
        // SAFETY: the instance is alive.
        unsafe { sys::rd_kafka_consumer_closed(self.raw()) != 0 }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let pointer = Pointer(self.ptr, self.role);
        if MAY_BLOCK.get() {
            return pointer.destroy();
        }
        // Destroying joins librdkafka's threads, which a tokio worker must not wait for. Where no thread can be had,
        // it has to wait after all.
        let thread = std::thread::Builder::new().name("kafka-destroy".into());
        if let Err(error) = thread.spawn(move || pointer.destroy()) {
            tracing::error!(%error, "no thread to end a client on; it stays behind");
        }
    }
}

/// The last reference to an instance, on its way to the thread that ends it.
struct Pointer(NonNull<sys::rd_kafka_t>, Role);

// SAFETY: `rd_kafka_destroy` may be called on any application thread.
unsafe impl Send for Pointer {}

impl Pointer {
    fn destroy(self) {
        // SAFETY: the last `Arc<Client>` is gone, so no queue, topic or message of this instance is left. A consumer
        // has left its group before, or must not wait for that now.
        unsafe {
            match self.1 {
                Role::Producer => sys::rd_kafka_destroy(self.0.as_ptr()),
                Role::Consumer => {
                    sys::rd_kafka_destroy_flags(self.0.as_ptr(), sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
                }
            }
        }
    }
}

/// A configuration object of our own, with events instead of callbacks.
fn native_config(role: Role, config: &ClientConfig) -> Result<*mut sys::rd_kafka_conf_t, NativeError> {
    let native = config.create_native_config().map_err(|error| {
        let invalid = NativeError::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG);
        match error {
            rdkafka::error::KafkaError::ClientConfig(_, text, ..) => invalid.with_text(text),
            other => invalid.with_text(other.to_string()),
        }
    })?;
    // SAFETY: `native` is alive; the copy is ours, and outlives it.
    let conf = unsafe { sys::rd_kafka_conf_dup(native.ptr()) };
    let mut events = sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_LOG | sys::RD_KAFKA_EVENT_STATS;
    events |= match role {
        Role::Producer => sys::RD_KAFKA_EVENT_DR,
        Role::Consumer => sys::RD_KAFKA_EVENT_REBALANCE | sys::RD_KAFKA_EVENT_OFFSET_COMMIT,
    };
    // SAFETY: `conf` is alive and ours; the C strings are static and the text buffer is a local of the right length.
    unsafe {
        sys::rd_kafka_conf_set_events(conf, events);
        let mut text = [0u8; ERROR_TEXT_BYTES];
        let set =
            sys::rd_kafka_conf_set(conf, c"log.queue".as_ptr(), c"true".as_ptr(), text.as_mut_ptr().cast(), text.len());
        debug_assert_eq!(set, sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK, "log.queue is a known property");
    }
    Ok(conf)
}

/// A wait as librdkafka takes it: whole milliseconds, rounded up so that a short wait is not none.
pub(super) fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

/// A name for librdkafka, which cannot hold a NUL.
pub(super) fn c_string(name: &str) -> Result<CString, NativeError> {
    CString::new(name).map_err(|_| {
        NativeError::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG)
            .with_text(format!("{name:?} contains a NUL"))
    })
}

/// Whether a code says that the member is no longer part of its group: what it still does counts for nothing.
pub(crate) fn is_eviction(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
            | Code::AssignmentLost
    )
}
