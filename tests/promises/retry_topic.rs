//! The retry topic: never early, in the order of keys where that is asked for, through restarts and rebalances.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{Assignor, Concurrency, ConsumerBuilder, GroupProtocol, Kafka, Received};
use kafka_dlq::{Backoff, Decision, Order, Recovery, RetryTopic};
use parking_lot::Mutex;
use tests::harness::{eventually, unique};

use crate::given::{self, Lines};
use crate::group::{Member, SOON, Taken, committed_of, quick};
use crate::recovery::{Trouble, all_committed, header, send, stored};

/// How often each record was tried, and in which order they were handled.
#[derive(Clone, Default)]
struct Ledger {
    tried: Arc<Mutex<HashMap<u32, u32>>>,
    handled: Arc<Mutex<Vec<u32>>>,
}

impl Ledger {
    /// Tries a record, which gets well after so many failures.
    fn attempt(&self, n: u32, failures: u32) -> Result<(), Trouble> {
        let mut tried = self.tried.lock();
        let times = tried.entry(n).or_default();
        *times += 1;
        if *times <= failures {
            return Err(Trouble::Busy);
        }
        drop(tried);
        self.handled.lock().push(n);
        Ok(())
    }

    fn handled(&self) -> Vec<u32> {
        self.handled.lock().clone()
    }

    /// The records of each key, as they were handled for the first time.
    fn by_key(&self, keys: u32) -> BTreeMap<u32, Vec<u32>> {
        let (mut seen, mut by_key) = (BTreeSet::new(), BTreeMap::<u32, Vec<u32>>::new());
        for n in self.handled() {
            if seen.insert(n) {
                by_key.entry(n % keys).or_default().push(n);
            }
        }
        by_key
    }

    fn inversions(&self, keys: u32) -> usize {
        self.by_key(keys).values().flat_map(|of_key| of_key.windows(2)).filter(|pair| pair[0] > pair[1]).count()
    }
}

/// A member whose handler fails for a while with every seventh record.
fn member(kafka: &Kafka, group: &str, source: &Lines, recovery: RetryTopic, ledger: &Ledger) -> ConsumerBuilder {
    let ledger = ledger.clone();
    let handler = move |record: Received<String, String>| {
        let n: u32 = record.value().parse().unwrap();
        let outcome = ledger.attempt(n, if n.is_multiple_of(7) { 1 + n % 5 } else { 0 });
        async { outcome }
    };
    let backoff = Backoff::exponential(Duration::from_millis(30), Duration::from_millis(200)).attempts(20);
    let recovery = Recovery::retry(backoff).in_place(1).retry_topic(recovery).dead_letter(format!("{group}.dlq"));
    quick(kafka, group).route_concurrent(source, Concurrency::by_key(16), recovery.wrap(handler))
}

#[tokio::test]
async fn a_key_keeps_its_order_through_retries_restarts_and_rebalances() {
    const KEYS: u32 = 20;
    const RECORDS: u32 = 1_200;
    let (kafka, source, group) = (given::kafka(), given::topic("order", 3), unique("order"));
    let (topic, ledger) = (unique("order.retry"), Ledger::default());
    let start = || Member::start(member(&kafka, &group, &source, RetryTopic::new(&topic), &ledger));
    let first = start();
    let mut others = Vec::new();
    for part in 0..6 {
        let records = part * RECORDS / 6..(part + 1) * RECORDS / 6;
        send(&kafka, records.map(|n| given::raw(&source, n % KEYS, n))).await;
        let before = ledger.handled().len();
        match part {
            1 | 2 => others.push(start()),
            // In good order, and by a death of which nobody hears before its session ends.
            3 => drop(others.pop().unwrap().stop().await),
            4 => others.pop().unwrap().drop_it().await,
            _ => (),
        }
        eventually("it goes on", SOON, async || ledger.handled().len() >= before + 20).await;
    }
    eventually("all are handled", SOON * 2, async || {
        ledger.handled().into_iter().collect::<BTreeSet<_>>().len() == RECORDS as usize
    })
    .await;
    all_committed(&group, source.name()).await;
    all_committed(&group, &topic).await;
    first.stop().await;
    assert_eq!(ledger.inversions(KEYS), 0);
    let waited = stored(&topic).len();
    assert!(waited > RECORDS as usize / 10, "{waited} records went through the retry topic");
    assert_eq!(stored(&format!("{group}.dlq")).len(), 0);
}

/// The control: without an order, the same run has inversions.
#[tokio::test]
async fn without_an_order_later_records_of_a_key_overtake() {
    const KEYS: u32 = 20;
    let (kafka, source, group) = (given::kafka(), given::topic("any", 3), unique("any"));
    let (topic, ledger) = (unique("any.retry"), Ledger::default());
    send(&kafka, (0..600).map(|n| given::raw(&source, n % KEYS, n))).await;
    let retries = RetryTopic::new(&topic).order(Order::Unordered);
    let running = Member::start(member(&kafka, &group, &source, retries, &ledger));
    eventually("all are handled", SOON, async || ledger.handled().len() >= 600).await;
    all_committed(&group, &topic).await;
    running.stop().await;
    assert!(ledger.inversions(KEYS) > 5, "{}", ledger.inversions(KEYS));
}

#[tokio::test]
async fn a_blocked_key_is_known_after_a_restart() {
    let (kafka, source, group) = (given::kafka(), given::topic("blocked", 1), unique("blocked"));
    let (topic, handled) = (unique("blocked.retry"), Taken::new());
    let consumer = |well: bool| {
        let taken = handled.clone();
        let handler = move |record: Received<String, String>| {
            let sick = record.key() == "1" && !well;
            if !sick {
                taken.push(record.value().parse::<u32>().unwrap());
            }
            async move { if sick { Err(Trouble::Busy) } else { Ok(()) } }
        };
        let backoff = Backoff::fixed(Duration::from_millis(700)).without_limit();
        let recovery = Recovery::retry(backoff).in_place(0).retry_topic(RetryTopic::new(&topic));
        quick(&kafka, &group).route(&source, recovery.wrap(handler))
    };
    send(&kafka, (0..10).map(|n| given::raw(&source, n % 2, n))).await;
    let first = Member::start(consumer(false));
    all_committed(&group, source.name()).await;
    eventually("the even ones are handled", SOON, async || handled.len() == 5).await;
    first.stop().await;
    assert_eq!(handled.take(), [0, 2, 4, 6, 8]);

    // Well again, and more records of the key have come meanwhile: they queue behind those that wait.
    send(&kafka, (10..20).map(|n| given::raw(&source, n % 2, n))).await;
    let second = Member::start(consumer(true));
    eventually("all are handled", SOON, async || handled.len() == 15).await;
    all_committed(&group, source.name()).await;
    all_committed(&group, &topic).await;
    second.stop().await;
    let odd: Vec<u32> = handled.all().into_iter().filter(|n| n % 2 == 1).collect();
    assert_eq!(odd, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    let records = stored(&topic);
    let first = records.iter().find(|record| record.value.as_deref() == Some(b"1")).unwrap();
    assert_eq!(header(first, "dlq.topic"), Some(source.name().as_bytes()));
    let size: usize = first.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
    assert!(size <= 1_024, "{size}");
}

#[tokio::test]
async fn nothing_is_tried_early_however_different_the_delays() {
    const RECORDS: u64 = 300;
    let (kafka, source, group) = (given::kafka(), given::topic("delays", 3), unique("delays"));
    let (topic, due, late) = (unique("delays.retry"), Arc::new(Mutex::new(HashMap::new())), Taken::new());
    let (dues, lates) = (due.clone(), late.clone());
    let handler = move |record: Received<String, String>| {
        let (n, now) = (record.value().parse::<u64>().unwrap(), SystemTime::now());
        let mut dues = dues.lock();
        let outcome = match dues.get(&n) {
            Some(due) => {
                lates.push(now.duration_since(*due).map_err(|early| early.duration()));
                Ok(())
            }
            None => {
                let at = now + Duration::from_millis(200 + n * 7 % 1_000);
                dues.insert(n, at);
                Err(At(at))
            }
        };
        async { outcome }
    };
    let recovery = Recovery::by(|error: &At| Decision::Retry(Backoff::at(error.0)))
        .in_place(0)
        .without_breaker()
        .retry_topic(RetryTopic::new(&topic).order(Order::Unordered));
    let running = Member::start(quick(&kafka, &group).route(&source, recovery.wrap(handler)));
    send(&kafka, (0..RECORDS).map(|n| given::raw(&source, n, n))).await;
    eventually("all are handled", SOON, async || late.len() == RECORDS as usize).await;
    running.stop().await;
    let early: Vec<_> = late.all().into_iter().filter_map(Result::err).collect();
    assert_eq!(early, []);
}

#[derive(Debug)]
struct At(SystemTime);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not before {:?}", self.0.duration_since(UNIX_EPOCH))
    }
}

impl std::error::Error for At {}

#[tokio::test]
async fn where_the_latest_wins_an_older_record_never_overwrites_a_newer_one() {
    const KEYS: u32 = 10;
    let (kafka, source, group) = (given::kafka(), given::topic("latest", 2), unique("latest"));
    let (topic, states) = (unique("latest.retry"), Arc::new(Mutex::new(HashMap::<u32, Vec<u32>>::new())));
    let (tried, at) = (Ledger::default(), states.clone());
    let counts = tried.clone();
    let handler = move |record: Received<String, String>| {
        let n: u32 = record.value().parse().unwrap();
        let outcome = counts.attempt(n, if n.is_multiple_of(3) { 2 } else { 0 });
        if outcome.is_ok() {
            at.lock().entry(n % KEYS).or_default().push(n);
        }
        async { outcome }
    };
    let backoff = Backoff::fixed(Duration::from_millis(150));
    let recovery = Recovery::retry(backoff).in_place(0).retry_topic(RetryTopic::new(&topic).order(Order::LatestWins));
    let consumer = quick(&kafka, &group).route_concurrent(&source, Concurrency::by_key(16), recovery.wrap(handler));
    let running = Member::start(consumer);
    for round in 0..20 {
        send(&kafka, (round * KEYS..(round + 1) * KEYS).map(|n| given::raw(&source, n % KEYS, n))).await;
    }
    all_committed(&group, source.name()).await;
    eventually("all is committed", SOON, async || {
        let log = stored(&topic);
        let ends: BTreeMap<i32, i64> = log.iter().map(|record| (record.partition, record.offset + 1)).collect();
        !log.is_empty() && committed_of(&group, &topic) == ends
    })
    .await;
    running.stop().await;
    for (key, states) in states.lock().iter() {
        assert!(states.is_sorted(), "key {key}: {states:?}");
        assert_eq!(*states.last().unwrap(), 19 * KEYS + key, "the newest one was handled");
    }
    assert!(tried.handled().len() < 200, "some were superseded");
}

#[tokio::test]
async fn assignors_that_part_equal_partitions_and_routes_that_lose_the_order_are_refused_by_name() {
    let (kafka, source) = (given::kafka(), given::topic("refused", 2));
    let recovery = || {
        let retries = RetryTopic::new(unique("refused.retry"));
        Recovery::retry(Backoff::fixed(Duration::ZERO)).retry_topic(retries)
    };
    let handler = async |_: Received<String, String>| Ok::<_, Trouble>(());
    let base = || kafka.consumer(unique("refused"));
    let consumers = [
        (base().group_protocol(GroupProtocol::Classic(Assignor::CooperativeSticky)), "cooperative-sticky"),
        (base().set("group.protocol", "consumer"), "group.remote.assignor=range"),
    ];
    for (builder, named) in consumers {
        let error = format!("{:?}", Member::start(builder.route(&source, recovery().wrap(handler))).failure().await);
        assert!(error.contains(named), "{error}");
    }
    let unordered = base().route_concurrent(&source, Concurrency::unordered(4), recovery().wrap(handler));
    let error = format!("{:?}", Member::start(unordered).failure().await);
    assert!(error.contains("Concurrency::unordered"), "{error}");
    // Other numbers of partitions.
    let narrow = unique("narrow.retry");
    kafka.ensure_topics(&[kafka_client::TopicSpec::new(&narrow, 1).config("retention.ms", "-1")]).await.unwrap();
    let few = Recovery::retry(Backoff::fixed(Duration::ZERO)).retry_topic(RetryTopic::new(&narrow));
    let error = format!("{:?}", Member::start(base().route(&source, few.wrap(handler))).failure().await);
    assert!(error.contains("has 1 partitions") && error.contains("--partitions 2"), "{error}");
}

#[tokio::test]
async fn a_record_that_is_parked_waits_until_the_end_of_days_and_its_key_with_it() {
    let (kafka, source, group) = (given::kafka(), given::topic("parked", 1), unique("parked"));
    let (topic, handled) = (unique("parked.retry"), Taken::new());
    let taken = handled.clone();
    let handler = move |record: Received<String, String>| {
        let n: u32 = record.value().parse().unwrap();
        taken.push(n);
        async move { if n == 1 { Err(Trouble::Bad) } else { Ok(()) } }
    };
    send(&kafka, (0..6).map(|n| given::raw(&source, n % 2, n))).await;
    let retries = RetryTopic::new(&topic);
    let recovery = Recovery::always(Decision::Park).retry_topic(retries.clone());
    let running = Member::start(quick(&kafka, &group).route(&source, recovery.wrap(handler)));
    all_committed(&group, source.name()).await;
    let start = Instant::now();
    eventually("the others are handled", SOON, async || handled.len() == 4 && start.elapsed().as_millis() > 300).await;
    assert_eq!(handled.all(), [0, 1, 2, 4]);
    assert_eq!(given::values(&stored(&topic)), ["1", "3", "5"]);
    assert!(committed_of(&group, &topic).values().all(|next| *next == 0));
    eventually("all wait", SOON, async || (retries.pending(), retries.blocked_keys()) == (3, 1)).await;
    // Somebody has mended it.
    assert_eq!((retries.retry_key(source.name(), b"0"), retries.retry_key(source.name(), b"1")), (0, 1));
    eventually("it is tried again", SOON, async || handled.len() == 5).await;
    assert_eq!((handled.all()[4], retries.retry_now()), (1, 1));
    eventually("and again", SOON, async || handled.len() == 6).await;
    running.stop().await;
    assert_eq!(retries.pending(), 0, "and waits with whoever gets the partition");
}
