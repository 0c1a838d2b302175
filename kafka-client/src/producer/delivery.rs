//! The answer to one record, awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::outcome::{Outcome, SendError};
use super::slot::Slot;
use crate::error::{Error, ErrorKind, Retry};

/// The answer to a record that was accepted; await it, or drop it.
///
/// Dropping it does not take the record back: it is still delivered, and counted by
/// [`flush`](crate::Producer::flush) and [`close`](crate::Producer::close). When it then fails, that is logged.
///
/// # Cancel safety
/// Polling and dropping it at any point changes nothing for the record.
#[must_use = "the record may still fail: await the delivery, or drop it on purpose"]
pub struct Delivery {
    /// Until the answer is read.
    slot: Option<&'static Slot>,
}

impl Delivery {
    #[inline]
    pub(super) fn new(slot: &'static Slot) -> Self {
        Self { slot: Some(slot) }
    }

    /// Waits for the answer, but not longer than `wait`.
    ///
    /// # Errors
    /// As awaiting it; and [`ErrorKind::Timeout`] when the time is over. Then only the waiting has ended: the record
    /// is still on its way, [`maybe_written`](SendError::maybe_written) is true, and it must not simply be sent again.
    ///
    /// # Cancel safety
    /// As for the delivery itself.
    pub async fn within(self, wait: Duration) -> Outcome {
        match tokio::time::timeout(wait, self).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("no answer within {wait:?}; the wait ended, the record is still on its way");
                let error = Error::new(ErrorKind::Timeout, text).with_retry(Retry::Temporary);
                Err(SendError::new(error, true, None))
            }
        }
    }
}

impl Future for Delivery {
    type Output = Outcome;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let Some(slot) = self.slot else { panic!("a delivery was polled after it was ready") };
        let answer = slot.poll(context);
        if answer.is_ready() {
            self.slot = None;
        }
        answer
    }
}

impl Drop for Delivery {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.abandon();
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").finish_non_exhaustive()
    }
}
