//! An open transaction, in the hands of the user's code.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::{Mutex, RwLock};

use crate::error::{Error, ErrorKind};
use crate::partition::TopicPartition;
use crate::producer::{Producer, SendError};
use crate::record::Sendable;

/// An open transaction: what is sent here becomes visible when it is committed.
///
/// It ends when the function that was given it returns. What is sent later, by a task that has kept it, is refused.
pub struct Transaction {
    producer: Producer,
    gate: Arc<Gate>,
}

/// What the user's code and whoever ends the transaction share.
pub(super) struct Gate {
    /// Nothing is handed over while it is being closed, so that nothing slips into the next transaction.
    open: RwLock<bool>,
    notes: Mutex<Notes>,
}

/// What is to be committed with the offsets of partitions.
pub(super) type Notes = BTreeMap<TopicPartition, String>;

/// What a broker takes with an offset, unless it is told otherwise (`offset.metadata.max.bytes`).
const MOST_METADATA_BYTES: usize = 4_096;

impl Gate {
    /// Nothing more is taken.
    pub(super) fn close(&self) {
        *self.open.write() = false;
    }

    pub(super) fn notes(&self) -> Notes {
        std::mem::take(&mut self.notes.lock())
    }
}

impl Transaction {
    pub(super) fn new(producer: Producer) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate { open: RwLock::new(true), notes: Mutex::default() });
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

    /// Commits `metadata` with the offset of a partition whose records are in this transaction; of several for one
    /// partition, the last. Without it, the metadata that was committed before is cleared.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] above 4,096 bytes, which brokers refuse.
    pub fn set_offset_metadata(&self, partition: &TopicPartition, metadata: impl Into<String>) -> Result<(), Error> {
        let metadata = metadata.into();
        if metadata.len() > MOST_METADATA_BYTES {
            let text = format!("commit metadata of {} bytes; {MOST_METADATA_BYTES} is the most", metadata.len());
            let error = Error::new(ErrorKind::TooLarge, text).with_operation("commit offsets in a transaction");
            return Err(error.with_topic(partition.topic()).with_partition(Some(partition.partition())));
        }
        self.gate.notes.lock().insert(partition.clone(), metadata);
        Ok(())
    }

    /// The same transaction, for another piece of the same work.
    pub(super) fn again(&self) -> Self {
        Self { producer: self.producer.clone(), gate: self.gate.clone() }
    }

    /// Lets `sending` go on as long as the transaction is open.
    async fn open<T>(&self, sending: impl Future<Output = Result<T, SendError>>) -> Result<T, SendError> {
        let mut sending = pin!(sending);
        let result = poll_fn(|context| match *self.gate.open.read() {
            true => sending.as_mut().poll(context),
            false => {
                let error = Error::new(ErrorKind::Closed, "the transaction has ended").with_operation("send");
                Poll::Ready(Err(SendError::new(error, false, None)))
            }
        })
        .await;
        if let (Err(error), Some(poison), true) = (&result, self.producer.poison(), *self.gate.open.read()) {
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
