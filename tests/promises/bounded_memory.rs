//! A handler that hangs keeps its partition's memory at its bound, however much waits behind it, and holds up no other
//! partition. Counted by the consumer, and by the operating system.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Concurrency, Error, Received};
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given::{self, Lines};
use crate::group::{Account, Door, SOON, commits, fill, quick};
use crate::ledger::{Ledger, What};
use crate::member_process::{MemberProcess, Order};
use crate::protocol::{Protocol, SESSION, millis};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Writes so many records of 10 KiB.
fn fill_large(topic: &Lines, partition: i32, records: usize) {
    let value = vec![b'v'; 10 * KIB];
    let portion: Vec<_> = (0..500).map(|_| (Some(partition), Some(&b"k"[..]), Some(&value[..]))).collect();
    let mut left = records;
    while left > 0 {
        oracle::produce(Cluster::shared().bootstrap(), topic.name(), &portion[..left.min(500)]);
        left -= left.min(500);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_stays_within_its_bound_while_other_partitions_flow() {
    const MOST: usize = MIB;
    /// What librdkafka may have fetched ahead, which is taken together: as much again, and one fetch.
    const PORTION: usize = MOST + MIB;
    let (topic, group, door, account) =
        (given::topic("orders", 2), unique("billing"), Door::closed(), Account::default());
    fill_large(&topic, 0, 3_000);
    fill_large(&topic, 1, 3_000);
    let (pass, counted) = (door.clone(), account.clone());
    let handler = move |record: Received<String, String>| {
        let (passed, counted) = (pass.pass(if record.partition() == 0 { 0 } else { -1 }), counted.clone());
        async move {
            let _ = passed.await;
            counted.record('a', &record);
            Ok::<_, Error>(())
        }
    };
    let running =
        quick(&given::kafka(), &group).max_buffered_bytes(MOST).route(&topic, handler).build().unwrap().spawn();
    let handle = running.handle().clone();
    let mut most = 0;
    eventually("all of the other partition is handled", SOON, async || {
        let stalled = handle.partitions().await.unwrap().into_iter().find(|one| one.partition.partition() == 0);
        most = most.max(stalled.map_or(0, |one| one.buffered_bytes));
        account.offsets(1).len() == 3_000
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let partitions = handle.partitions().await.unwrap();
    let stalled = partitions.iter().find(|one| one.partition.partition() == 0).unwrap();
    assert_eq!(stalled.in_flight, 1);
    most = most.max(stalled.buffered_bytes);
    assert!((MOST / 2..MOST + PORTION).contains(&most), "{most} of {} bytes were taken", 3_000 * 10 * KIB);
    door.open();
    commits(&group, &topic, &[(0, 3_000), (1, 3_000)]).await;
    let report = running.stop().await.unwrap();
    assert_eq!((report.handled, account.offsets(0)), (6_000, (0..3_000).collect()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_records_are_taken_than_allowed_one_by_one_and_by_key() {
    for concurrency in [Concurrency::by_partition(), Concurrency::by_key(4), Concurrency::unordered(4)] {
        let (topic, group, door) = (given::topic("orders", 1), unique("billing"), Door::closed());
        fill(&topic, 0, 2_000);
        let pass = door.clone();
        let handler = move |_: Received<String, String>| pass.pass(0);
        let consumer = quick(&given::kafka(), &group).max_buffered_records(20);
        let running = consumer.route_concurrent(&topic, concurrency, handler).build().unwrap().spawn();
        let handle = running.handle().clone();
        let taken = async || handle.partitions().await.unwrap().iter().map(|one| one.buffered_records).sum::<usize>();
        eventually("something is taken", SOON, async || taken().await > 0).await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!((1..=20).contains(&taken().await), "{concurrency:?}: {}", taken().await);
        }
        door.open();
        commits(&group, &topic, &[(0, 2_000)]).await;
        assert_eq!(running.stop().await.unwrap().handled, 2_000, "{concurrency:?}");
    }
}

/// How much a process grows while a partition's first record hangs and another partition is read to its end.
#[cfg(target_os = "linux")]
async fn growth(kind: &str, behind: usize, flowing: usize) -> usize {
    let (topic, group) = (given::topic("orders", 2), Protocol::Range.group(SESSION));
    let ledger = Arc::new(Ledger::new());
    // A group that has offsets, and a child that has met the broker and read a little before it is weighed.
    fill_large(&topic, 1, 10);
    let order = Order::default()
        .with("kind", kind)
        .with("protocol", Protocol::Range.name())
        .with("bootstrap", Cluster::shared().bootstrap())
        .with("topic", topic.name())
        .with("group", &group)
        .with("session", millis(SESSION))
        .with("hold", 0)
        .with("hold_partition", 0)
        .with("gate", ledger.sign("gate").display())
        .with("buffered_bytes", MIB);
    let child = MemberProcess::start(&order, 'a', &ledger);
    let finished = |partition: i32| {
        let lines = ledger.lines();
        lines
            .of(What::Finish)
            .filter(|line| line.partition == partition)
            .map(|line| line.offset)
            .collect::<BTreeSet<_>>()
    };
    eventually("it reads", SOON, async || finished(1).len() == 10).await;
    let before = child.resident_bytes();
    fill_large(&topic, 0, behind);
    fill_large(&topic, 1, flowing);
    eventually("it reads on", 3 * SOON, async || finished(1).len() == 10 + flowing).await;
    // As long as it grows: one that polls on has polled all then.
    let mut last = 0;
    eventually("it grows no more", 3 * SOON, async || {
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let before = std::mem::replace(&mut last, child.resident_bytes());
        last < before + MIB
    })
    .await;
    assert_eq!(finished(0), BTreeSet::new());
    let grown = child.resident_bytes().saturating_sub(before);
    println!("{kind}: {} MiB more with {} MiB behind a handler that hangs", grown / MIB, behind * 10 * KIB / MIB);
    std::fs::write(ledger.sign("gate"), "").unwrap();
    if kind == "ours" {
        eventually("all is handled then", 3 * SOON, async || finished(0).len() == behind).await;
        child.stop().await;
    }
    grown
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_handler_hangs_grows_by_its_bound_and_not_by_what_waits() {
    // Two partitions, each with what is taken, what is fetched ahead, and a fetch or two on their way.
    let grown = growth("ours", 6_000, 2_000).await;
    assert!(grown < 24 * MIB, "{} MiB", grown / MIB);
}

/// The same check finds what a consumer does that polls on and hands over by a channel without a bound.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bound_a_process_grows_by_what_waits() {
    let grown = growth("hoards", 6_000, 2_000).await;
    assert!(grown > 48 * MIB, "the check finds a process that grows: {} MiB", grown / MIB);
}
