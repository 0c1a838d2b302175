//! From a builder to a consumer: what contradicts itself is refused, what was not set is decided.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{ConsumerBuilder, Transactional};
use crate::config::{self, Settings};
use crate::consumer::control::{Parts, channel};
use crate::consumer::exposure::Exposure;
use crate::consumer::guarantee::Guarantee;
use crate::consumer::handle::ConsumerHandle;
use crate::consumer::interceptor::Interceptors;
use crate::consumer::lane::LaneSettings;
use crate::consumer::metrics::Metrics;
use crate::consumer::outbox::Outbox;
use crate::consumer::router::Routes;
use crate::consumer::run::Consumer;
use crate::consumer::state::Shared;
use crate::consumer::transacting::Plan;
use crate::consumer::watchdog::{Limit, OnStuck};
use crate::error::Error;
use crate::kafka::Kafka;
use crate::native::{Client, Role};
use crate::partition::TopicPartition;
use crate::transaction::{Customize, Recipe, made_up};

/// How often offsets are committed, unless set.
const DEFAULT_COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long handlers may take to end when partitions move or the consumer ends, unless set.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// `max.poll.interval.ms`, unless set: Kafka's default.
const DEFAULT_MAX_POLL_INTERVAL: u64 = 300_000;
/// How often a member asks whether partitions are to move, unless set: the defaults of the classic protocol, and of a
/// broker for `group.protocol=consumer`.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(3);
const DEFAULT_HEARTBEAT_OF_BROKER: Duration = Duration::from_secs(5);
/// What the answer after the drain may take.
const AFTER_DRAIN: Duration = Duration::from_secs(1);
/// How many bytes they may have, unless set.
const DEFAULT_BUFFERED_BYTES: usize = 16 << 20;
/// After how many finished records of a partition a commit does not wait for its interval, unless set.
const DEFAULT_COMMIT_RECORDS: u64 = 100_000;
/// How often a transaction is committed, unless set.
const DEFAULT_TRANSACTION_INTERVAL: Duration = Duration::from_millis(100);
/// After how many finished records of a partition one does not wait for its interval, unless set.
const DEFAULT_TRANSACTION_RECORDS: u64 = 10_000;
/// `transaction.timeout.ms`, unless set. Short, since others wait that long for what a killed process has left open.
const DEFAULT_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How many bytes of results wait for a transaction, about.
const MOST_RESULT_BYTES: usize = 32 << 20;
/// `message.max.bytes`, unless set: librdkafka's default.
const DEFAULT_MESSAGE_BYTES: usize = 1_000_000;
/// What a dead letter may have beside its record, whose size a consumer that only copies it must not be refused for.
const ROOM_FOR_HEADERS: usize = 64 << 10;
/// How long the session of a static member lasts, unless set.
const DEFAULT_SESSION: Duration = Duration::from_secs(45);

#[derive(Clone, Debug)]
pub(in crate::consumer) struct Options {
    pub(in crate::consumer) guarantee: Guarantee,
    pub(in crate::consumer) commit_interval: Duration,
    pub(in crate::consumer) drain_timeout: Duration,
    pub(in crate::consumer) watchdog: Limit,
    /// Partitions that were assigned by hand.
    pub(in crate::consumer) assigned: Option<Vec<TopicPartition>>,
    /// Whether a partition without a committed offset is an error, unless the listener says where to start.
    pub(in crate::consumer) start_fails: bool,
    /// How long a static member may take to come back.
    pub(in crate::consumer) session: Duration,
}

impl ConsumerBuilder {
    pub(crate) fn build_named(mut self) -> Result<Consumer, Error> {
        if let (Guarantee::AtMostOnce, Some(route)) =
            (self.guarantee, self.routes.iter().find(|route| route.holds_records()))
        {
            let topic = route.topic();
            return Err(Error::config(format!(
                "`guarantee=at-most-once` contradicts `route_scheduled({topic})`: records that wait would be committed before"
            )));
        }
        if let (false, Some(name)) = (self.guarantee == Guarantee::ExactlyOnce, self.transactions.first_set()) {
            return Err(Error::config(format!("`{name}` is for `guarantee=exactly-once`, which is not set")));
        }
        let routes = Routes::new(std::mem::take(&mut self.routes))?;
        if self.settings.get("group.id").is_none_or(str::is_empty) {
            return Err(Error::config("`group.id` is empty: a consumer needs a group"));
        }
        for partition in self.assigned.iter().flatten() {
            if routes.find(partition.topic()).is_none() {
                return Err(Error::config(format!("assign: partition {partition} has no route")));
            }
        }
        if self.assigned.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::config("assign: no partition is named"));
        }
        let options = self.options()?;
        self.positive()?;
        let settings = &mut self.settings;
        let guarantee = match self.guarantee {
            Guarantee::AtLeastOnce => "`guarantee=at-least-once`: offsets are committed when records are finished",
            Guarantee::AtMostOnce => "`guarantee=at-most-once`: offsets are committed before records are handled",
            Guarantee::ExactlyOnce => "`guarantee=exactly-once`: offsets are committed in transactions",
        };
        if self.guarantee == Guarantee::ExactlyOnce {
            if self.assigned.is_some() {
                let text = "`assign` contradicts `guarantee=exactly-once`: only a member of the group is told from a former one";
                return Err(Error::config(text));
            }
            settings.force("isolation.level", "read_committed", guarantee)?;
        }
        settings.force("enable.auto.commit", "false", guarantee)?;
        settings.force("enable.auto.offset.store", "false", guarantee)?;
        settings.default("auto.offset.reset", "earliest");
        let max_bytes = self.max_buffered_bytes.unwrap_or(DEFAULT_BUFFERED_BYTES);
        settings.default("queued.max.messages.kbytes", max_bytes.div_ceil(1024).max(1).to_string());
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
        let commit_soon = Arc::new(Notify::new());
        let transactions = match self.guarantee {
            // Those of sessions have their own.
            Guarantee::ExactlyOnce if !routes.are_for_sessions()? => {
                Some(self.transactions.plan(&self.kafka, &self.settings, commit_soon.clone())?)
            }
            _ => None,
        };
        let exposure = Exposure::new(self.max_exposure);
        let (requests, inbox, clock) = channel();
        let (handle, commands) = ConsumerHandle::new(exposure.clone(), self.attached);
        let at_most_once = self.guarantee == Guarantee::AtMostOnce;
        let settings = LaneSettings {
            requests,
            guarantee: self.guarantee,
            max_batch_records: self.max_batch_records.min(self.max_exposure.unwrap_or(usize::MAX)),
            max_records: self.max_buffered_records,
            max_bytes,
            max_exposed: self.max_exposure.unwrap_or(usize::MAX),
            failed_records: self.failed_records,
            interceptors: Interceptors::new(self.interceptors),
            clock,
        };
        let commit_every = match transactions {
            Some(_) => self.commit_records.unwrap_or(DEFAULT_TRANSACTION_RECORDS),
            None => self.commit_records.unwrap_or(DEFAULT_COMMIT_RECORDS),
        };
        let outbox = transactions.as_ref().map(|plan| plan.outbox.clone());
        let shared = Shared { exposure, commit_soon, commit_every, at_most_once, outbox, floor: Arc::default() };
        let group = self.settings.get("group.id").unwrap_or_default();
        let parts = Parts {
            routes,
            listener: self.listener,
            options,
            settings,
            shared: Arc::new(shared),
            status: handle.status().clone(),
            metrics: Metrics::new(Arc::from(group)),
            transactions,
        };
        Ok(Consumer {
            client,
            kafka: self.kafka,
            native: self.settings,
            parts,
            inbox,
            commands,
            handle,
            before_start: Mutex::new(self.before_start),
        })
    }

    /// Settings that mean nothing when they are zero.
    fn positive(&self) -> Result<(), Error> {
        let zero = [
            ("max_batch_records", self.max_batch_records == 0),
            ("max_buffered_records", self.max_buffered_records == 0),
            ("max_buffered_bytes", self.max_buffered_bytes == Some(0)),
            ("max_duplicate_exposure", self.max_exposure == Some(0)),
            ("commit_records", self.commit_records == Some(0)),
            ("handler_limit", self.handler_limit.is_some_and(|limit| limit.limit.is_zero())),
            ("concurrency", self.routes.iter().any(|route| route.width() == 0)),
        ];
        match zero.iter().find(|(_, zero)| *zero) {
            Some((name, _)) => Err(Error::config(format!("{name}: must be more than zero"))),
            None => Ok(()),
        }
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
        let answer = AFTER_DRAIN.min(Duration::from_millis(max_poll) / 10);
        let most = Duration::from_millis(max_poll).saturating_sub(heartbeat + answer);
        if most.is_zero() {
            return Err(Error::config(format!(
                "`max.poll.interval.ms={max_poll}` leaves no time to finish records when partitions move: a member hears of \
                 it up to {heartbeat:?} late"
            )));
        }
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
        let usual = match self.guarantee {
            Guarantee::ExactlyOnce => DEFAULT_TRANSACTION_INTERVAL,
            _ => DEFAULT_COMMIT_INTERVAL,
        };
        let commit_interval = self.commit_interval.or(commit_interval).unwrap_or(usual);
        if commit_interval.is_zero() {
            return Err(Error::config("auto.commit.interval.ms: must be more than zero"));
        }
        let session = settings.number::<u64>("session.timeout.ms")?.map_or(DEFAULT_SESSION, Duration::from_millis);
        let watchdog =
            self.handler_limit.unwrap_or(Limit { limit: Duration::from_millis(max_poll), then: OnStuck::Warn });
        Ok(Options {
            guarantee: self.guarantee,
            commit_interval,
            drain_timeout,
            watchdog,
            assigned: self.assigned.clone(),
            start_fails: settings.get("auto.offset.reset").is_some_and(|reset| reset.eq_ignore_ascii_case("error")),
            session,
        })
    }
}

impl Transactional {
    /// # Errors
    /// For settings that contradict each other.
    fn plan(self, kafka: &Kafka, settings: &Settings, commit_soon: Arc<Notify>) -> Result<Plan, Error> {
        let timeout = self.timeout.unwrap_or(DEFAULT_TRANSACTION_TIMEOUT);
        if timeout.is_zero() {
            return Err(Error::config("transaction_timeout: must be more than zero"));
        }
        if self.id.as_deref().is_some_and(str::is_empty) {
            return Err(Error::config("`transactional.id` is empty: transactions need one"));
        }
        let most = settings.number::<usize>("message.max.bytes")?.unwrap_or(DEFAULT_MESSAGE_BYTES) + ROOM_FOR_HEADERS;
        let id = self.id.unwrap_or_else(|| made_up(settings.get("group.id").unwrap_or_default()).into());
        let customize: Customize = Arc::new(move |mut builder| {
            builder.settings().default("message.max.bytes", most.to_string());
            match &self.producer {
                Some(customize) => customize(builder),
                None => builder,
            }
        });
        let recipe = Recipe { kafka: kafka.clone(), id, timeout, customize: Some(customize) };
        let most = recipe.check()?.unwrap_or(DEFAULT_MESSAGE_BYTES);
        Ok(Plan { recipe, outbox: Outbox::new(MOST_RESULT_BYTES, most, commit_soon) })
    }

    fn first_set(&self) -> Option<&'static str> {
        let set = [
            ("transactional_id", self.id.is_some()),
            ("transaction_timeout", self.timeout.is_some()),
            ("transactional_producer", self.producer.is_some()),
        ];
        set.iter().find(|(_, set)| *set).map(|(name, _)| *name)
    }
}
