//! A record that fails is tried again, dead-lettered bit for bit, skipped on purpose, or ends the consumer: never lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use kafka_client::{
    Concurrency, ConfigAlteration, ConfigResource, ErrorKind, Headers, Json, Kafka, RawRecord, Received, Topic,
    TopicSpec, Utf8,
};
use kafka_dlq::{Backoff, Decision, Recovery, RetryTopic, WrittenDialect as Dialect};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use tests::harness::oracle::{Isolation, Stored};
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given::{self, Lines};
use crate::group::{Member, SOON, Taken, committed_of, quick};

const NOW: Backoff = Backoff::fixed(Duration::from_millis(20)).attempts(3);

#[derive(Debug)]
pub(crate) enum Trouble {
    Busy,
    Bad,
    Odd,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Trouble {}

pub(crate) fn decide(trouble: &Trouble) -> Decision {
    match trouble {
        Trouble::Busy => Decision::Retry(NOW),
        Trouble::Bad => Decision::dead_letter("bad"),
        Trouble::Odd => Decision::skip("odd"),
    }
}

pub(crate) fn stored(topic: &str) -> Vec<Stored> {
    oracle::read_all(Cluster::shared().bootstrap(), topic, Isolation::ReadUncommitted)
}

/// Where every partition of a log ends.
fn ends(log: &[Stored]) -> BTreeMap<i32, i64> {
    log.iter().map(|record| (record.partition, record.offset + 1)).collect()
}

pub(crate) async fn all_committed(group: &str, topic: &str) {
    let ends = ends(&stored(topic));
    eventually("all is committed", SOON, async || committed_of(group, topic) == ends).await;
}

pub(crate) fn header<'r>(record: &'r Stored, name: &str) -> Option<&'r [u8]> {
    record.headers.iter().rev().find(|(other, _)| other == name)?.1.as_deref()
}

pub(crate) async fn send(kafka: &Kafka, records: impl IntoIterator<Item = RawRecord>) {
    let producer = kafka.producer().build().unwrap();
    let mut deliveries = Vec::new();
    for record in records {
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    join_all(deliveries).await.into_iter().for_each(|delivered| assert!(delivered.unwrap().offset() >= 0));
}

fn bytes(most: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..most))
}

/// Any record that Kafka takes: names of headers have no NUL there, and duplicates, nulls and empty values are common.
fn any_record() -> impl Strategy<Value = RawRecord> {
    let name = prop_oneof![Just("trace".to_owned()), Just("a".to_owned()), "[a-zä-ö]{1,9}"];
    let headers = proptest::collection::vec((name, bytes(9)), 0..6);
    let text = || "[a-z]{0,20}".prop_map(|text| Some(text.into_bytes()));
    (prop_oneof![bytes(12), text()], prop_oneof![bytes(300), text()], headers, 0..1_000_000i64, 0..3).prop_map(
        |(key, value, list, age, partition)| {
            let mut record = RawRecord::new("", key, value);
            let mut headers = Headers::new();
            for (name, value) in list {
                match value {
                    Some(value) => headers.push(name, value),
                    None => headers.push_null(name),
                }
            }
            (record.headers, record.timestamp, record.partition) =
                (headers, Some(given::yesterday() - age), Some(partition));
            record
        },
    )
}

fn renamed(record: &RawRecord, topic: &str) -> RawRecord {
    let mut renamed = RawRecord::new(topic, record.key.clone(), record.value.clone());
    (renamed.headers, renamed.timestamp, renamed.partition) =
        (record.headers.clone(), record.timestamp, record.partition);
    renamed
}

#[tokio::test]
async fn any_record_keeps_every_bit_as_a_dead_letter() {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let records: Vec<RawRecord> = (0..400).map(|_| any_record().new_tree(&mut runner).unwrap().current()).collect();
    let kafka = given::kafka();
    for (dialect, retries) in [
        (Dialect::Ours, false),
        (Dialect::Spring, false),
        (Dialect::Connect, false),
        (Dialect::Ours, true),
        (Dialect::Spring, true),
    ] {
        // Bytes that are no text cannot be decoded; what can be fails in the handler.
        let (source, group) = (given::topic("any", 3), unique("dead"));
        let (dead, waiting) = (unique("any.dlq"), unique("any.retry"));
        send(&kafka, records.iter().map(|record| renamed(record, source.name()))).await;
        let recovery = Recovery::by(move |_: &Trouble| match retries {
            true => Decision::Retry(NOW.attempts(2)),
            false => Decision::dead_letter("bad"),
        });
        let mut recovery = recovery.without_breaker().in_place(0).dead_letter(&dead).dialect(dialect);
        if retries {
            recovery = recovery.retry_topic(RetryTopic::new(&waiting));
        }
        let member = Member::start(
            quick(&kafka, &group)
                .route(&source, recovery.wrap(async |_: Received<String, String>| Err::<(), _>(Trouble::Bad))),
        );
        all_committed(&group, source.name()).await;
        if retries {
            all_committed(&group, &waiting).await;
        }
        member.stop().await;

        let (before, mut after) = (stored(source.name()), stored(&dead));
        assert_eq!((before.len(), after.len()), (records.len(), records.len()));
        let origin = |record: &Stored| -> i64 {
            match dialect {
                Dialect::Ours => given::text(header(record, "dlq.offset")).parse().unwrap(),
                Dialect::Spring => {
                    i64::from_be_bytes(header(record, "kafka_dlt-original-offset").unwrap().try_into().unwrap())
                }
                Dialect::Connect => given::text(header(record, "__connect.errors.offset")).parse().unwrap(),
            }
        };
        // Those that have waited come later.
        after.sort_by_key(|record| (record.partition, origin(record)));
        let mut reasons = BTreeSet::new();
        for (one, other) in before.iter().zip(&after) {
            assert_eq!((one.partition, one.offset), (other.partition, origin(other)));
            assert_eq!((&one.key, &one.value, one.timestamp), (&other.key, &other.value, other.timestamp));
            assert_eq!(one.headers, other.headers[..one.headers.len()], "in their order, in front of ours");
            let added = &other.headers[one.headers.len()..];
            let size: usize = added.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
            assert!(size <= 1_024, "{size} bytes of headers");
            if dialect == Dialect::Ours {
                assert_eq!(header(other, "dlq.topic"), Some(source.name().as_bytes()));
                assert_eq!(header(other, "dlq.timestamp-type"), Some(&b"CreateTime"[..]));
                assert_eq!(header(other, "dlq.wait"), None);
                reasons.insert(given::text(header(other, "dlq.reason")));
            }
        }
        if dialect == Dialect::Ours {
            let reason = if retries { "attempts" } else { "bad" };
            let both = [reason.to_owned(), "decode".to_owned()];
            assert_eq!(reasons, both.into(), "both kinds went through the same door");
        }
    }
}

#[tokio::test]
async fn each_error_goes_its_way_and_every_record_is_accounted_for() {
    let (kafka, source, group, dead) = (given::kafka(), given::topic("mixed", 2), unique("mixed"), unique("mixed.dlq"));
    send(&kafka, (0..200).map(|n| given::raw(&source, n, n))).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let handled = Taken::new();
    let (count, taken, seen) = (calls.clone(), handled.clone(), Taken::new());
    let handler = move |record: Received<String, String>| {
        count.fetch_add(1, Ordering::SeqCst);
        let n: u32 = record.value().parse().unwrap();
        seen.push(n);
        let times = seen.all().iter().filter(|other| **other == n).count();
        let outcome = match n % 10 {
            0 => Err(Trouble::Bad),
            1 => Err(Trouble::Odd),
            2 => Err(Trouble::Busy),
            3 if times < 3 => Err(Trouble::Busy),
            4 => panic!("at {n}"),
            _ => {
                taken.push(n);
                Ok(())
            }
        };
        async { outcome }
    };
    let member =
        Member::start(quick(&kafka, &group).route(&source, Recovery::by(decide).dead_letter(&dead).wrap(handler)));
    all_committed(&group, source.name()).await;
    let report = member.stop().await;
    assert_eq!((report.handled, report.unfinished), (200, 0));

    let mut reasons: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for record in stored(&dead) {
        let n: u32 = given::text(record.value.as_deref()).parse().unwrap();
        reasons.entry(given::text(header(&record, "dlq.reason"))).or_default().push(n);
        let attempts = if n % 10 == 2 { "3" } else { "1" };
        assert_eq!(header(&record, "dlq.attempts"), Some(attempts.as_bytes()));
    }
    let tens = |rest: u32| (0..20).map(|ten| ten * 10 + rest).collect::<BTreeSet<_>>();
    let of = |reason: &str| reasons[reason].iter().copied().collect::<BTreeSet<_>>();
    assert_eq!((of("bad"), of("attempts"), of("panic")), (tens(0), tens(2), tens(4)));
    assert_eq!(reasons.len(), 3, "and what is skipped is nowhere");
    let handled: BTreeSet<u32> = handled.all().into_iter().collect();
    assert_eq!(handled, (0..200).filter(|n| !matches!(n % 10, 0 | 1 | 2 | 4)).collect());
    assert_eq!(calls.load(Ordering::SeqCst), 200 + 2 * 20 + 2 * 20);
}

#[tokio::test]
async fn a_record_that_is_tried_in_place_holds_up_its_key_and_no_other() {
    let (kafka, source, group) = (given::kafka(), given::topic("keys", 1), unique("keys"));
    // Key 0 never gets well; it has every tenth record.
    send(&kafka, (0..100).map(|n| given::raw(&source, n % 10, n))).await;
    let handled = Taken::new();
    let taken = handled.clone();
    let handler = move |record: Received<String, String>| {
        let sick = record.key() == "0";
        if !sick {
            taken.push(record.value().parse::<u32>().unwrap());
        }
        async move { if sick { Err(Trouble::Busy) } else { Ok(()) } }
    };
    let recovery = Recovery::retry(Backoff::fixed(Duration::from_millis(50)).without_limit());
    let consumer = quick(&kafka, &group).route_concurrent(&source, Concurrency::by_key(16), recovery.wrap(handler));
    let member = Member::start(consumer);
    eventually("the others are handled", SOON, async || handled.all().len() == 90).await;
    for key in 1..10 {
        let of_key: Vec<u32> = handled.all().into_iter().filter(|n| n % 10 == key).collect();
        assert!(of_key.is_sorted());
    }
    // The end does not wait for the next attempt, and the sick record is read again.
    member.stop().await;
    assert_eq!(committed_of(&group, source.name()), [(0, 0)].into());
}

#[tokio::test]
async fn without_a_place_for_dead_letters_the_consumer_ends_before_the_record() {
    let kafka = given::kafka();
    for trouble in [|| Trouble::Bad, || Trouble::Busy] {
        let (source, group) = (given::topic("stop", 1), unique("stop"));
        send(&kafka, (0..5).map(|n| given::raw(&source, n, n))).await;
        let handler = move |record: Received<String, String>| {
            let bad = record.value() == "3";
            async move { if bad { Err(trouble()) } else { Ok(()) } }
        };
        let consumer = quick(&kafka, &group).route(&source, Recovery::by(decide).wrap(handler));
        let error = Member::start(consumer).failure().await;
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Handler, Some(3)), "{error:?}");
        assert!(format!("{error:?}").contains("no dead-letter topic"), "{error:?}");
        assert_eq!(committed_of(&group, source.name()), [(0, 3)].into());
    }
}

/// A dead-letter topic that takes nothing of more than this.
async fn narrow(kafka: &Kafka, bytes: u32) -> String {
    let name = unique("narrow.dlq");
    let spec = TopicSpec::new(&name, 1).config("max.message.bytes", bytes.to_string()).config("retention.ms", "-1");
    kafka.ensure_topics(&[spec]).await.unwrap();
    name
}

#[tokio::test]
async fn while_dead_letters_cannot_be_written_nothing_is_skipped_and_then_they_are() {
    let (kafka, source, group) = (given::kafka(), given::topic("held", 1), unique("held"));
    let dead = narrow(&kafka, 100).await;
    send(&kafka, (0..20).map(|n| given::raw(&source, n, n))).await;
    let handled = Taken::new();
    let taken = handled.clone();
    let handler = move |record: Received<String, String>| {
        let n: u32 = record.value().parse().unwrap();
        taken.push(n);
        async move { if n == 5 { Err(Trouble::Bad) } else { Ok(()) } }
    };
    let recovery = || Recovery::by(decide).dead_letter(&dead);
    let member = Member::start(quick(&kafka, &group).route(&source, recovery().wrap(handler)));
    eventually("the consumer went on", SOON, async || handled.all().len() == 20).await;
    // The offset waits, before and after a restart.
    eventually("what is before it is committed", SOON, async || committed_of(&group, source.name()) == [(0, 5)].into())
        .await;
    member.stop().await;
    assert_eq!((committed_of(&group, source.name()), stored(&dead).len()), ([(0, 5)].into(), 0));

    let again = Taken::new();
    let taken = again.clone();
    let handler = move |record: Received<String, String>| {
        taken.push(record.value().clone());
        async { Err::<(), _>(Trouble::Bad) }
    };
    let member = Member::start(quick(&kafka, &group).route(&source, recovery().wrap(handler)));
    eventually("it is tried again", SOON, async || again.all() == ["5"]).await;
    let wide = ConfigAlteration::new(ConfigResource::topic(&dead)).set("max.message.bytes", "1000000");
    kafka.admin().alter_configs_incremental(&[wide]).await.unwrap();
    all_committed(&group, source.name()).await;
    member.stop().await;
    assert_eq!(given::values(&stored(&dead)), ["5"]);
}

/// What is often written. It must not pass the check above.
#[tokio::test]
async fn the_careless_way_loses_the_record_that_could_not_be_dead_lettered() {
    let (kafka, source, group) = (given::kafka(), given::topic("careless", 1), unique("careless"));
    let dead = narrow(&kafka, 100).await;
    send(&kafka, (0..20).map(|n| given::raw(&source, n, n))).await;
    let producer = kafka.producer().build().unwrap();
    let (to, sender) = (dead.clone(), producer.clone());
    let handler = move |record: Received<String, String>| {
        let mut letter = RawRecord::new(to.as_str(), None, Some(vec![7; 200]));
        letter.key = record.key_bytes().map(Vec::from);
        let sender = sender.clone();
        async move {
            if record.value() == "5" {
                // Not awaited: nobody hears that it failed.
                drop(sender.enqueue(letter).await);
            }
            Ok::<_, Trouble>(())
        }
    };
    let member = Member::start(quick(&kafka, &group).route(&source, handler));
    all_committed(&group, source.name()).await;
    member.stop().await;
    let _ = producer.close(SOON).await;
    assert_eq!(stored(&dead).len(), 0, "committed, and nowhere");
}

#[tokio::test]
async fn topics_are_created_or_the_consumer_does_not_start_and_says_how() {
    let (kafka, source) = (given::kafka(), given::topic("topics", 3));
    let handler = async |_: Received<String, String>| Ok::<_, Trouble>(());
    let missing = unique("missing.dlq");
    let recovery = Recovery::by(decide).dead_letter(&missing);
    let consumer = quick(&kafka, "g").route(&source, recovery.without_creating_topics().wrap(handler));
    let error = format!("{:?}", Member::start(consumer).failure().await);
    let command = format!("kafka-topics.sh --create --topic {missing} --partitions 3");
    assert!(error.contains(&command), "{error}");

    let compacted = unique("compacted.dlq");
    kafka.ensure_topics(&[TopicSpec::new(&compacted, 1).config("cleanup.policy", "compact")]).await.unwrap();
    let consumer = quick(&kafka, "g").route(&source, Recovery::by(decide).dead_letter(&compacted).wrap(handler));
    let error = format!("{:?}", Member::start(consumer).failure().await);
    assert!(error.contains("is compacted") && error.contains("--add-config cleanup.policy=delete"), "{error}");

    let member = Member::start(
        quick(&kafka, &unique("g")).route(&source, Recovery::by(decide).dead_letter(&missing).wrap(handler)),
    );
    eventually("it is created", SOON, async || {
        let found = kafka.admin().describe_topic(&missing).await.unwrap();
        found.is_some_and(|found| found.partitions() == 3 && found.config("retention.ms") == Some("-1"))
    })
    .await;
    member.stop().await;
}

#[tokio::test]
async fn undecodable_records_need_no_second_handler_and_a_policy_may_skip_them() {
    let (kafka, group) = (given::kafka(), unique("json"));
    let lines: Lines = given::topic("json", 1);
    let numbers: Topic<Utf8, Json<u32>> = Topic::new(lines.name(), Utf8, Json::new());
    send(&kafka, ["1", "two", "3"].map(|text| given::raw(&lines, "k", text))).await;
    let handled = Taken::new();
    let taken = handled.clone();
    let handler = move |record: Received<String, u32>| {
        taken.push(*record.value());
        async { Ok::<_, Trouble>(()) }
    };
    let recovery = Recovery::by(decide).undecodable(Decision::skip("no number"));
    let member = Member::start(quick(&kafka, &group).route(&numbers, recovery.wrap(handler)));
    all_committed(&group, lines.name()).await;
    member.stop().await;
    assert_eq!(handled.all(), [1, 3]);
}
