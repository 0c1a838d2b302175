//! Events: what librdkafka reports.

use std::ffi::CStr;
use std::ptr::{self, NonNull};

use rdkafka_sys::bindings as sys;

use super::partitions::Entry;
use super::{MessageRef, NativeError, Token};

/// An `rd_kafka_event_t`, destroyed when dropped.
pub(crate) struct Event {
    ptr: NonNull<sys::rd_kafka_event_t>,
}

// SAFETY: an event belongs to whoever took it off its queue, and may be read on any one thread.
unsafe impl Send for Event {}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Delivery,
    Fetch,
    Error,
    Log,
    Rebalance,
    OffsetCommit,
    Statistics,
    Other,
}

impl Event {
    pub(super) fn wrap(ptr: *mut sys::rd_kafka_event_t) -> Option<Self> {
        NonNull::new(ptr).map(|ptr| Self { ptr })
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_event_t {
        self.ptr.as_ptr()
    }

    pub(crate) fn kind(&self) -> EventKind {
        // SAFETY: the event is alive.
        match unsafe { sys::rd_kafka_event_type(self.raw()) } {
            sys::RD_KAFKA_EVENT_DR => EventKind::Delivery,
            sys::RD_KAFKA_EVENT_FETCH => EventKind::Fetch,
            sys::RD_KAFKA_EVENT_ERROR => EventKind::Error,
            sys::RD_KAFKA_EVENT_LOG => EventKind::Log,
            sys::RD_KAFKA_EVENT_REBALANCE => EventKind::Rebalance,
            sys::RD_KAFKA_EVENT_OFFSET_COMMIT => EventKind::OffsetCommit,
            sys::RD_KAFKA_EVENT_STATS => EventKind::Statistics,
            _ => EventKind::Other,
        }
    }

    /// Calls `each` with every delivery report of the event: the record as librdkafka held it, and its token.
    #[inline]
    pub(crate) fn for_each_delivery(&self, mut each: impl FnMut(MessageRef<'_>, Token)) {
        loop {
            // SAFETY: the event is alive; the record it points to lives as long as the event.
            let message = unsafe { sys::rd_kafka_event_message_next(self.raw()) };
            let Some(message) = NonNull::new(message.cast_mut()) else { return };
            // SAFETY: as above; a report's private field is the opaque that the record was sent with, and records are
            // sent with tokens only.
            let (view, token) = unsafe { (MessageRef::borrow(message), Token::from_raw((*message.as_ptr())._private)) };
            each(view, token);
        }
    }

    /// The error of an error event, or of the operation whose result this is.
    pub(crate) fn error(&self) -> Result<(), NativeError> {
        // SAFETY: the event is alive.
        let raw = unsafe { sys::rd_kafka_event_error(self.raw()) };
        NativeError::check(raw).map_err(|error| {
            // SAFETY: the event is alive; the text is copied.
            let text = unsafe { sys::rd_kafka_event_error_string(self.raw()) };
            let error = match text.is_null() {
                true => error,
                // SAFETY: not null, so a C string that lives as long as the event.
                false => error.with_text(unsafe { CStr::from_ptr(text) }.to_string_lossy()),
            };
            // Of error events only: in others the flag is part of another field, or past the end of the event.
            let has_flag = self.kind() == EventKind::Error;
            // SAFETY: the event is alive, and one that has the flag.
            match has_flag && unsafe { sys::rd_kafka_event_error_is_fatal(self.raw()) } != 0 {
                true => error.fatal(),
                false => error,
            }
        })
    }

    /// Which way a rebalance goes; `None` where it failed.
    pub(crate) fn assigns(&self) -> Option<bool> {
        // SAFETY: the event is alive.
        match unsafe { sys::rd_kafka_event_error(self.raw()) } {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Some(true),
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => Some(false),
            _ => None,
        }
    }

    /// The partitions of a rebalance or of a commit's result.
    pub(crate) fn partitions(&self) -> Vec<Entry> {
        // SAFETY: the event is alive; the list, where there is one, lives as long as the event and is copied.
        unsafe { super::partitions::entries(sys::rd_kafka_event_topic_partition_list(self.raw())) }
    }

    /// A log line: syslog level, facility, text.
    pub(crate) fn log_line(&self) -> Option<(i32, String, String)> {
        let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is alive and the results are locals; on success both are C strings of the event.
        unsafe {
            if sys::rd_kafka_event_log(self.raw(), &mut facility, &mut text, &mut level) != 0 {
                return None;
            }
            Some((
                level,
                CStr::from_ptr(facility).to_string_lossy().into_owned(),
                CStr::from_ptr(text).to_string_lossy().into_owned(),
            ))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours, and dropped once.
        unsafe { sys::rd_kafka_event_destroy(self.raw()) };
    }
}
