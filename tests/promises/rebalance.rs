//! Members come and go while records flow: every record is handled, once, in the order of its partition, and what is
//! committed is never ahead of what is finished.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use futures::StreamExt;
use kafka_client::{ConsumerBuilder, Error, Fault, Guarantee, Kafka, Received, Request, Topic, Utf8};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::{ClientConfig, Message as _};
use tests::harness::{Cluster, eventually, oracle, unique};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::given::{self, Lines};
use crate::group::{Account, Member, SOON, ahead, commits, committed, fill, fill_at, quick};

const PARTITIONS: i32 = 6;

/// How a group agrees on who reads what.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    Range,
    Cooperative,
    /// KIP-848.
    Consumer,
}

impl Protocol {
    fn member(self, group: &str) -> ConsumerBuilder {
        // Commits all the time, also while the group is between two generations.
        let every = Duration::from_millis(2);
        match self {
            Protocol::Range => quick(&given::kafka(), group).set("partition.assignment.strategy", "range"),
            Protocol::Cooperative => {
                quick(&given::kafka(), group).set("partition.assignment.strategy", "cooperative-sticky")
            }
            Protocol::Consumer => {
                given::kafka().consumer(group).set("group.protocol", "consumer").set("fetch.wait.max.ms", "20")
            }
        }
        .commit_interval(every)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_range_members_come_and_go_and_every_record_is_handled_once_and_in_order() {
    members_come_and_go(Protocol::Range, Guarantee::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_cooperative_sticky_members_come_and_go_and_every_record_is_handled_once_and_in_order() {
    members_come_and_go(Protocol::Cooperative, Guarantee::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_consumer_protocol_members_come_and_go_and_every_record_is_handled_once_and_in_order() {
    members_come_and_go(Protocol::Consumer, Guarantee::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_once_members_come_and_go_and_every_record_is_handled_once_and_in_order() {
    // Without a kill, nothing is lost either.
    members_come_and_go(Protocol::Cooperative, Guarantee::AtMostOnce).await;
}

async fn members_come_and_go(protocol: Protocol, guarantee: Guarantee) {
    let (topic, group, account) = (given::topic("orders", PARTITIONS), unique("billing"), Account::default());
    let flow = Flow::start(&topic);
    let watch = (guarantee == Guarantee::AtLeastOnce).then(|| watch(&topic, &group, &account));
    let start = |by| {
        let consumer = protocol.member(&group).guarantee(guarantee);
        Member::start(consumer.route(&topic, slow_at_times(by, &account)))
    };
    let goes_on = async |who: &[char]| {
        let before: Vec<usize> = who.iter().map(|by| account.of(*by)).collect();
        eventually(&format!("{who:?} handle more with {protocol:?}"), SOON, async || {
            who.iter().zip(&before).all(|(by, before)| account.of(*by) >= before + 20)
        })
        .await;
    };

    let a = start('a');
    goes_on(&['a']).await;
    let b = start('b');
    goes_on(&['a', 'b']).await;
    let c = start('c');
    goes_on(&['a', 'b', 'c']).await;
    let left = b.stop().await;
    assert!(left.left_group && left.unfinished == 0, "{left:?}");
    goes_on(&['a', 'c']).await;
    a.stop().await;
    goes_on(&['c']).await;

    let written = flow.stop().await;
    account.reaches(written.values().sum::<i64>() as usize).await;
    c.stop().await;
    if let Some(watch) = watch {
        watch.stop().await;
    }
    for (partition, end) in &written {
        assert_eq!(account.offsets(*partition), (0..*end).collect::<Vec<_>>(), "{protocol:?}, partition {partition}");
    }
    assert_eq!(committed(&group, &topic), written, "{protocol:?}");
}

/// Every third record takes a millisecond, so that there is always something in the middle.
fn slow_at_times(
    by: char,
    account: &Account,
) -> impl Fn(Received<String, String>) -> futures::future::BoxFuture<'static, Result<(), Error>> + Send + Sync + 'static
{
    let account = account.clone();
    move |record| {
        let account = account.clone();
        Box::pin(async move {
            if record.offset() % 3 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            account.record(by, &record);
            Ok(())
        })
    }
}

/// Records that flow to all partitions, until they are stopped.
struct Flow {
    stopped: Arc<AtomicBool>,
    task: JoinHandle<BTreeMap<i32, i64>>,
}

impl Flow {
    fn start(topic: &Lines) -> Self {
        let (topic, stopped) = (topic.clone(), Arc::new(AtomicBool::new(false)));
        let stop = stopped.clone();
        let task = tokio::spawn(async move {
            let producer = given::built(given::kafka().producer());
            let mut written = BTreeMap::new();
            while !stop.load(SeqCst) {
                for partition in 0..PARTITIONS {
                    let batch =
                        (0..2).map(|n| topic.record("k", if n == 0 { "tick" } else { "tock" }).partition(partition));
                    producer.send_batch(batch).await.unwrap();
                    *written.entry(partition).or_default() += 2;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            written
        });
        Self { stopped, task }
    }

    /// How many were written, by partition.
    async fn stop(self) -> BTreeMap<i32, i64> {
        self.stopped.store(true, SeqCst);
        self.task.await.unwrap()
    }
}

/// Looks all the time whether a commit is ahead of what is finished.
struct Watch {
    stopped: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

fn watch(topic: &Lines, group: &str, account: &Account) -> Watch {
    let (topic, group, account) = (topic.clone(), group.to_owned(), account.clone());
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = stopped.clone();
    let task = spawn_blocking(move || {
        while !stop.load(SeqCst) {
            let committed = committed(&group, &topic);
            assert_eq!(ahead(&committed, &account.unfinished(PARTITIONS)), [], "ahead of what is finished");
        }
    });
    Watch { stopped, task }
}

impl Watch {
    async fn stop(self) {
        self.stopped.store(true, SeqCst);
        self.task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_careless_way_handles_records_twice_and_out_of_order() {
    let (topic, group, account) = (given::topic("orders", PARTITIONS), unique("billing"), Account::default());
    let flow = Flow::start(&topic);
    let careless = |by: char| {
        let (topic, group, account) = (topic.name().to_owned(), group.clone(), account.clone());
        tokio::spawn(async move {
            let consumer: Arc<StreamConsumer> = Arc::new(
                ClientConfig::new()
                    .set("bootstrap.servers", Cluster::shared().bootstrap())
                    .set("group.id", group)
                    .set("auto.offset.reset", "earliest")
                    .set("heartbeat.interval.ms", "100")
                    .set("auto.commit.interval.ms", "10")
                    .set("enable.auto.offset.store", "false")
                    .create()
                    .unwrap(),
            );
            consumer.subscribe(&[&topic]).unwrap();
            // A task a record, whose offset is stored at its end. Nobody waits for them when partitions move.
            while let Some(Ok(record)) = consumer.stream().next().await {
                let (consumer, account, record) = (consumer.clone(), account.clone(), record.detach());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(20 + 7 * (record.offset() % 2) as u64)).await;
                    account.add(by, record.partition(), record.offset());
                    let _ = consumer.store_offset(record.topic(), record.partition(), record.offset());
                });
            }
        })
    };
    let a = careless('a');
    account.reaches(100).await;
    let b = careless('b');
    eventually("b handles records too", SOON, async || account.of('b') >= 100).await;
    let written = flow.stop().await;
    eventually("the check finds records that were handled twice", SOON, async || {
        let mut all = account.all().into_iter().map(|handled| (handled.partition, handled.offset)).collect::<Vec<_>>();
        all.sort_unstable();
        all.windows(2).any(|two| two[0] == two[1])
    })
    .await;
    let in_order = |partition: &i32| account.offsets(*partition).is_sorted();
    assert!(!written.keys().all(in_order), "the check finds records out of order");
    a.abort();
    b.abort();
}

#[tokio::test]
async fn what_is_acknowledged_after_the_partition_has_moved_commits_nothing() {
    let (topic, group, account) = (given::topic("orders", 2), unique("billing"), Account::default());
    for partition in [0, 1] {
        fill(&topic, partition, 10);
    }
    let range = || Protocol::Range.member(&group).drain_timeout(Duration::from_millis(200));
    let mut a = range().stream(&topic).unwrap();
    let mut held = Vec::new();
    while held.len() < 20 {
        held.push(a.next().await.unwrap().unwrap());
    }
    // One partition moves; the other one begins a new life with the same member.
    let b = Member::start(range().route(&topic, slow_at_times('b', &account)));
    let first_again = a.next().await.unwrap().unwrap();
    let (kept, moved) = (first_again.partition(), 1 - first_again.partition());
    assert_eq!(first_again.offset(), 0);
    commits(&group, &topic, &[(moved, 10)]).await;

    // What `a` still holds is of an earlier life, whichever partition it is from.
    for record in held {
        record.ack();
    }
    // When this one is committed, everything that was acknowledged before it would be.
    first_again.ack();
    commits(&group, &topic, &[(kept, 1), (moved, 10)]).await;
    a.close().await.unwrap();
    b.stop().await;
    assert_eq!(account.offsets(moved), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_member_that_is_put_out_of_its_group_comes_back_and_loses_nothing() {
    let put_out = async |strategy: &str| {
        let kafka = Kafka::embedded().unwrap();
        let broker = kafka.embedded_broker().unwrap();
        broker.create_topic("orders", 2).unwrap();
        let (topic, account) = (Topic::new("orders", Utf8, Utf8), Account::default());
        let consumer = quick(&kafka, "billing")
            .set("partition.assignment.strategy", strategy)
            .set("session.timeout.ms", "400")
            .route(&topic, slow_at_times('a', &account));
        let member = Member::start(consumer);
        let faults = [
            (Request::Heartbeat, Fault::UnknownMember),
            (Request::OffsetCommit, Fault::UnknownMember),
            (Request::OffsetCommit, Fault::IllegalGeneration),
            (Request::Heartbeat, Fault::RebalanceInProgress),
        ];
        for (from, (request, fault)) in (0..).step_by(50).zip(faults) {
            broker.fail_requests(request, fault, 1).unwrap();
            for partition in [0, 1] {
                fill_at(broker.bootstrap_servers(), "orders", partition, from, 50);
            }
            let all = BTreeMap::from([(0, from + 50), (1, from + 50)]);
            eventually(&format!("{strategy} goes on after {fault:?} of {request:?}"), SOON, async || {
                account.unfinished(2) == all
                    && oracle::committed(broker.bootstrap_servers(), "billing", "orders") == all
            })
            .await;
        }
        member.stop().await;
    };
    futures::future::join(put_out("range"), put_out("cooperative-sticky")).await;
}
