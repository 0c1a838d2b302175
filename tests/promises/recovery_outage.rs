//! An outage is nobody's fault: nothing is dead-lettered, no attempt is lost, and when it is over everything goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_client::{Concurrency, Received};
use kafka_dlq::{Backoff, Breaker, Recovery, RetryTopic};
use tests::harness::{eventually, unique};

use crate::given;
use crate::group::{Member, SOON, Taken, quick};
use crate::recovery::{Trouble, all_committed, send, stored};

#[tokio::test]
async fn during_an_outage_one_record_at_a_time_is_tried_and_none_is_blamed() {
    const RECORDS: usize = 2_000;
    let (kafka, source, group) = (given::kafka(), given::topic("outage", 4), unique("outage"));
    let (dead, retries) = (unique("outage.dlq"), unique("outage.retry"));
    let (down, calls, handled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Taken::new());
    let (is_down, count, taken) = (down.clone(), calls.clone(), handled.clone());
    let handler = move |record: Received<String, String>| {
        let down = is_down.load(Ordering::SeqCst);
        match down {
            true => drop(count.fetch_add(1, Ordering::SeqCst)),
            false => taken.push(record.value().parse::<usize>().unwrap()),
        }
        async move { if down { Err(Trouble::Busy) } else { Ok(()) } }
    };
    // Three attempts, of which two are in place: without the breaker they are gone within the first second.
    let recovery = Recovery::retry(Backoff::fixed(Duration::from_millis(300)).attempts(3))
        .in_place(1)
        .breaker(Breaker::over_keys(5).probe_every(Duration::from_millis(100)))
        .retry_topic(RetryTopic::new(&retries))
        .dead_letter(&dead);
    let consumer = quick(&kafka, &group).route_concurrent(&source, Concurrency::by_key(32), recovery.wrap(handler));
    let running = Member::start(consumer);
    send(&kafka, (0..RECORDS / 2).map(|n| given::raw(&source, n, n))).await;
    eventually("half is handled", SOON, async || handled.len() == RECORDS / 2).await;

    down.store(true, Ordering::SeqCst);
    send(&kafka, (RECORDS / 2..RECORDS).map(|n| given::raw(&source, n, n))).await;
    eventually("it is noticed", SOON, async || calls.load(Ordering::SeqCst) >= 5).await;
    let (before, since) = (calls.load(Ordering::SeqCst), Instant::now());
    eventually("the outage lasts", SOON, async || since.elapsed() > Duration::from_secs(3)).await;
    let probes = calls.load(Ordering::SeqCst) - before;
    let most = since.elapsed().as_millis() as usize / 100 + 140;
    assert!((1..=most).contains(&probes), "{probes} calls in 3 s of outage, {most} at most");

    down.store(false, Ordering::SeqCst);
    let over = Instant::now();
    eventually("everything goes on", SOON, async || handled.len() >= RECORDS / 2 + 100).await;
    println!("100 records were handled {:?} after the outage", over.elapsed());
    all_committed(&group, source.name()).await;
    let done = handled.all().into_iter().collect::<BTreeSet<_>>();
    assert_eq!(done.len(), RECORDS);
    running.stop().await;
    assert_eq!((stored(&dead).len(), stored(&retries).len()), (0, 0), "no dead letter, and no attempt lost");
}

/// All attempts are used up by the first failure, and the first failures are those that tell of the outage: they are not blamed
/// for it either. One that fails alone is.
#[tokio::test]
async fn the_first_failures_of_an_outage_are_not_dead_lettered_though_no_attempt_is_left() {
    const RECORDS: usize = 30;
    let (kafka, source, group) = (given::kafka(), given::topic("first", 2), unique("first"));
    let dead = unique("first.dlq");
    let (down, handled) = (Arc::new(AtomicBool::new(true)), Taken::new());
    let (is_down, taken) = (down.clone(), handled.clone());
    let handler = move |record: Received<String, String>| {
        let number: usize = record.value().parse().unwrap();
        let fails = is_down.load(Ordering::SeqCst) || number == RECORDS;
        if !fails {
            taken.push(number);
        }
        async move {
            // Not all at the same moment.
            tokio::time::sleep(Duration::from_millis(number as u64 * 10)).await;
            if fails { Err(Trouble::Busy) } else { Ok(()) }
        }
    };
    let recovery = Recovery::retry(Backoff::fixed(Duration::from_millis(10)).attempts(1))
        .breaker(Breaker::over_keys(10).probe_every(Duration::from_millis(50)))
        .dead_letter(&dead);
    send(&kafka, (0..RECORDS).map(|n| given::raw(&source, n, n))).await;
    let consumer = quick(&kafka, &group).route_concurrent(&source, Concurrency::by_key(32), recovery.wrap(handler));
    let running = Member::start(consumer);
    tokio::time::sleep(Duration::from_secs(2)).await;
    down.store(false, Ordering::SeqCst);
    all_committed(&group, source.name()).await;
    assert_eq!(handled.all().into_iter().collect::<BTreeSet<_>>().len(), RECORDS);
    assert_eq!(stored(&dead).len(), 0, "no dead letter");
    // Nothing else goes on, or everything is well but this.
    send(&kafka, [given::raw(&source, RECORDS, RECORDS)]).await;
    all_committed(&group, source.name()).await;
    running.stop().await;
    assert_eq!(stored(&dead).len(), 1);
}

/// The control: the same outage without a breaker.
#[tokio::test]
async fn without_a_breaker_an_outage_makes_dead_letters_of_healthy_records() {
    let (kafka, source, group, dead) = (given::kafka(), given::topic("blame", 1), unique("blame"), unique("blame.dlq"));
    send(&kafka, (0..50).map(|n| given::raw(&source, n, n))).await;
    let recovery = Recovery::retry(Backoff::fixed(Duration::from_millis(10)).attempts(3)).without_breaker();
    let handler = async |_: Received<String, String>| Err::<(), _>(Trouble::Busy);
    let consumer = quick(&kafka, &group);
    let recovery = recovery.dead_letter(&dead).wrap(handler);
    let running = Member::start(consumer.route_concurrent(&source, Concurrency::by_key(32), recovery));
    all_committed(&group, source.name()).await;
    running.stop().await;
    assert_eq!(stored(&dead).len(), 50);
}
