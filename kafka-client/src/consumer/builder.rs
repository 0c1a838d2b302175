//! Building a consumer.

pub(super) mod build;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kafka_serde::Deserializer;
use tokio::sync::mpsc;

use super::batch::{BatchRoute, RawRoute, Undecoded};
use super::concurrency::{Batching, Concurrency};
use super::group::GroupProtocol;
use super::guarantee::{Guarantee, StartFrom};
use super::handle::Attached;
use super::handler::Handler;
use super::interceptor::ConsumerInterceptor;
use super::joined::{BatchRouteHandler, RouteHandler};
use super::lane::FailedRecordRoute;
use super::listener::{BoxError, DynListener, RebalanceListener};
use super::received::{FailedRecord, RawBatch, RawReceived};
use super::router::{FailedHandler, Route, UndecodedRoute};
use super::run::{BeforeStart, Consumer};
use super::schedule::{Bell, Schedule, ScheduledRoute};
use super::stream::{PartitionStreamRoute, PartitionStreams, RecordStream, StreamRoute, stream_channel};
use super::watchdog::{Limit, OnStuck};
use crate::config::Settings;
use crate::error::Error;
use crate::kafka::Kafka;
use crate::partition::TopicPartition;
use crate::producer::ProducerBuilder;
use crate::topic::Topic;
use crate::transaction::Customize;

/// How many records a lane takes at once, unless set.
const DEFAULT_BATCH_RECORDS: usize = 500;
/// How many records of a partition may be taken and not finished, unless set.
const DEFAULT_BUFFERED_RECORDS: usize = 10_000;

/// Builds a [`Consumer`]; made by [`Kafka::consumer`].
#[must_use = "a builder does nothing until `build`"]
pub struct ConsumerBuilder {
    kafka: Kafka,
    settings: Settings,
    routes: Vec<Arc<dyn Route>>,
    failed_records: Option<Arc<dyn FailedRecordRoute>>,
    guarantee: Guarantee,
    commit_interval: Option<Duration>,
    commit_records: Option<u64>,
    drain_timeout: Option<Duration>,
    max_batch_records: usize,
    max_buffered_records: usize,
    max_buffered_bytes: Option<usize>,
    max_exposure: Option<usize>,
    handler_limit: Option<Limit>,
    listener: Option<Arc<dyn DynListener>>,
    interceptors: Vec<Box<dyn ConsumerInterceptor>>,
    assigned: Option<Vec<TopicPartition>>,
    before_start: Vec<BeforeStart>,
    attached: Vec<Attached>,
    transactions: Transactional,
}

/// How a consumer's transactions are to be, exactly once.
#[derive(Default)]
struct Transactional {
    id: Option<Arc<str>>,
    timeout: Option<Duration>,
    producer: Option<Customize>,
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
            commit_records: None,
            drain_timeout: None,
            max_batch_records: DEFAULT_BATCH_RECORDS,
            max_buffered_records: DEFAULT_BUFFERED_RECORDS,
            max_buffered_bytes: None,
            max_exposure: None,
            handler_limit: None,
            listener: None,
            interceptors: Vec::new(),
            assigned: None,
            before_start: Vec::new(),
            attached: Vec::new(),
            transactions: Transactional::default(),
        }
    }
}

impl ConsumerBuilder {
    /// Handles the records of a topic one after the other, in the order of each partition; partitions run in parallel.
    ///
    /// A topic whose name begins with `^` is a regular expression (of the common kind that all of Kafka's clients
    /// understand): the route is for all topics that match, also those that are created later. This holds for every kind
    /// of route.
    pub fn route<K: Deserializer, V: Deserializer>(
        self,
        topic: &Topic<K, V>,
        handler: impl RouteHandler<K, V>,
    ) -> Self {
        self.route_concurrent(topic, Concurrency::by_partition(), handler)
    }

    /// Handles records of a topic, many of a partition at the same time: those of one key in their order, or in any
    /// order. See [`Concurrency`].
    pub fn route_concurrent<K: Deserializer, V: Deserializer>(
        self,
        topic: &Topic<K, V>,
        concurrency: Concurrency,
        handler: impl RouteHandler<K, V>,
    ) -> Self {
        handler.join(self, topic, concurrency)
    }

    /// Handles the records of a topic as they are, undecoded: for handlers that look into few of them and
    /// [decode](RawReceived::decode) those, and for wrappers that may need a record more than once, or take undecodable ones
    /// too. Order is as with [`route_concurrent`](Self::route_concurrent).
    pub fn route_undecoded(
        self,
        topic: impl Into<Arc<str>>,
        concurrency: Concurrency,
        handler: impl Handler<RawReceived>,
    ) -> Self {
        self.add(UndecodedRoute { topic: topic.into(), concurrency, handler })
    }

    /// Handles the records of a topic in the order, and at the times, that a [`Schedule`] decides, up to `in_flight` of a
    /// partition at the same time. `schedule` makes one for each life of a partition.
    ///
    /// What waits is unfinished, and what commit metadata can tell of unfinished records bounds how many wait in a
    /// partition: about 20,000. At least once only.
    pub fn route_scheduled<S: Schedule>(
        self,
        topic: impl Into<Arc<str>>,
        in_flight: usize,
        schedule: impl Fn(&TopicPartition, Bell) -> S + Send + Sync + 'static,
        handler: impl Handler<RawReceived>,
    ) -> Self {
        let make = move |partition: &TopicPartition, bell| -> Box<dyn Schedule> { Box::new(schedule(partition, bell)) };
        self.add(ScheduledRoute { topic: topic.into(), width: in_flight, schedule: Box::new(make), handler })
    }

    /// Handles the records of a topic by the batch: what was fetched together from one partition, up to
    /// [`max_batch_records`](Self::max_batch_records). A batch is finished as a whole.
    pub fn route_batch<K: Deserializer, V: Deserializer>(
        self,
        topic: &Topic<K, V>,
        handler: impl BatchRouteHandler<K, V>,
    ) -> Self {
        handler.join(self, topic, None)
    }

    /// Handles the records of a topic by batches of a size, for which the first record may wait a while. A batch is
    /// finished as a whole. See [`Batching`].
    pub fn route_batching<K: Deserializer, V: Deserializer>(
        self,
        topic: &Topic<K, V>,
        batching: Batching,
        handler: impl BatchRouteHandler<K, V>,
    ) -> Self {
        handler.join(self, topic, Some(batching))
    }

    /// Handles the records of a topic by the batch, undecoded and each with its account: for wrappers that may need some of
    /// them more than once. Without `batching`, a batch is what was fetched together. A batch is finished as a whole.
    pub fn route_batch_undecoded(
        self,
        topic: impl Into<Arc<str>>,
        batching: Option<Batching>,
        handler: impl Handler<Vec<RawReceived>>,
    ) -> Self {
        self.add(BatchRoute { opener: Undecoded(topic.into()), batching, handler })
    }

    /// Handles the records of a topic by the batch, borrowed and undecoded: the fastest way to read.
    pub fn route_raw(self, topic: impl Into<Arc<str>>, handler: impl Handler<RawBatch>) -> Self {
        self.add(RawRoute { topic: topic.into(), handler })
    }

    /// Awaits this when the consumer runs, before it joins its group. When it fails, the consumer ends with its error.
    pub fn before_start<E: Into<BoxError>>(
        mut self,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        self.before_start.push(Box::pin(async move { work.await.map_err(Into::into) }));
        self
    }

    /// Keeps something of a wrapper's with the consumer, where whoever has a handle finds it by its type:
    /// [`ConsumerHandle::attached`](crate::ConsumerHandle::attached).
    pub fn attach<T: Any + Send + Sync>(mut self, part: Arc<T>) -> Self {
        self.attached.push(part);
        self
    }

    /// The cluster.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        self.settings.get("group.id").unwrap_or_default()
    }

    /// A property of librdkafka as it was set, by whichever way; `None` where it was not.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key)
    }

    pub(super) fn add(mut self, route: impl Route + 'static) -> Self {
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

    /// Sets the id of this instance's transactions, overriding the default of one made up for each run. Corresponds to
    /// `transactional.id`; for [`Guarantee::ExactlyOnce`] only.
    ///
    /// An id that stays the same when the instance restarts lets it abort at once what its predecessor has left open; else
    /// others wait for [`transaction_timeout`](Self::transaction_timeout). No two instances that run may have the same: use
    /// what names a pod of a StatefulSet (`billing-0`), never what all pods share.
    pub fn transactional_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.transactions.id = Some(id.into());
        self
    }

    /// Sets how long a transaction may take before the broker aborts it, overriding the default of 10 s. Corresponds to
    /// `transaction.timeout.ms`; for [`Guarantee::ExactlyOnce`] only. Handlers may take longer: none is open meanwhile.
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.transactions.timeout = Some(timeout);
        self
    }

    /// Sets options of the producer of transactions: compression, partitioner. One that has ended is built again, so the
    /// function may be called more than once. For [`Guarantee::ExactlyOnce`] only.
    pub fn transactional_producer(
        mut self,
        customize: impl Fn(ProducerBuilder) -> ProducerBuilder + Send + Sync + 'static,
    ) -> Self {
        self.transactions.producer = Some(Arc::new(customize));
        self
    }

    /// The guarantee.
    pub fn guaranteed(&self) -> Guarantee {
        self.guarantee
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

    /// Sets how often finished records are committed, overriding the default of 1 s, or 100 ms exactly once. Corresponds to
    /// `auto.commit.interval.ms`. Less often means more records handled again after a crash; an orderly end and a
    /// rebalance always commit.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = Some(interval);
        self
    }

    /// Sets after how many finished records of a partition a commit does not wait for its interval, overriding the default
    /// of 100,000, or 10,000 exactly once.
    pub fn commit_records(mut self, records: u64) -> Self {
        self.commit_records = Some(records);
        self
    }

    /// Bounds how many records a kill of the process would repeat, over all partitions: no more are handed out before
    /// Kafka has confirmed a commit of others. By default there is no such bound. A small one costs throughput: a commit
    /// takes a round trip.
    pub fn max_duplicate_exposure(mut self, records: usize) -> Self {
        self.max_exposure = Some(records);
        self
    }

    /// Tells `listener` when partitions come and go. See [`RebalanceListener`].
    pub fn on_rebalance(mut self, listener: impl RebalanceListener) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Sets how long a handler may run, and what happens to one that runs for longer, overriding the default of a warning
    /// after `max.poll.interval.ms` (5 minutes).
    pub fn handler_limit(mut self, limit: Duration, then: OnStuck) -> Self {
        self.handler_limit = Some(Limit { limit, then });
        self
    }

    /// Adds an interceptor, which sees every record and every commit after those that were added before.
    pub fn interceptor(mut self, interceptor: impl ConsumerInterceptor) -> Self {
        self.interceptors.push(Box::new(interceptor));
        self
    }

    /// Sets how members of the group agree on who reads what, overriding the default of the classic protocol with
    /// `range,roundrobin`. See [`GroupProtocol`].
    pub fn group_protocol(mut self, protocol: GroupProtocol) -> Self {
        protocol.apply(&mut self.settings);
        self
    }

    /// Makes this a static member: one that comes back under this name before its session has ended gets its partitions
    /// back, and the others do not hear of it. Each member needs a name of its own. Corresponds to `group.instance.id`.
    pub fn static_member(mut self, name: impl Into<String>) -> Self {
        self.settings.typed("group.instance.id", name.into());
        self
    }

    /// Reads these partitions, whoever else reads them, instead of sharing partitions with the group's members. Offsets
    /// are committed under the group's name all the same; each partition needs a route.
    pub fn assign<P: Into<TopicPartition>>(mut self, partitions: impl IntoIterator<Item = P>) -> Self {
        self.assigned = Some(partitions.into_iter().map(Into::into).collect());
        self
    }

    /// Sets how many records of each partition may be taken from Kafka and not be finished, overriding the default of
    /// 10,000. When they are reached nothing more is taken, and Kafka keeps the rest.
    pub fn max_buffered_records(mut self, records: usize) -> Self {
        self.max_buffered_records = records;
        self
    }

    /// Sets how many bytes (of keys and values) of each partition may be taken from Kafka and not be finished, overriding
    /// the default of 16 MiB. What librdkafka has fetched ahead (as much again, `queued.max.messages.kbytes`, and one fetch)
    /// is taken together, so that a partition whose handler is stuck may hold up to twice this and one fetch, with as much
    /// fetched behind it. (Measured with a bound of 1 MiB and 58 MiB behind a handler that hung: the process grew by 4 MiB.)
    pub fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.max_buffered_bytes = Some(bytes);
        self
    }

    /// Sets how long handlers may take to finish what they hold when partitions move to another member or the
    /// consumer ends, the last commit and the [rebalance listener](Self::on_rebalance) included, overriding the default of
    /// 30 s. A second before that handlers are cancelled, and their records are read again; a listener that is not done by
    /// then makes the partitions lost. Must be below `max.poll.interval.ms` (5 minutes), the time after which the broker
    /// gives the partitions away by itself.
    ///
    /// A member that the group took for dead without its notice (its process was suspended, or cut off) reads on what it was
    /// to keep, until a commit is refused: some of those records are handled by their new owner, too, no more than
    /// [`max_duplicate_exposure`](Self::max_duplicate_exposure). None of its commits counts.
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

    /// `max.poll.interval.ms`, where it is set.
    pub(crate) fn max_poll_interval(&self) -> Result<Option<Duration>, Error> {
        Ok(self.settings.number::<u64>("max.poll.interval.ms")?.map(Duration::from_millis))
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
        self.is_only_reader("stream")?;
        let (sender, receiver) = stream_channel();
        let consumer = self.add(StreamRoute { topic: topic.clone(), sender }).build()?;
        Ok(RecordStream::start(consumer, receiver))
    }

    /// Reads one topic as a stream for each partition, which ends when the partition is taken away. It cannot be combined
    /// with routes.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    ///
    /// # Panics
    /// Outside of a tokio runtime: the streams are read ahead by tasks.
    pub fn partition_streams<K: Deserializer, V: Deserializer>(
        self,
        topic: &Topic<K, V>,
    ) -> Result<PartitionStreams<K::Output, V::Output>, Error> {
        self.is_only_reader("partition_streams")?;
        let (sender, receiver) = mpsc::channel(1);
        let consumer = self.add(PartitionStreamRoute { topic: topic.clone(), sender }).build()?;
        Ok(PartitionStreams::start(consumer, receiver))
    }

    fn is_only_reader(&self, what: &str) -> Result<(), Error> {
        match self.routes.first() {
            None if self.guarantee == Guarantee::ExactlyOnce => {
                let text =
                    format!("`{what}` contradicts `guarantee=exactly-once`: its records have handlers, on routes");
                Err(Error::config(text).with_operation("build consumer"))
            }
            None => Ok(()),
            Some(route) => {
                let text = format!("`{what}` contradicts `route({})`: a stream is the only reader", route.topic());
                Err(Error::config(text).with_operation("build consumer"))
            }
        }
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
