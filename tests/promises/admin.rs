//! Topics are made to be what they should be, whoever else does the same at the same time.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kafka_client::{Error, ErrorKind, Kafka, TopicChange, TopicSpec};
use tests::harness::{Cluster, oracle, unique};

fn kafka() -> Kafka {
    Kafka::connect(Cluster::shared().bootstrap())
}

/// Writes to the last partition that a topic should have; panics if there is none.
fn write_to(partition: i32, topic: &str) {
    oracle::produce(Cluster::shared().bootstrap(), topic, &[(Some(partition), Some(b"o-1"), Some(b"paid"))]);
}

async fn partitions(kafka: &Kafka, topic: &str) -> Result<i32, Error> {
    Ok(kafka.admin().describe_topic(topic).await?.map_or(0, |topic| topic.partitions()))
}

async fn change(kafka: &Kafka, spec: TopicSpec) -> Result<TopicChange, Error> {
    Ok(kafka.ensure_topics(&[spec]).await?[0].change())
}

#[tokio::test]
async fn a_missing_topic_is_created_as_stated_and_can_be_used_at_once() -> Result<(), Error> {
    let (kafka, topic) = (kafka(), unique("orders"));
    let spec = TopicSpec::new(&topic, 3)
        .replication(1)
        .config("retention.ms", "86400000")
        .config("cleanup.policy", "compact,delete");
    assert_eq!(change(&kafka, spec.clone()).await?, TopicChange::Created);
    write_to(2, &topic);

    let Some(found) = kafka.admin().describe_topic(&topic).await? else { panic!("{topic} is gone") };
    assert_eq!((found.partitions(), found.replication(), found.leaderless()), (3, 1, 0));
    assert_eq!(found.config("retention.ms"), Some("86400000"));
    assert_eq!(found.config("cleanup.policy"), Some("compact,delete"));

    assert_eq!(change(&kafka, spec).await?, TopicChange::Unchanged);
    // What is not stated is not compared.
    assert_eq!(change(&kafka, TopicSpec::new(&topic, 1)).await?, TopicChange::Unchanged);
    Ok(())
}

#[tokio::test]
async fn a_topic_with_fewer_partitions_is_grown_and_one_with_more_is_left_alone() -> Result<(), Error> {
    let (kafka, topic) = (kafka(), unique("orders"));
    oracle::create_topic(Cluster::shared().bootstrap(), &topic, 2, 1);
    assert_eq!(change(&kafka, TopicSpec::new(&topic, 5)).await?, TopicChange::Grown { from: 2 });
    write_to(4, &topic);
    let ensured = kafka.ensure_topics(&[TopicSpec::new(&topic, 3)]).await?;
    assert_eq!((ensured[0].change(), ensured[0].partitions()), (TopicChange::Unchanged, 5));
    Ok(())
}

#[tokio::test]
async fn eight_at_once_all_succeed_and_one_of_them_creates() -> Result<(), Error> {
    for _ in 0..5 {
        let topic = unique("orders");
        let spec = TopicSpec::new(&topic, 4).config("retention.ms", "86400000");
        // Eight applications: each has a client of its own.
        let all = join_all((0..8).map(|_| async { change(&kafka(), spec.clone()).await })).await;
        let changes = all.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(changes.iter().filter(|change| **change == TopicChange::Created).count(), 1, "{changes:?}");
        assert_eq!(partitions(&kafka(), &topic).await?, 4);
    }
    Ok(())
}

#[tokio::test]
async fn eight_that_grow_at_once_all_succeed() -> Result<(), Error> {
    let topic = unique("orders");
    oracle::create_topic(Cluster::shared().bootstrap(), &topic, 1, 1);
    // Not of one mind, either.
    let all = join_all((2..10).map(|wanted| {
        let topic = &topic;
        async move {
            kafka()
                .ensure_topics(&[TopicSpec::new(topic, wanted)])
                .await
                .map(|ensured| ensured[0].partitions() >= wanted)
        }
    }));
    assert_eq!(all.await.into_iter().collect::<Result<Vec<_>, _>>()?, [true; 8]);
    assert_eq!(partitions(&kafka(), &topic).await?, 9);
    write_to(8, &topic);
    Ok(())
}

#[tokio::test]
async fn a_topic_that_differs_is_named_and_nothing_is_changed() -> Result<(), Error> {
    let (kafka, existing, missing) = (kafka(), unique("orders"), unique("refunds"));
    kafka.ensure_topics(&[TopicSpec::new(&existing, 2).config("retention.ms", "86400000")]).await?;
    for (wanted, what) in [
        (TopicSpec::new(&existing, 4).config("retention.ms", "1000"), "`retention.ms` is 86400000, wanted 1000"),
        (
            TopicSpec::new(&existing, 4).config("cleanup.policy", "compact"),
            "`cleanup.policy` is delete, wanted compact",
        ),
        (TopicSpec::new(&existing, 4).replication(3), "replication factor is 1, wanted 3"),
    ] {
        let Err(error) = kafka.ensure_topics(&[TopicSpec::new(&missing, 1), wanted]).await else {
            panic!("{what} was accepted")
        };
        assert_eq!((error.kind(), error.topic()), (ErrorKind::Mismatch, Some(existing.as_str())));
        assert_eq!(error.to_string(), format!("ensure topics failed for {existing}: the topic exists, but {what}"));
    }
    assert_eq!(partitions(&kafka, &existing).await?, 2);
    assert_eq!(kafka.admin().describe_topic(&missing).await?, None);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() -> Result<(), Error> {
    let (kafka, topic) = (kafka(), unique("orders"));
    for (spec, word) in [
        (TopicSpec::new(&topic, 1).config("retention.msec", "1"), "retention.msec"),
        (TopicSpec::new(&topic, 1).config("retention.ms", "soon"), "retention.ms"),
        (TopicSpec::new(&topic, 1).replication(9), "replication"),
    ] {
        let Err(error) = kafka.ensure_topics(&[spec]).await else { panic!("{word} was accepted") };
        assert_eq!((error.kind(), error.topic()), (ErrorKind::Config, Some(topic.as_str())), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
    kafka.ensure_topics(&[TopicSpec::new(&topic, 1)]).await?;
    let unknown = kafka.ensure_topics(&[TopicSpec::new(&topic, 1).config("retention.msec", "1")]).await;
    assert!(
        unknown.is_err_and(|error| error.kind() == ErrorKind::Config && error.to_string().contains("retention.msec"))
    );
    Ok(())
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_its_name_is_free() -> Result<(), Error> {
    let (kafka, topic, missing) = (kafka(), unique("orders"), unique("refunds"));
    for partitions in [3, 1, 2] {
        assert_eq!(change(&kafka, TopicSpec::new(&topic, partitions)).await?, TopicChange::Created);
        let deleted = kafka.delete_topics(&[&topic, &missing]).await?;
        let told: Vec<_> = deleted.iter().map(|topic| (topic.name(), topic.existed())).collect();
        assert_eq!(told, [(topic.as_str(), true), (missing.as_str(), false)]);
        assert_eq!(kafka.admin().describe_topic(&topic).await?, None);
    }
    assert!(!kafka.delete_topics(&[&topic]).await?[0].existed());
    Ok(())
}

#[tokio::test]
async fn a_broker_that_dies_holds_nobody_up_for_long() -> Result<(), Error> {
    let cluster = Cluster::start(3);
    let kafka = Kafka::connect(cluster.bootstrap());
    let spec = |name: &str| TopicSpec::new(name, 3).replication(2).config("min.insync.replicas", "1");
    assert_eq!(change(&kafka, spec("before")).await?, TopicChange::Created);
    for (dead, name) in [(0, "one"), (1, "two")] {
        cluster.node(dead).kill();
        let start = Instant::now();
        // Where the answer dies with the broker, the second request finds the topic that the first one made.
        let made = change(&kafka, spec(name)).await?;
        assert!(matches!(made, TopicChange::Created | TopicChange::Unchanged), "{name}: {made:?}");
        assert!(oracle::leader(cluster.bootstrap(), name, 0) >= 0, "{name}");
        assert_eq!(change(&kafka, spec("before")).await?, TopicChange::Unchanged, "{name}");
        assert!(start.elapsed() < Duration::from_secs(20), "{name}: {:?}", start.elapsed());
        cluster.node(dead).start();
    }
    Ok(())
}

#[tokio::test]
async fn a_stopped_cluster_is_told_within_the_timeout() -> Result<(), Error> {
    let cluster = Cluster::start(1);
    let admin = Kafka::connect(cluster.bootstrap()).admin();
    admin.ensure_topics(&[TopicSpec::new("orders", 1)]).await?;
    cluster.node(0).stop();
    let start = Instant::now();
    let hasty = admin.clone().timeout(Duration::from_secs(1));
    let Err(error) = hasty.ensure_topics(&[TopicSpec::new("orders", 2)]).await else { panic!("it answered") };
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    // Far from what is the default, and far enough from the second for a machine that is busy.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    cluster.node(0).cont();
    admin.ensure_topics(&[TopicSpec::new("orders", 2)]).await?;
    Ok(())
}
