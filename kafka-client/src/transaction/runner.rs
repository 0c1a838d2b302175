//! Read, process, write: exactly once.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use kafka_serde::Deserializer;
use tokio::sync::oneshot;

use super::batch::{Batch, Decision, Poisoned, Undone};
use super::engine::{Customize, Recipe};
use super::handle::Transaction;
use super::hook::{DeadLetter, dead_letter};
use super::session::{OnUndone, Pace, Session};
use crate::consumer::{
    BoxError, Consumer, ConsumerBuilder, ConsumerHandle, ConsumerReport, Guarantee, Inbox, Outlet, Received, inbox,
};
use crate::error::{Error, ErrorKind};
use crate::kafka::Kafka;
use crate::producer::ProducerBuilder;
use crate::topic::Topic;

const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);
const DEFAULT_RECORDS: usize = 10_000;
/// `transaction.timeout.ms`, unless set. Short, since others wait that long for what a killed process has left open.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_ATTEMPTS: u32 = 3;
/// `max.poll.interval.ms`, unless set.
const DEFAULT_MAX_POLL: Duration = Duration::from_secs(300);

impl Kafka {
    /// Starts building a pipeline that reads, processes and writes exactly once, as a member of this group.
    ///
    /// What is sent and the offsets of what it was made of are in one transaction (KIP-447): consumers with
    /// `read_committed` see the results of each record once, whatever is killed and whoever takes over.
    ///
    /// ```no_run
    /// # use kafka_client::{Json, Kafka, Topic, Utf8};
    /// # async fn example() -> Result<(), kafka_client::Error> {
    /// let kafka = Kafka::from_env()?;
    /// let orders = Topic::new("orders", Utf8, Json::<u64>::new());
    /// let invoices = Topic::new("invoices", Utf8, Json::<String>::new());
    ///
    /// kafka
    ///     .exactly_once("billing")
    ///     .from(&orders)
    ///     .process(async |batch, tx| {
    ///         for order in &batch {
    ///             tx.send(invoices.record(order.key(), &format!("{} due", order.value()))).await?;
    ///         }
    ///         Ok(())
    ///     })
    ///     .run_until(tokio::signal::ctrl_c())
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn exactly_once(&self, group: impl Into<String>) -> ExactlyOnceBuilder {
        ExactlyOnceBuilder { kafka: self.clone(), group: group.into() }
    }
}

/// A group, and no topic yet; made by [`Kafka::exactly_once`].
#[must_use = "a builder does nothing until it is run"]
pub struct ExactlyOnceBuilder {
    kafka: Kafka,
    group: String,
}

type Attach<I> = Box<dyn FnOnce(ConsumerBuilder, &[Outlet<I>]) -> ConsumerBuilder + Send>;

impl ExactlyOnceBuilder {
    /// Reads a topic.
    pub fn from<K: Deserializer, V: Deserializer>(self, topic: &Topic<K, V>) -> Pipeline<Received<K::Output, V::Output>>
    where
        K::Output: Send,
        V::Output: Send,
    {
        self.from_as(topic, |record| record)
    }

    /// Reads a topic, and makes `into` of each record: so that several topics come as one type.
    pub fn from_as<K: Deserializer, V: Deserializer, I: Send + 'static>(
        self,
        topic: &Topic<K, V>,
        into: impl Fn(Received<K::Output, V::Output>) -> I + Send + Sync + 'static,
    ) -> Pipeline<I> {
        let pipeline = Pipeline {
            kafka: self.kafka,
            group: self.group,
            id: None,
            lanes: 1,
            interval: DEFAULT_INTERVAL,
            records: DEFAULT_RECORDS,
            timeout: DEFAULT_TIMEOUT,
            attempts: DEFAULT_ATTEMPTS,
            sources: Vec::new(),
            consumer: None,
            producer: None,
            dead_letter: None,
            on_undone: None,
            input: PhantomData,
        };
        pipeline.from_as(topic, into)
    }
}

impl fmt::Debug for ExactlyOnceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactlyOnceBuilder").field("group", &self.group).finish_non_exhaustive()
    }
}

/// What is read and how, and no processing yet; made by [`ExactlyOnceBuilder::from`].
#[must_use = "a builder does nothing until it is run"]
pub struct Pipeline<I> {
    kafka: Kafka,
    group: String,
    id: Option<Arc<str>>,
    lanes: usize,
    interval: Duration,
    records: usize,
    timeout: Duration,
    attempts: u32,
    sources: Vec<Attach<I>>,
    consumer: Option<Box<dyn FnOnce(ConsumerBuilder) -> ConsumerBuilder + Send>>,
    producer: Option<Customize>,
    dead_letter: Option<DeadLetter>,
    on_undone: Option<OnUndone>,
    input: PhantomData<fn(I)>,
}

impl<K: Send + 'static, V: Send + 'static> Pipeline<Received<K, V>> {
    /// Reads another topic, of the same types.
    pub fn from<KS, VS>(self, topic: &Topic<KS, VS>) -> Self
    where
        KS: Deserializer<Output = K>,
        VS: Deserializer<Output = V>,
    {
        self.from_as(topic, |record| record)
    }
}

impl<I: Send + 'static> Pipeline<I> {
    /// Reads another topic, and makes `into` of each record.
    pub fn from_as<K: Deserializer, V: Deserializer>(
        mut self,
        topic: &Topic<K, V>,
        into: impl Fn(Received<K::Output, V::Output>) -> I + Send + Sync + 'static,
    ) -> Self {
        let topic = topic.clone();
        self.sources
            .push(Box::new(move |consumer, outlets| consumer.route_source(topic, Arc::new(into), outlets.to_vec())));
        self
    }

    /// Sets the id of this instance's transactions, overriding the default of one made up for each run. Corresponds to
    /// `transactional.id`; with several [`lanes`](Self::lanes) each adds its number.
    ///
    /// An id that stays the same when the instance restarts lets it abort at once what its predecessor has left open;
    /// else others wait for [`transaction_timeout`](Self::transaction_timeout). No two instances that run may have the
    /// same: use what names a pod of a StatefulSet (`billing-0`), never what all pods share.
    pub fn transactional_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Splits the partitions among so many producers, so that one processes while another commits, overriding the default
    /// of 1. A partition number belongs to the same lane in all topics.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes;
        self
    }

    /// Sets how long a transaction collects results before it is committed, overriding the default of 100 ms. Longer ones
    /// cost less, and show their results later.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets after how many records a transaction is committed, overriding the default of 10,000.
    pub fn max_records(mut self, records: usize) -> Self {
        self.records = records;
        self
    }

    /// Sets how long a transaction may take before the broker aborts it, overriding the default of 10 s. Corresponds to
    /// `transaction.timeout.ms`. The processing is cut short in time.
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how often a record that fails alone is tried before it goes to the [dead letters](Self::dead_letter),
    /// overriding the default of 3.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets options of the consumer: group protocol, listeners, limits.
    pub fn consumer(mut self, customize: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder + Send + 'static) -> Self {
        self.consumer = Some(Box::new(customize));
        self
    }

    /// Sets options of the producers: compression, partitioner. A producer that has ended is built again, so the function
    /// may be called more than once.
    pub fn producer(mut self, customize: impl Fn(ProducerBuilder) -> ProducerBuilder + Send + Sync + 'static) -> Self {
        self.producer = Some(Arc::new(customize));
        self
    }

    /// Tells `told` whenever a transaction was undone, before its records are read again: for state that the processing
    /// keeps.
    pub fn on_undone(mut self, told: impl Fn(&Undone<'_>) + Send + Sync + 'static) -> Self {
        self.on_undone = Some(Arc::new(told));
        self
    }

    /// Hands records that cannot be decoded, or whose processing fails for ever, to `bury`, in the transaction that
    /// commits their offsets. Without it the pipeline ends with the error of such a record.
    pub fn dead_letter<F, Fut>(mut self, bury: F) -> Self
    where
        F: Fn(Poisoned, Transaction) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.dead_letter = Some(dead_letter(bury));
        self
    }

    /// Processes what is read: `process` is given a batch and the transaction to send results in.
    ///
    /// It returns `()` or a [`Decision`]. An error undoes the transaction; its records are read again, in smaller
    /// transactions, until the one that fails is alone.
    pub fn process<P, Fut, D>(self, process: P) -> ExactlyOnce<I, P>
    where
        P: Fn(Batch<I>, Transaction) -> Fut + Send + Sync,
        Fut: Future<Output = Result<D, BoxError>> + Send,
        D: Into<Decision> + Send,
    {
        ExactlyOnce { pipeline: self, process }
    }
}

impl<I> fmt::Debug for Pipeline<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("group", &self.group).finish_non_exhaustive()
    }
}

/// A pipeline, ready to run; made by [`Pipeline::process`].
#[must_use = "a pipeline does nothing until it is run"]
pub struct ExactlyOnce<I, P> {
    pipeline: Pipeline<I>,
    process: P,
}

impl<I, P, Fut, D> ExactlyOnce<I, P>
where
    I: Send + 'static,
    P: Fn(Batch<I>, Transaction) -> Fut + Send + Sync,
    Fut: Future<Output = Result<D, BoxError>> + Send,
    D: Into<Decision> + Send,
{
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for settings that contradict each other; the message names both.
    pub fn build(self) -> Result<ReadyPipeline<I, P>, Error> {
        self.build_named().map_err(|error| error.with_operation("build exactly-once pipeline"))
    }

    /// Builds the pipeline and runs it: see [`ReadyPipeline::run_until`].
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`ReadyPipeline::run_until`].
    ///
    /// # Cancel safety
    /// As [`ReadyPipeline::run_until`].
    pub async fn run_until(self, shutdown: impl Future) -> Result<ConsumerReport, Error> {
        self.build()?.run_until(shutdown).await
    }

    /// Runs until something fails.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until).
    ///
    /// # Cancel safety
    /// As [`ReadyPipeline::run_until`].
    pub async fn run(self) -> Result<ConsumerReport, Error> {
        self.run_until(std::future::pending::<()>()).await
    }

    fn build_named(self) -> Result<ReadyPipeline<I, P>, Error> {
        let Self { pipeline, process } = self;
        let zero = [
            ("lanes", pipeline.lanes == 0),
            ("max_records", pipeline.records == 0),
            ("attempts", pipeline.attempts == 0),
            ("transaction_timeout", pipeline.timeout.is_zero()),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, zero)| *zero) {
            return Err(Error::config(format!("{name}: must be more than zero")));
        }
        if pipeline.id.as_deref().is_some_and(str::is_empty) {
            return Err(Error::config("`transactional.id` is empty: transactions need one"));
        }
        let timeout = pipeline.timeout;
        if pipeline.interval * 2 > timeout {
            return Err(Error::config(format!(
                "`commit_interval={:?}` contradicts `transaction.timeout.ms={}`: a transaction would be aborted before it \
                 is committed; half the timeout is the most",
                pipeline.interval,
                timeout.as_millis()
            )));
        }
        let (outlets, inboxes): (Vec<_>, Vec<_>) = (0..pipeline.lanes).map(|_| inbox()).unzip();
        let mut consumer = pipeline.kafka.consumer(pipeline.group.clone());
        if let Some(customize) = pipeline.consumer {
            consumer = customize(consumer);
        }
        let most = consumer.max_poll_interval()?.unwrap_or(DEFAULT_MAX_POLL);
        if timeout > most {
            return Err(Error::config(format!(
                "`transaction.timeout.ms={}` contradicts `max.poll.interval.ms={}`: a transaction would outlive the \
                 membership that its offsets belong to",
                timeout.as_millis(),
                most.as_millis()
            )));
        }
        for source in pipeline.sources {
            consumer = source(consumer, &outlets);
        }
        drop(outlets);
        let consumer = consumer.guarantee(Guarantee::ExactlyOnce).build_named()?;
        let base = pipeline.id.unwrap_or_else(|| made_up(&pipeline.group).into());
        let id = |lane: usize| match pipeline.lanes {
            1 => base.clone(),
            _ => Arc::from(format!("{base}-{lane}")),
        };
        let recipe = |lane| Recipe {
            kafka: pipeline.kafka.clone(),
            id: id(lane),
            timeout,
            customize: pipeline.producer.clone(),
        };
        let recipes: Vec<Recipe> = (0..pipeline.lanes).map(recipe).collect();
        for recipe in &recipes {
            recipe.check()?;
        }
        let pace = Pace {
            interval: pipeline.interval,
            records: pipeline.records,
            // What is left is for the acknowledgements and the commit.
            work: timeout - timeout / 4,
            attempts: pipeline.attempts,
        };
        Ok(ReadyPipeline {
            consumer,
            recipes,
            inboxes,
            pace,
            process,
            dead_letter: pipeline.dead_letter,
            on_undone: pipeline.on_undone,
        })
    }
}

impl<I, P> fmt::Debug for ExactlyOnce<I, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactlyOnce").field("group", &self.pipeline.group).finish_non_exhaustive()
    }
}

/// An id of this run alone.
pub(crate) fn made_up(group: &str) -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    format!("{group}-{random:016x}")
}

/// A pipeline whose settings fit; made by [`ExactlyOnce::build`].
pub struct ReadyPipeline<I, P> {
    consumer: Consumer,
    recipes: Vec<Recipe>,
    inboxes: Vec<Inbox<I>>,
    pace: Pace,
    process: P,
    dead_letter: Option<DeadLetter>,
    on_undone: Option<OnUndone>,
}

impl<I, P, Fut, D> ReadyPipeline<I, P>
where
    I: Send + 'static,
    P: Fn(Batch<I>, Transaction) -> Fut + Send + Sync,
    Fut: Future<Output = Result<D, BoxError>> + Send,
    D: Into<Decision> + Send,
{
    /// A handle, to steer the consumer while it runs and to look inside.
    pub fn handle(&self) -> ConsumerHandle {
        self.consumer.handle()
    }

    /// Joins the group and processes until `shutdown` is ready; then takes no more records, commits what was processed
    /// and leaves the group.
    ///
    /// Transactions that fail are undone and their records read again, also when a broker is away for long, the producer
    /// was too late, or the group has moved partitions meanwhile: none of this is an error here.
    ///
    /// # Errors
    /// When no further try can help: permission is missing, another instance runs under the same `transactional.id`
    /// ([`ErrorKind::Fenced`]), a record cannot be processed and there is no [dead letter](Pipeline::dead_letter).
    ///
    /// # Cancel safety
    /// Dropping the future aborts what is open, in the background; nothing is lost, and nothing counts twice.
    pub async fn run_until(self, shutdown: impl Future) -> Result<ConsumerReport, Error> {
        let Self { consumer, recipes, inboxes, pace, process, dead_letter, on_undone } = self;
        let process = Arc::new(process);
        // Before the group is joined: what a predecessor has left open is aborted by then.
        let engines = try_join_all(recipes.iter().map(Recipe::start)).await.map_err(|ended| ended.error)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let mut consuming = Running(tokio::spawn(consumer.run_until(stopped)));
        let mut sessions = FuturesUnordered::new();
        for ((recipe, engine), inbox) in recipes.into_iter().zip(engines).zip(inboxes) {
            let (process, dead_letter, on_undone) = (process.clone(), dead_letter.clone(), on_undone.clone());
            let session = Session::new(recipe, engine, inbox, pace, process, dead_letter, on_undone);
            // Boxed: the compiler sees here, and not where the user spawns it, that it may go between threads.
            sessions.push(session.run().boxed());
        }
        let mut stop = Some(stop);
        let mut shutdown = std::pin::pin!(shutdown);
        let mut failed = None;
        // Sessions end when the consumer has ended, or by an error, which ends the consumer.
        loop {
            tokio::select! {
                _ = &mut shutdown, if stop.is_some() => drop(stop.take()),
                ended = sessions.next() => match ended {
                    Some(Ok(())) => (),
                    Some(Err(error)) => {
                        failed.get_or_insert(error);
                        drop(stop.take());
                    }
                    None => break,
                },
            }
        }
        let ended = match (&mut consuming.0).await {
            Ok(ended) => ended,
            Err(error) => Err(Error::new(ErrorKind::Panicked, "the consumer's task ended").with_source(error)),
        };
        match failed {
            Some(error) => Err(error.with_operation("process")),
            None => ended,
        }
    }
}

impl<I, P> fmt::Debug for ReadyPipeline<I, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyPipeline").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

/// The consumer's task, ended with the pipeline.
struct Running(tokio::task::JoinHandle<Result<ConsumerReport, Error>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
