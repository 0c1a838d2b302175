//! Records as librdkafka holds them.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rdkafka_sys::bindings as sys;

use super::headers::HeaderList;
use super::{Client, NativeError};

const NO_ERROR: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// A consumed record that is ours. It keeps its client alive, so it may outlive the consumer.
pub(crate) struct Message {
    ptr: NonNull<sys::rd_kafka_message_t>,
    /// librdkafka parses headers on demand, into the message, without a lock; the cell makes that happen once.
    headers: OnceLock<Option<HeaderList>>,
    _client: Arc<Client>,
}

// SAFETY: a message may be used from any thread; what mutates it (parsing its headers) goes through the `OnceLock`.
unsafe impl Send for Message {}
// SAFETY: as above.
unsafe impl Sync for Message {}

impl Message {
    /// # Safety
    /// `ptr` is a message that the application owns, of `client`.
    pub(super) unsafe fn own(ptr: *mut sys::rd_kafka_message_t, client: &Arc<Client>) -> Self {
        // SAFETY: librdkafka never hands out a null message.
        let ptr = unsafe { NonNull::new_unchecked(ptr) };
        Self { ptr, headers: OnceLock::new(), _client: client.clone() }
    }

    /// Everything but the headers.
    pub(crate) fn view(&self) -> MessageRef<'_> {
        // SAFETY: the message lives as long as `self`.
        unsafe { MessageRef::borrow(self.ptr) }
    }

    /// The headers, parsed by the first call.
    pub(crate) fn headers(&self) -> Option<&HeaderList> {
        self.headers
            .get_or_init(|| {
                let mut headers = ptr::null_mut();
                // SAFETY: the message is alive, and only one thread at a time is in here.
                let raw = unsafe { sys::rd_kafka_message_headers(self.ptr.as_ptr(), &mut headers) };
                // That there are none is an error to librdkafka, and of most records: none is made of it.
                // SAFETY: on success the list belongs to the message, which outlives the cell.
                if raw == NO_ERROR { unsafe { HeaderList::borrow(headers) } } else { None }
            })
            .as_ref()
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: ours, and dropped once; the client is still there.
        unsafe { sys::rd_kafka_message_destroy(self.ptr.as_ptr()) };
    }
}

/// Consumed records that are ours, taken off a queue together.
pub(crate) struct Fetched {
    pointers: Vec<*mut sys::rd_kafka_message_t>,
    /// Headers are parsed into their message on demand, one at a time.
    parsing: Mutex<()>,
    client: Arc<Client>,
}

// SAFETY: as for a single message; what mutates one (parsing its headers) happens under the lock.
unsafe impl Send for Fetched {}
// SAFETY: as above.
unsafe impl Sync for Fetched {}

impl Fetched {
    /// # Safety
    /// Each pointer is a message that the application owns, of `client`.
    pub(super) unsafe fn own(pointers: Vec<*mut sys::rd_kafka_message_t>, client: &Arc<Client>) -> Self {
        Self { pointers, parsing: Mutex::new(()), client: client.clone() }
    }

    pub(crate) fn len(&self) -> usize {
        self.pointers.len()
    }

    /// The record at `index`.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<MessageRef<'_>> {
        // SAFETY: never null, and alive as long as `self`.
        self.pointers.get(index).map(|ptr| unsafe { MessageRef::borrow(NonNull::new_unchecked(*ptr)) })
    }

    /// The headers of the record at `index`.
    pub(crate) fn headers(&self, index: usize) -> Option<HeaderList> {
        let _one_at_a_time = self.parsing.lock();
        // The list belongs to the message, and its public users borrow from this batch.
        self.get(index)?.report_headers()
    }

    /// Removes all records but the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        for ptr in self.pointers.drain(len.min(self.pointers.len())..) {
            // SAFETY: ours, and out of the list.
            unsafe { sys::rd_kafka_message_destroy(ptr) };
        }
    }

    /// How many bytes keys and payloads take.
    pub(crate) fn bytes(&self) -> usize {
        (0..self.len()).filter_map(|at| self.get(at)).map(MessageRef::size).sum()
    }

    /// Each record for itself.
    pub(crate) fn into_messages(mut self) -> Messages {
        let pointers: Vec<Owned> = self.pointers.drain(..).map(Owned).collect();
        Messages { pointers: pointers.into_iter(), client: self.client.clone() }
    }
}

/// Records that were fetched together, one after the other.
pub(crate) struct Messages {
    pointers: std::vec::IntoIter<Owned>,
    client: Arc<Client>,
}

impl Iterator for Messages {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let owned = self.pointers.next()?;
        Some(owned.message(&self.client))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pointers.size_hint()
    }
}

impl ExactSizeIterator for Messages {}

impl Drop for Fetched {
    fn drop(&mut self) {
        self.truncate(0);
    }
}

/// A message on its way from a batch to an owner of its own.
struct Owned(*mut sys::rd_kafka_message_t);

// SAFETY: as for a message.
unsafe impl Send for Owned {}

impl Owned {
    fn message(self, client: &Arc<Client>) -> Message {
        // SAFETY: taken out of its batch, whose client this is; `forget` keeps it from being destroyed here.
        let message = unsafe { Message::own(self.0, client) };
        std::mem::forget(self);
        message
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: never made a message, so still ours. Its batch's client is alive: the iterator holds it.
        unsafe { sys::rd_kafka_message_destroy(self.0) };
    }
}

/// A record that somebody else owns.
#[derive(Clone, Copy)]
pub(crate) struct MessageRef<'a> {
    ptr: NonNull<sys::rd_kafka_message_t>,
    owner: PhantomData<&'a ()>,
}

// SAFETY: it reads fields that do not change while the application holds the message. What changes the message (parsing
// its headers) is called by one thread at a time: the event thread, or whoever holds the lock of a `Fetched`.
unsafe impl Send for MessageRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for MessageRef<'_> {}

/// How far a record came, by librdkafka's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    NotPersisted,
    PossiblyPersisted,
    Persisted,
}

impl<'a> MessageRef<'a> {
    /// # Safety
    /// The message lives for `'a`.
    pub(super) unsafe fn borrow(ptr: NonNull<sys::rd_kafka_message_t>) -> Self {
        Self { ptr, owner: PhantomData }
    }

    #[inline]
    fn fields(self) -> &'a sys::rd_kafka_message_t {
        // SAFETY: alive for `'a`, and its public fields do not change while the application holds it.
        unsafe { self.ptr.as_ref() }
    }

    /// Of a consumed message: the error that stands in the place of a record.
    pub(crate) fn error(self) -> Result<(), NativeError> {
        // SAFETY: the message is alive; of an error, the payload is its text as a C string.
        self.check(|message| unsafe { sys::rd_kafka_message_errstr(message) })
    }

    /// Of a delivery report: why the record failed. (The call for consumed messages would take the record's payload
    /// for the text, and read past its end.)
    pub(crate) fn report_error(self) -> Result<(), NativeError> {
        // SAFETY: the message is alive; the text is a C string of the message, or static.
        self.check(|message| unsafe { sys::rd_kafka_message_produce_errstr(message) })
    }

    fn check(
        self,
        text: impl FnOnce(*const sys::rd_kafka_message_t) -> *const std::ffi::c_char,
    ) -> Result<(), NativeError> {
        NativeError::check(self.fields().err).map_err(|error| {
            let text = text(self.ptr.as_ptr());
            match text.is_null() {
                true => error,
                // SAFETY: not null, and a C string by the contract of both callers.
                false => error.with_text(unsafe { CStr::from_ptr(text) }.to_string_lossy()),
            }
        })
    }

    /// Whether the report or record carries an error, without building it.
    #[inline]
    pub(crate) fn failed(self) -> bool {
        self.fields().err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    pub(crate) fn topic(self) -> &'a str {
        // SAFETY: the message holds a reference to its topic, whose name is a C string that lives as long.
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.fields().rkt)) };
        // Kafka's topic names are ASCII; anything else cannot have been created.
        name.to_str().unwrap_or_default()
    }

    /// How many bytes key and payload take.
    #[inline]
    pub(crate) fn size(self) -> usize {
        self.fields().key_len + self.fields().len
    }

    #[inline]
    pub(crate) fn partition(self) -> i32 {
        self.fields().partition
    }

    #[inline]
    pub(crate) fn offset(self) -> i64 {
        self.fields().offset
    }

    pub(crate) fn key(self) -> Option<&'a [u8]> {
        let fields = self.fields();
        // SAFETY: librdkafka's key pointer is null for a null key, else it points to that many bytes.
        unsafe { bytes(fields.key, fields.key_len) }
    }

    pub(crate) fn payload(self) -> Option<&'a [u8]> {
        let fields = self.fields();
        // SAFETY: as for the key. (An error's text is in the payload of an error message; `error` is asked first.)
        unsafe { bytes(fields.payload, fields.len) }
    }

    /// Milliseconds since the epoch, and whether the broker wrote it.
    #[inline]
    pub(crate) fn timestamp(self) -> Option<(i64, bool)> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.ptr.as_ptr(), &mut kind) };
        match kind {
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => None,
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => Some((millis, false)),
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Some((millis, true)),
        }
    }

    /// Of the report of a record that was delivered: its timestamp. There always is one, so nobody asks for its kind.
    #[inline]
    pub(crate) fn delivered_timestamp(self) -> i64 {
        // SAFETY: the message is alive; null stands for a kind that is not wanted.
        unsafe { sys::rd_kafka_message_timestamp(self.ptr.as_ptr(), ptr::null_mut()) }
    }

    /// Of a delivery report: the timestamp that the record was sent with. `timestamp` keeps it back where the record
    /// failed. Reports are read by one thread, so nobody sees the error gone for a moment.
    pub(crate) fn report_timestamp(self) -> Option<i64> {
        let message = self.ptr.as_ptr();
        let error = self.fields().err;
        // SAFETY: the message is alive and read by this thread only; librdkafka owns nothing of a report's `err`.
        let timestamp = unsafe {
            (*message).err = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            let timestamp = self.timestamp();
            (*message).err = error;
            timestamp
        };
        timestamp.map(|(millis, _)| millis)
    }

    /// Of a delivery report: whether the record may be in the log.
    pub(crate) fn status(self) -> Status {
        // SAFETY: the message is alive.
        match unsafe { sys::rd_kafka_message_status(self.ptr.as_ptr()) } {
            sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Status::NotPersisted,
            sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Status::PossiblyPersisted,
            sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED => Status::Persisted,
        }
    }

    /// Of a delivery report: the headers it was sent with. Reports are read by one thread, so no cell is needed.
    pub(crate) fn report_headers(self) -> Option<HeaderList> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive and read by this thread only.
        let raw = unsafe { sys::rd_kafka_message_headers(self.ptr.as_ptr(), &mut headers) };
        // SAFETY: on success the list belongs to the message; the caller copies from it before the event goes.
        if raw == NO_ERROR { unsafe { HeaderList::borrow(headers) } } else { None }
    }
}

/// # Safety
/// `ptr` is null, or points to `len` bytes that live for `'a`.
unsafe fn bytes<'a>(ptr: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by the contract of this function.
    (!ptr.is_null()).then(|| unsafe { std::slice::from_raw_parts(ptr.cast(), len) })
}
