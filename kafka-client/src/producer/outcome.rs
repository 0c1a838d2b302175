//! How a record ended: delivered, or not, and then what happened to it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::record::RawRecord;

/// What a record's delivery comes to.
pub type Outcome = Result<Delivered, SendError>;

/// A record that the broker has acknowledged: where it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    partition: i32,
    offset: i64,
    timestamp: i64,
}

impl Delivered {
    #[inline]
    pub(super) fn new(partition: i32, offset: i64, timestamp: i64) -> Self {
        Self { partition, offset, timestamp }
    }

    /// The partition it was written to.
    #[inline]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its offset; -1 with `acks=0`, where the broker does not tell.
    #[inline]
    pub fn offset(&self) -> i64 {
        // librdkafka has a number of its own for "not known".
        self.offset.max(-1)
    }

    #[inline]
    pub(super) fn raw_offset(&self) -> i64 {
        self.offset
    }

    /// Its timestamp in milliseconds since the epoch: the record's own, or the broker's where the topic says so.
    #[inline]
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp
    }

    /// Its timestamp.
    pub fn timestamp(&self) -> SystemTime {
        let distance = Duration::from_millis(self.timestamp.unsigned_abs());
        if self.timestamp < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

/// A record that was not delivered, as far as is known: the error, whether it may be in the log all the same, and the
/// record itself. Cheap to clone.
#[derive(Clone)]
pub struct SendError {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    error: Error,
    maybe_written: bool,
    record: Option<RawRecord>,
}

impl SendError {
    pub(crate) fn new(error: Error, maybe_written: bool, record: Option<RawRecord>) -> Self {
        Self { inner: Arc::new(Inner { error: error.with_operation("send"), maybe_written, record }) }
    }

    /// What went wrong, and what to do now.
    pub fn error(&self) -> &Error {
        &self.inner.error
    }

    /// Whether the record may be in the log all the same.
    ///
    /// `false` is certain: sending it again cannot duplicate it. `true` means that nobody knows: a request was on its
    /// way and no answer came, or a deadline ended the waiting while the record was still being tried. Sending it again
    /// may write it twice.
    pub fn maybe_written(&self) -> bool {
        self.inner.maybe_written
    }

    /// The record as bytes; `None` where it could not be encoded (key and value are still the caller's, as a record only
    /// borrows them), or is still on its way (a deadline passed).
    pub fn record(&self) -> Option<&RawRecord> {
        self.inner.record.as_ref()
    }

    /// Takes the error apart.
    pub fn into_parts(self) -> (Error, Option<RawRecord>) {
        let inner = Arc::unwrap_or_clone(self.inner);
        (inner.error, inner.record)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.error.fmt(f)?;
        f.write_str(match self.inner.maybe_written {
            true => "; the record may have been written",
            false => "; the record was not written",
        })
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return crate::error::fmt_chain(self, f);
        }
        // The record's bytes stay out: they may be large, and are the user's data.
        f.debug_struct("SendError")
            .field("error", &self.inner.error)
            .field("maybe_written", &self.inner.maybe_written)
            .finish_non_exhaustive()
    }
}

impl StdError for SendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.error.source()
    }
}

impl<R> From<TrySendError<R>> for Error {
    fn from(error: TrySendError<R>) -> Self {
        error.error
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        error.into_parts().0
    }
}

/// A record that was not accepted: the error, and the very record, to try again with.
pub struct TrySendError<R> {
    error: Error,
    record: R,
}

impl<R> TrySendError<R> {
    pub(super) fn new(error: Error, record: R) -> Self {
        Self { error: error.with_operation("send"), record }
    }

    /// Why; [`Retry::Temporary`](crate::Retry::Temporary) when there was no room.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The record, unchanged.
    pub fn into_record(self) -> R {
        self.record
    }
}

impl<R> fmt::Display for TrySendError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<R> fmt::Debug for TrySendError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySendError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<R> StdError for TrySendError<R> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
