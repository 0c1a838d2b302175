//! One try to hand a record over: encode, choose a partition, take a permit, produce.
//!
//! Nothing in here waits. What has to be waited for comes back as an [`Attempt`], and the caller tries again.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kafka_serde::{Miss, Stop};

use super::Shared;
use super::callbacks::{Callback, Job, panic_text};
use super::core::{Permit, Refusal, Settled};
use super::handles::Handle;
use super::outcome::SendError;
use super::token::Token;
use crate::error::{Error, ErrorKind, Retry};
use crate::headers::{Header, Headers};
use crate::interceptor::{Acknowledgement, Outgoing};
use crate::native::NativeError;
use crate::native::topic::Outgoing as NativeOutgoing;
use crate::partitioner::{Partitioner, Unassigned};
use crate::record::RawRecord;
use crate::record::sealed::{Encoding, Scratch, Sendable};

/// What came of one try.
pub(super) enum Attempt {
    /// Handed over; the result will be in this slot.
    Placed(u32),
    /// No room for a record of so many bytes.
    Full(usize),
    /// A schema is missing.
    Miss(Miss),
    /// A custom partitioner needs to know how many partitions there are.
    Uncounted(Arc<Handle>),
    Failed(SendError),
}

thread_local! {
    /// Taken out while in use, so that a serde that sends a record itself finds an empty one instead of a panic.
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Shared {
    /// Tries to hand over a record; takes `permit` and `callback` only when it does.
    #[inline]
    pub(super) fn attempt<R: Sendable>(
        &self,
        record: &R,
        permit: &mut Option<Permit>,
        callback: &mut Option<Callback>,
    ) -> Attempt {
        let mut scratch = SCRATCH.take();
        scratch.reset();
        let attempt = match record.encode(&mut scratch) {
            Ok(encoding) => {
                let find = |handle: &Arc<Handle>| self.place(handle, record, encoding, permit, callback);
                match record.with_topic(|name| self.handles.with(name, find)) {
                    Ok(attempt) => attempt,
                    Err(error) => Attempt::Failed(refused(record, encoding, self.native(error))),
                }
            }
            Err(stop) => self.stopped(record, stop),
        };
        SCRATCH.set(scratch);
        attempt
    }

    /// As [`attempt`](Self::attempt), with the handle and the buffer that a single owner keeps.
    #[inline]
    pub(super) fn attempt_at<R: Sendable>(
        &self,
        handle: &Arc<Handle>,
        scratch: &mut Scratch,
        record: &R,
        permit: &mut Option<Permit>,
    ) -> Attempt {
        scratch.reset();
        match record.encode(scratch) {
            Ok(encoding) => self.place(handle, record, encoding, permit, &mut None),
            Err(stop) => self.stopped(record, stop),
        }
    }

    #[cold]
    fn stopped<R: Sendable>(&self, record: &R, stop: Stop) -> Attempt {
        match stop {
            Stop::Miss(miss) => Attempt::Miss(miss),
            Stop::Error(error) => {
                let error = Error::unencodable(error).with_topic(record.topic_text());
                Attempt::Failed(SendError::new(error, false, None))
            }
        }
    }

    #[inline]
    fn place<R: Sendable>(
        &self,
        handle: &Arc<Handle>,
        record: &R,
        encoding: Encoding<'_>,
        permit: &mut Option<Permit>,
        callback: &mut Option<Callback>,
    ) -> Attempt {
        let route = record.route();
        let mut partition = route.partition;
        if partition.is_none()
            && let Some(partitioner) = &self.partitioner
        {
            let Some(partitions) = handle.partitions() else { return Attempt::Uncounted(handle.clone()) };
            match choose(&**partitioner, record, encoding, partitions) {
                Ok(chosen) => partition = chosen,
                Err(error) => return Attempt::Failed(refused(record, encoding, error)),
            }
        }
        let bytes = encoding.bytes();
        let (slot, epoch) = match permit.take() {
            Some(permit) => self.core.start(permit, bytes),
            None => match self.core.take(bytes) {
                Ok(taken) => taken,
                Err(Refusal::Full) => return Attempt::Full(bytes),
                Err(Refusal::Closed) => return Attempt::Failed(refused(record, encoding, closed())),
            },
        };
        if let Some(callback) = callback.take() {
            self.core.slot(slot).expect(callback);
        }
        let outgoing = NativeOutgoing {
            partition,
            key: encoding.key,
            value: encoding.value,
            token: Token::Slot(slot).encode(epoch),
        };
        let mut header_bytes = 0;
        let plain = self.interceptors.is_empty()
            && route.timestamp.is_none()
            && record.headers().is_empty()
            && encoding.added.is_empty();
        let produced = match plain {
            true => handle.topic.produce(outgoing),
            false => {
                let headers = self.headers(record, encoding, partition);
                header_bytes = headers.bytes();
                self.count_headers(&headers);
                let list = headers.iter().map(|header: Header<'_>| (header.name_bytes(), header.value()));
                handle.topic.produce_with(outgoing, route.timestamp, list)
            }
        };
        match produced {
            Ok(()) => Attempt::Placed(slot),
            Err(error) => {
                *callback = self.core.slot(slot).clear();
                let bytes = self.core.capped(bytes) + header_bytes;
                let mut settled = Settled { records: 1, bytes, slots: vec![slot], ..Settled::default() };
                settled.totals[epoch].failed = 1;
                self.core.settle(&mut settled);
                let error = refused(record, encoding, self.native(error));
                self.tell_refusal(record, encoding, &error);
                Attempt::Failed(error)
            }
        }
    }

    /// The record's headers, those of its serdes, and what interceptors make of them.
    pub(super) fn headers<R: Sendable>(&self, record: &R, encoding: Encoding<'_>, partition: Option<i32>) -> Headers {
        let mut headers = record.headers().clone();
        headers.extend(encoding.added);
        for interceptor in &self.interceptors {
            let mut outgoing = Outgoing {
                topic: record.topic_text(),
                partition,
                key: encoding.key,
                value: encoding.value,
                headers: &mut headers,
            };
            match catch_unwind(AssertUnwindSafe(|| interceptor.on_send(&mut outgoing))) {
                Ok(Ok(())) => (),
                Ok(Err(error)) => tracing::error!(%error, "an interceptor failed; the record is sent all the same"),
                Err(panic) => {
                    let panic = panic_text(&*panic);
                    tracing::error!(panic, "an interceptor panicked; the record is sent all the same");
                }
            }
        }
        headers
    }

    /// Acknowledges a record that librdkafka did not take: interceptors have seen it, so they hear of its end.
    pub(super) fn tell_refusal<R: Sendable>(&self, record: &R, encoding: Encoding<'_>, error: &SendError) {
        if self.runners.hooked() {
            self.runners.push(&mut vec![Job::Acknowledged(Acknowledgement {
                topic: record.topic_text().to_owned(),
                key: encoding.key.map(Vec::from),
                headers: record.headers().clone(),
                outcome: Err(error.clone()),
            })]);
        }
    }

    /// An error of the native client; one that says no more than "fatal" gives way to the reason.
    pub(super) fn native(&self, error: NativeError) -> Error {
        match error.code {
            crate::native::Code::Fatal => Error::native(self.client.fatal_error().unwrap_or(error)).fatal(),
            _ => Error::native(error),
        }
    }
}

/// Asks a custom partitioner; its errors, panics and impossible answers are the record's failure.
pub(super) fn choose<R: Sendable>(
    partitioner: &dyn Partitioner,
    record: &R,
    encoding: Encoding<'_>,
    partitions: i32,
) -> Result<Option<i32>, Error> {
    let unassigned = Unassigned {
        topic: record.topic_text(),
        key: encoding.key,
        value: encoding.value,
        headers: record.headers(),
        partitions,
    };
    match catch_unwind(AssertUnwindSafe(|| partitioner.partition(&unassigned))) {
        Ok(Ok(Some(partition))) if !(0..partitions).contains(&partition) => {
            let text = format!("the partitioner chose partition {partition}, but the topic has {partitions}");
            Err(Error::new(ErrorKind::Partitioner, text))
        }
        Ok(Ok(partition)) => Ok(partition),
        Ok(Err(error)) => Err(Error::new(ErrorKind::Partitioner, "the partitioner failed").with_source(error)),
        Err(panic) => {
            let text = format!("the partitioner panicked: {}", panic_text(&*panic));
            Err(Error::new(ErrorKind::Panicked, text))
        }
    }
}

/// A record that was not accepted, with its bytes.
#[cold]
pub(super) fn refused<R: Sendable>(record: &R, encoding: Encoding<'_>, error: Error) -> SendError {
    let (key, value) = (encoding.key.map(Vec::from), encoding.value.map(Vec::from));
    let mut raw = RawRecord::new(record.topic_text(), key, value);
    let route = record.route();
    raw.partition = route.partition;
    raw.timestamp = route.timestamp;
    raw.headers = record.headers().clone();
    raw.headers.extend(encoding.added);
    let error = error.with_topic(record.topic_text()).with_partition(route.partition);
    SendError::new(error, false, Some(raw))
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the producer is closed")
}

pub(super) fn full() -> Error {
    Error::new(ErrorKind::Full, "no room in the queue").with_retry(Retry::Temporary)
}
