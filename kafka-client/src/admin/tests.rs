//! Against the embedded broker; what only a real one can show is promised in the `tests` member.

mod groups;

use std::time::Instant;

use super::*;
use crate::{Fault, Request, Security};

fn embedded() -> Kafka {
    Kafka::embedded().unwrap()
}

#[tokio::test]
async fn missing_topics_are_created_and_found_unchanged_the_next_time() {
    let kafka = embedded();
    let specs = [TopicSpec::new("orders", 3), TopicSpec::new("refunds", 1)];
    for change in [TopicChange::Created, TopicChange::Unchanged] {
        let ensured = kafka.ensure_topics(&specs).await.unwrap();
        let told: Vec<_> = ensured.iter().map(|topic| (topic.name(), topic.partitions(), topic.change())).collect();
        assert_eq!(told, [("orders", 3, change), ("refunds", 1, change)]);
    }
}

#[tokio::test]
async fn more_partitions_than_asked_for_are_fine() {
    let kafka = embedded();
    kafka.embedded_broker().unwrap().create_topic("orders", 5).unwrap();
    let ensured = kafka.ensure_topics(&[TopicSpec::new("orders", 3)]).await.unwrap();
    assert_eq!(ensured[0].partitions(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_at_once_all_succeed_and_one_creates() {
    let kafka = embedded();
    let calls = (0..8).map(|_| {
        let kafka = kafka.clone();
        tokio::spawn(async move { kafka.ensure_topics(&[TopicSpec::new("orders", 3)]).await.unwrap()[0].change() })
    });
    let changes: Vec<_> = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(changes.iter().filter(|change| **change == TopicChange::Created).count(), 1, "{changes:?}");
}

#[tokio::test]
async fn what_the_embedded_broker_lacks_is_left_out_or_named() {
    let kafka = embedded();
    let spec = TopicSpec::new("orders", 2).replication(3).config("retention.ms", "1");
    let specs = [spec];
    kafka.ensure_topics(&specs).await.unwrap();
    kafka.ensure_topics(&specs).await.unwrap();
    let error = kafka.ensure_topics(&[TopicSpec::new("orders", 3)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(
        error.to_string(),
        "ensure topics failed for orders: it has fewer than 3 partitions, and the embedded broker cannot add any"
    );
    let error = kafka.delete_topics(&["orders"]).await.unwrap_err();
    assert_eq!(error.to_string(), "delete topics failed for orders: the embedded broker cannot delete a topic");
}

#[tokio::test]
async fn deleting_what_is_not_there_is_no_error() {
    let deleted = embedded().delete_topics(&["orders", "refunds"]).await.unwrap();
    let told: Vec<_> = deleted.iter().map(|topic| (topic.name(), topic.existed())).collect();
    assert_eq!(told, [("orders", false), ("refunds", false)]);
}

#[tokio::test]
async fn a_topic_is_described_and_asking_creates_none() {
    let kafka = embedded();
    assert_eq!(kafka.admin().describe_topic("orders").await.unwrap(), None);
    assert_eq!(kafka.admin().describe_topic("orders").await.unwrap(), None);
    kafka.ensure_topics(&[TopicSpec::new("orders", 3)]).await.unwrap();
    let topic = kafka.admin().describe_topic("orders").await.unwrap().unwrap();
    assert_eq!((topic.name(), topic.partitions(), topic.replication(), topic.leaderless()), ("orders", 3, 1, 0));
    assert_eq!(topic.config("retention.ms"), None);
}

#[tokio::test]
async fn nothing_is_asked_for_nothing() {
    // Nobody listens there.
    let kafka = Kafka::connect("127.0.0.1:1");
    assert_eq!(kafka.ensure_topics(&[]).await.unwrap(), []);
    assert_eq!(kafka.delete_topics(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anybody_is_asked() {
    let kafka = Kafka::connect("127.0.0.1:1");
    let ok = TopicSpec::new("ok", 1);
    for (specs, expected) in [
        (vec![TopicSpec::new("", 1)], "letters, digits"),
        (vec![TopicSpec::new("..", 1)], "\"..\""),
        (vec![TopicSpec::new("a topic", 1)], "\"a topic\""),
        (vec![TopicSpec::new("x".repeat(250), 1)], "1 to 249"),
        (vec![TopicSpec::new("nul\0", 1)], "letters, digits"),
        (vec![ok.clone(), ok.clone().config("a", "b")], "for ok: the topic is named twice"),
        (vec![ok.clone(), TopicSpec::new("orders", 0)], "for orders: a topic has at least 1 partition, not 0"),
        (vec![ok.clone().replication(0)], "for ok: a partition lies on at least 1 broker, not on 0"),
    ] {
        let error = kafka.ensure_topics(&specs).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(text.starts_with("ensure topics failed") && text.contains(expected), "{text}");
    }
    assert_eq!(kafka.delete_topics(&["a", "a"]).await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(kafka.admin().describe_topic("").await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn bad_settings_are_named() {
    // Properties of producers and consumers do not concern an admin.
    let kafka = Kafka::connect("127.0.0.1:1").set("acks", "few").set("group.id", "billing");
    let error = kafka.admin().timeout(Duration::from_millis(100)).describe_topic("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let kafka = Kafka::connect("127.0.0.1:1").set("socket.timeout.ms", "soon");
    let error = kafka.admin().describe_topic("a").await.unwrap_err();
    assert!(error.to_string().contains("`socket.timeout.ms=soon`"), "{error}");
    let kafka = Kafka::connect("127.0.0.1:1").set("sasl.password", "hunter2");
    let error = kafka.ensure_topics(&[TopicSpec::new("a", 1)]).await.unwrap_err();
    assert!(error.to_string().contains("`sasl.password` contradicts `security.protocol=plaintext`"), "{error}");
    let error = Kafka::connect("a").security(Security::sasl_plain("", "")).admin().describe_topic("a").await;
    assert!(error.unwrap_err().to_string().contains("`sasl.mechanism=PLAIN` needs `sasl.username`"));
}

#[tokio::test]
async fn an_unreachable_cluster_is_told_within_the_timeout() {
    let admin = Kafka::connect("127.0.0.1:1").admin().timeout(Duration::from_millis(300));
    let start = Instant::now();
    let error = admin.ensure_topics(&[TopicSpec::new("orders", 1)]).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unreachable, Retry::Temporary), "{error:?}");
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");
}

#[tokio::test]
async fn trouble_that_passes_is_waited_out() {
    let kafka = embedded();
    kafka.embedded_broker().unwrap().fail_requests(Request::Metadata, Fault::Disconnect, 2).unwrap();
    kafka.ensure_topics(&[TopicSpec::new("orders", 1)]).await.unwrap();
    let (admin, broker) = (kafka.admin(), kafka.embedded_broker().unwrap());
    broker.unreachable().unwrap();
    let (ensured, ()) = tokio::join!(admin.describe_topic("orders"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        broker.reachable().unwrap();
    });
    assert!(ensured.unwrap().is_some());
}

#[tokio::test]
async fn a_dropped_call_leaves_the_next_one_alone() {
    let kafka = embedded();
    let specs = [TopicSpec::new("orders", 2)];
    for wait_ms in 0..12 {
        let call = kafka.ensure_topics(&specs);
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), call).await;
    }
    assert_eq!(kafka.ensure_topics(&specs).await.unwrap()[0].partitions(), 2);
}

#[test]
fn calls_may_be_spawned() {
    fn spawnable<T: Send>(_: T) {}
    let kafka = Kafka::connect("a");
    let admin = kafka.admin();
    spawnable(admin.ensure_topics(&[]));
    spawnable(admin.delete_topics(&[]));
    spawnable(admin.describe_topic("a"));
}
