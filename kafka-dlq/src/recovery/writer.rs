//! Writing dead letters and retries: pipelined, and never given up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kafka_client::{BoxError, Completion, GivenBack, Outcome, Producer, RawReceived, RawRecord};

use super::tally::Tally;
use crate::retry_topic::gate::InTransit;

/// How long to wait before a write that failed is tried again, at first.
const PAUSE: Duration = Duration::from_millis(100);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a write may take that is under way when the partition is to stop.
const LAST_WAIT: Duration = Duration::from_secs(5);

pub(crate) struct Writer {
    /// Built when the consumer starts.
    pub(crate) producer: OnceLock<Producer>,
    pub(crate) tally: Tally,
}

/// What is done when a record is written.
pub(crate) type Written = Box<dyn FnOnce() + Send>;

impl Writer {
    /// Puts `raw` in the producer's queue. The completion is done when the broker has it: a write that fails is tried again
    /// until then, or until the partition of `record` is to stop.
    pub(crate) async fn write(
        self: &Arc<Self>,
        mut raw: RawRecord,
        record: &RawReceived,
        transit: Option<InTransit>,
        written: Written,
    ) -> Result<Completion, BoxError> {
        let Some(producer) = self.producer.get().cloned() else {
            return Err("the recovery was not started: its consumer was not run".into());
        };
        let placed = tokio::select! {
            placed = producer.enqueue(&raw) => placed,
            () = record.stopping() => return Err(GivenBack.into()),
        };
        let (writer, record) = (self.clone(), record.clone());
        Ok(Completion::later(async move {
            let mut outcome = match placed {
                Ok(delivery) => last_wait(&record, delivery).await?,
                Err(error) => Err(error),
            };
            let (mut pause, mut stuck) = (PAUSE, None);
            while let Err(error) = outcome {
                stuck.get_or_insert_with(|| writer.tally.stuck());
                writer.tally.write_failed(raw.topic());
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
                        () = record.stopping() => return Err(BoxError::from(GivenBack)),
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                outcome = last_wait(&record, producer.send(&raw)).await?;
            }
            if let Some(transit) = transit {
                transit.written();
            }
            written();
            Ok(())
        }))
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
