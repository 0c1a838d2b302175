//! Writing dead letters and retries: pipelined, and never given up; exactly once, in the transaction of the record's offset.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kafka_client::{BoxError, Completion, Error, GivenBack, Outcome, Producer, RawReceived, RawRecord, SendError};

use super::tally::Tally;

/// How long to wait before a write that failed is tried again, at first.
const PAUSE: Duration = Duration::from_millis(100);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a write may take that is under way when the partition is to stop.
const LAST_WAIT: Duration = Duration::from_secs(5);

pub(crate) struct Writer {
    /// Built when the consumer starts, unless it has transactions.
    producer: OnceLock<Producer>,
    make: Box<dyn Fn() -> Result<Producer, Error> + Send + Sync>,
    tally: Tally,
}

impl Writer {
    pub(super) fn new(tally: Tally, make: impl Fn() -> Result<Producer, Error> + Send + Sync + 'static) -> Self {
        Self { producer: OnceLock::new(), make: Box::new(make), tally }
    }

    /// The producer of records that are not part of a transaction.
    ///
    /// # Errors
    /// When it cannot be built.
    pub(super) fn producer(&self) -> Result<Producer, Error> {
        match self.producer.get() {
            Some(producer) => Ok(producer.clone()),
            None => {
                let made = (self.make)()?;
                Ok(self.producer.get_or_init(|| made).clone())
            }
        }
    }

    /// Puts `raw` in the producer's queue, and calls `written` when the broker has it. The completion is done then: a write
    /// that fails is tried again until then, or until the partition of `record` is to stop. Exactly once, it is part of the
    /// record's transaction.
    pub(crate) async fn write(
        self: &Arc<Self>,
        raw: RawRecord,
        record: &RawReceived,
        written: impl FnOnce() + Send + 'static,
    ) -> Result<Completion, BoxError> {
        if record.is_transactional() {
            let transaction = record.transaction();
            return match transaction.send(raw).await {
                Err(_) if record.is_stopping() => Err(GivenBack.into()),
                Err(error) => Err(error.into()),
                Ok(()) => {
                    transaction.on_commit(written)?;
                    Ok(Completion::done())
                }
            };
        }
        let producer = self.producer()?;
        let placed = tokio::select! {
            placed = producer.enqueue(&raw) => placed,
            () = record.stopping() => return Err(GivenBack.into()),
        };
        let (writer, record) = (self.clone(), record.clone());
        Ok(Completion::later(async move {
            let outcome = match placed {
                Ok(delivery) => last_wait(&record, delivery).await?,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                // In a box: the many that are written at once stay small.
                Box::pin(writer.write_again(raw, &record, error)).await?;
            }
            written();
            Ok::<(), BoxError>(())
        }))
    }

    /// After a write that has failed: until the record is written, or its partition is to stop.
    async fn write_again(&self, mut raw: RawRecord, record: &RawReceived, first: SendError) -> Result<(), BoxError> {
        let (producer, _stuck) = (self.producer()?, self.tally.stuck());
        let (mut pause, mut error) = (PAUSE, first);
        loop {
            self.tally.write_failed(raw.topic());
            if error.error().code() == Some("INVALID_TIMESTAMP") && raw.timestamp.take().is_some() {
                // The headers have it still.
                tracing::warn!(
                    to = raw.topic(),
                    ?record,
                    "the broker refuses the record's timestamp; it gets another one"
                );
            } else {
                tracing::error!(to = raw.topic(), ?record, %error, "holding a record that cannot be written");
                tokio::select! {
                    () = tokio::time::sleep(pause) => (),
                    () = record.stopping() => return Err(GivenBack.into()),
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            error = match last_wait(record, producer.send(&raw)).await? {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
        }
    }
}

/// Waits for an answer, but not for long once the partition is to stop.
async fn last_wait(record: &RawReceived, answer: impl Future<Output = Outcome>) -> Result<Outcome, BoxError> {
    let stopped = async {
        record.stopping().await;
        tokio::time::sleep(LAST_WAIT).await;
    };
    tokio::select! {
        biased;
        outcome = answer => Ok(outcome),
        () = stopped => Err(GivenBack.into()),
    }
}
