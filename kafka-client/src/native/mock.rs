//! librdkafka's mock cluster: brokers inside the process.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys::bindings as sys;

use super::client::{c_string, millis};
use super::{Client, NativeError, Role};

/// An `rd_kafka_mock_cluster_t`, and the client that carries it.
pub(crate) struct Mock {
    ptr: NonNull<sys::rd_kafka_mock_cluster_t>,
    _client: Arc<Client>,
}

// SAFETY: every mock call used here hands its work to the cluster's own thread.
unsafe impl Send for Mock {}
// SAFETY: as above.
unsafe impl Sync for Mock {}

impl Mock {
    /// A cluster of `brokers` brokers, whose groups do not wait for further members before they start.
    pub(crate) fn new(brokers: i32) -> Result<Self, NativeError> {
        let client = Client::new(Role::Producer, [])?;
        // SAFETY: the client is alive, and stays so until the cluster is gone.
        let ptr = unsafe { sys::rd_kafka_mock_cluster_new(client.raw(), brokers) };
        let failed = || NativeError::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FAIL);
        let ptr = NonNull::new(ptr).ok_or_else(failed)?;
        // SAFETY: the cluster is alive.
        unsafe { sys::rd_kafka_mock_group_initial_rebalance_delay_ms(ptr.as_ptr(), 0) };
        Ok(Self { ptr, _client: client })
    }

    /// Where clients connect to.
    pub(crate) fn bootstrap_servers(&self) -> String {
        // SAFETY: the cluster is alive, and the text with it.
        let text = unsafe { CStr::from_ptr(sys::rd_kafka_mock_cluster_bootstraps(self.ptr.as_ptr())) };
        text.to_string_lossy().into_owned()
    }

    /// Creates a topic.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32) -> Result<(), NativeError> {
        let name = c_string(name)?;
        // SAFETY: cluster and name are alive.
        NativeError::check(unsafe { sys::rd_kafka_mock_topic_create(self.ptr.as_ptr(), name.as_ptr(), partitions, 1) })
    }

    /// Lets the next `times` requests of a kind fail with a Kafka error code.
    pub(crate) fn fail_requests(&self, api_key: i16, code: i16, times: usize) -> Result<(), NativeError> {
        let Ok(code) = sys::rd_kafka_resp_err_t::try_from(i32::from(code)) else {
            return Err(NativeError::from_raw(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG)
                .with_text(format!("{code} is not a Kafka error code")));
        };
        let codes = vec![code; times];
        // SAFETY: the cluster is alive, and the array has the length that is passed; it is copied.
        unsafe {
            sys::rd_kafka_mock_push_request_errors_array(self.ptr.as_ptr(), api_key, codes.len(), codes.as_ptr());
        }
        Ok(())
    }

    /// Delays every answer of every broker.
    pub(crate) fn round_trip(&self, brokers: i32, delay: Duration) -> Result<(), NativeError> {
        (1..=brokers).try_for_each(|id| {
            // SAFETY: the cluster is alive.
            NativeError::check(unsafe { sys::rd_kafka_mock_broker_set_rtt(self.ptr.as_ptr(), id, millis(delay)) })
        })
    }

    /// Takes all brokers off the network, or back on it.
    pub(crate) fn reachable(&self, brokers: i32, up: bool) -> Result<(), NativeError> {
        (1..=brokers).try_for_each(|id| {
            // SAFETY: the cluster is alive.
            NativeError::check(unsafe {
                match up {
                    true => sys::rd_kafka_mock_broker_set_up(self.ptr.as_ptr(), id),
                    false => sys::rd_kafka_mock_broker_set_down(self.ptr.as_ptr(), id),
                }
            })
        })
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        // SAFETY: ours, dropped once, and the client that carries it goes after it.
        unsafe { sys::rd_kafka_mock_cluster_destroy(self.ptr.as_ptr()) };
    }
}
