//! What a consumer says through the `metrics` facade: every metric that its documentation names and no other, by group
//! and topic, never by partition, with the right values after known traffic; and none that stays behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_client::{ConsumerBuilder, Error, OnStuck, Received, RunningConsumer};
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given;
use crate::group::{Door, Member, SOON, commits, fill, quick};
use crate::recorder::{Numbers, numbers};

/// As the documentation of `Consumer` has it: names, and what else than the group they are labelled by.
const METRICS: [(&str, &[&str]); 13] = [
    ("kafka_consumer_records_handled_total", &["topic"]),
    ("kafka_consumer_records_failed_total", &["topic"]),
    ("kafka_consumer_commits_total", &["result"]),
    ("kafka_consumer_commit_seconds", &[]),
    ("kafka_consumer_rebalances_total", &["kind"]),
    ("kafka_consumer_assigned_partitions", &["topic"]),
    ("kafka_consumer_paused_partitions", &["topic"]),
    ("kafka_consumer_in_flight", &["topic"]),
    ("kafka_consumer_buffered_records", &["topic"]),
    ("kafka_consumer_buffered_bytes", &["topic"]),
    ("kafka_consumer_lag", &["topic"]),
    ("kafka_consumer_exposure", &[]),
    ("kafka_consumer_stuck_handlers", &[]),
];

fn start(builder: ConsumerBuilder) -> RunningConsumer {
    builder.build().unwrap_or_else(|e| panic!("{e}")).spawn()
}

/// What a group's numbers are, by the last part of their names.
async fn become_(numbers: &Numbers, group: &str, expected: &[(&str, f64)]) {
    let value = |name: &str| numbers.sum(group, &format!("kafka_consumer_{name}"), None);
    let are = async || expected.iter().all(|(name, expected)| value(name) == Some(*expected));
    let what = format!("{expected:?}");
    if tokio::time::timeout(SOON, eventually(&what, 2 * SOON, are)).await.is_err() {
        let found: Vec<_> = expected.iter().map(|(name, _)| (*name, value(name))).collect();
        panic!("expected {expected:?}, found {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_metric_is_right_after_known_traffic_and_is_labelled_by_group_and_topic() {
    let (numbers, topic, group, door) = (numbers(), given::topic("orders", 2), unique("billing"), Door::closed());
    fill(&topic, 0, 30);
    fill(&topic, 1, 20);
    oracle::produce(Cluster::shared().bootstrap(), topic.name(), &[(Some(1), Some(b"k"), Some(b"\xff"))]);
    let pass = door.clone();
    // The records that come later wait at the door.
    let handler = move |record: Received<String, String>| pass.pass(if record.offset() < 30 { -1 } else { 0 });
    let consumer = quick(&given::kafka(), &group)
        .handler_limit(Duration::from_millis(500), OnStuck::Warn)
        .on_failed_record(async |_| Ok::<_, Error>(()))
        .route(&topic, handler);
    let running = start(consumer);
    commits(&group, &topic, &[(0, 30), (1, 21)]).await;
    let quiet = [("in_flight", 0.0), ("buffered_records", 0.0), ("buffered_bytes", 0.0), ("exposure", 0.0)];
    become_(numbers, &group, &[("records_handled_total", 50.0), ("records_failed_total", 1.0)]).await;
    become_(numbers, &group, &[("assigned_partitions", 2.0), ("paused_partitions", 0.0), ("lag", 0.0)]).await;
    become_(numbers, &group, &quiet).await;
    become_(numbers, &group, &[("stuck_handlers", 0.0)]).await;

    // Ten more of which the first one hangs: nine wait behind it. They have a key of one byte and a value of two.
    fill(&topic, 0, 10);
    let held = [("in_flight", 1.0), ("buffered_records", 10.0), ("buffered_bytes", 30.0), ("lag", 10.0)];
    become_(numbers, &group, &held).await;
    become_(numbers, &group, &[("exposure", 1.0), ("stuck_handlers", 1.0), ("records_handled_total", 50.0)]).await;

    // A paused partition is not fetched, and counts all the same.
    running.handle().pause([(topic.name(), 1)]).await.unwrap();
    fill(&topic, 1, 7);
    become_(numbers, &group, &[("paused_partitions", 1.0), ("lag", 17.0)]).await;
    running.handle().resume([(topic.name(), 1)]).await.unwrap();
    door.open();
    become_(numbers, &group, &[("records_handled_total", 67.0), ("lag", 0.0), ("paused_partitions", 0.0)]).await;
    become_(numbers, &group, &quiet).await;

    let report = running.stop().await.unwrap();
    assert_eq!((report.handled, report.failed), (67, 1));
    assert_eq!(numbers.gauges_above_zero(&group), [] as [String; 0], "nothing stays behind");
    become_(numbers, &group, &[("records_handled_total", 67.0), ("records_failed_total", 1.0)]).await;
    let (commits, rebalances) = ("kafka_consumer_commits_total", "kafka_consumer_rebalances_total");
    let confirmed = numbers.sum(&group, commits, Some(("result", "confirmed"))).unwrap_or_default();
    assert!(confirmed >= 2.0, "{confirmed}");
    let seconds = numbers.samples(&group, "kafka_consumer_commit_seconds");
    assert_eq!(Some(seconds.len() as f64), numbers.sum(&group, commits, None));
    assert!(seconds.iter().all(|seconds| (0.0..SOON.as_secs_f64()).contains(seconds)), "{seconds:?}");
    assert_eq!(numbers.sum(&group, rebalances, Some(("kind", "assigned"))), Some(1.0));

    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for series in numbers.of(&group) {
        let others = series.labels.keys().filter(|key| *key != "group").cloned();
        labels.entry(series.name.clone()).or_default().extend(others);
        let of_topic = series.labels.get("topic").is_none_or(|name| name == topic.name());
        assert!(of_topic, "{series:?}");
    }
    let expected =
        METRICS.map(|(name, labels)| (name.to_owned(), labels.iter().map(|one| (*one).to_owned()).collect()));
    assert_eq!(labels, BTreeMap::from(expected));
    let described: BTreeSet<String> =
        numbers.described().into_keys().filter(|name| name.starts_with("kafka_consumer_")).collect();
    assert_eq!(described, METRICS.map(|(name, _)| name.to_owned()).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_is_right_before_anything_is_finished() {
    let (numbers, topic, group, door) = (numbers(), given::topic("orders", 2), unique("billing"), Door::closed());
    fill(&topic, 0, 8);
    fill(&topic, 1, 9);
    let pass = door.clone();
    let handler = move |record: Received<String, String>| pass.pass(record.offset());
    let running = start(quick(&given::kafka(), &group).route(&topic, handler));
    // One partition is paused before it is assigned, so that nobody has ever looked at it; the other hangs at once.
    running.handle().pause([(topic.name(), 1)]).await.unwrap();
    become_(numbers, &group, &[("lag", 17.0)]).await;
    running.handle().resume([(topic.name(), 1)]).await.unwrap();
    door.open();
    become_(numbers, &group, &[("lag", 0.0)]).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_dropped_or_fails_leaves_no_gauge_behind() {
    let (numbers, topic) = (numbers(), given::topic("orders", 1));
    fill(&topic, 0, 10);
    let stuck = || {
        let (group, door) = (unique("billing"), Door::closed());
        (group, move |record: Received<String, String>| door.pass(record.offset()))
    };
    let holds = [("in_flight", 1.0), ("buffered_records", 10.0), ("stuck_handlers", 1.0), ("lag", 10.0)];

    let (group, handler) = stuck();
    let limit = Duration::from_millis(300);
    let member =
        Member::start(quick(&given::kafka(), &group).handler_limit(limit, OnStuck::Warn).route(&topic, handler));
    become_(numbers, &group, &holds).await;
    member.drop_it().await;
    assert_eq!(numbers.gauges_above_zero(&group), [] as [String; 0], "dropped");

    let (group, handler) = stuck();
    let member = Member::start(
        quick(&given::kafka(), &group)
            .handler_limit(Duration::from_millis(2_500), OnStuck::Leave)
            .drain_timeout(Duration::from_secs(1))
            .route(&topic, handler),
    );
    become_(numbers, &group, &[("in_flight", 1.0), ("buffered_records", 10.0)]).await;
    member.failure().await;
    assert_eq!(numbers.gauges_above_zero(&group), [] as [String; 0], "failed");
}
