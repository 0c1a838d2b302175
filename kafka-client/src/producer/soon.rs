//! An answer that is nearly always there at once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::outcome::SendError;

/// Success from the start, or a future in a box. So the way that nearly all records take carries no state machine, and
/// next to nothing has to be looked at when this is dropped.
pub(super) enum Soon<T, F> {
    /// Until it is read.
    Now(Option<T>),
    Later(Later<F>),
}

/// A future that few records need, and whose drop is therefore not made part of every caller.
pub(super) struct Later<F>(Option<Pin<Box<F>>>);

impl<F> Drop for Later<F> {
    #[cold]
    #[inline(never)]
    fn drop(&mut self) {
        self.0 = None;
    }
}

impl<T, F> Soon<T, F> {
    #[inline]
    pub(super) fn now(value: T) -> Self {
        Self::Now(Some(value))
    }

    pub(super) fn later(future: F) -> Self {
        Self::Later(Later(Some(Box::pin(future))))
    }
}

/// The value is moved out, and never pinned.
impl<T, F> Unpin for Soon<T, F> {}

impl<T, F: Future<Output = Result<T, SendError>>> Future for Soon<T, F> {
    type Output = Result<T, SendError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(value) => match value.take() {
                Some(value) => Poll::Ready(Ok(value)),
                None => panic!("a future was polled after it was ready"),
            },
            Self::Later(Later(Some(future))) => future.as_mut().poll(context),
            Self::Later(Later(None)) => unreachable!("it is there until it is dropped"),
        }
    }
}
