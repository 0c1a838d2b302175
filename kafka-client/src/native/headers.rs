//! Header lists: read from a record, built for one.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};

use rdkafka_sys::bindings as sys;

use super::NativeError;

/// The headers of a record, which owns them.
pub(crate) struct HeaderList {
    ptr: NonNull<sys::rd_kafka_headers_t>,
    len: usize,
}

// SAFETY: a parsed list is only read, and reading changes nothing in it.
unsafe impl Send for HeaderList {}
// SAFETY: as above.
unsafe impl Sync for HeaderList {}

impl HeaderList {
    /// # Safety
    /// `ptr` is null or a list that outlives the result.
    pub(super) unsafe fn borrow(ptr: *mut sys::rd_kafka_headers_t) -> Option<Self> {
        let ptr = NonNull::new(ptr)?;
        // SAFETY: alive by the contract.
        Some(Self { ptr, len: unsafe { sys::rd_kafka_header_cnt(ptr.as_ptr()) } })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The header at `index`, in the order of the record: its name as bytes, and its value.
    pub(crate) fn get(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null::<c_void>(), 0);
        // SAFETY: the list is alive; on success name and value point into it.
        unsafe {
            let raw = sys::rd_kafka_header_get_all(self.ptr.as_ptr(), index, &mut name, &mut value, &mut size);
            NativeError::check(raw).ok()?;
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            Some((CStr::from_ptr(name).to_bytes(), value))
        }
    }
}

/// A list that is being built for a record to send.
pub(super) struct NewHeaders {
    ptr: *mut sys::rd_kafka_headers_t,
}

impl NewHeaders {
    pub(super) fn new<'a>(
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<Self, NativeError> {
        // SAFETY: never null; ours until handed over.
        let list = Self { ptr: unsafe { sys::rd_kafka_headers_new(headers.len()) } };
        for (name, value) in headers {
            let (value, size) = value.map_or((ptr::null(), 0), |value| (value.as_ptr(), value.len()));
            // SAFETY: the list is alive, name and value are slices of the lengths passed; librdkafka copies both.
            NativeError::check(unsafe {
                sys::rd_kafka_header_add(
                    list.ptr,
                    name.as_ptr().cast(),
                    name.len() as isize,
                    value.cast(),
                    size as isize,
                )
            })?;
        }
        Ok(list)
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_headers_t {
        self.ptr
    }

    /// Gives the list to librdkafka, which took it with the record.
    pub(super) fn handed_over(mut self) {
        self.ptr = ptr::null_mut();
    }
}

impl Drop for NewHeaders {
    fn drop(&mut self) {
        if !self.ptr.is_null() {
            // SAFETY: not handed over, so still ours.
            unsafe { sys::rd_kafka_headers_destroy(self.ptr) };
        }
    }
}
