//! Transactions of a producer, and the membership that makes the offsets in one of them valid. All calls block.

use std::ffi::CStr;
use std::ptr::NonNull;

use rdkafka_sys::bindings as sys;

use super::{Client, NativeError, Partitions};

/// Means: as long as the transaction may take (twice that for the first call). A shorter wait would end in the middle
/// of a request whose outcome nobody knows then.
const AS_LONG_AS_IT_TAKES: i32 = -1;

impl Client {
    /// Makes this producer the only one with its `transactional.id`: others are fenced, what they left open is aborted.
    pub(crate) fn init_transactions(&self) -> Result<(), NativeError> {
        // SAFETY: the instance is alive; the error object, if any, is ours.
        unsafe { NativeError::take(sys::rd_kafka_init_transactions(self.raw(), AS_LONG_AS_IT_TAKES)) }
    }

    pub(crate) fn begin_transaction(&self) -> Result<(), NativeError> {
        // SAFETY: as above.
        unsafe { NativeError::take(sys::rd_kafka_begin_transaction(self.raw())) }
    }

    /// Makes offsets of a group part of the transaction.
    pub(crate) fn send_offsets(&self, offsets: &Partitions, membership: &Membership) -> Result<(), NativeError> {
        // SAFETY: all three are alive; librdkafka copies list and metadata.
        unsafe {
            NativeError::take(sys::rd_kafka_send_offsets_to_transaction(
                self.raw(),
                offsets.raw(),
                membership.0.as_ptr(),
                AS_LONG_AS_IT_TAKES,
            ))
        }
    }

    pub(crate) fn commit_transaction(&self) -> Result<(), NativeError> {
        // SAFETY: the instance is alive; the error object, if any, is ours.
        unsafe { NativeError::take(sys::rd_kafka_commit_transaction(self.raw(), AS_LONG_AS_IT_TAKES)) }
    }

    pub(crate) fn abort_transaction(&self) -> Result<(), NativeError> {
        // SAFETY: as above.
        unsafe { NativeError::take(sys::rd_kafka_abort_transaction(self.raw(), AS_LONG_AS_IT_TAKES)) }
    }

    /// What this consumer is in its group at this moment. `None` where it has no group.
    pub(crate) fn membership(&self) -> Option<Membership> {
        // SAFETY: the instance is alive; the object is ours, or null.
        NonNull::new(unsafe { sys::rd_kafka_consumer_group_metadata(self.raw()) }).map(Membership)
    }
}

/// A consumer's membership of its group: group, generation (or member epoch) and member.
pub(crate) struct Membership(NonNull<sys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: an immutable record of plain values.
unsafe impl Send for Membership {}
// SAFETY: as above.
unsafe impl Sync for Membership {}

impl Membership {
    /// Whether it names a member (generations and epochs begin at 1). One that does not is accepted by brokers for any group, from anybody: it protects
    /// nothing.
    pub(crate) fn is_bound(&self) -> bool {
        self.generation() > 0 && !self.member().is_empty()
    }

    pub(crate) fn generation(&self) -> i32 {
        // SAFETY: alive.
        unsafe { sys::rd_kafka_consumer_group_metadata_generation_id(self.0.as_ptr()) }
    }

    pub(crate) fn member(&self) -> String {
        // SAFETY: alive; the answer is a C string that lives as long.
        unsafe { CStr::from_ptr(sys::rd_kafka_consumer_group_metadata_member_id(self.0.as_ptr())) }
            .to_string_lossy()
            .into_owned()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // SAFETY: ours, and dropped once.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}
