//! Groups, offsets and configurations, as far as the embedded broker has them.

use super::*;
use crate::{ConfigAlteration, ConfigResource, GroupState, Isolation, OffsetSpec, OffsetTarget, RawRecord};

const ALL: Isolation = Isolation::ReadUncommitted;

/// Ten records in the first of two partitions.
async fn ten_orders() -> Kafka {
    let kafka = embedded();
    kafka.ensure_topics(&[TopicSpec::new("orders", 2)]).await.unwrap();
    let producer = kafka.producer().build().unwrap();
    for number in 0..10 {
        let mut record = RawRecord::new("orders", None, Some(vec![number]));
        record.partition = Some(0);
        producer.send(record).await.unwrap();
    }
    kafka
}

async fn committed(kafka: &Kafka, group: &str) -> Vec<(String, i32, Option<i64>)> {
    let offsets = kafka.admin().group_offsets(group).await.unwrap();
    let told = offsets.into_iter().map(Result::unwrap);
    told.map(|one| (one.topic().to_owned(), one.partition(), one.offset())).collect()
}

#[tokio::test]
async fn offsets_are_listed_in_the_order_asked_and_one_that_is_not_there_hides_no_other() {
    let kafka = ten_orders().await;
    let of = [
        ("orders", 0, OffsetSpec::Latest),
        ("orders", 9, OffsetSpec::Latest),
        ("orders", 0, OffsetSpec::Earliest),
        ("refunds", 0, OffsetSpec::Latest),
        ("orders", 1, OffsetSpec::Latest),
        ("orders", 0, OffsetSpec::Latest),
    ];
    let listed = kafka.admin().list_offsets(&of, ALL).await.unwrap();
    let told: Vec<_> = listed.iter().map(|one| one.as_ref().ok().and_then(|one| one.offset())).collect();
    assert_eq!(told, [Some(10), None, Some(0), None, Some(0), Some(10)]);
    for (at, expected) in [
        (1, "list offsets failed for orders-9: the topic has 2 partitions (UNKNOWN_TOPIC_OR_PART)"),
        (3, "list offsets failed for refunds-0: Broker: Unknown topic or partition (UNKNOWN_TOPIC_OR_PART)"),
    ] {
        let error = listed[at].clone().unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::UnknownTopic, expected));
    }
    // Asking has created nothing.
    assert_eq!(kafka.admin().describe_topic("refunds").await.unwrap(), None);
}

#[tokio::test]
async fn only_what_is_not_there_is_an_answer_too() {
    let kafka = ten_orders().await;
    let listed = kafka.admin().list_offsets(&[("refunds", 0, OffsetSpec::Latest)], ALL).await.unwrap();
    assert_eq!(listed[0].clone().unwrap_err().kind(), ErrorKind::UnknownTopic);
}

#[tokio::test]
async fn offsets_of_a_group_are_planned_altered_read_and_measured() {
    let (kafka, orders) = (ten_orders().await, [("orders", 1), ("orders", 0)]);
    let admin = kafka.admin();
    assert_eq!(committed(&kafka, "billing").await, []);
    for (target, from, to, wanted) in [
        (OffsetTarget::from(OffsetSpec::Latest), [None, None], [0, 10], [None, None]),
        (OffsetTarget::ShiftBy(-4), [Some(0), Some(10)], [0, 6], [Some(-4), None]),
        (OffsetTarget::Exact(8), [Some(0), Some(6)], [0, 8], [Some(8), None]),
        (OffsetTarget::ShiftBy(7), [Some(0), Some(8)], [0, 10], [Some(7), Some(15)]),
        (OffsetSpec::Earliest.into(), [Some(0), Some(10)], [0, 0], [None, None]),
        (OffsetTarget::Exact(7), [Some(0), Some(0)], [0, 7], [Some(7), None]),
    ] {
        let planned = admin.plan_group_offsets("billing", &orders, target).await.unwrap();
        let altered = admin.alter_group_offsets("billing", &orders, target).await.unwrap();
        let [planned, altered] = [planned, altered].map(|all| all.into_iter().map(Result::unwrap).collect::<Vec<_>>());
        assert_eq!(planned, altered, "{target:?}");
        let told: Vec<_> = altered.iter().map(|one| (one.partition(), one.from(), one.to(), one.wanted())).collect();
        assert_eq!(told, [(1, from[0], to[0], wanted[0]), (0, from[1], to[1], wanted[1])], "{target:?}");
    }
    let expected = [("orders".to_owned(), 0, Some(7)), ("orders".to_owned(), 1, Some(0))];
    assert_eq!(committed(&kafka, "billing").await, expected);
    let lags = admin.group_lag("billing", ALL).await.unwrap();
    let told: Vec<_> =
        lags.into_iter().map(Result::unwrap).map(|one| (one.committed(), one.end(), one.lag())).collect();
    assert_eq!(told, [(7, 10, 3), (0, 0, 0)]);
    assert!(admin.group_lag("another", ALL).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_partition_that_cannot_be_altered_keeps_no_other_from_it() {
    let kafka = ten_orders().await;
    let admin = kafka.admin();
    let of = [("refunds", 0), ("orders", 0), ("orders", 7)];
    let altered = admin.alter_group_offsets("billing", &of, OffsetSpec::Latest).await.unwrap();
    assert_eq!(altered[1].as_ref().unwrap().to(), 10);
    for at in [0, 2] {
        let error = altered[at].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.partition()), (ErrorKind::UnknownTopic, Some(of[at].1)), "{error}");
    }
    assert_eq!(committed(&kafka, "billing").await, [("orders".to_owned(), 0, Some(10))]);
    let shifted =
        admin.alter_group_offsets("billing", &[("orders", 1), ("orders", 0)], OffsetTarget::ShiftBy(-1)).await;
    let shifted = shifted.unwrap();
    assert_eq!(
        shifted[0].as_ref().unwrap_err().to_string(),
        "alter group offsets failed for orders-1: group billing has committed no offset to shift from"
    );
    assert_eq!(shifted[1].as_ref().unwrap().to(), 9);
}

#[tokio::test]
async fn a_coordinator_that_is_none_is_not_the_end() {
    let kafka = ten_orders().await;
    let (admin, broker) = (kafka.admin(), kafka.embedded_broker().unwrap());
    admin.alter_group_offsets("billing", &[("orders", 0)], OffsetTarget::Exact(4)).await.unwrap();
    for (request, fault) in [
        // A client without a group ends the process here: librdkafka looks for the group's queue at address zero.
        (Request::OffsetFetch, Fault::NotCoordinator),
        (Request::OffsetFetch, Fault::CoordinatorNotAvailable),
        (Request::OffsetFetch, Fault::Disconnect),
        (Request::OffsetCommit, Fault::NotCoordinator),
        (Request::OffsetCommit, Fault::CoordinatorNotAvailable),
        (Request::ListOffsets, Fault::NotLeader),
        (Request::ListOffsets, Fault::Disconnect),
        (Request::FindCoordinator, Fault::CoordinatorNotAvailable),
    ] {
        broker.fail_requests(request, fault, 2).unwrap();
        let altered = admin.alter_group_offsets("billing", &[("orders", 0)], OffsetTarget::Exact(4)).await;
        let altered = altered.unwrap_or_else(|error| panic!("{request:?} {fault:?}: {error:?}"));
        let change = altered[0].as_ref().unwrap_or_else(|error| panic!("{request:?} {fault:?}: {error:?}"));
        assert_eq!((change.from(), change.to()), (Some(4), 4), "{request:?} {fault:?}");
    }
}

#[tokio::test]
async fn a_refusal_that_stays_is_told_for_each_partition() {
    let kafka = ten_orders().await;
    let broker = kafka.embedded_broker().unwrap();
    broker.fail_requests(Request::OffsetCommit, Fault::UnknownMember, 1).unwrap();
    let altered = kafka.admin().alter_group_offsets("billing", &[("orders", 0)], OffsetSpec::Latest).await.unwrap();
    let error = altered[0].clone().unwrap_err();
    assert_eq!((error.code(), error.retry()), (Some("NON_EMPTY_GROUP"), Retry::Temporary));
    assert_eq!(
        error.to_string(),
        "alter group offsets failed for orders-0: group billing has active members: stop them first, or wait until \
         their session ends (NON_EMPTY_GROUP)"
    );
    broker.fail_requests(Request::OffsetFetch, Fault::GroupAuthorizationFailed, 1).unwrap();
    let error = kafka.admin().group_offsets_of("billing", &[("orders", 0)]).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Denied, Some("GROUP_AUTHORIZATION_FAILED")), "{error:?}");
}

#[tokio::test]
async fn what_the_embedded_broker_cannot_do_with_groups_is_said() {
    let (kafka, topic) = (ten_orders().await, ConfigResource::topic("orders"));
    let admin = kafka.admin();
    let now = OffsetSpec::Timestamp(std::time::SystemTime::now());
    for (error, expected) in [
        (admin.list_groups().await.err(), "list groups failed: the embedded broker cannot list groups"),
        (
            admin.describe_groups(&["a"]).await.err(),
            "describe groups failed: the embedded broker cannot describe groups",
        ),
        (admin.delete_groups(&["a"]).await.err(), "delete groups failed: the embedded broker cannot delete groups"),
        (
            admin.delete_group_offsets("a", &[("orders", 0)]).await.err(),
            "delete group offsets failed: the embedded broker cannot delete offsets",
        ),
        (
            admin.list_offsets(&[("orders", 0, now)], ALL).await.err(),
            "list offsets failed: the embedded broker cannot look for a time",
        ),
        (
            admin.alter_group_offsets("a", &[("orders", 0)], now).await.err(),
            "alter group offsets failed: the embedded broker cannot look for a time",
        ),
        (
            admin.describe_configs(std::slice::from_ref(&topic)).await.err(),
            "describe configurations failed: the embedded broker cannot do anything with configurations",
        ),
        (
            admin.alter_configs_incremental(&[ConfigAlteration::new(topic.clone()).delete("a")]).await.err(),
            "alter configurations failed: the embedded broker cannot do anything with configurations",
        ),
    ] {
        assert_eq!(error.unwrap().to_string(), expected);
    }
}

#[tokio::test]
async fn what_no_group_or_resource_can_be_is_refused_before_anybody_is_asked() {
    // Nobody listens there.
    let admin = Kafka::connect("127.0.0.1:1").admin();
    let (topic, long) = (ConfigResource::topic("orders"), "x".repeat(40_000));
    let change = || ConfigAlteration::new(topic.clone());
    for (error, expected) in [
        (admin.describe_groups(&[""]).await.err(), "a group's id is not empty"),
        (admin.describe_groups(&["a", "b", "a"]).await.err(), "group a is named twice"),
        (admin.delete_groups(&["nul\0"]).await.err(), "has no NUL"),
        (admin.group_offsets(&long).await.err(), "32767 bytes at most, not 40000"),
        (admin.list_groups_in(&[GroupState::Unknown]).await.err(), "`GroupState::Unknown`"),
        (
            admin.group_offsets_of("a", &[("orders", 0), ("orders", 0)]).await.err(),
            "for orders-0: the partition is named",
        ),
        (admin.group_offsets_of("a", &[("or ders", 0)]).await.err(), "\"or ders\" is no name of a topic"),
        (admin.group_lag("", ALL).await.err(), "a group's id is not empty"),
        (admin.alter_group_offsets("a", &[("orders", -1)], OffsetSpec::Latest).await.err(), "not negative, as -1 is"),
        (
            admin.alter_group_offsets("a", &[("orders", 0)], OffsetTarget::Exact(-2)).await.err(),
            "not negative, as -2 is",
        ),
        (
            admin
                .list_offsets(
                    &[("orders", 0, OffsetSpec::Timestamp(std::time::UNIX_EPOCH - Duration::from_secs(1)))],
                    ALL,
                )
                .await
                .err(),
            "before 1970",
        ),
        (admin.delete_group_offsets("a", &[("", 0)]).await.err(), "\"\" is no name of a topic"),
        (admin.describe_configs(&[ConfigResource::broker(-1)]).await.err(), "not negative, as -1 is"),
        (admin.describe_configs(&[topic.clone(), topic.clone()]).await.err(), "topic orders is named twice"),
        (admin.alter_configs_incremental(&[change()]).await.err(), "topic orders changes nothing"),
        (admin.alter_configs_incremental(&[change().set("", "1")]).await.err(), "\"\" is no key of topic orders"),
        (admin.alter_configs_incremental(&[change().set("a", "1").delete("a")]).await.err(), "`a` of topic orders is"),
        (admin.alter_configs_incremental(&[change().append("a", "\0")]).await.err(), "contains a NUL"),
    ] {
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.operation().is_some() && error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn about_no_group_partition_or_resource_nobody_is_asked() {
    let admin = Kafka::connect("127.0.0.1:1").admin();
    assert!(admin.describe_groups(&[]).await.unwrap().is_empty());
    assert!(admin.delete_groups(&[]).await.unwrap().is_empty());
    assert!(admin.list_offsets(&[], ALL).await.unwrap().is_empty());
    assert!(admin.alter_group_offsets("a", &[], OffsetSpec::Latest).await.unwrap().is_empty());
    assert!(admin.delete_group_offsets("a", &[]).await.unwrap().is_empty());
    assert!(admin.describe_configs(&[]).await.unwrap().is_empty());
    assert!(admin.alter_configs_incremental(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unreachable_cluster_is_told_within_the_timeout_for_groups_too() {
    let admin = Kafka::connect("127.0.0.1:1").admin().timeout(Duration::from_millis(300));
    let start = Instant::now();
    let errors = tokio::join!(
        async { admin.list_groups().await.unwrap_err() },
        async { admin.describe_groups(&["a"]).await.unwrap_err() },
        async { admin.group_offsets("a").await.unwrap_err() },
        async { admin.alter_group_offsets("a", &[("orders", 0)], OffsetSpec::Latest).await.unwrap_err() },
        async { admin.list_offsets(&[("orders", 0, OffsetSpec::Latest)], ALL).await.unwrap_err() },
        async { admin.describe_configs(&[ConfigResource::broker(1)]).await.unwrap_err() },
    );
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    for error in [errors.0, errors.1, errors.2, errors.3, errors.4, errors.5] {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unreachable, Retry::Temporary), "{error:?}");
    }
}

#[tokio::test]
async fn a_dropped_call_about_a_group_leaves_the_next_one_alone() {
    let kafka = ten_orders().await;
    let admin = kafka.admin();
    for wait_ms in 0..16 {
        let call = admin.alter_group_offsets("billing", &[("orders", 0)], OffsetTarget::Exact(wait_ms as i64));
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), call).await;
    }
    admin.alter_group_offsets("billing", &[("orders", 0)], OffsetTarget::Exact(3)).await.unwrap();
    assert_eq!(committed(&kafka, "billing").await, [("orders".to_owned(), 0, Some(3))]);
}

#[test]
fn a_value_that_may_be_a_secret_is_not_printed() {
    let alteration = ConfigAlteration::new(ConfigResource::broker(1)).set("ssl.key.password", "hunter2");
    assert!(!format!("{alteration:?}").contains("hunter2"));
}

#[test]
fn calls_about_groups_may_be_spawned() {
    fn spawnable<T: Send>(_: T) {}
    let kafka = Kafka::connect("a");
    let admin = kafka.admin();
    spawnable(admin.list_groups());
    spawnable(admin.describe_groups(&[]));
    spawnable(admin.delete_groups(&[]));
    spawnable(admin.group_offsets("a"));
    spawnable(admin.group_lag("a", ALL));
    spawnable(admin.alter_group_offsets("a", &[], OffsetSpec::Latest));
    spawnable(admin.plan_group_offsets("a", &[], OffsetSpec::Latest));
    spawnable(admin.delete_group_offsets("a", &[]));
    spawnable(admin.list_offsets(&[], ALL));
    spawnable(admin.describe_configs(&[]));
    spawnable(admin.alter_configs_incremental(&[]));
}
