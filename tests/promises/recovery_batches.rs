//! A batch that fails is searched for the records that make it fail; the others are handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_client::{Batching, Received};
use kafka_dlq::{Backoff, Decision, Recovery, RetryTopic};
use tests::harness::unique;

use crate::given;
use crate::group::{Member, Taken, quick};
use crate::recovery::{Trouble, all_committed, decide, send, stored};

#[derive(Debug)]
struct BatchError {
    trouble: Trouble,
    index: Option<usize>,
}

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.trouble.fmt(f)
    }
}

impl std::error::Error for BatchError {}

#[tokio::test]
async fn one_bad_record_of_1024_costs_at_most_20_more_calls_and_2_if_it_is_named() {
    let kafka = given::kafka();
    for (bad, names, most) in [(0, false, 20), (700, false, 20), (1_023, false, 20), (333, true, 2)] {
        let (source, group, dead) = (given::topic("batch", 1), unique("batch"), unique("batch.dlq"));
        send(&kafka, (0..1_024).map(|n| given::raw(&source, n, n))).await;
        let (calls, handled) = (Arc::new(AtomicUsize::new(0)), Taken::new());
        let (count, taken) = (calls.clone(), handled.clone());
        let handler = move |batch: Vec<Received<String, String>>| {
            count.fetch_add(1, Ordering::SeqCst);
            let values: Vec<u32> = batch.iter().map(|record| record.value().parse().unwrap()).collect();
            let at = values.iter().position(|n| *n == bad);
            let outcome = match at {
                Some(at) => Err(BatchError { trouble: Trouble::Bad, index: names.then_some(at) }),
                None => {
                    values.into_iter().for_each(|n| taken.push(n));
                    Ok(())
                }
            };
            async { outcome }
        };
        let recovery = Recovery::by(|error: &BatchError| decide(&error.trouble))
            .index(|error: &BatchError| error.index)
            .dead_letter(&dead);
        let batching = Batching::up_to(1_024).linger(Duration::from_secs(5));
        let consumer = quick(&kafka, &group).max_batch_records(1_024);
        let running = Member::start(consumer.route_batching(&source, batching, recovery.wrap(handler)));
        all_committed(&group, source.name()).await;
        running.stop().await;
        assert_eq!(given::values(&stored(&dead)), [bad.to_string()]);
        let expected: Vec<u32> = (0..1_024).filter(|n| *n != bad).collect();
        assert_eq!(handled.all(), expected, "in their order");
        let calls = calls.load(Ordering::SeqCst);
        assert!(calls <= 1 + most, "{calls} calls");
    }
}

#[tokio::test]
async fn a_batch_is_tried_again_as_a_whole_and_then_its_bad_keys_wait_on_the_retry_topic_in_order() {
    let (kafka, source, group, topic) = (given::kafka(), given::topic("rows", 1), unique("rows"), unique("rows.retry"));
    send(&kafka, (0..200).map(|n| given::raw(&source, n % 10, n))).await;
    let (handled, tried) = (Taken::new(), Taken::new());
    let (taken, tries) = (handled.clone(), tried.clone());
    let handler = move |batch: Vec<Received<String, String>>| {
        let values: Vec<u32> = batch.iter().map(|record| record.value().parse().unwrap()).collect();
        // Key 3 is ill for a while.
        let ill = values.contains(&33) && {
            tries.push(values.len());
            tries.len() < 20
        };
        if !ill {
            values.into_iter().for_each(|n| taken.push(n));
        }
        async move { if ill { Err(Trouble::Busy) } else { Ok(()) } }
    };
    let backoff = Backoff::fixed(Duration::from_millis(20)).without_limit();
    let recovery = Recovery::by(move |_: &Trouble| Decision::Retry(backoff)).in_place(2);
    let recovery = recovery.without_breaker().retry_topic(RetryTopic::new(&topic)).wrap(handler);
    let running = Member::start(quick(&kafka, &group).route_batch(&source, recovery));
    all_committed(&group, source.name()).await;
    all_committed(&group, &topic).await;
    running.stop().await;
    let of_key: Vec<u32> = handled.all().into_iter().filter(|n| n % 10 == 3).collect();
    assert_eq!(of_key, (0..20).map(|ten| ten * 10 + 3).collect::<Vec<_>>());
    assert_eq!(handled.len(), 200);
}
