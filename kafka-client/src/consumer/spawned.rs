//! A consumer that runs in a task of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::handle::ConsumerHandle;
use super::report::ConsumerReport;
use super::run::Consumer;
use crate::error::{Error, ErrorKind};

/// A consumer that runs in a task of its own; made by [`Consumer::spawn`].
///
/// It is a future, which is ready when the consumer has ended by itself, that is with an error. Dropped, it asks the
/// consumer to end in good order, which goes on in the background.
///
/// ```
/// # use kafka_client::{Error, Kafka, Received, Topic, Utf8};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kafka = Kafka::embedded()?;
/// # let lines = Topic::new("lines", Utf8, Utf8);
/// # kafka.producer().build()?.send(lines.record("k", "v")).await?;
/// let consumer = kafka
///     .consumer("readers")
///     .route(&lines, async |line: Received<String, String>| {
///         println!("{}", line.value());
///         Ok::<_, Error>(())
///     })
///     .build()?
///     .spawn();
/// println!("{:?}", consumer.handle().health());
/// let report = consumer.stop().await?;
/// println!("{} handled", report.handled);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropped, it ends its consumer"]
pub struct RunningConsumer {
    handle: ConsumerHandle,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<ConsumerReport, Error>>,
}

impl RunningConsumer {
    pub(super) fn start(consumer: Consumer) -> Self {
        let (handle, (stop, stopped)) = (consumer.handle(), oneshot::channel());
        Self { handle, stop: Some(stop), task: tokio::spawn(consumer.run_until(stopped)) }
    }

    /// A handle, to steer the consumer and to look inside.
    pub fn handle(&self) -> &ConsumerHandle {
        &self.handle
    }

    /// Ends the consumer: takes no more records, lets handlers finish what they hold, commits it and leaves the group.
    ///
    /// # Errors
    /// As [`Consumer::run_until`].
    ///
    /// # Cancel safety
    /// Dropping the future lets the end go on in the background.
    pub async fn stop(mut self) -> Result<ConsumerReport, Error> {
        self.stop = None;
        self.await
    }
}

impl Future for RunningConsumer {
    type Output = Result<ConsumerReport, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = ready!(Pin::new(&mut self.task).poll(context));
        Poll::Ready(joined.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the runtime is shutting down"))))
    }
}

impl fmt::Debug for RunningConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningConsumer").field("handle", &self.handle).finish_non_exhaustive()
    }
}
