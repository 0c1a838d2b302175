//! Exactly once while partitions move: in all three protocols, in good order and in bad.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_client::{BoxError, ConsumerReport, Error};
use tests::harness::oracle::{self, Isolation};
use tests::harness::{Cluster, eventually, unique};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::given::{self, Lines};
use crate::group::SOON;
use crate::protocol::{Protocol, SESSION};

const PARTITIONS: i32 = 6;

/// A copying member of a group.
#[derive(Clone)]
struct Copy {
    protocol: Protocol,
    group: String,
    from: Lines,
    to: Lines,
    drain: Duration,
    undone: Arc<AtomicUsize>,
}

struct Member {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<ConsumerReport, Error>>,
}

impl Copy {
    fn new(protocol: Protocol) -> Self {
        let (group, undone) = (protocol.group(SESSION), Arc::default());
        let (from, to) = (given::topic("from", PARTITIONS), given::topic("to", 2));
        Self { protocol, group, from, to, drain: Duration::from_secs(10), undone }
    }

    /// Starts a member, which takes so long for a batch.
    fn member(&self, takes: Duration) -> Member {
        let Self { protocol, group, from, to, drain, undone } = self.clone();
        let customize =
            move |consumer: kafka_client::ConsumerBuilder| protocol.settle(consumer, SESSION).drain_timeout(drain);
        let pipeline = given::kafka()
            .exactly_once(group)
            .from(&from)
            .commit_interval(Duration::from_millis(20))
            .max_records(400)
            .lanes(2)
            .consumer(customize)
            .on_undone(move |_| {
                undone.fetch_add(1, Ordering::SeqCst);
            })
            .process(move |batch, tx| {
                let to = to.clone();
                async move {
                    tx.send_batch(batch.iter().map(|record| to.record(record.key(), record.value()))).await?;
                    tokio::time::sleep(takes).await;
                    Ok::<_, BoxError>(())
                }
            });
        let (stop, stopped) = oneshot::channel::<()>();
        Member { stop, task: tokio::spawn(async move { pipeline.run_until(stopped).await }) }
    }

    fn copied(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let stored = oracle::read_all(Cluster::shared().bootstrap(), self.to.name(), Isolation::ReadCommitted);
        given::values(&stored).into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
        counts
    }

    async fn all_copied_once(&self, records: usize) {
        eventually("all is copied", 3 * SOON, async || self.copied().len() >= records).await;
        assert_eq!(self.copied(), (0..records).map(|n| (n.to_string(), 1)).collect(), "{:?}", self.protocol);
    }
}

impl Member {
    async fn stop(self) {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(SOON, self.task).await.expect("it ends").unwrap();
        ended.unwrap_or_else(|e| panic!("{e:?}"));
    }
}

async fn fill(topic: &Lines, records: std::ops::Range<usize>) {
    let producer = given::built(given::kafka().producer());
    producer.send_batch(records.map(|n| given::raw(topic, n % 100, n))).await.unwrap();
}

async fn members_come_and_go(protocol: Protocol) {
    let copy = Copy::new(protocol);
    let writing = {
        let topic = copy.from.clone();
        tokio::spawn(async move {
            for round in 0..30 {
                fill(&topic, round * 200..(round + 1) * 200).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    };
    let quick = Duration::from_millis(5);
    let a = copy.member(quick);
    eventually("a has begun", SOON, async || !copy.copied().is_empty()).await;
    let b = copy.member(quick);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let c = copy.member(quick);
    tokio::time::sleep(Duration::from_millis(700)).await;
    a.stop().await;
    let d = copy.member(quick);
    tokio::time::sleep(Duration::from_millis(700)).await;
    b.stop().await;
    c.stop().await;
    writing.await.unwrap();
    copy.all_copied_once(6_000).await;
    d.stop().await;
    assert_eq!(copy.copied().len(), 6_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_range_members_come_and_go_and_every_record_counts_once() {
    members_come_and_go(Protocol::Range).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_cooperative_sticky_members_come_and_go_and_every_record_counts_once() {
    members_come_and_go(Protocol::Cooperative).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_kip_848_members_come_and_go_and_every_record_counts_once() {
    members_come_and_go(Protocol::Consumer).await;
}

/// What is in a transaction when partitions are revoked is committed before they go: nothing is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_ends_within_the_drain_is_committed_before_the_partitions_move() {
    let copy = Copy::new(Protocol::Range);
    fill(&copy.from, 0..1_000).await;
    let a = copy.member(Duration::from_millis(1_500));
    eventually("a is in the middle of it", SOON, async || !given::log(&copy.to).is_empty()).await;
    let b = copy.member(Duration::ZERO);
    copy.all_copied_once(1_000).await;
    a.stop().await;
    b.stop().await;
    assert_eq!(copy.undone.load(Ordering::SeqCst), 0);
    assert_eq!(given::log(&copy.to).len(), 1_000, "nothing was aborted");
}

async fn aborted_at_the_deadline(protocol: Protocol) {
    let mut copy = Copy::new(protocol);
    copy.drain = Duration::from_millis(1_200);
    fill(&copy.from, 0..600).await;
    let a = copy.member(Duration::from_millis(4_500));
    eventually("a is in the middle of it", SOON, async || !given::log(&copy.to).is_empty()).await;
    let b = copy.member(Duration::ZERO);
    copy.all_copied_once(600).await;
    assert!(copy.undone.load(Ordering::SeqCst) > 0, "{protocol:?}: its transaction was aborted");
    assert!(given::log(&copy.to).len() > 600, "{protocol:?}: aborted records stand in the log");
    b.stop().await;
    a.stop().await;
    assert_eq!(copy.copied().len(), 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_range_a_transaction_that_outlasts_the_drain_is_aborted_and_done_by_the_next_owner() {
    aborted_at_the_deadline(Protocol::Range).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_cooperative_sticky_a_transaction_that_outlasts_the_drain_is_aborted_and_done_by_the_next_owner() {
    aborted_at_the_deadline(Protocol::Cooperative).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_kip_848_a_transaction_that_outlasts_the_drain_is_aborted_and_done_by_the_next_owner() {
    aborted_at_the_deadline(Protocol::Consumer).await;
}

/// Two instances that share a `transactional.id` are a mistake: the older one ends and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_instances_with_one_transactional_id_one_ends_by_name_and_nothing_counts_twice() {
    let (from, to, group) = (given::topic("from", 2), given::topic("to", 1), unique("twins"));
    let id = unique("twin");
    let instance = || {
        let to = to.clone();
        let pipeline = given::kafka()
            .exactly_once(group.clone())
            .from(&from)
            .transactional_id(id.clone())
            .commit_interval(Duration::from_millis(20))
            .consumer(|c| c.set("heartbeat.interval.ms", "100").set("session.timeout.ms", "6000"))
            .process(move |batch, tx| {
                let to = to.clone();
                async move {
                    tx.send_batch(batch.iter().map(|record| to.record(record.key(), record.value()))).await?;
                    Ok(())
                }
            });
        tokio::spawn(async move { pipeline.run_until(std::future::pending::<()>()).await })
    };
    let mut writing = 0;
    let one = instance();
    fill(&from, 0..100).await;
    eventually("one has begun", SOON, async || !given::log(&to).is_empty()).await;
    let other = instance();
    eventually("one of them ends", SOON, async || {
        writing += 1;
        fill(&from, writing * 100..(writing + 1) * 100).await;
        one.is_finished() || other.is_finished()
    })
    .await;
    let records = (writing + 1) * 100;
    let (ended, goes_on) = if one.is_finished() { (one, other) } else { (other, one) };
    let error = ended.await.unwrap().expect_err("it cannot go on");
    assert!(error.to_string().contains(&format!("transactional.id={id}")), "{error:?}");
    let values = || {
        let mut values =
            given::values(&oracle::read_all(Cluster::shared().bootstrap(), to.name(), Isolation::ReadCommitted));
        values.sort_by_key(|value| value.parse::<usize>().unwrap());
        values
    };
    eventually("the other does the rest", SOON, async || values().len() >= records).await;
    assert_eq!(values(), (0..records).map(|n| n.to_string()).collect::<Vec<_>>());
    goes_on.abort();
}
