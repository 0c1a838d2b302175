//! The thread that a producer's transactions are conducted on: its native calls block.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::failure::{Cause, Ended, Failure};
use super::stage::{Offsets, Stage};
use crate::error::{Error, ErrorKind, Retry};
use crate::native::client::this_thread_may_block;
use crate::native::{Client, Membership};
use crate::producer::Producer;

type Job = Box<dyn FnOnce(&mut Stage) + Send>;

/// What has been asked is done, whether or not anybody waits for it.
type Answer<T> = BoxFuture<'static, Result<T, Failure>>;

/// A way to that thread, for one owner. What is asked is done in the order of asking, whoever waits for it; the thread
/// ends with its conductor, and aborts what is open.
pub(crate) struct Conductor {
    jobs: mpsc::Sender<Job>,
    /// How long a transaction may take.
    timeout: Duration,
}

/// How many times that a call may take before it counts as lost. They have bounds of their own, but librdkafka may lose the
/// answer to one when a coordinator moves in the middle of it (seen in `rd_kafka_send_offsets_to_transaction`): it never
/// returns then. Its thread and its client stay behind, and a new producer goes on.
const LOST_AFTER: u32 = 2;
/// What an abort takes, whatever the timeout.
const AT_LEAST: Duration = Duration::from_secs(2);
/// The first call waits for twice the timeout by itself, and is tried again.
const FIRST_LOST_AFTER: u32 = 6;

impl Conductor {
    pub(crate) fn start(producer: Producer, id: Arc<str>, timeout: Duration) -> Result<Self, Error> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let run = move || {
            this_thread_may_block();
            let mut stage = Stage::new(producer, id, timeout);
            for job in todo {
                job(&mut stage);
            }
            if let Err(failure) = stage.abort() {
                tracing::debug!(error = %failure.error(), "the last transaction was left open");
            }
            drop(stage);
        };
        std::thread::Builder::new().name("kafka-transaction".into()).spawn(run).map_err(|error| {
            Error::new(ErrorKind::Closed, "no thread for a producer's transactions").with_source(error)
        })?;
        Ok(Self { jobs, timeout })
    }

    pub(crate) fn init(&self) -> Answer<()> {
        self.call_within(self.timeout * FIRST_LOST_AFTER, Stage::init)
    }

    pub(crate) fn begin(&self) -> Answer<()> {
        self.call(Stage::begin)
    }

    /// Begins, and says what the consumer is in its group.
    pub(crate) fn begin_as(&self, consumer: Arc<Client>) -> Answer<Option<Arc<Membership>>> {
        self.call(move |stage| stage.begin().map(|()| consumer.membership().map(Arc::new)))
    }

    /// Commits, unless `valid` says otherwise before that.
    pub(crate) fn commit(&self, offsets: Vec<Offsets>, valid: impl Fn() -> bool + Send + 'static) -> Answer<()> {
        self.call(move |stage| stage.commit(offsets, valid))
    }

    pub(crate) fn abort(&self) -> Answer<()> {
        self.call(Stage::abort)
    }

    /// Aborts what is open when everything asked before is done. Nobody waits.
    pub(crate) fn abort_soon(&self) {
        // Without a thread nothing is open.
        let _ = self.jobs.send(Box::new(|stage| {
            if let Err(failure) = stage.abort() {
                tracing::debug!(error = %failure.error(), "a transaction that was dropped could not be aborted");
            }
        }));
    }

    fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Stage) -> Result<T, Failure> + Send + 'static,
    ) -> Answer<T> {
        self.call_within(self.timeout * LOST_AFTER + AT_LEAST, job)
    }

    fn call_within<T: Send + 'static>(
        &self,
        within: Duration,
        job: impl FnOnce(&mut Stage) -> Result<T, Failure> + Send + 'static,
    ) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        // Without a thread the answer is dropped, and that is one.
        let _ = self.jobs.send(Box::new(move |stage| {
            // Who has gone away does not need it.
            let _ = answer.send(job(stage));
        }));
        Box::pin(async move {
            let error = match tokio::time::timeout(within, answered).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) => Error::new(ErrorKind::Closed, "the thread of the transactions has ended"),
                Err(_) => {
                    tracing::error!(?within, "a call of a transaction has not returned; its producer is left behind");
                    let text = format!("a call of the transaction has not returned within {within:?}");
                    Error::new(ErrorKind::Timeout, text).with_retry(Retry::Temporary)
                }
            };
            Err(Failure::Ended(Ended { error, cause: Cause::Broken }))
        })
    }
}
