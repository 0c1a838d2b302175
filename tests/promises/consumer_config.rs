//! A consumer that contradicts itself is refused when it is built, by the names of what contradicts what.

use std::time::Duration;

use kafka_client::{ConsumerBuilder, Error, ErrorKind, Guarantee, Kafka, RawBatch, Received, StartFrom};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tests::harness::{Cluster, eventually, unique};

use crate::given::{self, Lines};
use crate::group::{Door, Member, SOON, Taken, committed, fill, quick};

/// A consumer that could be built; no broker is asked for that.
fn consumer() -> ConsumerBuilder {
    with_route(Kafka::connect("localhost:9092").consumer("billing"))
}

fn with_route(builder: ConsumerBuilder) -> ConsumerBuilder {
    builder.route_raw("orders", async |_: RawBatch| Ok::<_, Error>(()))
}

#[track_caller]
fn refusal(builder: ConsumerBuilder) -> String {
    let error = builder.build().expect_err("refused");
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Config, Some("build consumer")), "{error}");
    error.to_string()
}

#[test]
fn what_commits_behind_the_consumers_back_is_refused_naming_both_settings() {
    for (guarantee, name) in [(Guarantee::AtLeastOnce, "at-least-once"), (Guarantee::AtMostOnce, "at-most-once")] {
        for key in ["enable.auto.commit", "enable.auto.offset.store"] {
            let text = refusal(consumer().guarantee(guarantee).set(key, "true"));
            assert!(text.contains(&format!("`{key}=true` contradicts `guarantee={name}`")), "{text}");
            consumer().guarantee(guarantee).set(key, "false").build().unwrap();
        }
        let text = refusal(consumer().guarantee(guarantee).set("auto.commit.enable", "true"));
        assert!(text.contains("`auto.commit.enable=true` contradicts `guarantee"), "{text}");
    }
    // Also where the whole cluster's settings say so.
    let kafka = Kafka::connect("localhost:9092").set("enable.auto.commit", "true");
    let text = refusal(with_route(kafka.consumer("billing")));
    assert!(text.contains("`enable.auto.commit=true` contradicts `guarantee=at-least-once`"), "{text}");
}

#[test]
fn a_drain_that_the_broker_would_not_wait_for_is_refused() {
    // Of the ten seconds, three pass until a member hears of a rebalance, and one is for the commit after the drain.
    let of_ten_seconds = || consumer().set("max.poll.interval.ms", "10000").set("session.timeout.ms", "6000");
    of_ten_seconds().drain_timeout(Duration::from_secs(6)).build().unwrap();
    let text = refusal(of_ten_seconds().drain_timeout(Duration::from_secs(7)));
    assert!(text.contains("`drain_timeout=7s` contradicts `max.poll.interval.ms=10000`"), "{text}");
    let text = refusal(consumer().drain_timeout(Duration::from_secs(300)));
    assert!(text.contains("`drain_timeout=300s` contradicts `max.poll.interval.ms=300000`"), "{text}");
    // Members of the consumer protocol hear of it later.
    let of_the_broker =
        || consumer().set("max.poll.interval.ms", "10000").set("group.protocol", "consumer");
    of_the_broker().drain_timeout(Duration::from_secs(4)).build().unwrap();
    refusal(of_the_broker().drain_timeout(Duration::from_secs(5)));
    // Unless it is asked for, the drain is made to fit.
    of_ten_seconds().build().unwrap();
}

#[test]
fn routes_are_one_a_topic_and_one_at_least() {
    let text = refusal(with_route(consumer()));
    assert!(text.contains("topic orders has two routes"), "{text}");
    let text = refusal(Kafka::connect("localhost:9092").consumer("billing"));
    assert!(text.contains("at least one route"), "{text}");
}

#[test]
fn numbers_that_make_no_sense_are_refused_by_name() {
    for (builder, expected) in [
        (consumer().max_batch_records(0), "max_batch_records"),
        (consumer().commit_interval(Duration::ZERO), "auto.commit.interval.ms"),
        (consumer().set("auto.commit.interval.ms", "soon"), "auto.commit.interval.ms"),
        (consumer().set("max.poll.interval.ms", "soon"), "max.poll.interval.ms"),
        (consumer().set("heartbeat.interval.ms", "soon"), "heartbeat.interval.ms"),
        (consumer().set("max.pol.interval.ms", "1"), "max.pol.interval.ms"),
        (consumer().set("enable.partition.eof", "true"), "enable.partition.eof"),
        (with_route(Kafka::connect("localhost:9092").consumer("")), "group.id"),
    ] {
        let text = refusal(builder);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn protocols_of_groups_are_not_mixed() {
    for (key, value) in [
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "1000"),
        ("partition.assignment.strategy", "range"),
    ] {
        let text = refusal(consumer().set("group.protocol", "consumer").set(key, value));
        assert!(text.contains(&format!("`{key}={value}` contradicts `group.protocol=consumer`")), "{text}");
    }
    let text = refusal(consumer().set("max.poll.interval.ms", "5000"));
    assert!(
        text.contains("`max.poll.interval.ms=5000` contradicts `session.timeout.ms=45000` (the default)"),
        "{text}"
    );
}

#[tokio::test]
async fn a_group_without_an_offset_starts_where_it_is_told_to() {
    let topic = given::topic("orders", 1);
    fill(&topic, 0, 5);
    let started = async |start: Option<StartFrom>| {
        let (group, seen) = (unique("billing"), Taken::new());
        let at = seen.clone();
        let handler = move |record: Received<String, String>| {
            at.push(record.offset());
            async { Ok::<_, Error>(()) }
        };
        let builder = quick(&given::kafka(), &group).route(&topic, handler);
        let member = Member::start(match start {
            Some(start) => builder.start_from(start),
            None => builder,
        });
        // When it starts with the latest, one written too early is not seen: so they are written until one is.
        eventually("it reads", SOON, async || {
            fill(&topic, 0, 1);
            seen.len() > 0
        })
        .await;
        member.stop().await;
        seen.all()[0]
    };
    assert_eq!(started(None).await, 0);
    assert_eq!(started(Some(StartFrom::Earliest)).await, 0);
    assert!(started(Some(StartFrom::Latest)).await > 5);

    let group = unique("billing");
    let consumer = quick(&given::kafka(), &group)
        .start_from(StartFrom::Fail)
        .route(&topic, async |_: Received<String, String>| Ok::<_, Error>(()));
    let error = Member::start(consumer).failure().await;
    assert_eq!((error.topic(), error.partition()), (Some(topic.name()), Some(0)), "{error}");
    assert_eq!(committed(&group, &topic), [].into());
}

#[tokio::test]
async fn records_that_were_deleted_under_the_reader_are_an_error_if_told_so_and_those_before_are_handled() {
    let (topic, group, door, begun) = (given::topic("orders", 1), unique("billing"), Door::closed(), Taken::new());
    // Each in a batch of its own, so that they are fetched one by one, at most five ahead.
    for _ in 0..20 {
        fill(&topic, 0, 1);
    }
    let of_group: BaseConsumer = plain().set("group.id", &group).create().unwrap();
    of_group.commit(&offset(&topic, 0), CommitMode::Sync).unwrap();
    let (at, pass) = (begun.clone(), door.clone());
    let handler = move |record: Received<String, String>| {
        at.push(record.offset());
        let passed = pass.pass(record.offset());
        async { Ok::<_, Error>(passed.await) }
    };
    let consumer = quick(&given::kafka(), &group)
        .start_from(StartFrom::Fail)
        .max_batch_records(3)
        .set("queued.min.messages", "5")
        .set("max.partition.fetch.bytes", "1")
        .route(&topic, handler);
    let member = Member::start(consumer);
    eventually("the first one is begun", SOON, async || begun.all() == [0]).await;
    // Nobody tells when five are ahead, nor when the one after them was asked for in vain.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let admin: AdminClient<_> = plain().create().unwrap();
    admin.delete_records(&offset(&topic, 20), &AdminOptions::new()).await.unwrap();
    door.open_to(1);
    eventually("the second one is begun", SOON, async || begun.all() == [0, 1]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    door.open();

    // The error has come behind records that were there before it: they are handled, and then it is told.
    let error = member.failure().await;
    assert_eq!((error.operation(), error.topic(), error.partition()), (Some("receive"), Some(topic.name()), Some(0)));
    let handled = begun.len() as i64;
    assert_eq!(begun.all(), (0..handled).collect::<Vec<_>>());
    assert!((2..20).contains(&handled), "{handled}");
    assert_eq!(committed(&group, &topic), [(0, handled)].into());
}

fn plain() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", Cluster::shared().bootstrap());
    config
}

fn offset(topic: &Lines, offset: i64) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic.name(), 0, Offset::Offset(offset)).unwrap();
    list
}
