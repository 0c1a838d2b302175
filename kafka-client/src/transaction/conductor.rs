//! The thread that a producer's transactions are conducted on: its native calls block.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::failure::{Cause, Ended, Failure};
use super::stage::{Offsets, Stage};
use crate::error::{Error, ErrorKind};
use crate::native::client::this_thread_may_block;
use crate::native::{Client, Membership};
use crate::producer::Producer;

type Job = Box<dyn FnOnce(&mut Stage) + Send>;

/// What has been asked is done, whether or not anybody waits for it.
type Answer<T> = BoxFuture<'static, Result<T, Failure>>;

/// A way to that thread, for one owner. What is asked is done in the order of asking, whoever waits for it; the thread
/// ends with its conductor, and aborts what is open.
pub(super) struct Conductor {
    jobs: mpsc::Sender<Job>,
}

impl Conductor {
    pub(super) fn start(producer: Producer, id: Arc<str>, timeout: Duration) -> Result<Self, Error> {
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
        Ok(Self { jobs })
    }

    pub(super) fn init(&self) -> Answer<()> {
        self.call(Stage::init)
    }

    pub(super) fn begin(&self) -> Answer<()> {
        self.call(Stage::begin)
    }

    /// Begins, and says what the consumer is in its group.
    pub(super) fn begin_as(&self, consumer: Arc<Client>) -> Answer<Option<Arc<Membership>>> {
        self.call(move |stage| stage.begin().map(|()| consumer.membership().map(Arc::new)))
    }

    /// Commits, unless `valid` says otherwise before that.
    pub(super) fn commit(&self, offsets: Vec<Offsets>, valid: impl Fn() -> bool + Send + 'static) -> Answer<()> {
        self.call(move |stage| stage.commit(offsets, valid))
    }

    pub(super) fn abort(&self) -> Answer<()> {
        self.call(Stage::abort)
    }

    /// Aborts what is open when everything asked before is done. Nobody waits.
    pub(super) fn abort_soon(&self) {
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
        let (answer, answered) = oneshot::channel();
        // Without a thread the answer is dropped, and that is one.
        let _ = self.jobs.send(Box::new(move |stage| {
            // Who has gone away does not need it.
            let _ = answer.send(job(stage));
        }));
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| {
                let error = Error::new(ErrorKind::Closed, "the thread of the transactions has ended");
                Err(Failure::Ended(Ended { error, cause: Cause::Broken }))
            })
        })
    }
}
