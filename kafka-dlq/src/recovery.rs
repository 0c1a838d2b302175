//! The wrapper around a handler that decides what becomes of records that fail.
//!
//! ```text
//!   record ─▶ decode ─▶ handler ─▶ done
//!               │          │ error ─▶ policy ─▶ again, in place: its key (or partition) waits, the others go on
//!               │          │                ├─▶ retry topic ┐
//!               │          │                ├─▶ dead letter ┴─▶ written: the offset waits, the consumer goes on
//!               │          │                ├─▶ skipped: counted
//!               │          │                └─▶ stop
//!               └─ undecodable ─▶ the same, with its bytes
//! ```

pub(crate) mod core;
mod failed;
mod fault;
pub(crate) mod in_place;
mod letter;
mod many;
mod one;
mod outage;
mod start;
mod tally;
mod tries;
mod writer;

use std::fmt;
use std::sync::Arc;

use kafka_client::serde::Deserializer;
use kafka_client::{
    BatchRouteHandler, Batching, Concurrency, ConsumerBuilder, Handler, Producer, Received, RouteHandler, Topic,
};

use self::core::Core;
use self::many::Many;
use self::one::One;
use crate::breaker::Breaker;
use crate::budget::Budget;
use crate::policy::{Always, Decision, Named, Policy};
use crate::retry_topic::RetryTopic;
use crate::{Backoff, Order};

/// How many retries are made in place before the retry topic is used, unless set.
const DEFAULT_IN_PLACE: u32 = 3;
/// How many different keys have to fail before that counts as an outage, unless set.
const DEFAULT_KEYS: usize = 10;

/// What becomes of records whose handler fails, or that cannot be decoded: they are tried again, dead-lettered, skipped, or
/// end the consumer. Wraps a handler, and goes where the handler would go.
///
/// ```
/// use std::time::Duration;
/// use kafka_client::{Json, Kafka, Received, Topic, Utf8};
/// use kafka_dlq::{Backoff, Decision, Recovery, RetryTopic};
/// # use kafka_client::Error;
///
/// #[derive(Debug)]
/// enum ChargeError { Declined, Busy }
/// # impl std::fmt::Display for ChargeError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
/// # impl std::error::Error for ChargeError {}
/// # async fn charge(order: Received<String, String>) -> Result<(), ChargeError> { Ok(()) }
/// # fn main() -> Result<(), Error> {
/// # let kafka = Kafka::embedded()?;
/// const SOON: Backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(600)).attempts(12);
/// let orders = Topic::new("orders", Utf8, Utf8);
/// let recovery = Recovery::by(|error: &ChargeError| match error {
///     ChargeError::Busy => Decision::Retry(SOON),
///     ChargeError::Declined => Decision::dead_letter("declined"),
/// });
/// let consumer = kafka
///     .consumer("billing")
///     .route(&orders, recovery.retry_topic(RetryTopic::new("billing.retry")).dead_letter("orders.dlq").wrap(charge))
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # What it promises
/// - A record is finished when it was handled, or when the broker has acknowledged its dead letter or its copy on the retry
///   topic, or when the policy has skipped it. If these cannot be written, the partition holds, an error is logged and
///   counted, and nothing is skipped.
/// - A dead letter has the record's key, value, headers (order, duplicates and nulls included) and timestamp, and headers that
///   say why, where and when.
/// - An outage (failures spread over many keys: see [`breaker`](Self::breaker)) costs no attempts. An outage of a schema
///   registry is waited out.
///
/// A record of the retry topic has that topic's coordinates; the headers `dlq.topic`, `dlq.partition` and `dlq.offset` have
/// the original ones.
///
/// # Exactly once
/// On a consumer with [`Guarantee::ExactlyOnce`](kafka_client::Guarantee::ExactlyOnce), what a handler sends through its
/// record's [`transaction`](kafka_client::Received::transaction), dead letters, hops to the retry topic and offsets are in one
/// transaction. What an attempt sent that failed does not count, and [`Order::KeepOrder`] has no window left.
///
/// What fails after the handler has returned (its [`Completion`](kafka_client::Completion)) is not recovered.
#[must_use = "a recovery does nothing until it wraps a handler"]
pub struct Recovery<P> {
    policy: P,
    settings: Settings,
}

#[derive(Clone)]
pub(crate) struct Settings {
    in_place: Option<u32>,
    dead_letter: Option<String>,
    dialect: Dialect,
    retry_topic: Option<RetryTopic>,
    budget: Option<Budget>,
    breaker: Option<Breaker>,
    undecodable: Option<Decision>,
    quarantine: Option<u32>,
    creates_topics: bool,
    producer: Option<Producer>,
}

/// The headers in which a dead letter says what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Our own: [`dialect::ours`](crate::dialect::ours). The default.
    #[default]
    Ours,
    /// Spring Kafka's: [`dialect::spring`](crate::dialect::spring).
    Spring,
    /// Kafka Connect's: [`dialect::connect`](crate::dialect::connect).
    Connect,
}

impl<P> Recovery<P> {
    fn new(policy: P) -> Self {
        let settings = Settings {
            in_place: None,
            dead_letter: None,
            dialect: Dialect::default(),
            retry_topic: None,
            budget: None,
            breaker: Some(Breaker::over_keys(DEFAULT_KEYS)),
            undecodable: None,
            quarantine: None,
            creates_topics: true,
            producer: None,
        };
        Self { policy, settings }
    }

    /// Decides by the handler's own error. With a `match` over its variants, one that nobody has decided on does not compile.
    pub fn by<E>(policy: P) -> Self
    where
        P: Fn(&E) -> Decision + Send + Sync + 'static,
    {
        Self::new(policy)
    }

    /// Sets where dead letters go. Without it, a record that would become one ends the consumer.
    ///
    /// The topic is created when the consumer starts, with as many partitions as the source and unlimited retention; one
    /// that exists must not be compacted. A dead letter keeps its partition number where it can.
    pub fn dead_letter(mut self, topic: impl Into<String>) -> Self {
        self.settings.dead_letter = Some(topic.into());
        self
    }

    /// Sets the headers of dead letters, overriding the default of our own dialect.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.settings.dialect = dialect;
        self
    }

    /// Sets the topic on which records wait that were tried in place without success. Without it all retries are made in
    /// place.
    pub fn retry_topic(mut self, topic: RetryTopic) -> Self {
        self.settings.retry_topic = Some(topic);
        self
    }

    /// Sets how many retries are made in place before the retry topic is used, overriding the default of 3. A record that is
    /// tried in place holds up its key, or its partition, as the route's [`Concurrency`] says.
    pub fn in_place(mut self, retries: u32) -> Self {
        self.settings.in_place = Some(retries);
        self
    }

    /// Sets which share of the traffic retries may be, overriding the default of no such limit. A retry beyond it waits.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// Sets when failures count as an outage, overriding the default of 10 different keys within 10 s and half of the calls.
    /// While it lasts nothing is taken, one record at a time is tried, no attempt counts and nothing is dead-lettered. A record
    /// whose attempts are used up is not dead-lettered before another one was handled, or a second has passed: it may be
    /// among the first that an outage makes fail.
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.settings.breaker = Some(breaker);
        self
    }

    /// Lets no failures count as an outage.
    pub fn without_breaker(mut self) -> Self {
        self.settings.breaker = None;
        self
    }

    /// Sets what becomes of records that cannot be decoded, overriding the default of a dead letter with the reason `decode`.
    /// Trying them again helps nobody: a [`Decision::Retry`] counts as the default.
    pub fn undecodable(mut self, decision: Decision) -> Self {
        self.settings.undecodable = Some(decision);
        self
    }

    /// Recognises records that end their process (an abort, a stack overflow, a kill for too much memory), and dead-letters
    /// them unexecuted, with the reason `quarantine`, when so many processes in a row have died of them: 3 is a good number,
    /// 2 the least, 255 the most. Without it such a record is tried again after each restart, for ever.
    ///
    /// Which records are being handled is said, ahead of time, in the metadata of the offset commits; on the normal road
    /// that costs no commit but one for the first record of a partition. When a process dies, all records that it may have
    /// been handling are suspects, which count one death. After the restart each suspect is handled alone (no other record
    /// of the consumer meanwhile) after a commit that names it; each further death counts for the one that was named. A
    /// suspect whose handler returns, whatever it returns, is none any more. So a record that is innocent becomes a dead
    /// letter only if somebody kills the process as many times in a row, less one, while that very record is being handled
    /// alone, or in the 0.1 s after. A member that is lost to its group counts as dead, and so does
    /// a consumer whose future is dropped.
    ///
    /// Suspects cost a round trip to the broker each: after a kill as many as are handled in about two commit intervals. It
    /// needs [`dead_letter`](Self::dead_letter). At most once it does nothing, since nothing is handled twice.
    ///
    /// What runs after the handler has returned (its [`Completion`](kafka_client::Completion)) counts as handling for 5 s.
    /// Handlers must not wait for each other: while a suspect is handled, the others wait.
    pub fn quarantine(mut self, deaths: u32) -> Self {
        self.settings.quarantine = Some(deaths);
        self
    }

    /// Leaves missing topics missing: the consumer then does not start, and its error has the command that would create them.
    pub fn without_creating_topics(mut self) -> Self {
        self.settings.creates_topics = false;
        self
    }

    /// Sets the producer for dead letters and retries, overriding the default of one of its own.
    pub fn producer(mut self, producer: &Producer) -> Self {
        self.settings.producer = Some(producer.clone());
        self
    }

    /// For handlers of batches: sets how an error names the record that it is about, by its index in the batch, so that no
    /// search is needed.
    pub fn index<E, I>(self, index: I) -> Recovery<Named<P, I>>
    where
        I: Fn(&E) -> Option<usize> + Send + Sync + 'static,
    {
        Recovery { policy: Named { policy: self.policy, index }, settings: self.settings }
    }

    /// Wraps a handler, of records or of batches.
    pub fn wrap<H>(self, handler: H) -> Recovered<P, H> {
        Recovered { recovery: self, handler }
    }
}

impl Recovery<Always> {
    /// Tries every record again, whatever the error.
    pub fn retry(backoff: Backoff) -> Self {
        Self::new(Always(Decision::Retry(backoff)))
    }

    /// The same for every error.
    pub fn always(decision: Decision) -> Self {
        Self::new(Always(decision))
    }
}

impl<P> fmt::Debug for Recovery<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("dead_letter", &self.settings.dead_letter)
            .field("retry_topic", &self.settings.retry_topic)
            .finish_non_exhaustive()
    }
}

/// A handler with its [`Recovery`]: give it to [`ConsumerBuilder::route`] and its siblings.
pub struct Recovered<P, H> {
    recovery: Recovery<P>,
    handler: H,
}

impl<P, H> fmt::Debug for Recovered<P, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovered").field("recovery", &self.recovery).finish_non_exhaustive()
    }
}

impl<K, V, P, H> RouteHandler<K, V> for Recovered<P, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Received<K::Output, V::Output>>,
    P: Policy<H::Error>,
{
    fn join(self, builder: ConsumerBuilder, topic: &Topic<K, V>, concurrency: Concurrency) -> ConsumerBuilder {
        let settings = self.recovery.settings;
        let unordered = !concurrency.keeps_key_order() && settings.keeps_order();
        let (builder, core) = Core::join(builder, topic.name(), settings, unordered);
        let one = Arc::new(One { core, topic: topic.clone(), policy: self.recovery.policy, handler: self.handler });
        let builder = match one.core.retry_topic() {
            Some(retries) => retries.join(builder, topic.name(), one.clone()),
            None => builder,
        };
        builder.route_undecoded(topic.name(), concurrency, one::Source(one))
    }
}

impl<K, V, P, H> BatchRouteHandler<K, V> for Recovered<P, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Vec<Received<K::Output, V::Output>>>,
    P: Policy<H::Error>,
{
    fn join(self, builder: ConsumerBuilder, topic: &Topic<K, V>, batching: Option<Batching>) -> ConsumerBuilder {
        let (builder, core) = Core::join(builder, topic.name(), self.recovery.settings, false);
        let many = Arc::new(Many { core, topic: topic.clone(), policy: self.recovery.policy, handler: self.handler });
        let builder = match many.core.retry_topic() {
            Some(retries) => retries.join(builder, topic.name(), many.clone()),
            None => builder,
        };
        builder.route_batch_undecoded(topic.name(), batching, many::Source(many))
    }
}

impl Settings {
    fn keeps_order(&self) -> bool {
        self.retry_topic.as_ref().is_some_and(|topic| topic.kind() != Order::Unordered)
    }

    fn in_place(&self) -> u32 {
        self.in_place.unwrap_or(DEFAULT_IN_PLACE)
    }
}
