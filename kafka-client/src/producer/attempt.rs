//! One try to hand a record over: encode, choose a partition, take a permit, produce.
//!
//! Nothing in here waits. What has to be waited for comes back as an [`Attempt`], and the caller tries again.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kafka_serde::{Miss, Stop};

use super::Shared;
use super::ahead::Ahead;
use super::callbacks::{Callback, Job, panic_text};
use super::core::{Permit, Refusal, Settled};
use super::handles::Handle;
use super::outcome::SendError;
use super::slot::Slot;
use crate::error::{Error, ErrorKind, Retry};
use crate::headers::{Header, Headers};
use crate::interceptor::{Acknowledgement, Outgoing};
use crate::native::topic::Outgoing as NativeOutgoing;
use crate::native::{NativeError, Token, Topic as NativeTopic};
use crate::partitioner::{Partitioner, Unassigned};
use crate::record::RawRecord;
use crate::record::sealed::{Encoding, Scratch, Sendable};

/// What came of one try.
pub(super) enum Attempt {
    /// Handed over; the result will be in this slot.
    Placed(&'static Slot),
    /// No room for a record of so many bytes.
    Full(usize),
    /// A schema is missing.
    Miss(Miss),
    /// A custom partitioner needs to know how many partitions there are.
    Uncounted(Arc<Handle>),
    Failed(SendError),
}

/// How many bytes key and value take.
#[inline]
pub(super) fn bytes_of([key, value]: [Option<&[u8]>; 2]) -> usize {
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
}

/// A record that had its room and its slot, when librdkafka refused it.
pub(super) struct Refused {
    slot: &'static Slot,
    token: Token,
}

impl Handle {
    /// The shortest way to librdkafka, for a record that has its room and its slot.
    ///
    /// It does not see the record itself, nor does [`Shared::at_once`] hand out a reference to it: so the record is
    /// never put together in memory.
    #[inline(always)]
    pub(super) fn hand_over(
        &self,
        outgoing: NativeOutgoing<'_>,
        slot: &'static Slot,
    ) -> Result<&'static Slot, Option<Refused>> {
        if !self.topic.produce(outgoing) {
            return Err(Some(Refused { slot, token: outgoing.token }));
        }
        if tracing::enabled!(tracing::Level::TRACE) {
            self.trace_sent(outgoing.partition, bytes_of([outgoing.key, outgoing.value]));
        }
        Ok(slot)
    }

    #[cold]
    fn trace_sent(&self, partition: Option<i32>, bytes: usize) {
        tracing::trace!(topic = self.topic.name(), partition, bytes, "sent");
    }
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
        self.encoded(record, permit, callback).unwrap_or_else(|error| self.no_topic(record, error))
    }

    /// The way of nearly every record: its bytes can be taken as they stand, its topic is known, and there is room.
    /// Else, see [`otherwise`](Self::otherwise).
    #[inline(always)]
    pub(super) fn at_once<R: Sendable>(
        &self,
        record: &R,
        expect: impl FnOnce(&'static Slot),
    ) -> Result<&'static Slot, Option<Refused>> {
        let Some([key, value]) = self.as_it_stands(record) else { return Err(None) };
        let hand_over = |handle: &Handle| {
            let Ok((slot, token)) = self.core.take(bytes_of([key, value])) else { return Err(None) };
            expect(slot);
            handle.hand_over(NativeOutgoing { partition: record.partition(), key, value, token }, slot)
        };
        record.with_topic(|name| self.handles.known(name, hand_over)).unwrap_or(Err(None))
    }

    /// What becomes of a record that could not go [at once](Self::at_once).
    pub(super) fn otherwise<R: Sendable>(
        &self,
        record: &R,
        refused: Option<Refused>,
        callback: &mut Option<Callback>,
    ) -> Attempt {
        match refused {
            Some(refused) => Attempt::Failed(self.refused_at_once(record, refused)),
            None => self.attempt(record, &mut None, callback),
        }
    }

    /// The error of a record that librdkafka has refused just now, on this thread.
    #[cold]
    pub(super) fn refused_at_once<R: Sendable>(&self, record: &R, refused: Refused) -> SendError {
        let error = NativeTopic::last_error();
        refused.slot.clear();
        let [key, value] = record.in_place().unwrap_or_default();
        let encoding = Encoding { key, value, added: &Headers::none() };
        self.unsubmitted(record, encoding, refused.token, Headers::new(), error)
    }

    /// As [`attempt`](Self::attempt), with what a single owner keeps: the handle, the buffer, and room taken ahead.
    pub(super) fn attempt_at<R: Sendable>(
        &self,
        handle: &Arc<Handle>,
        scratch: &mut Scratch,
        ahead: &mut Ahead,
        record: &R,
        permit: &mut Option<Permit>,
    ) -> Attempt {
        scratch.reset();
        let encoding = match record.encode(scratch) {
            Ok(encoding) => encoding,
            Err(stop) => return self.stopped(record, stop),
        };
        let take = |bytes| match (permit.take(), ahead.take(bytes)) {
            (Some(permit), _) => self.core.start(permit, bytes),
            (None, Some(taken)) => Ok(taken),
            (None, None) => self.core.take_ahead(bytes, ahead),
        };
        self.place(handle, record, encoding, take, &mut None)
    }

    /// Key and value of a record that needs no encoding, no partitioner and no headers.
    #[inline(always)]
    pub(super) fn as_it_stands<'r, R: Sendable>(&self, record: &'r R) -> Option<[Option<&'r [u8]>; 2]> {
        if self.simple && record.is_plain() { record.in_place() } else { None }
    }

    fn encoded<R: Sendable>(
        &self,
        record: &R,
        permit: &mut Option<Permit>,
        callback: &mut Option<Callback>,
    ) -> Result<Attempt, NativeError> {
        let mut scratch = SCRATCH.take();
        scratch.reset();
        let attempt = match record.encode(&mut scratch) {
            Ok(encoding) => {
                let take = |bytes| match permit.take() {
                    Some(permit) => self.core.start(permit, bytes),
                    None => self.core.take(bytes),
                };
                let place = |handle: &Arc<Handle>| self.place(handle, record, encoding, take, callback);
                record.with_topic(|name| self.handles.with(name, place))
            }
            Err(stop) => Ok(self.stopped(record, stop)),
        };
        SCRATCH.set(scratch);
        attempt
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

    #[cold]
    fn no_topic<R: Sendable>(&self, record: &R, error: NativeError) -> Attempt {
        let error = self.native(error).with_topic(record.topic_text());
        Attempt::Failed(SendError::new(error, false, None))
    }

    /// Chooses the partition, asks the interceptors, and submits.
    fn place<R: Sendable>(
        &self,
        handle: &Arc<Handle>,
        record: &R,
        encoding: Encoding<'_>,
        take: impl FnOnce(usize) -> Result<(&'static Slot, Token), Refusal>,
        callback: &mut Option<Callback>,
    ) -> Attempt {
        let mut partition = record.partition();
        if partition.is_none()
            && let Some(partitioner) = &self.partitioner
        {
            let Some(partitions) = handle.partitions() else { return Attempt::Uncounted(handle.clone()) };
            match choose(&**partitioner, record, encoding, partitions) {
                Ok(chosen) => partition = chosen,
                Err(error) => return Attempt::Failed(refused(record, encoding, error)),
            }
        }
        if self.interceptors.is_empty() && record.is_plain() && encoding.added.is_empty() {
            return self.submit(record, encoding, take, callback, |token| {
                let (key, value) = (encoding.key, encoding.value);
                match handle.topic.produce(NativeOutgoing { partition, key, value, token }) {
                    true => (Headers::new(), Ok(())),
                    false => (Headers::new(), Err(NativeTopic::last_error())),
                }
            });
        }
        let produce = |token, headers: &Headers| {
            self.count_headers(headers);
            let list = headers.iter().map(|header: Header<'_>| (header.name_bytes(), header.value()));
            let outgoing = NativeOutgoing { partition, key: encoding.key, value: encoding.value, token };
            handle.topic.produce_with(outgoing, record.timestamp(), list)
        };
        if self.interceptors.is_empty() && encoding.added.is_empty() {
            // As they stand in the record.
            let (none, own) = (Headers::none(), record.headers());
            return self.submit(record, encoding, take, callback, |token| {
                let headers = own.unwrap_or(&none);
                let produced = produce(token, headers);
                (if produced.is_ok() { Headers::new() } else { headers.clone() }, produced)
            });
        }
        self.submit(record, encoding, take, callback, |token| {
            let headers = self.headers(record, encoding, partition);
            let produced = produce(token, &headers);
            (headers, produced)
        })
    }

    /// Takes room and a slot, and calls `produce` with the token; it returns the headers that went along.
    #[inline]
    fn submit<R: Sendable>(
        &self,
        record: &R,
        encoding: Encoding<'_>,
        take: impl FnOnce(usize) -> Result<(&'static Slot, Token), Refusal>,
        callback: &mut Option<Callback>,
        produce: impl FnOnce(Token) -> (Headers, Result<(), NativeError>),
    ) -> Attempt {
        let bytes = encoding.bytes();
        let (slot, token) = match take(bytes) {
            Ok(taken) => taken,
            Err(Refusal::Full) => return Attempt::Full(bytes),
            Err(Refusal::Closed) => return Attempt::Failed(refused(record, encoding, closed())),
        };
        if let Some(callback) = callback.take() {
            slot.expect(callback);
        }
        match produce(token) {
            (_, Ok(())) => {
                tracing::trace!(topic = record.topic_text(), partition = record.partition(), bytes, "sent");
                Attempt::Placed(slot)
            }
            (headers, Err(error)) => {
                slot.clear();
                Attempt::Failed(self.unsubmitted(record, encoding, token, headers, error))
            }
        }
    }

    /// Gives back what a record held that librdkafka did not take.
    #[cold]
    fn unsubmitted<R: Sendable>(
        &self,
        record: &R,
        encoding: Encoding<'_>,
        token: Token,
        headers: Headers,
        error: NativeError,
    ) -> SendError {
        let bytes = encoding.bytes() + headers.bytes();
        let mut settled = Settled { records: 1, bytes, ..Settled::default() };
        settled.totals[token.epoch()].failed = 1;
        self.core.settle(&mut settled);
        self.refused(record, encoding, headers, error)
    }

    /// The error of a record that was never accepted, with its bytes where it can be encoded.
    pub(super) fn unaccepted<R: Sendable>(&self, record: &R, error: Error) -> SendError {
        let mut scratch = SCRATCH.take();
        scratch.reset();
        let error = match record.encode(&mut scratch) {
            Ok(encoding) => refused(record, encoding, error),
            Err(_) => SendError::new(error.with_topic(record.topic_text()), false, None),
        };
        SCRATCH.set(scratch);
        error
    }

    /// The record's headers, those of its serdes, and what interceptors make of them.
    pub(super) fn headers<R: Sendable>(&self, record: &R, encoding: Encoding<'_>, partition: Option<i32>) -> Headers {
        let mut headers = record.headers().cloned().unwrap_or_default();
        headers.extend(encoding.added);
        // A record that came back has been seen by them before, and has their headers.
        for interceptor in self.interceptors.iter().filter(|_| !record.is_intercepted()) {
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

    /// A record that librdkafka did not take, with the headers that went along. Interceptors have seen it, so they hear
    /// of its end.
    pub(super) fn refused<R: Sendable>(
        &self,
        record: &R,
        encoding: Encoding<'_>,
        headers: Headers,
        error: NativeError,
    ) -> SendError {
        let mut raw = raw(record, encoding);
        raw.headers = headers;
        raw.set_intercepted(!self.interceptors.is_empty());
        let error = self.native(error).with_topic(record.topic_text()).with_partition(record.partition());
        let error = SendError::new(error, false, Some(raw));
        if let Some(raw) = error.record().filter(|_| self.runners.hooked()) {
            let acknowledgement = Acknowledgement {
                topic: raw.topic().to_owned(),
                key: raw.key.clone(),
                headers: raw.headers.clone(),
                outcome: Err(error.clone()),
            };
            self.runners.push(&mut VecDeque::from([Job::Acknowledged(Box::new(acknowledgement))]));
        }
        error
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
        headers: record.headers().unwrap_or(encoding.added),
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
    let error = error.with_topic(record.topic_text()).with_partition(record.partition());
    SendError::new(error, false, Some(raw(record, encoding)))
}

/// A record as it would be sent now, to be sent later.
pub(crate) fn as_bytes<R: Sendable>(record: &R) -> Result<RawRecord, Stop> {
    let mut scratch = SCRATCH.take();
    scratch.reset();
    let bytes = record.encode(&mut scratch).map(|encoding| raw(record, encoding));
    SCRATCH.set(scratch);
    bytes
}

/// A record as bytes, with its own headers and those of its serdes.
fn raw<R: Sendable>(record: &R, encoding: Encoding<'_>) -> RawRecord {
    let (key, value) = (encoding.key.map(Vec::from), encoding.value.map(Vec::from));
    let mut raw = RawRecord::new(record.topic_text(), key, value);
    raw.partition = record.partition();
    raw.timestamp = record.timestamp();
    raw.headers = record.headers().cloned().unwrap_or_default();
    raw.headers.extend(encoding.added);
    raw.set_intercepted(record.is_intercepted());
    raw
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the producer is closed")
}

pub(super) fn full() -> Error {
    Error::new(ErrorKind::Full, "no room in the queue").with_retry(Retry::Temporary)
}
