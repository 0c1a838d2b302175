//! Members whose handlers fail, and what becomes of the records then.

mod naive;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_client::{
    Concurrency, ConsumerBuilder, Guarantee, HeadersRef, Kafka, Optional, RawReceived, Received, Topic, Utf8,
};
use kafka_dlq::{Backoff, Breaker, Decision, Order as KeyOrder, Recovery, RetryTopic};
use parking_lot::Mutex;

use super::Kind;
use super::copy::transactional_id;
use super::member::{self, entry, member, told};
use crate::chaos::evidence::Evidence;
use crate::chaos::fate::{Fate, Fates, fingerprint};
use crate::chaos::judge::OUTPUT;
use crate::chaos::ledger::{Entry, Pen, Place, What};
use crate::chaos::order::Order;
use crate::chaos::plan::Role;
use crate::harness::oracle::{self, Isolation, Stored};

pub(in crate::chaos) use naive::SENDS_AND_GOES_ON;

/// Where dead letters go.
pub(in crate::chaos) const DEAD: Role = Role { name: "dead", is_read: false };
/// Where records wait for their next attempt; all of them leave it.
pub(in crate::chaos) const RETRY: Role = Role { name: "retry", is_read: true };
/// The same, and some of them stay.
pub(in crate::chaos) const WAITING: Role = Role { name: "retry", is_read: false };

/// What becomes of records whose order is judged.
pub(in crate::chaos) const ORDERED: Fates = Fates { flaky: 12, bad: 2, hopeless: 2, parked: 0 };
/// What becomes of records that are counted.
pub(in crate::chaos) const COUNTED: Fates = Fates { flaky: 10, bad: 8, hopeless: 4, parked: 4 };

/// How often a record is tried that never gets well.
const ATTEMPTS: u32 = 3;

/// Retries on a topic that keeps the order of keys.
pub(in crate::chaos) const KEEPS_ORDER: Kind = Kind {
    name: "keep-order",
    about: "a recovery of ours with a retry topic, `Order::KeepOrder`",
    lives: true,
    run: |order| retries(order, KeyOrder::KeepOrder),
};

/// Retries on a topic where each waits for itself.
pub(in crate::chaos) const UNORDERED: Kind = Kind {
    name: "unordered-retries",
    about: "the same with `Order::Unordered`: later records of a key overtake one that waits",
    lives: false,
    run: |order| retries(order, KeyOrder::Unordered),
};

/// Retries that keep the order of keys, with outputs, hops, dead letters and offsets in one transaction.
pub(in crate::chaos) const IN_TRANSACTIONS: Kind = Kind {
    name: "retries-in-transactions",
    about: "a recovery of ours on a consumer with `Guarantee::ExactlyOnce`",
    lives: true,
    run: |order| with_outputs(order, true),
};

/// The same without transactions.
pub(in crate::chaos) const NO_TRANSACTIONS: Kind = Kind {
    name: "no-transactions",
    about: "the same at least once, with a producer beside",
    lives: false,
    run: |order| with_outputs(order, false),
};

/// Records of all sorts, of which some are put aside and some become dead letters.
pub(in crate::chaos) const RECOVERY: Kind = Kind {
    name: "recovery",
    about: "a recovery of ours with retries, records put aside and dead letters",
    lives: true,
    run: all_sorts,
};

/// Outages are noticed.
pub(in crate::chaos) const BREAKER: Kind = Kind {
    name: "breaker",
    about: "a recovery of ours that tells an outage from bad records",
    lives: true,
    run: |order| through_outages(order, true),
};

/// Every failure is the record's own.
pub(in crate::chaos) const NO_BREAKER: Kind = Kind {
    name: "no-breaker",
    about: "the same without the breaker",
    lives: false,
    run: |order| through_outages(order, false),
};

/// Records that end their process are put away.
pub(in crate::chaos) const QUARANTINE: Kind = Kind {
    name: "quarantine",
    about: "a recovery of ours that recognises records which end their process",
    lives: false,
    run: |order| dies_of_some(order, true),
};

/// Such records are tried again, for ever.
pub(in crate::chaos) const NO_QUARANTINE: Kind = Kind {
    name: "no-quarantine",
    about: "the same without the quarantine",
    lives: false,
    run: |order| dies_of_some(order, false),
};

/// In how many processes a record may be handled that ends them.
pub(in crate::chaos) const DEATHS: u32 = 3;

/// Whether a record ends the process that handles it.
pub(in crate::chaos) fn is_deadly(key: &str, number: &str) -> bool {
    matches!((key, number), ("key-3", "4") | ("key-8", "7"))
}

/// Why a handler fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// For now.
    Busy,
    /// And always will.
    Hopeless,
    Bad,
    Parked,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Trouble {}

const SOON: Backoff = Backoff::fixed(Duration::from_millis(60));

fn decide(trouble: &Trouble) -> Decision {
    match trouble {
        Trouble::Busy => Decision::Retry(SOON.without_limit()),
        Trouble::Hopeless => Decision::Retry(SOON.attempts(ATTEMPTS)),
        Trouble::Bad => Decision::dead_letter("bad"),
        Trouble::Parked => Decision::Park,
    }
}

/// What a handler comes to.
fn outcome(fate: Fate) -> Result<(), Trouble> {
    match fate {
        Fate::Handled => Ok(()),
        // Every other time; how often it fails in a row has no bound.
        Fate::Flaky if fastrand::bool() => Ok(()),
        Fate::Flaky => Err(Trouble::Busy),
        Fate::Hopeless => Err(Trouble::Hopeless),
        Fate::Bad | Fate::Undecodable => Err(Trouble::Bad),
        Fate::Parked => Err(Trouble::Parked),
    }
}

async fn run(member: ConsumerBuilder) -> Result<(), String> {
    member::run(member.build()).await
}

/// How long a record takes: up to 3 ms.
fn takes(offset: i64) -> Duration {
    member::takes(offset, 3)
}

/// Handles numbered records, as `ORDERED` says.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn retries(order: &Order, keys: KeyOrder) -> Result<(), String> {
    let pen = order.pen();
    let handler = move |record: Received<String, String>| {
        let pen = pen.clone();
        async move {
            let fate = ORDERED.of(record.key_bytes(), record.value_bytes());
            numbered(&pen, &record, || outcome(fate)).await
        }
    };
    let recovery = Recovery::by(decide)
        .without_breaker()
        .in_place(1)
        .retry_topic(RetryTopic::new(order.text(RETRY.name)).order(keys))
        .dead_letter(order.text(DEAD.name))
        .wrap(handler);
    let input = Topic::new(order.text("input"), Utf8, Utf8);
    run(member(order).route_concurrent(&input, Concurrency::by_key(8), recovery)).await
}

/// Handles numbered records, as `ORDERED` says, and copies those that it has handled.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn with_outputs(order: &Order, transactions: bool) -> Result<(), String> {
    let (pen, output) = (order.pen(), Topic::new(order.text(OUTPUT.name), Utf8, Utf8));
    let beside = Kafka::connect(order.text("bootstrap")).producer().build().map_err(told)?;
    let handler = move |record: Received<String, String>| {
        let (pen, output, beside) = (pen.clone(), output.clone(), beside.clone());
        async move {
            // Before anybody knows how it will end: what a failed attempt has sent must not count.
            let copy = output.record(record.key(), record.value());
            let early = record.offset() % 2 == 0;
            if transactions && early && record.transaction().send(copy).await.is_err() {
                return Err(Trouble::Busy);
            }
            let fate = ORDERED.of(record.key_bytes(), record.value_bytes());
            numbered(&pen, &record, || outcome(fate)).await?;
            let copy = output.record(record.key(), record.value());
            let sent = match transactions {
                true if early => Ok(()),
                true => record.transaction().send(copy).await,
                false => beside.send(copy).await.map(drop),
            };
            sent.map_err(|_| Trouble::Busy)
        }
    };
    let recovery = Recovery::by(decide)
        .without_breaker()
        .in_place(1)
        .retry_topic(RetryTopic::new(order.text(RETRY.name)))
        .dead_letter(order.text(DEAD.name))
        .wrap(handler);
    let member = member(order);
    let member = match transactions {
        false => member,
        true => member
            .guarantee(Guarantee::ExactlyOnce)
            .transactional_id(transactional_id(order))
            .transaction_timeout(Duration::from_secs(5))
            .transactional_producer(|producer| producer.set("reconnect.backoff.max.ms", "500")),
    };
    let input = Topic::new(order.text("input"), Utf8, Utf8);
    run(member.route_concurrent(&input, Concurrency::by_key(8), recovery)).await
}

/// Writes down how a handler fared with a numbered record.
async fn numbered(
    pen: &Pen,
    record: &Received<String, String>,
    outcome: impl FnOnce() -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    pen.write(entry(record, What::Begin));
    tokio::time::sleep(takes(record.offset())).await;
    let outcome = outcome();
    pen.write(entry(record, if outcome.is_ok() { What::Finish } else { What::Failed }));
    outcome
}

/// Handles records of all sorts, as `COUNTED` says.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn all_sorts(order: &Order) -> Result<(), String> {
    let pen = order.pen();
    let handler = move |record: Received<Option<String>, String>| {
        let pen = pen.clone();
        async move {
            let fate = COUNTED.of(record.key_bytes(), record.value_bytes());
            let got = Got::of(&record);
            pen.write(got.entry(What::Begin));
            tokio::time::sleep(takes(record.offset())).await;
            let outcome = outcome(fate);
            pen.write(got.entry(if outcome.is_ok() { What::Finish } else { What::Failed }));
            outcome
        }
    };
    let recovery = Recovery::by(decide)
        .without_breaker()
        .in_place(1)
        .retry_topic(RetryTopic::new(order.text(RETRY.name)).order(KeyOrder::Unordered))
        .dead_letter(order.text(DEAD.name))
        .wrap(handler);
    run(member(order).route_concurrent(&any_input(order.text("input")), Concurrency::by_key(8), recovery)).await
}

fn any_input(name: &str) -> Topic<Optional<Utf8>, Utf8> {
    Topic::new(name, Optional::new(Utf8), Utf8)
}

/// A record as a handler sees it: where it came from, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chaos) struct Got {
    place: Place,
    print: String,
}

impl Got {
    fn of<K, V>(record: &Received<K, V>) -> Self {
        let place = (record.partition(), record.offset());
        Self::new(place, record.headers(), record.key_bytes(), record.value_bytes(), record.timestamp_ms())
    }

    fn of_raw(record: &RawReceived) -> Self {
        let place = (record.partition(), record.offset());
        Self::new(place, record.headers(), record.key_bytes(), record.value_bytes(), record.timestamp_ms())
    }

    fn new(
        stands: Place,
        headers: HeadersRef<'_>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Option<i64>,
    ) -> Self {
        let number = |name: &str| std::str::from_utf8(headers.last(name)??).ok()?.parse::<i64>().ok();
        let origin = number("dlq.partition").and_then(|partition| i32::try_from(partition).ok());
        let place = match (origin, number("dlq.offset")) {
            (Some(partition), Some(offset)) => (partition, offset),
            _ => stands,
        };
        let headers = headers.iter().map(|header| (header.name_bytes().to_vec(), header.value().map(<[u8]>::to_vec)));
        Self { place, print: print(key, value, headers, timestamp) }
    }

    fn entry(&self, what: What) -> Entry<'_> {
        let (partition, offset) = self.place;
        Entry { what, topic: "", partition, offset, key: "", value: &self.print }
    }
}

/// Tells a record from others: all that its producer has made of it.
fn print(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
) -> String {
    let timestamp = timestamp.map(i64::to_le_bytes);
    let headers: Vec<_> = headers.filter(|(name, _)| !name.starts_with(b"dlq.")).collect();
    let mut parts = vec![timestamp.as_ref().map(<[u8; 8]>::as_slice), key, value];
    for (name, value) in &headers {
        parts.extend([Some(name.as_slice()), value.as_deref()]);
    }
    format!("{:016x}", fingerprint(&parts))
}

/// The print of a record as it is stored; of a copy, without what a recovery has added to it.
pub(in crate::chaos) fn print_of(record: &Stored) -> String {
    let headers = record.headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone()));
    print(record.key.as_deref(), record.value.as_deref(), headers, record.timestamp)
}

/// Handles numbered records, which all fail during an outage, and never at other times.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn through_outages(order: &Order, breaker: bool) -> Result<(), String> {
    let (pen, sign) = (order.pen(), order.clone());
    let handler = move |record: Received<String, String>| {
        let (pen, sign) = (pen.clone(), sign.clone());
        async move { numbered(&pen, &record, || if sign.is_down() { Err(Trouble::Busy) } else { Ok(()) }).await }
    };
    // Half a second in which an outage has to be noticed, or it costs attempts.
    let patient = Backoff::fixed(Duration::from_millis(500)).attempts(ATTEMPTS);
    let recovery = Recovery::by(move |_: &Trouble| Decision::Retry(patient)).in_place(1);
    let recovery = match breaker {
        true => recovery.breaker(Breaker::over_keys(5).probe_every(Duration::from_millis(100))),
        false => recovery.without_breaker(),
    };
    let recovery = recovery
        .retry_topic(RetryTopic::new(order.text(RETRY.name)).order(KeyOrder::Unordered))
        .dead_letter(order.text(DEAD.name))
        .wrap(handler);
    let input = Topic::new(order.text("input"), Utf8, Utf8);
    run(member(order).route_concurrent(&input, Concurrency::by_key(32), recovery)).await
}

/// Handles numbered records, of which some end the process.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn dies_of_some(order: &Order, quarantine: bool) -> Result<(), String> {
    let pen = order.pen();
    let handler = move |record: Received<String, String>| {
        let pen = pen.clone();
        async move {
            let deadly = is_deadly(record.key(), record.value());
            numbered(&pen, &record, || if deadly { std::process::abort() } else { Ok(()) }).await
        }
    };
    let recovery = Recovery::by(decide).dead_letter(order.text(DEAD.name));
    let recovery = if quarantine { recovery.quarantine(DEATHS) } else { recovery };
    let input = Topic::new(order.text("input"), Utf8, Utf8);
    run(member(order).route_concurrent(&input, Concurrency::by_key(8), recovery.wrap(handler))).await
}

/// How long what waits may take to be handed out.
const PATIENCE: Duration = Duration::from_secs(60);

/// Becomes a member of a group that has none any more, handles all that waits on its retry topic, parked or not, and returns
/// what it was given.
pub(in crate::chaos) fn redeem(evidence: &Evidence<'_>) -> Result<BTreeSet<(Place, String)>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let given: Arc<Mutex<BTreeSet<(Place, String)>>> = Arc::default();
    let (to, plan) = (given.clone(), evidence.plan);
    let handler = move |record: Received<Option<String>, String>| {
        let Got { place, print } = Got::of(&record);
        to.lock().insert((place, print));
        async { Ok::<_, Trouble>(()) }
    };
    let topic = |role: &str| evidence.topics.get(role).cloned().unwrap_or_default();
    let retries = RetryTopic::new(topic(WAITING.name)).order(KeyOrder::Unordered);
    let recovery = Recovery::by(decide).without_breaker().retry_topic(retries.clone()).dead_letter(topic(DEAD.name));
    runtime.block_on(async {
        let kafka = Kafka::connect(evidence.bootstrap);
        let member = plan.protocol.member(&kafka, &evidence.group, plan.session);
        let member = member.route(&any_input(&evidence.input_name), recovery.wrap(handler));
        let mut running = member.build().map_err(told)?.spawn();
        let deadline = Instant::now() + PATIENCE;
        loop {
            retries.retry_now();
            tokio::select! {
                ended = &mut running => return Err(format!("the member that is to be given what waits has ended: {ended:?}")),
                () = tokio::time::sleep(Duration::from_millis(200)) => (),
            }
            let asks = (evidence.bootstrap.to_owned(), evidence.group.clone(), topic(WAITING.name));
            let left = tokio::task::spawn_blocking(move || left(&asks.0, &asks.1, &asks.2)).await;
            match left.map_err(|e| e.to_string())? {
                None => break,
                Some(left) if Instant::now() > deadline => return Err(format!("what waits is not handed out: {left}")),
                Some(_) => (),
            }
        }
        running.stop().await.map(drop).map_err(told)
    })?;
    let given = std::mem::take(&mut *given.lock());
    Ok(given)
}

/// What the group has not committed of the topic, if anything.
fn left(bootstrap: &str, group: &str, topic: &str) -> Option<String> {
    // The ends are the later ones: what is written to the topic again, before it is committed, counts.
    let committed = oracle::committed(bootstrap, group, topic);
    let ends = oracle::end_offsets_as(bootstrap, topic, Isolation::ReadUncommitted);
    let ends: BTreeMap<_, _> = ends.into_iter().filter(|(_, end)| *end > 0).collect();
    (committed != ends).then(|| format!("{committed:?} of {ends:?} is committed"))
}
