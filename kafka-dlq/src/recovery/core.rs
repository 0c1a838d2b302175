//! What a recovery knows and does, whatever the types of its topic and its handler.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kafka_client::{AtRisk, BoxError, Completion, ConsumerBuilder, GivenBack, RawReceived};
use metrics::Counter;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::in_place::InPlace;
use super::letter::{headers_with_room, standing};
use super::tally::Tally;
use super::writer::Writer;
use super::{Settings, start};
use crate::Order;
use crate::breaker::Circuit;
use crate::budget::Account;
use crate::dialect::ours;
use crate::retry_topic::RetryTopic;
use crate::retry_topic::gate::{Gate, InTransit, key_of};
use crate::retry_topic::hop::Hop;

pub(crate) struct Core {
    pub(crate) source: String,
    pub(crate) group: String,
    pub(crate) settings: Settings,
    pub(crate) writer: Arc<Writer>,
    pub(crate) tally: Tally,
    pub(super) processed: OnceLock<Counter>,
    pub(super) circuit: Option<Mutex<Circuit>>,
    /// Whether the circuit is open: looked at for each record.
    pub(super) open: AtomicBool,
    pub(super) closed: Notify,
    pub(super) successes: AtomicU64,
    pub(super) budget: Option<Mutex<Account>>,
    /// Records that wait for their next attempt where they are.
    pub(crate) in_place: InPlace,
    /// How many partitions the two topics have; 0 while not known.
    pub(crate) dead_letter_partitions: AtomicI32,
    pub(crate) retry_partitions: AtomicI32,
    /// How old a dead letter may be, in milliseconds, before its topic deletes it at once; -1 for any age.
    pub(crate) retention_ms: AtomicI64,
    /// How old, and how far ahead, a timestamp may be for the brokers of both topics, in milliseconds.
    pub(crate) timestamp_before_ms: AtomicI64,
    pub(crate) timestamp_after_ms: AtomicI64,
}

impl Core {
    /// Sets up what does not depend on types. `unordered`: the route begins records of one key at the same time, though
    /// their order is to be kept.
    pub(crate) fn join(
        builder: ConsumerBuilder,
        source: &str,
        settings: Settings,
        unordered: bool,
    ) -> (ConsumerBuilder, Arc<Self>) {
        let now = Instant::now();
        let tally = Tally::new(builder.group(), source);
        let core = Arc::new(Self {
            source: source.to_owned(),
            group: builder.group().to_owned(),
            circuit: settings.breaker.map(|breaker| Mutex::new(Circuit::new(breaker, now))),
            budget: settings.budget.map(|budget| Mutex::new(Account::new(budget, now))),
            writer: Arc::new(Writer::new(tally.clone(), start::producer(&builder, &settings))),
            settings,
            tally,
            processed: OnceLock::new(),
            open: AtomicBool::new(false),
            closed: Notify::new(),
            successes: AtomicU64::new(0),
            in_place: InPlace::default(),
            dead_letter_partitions: AtomicI32::new(0),
            retry_partitions: AtomicI32::new(0),
            retention_ms: AtomicI64::new(-1),
            timestamp_before_ms: AtomicI64::new(i64::MAX),
            timestamp_after_ms: AtomicI64::new(i64::MAX),
        });
        let plan = start::Plan::new(&builder, unordered);
        let starting = core.clone();
        let builder = builder.before_start(async move {
            let _ = starting.processed.set(starting.tally.processed());
            plan.carry_out(&starting).await
        });
        (builder.attach(core.clone()), core)
    }

    pub(crate) fn retry_topic(&self) -> Option<RetryTopic> {
        self.settings.retry_topic.clone()
    }

    pub(crate) fn has_dead_letters(&self) -> bool {
        self.settings.dead_letter.is_some()
    }

    /// The gate and the key of a record of the source, where keys keep an order.
    pub(crate) fn ordered(&self, record: &RawReceived) -> Option<(Arc<Gate>, u64)> {
        let retries = self.settings.retry_topic.as_ref().filter(|topic| topic.kind() != Order::Unordered)?;
        let key = key_of(&self.source, record.key_bytes()?);
        Some((retries.gate(record.partition()), key))
    }

    /// Whether records of the source have to ask for the [turn of their key](Self::turn_of_key).
    #[inline]
    pub(crate) fn orders_keys(&self) -> bool {
        self.settings.keeps_order()
    }

    /// Whether records that end their process are recognised.
    #[inline]
    pub(crate) fn quarantines(&self) -> bool {
        self.settings.quarantine.is_some()
    }

    /// Before a record of the source is tried: its turn, as far as its key is concerned. `Some`: it was sent behind another
    /// one of its key.
    pub(crate) async fn turn_of_key(&self, record: &RawReceived) -> Result<Option<Completion>, BoxError> {
        let Some((gate, key)) = self.ordered(record) else { return Ok(None) };
        gate.loaded(record).await?;
        match self.settings.retry_topic.as_ref().map(RetryTopic::kind) {
            Some(Order::KeepOrder) if gate.line.lock().is_blocked(key) => {
                let transit = InTransit::begin(&gate, key, record.offset());
                let mut headers = headers_with_room(record);
                ours::write(&standing(record), &mut headers);
                Hop::write(&mut headers, 0, record.offset(), &self.source);
                Box::pin(self.hop(record, headers, Some(transit))).await.map(Some)
            }
            Some(Order::LatestWins) => {
                gate.supersede(record, key).await?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Before a record is handled that may end the process.
    pub(crate) async fn at_risk(&self, record: &RawReceived) -> Result<Option<AtRisk>, GivenBack> {
        match self.settings.quarantine {
            Some(_) => Box::pin(record.at_risk()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether an earlier process may have died of one of these.
    pub(crate) fn has_suspects(&self, records: &[RawReceived]) -> bool {
        self.quarantines() && records.iter().any(|record| record.deaths() > 0)
    }
}

/// How long the rest of a suspect's work counts as handling it, at most: it may wait for another record.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// A handler has returned: what is left to do for a suspect is watched, too.
pub(crate) async fn watched(
    record: &RawReceived,
    completion: Completion,
    risk: AtRisk,
) -> Result<Completion, BoxError> {
    match risk.is_alone() && !completion.is_unfinished() {
        true => Box::pin(rest_watched(record, completion, risk)).await,
        false => Ok(completion),
    }
}

async fn rest_watched(record: &RawReceived, completion: Completion, risk: AtRisk) -> Result<Completion, BoxError> {
    let mut rest = Box::pin(completion.finished());
    tokio::select! {
        biased;
        ended = &mut rest => return ended.map(|()| Completion::done()),
        () = tokio::time::sleep(LONGEST_REST) => (),
        () = record.stopping() => (),
    }
    drop(risk);
    Ok(Completion::later(rest))
}
