//! Exactly once with handlers of single records: what they send counts once, with what becomes of records that fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{
    Assignor, BoxError, Concurrency, ConsumerBuilder, ErrorKind, GroupProtocol, Guarantee, Json, OnStuck, Received,
    StartAt, Topic, Utf8,
};
use kafka_dlq::{Backoff, Decision, Recovery, RetryTopic};
use parking_lot::Mutex;
use tests::harness::oracle::{self, Isolation};
use tests::harness::{Cluster, eventually, unique};

use crate::given::{self, Lines};
use crate::group::{Member, SOON, Taken, quick};
use crate::recovery::{Trouble, send};

type Input = Received<String, String>;

fn exactly(group: &str) -> ConsumerBuilder {
    quick(&given::kafka(), group).guarantee(Guarantee::ExactlyOnce)
}

fn committed(topic: &str) -> Vec<String> {
    given::values(&oracle::read_all(Cluster::shared().bootstrap(), topic, Isolation::ReadCommitted))
}

fn counts(topic: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    committed(topic).into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

fn once(values: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    values.into_iter().map(|value| (value, 1)).collect()
}

async fn fill(topic: &Lines, records: std::ops::Range<u32>, keys: u32) {
    send(&given::kafka(), records.map(|n| given::raw(topic, n % keys, n))).await;
}

/// Copies a record in its own transaction.
fn copy(to: &Lines) -> impl Fn(Input) -> futures::future::BoxFuture<'static, Result<(), BoxError>> + use<> {
    let to = to.clone();
    move |record| {
        let to = to.clone();
        Box::pin(async move { Ok(record.transaction().send(to.record(record.key(), record.value())).await?) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_of_several_topics_send_in_the_transaction_of_their_offsets() {
    let (one, other, to) = (given::topic("one", 2), given::topic("other", 3), given::topic("to", 1));
    fill(&one, 0..500, 50).await;
    fill(&other, 0..300, 50).await;
    let numbers: Topic<Utf8, Json<u64>> = Topic::new(other.name(), Utf8, Json::new());
    let (out, twice) = (to.clone(), to.clone());
    let consumer = exactly(&unique("routes"))
        .route_concurrent(&one, Concurrency::by_key(8), move |record: Input| {
            let out = out.clone();
            async move { record.transaction().send(out.record(record.key(), &format!("one {}", record.value()))).await }
        })
        .route(&numbers, move |record: Received<String, u64>| {
            let out = twice.clone();
            let value = format!("twice {}", record.value() * 2);
            async move { record.transaction().send(out.record(record.key(), &value)).await }
        });
    let member = Member::start(consumer);
    eventually("all is handled", SOON, async || committed(to.name()).len() >= 800).await;
    let report = member.stop().await;
    assert_eq!(report.handled, 800);
    let expected = (0..500).map(|n| format!("one {n}")).chain((0..300).map(|n| format!("twice {}", n * 2)));
    assert_eq!(counts(to.name()), once(expected));
}

/// Killed before anything is committed: at least once, what was sent is there, and comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_committed_never_counts_and_at_least_once_it_does() {
    let (from, group) = (given::topic("from", 2), unique("killed"));
    fill(&from, 0..200, 20).await;
    let (once_to, twice_to) = (given::topic("once", 1), given::topic("twice", 1));
    let handled = Taken::new();
    let slow = Duration::from_secs(60);
    let transactional = |interval| {
        let (handled, copy) = (handled.clone(), copy(&once_to));
        exactly(&group).commit_interval(interval).route(&from, move |record: Input| {
            handled.push(());
            copy(record)
        })
    };
    let careless = |interval| {
        let (handled, to, producer) = (handled.clone(), twice_to.clone(), given::built(given::kafka().producer()));
        quick(&given::kafka(), &format!("{group}-naive")).commit_interval(interval).route(
            &from,
            move |record: Input| {
                let (handled, to, producer) = (handled.clone(), to.clone(), producer.clone());
                async move {
                    producer.send(to.record(record.key(), record.value())).await?;
                    handled.push(());
                    Ok::<_, kafka_client::SendError>(())
                }
            },
        )
    };
    for (start, to, expected) in [
        (&transactional as &dyn Fn(Duration) -> ConsumerBuilder, &once_to, 1),
        (&careless as &dyn Fn(Duration) -> ConsumerBuilder, &twice_to, 2),
    ] {
        handled.take();
        let killed = Member::start(start(slow));
        eventually("all is handled", SOON, async || handled.len() >= 200).await;
        killed.drop_it().await;
        assert_eq!(committed(to.name()).len(), 200 * (expected - 1));
        let member = Member::start(start(Duration::from_millis(20)));
        eventually("all is there", SOON, async || counts(to.name()).len() == 200).await;
        eventually("all is handled again", SOON, async || handled.len() >= 400).await;
        member.stop().await;
        assert!(counts(to.name()).values().all(|count| *count == expected), "{:?}", counts(to.name()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_counts_of_an_attempt_that_has_failed_or_was_over() {
    let (from, to) = (given::topic("from", 1), given::topic("to", 1));
    fill(&from, 0..20, 20).await;
    let (tried, kept) = (Arc::new(Mutex::new(HashMap::<String, u32>::new())), Arc::new(Mutex::new(Vec::new())));
    let (out, keeps) = (to.clone(), kept.clone());
    let handler = move |record: Input| {
        let attempt = {
            let mut tried = tried.lock();
            let times = tried.entry(record.value().clone()).or_default();
            *times += 1;
            *times
        };
        let (out, keeps) = (out.clone(), keeps.clone());
        async move {
            let transaction = record.transaction();
            transaction.send(out.record(record.key(), &format!("{} {attempt}", record.value()))).await?;
            keeps.lock().push(transaction);
            if attempt < 3 { Err(BoxError::from("not yet")) } else { Ok(()) }
        }
    };
    let recovery = Recovery::retry(Backoff::fixed(Duration::from_millis(5)).attempts(5)).without_breaker();
    let consumer = exactly(&unique("attempts")).route(&from, recovery.wrap(handler));
    let member = Member::start(consumer);
    eventually("all is there", SOON, async || committed(to.name()).len() >= 20).await;
    let late = std::mem::take(&mut *kept.lock());
    assert_eq!(late.len(), 60);
    for transaction in late {
        let refused = transaction.send(to.record("", "late")).await.unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::Closed, "{refused}");
    }
    member.stop().await;
    assert_eq!(counts(to.name()), once((0..20).map(|n| format!("{n} 3"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guarantee_a_record_has_no_transaction_and_says_so() {
    let (from, to) = (given::topic("from", 1), given::topic("to", 1));
    fill(&from, 0..1, 1).await;
    let member = Member::start(quick(&given::kafka(), &unique("plain")).route(&from, copy(&to)));
    let error = member.failure().await;
    assert!(format!("{error:?}").contains("Guarantee::ExactlyOnce"), "{error:?}");
    let kafka = given::kafka();
    let builder = kafka.consumer("g").transactional_id("g-0").route(&from, copy(&to));
    let refused = builder.build().unwrap_err().to_string();
    assert!(refused.contains("transactional_id") && refused.contains("exactly-once"), "{refused}");
}

/// Another producer takes the id in the middle: what was open is undone, and every record counts once all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_fenced_is_undone_and_its_records_count_once() {
    let (from, to, id) = (given::topic("from", 3), given::topic("to", 1), unique("id"));
    fill(&from, 0..3_000, 100).await;
    let consumer = exactly(&unique("fenced"))
        .transactional_id(id.as_str())
        .transaction_timeout(Duration::from_secs(5))
        .max_duplicate_exposure(200)
        .route_concurrent(&from, Concurrency::by_key(8), copy(&to));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut running = tokio::spawn(consumer.build().unwrap().run_until(stopped));
    let all_is_there = async {
        eventually("some is there", SOON, async || committed(to.name()).len() > 300).await;
        drop(given::kafka().transactional_producer(id.as_str()).build().await.unwrap());
        // librdkafka may lose the answer to a call when it is fenced: twice the timeout, and another producer goes on.
        eventually("all is there", SOON * 3, async || counts(to.name()).len() >= 3_000).await;
    };
    tokio::select! {
        () = all_is_there => (),
        ended = &mut running => panic!("it ended by itself: {ended:?}"),
    }
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(counts(to.name()), once((0..3_000).map(|n| n.to_string())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seek_commits_what_was_made_before_and_goes_on_elsewhere() {
    let (from, to) = (given::topic("from", 1), given::topic("to", 1));
    fill(&from, 0..100, 10).await;
    let handled = Taken::new();
    let (taken, copies) = (handled.clone(), copy(&to));
    let consumer =
        exactly(&unique("seek")).commit_interval(Duration::from_millis(300)).route(&from, move |record: Input| {
            taken.push(());
            copies(record)
        });
    let consumer = consumer.build().unwrap();
    let (handle, (stop, stopped)) = (consumer.handle(), tokio::sync::oneshot::channel::<()>());
    let task = tokio::spawn(consumer.run_until(stopped));
    eventually("all is handled", SOON, async || handled.len() >= 100).await;
    handle.seek((from.name(), 0), StartAt::Beginning).await.unwrap();
    eventually("all is there twice", SOON, async || committed(to.name()).len() >= 200).await;
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    assert!(counts(to.name()).values().all(|count| *count == 2), "{:?}", counts(to.name()));
}

/// A handler that hangs is cancelled: what others have finished meanwhile counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_is_cancelled_undoes_what_is_not_committed_and_nothing_counts_twice() {
    let (from, to) = (given::topic("from", 2), given::topic("to", 1));
    fill(&from, 0..200, 20).await;
    let hung = Arc::new(Mutex::new(false));
    let copies = copy(&to);
    let handler = move |record: Input| {
        let hangs = record.value() == "77" && !std::mem::replace(&mut *hung.lock(), true);
        let copied = copies(record);
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            copied.await
        }
    };
    let consumer = exactly(&unique("hung"))
        .handler_limit(Duration::from_millis(500), OnStuck::Rewind)
        .route_concurrent(&from, Concurrency::by_key(8), handler);
    let member = Member::start(consumer);
    eventually("all is there", SOON, async || counts(to.name()).len() >= 200).await;
    member.stop().await;
    assert_eq!(counts(to.name()), once((0..200).map(|n| n.to_string())));
}

/// Retries in the order of keys, dead letters, members that come, go and are killed: outputs, hops, dead letters and offsets
/// are one transaction.
async fn recovered(protocol: GroupProtocol) {
    const KEYS: u32 = 20;
    const RECORDS: u32 = 1_200;
    let (from, to, group) = (given::topic("from", 3), given::topic("to", 3), unique("recovered"));
    let (retries, dead) = (unique("recovered.retry"), unique("recovered.dlq"));
    let tried = Arc::new(Mutex::new(HashMap::<u32, u32>::new()));
    let start = || {
        let (out, tried) = (to.clone(), tried.clone());
        let handler = move |record: Input| {
            let n: u32 = record.value().parse().unwrap();
            let times = {
                let mut tried = tried.lock();
                let times = tried.entry(n).or_default();
                *times += 1;
                *times
            };
            let out = out.clone();
            async move {
                // Sent first: of an attempt that fails it does not count.
                let sent = record.transaction().send(out.record(record.key(), record.value())).await;
                match n {
                    _ if sent.is_err() => Err(Trouble::Busy),
                    _ if n.is_multiple_of(50) => Err(Trouble::Bad),
                    _ if n.is_multiple_of(7) && times <= 1 + n % 4 => Err(Trouble::Busy),
                    _ => Ok(()),
                }
            }
        };
        let backoff = Backoff::exponential(Duration::from_millis(20), Duration::from_millis(200));
        let recovery = Recovery::by(move |trouble: &Trouble| match trouble {
            Trouble::Bad => Decision::dead_letter("bad"),
            Trouble::Busy | Trouble::Odd => Decision::Retry(backoff),
        });
        let recovery = recovery.in_place(1).without_breaker().retry_topic(RetryTopic::new(&retries)).dead_letter(&dead);
        let consumer = exactly(&group).group_protocol(protocol.clone());
        Member::start(consumer.route_concurrent(&from, Concurrency::by_key(8), recovery.wrap(handler)))
    };
    let first = start();
    let mut others = Vec::new();
    for part in 0..6 {
        fill(&from, part * RECORDS / 6..(part + 1) * RECORDS / 6, KEYS).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        match part {
            1 | 4 => others.push(start()),
            2 => others.remove(0).drop_it().await,
            _ => (),
        }
    }
    let bad: BTreeSet<u32> = (0..RECORDS).filter(|n| n.is_multiple_of(50)).collect();
    let good = || (0..RECORDS).filter(|n| !bad.contains(n));
    let patience = SOON * 3;
    eventually("all is there", patience, async || committed(to.name()).len() >= good().count()).await;
    eventually("the bad ones are dead letters", patience, async || committed(&dead).len() >= bad.len()).await;
    others.push(first);
    for member in others {
        member.stop().await;
    }
    assert_eq!(counts(to.name()), once(good().map(|n| n.to_string())));
    assert_eq!(counts(&dead), once(bad.iter().map(|n| n.to_string())));
    assert!(!committed(&retries).is_empty(), "or nothing was retried");
    let mut last = HashMap::new();
    for stored in oracle::read_all(Cluster::shared().bootstrap(), to.name(), Isolation::ReadCommitted) {
        let n: u32 = given::text(stored.value.as_deref()).parse().unwrap();
        let before = last.insert(n % KEYS, n);
        assert!(before.is_none_or(|before| before < n), "{before:?} stands before {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_range_retries_and_dead_letters_are_part_of_the_transaction() {
    recovered(GroupProtocol::Classic(Assignor::Range)).await;
}
