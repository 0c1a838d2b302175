//! Building a consumer.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kafka_serde::Deserializer;

use super::control::Control;
use super::handler::Handler;
use super::lane::FailedRecordRoute;
use super::received::{FailedRecord, RawBatch, Received};
use super::report::ConsumerReport;
use super::router::{BatchRoute, FailedHandler, RawRoute, RecordRoute, Route};
use super::stream::{RecordStream, StreamRoute, stream_channel};
use crate::config::{self, Settings};
use crate::error::Error;
use crate::kafka::Kafka;
use crate::native::{Client, Role};
use crate::topic::Topic;

/// What a consumer promises about records when it, or its process, fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// Offsets are committed after records are finished: none is lost, some may be handled again. The default.
    #[default]
    AtLeastOnce,
    /// Offsets are committed before records are handled: none is handled twice, some may be lost. An orderly end, and
    /// partitions that move in good order, lose none.
    AtMostOnce,
}

/// Where a group starts on a partition for which it has no offset yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// With the oldest record; the default. (Kafka's own default skips what was written before the group existed.)
    Earliest,
    /// With records written from now on.
    Latest,
    /// Nowhere: the consumer ends with an error.
    Fail,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) guarantee: Guarantee,
    pub(super) commit_interval: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) max_batch_records: usize,
}

/// How often offsets are committed, unless set.
const DEFAULT_COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long handlers may take to end when partitions move or the consumer ends, unless set.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How many records a lane takes at once, unless set.
const DEFAULT_BATCH_RECORDS: usize = 500;
/// `max.poll.interval.ms`, unless set: Kafka's default.
const DEFAULT_MAX_POLL_INTERVAL: u64 = 300_000;
/// How often a member asks whether partitions are to move, unless set: the defaults of the classic protocol, and of a
/// broker for `group.protocol=consumer`.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(3);
const DEFAULT_HEARTBEAT_OF_BROKER: Duration = Duration::from_secs(5);
/// What the commit and the answer after the drain may take.
const AFTER_DRAIN: Duration = Duration::from_secs(1);

/// Builds a [`Consumer`]; made by [`Kafka::consumer`].
#[must_use = "a builder does nothing until `build`"]
pub struct ConsumerBuilder {
    kafka: Kafka,
    settings: Settings,
    routes: Vec<Arc<dyn Route>>,
    failed_records: Option<Arc<dyn FailedRecordRoute>>,
    guarantee: Guarantee,
    commit_interval: Option<Duration>,
    drain_timeout: Option<Duration>,
    max_batch_records: usize,
}

impl Kafka {
    /// Starts building a consumer of this group. Members of a group share the partitions of its topics.
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        let mut settings = self.settings().clone();
        settings.typed("group.id", group.into());
        ConsumerBuilder {
            kafka: self.clone(),
            settings,
            routes: Vec::new(),
            failed_records: None,
            guarantee: Guarantee::default(),
            commit_interval: None,
            drain_timeout: None,
            max_batch_records: DEFAULT_BATCH_RECORDS,
        }
    }
}

impl ConsumerBuilder {
    /// Handles the records of a topic one after the other, in the order of each partition; partitions run in parallel.
    pub fn route<K: Deserializer, V: Deserializer>(
        self,
        topic: &Topic<K, V>,
        handler: impl Handler<Received<K::Output, V::Output>>,
    ) -> Self {
        self.add(RecordRoute { topic: topic.clone(), handler })
    }

    /// Handles the records of a topic by the batch: what was fetched together from one partition, up to
    /// [`max_batch_records`](Self::max_batch_records). A batch is finished as a whole.
    pub fn route_batch<K: Deserializer, V: Deserializer>(
        self,
        topic: &Topic<K, V>,
        handler: impl Handler<Vec<Received<K::Output, V::Output>>>,
    ) -> Self {
        self.add(BatchRoute { topic: topic.clone(), handler })
    }

    /// Handles the records of a topic by the batch, borrowed and undecoded: the fastest way to read.
    pub fn route_raw(self, topic: impl Into<Arc<str>>, handler: impl Handler<RawBatch>) -> Self {
        self.add(RawRoute { topic: topic.into(), handler })
    }

    fn add(mut self, route: impl Route + 'static) -> Self {
        self.routes.push(Arc::new(route));
        self
    }

    /// Hands records that cannot be decoded to `handler`, with their bytes and coordinates. They are finished when it
    /// has finished them. Without it, the consumer ends with the error of such a record: nothing is skipped silently.
    pub fn on_failed_record(mut self, handler: impl Handler<FailedRecord>) -> Self {
        self.failed_records = Some(Arc::new(FailedHandler(handler)));
        self
    }

    /// Sets what is promised, overriding the default of at least once.
    pub fn guarantee(mut self, guarantee: Guarantee) -> Self {
        self.guarantee = guarantee;
        self
    }

    /// Sets where to start without a committed offset, overriding the default of the oldest record. Corresponds to
    /// `auto.offset.reset`.
    pub fn start_from(mut self, start: StartFrom) -> Self {
        let reset = match start {
            StartFrom::Earliest => "earliest",
            StartFrom::Latest => "latest",
            StartFrom::Fail => "error",
        };
        self.settings.typed("auto.offset.reset", reset);
        self
    }

    /// Sets how often finished records are committed, overriding the default of 1 s. Corresponds to
    /// `auto.commit.interval.ms`. Less often means more records handled again after a crash; an orderly end and a
    /// rebalance always commit.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = Some(interval);
        self
    }

    /// Sets how long handlers may take to finish what they hold when partitions move to another member or the
    /// consumer ends, overriding the default of 30 s. After that they are cancelled, and their records are read
    /// again. Must be below `max.poll.interval.ms` (5 minutes), the time after which the broker gives the partitions
    /// away by itself.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = Some(timeout);
        self
    }

    /// Sets how many records are taken from a partition at once, overriding the default of 500.
    pub fn max_batch_records(mut self, records: usize) -> Self {
        self.max_batch_records = records;
        self
    }

    /// Sets any property of librdkafka. A typed option for the same property wins, and says so in the log.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.set(key, value);
        self
    }

    /// Builds the consumer. It joins its group when it runs.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a setting that is unknown, malformed or contradicts
    /// another, for two routes of one topic, and for none.
    pub fn build(self) -> Result<Consumer, Error> {
        self.build_named().map_err(|error| error.with_operation("build consumer"))
    }

    fn build_named(mut self) -> Result<Consumer, Error> {
        if self.routes.is_empty() {
            return Err(Error::config("a consumer needs at least one route"));
        }
        for (at, route) in self.routes.iter().enumerate() {
            if self.routes[..at].iter().any(|other| other.topic() == route.topic()) {
                return Err(Error::config(format!("topic {} has two routes", route.topic())));
            }
        }
        if self.settings.get("group.id").is_none_or(str::is_empty) {
            return Err(Error::config("`group.id` is empty: a consumer needs a group"));
        }
        let options = self.options()?;
        let settings = &mut self.settings;
        let guarantee = match self.guarantee {
            Guarantee::AtLeastOnce => "`guarantee=at-least-once`: offsets are committed when records are finished",
            Guarantee::AtMostOnce => "`guarantee=at-most-once`: offsets are committed before records are handled",
        };
        settings.force("enable.auto.commit", "false", guarantee)?;
        settings.force("enable.auto.offset.store", "false", guarantee)?;
        settings.default("auto.offset.reset", "earliest");
        #[cfg(feature = "embedded")]
        if self.kafka.embedded_handle().is_some() {
            // A fetch that finds one partition empty holds up the others for this long; nothing is far away here.
            settings.default("fetch.wait.max.ms", "20");
            // The embedded broker lets every join but a group's first wait for nearly this long.
            if settings.get("group.protocol").is_none_or(|protocol| !protocol.eq_ignore_ascii_case("consumer")) {
                settings.default("session.timeout.ms", "2000");
                settings.default("heartbeat.interval.ms", "200");
            }
        }
        config::check_consumer(settings)?;
        let client = Client::new(Role::Consumer, settings.iter()).map_err(Error::native)?;
        Ok(Consumer { client, kafka: self.kafka, routes: self.routes, failed_records: self.failed_records, options })
    }

    fn options(&mut self) -> Result<Options, Error> {
        let settings = &mut self.settings;
        let commit_interval = settings.number::<u64>("auto.commit.interval.ms")?.map(Duration::from_millis);
        settings.take("auto.commit.interval.ms");
        let max_poll = settings.number::<u64>("max.poll.interval.ms")?.unwrap_or(DEFAULT_MAX_POLL_INTERVAL);
        let heartbeat = match settings.number("heartbeat.interval.ms")? {
            Some(millis) => Duration::from_millis(millis),
            None if settings
                .get("group.protocol")
                .is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer")) =>
            {
                DEFAULT_HEARTBEAT_OF_BROKER
            }
            None => DEFAULT_HEARTBEAT,
        };
        // The broker's clock runs since before the member heard of the rebalance.
        let most = Duration::from_millis(max_poll).saturating_sub(heartbeat + AFTER_DRAIN);
        let drain_timeout = match self.drain_timeout {
            Some(drain) if drain > most => {
                return Err(Error::config(format!(
                    "`drain_timeout={drain:?}` contradicts `max.poll.interval.ms={max_poll}`: the broker gives the \
                     partitions away before they are drained; {most:?} is the most"
                )));
            }
            Some(drain) => drain,
            None => DEFAULT_DRAIN_TIMEOUT.min(most),
        };
        let commit_interval = self.commit_interval.or(commit_interval).unwrap_or(DEFAULT_COMMIT_INTERVAL);
        if commit_interval.is_zero() {
            return Err(Error::config("auto.commit.interval.ms: must be more than zero"));
        }
        if self.max_batch_records == 0 {
            return Err(Error::config("max_batch_records: must be more than zero"));
        }
        Ok(Options {
            guarantee: self.guarantee,
            commit_interval,
            drain_timeout,
            max_batch_records: self.max_batch_records,
        })
    }

    /// Reads one topic as a stream, for those who want to drive. It cannot be combined with routes.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    ///
    /// # Panics
    /// Outside of a tokio runtime: the stream is read ahead by a task.
    pub fn stream<K: Deserializer, V: Deserializer>(
        self,
        topic: &Topic<K, V>,
    ) -> Result<RecordStream<K::Output, V::Output>, Error> {
        if let Some(route) = self.routes.first() {
            let text = format!("`stream` contradicts `route({})`: a stream is the only reader", route.topic());
            return Err(Error::config(text).with_operation("build consumer"));
        }
        let (sender, receiver) = stream_channel();
        let consumer = self.add(StreamRoute { topic: topic.clone(), sender }).build()?;
        Ok(RecordStream::start(consumer, receiver))
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A member of a consumer group, ready to run.
pub struct Consumer {
    client: Arc<Client>,
    /// Keeps an embedded broker alive.
    kafka: Kafka,
    routes: Vec<Arc<dyn Route>>,
    failed_records: Option<Arc<dyn FailedRecordRoute>>,
    options: Options,
}

impl Consumer {
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
        let control = Control::new(self.client, self.routes, self.failed_records, self.options)?;
        let report = control
            .run(async move {
                shutdown.await;
            })
            .await;
        drop(self.kafka);
        report
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
        let topics: Vec<&str> = self.routes.iter().map(|route| route.topic()).collect();
        f.debug_struct("Consumer").field("topics", &topics).field("options", &self.options).finish_non_exhaustive()
    }
}
