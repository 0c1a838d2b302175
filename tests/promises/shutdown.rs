//! A consumer that ends finishes what it holds, commits it and leaves its group; one that is merely dropped, or whose
//! broker is silent, loses nothing either.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use kafka_client::{ConsumerBuilder, Error, Guarantee, Kafka, Received, Topic, Utf8};
use tests::harness::{Cluster, eventually, unique};

use crate::given::{self, topic_on};
use crate::group::{Account, Door, Member, SOON, Taken, commits, committed, fill, fill_at, quick};

type Line = Received<String, String>;

/// A handler that notes what it is given.
fn noting(by: char, account: &Account) -> impl Fn(Line) -> std::future::Ready<Result<(), Error>> + use<> {
    let account = account.clone();
    move |record| {
        account.record(by, &record);
        std::future::ready(Ok(()))
    }
}

/// A consumer with the times that Kafka has by default: a session of 45 s.
fn unhurried(group: &str) -> ConsumerBuilder {
    given::kafka().consumer(group).commit_interval(Duration::from_secs(600))
}

#[tokio::test]
async fn the_next_member_takes_over_at_once() {
    let (topic, group, account) = (given::topic("orders", 2), unique("billing"), Account::default());
    fill(&topic, 0, 10);
    let a = Member::start(unhurried(&group).route(&topic, noting('a', &account)));
    account.reaches(10).await;
    let report = a.stop().await;
    assert!(report.left_group);
    assert_eq!((report.handled, report.unfinished), (10, 0));
    assert_eq!(report.committed, [((topic.name().to_owned(), 0), 10)].into());
    // Only the end has committed: the interval is ten minutes.
    assert_eq!(committed(&group, &topic), [(0, 10)].into());

    fill(&topic, 0, 10);
    let since = Instant::now();
    let b = Member::start(unhurried(&group).route(&topic, noting('b', &account)));
    account.reaches(20).await;
    assert!(since.elapsed() < Duration::from_secs(3), "after {:?}", since.elapsed());
    b.stop().await;
    assert_eq!(account.offsets(0), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_careless_way_keeps_the_next_member_waiting_for_its_session() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    fill(&topic, 0, 10);
    let session = Duration::from_secs(4);
    let member = |by| {
        let consumer = unhurried(&group).set("session.timeout.ms", session.as_millis().to_string());
        Member::start(consumer.route(&topic, noting(by, &account)))
    };
    let a = member('a');
    account.reaches(10).await;
    // Nobody tells the group.
    let since = Instant::now();
    a.drop_it().await;
    let b = member('b');
    account.reaches(20).await;
    assert!(since.elapsed() > Duration::from_secs(3), "the check of three seconds fails: {:?}", since.elapsed());
    b.stop().await;
    // It committed nothing either: what it had handled is handled again, and nothing is lost.
    assert_eq!(account.offsets(0), (0..10).chain(0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_in_the_middle_is_finished_and_nothing_more_is_begun() {
    let (topic, group, door) = (given::topic("orders", 2), unique("billing"), Door::closed());
    for partition in [0, 1] {
        fill(&topic, partition, 10);
    }
    let begun = Taken::new();
    let (at, pass) = (begun.clone(), door.clone());
    let handler = move |record: Line| {
        at.push((record.partition(), record.offset()));
        pass.pass(record.offset())
    };
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    door.open_to(3);
    eventually("both are in the middle of 3", SOON, async || begun.len() == 8).await;
    let ending = member.stopping();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!ending.is_finished(), "it waits for what it holds");
    door.open();
    let report = ending.await.unwrap().unwrap();
    assert_eq!((report.handled, report.unfinished, report.left_group), (8, 0, true));
    assert_eq!(begun.len(), 8, "nothing more was begun");
    assert_eq!(committed(&group, &topic), [(0, 4), (1, 4)].into());
}

#[tokio::test]
async fn a_handler_that_does_not_end_is_cancelled_and_its_record_is_read_again() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    fill(&topic, 0, 5);
    let (begun, cancelled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (handled, begins, guard) = (account.clone(), begun.clone(), cancelled.clone());
    let handler = move |record: Line| {
        let (handled, begins, guard) = (handled.clone(), begins.clone(), OnDrop(guard.clone()));
        async move {
            if record.offset() == 2 {
                begins.store(true, SeqCst);
                let _guard = guard;
                pending::<()>().await;
            }
            handled.record('a', &record);
            Ok::<_, Error>(())
        }
    };
    let consumer = quick(&given::kafka(), &group).drain_timeout(Duration::from_millis(300)).route(&topic, handler);
    let member = Member::start(consumer);
    eventually("it hangs", SOON, async || begun.load(SeqCst)).await;
    cancelled.store(false, SeqCst);
    let report = member.stop().await;
    assert!(cancelled.load(SeqCst), "its future was dropped");
    assert_eq!((report.handled, report.unfinished, report.left_group), (2, 1, true));
    assert_eq!(committed(&group, &topic), [(0, 2)].into());

    let next = Member::start(quick(&given::kafka(), &group).route(&topic, noting('b', &account)));
    account.reaches(5).await;
    next.stop().await;
    assert_eq!(account.offsets(0), [0, 1, 2, 3, 4]);
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_is_not_overtaken_by_the_next_life_of_its_partition() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 3);
    // Two handlers of a partition at once would be seen here.
    let (inside, most, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Taken::new());
    let (at, peak, begins) = (inside.clone(), most.clone(), begun.clone());
    let handler = move |record: Line| {
        let (at, peak, begins) = (at.clone(), peak.clone(), begins.clone());
        async move {
            peak.fetch_max(at.fetch_add(1, SeqCst) + 1, SeqCst);
            begins.push(record.offset());
            if begins.len() == 1 {
                // Awaits nothing, so it cannot be cancelled.
                std::thread::sleep(Duration::from_secs(1));
            }
            at.fetch_sub(1, SeqCst);
            Ok::<_, Error>(())
        }
    };
    // The members live on a runtime of their own, with a thread for the one that blocks.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    let consumer = || quick(&given::kafka(), &group).drain_timeout(Duration::from_millis(100));
    let a = runtime.spawn(consumer().route(&topic, handler).build().unwrap().run());
    eventually("it blocks", SOON, async || begun.len() == 1).await;
    // Another member comes, so the partition moves or begins a new life; then it comes back for certain.
    let account = Account::default();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let b = runtime.spawn(consumer().route(&topic, noting('b', &account)).build().unwrap().run_until(stopped));
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(stop);
    b.await.unwrap().unwrap();
    fill(&topic, 0, 3);
    commits(&group, &topic, &[(0, 6)]).await;
    assert_eq!(most.load(SeqCst), 1);
    a.abort();
    runtime.shutdown_background();
}

#[tokio::test]
async fn with_a_silent_broker_it_ends_in_time_and_says_that_it_could_not_leave() {
    let cluster = Cluster::breakable();
    let (topic, account) = (topic_on(&cluster, "orders", 1), Account::default());
    fill_at(cluster.bootstrap(), topic.name(), 0, 0, 10);
    let consumer = Kafka::connect(cluster.bootstrap())
        .consumer(unique("billing"))
        .commit_interval(Duration::from_secs(600))
        // The last commit has what the drain leaves of this.
        .drain_timeout(Duration::from_secs(1))
        .route(&topic, noting('a', &account));
    let member = Member::start(consumer);
    account.reaches(10).await;
    cluster.broker().stop();
    let since = Instant::now();
    let report = member.stop().await;
    assert!(since.elapsed() < Duration::from_secs(10), "after {:?}", since.elapsed());
    assert_eq!((report.handled, report.left_group), (10, false));
    assert_eq!(report.committed, BTreeMap::new());
    cluster.broker().cont();
}

#[tokio::test]
async fn with_no_broker_it_ends_in_time_and_says_that_it_could_not_leave() {
    let cluster = Cluster::breakable();
    let (topic, account) = (topic_on(&cluster, "orders", 1), Account::default());
    fill_at(cluster.bootstrap(), topic.name(), 0, 0, 10);
    let consumer = Kafka::connect(cluster.bootstrap())
        .consumer(unique("billing"))
        .commit_interval(Duration::from_secs(600))
        // The last commit has what the drain leaves of this.
        .drain_timeout(Duration::from_secs(1))
        .route(&topic, noting('a', &account));
    let member = Member::start(consumer);
    account.reaches(10).await;
    cluster.broker().kill();
    let since = Instant::now();
    let report = member.stop().await;
    assert!(since.elapsed() < Duration::from_secs(10), "after {:?}", since.elapsed());
    assert_eq!((report.handled, report.left_group), (10, false));
}

#[tokio::test]
async fn before_it_has_a_group_it_ends_at_once() {
    let consumer = Kafka::connect("127.0.0.1:1").consumer("billing");
    let topic = Topic::new("orders", Utf8, Utf8);
    let member = Member::start(consumer.route(&topic, async |_: Line| Ok::<_, Error>(())));
    let since = Instant::now();
    let report = member.stop().await;
    assert!(since.elapsed() < Duration::from_secs(5), "after {:?}", since.elapsed());
    assert_eq!((report.handled, report.unfinished), (0, 0));
}

#[tokio::test]
async fn a_busy_handler_on_the_only_thread_does_not_keep_it_from_committing_and_ending() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    fill(&topic, 0, 10_000);
    let handled = account.clone();
    // Awaits nothing, so by itself it never lets another task of the thread run.
    let handler = move |record: Line| {
        std::thread::sleep(Duration::from_micros(500));
        handled.record('a', &record);
        async { Ok::<_, Error>(()) }
    };
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    account.reaches(1).await;
    eventually("something is committed", SOON, async || committed(&group, &topic).contains_key(&0)).await;
    let report = member.stop().await;
    assert!(report.handled < 10_000, "it handled all {} before it heard that it should end", report.handled);
    assert_eq!(committed(&group, &topic), [(0, report.handled as i64)].into());
}

#[tokio::test]
async fn at_most_once_a_good_end_loses_nothing_and_repeats_nothing() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    fill(&topic, 0, 100);
    for (by, below) in [('a', 7), ('b', 40), ('c', 99)] {
        let door = Door::closed();
        door.open_to(below);
        let (handled, pass) = (account.clone(), door.clone());
        let handler = move |record: Line| {
            handled.record(by, &record);
            pass.pass(record.offset())
        };
        let consumer = quick(&given::kafka(), &group).guarantee(Guarantee::AtMostOnce).route(&topic, handler);
        let member = Member::start(consumer);
        account.reaches(below as usize + 1).await;
        // More is committed than was handled: what was fetched together with it.
        assert_eq!(committed(&group, &topic), [(0, 100)].into());
        let ending = member.stopping();
        tokio::time::sleep(Duration::from_millis(50)).await;
        door.open();
        ending.await.unwrap().unwrap();
        // A good end takes that back.
        assert_eq!(committed(&group, &topic), [(0, below + 1)].into());
    }
    assert_eq!(account.offsets(0), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn records_outlive_their_consumer() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 100);
    let kept = Taken::new();
    let keep = kept.clone();
    let handler = move |record: Line| {
        keep.push(record);
        async { Ok::<_, Error>(()) }
    };
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    eventually("all are handled", SOON, async || kept.len() == 100).await;
    member.stop().await;
    for (offset, record) in (0..).zip(kept.take()) {
        assert_eq!((record.offset(), record.value_bytes()), (offset, Some(offset.to_string().as_bytes())));
        assert!(record.headers().is_empty());
        // The last one ends the client, on a thread that may wait for it.
        let since = Instant::now();
        drop(record);
        assert!(since.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn a_drain_that_the_broker_would_not_wait_for_is_refused() {
    let consumer =
        || Kafka::connect("localhost:9092").consumer("billing").route(&Topic::new("orders", Utf8, Utf8), done);
    // Of the ten seconds, three pass until a member hears of a rebalance, and one is for the commit after the drain.
    let of_ten_seconds = || consumer().set("max.poll.interval.ms", "10000").set("session.timeout.ms", "6000");
    of_ten_seconds().drain_timeout(Duration::from_secs(6)).build().unwrap();
    let text = of_ten_seconds().drain_timeout(Duration::from_secs(7)).build().unwrap_err().to_string();
    assert!(text.contains("`drain_timeout=7s` contradicts `max.poll.interval.ms=10000`"), "{text}");
    // Members of the consumer protocol hear of it later.
    let of_the_broker = || consumer().set("max.poll.interval.ms", "10000").set("group.protocol", "consumer");
    of_the_broker().drain_timeout(Duration::from_secs(4)).build().unwrap();
    of_the_broker().drain_timeout(Duration::from_secs(5)).build().unwrap_err();
    // Unless it is asked for, the drain is made to fit.
    of_ten_seconds().build().unwrap();
}

async fn done(_: Line) -> Result<(), Error> {
    Ok(())
}
