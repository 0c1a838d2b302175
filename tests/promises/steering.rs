//! A running consumer can be steered and looked into: pause, resume, seek, lag, health; and its handlers are watched.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use kafka_client::{
    Assigned, BoxError, ConsumerBuilder, ConsumerHandle, Error, ErrorKind, OnStuck, RebalanceListener, Received,
    RunningConsumer, StartAt, StartFrom, Topic, TopicPartition, Utf8,
};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given::{self, Lines};
use crate::group::{Account, Door, SOON, Taken, commits, fill, quick};

fn start(builder: ConsumerBuilder) -> RunningConsumer {
    builder.build().unwrap_or_else(|e| panic!("{e}")).spawn()
}

#[tokio::test]
async fn a_spawned_consumer_ends_in_good_order_when_it_is_stopped_or_dropped_and_tells_its_error() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    fill(&topic, 0, 5);
    let running = start(quick(&given::kafka(), &group).route(&topic, handler(&account)));
    account.reaches(5).await;
    let report = running.stop().await.unwrap();
    assert_eq!((report.handled, report.unfinished, report.left_group), (5, 0, true));
    commits(&group, &topic, &[(0, 5)]).await;

    // Nothing is committed before the end but by the end.
    fill(&topic, 0, 5);
    let consumer = quick(&given::kafka(), &group).commit_interval(Duration::from_secs(100));
    let running = start(consumer.route(&topic, handler(&account)));
    let handle = running.handle().clone();
    account.reaches(10).await;
    drop(running);
    commits(&group, &topic, &[(0, 10)]).await;
    eventually("it has ended", SOON, async || !handle.health().live).await;

    fill(&topic, 0, 1);
    let seen = Taken::new();
    let told = seen.clone();
    let fails = move |record: Received<String, String>| {
        told.push(record.topic_partition());
        std::future::ready(Err::<(), _>("no more"))
    };
    let failed = start(quick(&given::kafka(), &group).route(&topic, fails));
    let error = tokio::time::timeout(SOON, failed).await.expect("it ends by itself").unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Handler, Some(10)), "{error}");
    assert_eq!(error.group(), Some(&*group));
    assert_eq!(seen.all(), [TopicPartition::new(topic.name(), 0)]);
}

/// The consumer waits for its handlers when it ends, and they may be waiting for it.
#[tokio::test]
async fn a_handler_that_asks_its_own_consumer_while_that_ends_is_answered_and_finishes() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 1);
    let (own, begun) = (Arc::new(OnceLock::<ConsumerHandle>::new()), Taken::new());
    let (asks, begins) = (own.clone(), begun.clone());
    let handler = move |record: Received<String, String>| {
        let asks = asks.clone();
        begins.push(());
        async move {
            let handle = asks.get().expect("it runs").clone();
            while handle.health().ready {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let partitions = handle.partitions().await?;
            assert_eq!(partitions.len(), 1);
            handle.pause([record.topic_partition()]).await
        }
    };
    let consumer = quick(&given::kafka(), &group).drain_timeout(Duration::from_secs(60)).route(&topic, handler);
    let consumer = consumer.build().unwrap();
    own.set(consumer.handle()).unwrap();
    let running = consumer.spawn();
    eventually("it is being handled", SOON, async || begun.len() == 1).await;
    let report = tokio::time::timeout(SOON, running.stop()).await.expect("it ends").unwrap();
    assert_eq!((report.handled, report.unfinished), (1, 0));
    commits(&group, &topic, &[(0, 1)]).await;
}

fn handler(
    account: &Account,
) -> impl Fn(Received<String, String>) -> std::future::Ready<Result<(), Error>> + Send + Sync + use<> {
    let account = account.clone();
    move |record| {
        account.record('a', &record);
        std::future::ready(Ok(()))
    }
}

#[tokio::test]
async fn a_paused_partition_begins_nothing_has_the_right_lag_and_goes_on_when_resumed() {
    let (topic, group, account) = (given::topic("orders", 2), unique("billing"), Account::default());
    fill(&topic, 0, 5);
    fill(&topic, 1, 5);
    let running = start(quick(&given::kafka(), &group).route(&topic, handler(&account)));
    account.reaches(10).await;
    running.handle().pause([(topic.name(), 0)]).await.unwrap();
    fill(&topic, 0, 7);
    fill(&topic, 1, 7);
    account.reaches(17).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((account.offsets(0).len(), account.offsets(1).len()), (5, 12));
    let lag = running.handle().lag().await.unwrap();
    assert_eq!(lag.iter().map(|one| (one.records, one.end)).collect::<Vec<_>>(), [(7, 12), (0, 12)]);
    let paused: Vec<bool> = running.handle().partitions().await.unwrap().iter().map(|one| one.paused).collect();
    assert_eq!(paused, [true, false]);
    running.handle().resume([(topic.name(), 0)]).await.unwrap();
    account.reaches(24).await;
    commits(&group, &topic, &[(0, 12), (1, 12)]).await;
    let health = running.handle().health();
    assert!(health.live && health.ready && health.stuck.is_empty() && health.last_commit.is_some(), "{health:?}");
    assert_eq!((health.assigned, running.handle().exposure()), (2, 0));
    let handle = running.handle().clone();
    running.stop().await.unwrap();
    assert!(!handle.health().live);
    assert_eq!(handle.lag().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn markers_of_transactions_leave_no_lag_behind() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    let running = start(quick(&given::kafka(), &group).route(&topic, handler(&account)));
    let name = topic.name().to_owned();
    tokio::task::spawn_blocking(move || {
        let producer: ThreadedProducer<_> = ClientConfig::new()
            .set("bootstrap.servers", Cluster::shared().bootstrap())
            .set("transactional.id", unique("t"))
            .create()
            .unwrap();
        let patience = Duration::from_secs(20);
        producer.init_transactions(patience).unwrap();
        for n in 0..3 {
            producer.begin_transaction().unwrap();
            producer.send(BaseRecord::to(&name).key("k").payload(&n.to_string())).map_err(|(error, _)| error).unwrap();
            producer.commit_transaction(patience).unwrap();
        }
    })
    .await
    .unwrap();
    account.reaches(3).await;
    // Three records and three markers.
    commits(&group, &topic, &[(0, 6)]).await;
    assert_eq!(running.handle().lag().await.unwrap()[0].records, 0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn seek_goes_to_offsets_times_and_both_ends_and_commits_follow() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    fill(&topic, 0, 10);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let later = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    fill(&topic, 0, 10);
    let running = start(quick(&given::kafka(), &group).route(&topic, handler(&account)));
    account.reaches(20).await;
    let mut handled = 20;
    for (to, from) in [(StartAt::Offset(15), 15), (StartAt::Beginning, 0), (StartAt::Time(later), 10)] {
        running.handle().seek((topic.name(), 0), to).await.unwrap();
        handled += 20 - from;
        account.reaches(handled as usize).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let again: Vec<i64> = account.offsets(0).split_off((handled - (20 - from)) as usize);
        assert_eq!(again, (from..20).collect::<Vec<_>>(), "{to:?}");
        commits(&group, &topic, &[(0, 20)]).await;
    }
    running.handle().pause([(topic.name(), 0)]).await.unwrap();
    fill(&topic, 0, 10);
    running.handle().seek((topic.name(), 0), StartAt::End).await.unwrap();
    running.handle().resume([(topic.name(), 0)]).await.unwrap();
    fill(&topic, 0, 1);
    account.reaches(handled as usize + 1).await;
    assert_eq!(account.offsets(0).last(), Some(&30));
    let error = running.handle().seek((topic.name(), 7), StartAt::End).await.unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::Config, Some(7)), "{error}");
    running.stop().await.unwrap();
}

/// Starts every partition at the same place.
struct Starts(StartAt);

impl RebalanceListener for Starts {
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        for partition in assigned.partitions() {
            assigned.start_at(&partition, self.0);
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_listener_says_where_to_start_also_where_nothing_else_would() {
    let (topic, account) = (given::topic("orders", 1), Account::default());
    fill(&topic, 0, 10);
    let consumer = quick(&given::kafka(), &unique("billing")).start_from(StartFrom::Fail);
    let consumer = consumer.on_rebalance(Starts(StartAt::Offset(4))).route(&topic, handler(&account));
    let running = start(consumer);
    account.reaches(6).await;
    assert_eq!(account.offsets(0), (4..10).collect::<Vec<_>>());
    running.stop().await.unwrap();
}

fn hangs_at_3(account: &Account, door: &Door) -> impl kafka_client::Handler<Received<String, String>> + use<> {
    let (account, door) = (account.clone(), door.clone());
    move |record: Received<String, String>| {
        let (account, passed) =
            (account.clone(), door.pass(i64::from(record.offset() == 3 && record.partition() == 0)));
        async move {
            let _ = passed.await;
            account.record('a', &record);
            Ok::<_, Error>(())
        }
    }
}

async fn watched(then: OnStuck) -> (Lines, String, Account, Door, RunningConsumer) {
    let (topic, group, account, door) =
        (given::topic("orders", 2), unique("billing"), Account::default(), Door::closed());
    door.open_to(1);
    fill(&topic, 0, 10);
    fill(&topic, 1, 10);
    let consumer = quick(&given::kafka(), &group).handler_limit(Duration::from_millis(400), then);
    let running = start(consumer.route(&topic, hangs_at_3(&account, &door)));
    account.reaches(13).await;
    (topic, group, account, door, running)
}

#[tokio::test]
async fn a_stuck_handler_is_named_and_others_go_on() {
    let (topic, _, account, door, running) = watched(OnStuck::Warn).await;
    let handle = running.handle().clone();
    eventually("it is named", SOON, async || handle.health().stuck.len() == 1).await;
    let stuck = handle.health().stuck.remove(0);
    assert_eq!((stuck.partition, stuck.offset), (TopicPartition::new(topic.name(), 0), 3));
    assert_eq!(stuck.key.as_deref(), Some(&b"k"[..]));
    fill(&topic, 1, 10);
    account.reaches(23).await;
    door.open();
    account.reaches(30).await;
    eventually("it is named no more", SOON, async || handle.health().stuck.is_empty()).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stuck_handler_is_cancelled_and_its_record_handled_again() {
    let (topic, group, account, door, running) = watched(OnStuck::Rewind).await;
    // The first try hangs for ever; those that begin once it is open do not.
    tokio::time::sleep(Duration::from_millis(300)).await;
    door.open();
    account.reaches(20).await;
    commits(&group, &topic, &[(0, 10), (1, 10)]).await;
    assert_eq!(account.offsets(0), (0..10).collect::<Vec<_>>());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stuck_handler_makes_its_consumer_leave() {
    let (topic, group, _, _door, running) = watched(OnStuck::Leave).await;
    let error = tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Stuck, Some(topic.name())), "{error}");
    assert_eq!((error.partition(), error.offset()), (Some(0), Some(3)), "{error}");
    commits(&group, &topic, &[(0, 3), (1, 10)]).await;
}

#[tokio::test]
async fn partition_streams_end_when_their_partition_is_taken_away() {
    let (topic, group) = (given::topic("orders", 2), unique("billing"));
    fill(&topic, 0, 3);
    fill(&topic, 1, 3);
    let mut streams = quick(&given::kafka(), &group).partition_streams(&topic).unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(streams.next().await.unwrap().unwrap());
    }
    for stream in &mut open {
        for offset in 0..3 {
            let record = stream.next().await.unwrap();
            assert_eq!(record.offset(), offset);
            record.ack();
        }
    }
    commits(&group, &topic, &[(0, 3), (1, 3)]).await;
    let report = streams.close().await.unwrap();
    assert_eq!((report.handled, report.unfinished), (6, 0));
    for mut stream in open {
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn partitions_can_be_chosen_by_hand_and_topics_by_a_pattern() {
    let (topic, group, account) = (given::topic("orders", 3), unique("billing"), Account::default());
    (0..3).for_each(|partition| fill(&topic, partition, 4));
    let consumer = quick(&given::kafka(), &group).assign([(topic.name(), 1)]).route(&topic, handler(&account));
    let running = start(consumer);
    account.reaches(4).await;
    commits(&group, &topic, &[(1, 4)]).await;
    let report = running.stop().await.unwrap();
    assert_eq!((report.handled, account.offsets(1).len()), (4, 4));

    let prefix = unique("pattern");
    let pattern = Topic::new(format!("^{prefix}-.*"), Utf8, Utf8);
    let account = Account::default();
    let consumer = quick(&given::kafka(), &unique("billing")).set("topic.metadata.refresh.interval.ms", "300");
    let running = start(consumer.route(&pattern, handler(&account)));
    for name in ["a", "b"] {
        let name = format!("{prefix}-{name}");
        oracle::create_topic(Cluster::shared().bootstrap(), &name, 1, 1);
        fill(&Topic::new(name, Utf8, Utf8), 0, 2);
        let before = account.len();
        account.reaches(before + 2).await;
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn by_hand_on_a_broker_that_has_never_seen_a_group() {
    let cluster = Cluster::start(1);
    let (topic, account) = (given::topic_on(&cluster, "orders", 2), Account::default());
    crate::group::fill_at(cluster.bootstrap(), topic.name(), 0, 0, 100);
    let consumer = kafka_client::Kafka::connect(cluster.bootstrap()).consumer(unique("billing"));
    let running = start(consumer.assign([(topic.name(), 0)]).route(&topic, handler(&account)));
    account.reaches(100).await;
    running.stop().await.unwrap();
}
