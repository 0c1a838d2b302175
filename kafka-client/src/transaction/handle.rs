//! An open transaction, in the hands of the user's code.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::RwLock;

use crate::error::{Error, ErrorKind};
use crate::producer::{Producer, SendError};
use crate::record::Sendable;

/// An open transaction: what is sent here becomes visible when it is committed.
///
/// It ends when the function that was given it returns. What is sent later, by a task that has kept it, is refused.
pub struct Transaction {
    producer: Producer,
    gate: Arc<Gate>,
}

/// Whether the transaction is open. Nothing is handed over while it is being closed, so that nothing slips into the next.
pub(super) struct Gate(RwLock<bool>);

impl Gate {
    /// Nothing more is taken.
    pub(super) fn close(&self) {
        *self.0.write() = false;
    }
}

impl Transaction {
    pub(super) fn new(producer: Producer) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate(RwLock::new(true)));
        (Self { producer, gate: gate.clone() }, gate)
    }

    /// Puts a record in the queue, waiting for room if need be. Its acknowledgement is awaited when the transaction ends.
    ///
    /// # Errors
    /// When the record cannot be encoded, is too large, or the producer has failed: the transaction can only be aborted
    /// then, and will be. And when it has ended already.
    ///
    /// # Cancel safety
    /// As [`Producer::enqueue`].
    pub async fn send<R: Sendable>(&self, record: R) -> Result<(), SendError> {
        self.open(async { self.producer.enqueue(record).await.map(drop) }).await
    }

    /// Puts many records in the queue, with the least work a record; how many there were.
    ///
    /// # Errors
    /// As [`send`](Self::send), with the first that failed.
    ///
    /// # Cancel safety
    /// Records that were handed over are part of the transaction, the others are not.
    pub fn send_batch<R: Sendable, I: IntoIterator<Item = R>>(
        &self,
        records: I,
    ) -> impl Future<Output = Result<usize, SendError>> + use<'_, R, I> {
        // Taken at once: an iterator over what is borrowed, kept in the future, would keep that from being `Send`.
        let records: Vec<R> = records.into_iter().collect();
        self.open(self.producer.enqueue_batch(records))
    }

    /// Lets `sending` go on as long as the transaction is open.
    async fn open<T>(&self, sending: impl Future<Output = Result<T, SendError>>) -> Result<T, SendError> {
        let mut sending = pin!(sending);
        let result = poll_fn(|context| match *self.gate.0.read() {
            true => sending.as_mut().poll(context),
            false => {
                let error = Error::new(ErrorKind::Closed, "the transaction has ended").with_operation("send");
                Poll::Ready(Err(SendError::new(error, false, None)))
            }
        })
        .await;
        if let (Err(error), Some(poison), true) = (&result, self.producer.poison(), *self.gate.0.read()) {
            poison.taint(error);
        }
        result
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}
