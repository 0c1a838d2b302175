//! What becomes of a transaction when requests fail: the same call again, an abort, a new producer, or a clear end. The
//! embedded broker fails them to order; that it proves nothing about what readers see does not matter here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_client::{Embedded, Error, ErrorKind, Fault, Kafka, Request, Retry, Topic, Utf8};
use tests::harness::eventually;
use tokio::sync::oneshot;

use crate::group::SOON;

/// What is expected of one transaction, and of the one that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The same call again: the user hears nothing.
    Committed,
    /// Aborted; the next one succeeds with the same producer.
    Aborted,
    /// The producer has ended; the next transaction has a new one, and succeeds.
    Replaced,
    /// Somebody else has the id: the next one fails, too.
    Fenced,
}

const TIMED_OUT: Fault = Fault::RequestTimedOut;
/// CONCURRENT_TRANSACTIONS, COORDINATOR_LOAD_IN_PROGRESS, OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE,
/// TRANSACTIONAL_ID_AUTHORIZATION_FAILED, PRODUCER_FENCED, and one that nobody expects there: INVALID_CONFIG.
const CONCURRENT: Fault = Fault::Code(51);
const LOADING: Fault = Fault::Code(14);
const INVALID_EPOCH: Fault = Fault::Code(47);
const INVALID_STATE: Fault = Fault::Code(48);
const ID_DENIED: Fault = Fault::Code(53);
const PRODUCER_FENCED: Fault = Fault::Code(90);
const STRANGE: Fault = Fault::Code(40);

fn embedded() -> Kafka {
    let kafka = Kafka::embedded().unwrap();
    broker(&kafka).create_topic("lines", 1).unwrap();
    kafka
}

fn broker(kafka: &Kafka) -> &Embedded {
    kafka.embedded_broker().unwrap()
}

async fn one(request: Request, fault: Fault, times: usize) -> (Result<(), Error>, Result<(), Error>) {
    let kafka = embedded();
    let broker = broker(&kafka);
    let lines = Topic::new("lines", Utf8, Utf8);
    let mut producer = kafka.transactional_producer("t").timeout(Duration::from_secs(5)).build().await.unwrap();
    broker.fail_requests(request, fault, times).unwrap();
    let first = producer.transaction(async |tx| Ok(tx.send(lines.record("k", "v")).await?)).await;
    // What is left of the faults was meant for the first.
    broker.fail_requests(request, fault, 0).unwrap();
    let mut second = producer.transaction(async |tx| Ok(tx.send(lines.record("k", "w")).await?)).await;
    // librdkafka counts a record that a broker has refused, and finds the gap with the next one.
    let again = |error: &Error| error.kind() == ErrorKind::Aborted && error.retry() == Retry::Temporary;
    if first.is_err() && second.as_ref().is_err_and(again) {
        second = producer.transaction(async |tx| Ok(tx.send(lines.record("k", "w")).await?)).await;
    }
    (first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_of_a_transaction_has_its_own_consequence() {
    use Request::{AddPartitionsToTransaction as AddPartitions, EndTransaction, Produce};
    let cases = [
        (AddPartitions, CONCURRENT, 3, Expect::Committed),
        (AddPartitions, LOADING, 2, Expect::Committed),
        (AddPartitions, Fault::NotCoordinator, 1, Expect::Committed),
        (AddPartitions, Fault::Disconnect, 1, Expect::Committed),
        (AddPartitions, Fault::TopicAuthorizationFailed, 1, Expect::Aborted),
        (AddPartitions, INVALID_STATE, 1, Expect::Replaced),
        (AddPartitions, PRODUCER_FENCED, 1, Expect::Fenced),
        (AddPartitions, STRANGE, 1, Expect::Aborted),
        (Produce, Fault::NotLeader, 2, Expect::Committed),
        (Produce, TIMED_OUT, 1, Expect::Committed),
        (Produce, Fault::NotEnoughReplicas, 2, Expect::Committed),
        (Produce, Fault::MessageTooLarge, 1, Expect::Aborted),
        (Produce, STRANGE, 1, Expect::Aborted),
        (EndTransaction, LOADING, 2, Expect::Committed),
        (EndTransaction, Fault::NotCoordinator, 1, Expect::Committed),
        (EndTransaction, Fault::Disconnect, 1, Expect::Committed),
        (EndTransaction, PRODUCER_FENCED, 1, Expect::Fenced),
        (EndTransaction, INVALID_EPOCH, 1, Expect::Fenced),
        (EndTransaction, INVALID_STATE, 1, Expect::Replaced),
    ];
    let mut wrong = Vec::new();
    for (request, fault, times, expected) in cases {
        let (first, second) = tokio::time::timeout(SOON, one(request, fault, times))
            .await
            .unwrap_or_else(|_| panic!("{request:?} {fault:?} hangs"));
        let kinds = (first.as_ref().err().map(Error::kind), second.as_ref().err().map(Error::kind));
        let met = match expected {
            Expect::Committed => kinds == (None, None),
            Expect::Aborted => kinds == (Some(ErrorKind::Aborted), None),
            Expect::Replaced => first.as_ref().is_err_and(Error::is_fatal) && kinds.1.is_none(),
            Expect::Fenced => kinds == (Some(ErrorKind::Fenced), Some(ErrorKind::Fenced)),
        };
        if !met {
            wrong.push(format!("{request:?} {fault:?}: {expected:?}, but {first:?} and then {second:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_may_not_use_its_id_says_so_and_one_whose_coordinator_loads_waits() {
    let kafka = embedded();
    let broker = broker(&kafka);
    broker.fail_requests(Request::InitProducerId, LOADING, 3).unwrap();
    kafka.transactional_producer("waits").build().await.unwrap();
    broker.fail_requests(Request::InitProducerId, ID_DENIED, 1).unwrap();
    let denied = kafka.transactional_producer("denied").build().await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied, "{denied:?}");
    broker.fail_requests(Request::InitProducerId, Fault::Code(50), 1).unwrap();
    let timeout = kafka.transactional_producer("slow").build().await.unwrap_err();
    assert!(timeout.to_string().contains("transaction.max.timeout.ms"), "{timeout:?}");
}

/// Runs a pipeline in which a request fails once; how often it was undone, and how it has ended.
async fn piped(request: Request, fault: Fault) -> (usize, Result<(), Error>) {
    let kafka = embedded();
    let broker = broker(&kafka);
    broker.create_topic("copies", 1).unwrap();
    let (lines, copies) = (Topic::new("lines", Utf8, Utf8), Topic::new("copies", Utf8, Utf8));
    let producer = kafka.producer().build().unwrap();
    producer.send_batch((0..10).map(|_| lines.record("k", "v"))).await.unwrap();
    broker.fail_requests(request, fault, 1).unwrap();
    let (undone, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (told, counts) = (undone.clone(), done.clone());
    let pipeline = kafka
        .exactly_once("g")
        .from(&lines)
        .commit_interval(Duration::from_millis(20))
        .on_undone(move |_| {
            told.fetch_add(1, Ordering::SeqCst);
        })
        .process(move |batch, tx| {
            let (copies, counts) = (copies.clone(), counts.clone());
            async move {
                tx.send_batch(batch.iter().map(|record| copies.record(record.key(), record.value()))).await?;
                counts.fetch_add(batch.len(), Ordering::SeqCst);
                Ok(())
            }
        });
    let ready = pipeline.build().unwrap();
    let handle = ready.handle();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move { ready.run_until(stopped).await });
    eventually("it has committed, or ended", SOON, async || {
        let committed = match handle.partitions().await {
            Ok(partitions) => partitions.iter().any(|one| one.committed == Some(10)),
            Err(_) => false,
        };
        committed || task.is_finished()
    })
    .await;
    let _ = stop.send(());
    (undone.load(Ordering::SeqCst), task.await.unwrap().map(drop))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_are_refused_undo_the_transaction_and_the_user_hears_nothing() {
    use Request::{AddOffsetsToTransaction as AddOffsets, TransactionOffsetCommit as OffsetCommit};
    // How often the transaction is undone, and the kind of the error that ends the pipeline.
    let cases = [
        (AddOffsets, LOADING, 0, None),
        (AddOffsets, CONCURRENT, 0, None),
        (AddOffsets, Fault::NotCoordinator, 0, None),
        (AddOffsets, Fault::GroupAuthorizationFailed, 1, Some(ErrorKind::Denied)),
        (AddOffsets, PRODUCER_FENCED, 1, None),
        (OffsetCommit, LOADING, 0, None),
        (OffsetCommit, Fault::NotCoordinator, 0, None),
        (OffsetCommit, Fault::IllegalGeneration, 1, None),
        (OffsetCommit, Fault::UnknownMember, 1, None),
        (OffsetCommit, Fault::GroupAuthorizationFailed, 1, Some(ErrorKind::Denied)),
        (OffsetCommit, STRANGE, 1, None),
    ];
    let mut wrong = Vec::new();
    for (request, fault, times, kind) in cases {
        let (undone, ended) = piped(request, fault).await;
        if undone != times || ended.as_ref().err().map(Error::kind) != kind {
            wrong.push(format!(
                "{request:?} {fault:?}: undone {undone} times, not {times}; ended with {ended:?}, not {kind:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
