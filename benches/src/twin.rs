//! The C program: raw librdkafka calls in the loops that somebody who knows the library would write in C.
//!
//! It stands in for a separate C binary, so that both sides share one librdkafka, one allocator and one process.
//! No wrapper stands between a loop and the library: the two types here only open and close handles.

#![allow(unsafe_code, reason = "the baseline is the C interface itself")]

mod commit;
mod consume;
mod latency;
mod produce;
mod transactions;

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;

use rdkafka_sys::bindings as c;

pub(crate) use commit::commit_queue;
pub(crate) use consume::{consume_batch, consumer_poll};
pub(crate) use latency::{end_to_end, send_trip, sync_produce};
pub(crate) use produce::{fill, produce, produce_in_batches};
pub(crate) use transactions::{large_transactions, transactions_of_ten};

use crate::frame::Outcome;

/// A client, destroyed when dropped, and the opaque that its callbacks read.
struct Client<'o, O> {
    handle: *mut c::rd_kafka_t,
    opaque: PhantomData<&'o O>,
}

// SAFETY: rd_kafka_t may be used from any number of threads; the opaque is shared with librdkafka's, hence Sync.
unsafe impl<O: Sync> Send for Client<'_, O> {}
// SAFETY: as above.
unsafe impl<O: Sync> Sync for Client<'_, O> {}

impl<'o, O: Sync> Client<'o, O> {
    /// Makes a client; `finish` sets its callbacks.
    fn open(
        kind: c::rd_kafka_type_t,
        bootstrap: &str,
        settings: &[(&str, String)],
        opaque: &'o O,
        finish: impl FnOnce(*mut c::rd_kafka_conf_t),
    ) -> Outcome<Self> {
        let mut complaint = [0 as c_char; 512];
        let bootstrap = ("bootstrap.servers", bootstrap.to_owned());
        // SAFETY: the configuration is made here and given to rd_kafka_new, which owns it if it succeeds; strings and
        // the error buffer outlive the calls, and librdkafka terminates what it writes. The opaque outlives the client.
        unsafe {
            let configuration = c::rd_kafka_conf_new();
            for (key, value) in settings.iter().chain([&bootstrap]) {
                let (key, value) = (CString::new(*key)?, CString::new(value.as_str())?);
                let (to, room) = (complaint.as_mut_ptr(), complaint.len());
                let answer = c::rd_kafka_conf_set(configuration, key.as_ptr(), value.as_ptr(), to, room);
                if answer != c::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    c::rd_kafka_conf_destroy(configuration);
                    return Err(text(&complaint).into());
                }
            }
            c::rd_kafka_conf_set_opaque(configuration, std::ptr::from_ref(opaque).cast_mut().cast());
            finish(configuration);
            let handle = c::rd_kafka_new(kind, configuration, complaint.as_mut_ptr(), complaint.len());
            if handle.is_null() {
                c::rd_kafka_conf_destroy(configuration);
                return Err(text(&complaint).into());
            }
            Ok(Client { handle, opaque: PhantomData })
        }
    }

    fn topic(&self, name: &str) -> Outcome<TopicHandle<'_>> {
        let name = CString::new(name)?;
        // SAFETY: the client is alive and the name is terminated; a null configuration means the defaults.
        let handle = unsafe { c::rd_kafka_topic_new(self.handle, name.as_ptr(), std::ptr::null_mut()) };
        if handle.is_null() { Err(last_error().into()) } else { Ok(TopicHandle { handle, client: PhantomData }) }
    }
}

impl<O> Drop for Client<'_, O> {
    fn drop(&mut self) {
        // SAFETY: the handle came from rd_kafka_new and is destroyed once; topic handles borrow the client, so they
        // are gone.
        unsafe { c::rd_kafka_destroy(self.handle) }
    }
}

/// A topic handle that is looked up once.
struct TopicHandle<'c> {
    handle: *mut c::rd_kafka_topic_t,
    client: PhantomData<&'c ()>,
}

impl Drop for TopicHandle<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle came from rd_kafka_topic_new and is destroyed once, before its client.
        unsafe { c::rd_kafka_topic_destroy(self.handle) }
    }
}

/// Produces one message that librdkafka copies. False if its queue is full.
///
/// # Safety
/// `topic` is a live topic handle.
#[inline]
unsafe fn send(topic: *mut c::rd_kafka_topic_t, partition: i32, key: &[u8], value: &[u8]) -> bool {
    // SAFETY: the topic is alive; with F_COPY librdkafka copies key and value before it returns and writes to neither.
    let answer = unsafe {
        c::rd_kafka_produce(
            topic,
            partition,
            c::RD_KAFKA_MSG_F_COPY,
            value.as_ptr().cast_mut().cast::<c_void>(),
            value.len(),
            key.as_ptr().cast::<c_void>(),
            key.len(),
            std::ptr::null_mut(),
        )
    };
    answer == 0
}

/// "No partition: ask the partitioner", RD_KAFKA_PARTITION_UA of the header.
const UNASSIGNED: i32 = -1;

const NO_ERROR: c::rd_kafka_resp_err_t = c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// The message for the last call of this thread.
fn last_error() -> String {
    // SAFETY: rd_kafka_last_error reads a thread local.
    error_text(unsafe { c::rd_kafka_last_error() })
}

fn error_text(code: c::rd_kafka_resp_err_t) -> String {
    // SAFETY: librdkafka answers every code with a static, terminated string.
    unsafe { CStr::from_ptr(c::rd_kafka_err2str(code)) }.to_string_lossy().into_owned()
}

fn text(buffer: &[c_char]) -> String {
    let bytes: Vec<u8> = buffer.iter().map(|&character| character as u8).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
