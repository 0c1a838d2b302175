//! A topic as a producer knows it; the three ways to hand a record over.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka_sys::bindings as sys;

use super::client::c_string;
use super::headers::NewHeaders;
use super::{Client, NativeError, Token};

/// An `rd_kafka_topic_t`: looked up once, used for every record.
pub(crate) struct Topic {
    ptr: NonNull<sys::rd_kafka_topic_t>,
    client: Arc<Client>,
}

// SAFETY: topic handles are reference counted and thread-safe.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

/// A record to hand over: borrowed bytes, which librdkafka copies, and the token that comes back with its report.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// `None`: the partitioner decides.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) token: Token,
}

impl Topic {
    pub(crate) fn new(client: &Arc<Client>, name: &str) -> Result<Self, NativeError> {
        let name = c_string(name)?;
        // SAFETY: client and name are alive; a null configuration means the client's default.
        let ptr = unsafe { sys::rd_kafka_topic_new(client.raw(), name.as_ptr(), ptr::null_mut()) };
        match NonNull::new(ptr) {
            Some(ptr) => Ok(Self { ptr, client: client.clone() }),
            None => Err(Self::last_error()),
        }
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.ptr.as_ptr()
    }

    /// The topic's name.
    pub(crate) fn name(&self) -> &str {
        // SAFETY: the topic is alive, and its name is a C string that lives as long.
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.raw())) };
        // It was made from a string.
        name.to_str().unwrap_or_default()
    }

    /// Hands one record over; `false`: see [`last_error`](Self::last_error).
    #[inline]
    pub(crate) fn produce(&self, record: Outgoing<'_>) -> bool {
        let (key, key_len) = parts(record.key);
        let (value, value_len) = parts(record.value);
        // SAFETY: the topic is alive, the slices too, and with `MSG_F_COPY` both are copied before the call returns.
        let answer = unsafe {
            sys::rd_kafka_produce(
                self.raw(),
                record.partition.unwrap_or(UNASSIGNED),
                sys::RD_KAFKA_MSG_F_COPY,
                value,
                value_len,
                key,
                key_len,
                record.token.into_raw(),
            )
        };
        answer == 0
    }

    /// Why the last [`produce`](Self::produce) of this thread was refused.
    #[cold]
    pub(crate) fn last_error() -> NativeError {
        // SAFETY: reads a variable of this thread.
        NativeError::from_raw(unsafe { sys::rd_kafka_last_error() })
    }

    /// Hands over one record with headers or a timestamp (milliseconds since the epoch).
    pub(crate) fn produce_with<'h>(
        &self,
        record: Outgoing<'_>,
        timestamp: Option<i64>,
        headers: impl ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> Result<(), NativeError> {
        let headers = (headers.len() > 0).then(|| NewHeaders::new(headers)).transpose()?;
        let (key, key_size) = parts(record.key);
        let (value, value_size) = parts(record.value);
        let mut fields = [
            field(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT, |u| u.rkt = self.raw()),
            field(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION, |u| {
                u.i32_ = record.partition.unwrap_or(UNASSIGNED);
            }),
            field(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS, |u| u.i = sys::RD_KAFKA_MSG_F_COPY),
            field(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE, |u| {
                u.mem = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: value, size: value_size };
            }),
            field(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY, |u| {
                u.mem = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: key, size: key_size };
            }),
            field(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE, |u| u.ptr = record.token.into_raw()),
            // Zero is librdkafka's "now".
            field(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP, |u| u.i64_ = timestamp.unwrap_or(0)),
            field(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END, |_| ()),
        ];
        let mut used = fields.len() - 1;
        if let Some(headers) = &headers {
            fields[used] = field(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS, |u| u.headers = headers.raw());
            used += 1;
        }
        // SAFETY: `used` fields are set, everything they point to is alive during the call, and key and value are
        // copied. The header list passes to librdkafka on success only. A non-null answer is ours.
        unsafe { NativeError::take(sys::rd_kafka_produceva(self.client.raw(), fields.as_ptr(), used)) }?;
        if let Some(headers) = headers {
            headers.handed_over();
        }
        Ok(())
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: our reference, given back once, while the client is alive.
        unsafe { sys::rd_kafka_topic_destroy(self.raw()) };
    }
}

/// One half of a record for a batch: null, bytes that stay where they are, or a range of the buffer that comes with
/// the call.
#[derive(Clone, Copy)]
pub enum Piece<'a> {
    Null,
    InPlace(&'a [u8]),
    Buffered { from: usize, len: usize },
}

impl<'a> Piece<'a> {
    pub(crate) fn of(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Piece::Null, Piece::InPlace)
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        match self {
            Piece::Null => 0,
            Piece::InPlace(bytes) => bytes.len(),
            Piece::Buffered { len, .. } => len,
        }
    }

    #[inline]
    pub(crate) fn slice(self, buffer: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Piece::Null => None,
            Piece::InPlace(bytes) => Some(bytes),
            Piece::Buffered { from, len } => buffer.get(from..from + len),
        }
    }

    /// Pointer and length; of a buffered piece, its place in the buffer instead of a pointer.
    #[inline]
    fn parts(self) -> (*mut c_void, usize, bool) {
        match self {
            Piece::Null => (ptr::null_mut(), 0, false),
            Piece::InPlace(bytes) => (bytes.as_ptr().cast_mut().cast(), bytes.len(), false),
            Piece::Buffered { from, len } => (ptr::without_provenance_mut(from), len, true),
        }
    }
}

/// Room for the records of one batch call, reused.
#[derive(Default)]
pub(crate) struct Batch {
    messages: Vec<sys::rd_kafka_message_t>,
}

// SAFETY: between fillings the pointers in it are dead values that nobody reads.
unsafe impl Send for Batch {}

/// A batch that is being filled with records that live for `'r`.
pub(crate) struct Filling<'b, 'r> {
    messages: &'b mut Vec<sys::rd_kafka_message_t>,
    records: PhantomData<&'r [u8]>,
}

/// In a message that is not handed over yet, the offset field says which halves stand in the buffer.
const KEY_BUFFERED: i64 = 1;
const VALUE_BUFFERED: i64 = 2;

impl Batch {
    /// Empties the batch for records that live for `'r`.
    pub(crate) fn fill<'r>(&mut self, room: usize) -> Filling<'_, 'r> {
        self.messages.clear();
        self.messages.reserve(room);
        Filling { messages: &mut self.messages, records: PhantomData }
    }
}

impl<'r> Filling<'_, 'r> {
    #[inline]
    pub(crate) fn push(&mut self, partition: Option<i32>, key: Piece<'r>, value: Piece<'r>) {
        let (key, key_len, key_buffered) = key.parts();
        let (payload, len, value_buffered) = value.parts();
        self.messages.push(sys::rd_kafka_message_t {
            err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
            rkt: ptr::null_mut(),
            partition: partition.unwrap_or(UNASSIGNED),
            payload,
            len,
            key,
            key_len,
            offset: i64::from(key_buffered) * KEY_BUFFERED + i64::from(value_buffered) * VALUE_BUFFERED,
            _private: ptr::null_mut(),
        });
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The record at `index`, as it will be handed over with this buffer.
    pub(crate) fn get<'a>(&'a self, index: usize, buffer: &'a [u8]) -> Option<(Option<i32>, Piece<'a>, Piece<'a>)> {
        let message = self.messages.get(index)?;
        let piece = |at: *mut c_void, len: usize, flag: i64| match (message.offset & flag != 0, at.is_null()) {
            (true, _) => Piece::of(buffer.get(at.addr()..at.addr() + len)),
            (false, true) => Piece::Null,
            // SAFETY: pushed from a slice that lives for `'r`, which outlives this filling.
            (false, false) => Piece::InPlace(unsafe { std::slice::from_raw_parts(at.cast(), len) }),
        };
        let partition = (message.partition != UNASSIGNED).then_some(message.partition);
        Some((
            partition,
            piece(message.key, message.key_len, KEY_BUFFERED),
            piece(message.payload, message.len, VALUE_BUFFERED),
        ))
    }

    /// Hands the records over, reading the clock and taking the topic's lock once. `token` numbers them; `refused` is
    /// called for each that was not taken, with its index and its bytes.
    pub(crate) fn produce(
        self,
        topic: &Topic,
        buffer: &[u8],
        token: impl Fn(usize) -> Token,
        mut refused: impl FnMut(usize, NativeError, Option<&[u8]>, Option<&[u8]>),
    ) {
        for (index, message) in self.messages.iter_mut().enumerate() {
            message._private = token(index).into_raw();
            if message.offset & KEY_BUFFERED != 0 {
                message.key = in_buffer(buffer, message.key, message.key_len);
            }
            if message.offset & VALUE_BUFFERED != 0 {
                message.payload = in_buffer(buffer, message.payload, message.len);
            }
        }
        let (messages, count) = (self.messages.as_mut_ptr(), self.messages.len());
        let flags = sys::RD_KAFKA_MSG_F_COPY | sys::RD_KAFKA_MSG_F_PARTITION;
        // SAFETY: the topic is alive, `messages` holds `count` initialised elements, and their bytes live longer than
        // the call, which copies them.
        let taken = unsafe { sys::rd_kafka_produce_batch(topic.raw(), UNASSIGNED, flags, messages, count as i32) };
        if taken as usize != count {
            for (index, message) in self.messages.iter().enumerate() {
                if let Err(error) = NativeError::check(message.err) {
                    let half = |at: *mut c_void, len| {
                        // SAFETY: not null, so a slice of the buffer or of a record, all of which are alive.
                        (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) })
                    };
                    refused(index, error, half(message.key, message.key_len), half(message.payload, message.len));
                }
            }
        }
    }
}

/// The pointer to a range of the buffer.
#[inline]
fn in_buffer(buffer: &[u8], from: *mut c_void, len: usize) -> *mut c_void {
    let from = from.addr();
    buffer[from..from + len].as_ptr().cast_mut().cast()
}

const UNASSIGNED: i32 = -1;

/// Null and a length of zero for null; a slice's own pointer is never null, also when it is empty.
#[inline]
fn parts(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}

fn field(vtype: sys::rd_kafka_vtype_t, set: impl FnOnce(&mut sys::rd_kafka_vu_s__bindgen_ty_1)) -> sys::rd_kafka_vu_t {
    // SAFETY: a union of integers and pointers, for all of which zero is a valid value.
    let mut field = sys::rd_kafka_vu_t { vtype, u: unsafe { mem::zeroed() } };
    set(&mut field.u);
    field
}
