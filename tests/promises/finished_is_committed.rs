//! What is committed is finished: an offset never passes a record that somebody still works on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::future::BoxFuture;
use kafka_client::{Completion, Error, Fault, Guarantee, Kafka, Received, Request, Topic, Utf8};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tests::harness::{Cluster, eventually, oracle, unique};
use tokio::sync::{Semaphore, oneshot};

use crate::given;
use crate::group::{Door, Member, SOON, ahead, commits, committed, fill, fill_at, quick};

/// Records that were begun and whose end somebody else decides.
#[derive(Clone, Default)]
struct Begun {
    ends: Arc<Mutex<BTreeMap<i64, oneshot::Sender<()>>>>,
}

impl Begun {
    fn later(&self, offset: i64) -> Completion {
        let (end, ended) = oneshot::channel();
        self.ends.lock().insert(offset, end);
        Completion::later(ended)
    }

    fn count(&self) -> usize {
        self.ends.lock().len()
    }

    fn finish(&self, offset: i64) {
        self.ends.lock().remove(&offset).expect("it was begun").send(()).expect("it is waited for");
    }

    fn lowest(&self) -> Option<i64> {
        self.ends.lock().keys().next().copied()
    }
}

#[tokio::test]
async fn completions_that_end_out_of_order_hold_the_commit_back() {
    const RECORDS: i64 = 40;
    let (topic, group) = (given::topic("orders", 2), unique("billing"));
    fill(&topic, 0, RECORDS as usize);
    let begun = Begun::default();
    let handler = {
        let begun = begun.clone();
        move |record: Received<String, String>| {
            let later = (record.partition() == 0).then(|| begun.later(record.offset()));
            async { Ok::<_, Error>(later.unwrap_or_else(Completion::done)) }
        }
    };
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    eventually("all are begun", SOON, async || begun.count() == RECORDS as usize).await;

    // The other partition is the clock: when its new record is committed, so is what was finished before it.
    let mut ticks = 0;
    let mut tick = async || {
        fill(&topic, 1, 1);
        ticks += 1;
        eventually("the clock ticks", SOON, async || committed(&group, &topic).get(&1) == Some(&ticks)).await;
        committed(&group, &topic).get(&0).copied()
    };
    assert_eq!(tick().await, None);
    for (n, offset) in shuffled(RECORDS).into_iter().enumerate() {
        begun.finish(offset);
        if n % 5 == 0 || n as i64 >= RECORDS - 3 {
            // Also 0: what is finished beyond it rides on that commit.
            let expected = Some(begun.lowest().unwrap_or(RECORDS));
            assert_eq!(tick().await, expected, "after {offset} was finished");
        }
    }
    let report = member.stop().await;
    assert_eq!((report.handled, report.unfinished), (RECORDS as u64 + ticks as u64, 0));
}

/// The numbers below `count` in an order of their own, the same in every run.
fn shuffled(count: i64) -> Vec<i64> {
    // 7 and 11 have no factor with it in common, so every number comes once.
    (0..count).map(|n| (n * 7 + 11) % count).collect()
}

#[tokio::test]
async fn the_careless_way_commits_what_was_only_polled() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 10);
    // librdkafka's defaults, faster: an offset is stored when the record is polled, and committed by a timer.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", Cluster::shared().bootstrap())
        .set("group.id", &group)
        .set("auto.offset.reset", "earliest")
        .set("auto.commit.interval.ms", "10")
        .create()
        .unwrap();
    consumer.subscribe(&[topic.name()]).unwrap();
    let mut polled = Vec::new();
    while polled.len() < 10 {
        polled.extend(consumer.poll(Duration::from_millis(100)).map(|record| record.unwrap().detach()));
    }
    // Nothing is finished: the first offset that is not is 0.
    let unfinished = BTreeMap::from([(0, 0)]);
    eventually("the check finds offsets ahead of what is finished", SOON, async || {
        !ahead(&committed(&group, &topic), &unfinished).is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_runs_holds_back_its_record_and_all_that_follow() {
    let (topic, group, door) = (given::topic("orders", 1), unique("billing"), Door::closed());
    fill(&topic, 0, 10);
    let pass = door.clone();
    let handler = move |record: Received<String, String>| pass.pass(record.offset());
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    for below in [3, 4, 9] {
        door.open_to(below);
        commits(&group, &topic, &[(0, below)]).await;
    }
    door.open();
    commits(&group, &topic, &[(0, 10)]).await;
    assert_eq!(member.stop().await.committed[&(topic.name().to_owned(), 0)], 10);
}

#[tokio::test]
async fn a_handler_may_wait_for_the_end_of_an_earlier_record() {
    const RECORDS: usize = 50;
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, RECORDS);
    // Work goes on after the handler, for so many records at a time: the next handler waits for an earlier record.
    let places = Arc::new(Semaphore::new(2));
    let handler = move |_: Received<String, String>| {
        let places = places.clone();
        async move {
            let place = places.acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>(Completion::later(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                drop(place);
                Ok::<_, Error>(())
            }))
        }
    };
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    commits(&group, &topic, &[(0, RECORDS as i64)]).await;
    assert_eq!(member.stop().await.handled, RECORDS as u64);
}

#[tokio::test]
async fn a_lane_waits_for_ten_thousand_completions_at_most() {
    const RECORDS: usize = 12_000;
    const MOST: usize = 10_000;
    let (topic, group, door) = (given::topic("orders", 1), unique("billing"), Door::closed());
    fill(&topic, 0, RECORDS);
    let begun = Arc::new(AtomicUsize::new(0));
    let handler = {
        let (begun, door) = (begun.clone(), door.clone());
        move |_: Received<String, String>| {
            begun.fetch_add(1, SeqCst);
            let passed = door.pass(0);
            async { Ok::<_, Error>(Completion::later(passed)) }
        }
    };
    let member = Member::start(quick(&given::kafka(), &group).max_batch_records(100).route(&topic, handler));
    eventually("it waits", SOON, async || begun.load(SeqCst) >= MOST).await;
    // No event tells that nothing more is begun.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(begun.load(SeqCst) <= MOST + 100, "{} were begun", begun.load(SeqCst));
    assert_eq!(committed(&group, &topic), [].into());
    door.open();
    commits(&group, &topic, &[(0, RECORDS as i64)]).await;
    assert_eq!(member.stop().await.handled, RECORDS as u64);
}

#[tokio::test]
async fn a_refused_commit_is_tried_again() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        let kafka = Kafka::embedded().unwrap();
        let broker = kafka.embedded_broker().unwrap();
        broker.create_topic("orders", 1).unwrap();
        fill_at(broker.bootstrap_servers(), "orders", 0, 0, 10);
        broker.fail_requests(Request::OffsetCommit, Fault::Code(28), 3).unwrap();
        let handled = Arc::new(AtomicI64::new(0));
        let handler = {
            let handled = handled.clone();
            move |_: Received<String, String>| -> BoxFuture<'static, Result<(), Error>> {
                handled.fetch_add(1, SeqCst);
                Box::pin(async { Ok(()) })
            }
        };
        let topic = Topic::new("orders", Utf8, Utf8);
        let member = Member::start(quick(&kafka, "billing").guarantee(guarantee).route(&topic, handler));
        eventually("the offset is committed", SOON, async || {
            oracle::committed(broker.bootstrap_servers(), "billing", "orders") == BTreeMap::from([(0, 10)])
        })
        .await;
        eventually("all are handled", SOON, async || handled.load(SeqCst) == 10).await;
        member.stop().await;
    }
}
