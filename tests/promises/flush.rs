//! Flush waits for what was accepted before it, and for nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use kafka_client::{Delivery, Producer};

use crate::given::{self, Lines, built};

const PATIENCE: Duration = Duration::from_secs(30);

/// Only a flush sends anything.
fn lingering() -> Producer {
    built(given::kafka().producer().linger(Duration::from_secs(200)))
}

async fn enqueued(producer: &Producer, lines: &Lines, value: &str, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for _ in 0..count {
        deliveries.push(producer.enqueue(lines.record("k", value)).await.unwrap());
    }
    deliveries
}

/// Counts those that have their answer; it must be that of a record that was delivered.
fn answered(deliveries: &mut [Delivery]) -> usize {
    deliveries.iter_mut().filter_map(FutureExt::now_or_never).map(Result::unwrap).count()
}

#[tokio::test]
async fn flush_sends_what_lingers_and_returns_with_every_answer() {
    let (lines, producer) = (given::topic("flushed", 3), lingering());
    let mut deliveries = enqueued(&producer, &lines, "v", 1_000).await;
    assert_eq!(answered(&mut deliveries[..10]), 0);
    let report = producer.flush(PATIENCE).await;
    assert_eq!((report.delivered, report.failed, report.unknown), (1_000, 0, 0));
    assert_eq!((producer.in_flight(), answered(&mut deliveries)), (0, 1_000));
    assert_eq!(given::log(&lines).len(), 1_000);
    // Nothing to wait for.
    let report = producer.flush(Duration::ZERO).await;
    assert_eq!((report.delivered, report.failed, report.unknown), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flush_ends_though_another_task_never_stops_sending() {
    let lines = given::topic("busy", 3);
    let producer = built(given::kafka().producer().linger(Duration::from_millis(1)).max_in_flight_records(1_000));
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let sending = tokio::spawn({
        let (producer, lines, stop, sent) = (producer.clone(), lines.clone(), stop.clone(), sent.clone());
        async move {
            while !stop.load(Ordering::Acquire) {
                drop(producer.enqueue(lines.record("other", "v")).await.unwrap());
                if sent.fetch_add(1, Ordering::AcqRel) % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    // So that the queue is never empty.
    while producer.in_flight() < 500 {
        tokio::task::yield_now().await;
    }
    let before = sent.load(Ordering::Acquire);
    for _ in 0..20 {
        let mut mine = enqueued(&producer, &lines, "mine", 50).await;
        let report = producer.flush(PATIENCE).await;
        assert_eq!(answered(&mut mine), 50, "each record from before the flush has its answer");
        assert_eq!((report.failed, report.unknown), (0, 0), "what came later is no part of the report");
        assert!(report.delivered <= 1_000, "at most what fits: {report:?}");
    }
    assert!(sent.load(Ordering::Acquire) > before, "the other task was sending meanwhile");
    stop.store(true, Ordering::Release);
    sending.await.unwrap();
    assert!(producer.flush(PATIENCE).await.is_complete());
    assert_eq!(given::log(&lines).len(), sent.load(Ordering::Acquire) + 20 * 50);
}

#[tokio::test]
async fn flushes_overlap_and_each_has_its_own_records() {
    let (lines, producer) = (given::topic("overlapping", 1), lingering());
    let mut deliveries = Vec::new();
    let mut flushes = Vec::new();
    for n in 0..5 {
        deliveries.push(enqueued(&producer, &lines, &n.to_string(), 10).await);
        flushes.push(tokio::spawn({
            let producer = producer.clone();
            async move { producer.flush(PATIENCE).await }
        }));
        tokio::task::yield_now().await;
    }
    for (n, flush) in flushes.into_iter().enumerate() {
        assert!(flush.await.unwrap().is_complete());
        assert_eq!(answered(&mut deliveries[n]), 10, "those of flush {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_flushes_by_many_tasks_at_once_none_tells_of_what_came_after_it() {
    let lines = given::topic("flushing", 3);
    let producer = built(given::kafka().producer().linger(Duration::from_millis(1)));
    let tasks = (0..8).map(|_| {
        let (producer, lines) = (producer.clone(), lines.clone());
        tokio::spawn(async move {
            for _ in 0..100 {
                let mut mine = enqueued(&producer, &lines, "v", 10).await;
                let report = producer.flush(PATIENCE).await;
                assert_eq!(answered(&mut mine), 10);
                assert!(report.is_complete(), "{report:?}");
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    assert_eq!(given::log(&lines).len(), 8 * 100 * 10);
}

#[tokio::test]
async fn a_flush_hears_of_failures_too() {
    let lines = given::topic("failing", 1);
    let producer = given::kafka().producer().linger(Duration::from_secs(200));
    // How long a topic that nobody knows may take to become known.
    let producer = built(producer.set("topic.metadata.propagation.max.ms", "500"));
    let nowhere = kafka_client::Topic::new("no-such-topic", kafka_client::Utf8, kafka_client::Utf8);
    let good = enqueued(&producer, &lines, "v", 10).await;
    let bad = enqueued(&producer, &nowhere, "v", 5).await;
    let report = producer.flush(PATIENCE).await;
    assert_eq!((report.delivered, report.failed, report.unknown), (10, 5, 0));
    assert!(!report.is_complete());
    assert!(join_all(good).await.iter().all(Result::is_ok) && join_all(bad).await.iter().all(Result::is_err));
}
