//! A consumer, from its first request to join to its last word.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::control::{Control, Ending, Parts, channel};
use super::handle::{Command, ConsumerHandle};
use super::lane::Request;
use super::listener::BoxError;
use super::report::ConsumerReport;
use super::spawned::RunningConsumer;
use crate::config::Settings;
use crate::error::{Error, ErrorKind};
use crate::kafka::Kafka;
use crate::native::{Client, Role};

/// A member of a consumer group, ready to run.
///
/// # Metrics
///
/// While it runs it says this through the `metrics` facade, so that any recorder has it. All are labelled by `group`; the
/// gauges are set every second, and to zero at the end. Two consumers of one process that share group and topic share the
/// gauges, too: the one that looked last is seen.
///
/// | counter or histogram | labels | what it counts |
/// |---|---|---|
/// | `kafka_consumer_records_handled_total` | `topic` | records that were handled to the end |
/// | `kafka_consumer_records_failed_total` | `topic` | records that could not be decoded, handled to the end |
/// | `kafka_consumer_commits_total` | `result`: `confirmed`, `refused` | commits that were answered |
/// | `kafka_consumer_commit_seconds` | | how long that took |
/// | `kafka_consumer_rebalances_total` | `kind`: `assigned`, `revoked`, `lost` | rebalances |
///
/// | gauge | labels | what it shows |
/// |---|---|---|
/// | `kafka_consumer_assigned_partitions`, `kafka_consumer_paused_partitions` | `topic` | partitions |
/// | `kafka_consumer_in_flight` | `topic` | records that were handed out and are not finished |
/// | `kafka_consumer_buffered_records`, `kafka_consumer_buffered_bytes` | `topic` | taken from Kafka and not finished |
/// | `kafka_consumer_lag` | `topic` | [`Lag::records`](crate::Lag::records); of partitions that are paused or stuck, up to 3 s old |
/// | `kafka_consumer_exposure` | | records that a kill would repeat |
/// | `kafka_consumer_stuck_handlers` | | handlers that run for longer than `handler_limit` |
pub struct Consumer {
    pub(super) client: Arc<Client>,
    /// Keeps an embedded broker alive.
    pub(super) kafka: Kafka,
    /// To build the client anew.
    pub(super) native: Settings,
    pub(super) parts: Parts,
    pub(super) inbox: mpsc::UnboundedReceiver<Request>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) handle: ConsumerHandle,
    /// In a mutex, so that the consumer can be shared.
    pub(super) before_start: Mutex<Vec<BeforeStart>>,
}

/// What is awaited before the group is joined.
pub(super) type BeforeStart = BoxFuture<'static, Result<(), BoxError>>;

/// How long to wait before a member that could not join tries again.
const JOIN_PAUSE: Duration = Duration::from_secs(1);
/// How much longer than a session it tries.
const UNRELEASED_SLACK: Duration = Duration::from_secs(15);

impl Consumer {
    /// A handle, to steer the consumer while it runs and to look inside.
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }

    /// Joins the group and handles records until `shutdown` is ready; then takes no more records, lets handlers
    /// finish what they hold, commits it and leaves the group.
    ///
    /// # Errors
    /// When a handler fails, a record cannot be decoded and nobody takes it, a handler panics, or the client can do
    /// nothing more (permission, a fatal error). What was finished is committed before, the failed record is not.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the handlers where they are, commits nothing more, and leaves the group when its
    /// session ends. Nothing is lost; what was not committed is read again. Use `shutdown` for an orderly end.
    pub async fn run_until(self, shutdown: impl Future) -> Result<ConsumerReport, Error> {
        let group = self.parts.metrics.group().clone();
        self.run_lives(shutdown).await.map_err(|error| error.with_group(&group))
    }

    /// Runs, and joins anew where a client can do nothing more and another one can.
    async fn run_lives(self, shutdown: impl Future) -> Result<ConsumerReport, Error> {
        let Self { client, kafka, native, parts, inbox, commands, handle: _, before_start } = self;
        let shutdown = async move {
            shutdown.await;
        };
        tokio::pin!(shutdown);
        for work in before_start.into_inner() {
            let failed = |error| {
                Error::new(ErrorKind::Handler, "what was to be done before the consumer starts has failed")
                    .with_operation("start consumer")
                    .with_source(error)
            };
            tokio::select! {
                done = work => done.map_err(failed)?,
                () = &mut shutdown => return Ok(ConsumerReport::default()),
            }
        }
        let since = tokio::time::Instant::now();
        let (mut next, mut before) = (Some((client, inbox)), ConsumerReport::default());
        let mut commands = commands;
        loop {
            let (client, inbox, settings) = match next.take() {
                Some((client, inbox)) => (client, inbox, None),
                None => {
                    let client = Client::new(Role::Consumer, native.iter()).map_err(Error::native)?;
                    let (requests, inbox, _) = channel();
                    (client, inbox, Some(requests))
                }
            };
            let mut control = Control::new(client, &parts, inbox, commands)?;
            if let Some(requests) = settings {
                control.settings.requests = requests;
            }
            let (mut report, ended, inbox) = control.run(&mut shutdown).await;
            commands = inbox;
            report.begin_with(std::mem::take(&mut before));
            let session = parts.options.session + UNRELEASED_SLACK;
            match ended {
                Ok(()) => {
                    drop(kafka);
                    return Ok(report);
                }
                // Its predecessor was killed, and the broker keeps the name for it until its session ends.
                Err(Ending::Unreleased(_)) if since.elapsed() < session => {
                    tracing::warn!("this static member was not released yet; trying again until its session has ended");
                }
                Err(Ending::Overslept(error)) => {
                    tracing::warn!(%error, "silent for longer than `max.poll.interval.ms`; joining the group anew");
                }
                Err(Ending::Failed(error) | Ending::Unreleased(error)) => return Err(error),
            }
            before = report;
            tokio::select! {
                () = tokio::time::sleep(JOIN_PAUSE) => (),
                () = &mut shutdown => return Ok(before),
            }
        }
    }

    /// Runs in a task of its own, until it is stopped or something fails.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn(self) -> RunningConsumer {
        RunningConsumer::start(self)
    }

    /// Runs until something fails; see [`run_until`](Self::run_until).
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until).
    ///
    /// # Cancel safety
    /// As [`run_until`](Self::run_until).
    pub async fn run(self) -> Result<ConsumerReport, Error> {
        self.run_until(std::future::pending::<()>()).await
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics: Vec<&str> = self.parts.routes.topics().collect();
        f.debug_struct("Consumer")
            .field("topics", &topics)
            .field("options", &self.parts.options)
            .finish_non_exhaustive()
    }
}
