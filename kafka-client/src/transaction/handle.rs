//! A transaction in the hands of the user's code: one that is open, or the one that a record's offset will be committed in.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::{Mutex, RwLock};

use kafka_serde::Stop;

use crate::consumer::{Draft, OnCommit};
use crate::error::{Error, ErrorKind};
use crate::outage::{Fetched, Outage};
use crate::partition::TopicPartition;
use crate::producer::{Producer, SendError, as_bytes};
use crate::record::{RawRecord, Sendable};

/// A transaction: what is sent here becomes visible when it is committed.
///
/// It ends when the function that was given it returns; that of a record ([`Received::transaction`](crate::Received::transaction))
/// when the record is finished, or tried again. What is sent later, by a task that has kept it, is refused.
pub struct Transaction {
    way: Way,
}

/// Where records go.
#[derive(Clone)]
enum Way {
    /// To the producer of an open transaction.
    Open { producer: Producer, gate: Arc<Gate> },
    /// To what waits for the transaction that commits a record's offset.
    Draft(Arc<Draft>),
    /// The record was read by a consumer that has no transactions.
    None,
}

/// How often a schema may be missing that was fetched just before.
const MOST_MISSES: u32 = 8;

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
        (Self { way: Way::Open { producer, gate: gate.clone() } }, gate)
    }

    /// That of a record; `None` where its consumer has no transactions.
    pub(crate) fn of_record(draft: Option<Arc<Draft>>) -> Self {
        Self { way: draft.map_or(Way::None, Way::Draft) }
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
        match &self.way {
            Way::Open { producer, gate } => {
                open(producer, gate, async { producer.enqueue(record).await.map(drop) }).await
            }
            Way::Draft(draft) => {
                let record = encoded(&record).await?;
                draft.send(record).await.map_err(|(error, record)| {
                    let error = error.with_topic(record.topic()).with_partition(record.partition);
                    SendError::new(error, false, Some(record))
                })
            }
            Way::None => Err(SendError::new(without().with_topic(record.topic_text()), false, None)),
        }
    }

    /// Calls `then` once the transaction is committed; if it is not, `then` is dropped. For transactions of records.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the record is finished already, [`ErrorKind::Config`] for other transactions.
    pub fn on_commit(&self, then: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let then: OnCommit = Box::new(then);
        match &self.way {
            Way::Draft(draft) => draft.on_commit(then),
            Way::Open { .. } => {
                Err(Error::config("on_commit: only the transaction of a record tells when it is committed"))
            }
            Way::None => Err(without()),
        }
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
        async move {
            match &self.way {
                Way::Open { producer, gate } => open(producer, gate, producer.enqueue_batch(records)).await,
                _ => {
                    let count = records.len();
                    for record in records {
                        self.send(record).await?;
                    }
                    Ok(count)
                }
            }
        }
    }

    /// Commits `metadata` with the offset of a partition whose records are in this transaction; of several for one
    /// partition, the last. Without it, the metadata that was committed before is cleared.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] above 4,096 bytes, which brokers refuse; [`ErrorKind::Config`] for the transaction of a
    /// record, whose consumer has metadata of its own.
    pub fn set_offset_metadata(&self, partition: &TopicPartition, metadata: impl Into<String>) -> Result<(), Error> {
        let gate = match &self.way {
            Way::Open { gate, .. } => gate,
            Way::Draft(_) => {
                return Err(Error::config(
                    "set_offset_metadata: the consumer says there what is finished beyond the offset",
                ));
            }
            Way::None => return Err(without()),
        };
        let metadata = metadata.into();
        if metadata.len() > MOST_METADATA_BYTES {
            let text = format!("commit metadata of {} bytes; {MOST_METADATA_BYTES} is the most", metadata.len());
            let error = Error::new(ErrorKind::TooLarge, text).with_operation("commit offsets in a transaction");
            return Err(error.with_topic(partition.topic()).with_partition(Some(partition.partition())));
        }
        gate.notes.lock().insert(partition.clone(), metadata);
        Ok(())
    }
}

/// Lets `sending` go on as long as the transaction is open.
async fn open<T>(
    producer: &Producer,
    gate: &Gate,
    sending: impl Future<Output = Result<T, SendError>>,
) -> Result<T, SendError> {
    let mut sending = pin!(sending);
    let result = poll_fn(|context| match *gate.open.read() {
        true => sending.as_mut().poll(context),
        false => {
            let error = Error::new(ErrorKind::Closed, "the transaction has ended").with_operation("send");
            Poll::Ready(Err(SendError::new(error, false, None)))
        }
    })
    .await;
    if let (Err(error), Some(poison), true) = (&result, producer.poison(), *gate.open.read()) {
        poison.taint(error);
    }
    result
}

/// Encodes a record that is sent later. What is missing is fetched; an outage of a registry is waited out.
async fn encoded<R: Sendable>(record: &R) -> Result<RawRecord, SendError> {
    let (mut outage, mut misses) = (Outage::none(), 0);
    let failed = |error| SendError::new(Error::unencodable(error).with_topic(record.topic_text()), false, None);
    loop {
        let miss = match as_bytes(record) {
            Ok(bytes) => return Ok(bytes),
            Err(Stop::Miss(miss)) if misses < MOST_MISSES => miss,
            Err(Stop::Miss(_)) => {
                let text = "a schema that was fetched is missing again and again";
                return Err(SendError::new(
                    Error::new(ErrorKind::Encode, text).with_topic(record.topic_text()),
                    false,
                    None,
                ));
            }
            Err(Stop::Error(error)) => return Err(failed(error)),
        };
        let waiting = |error: &kafka_serde::Error| {
            tracing::warn!(topic = record.topic_text(), %error, "waiting to encode");
        };
        if outage.fetch(miss, waiting).await.map_err(failed)? == Fetched::Found {
            (outage, misses) = (Outage::none(), misses + 1);
        }
    }
}

fn without() -> Error {
    Error::config("the record's consumer has no transactions: set `guarantee(Guarantee::ExactlyOnce)`")
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}
