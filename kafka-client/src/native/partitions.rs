//! Lists of partitions with offsets and commit metadata.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::slice;

use rdkafka_sys::bindings as sys;

use super::client::c_string;
use super::{Code, NativeError};

/// One line of a list, copied out of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The offset, where there is one: not for "unset" or "stored".
    pub(crate) offset: Option<i64>,
    /// What was committed with the offset; any bytes.
    pub(crate) metadata: Option<Vec<u8>>,
    pub(crate) code: Option<Code>,
    pub(crate) error: Option<&'static str>,
}

/// An `rd_kafka_topic_partition_list_t` to pass to librdkafka. Lists of librdkafka's never leave this room: they are
/// copied into [`Entry`]s, because one that is still alive would keep its client from ending.
pub(crate) struct Partitions {
    ptr: NonNull<sys::rd_kafka_topic_partition_list_t>,
}

// SAFETY: a plain container that one owner at a time uses.
unsafe impl Send for Partitions {}
// SAFETY: as above; shared use is read-only.
unsafe impl Sync for Partitions {}

impl Partitions {
    pub(crate) fn new() -> Self {
        // SAFETY: never null; ours.
        let ptr = unsafe { sys::rd_kafka_topic_partition_list_new(4) };
        Self { ptr: NonNull::new(ptr).unwrap_or_else(|| unreachable!("the list is never null")) }
    }

    /// A list of topic names, as a subscription wants it.
    pub(crate) fn topics<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, NativeError> {
        let mut list = Self::new();
        for name in names {
            list.add(name, -1, None, None)?;
        }
        Ok(list)
    }

    /// Adds a line.
    pub(crate) fn add(
        &mut self,
        topic: &str,
        partition: i32,
        offset: Option<i64>,
        metadata: Option<&[u8]>,
    ) -> Result<(), NativeError> {
        let topic = c_string(topic)?;
        // SAFETY: the list is alive; the new element is valid until the next change of the list. Metadata is freed
        // with `rd_free` by the list, so it comes from librdkafka's allocator.
        unsafe {
            let line = sys::rd_kafka_topic_partition_list_add(self.raw(), topic.as_ptr(), partition);
            if let Some(offset) = offset {
                (*line).offset = offset;
            }
            if let Some(metadata) = metadata.filter(|metadata| !metadata.is_empty()) {
                let copy = sys::rd_kafka_mem_malloc(std::ptr::null_mut(), metadata.len());
                std::ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
                (*line).metadata = copy;
                (*line).metadata_size = metadata.len();
            }
        }
        Ok(())
    }

    /// What librdkafka has written into the list.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        // SAFETY: the list is alive.
        unsafe { entries(self.raw()) }
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.ptr.as_ptr()
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: ours, and dropped once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.raw()) };
    }
}

/// Copies a list of librdkafka's.
///
/// # Safety
/// `list` is null or alive.
pub(super) unsafe fn entries(list: *mut sys::rd_kafka_topic_partition_list_t) -> Vec<Entry> {
    let Some(list) = NonNull::new(list) else { return Vec::new() };
    // SAFETY: alive; `elems` holds `cnt` lines, whose topic is a C string and whose metadata has the stated size.
    unsafe {
        let list = list.as_ref();
        if list.cnt == 0 {
            return Vec::new();
        }
        let lines = slice::from_raw_parts(list.elems, list.cnt as usize);
        lines
            .iter()
            .map(|line| Entry {
                topic: CStr::from_ptr(line.topic).to_string_lossy().into_owned(),
                partition: line.partition,
                offset: (line.offset >= 0).then_some(line.offset),
                metadata: (!line.metadata.is_null())
                    .then(|| slice::from_raw_parts(line.metadata.cast::<u8>(), line.metadata_size).to_vec()),
                code: NativeError::check(line.err).err().map(|error| error.code),
                error: NativeError::check(line.err).err().map(|error| error.name),
            })
            .collect()
    }
}
