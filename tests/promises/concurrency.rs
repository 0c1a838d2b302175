//! Many records of a partition at the same time: order per key is kept, nothing waits that need not, and a restart
//! repeats only what was unfinished.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use kafka_client::{Batching, Concurrency, Error, Received};
use parking_lot::Mutex;
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given;
use crate::group::{Account, Door, Member, SOON, Taken, commits, fill, quick};

/// Keys drawn from a few, so that they collide among those in flight.
fn keyed(topic: &given::Lines, count: usize, keys: usize) {
    let lines: Vec<(String, String)> =
        (0..count).map(|at| (format!("k{}", (at * at + at / 7) % keys), at.to_string())).collect();
    let records: Vec<_> =
        lines.iter().map(|(key, value)| (Some(0), Some(key.as_bytes()), Some(value.as_bytes()))).collect();
    oracle::produce(Cluster::shared().bootstrap(), topic.name(), &records);
}

/// By key, the offsets in the order in which their handlers ended.
type Ended = Arc<Mutex<BTreeMap<String, Vec<i64>>>>;

async fn handled_by_key(concurrency: Concurrency) -> BTreeMap<String, Vec<i64>> {
    let (topic, ended) = (given::topic("orders", 1), Ended::default());
    keyed(&topic, 600, 20);
    let (count, lines) = (Arc::new(AtomicUsize::new(0)), ended.clone());
    let counted = count.clone();
    let handler = move |record: Received<String, String>| {
        let (lines, counted) = (lines.clone(), counted.clone());
        async move {
            // Later records of a key are quicker, so that they would overtake.
            tokio::time::sleep(Duration::from_millis(8 - (record.offset() % 8) as u64)).await;
            lines.lock().entry(record.key().clone()).or_default().push(record.offset());
            counted.fetch_add(1, SeqCst);
            Ok::<_, Error>(())
        }
    };
    let group = unique("billing");
    let consumer = quick(&given::kafka(), &group).route_concurrent(&topic, concurrency, handler);
    let member = Member::start(consumer);
    eventually("all are handled", SOON, async || count.load(SeqCst) == 600).await;
    commits(&group, &topic, &[(0, 600)]).await;
    member.stop().await;
    let ended = ended.lock().clone();
    ended
}

fn in_order(ended: &BTreeMap<String, Vec<i64>>) -> bool {
    ended.values().all(|offsets| offsets.is_sorted())
}

#[tokio::test]
async fn by_key_the_records_of_a_key_are_handled_in_their_order() {
    let ended = handled_by_key(Concurrency::by_key(50)).await;
    assert!(in_order(&ended), "{ended:?}");
}

#[tokio::test]
async fn unordered_they_are_not_which_shows_that_the_check_can_fail() {
    assert!(!in_order(&handled_by_key(Concurrency::unordered(50)).await));
}

#[tokio::test]
async fn a_slow_key_holds_up_its_own_records_only_and_records_without_a_key_nobody() {
    let (topic, group, door) = (given::topic("orders", 1), unique("billing"), Door::closed());
    let records: Vec<_> = (0..100)
        .map(|at| {
            (
                Some(0),
                match at % 4 {
                    0 => Some(&b"slow"[..]),
                    1 => Some(&b"quick"[..]),
                    _ => None,
                },
                Some(&b"v"[..]),
            )
        })
        .collect();
    oracle::produce(Cluster::shared().bootstrap(), topic.name(), &records);
    let (handled, pass) = (Taken::<i64>::new(), door.clone());
    let taken = handled.clone();
    let topic =
        kafka_client::Topic::new(topic.name(), kafka_client::Optional::new(kafka_client::Utf8), kafka_client::Utf8);
    let handler = move |record: Received<Option<String>, String>| {
        let (taken, passed) = (taken.clone(), pass.pass(1));
        async move {
            if record.key().as_deref() == Some("slow") {
                let _ = passed.await;
            }
            taken.push(record.offset());
            Ok::<_, Error>(())
        }
    };
    let consumer = quick(&given::kafka(), &group).route_concurrent(&topic, Concurrency::by_key(10), handler);
    let member = Member::start(consumer);
    eventually("all others are handled", SOON, async || handled.len() == 75).await;
    assert!(handled.all().iter().all(|offset| offset % 4 != 0));
    door.open();
    eventually("all are handled", SOON, async || handled.len() == 100).await;
    let report = member.stop().await;
    assert_eq!((report.handled, report.unfinished), (100, 0));
}

#[tokio::test]
async fn a_restart_after_a_kill_repeats_only_what_was_unfinished() {
    let (topic, group, door) = (given::topic("orders", 1), unique("billing"), Door::closed());
    fill(&topic, 0, 200);
    let account = Account::default();
    let handler = |by: char| {
        let (account, pass) = (account.clone(), door.clone());
        move |record: Received<String, String>| {
            let (account, passed) = (account.clone(), pass.pass(i64::from(record.offset() % 50 == 7)));
            async move {
                if record.offset() % 50 == 7 {
                    let _ = passed.await;
                }
                account.record(by, &record);
                Ok::<_, Error>(())
            }
        }
    };
    let consumer = || quick(&given::kafka(), &group);
    let first = Member::start(consumer().route_concurrent(&topic, Concurrency::unordered(20), handler('a')));
    account.reaches(196).await;
    commits(&group, &topic, &[(0, 7)]).await;
    // What lies beyond rides in the metadata of a commit that is confirmed within milliseconds.
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.drop_it().await;
    door.open();
    let second = Member::start(consumer().route_concurrent(&topic, Concurrency::unordered(20), handler('b')));
    account.reaches(200).await;
    commits(&group, &topic, &[(0, 200)]).await;
    second.stop().await;
    let mut repeated: Vec<i64> = account.all().iter().filter(|one| one.by == 'b').map(|one| one.offset).collect();
    repeated.sort_unstable();
    assert_eq!(repeated, [7, 57, 107, 157]);
}

#[tokio::test]
async fn no_more_are_repeated_after_a_kill_than_the_bound_allows() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    fill(&topic, 0, 2_000);
    let handler = |by: char| {
        let account = account.clone();
        move |record: Received<String, String>| {
            account.record(by, &record);
            async { Ok::<_, Error>(()) }
        }
    };
    // Without the bound the timer alone would commit, which it never does here.
    let consumer = |bound: Option<usize>| {
        let consumer = quick(&given::kafka(), &group).commit_interval(Duration::from_secs(600));
        match bound {
            Some(bound) => consumer.max_duplicate_exposure(bound),
            None => consumer,
        }
    };
    let first = Member::start(consumer(Some(10)).route(&topic, handler('a')));
    account.reaches(500).await;
    first.drop_it().await;
    let handled = account.len();
    let committed = crate::group::committed(&group, &topic)[&0] as usize;
    assert!(handled - committed <= 10, "{handled} handled, {committed} committed");
    // The control: the same without a bound.
    let second = Member::start(consumer(None).route(&topic, handler('b')));
    account.reaches(handled + 500).await;
    // Its first tick commits; what comes after that is exposed.
    second.drop_it().await;
    let exposed = account.len() - handled - (crate::group::committed(&group, &topic)[&0] as usize - committed);
    assert!(exposed > 10, "only {exposed}");
}

#[tokio::test]
async fn a_slow_partition_starves_nobody_and_holds_no_more_than_its_bound() {
    let (topic, group, door) = (given::topic("orders", 2), unique("billing"), Door::closed());
    fill(&topic, 0, 3_000);
    fill(&topic, 1, 3_000);
    let (account, pass) = (Account::default(), door.clone());
    let handled = account.clone();
    let handler = move |record: Received<String, String>| {
        let (handled, passed) = (handled.clone(), pass.pass(1));
        async move {
            if record.partition() == 0 {
                let _ = passed.await;
            }
            handled.record('a', &record);
            Ok::<_, Error>(())
        }
    };
    let consumer = quick(&given::kafka(), &group).max_buffered_records(200).max_batch_records(50);
    let consumer = consumer.route_concurrent(&topic, Concurrency::by_key(10), handler).build().unwrap();
    let handle = consumer.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(consumer.run_until(stopped));
    account.reaches(3_000).await;
    let status = handle.partitions().await.unwrap();
    let slow = &status[0];
    assert_eq!(slow.partition.to_string(), format!("{}-0", topic.name()));
    assert!(slow.buffered_records <= 250 && slow.in_flight <= 10, "{slow:?}");
    assert_eq!(account.offsets(1).len(), 3_000);
    door.open();
    account.reaches(6_000).await;
    drop(stop);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn batches_have_the_size_that_was_asked_for_and_wait_no_longer_than_they_may() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 250);
    let sizes = Taken::<usize>::new();
    let taken = sizes.clone();
    let handler = move |batch: Vec<Received<String, String>>| {
        taken.push(batch.len());
        async { Ok::<_, Error>(()) }
    };
    let batching = Batching::up_to(100).linger(Duration::from_millis(500));
    let member = Member::start(quick(&given::kafka(), &group).route_batching(&topic, batching, handler));
    eventually("all are handed over", SOON, async || sizes.all().iter().sum::<usize>() == 250).await;
    assert_eq!(sizes.all(), [100, 100, 50]);
    commits(&group, &topic, &[(0, 250)]).await;
    member.stop().await;
}
