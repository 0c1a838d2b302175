//! Records of a transaction become visible together, or not at all.

use std::time::{Duration, Instant};

use kafka_client::{ErrorKind, Retry, TransactionalProducer};
use tests::harness::oracle::{self, Isolation};
use tests::harness::{Cluster, eventually, unique};

use crate::given::{self, Lines};

async fn producer(id: &str) -> TransactionalProducer {
    given::kafka().transactional_producer(id).timeout(Duration::from_secs(10)).build().await.unwrap()
}

fn committed(topic: &Lines) -> Vec<String> {
    given::values(&oracle::read_all(Cluster::shared().bootstrap(), topic.name(), Isolation::ReadCommitted))
}

fn all(topic: &Lines) -> usize {
    given::log(topic).len()
}

#[tokio::test]
async fn a_transaction_is_seen_as_a_whole_once_it_is_committed() {
    let (one, other) = (given::topic("one", 1), given::topic("other", 1));
    let mut producer = producer(&unique("transfers")).await;
    let answer = producer
        .transaction(async |tx| {
            tx.send(one.record("k", "debit")).await?;
            tx.send(other.record("k", "credit")).await?;
            assert_eq!((committed(&one).len(), committed(&other).len()), (0, 0));
            Ok(42)
        })
        .await
        .unwrap();
    assert_eq!(answer, 42);
    assert_eq!((committed(&one), committed(&other)), (vec!["debit".to_owned()], vec!["credit".to_owned()]));
}

#[tokio::test]
async fn an_error_aborts_and_the_next_transaction_goes_on() {
    let lines = given::topic("aborted", 2);
    let mut producer = producer(&unique("aborts")).await;
    let error = producer
        .transaction(async |tx| {
            let sent = tx.send_batch((0..100).map(|_| lines.record("k", "never"))).await?;
            assert_eq!(sent, 100);
            Err::<(), _>("changed my mind".into())
        })
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Aborted, Retry::Permanent));
    assert!(format!("{error:?}").ends_with("changed my mind"), "{error:?}");
    for number in 0..20 {
        let result = producer
            .transaction(async |tx| {
                tx.send(lines.record("k", &number.to_string())).await?;
                if number % 2 == 1 { Err("odd".into()) } else { Ok(()) }
            })
            .await;
        assert_eq!(result.is_ok(), number % 2 == 0);
    }
    let even: Vec<String> = (0..20).filter(|number| number % 2 == 0).map(|number| number.to_string()).collect();
    assert_eq!(committed(&lines), even);
}

#[tokio::test]
async fn a_failed_send_poisons_the_transaction_also_when_its_error_is_ignored() {
    let lines = given::topic("poisoned", 1);
    let mut producer = producer(&unique("poison")).await;
    let too_large = "v".repeat(2_000_000);
    let error = producer
        .transaction(async |tx| {
            tx.send(lines.record("k", "good")).await?;
            let ignored = tx.send(lines.record("k", &too_large)).await;
            assert_eq!(ignored.unwrap_err().error().kind(), ErrorKind::TooLarge);
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Aborted, Retry::Permanent), "{error:?}");
    // A partition that does not exist is noticed later: by the report.
    let error = producer
        .transaction(async |tx| {
            tx.send(lines.record("k", "good")).await?;
            tx.send(lines.record("k", "nowhere").partition(7)).await?;
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted, "{error:?}");
    producer.transaction(async |tx| Ok(tx.send(lines.record("k", "after")).await?)).await.unwrap();
    assert_eq!(committed(&lines), ["after"]);
}

/// Dropped at every moment of its life, a transaction is there as a whole or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_transaction_is_finished_or_aborted_never_half() {
    let lines = given::topic("dropped", 3);
    let mut producer = producer(&unique("drops")).await;
    let mut whole = Vec::new();
    for round in 0..60u64 {
        let work = producer.transaction(async |tx| {
            let value = round.to_string();
            for part in 0..3 {
                tx.send(lines.record("k", &value).partition(part)).await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        });
        let patience = Duration::from_micros(round * 150);
        if tokio::time::timeout(patience, work).await.is_ok_and(|ended| ended.is_ok()) {
            whole.push(round);
        }
    }
    // How far each of those came is the machine's business. This one is dropped when its record stands in the log.
    let before = all(&lines);
    let work = producer.transaction(async |tx| {
        tx.send(lines.record("k", "dropped in the log").partition(1)).await?;
        std::future::pending::<Result<(), _>>().await
    });
    tokio::select! {
        ended = work => panic!("it ended by itself: {ended:?}"),
        () = eventually("the record stands in the log", Duration::from_secs(10), async || all(&lines) > before) => (),
    }
    producer.transaction(async |tx| Ok(tx.send(lines.record("k", "last").partition(0)).await?)).await.unwrap();
    let seen = committed(&lines);
    for round in 0..60u64 {
        let count = seen.iter().filter(|value| **value == round.to_string()).count();
        assert!(count == 0 || count == 3, "{count} of 3 records of transaction {round} are visible");
        assert!(count == 3 || !whole.contains(&round), "transaction {round} was confirmed, and is not there");
    }
    assert!(!seen.iter().any(|value| value == "dropped in the log"), "a record of a dropped transaction is visible");
    assert!(all(&lines) > seen.len(), "the record that was dropped stands in the log");
}

#[tokio::test]
async fn a_new_producer_of_an_id_aborts_what_the_old_one_left_open_and_fences_it() {
    let (lines, id) = (given::topic("fenced", 1), unique("fences"));
    let mut old = producer(&id).await;
    let lines_of_old = lines.clone();
    let (sent, was_sent) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = tokio::sync::oneshot::channel();
    let zombie = tokio::spawn(async move {
        let ended = old
            .transaction(async |tx| {
                tx.send(lines_of_old.record("k", "of the zombie")).await?;
                sent.send(()).unwrap();
                may_go_on.await?;
                Ok(())
            })
            .await;
        let again = old.transaction(async |tx| Ok(tx.send(lines_of_old.record("k", "again")).await?)).await;
        (ended, again)
    });
    was_sent.await.unwrap();
    eventually("the record stands in the log", Duration::from_secs(10), async || all(&lines) >= 1).await;
    let mut new = producer(&id).await;
    new.transaction(async |tx| Ok(tx.send(lines.record("k", "of the new one")).await?)).await.unwrap();
    go_on.send(()).unwrap();
    let (ended, again) = zombie.await.unwrap();
    let (ended, again) = (ended.unwrap_err(), again.unwrap_err());
    assert_eq!((ended.kind(), again.kind()), (ErrorKind::Fenced, ErrorKind::Fenced), "{ended:?}");
    assert!(ended.to_string().contains("another producer") && ended.is_fatal(), "{ended}");
    new.transaction(async |tx| Ok(tx.send(lines.record("k", "still here")).await?)).await.unwrap();
    assert_eq!(committed(&lines), ["of the new one", "still here"]);
}

/// To the broker this is the same as a zombie; our clock tells them apart.
#[tokio::test]
async fn a_transaction_that_was_too_slow_says_so_and_the_next_one_has_a_new_producer() {
    let lines = given::topic("slow", 1);
    let builder = given::kafka().transactional_producer(unique("slow")).timeout(Duration::from_secs(1));
    let mut producer = builder.build().await.unwrap();
    let error = producer
        .transaction(async |tx| {
            tx.send(lines.record("k", "late")).await?;
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            tx.send(lines.record("k", "later")).await?;
            Ok(())
        })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("transaction.timeout.ms=1000"), "{error:?}");
    assert_eq!(error.retry(), Retry::Temporary);
    producer.transaction(async |tx| Ok(tx.send(lines.record("k", "in time")).await?)).await.unwrap();
    assert_eq!(committed(&lines), ["in time"]);
}

/// On a runtime of one thread, whoever blocks is seen.
#[tokio::test(flavor = "current_thread")]
async fn no_call_of_a_transaction_holds_up_the_runtime() {
    let lines = given::topic("ticker", 1);
    let longest = std::sync::Arc::new(parking_lot::Mutex::new(Duration::ZERO));
    let noted = longest.clone();
    let ticker = tokio::spawn(async move {
        loop {
            let before = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut longest = noted.lock();
            *longest = (*longest).max(before.elapsed());
        }
    });
    let mut producer = producer(&unique("ticker")).await;
    for number in 0..10 {
        let result = producer
            .transaction(async |tx| {
                tx.send(lines.record("k", "v")).await?;
                if number % 2 == 0 { Ok(()) } else { Err("abort".into()) }
            })
            .await;
        assert_eq!(result.is_ok(), number % 2 == 0);
    }
    assert!(producer.close(Duration::from_secs(5)).await.is_complete());
    ticker.abort();
    let longest = *longest.lock();
    // What blocks for a request blocks for much longer than a busy machine does.
    assert!(longest < Duration::from_millis(400), "the ticker stood still for {longest:?}");
}
