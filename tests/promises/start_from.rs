//! A group without an offset starts where it is told to, and what is not there any more is not skipped in silence.

use std::time::Duration;

use kafka_client::{Error, Received, StartFrom};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tests::harness::{Cluster, eventually, unique};

use crate::given::{self, Lines};
use crate::group::{Door, Member, SOON, Taken, committed, fill, quick};

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
        pass.pass(record.offset())
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
