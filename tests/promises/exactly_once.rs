//! What is read, processed and written counts once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{BoxError, Decision, Error, ErrorKind, Kafka, Pipeline, Received, Topic, TopicPartition, Utf8};
use parking_lot::Mutex;
use tests::harness::oracle::{self, Isolation};
use tests::harness::{Cluster, eventually, unique};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::given::{self, Lines};
use crate::group::SOON;

type Input = Received<String, String>;

fn pipeline(group: &str, from: &Lines) -> Pipeline<Input> {
    let quick = |consumer: kafka_client::ConsumerBuilder| {
        consumer.set("heartbeat.interval.ms", "100").set("session.timeout.ms", "6000").set("fetch.wait.max.ms", "20")
    };
    given::kafka().exactly_once(group).from(from).commit_interval(Duration::from_millis(20)).consumer(quick)
}

/// Something that runs until it is stopped.
struct Started {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<kafka_client::ConsumerReport, Error>>,
}

macro_rules! start {
    ($pipeline:expr) => {{
        let (stop, stopped) = oneshot::channel::<()>();
        let pipeline = $pipeline;
        Started { stop, task: tokio::spawn(async move { pipeline.run_until(stopped).await }) }
    }};
}

impl Started {
    async fn stop(self) -> kafka_client::ConsumerReport {
        let _ = self.stop.send(());
        tokio::time::timeout(SOON, self.task).await.expect("it ends").unwrap().unwrap_or_else(|e| panic!("{e:?}"))
    }

    async fn failure(self) -> Error {
        tokio::time::timeout(SOON, self.task).await.expect("it ends").unwrap().expect_err("it fails")
    }
}

async fn fill(topic: &Lines, records: usize) {
    let producer = given::built(given::kafka().producer());
    let sent = producer.send_batch((0..records).map(|n| given::raw(topic, n % 100, n))).await.unwrap();
    assert_eq!(sent, records);
}

fn committed(topic: &Lines) -> Vec<String> {
    given::values(&oracle::read_all(Cluster::shared().bootstrap(), topic.name(), Isolation::ReadCommitted))
}

/// How often each value is there.
fn counts(topic: &Lines) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    committed(topic).into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

fn exactly(records: usize) -> BTreeMap<String, usize> {
    (0..records).map(|n| (n.to_string(), 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_holds_every_record_once_and_a_restart_adds_nothing() {
    let (from, to, group) = (given::topic("from", 4), given::topic("to", 2), unique("copy"));
    fill(&from, 5_000).await;
    for _ in 0..2 {
        let out = to.clone();
        let copy = pipeline(&group, &from).process(move |batch, tx| {
            let out = out.clone();
            async move {
                for record in &batch {
                    tx.send(out.record(record.key(), record.value())).await?;
                }
                Ok(())
            }
        });
        let copy = start!(copy);
        eventually("all is copied", SOON, async || committed(&to).len() >= 5_000).await;
        let report = copy.stop().await;
        assert!(report.left_group, "{report:?}");
    }
    assert_eq!(counts(&to), exactly(5_000));
}

/// Each record is a batch of its own, and a transaction holds many of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_committed_batch_by_batch_nothing_is_left_behind() {
    let (from, group) = (given::topic("from", 1), unique("trickle"));
    let batches = Arc::new(Mutex::new(0));
    let seen = batches.clone();
    let trickle = pipeline(&group, &from).commit_interval(Duration::from_millis(400)).process(move |_, _| {
        *seen.lock() += 1;
        async { Ok(()) }
    });
    let trickle = trickle.build().unwrap();
    let handle = trickle.handle();
    let trickle = start!(trickle);
    for n in 0..20 {
        fill(&from, 1).await;
        eventually("it is handed over", SOON, async || *batches.lock() > n).await;
    }
    eventually("all is committed", SOON, async || {
        let of = handle.partitions().await.unwrap();
        of.first().and_then(|of| of.committed) == Some(20)
    })
    .await;
    let [lag] = &handle.lag().await.unwrap()[..] else { panic!("one partition") };
    assert_eq!((lag.records, lag.end), (0, 20));
    let report = trickle.stop().await;
    assert_eq!((report.handled, report.unfinished), (20, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_lanes_every_record_counts_once_and_partitions_keep_their_order() {
    let (from, to, group) = (given::topic("from", 8), given::topic("to", 8), unique("lanes"));
    fill(&from, 20_000).await;
    let out = to.clone();
    let copy = pipeline(&group, &from).lanes(4).max_records(500).process(move |batch, tx| {
        let out = out.clone();
        async move {
            tx.send_batch(
                batch.iter().map(|record| out.record(record.key(), record.value()).partition(record.partition())),
            )
            .await?;
            Ok(())
        }
    });
    let copy = start!(copy);
    eventually("all is copied", SOON, async || committed(&to).len() >= 20_000).await;
    copy.stop().await;
    assert_eq!(counts(&to), exactly(20_000));
    let mut last = BTreeMap::new();
    for stored in oracle::read_all(Cluster::shared().bootstrap(), to.name(), Isolation::ReadCommitted) {
        let number: usize = given::text(stored.value.as_deref()).parse().unwrap();
        let before = last.insert(given::text(stored.key.as_deref()), number);
        assert!(before.is_none_or(|before| before < number), "{before:?} before {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_undone_told_and_done_again() {
    let (from, to, group) = (given::topic("from", 3), given::topic("to", 1), unique("undone"));
    fill(&from, 1_000).await;
    let (out, calls, undone) = (to.clone(), Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let told = undone.clone();
    let copy =
        pipeline(&group, &from).on_undone(move |_| *told.lock() += 1).max_records(50).process(move |batch, tx| {
            let (out, calls) = (out.clone(), calls.clone());
            async move {
                tx.send_batch(batch.iter().map(|record| out.record(record.key(), record.value()))).await?;
                *calls.lock() += 1;
                let call = *calls.lock();
                match call % 5 {
                    0 => Err("every fifth fails after it has sent".into()),
                    3 => Ok(Decision::Abort),
                    2 => Ok(Decision::Commit),
                    _ => Ok(Decision::GoOn),
                }
            }
        });
    let copy = start!(copy);
    eventually("all is copied", SOON, async || committed(&to).len() >= 1_000).await;
    copy.stop().await;
    assert_eq!(counts(&to), exactly(1_000));
    assert!(*undone.lock() >= 5);
    assert!(given::log(&to).len() > 1_000, "aborted records stand in the log, or nothing was undone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_commits_the_first_records_of_a_batch_and_the_others_come_again() {
    let (from, to, group) = (given::topic("from", 2), given::topic("to", 1), unique("up-to"));
    fill(&from, 300).await;
    let out = to.clone();
    let copy = pipeline(&group, &from).process(move |batch, tx| {
        let out = out.clone();
        async move {
            let some = batch.len().div_ceil(3);
            tx.send_batch(batch.iter().take(some).map(|record| out.record(record.key(), record.value()))).await?;
            Ok(Decision::CommitUpTo(some))
        }
    });
    let copy = start!(copy);
    eventually("all is copied", SOON, async || committed(&to).len() >= 300).await;
    copy.stop().await;
    assert_eq!(counts(&to), exactly(300));
}

/// One record in a thousand fails for ever: it is found by halving, and goes to the dead letters in the transaction that
/// commits its offset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_record_is_isolated_and_dead_lettered_and_nothing_else_is() {
    let (from, to, dead) = (given::topic("from", 2), given::topic("to", 1), given::topic("dead", 1));
    fill(&from, 1_000).await;
    let (out, letters) = (to.clone(), dead.name().to_owned());
    let copy = pipeline(&unique("poison"), &from)
        .dead_letter(move |poisoned, tx| {
            let letters = letters.clone();
            async move {
                assert!(poisoned.error().to_string().contains("processing failed"), "{}", poisoned.error());
                tx.send(poisoned.into_record().for_topic(letters.clone())).await?;
                Ok(())
            }
        })
        .process(move |batch, tx| {
            let out = out.clone();
            async move {
                for record in &batch {
                    if record.value() == "637" {
                        return Err("637 cannot be processed".into());
                    }
                    tx.send(out.record(record.key(), record.value())).await?;
                }
                Ok(())
            }
        });
    let copy = start!(copy);
    eventually("all is accounted for", SOON, async || committed(&to).len() + committed(&dead).len() >= 1_000).await;
    copy.stop().await;
    assert_eq!(committed(&dead), ["637"]);
    let mut expected = exactly(1_000);
    expected.remove("637");
    assert_eq!(counts(&to), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_dead_letters_a_poison_record_ends_the_pipeline_by_name_and_is_not_skipped() {
    let (from, to, group) = (given::topic("from", 1), given::topic("to", 1), unique("stops"));
    fill(&from, 100).await;
    let out = to.clone();
    let copy = pipeline(&group, &from).process(move |batch, tx| {
        let out = out.clone();
        async move {
            for record in &batch {
                if record.value() == "63" {
                    return Err::<(), BoxError>("63 cannot be processed".into());
                }
                tx.send(out.record(record.key(), record.value())).await?;
            }
            Ok(())
        }
    });
    let error = start!(copy).failure().await;
    assert_eq!((error.kind(), error.partition(), error.offset()), (ErrorKind::Handler, Some(0), Some(63)), "{error:?}");
    assert!(format!("{error:?}").ends_with("63 cannot be processed"), "{error:?}");
    assert_eq!(counts(&to), exactly(63), "what came before it is committed");
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused_by_name() {
    let topic = given::topic("config", 1);
    let kafka = Kafka::connect("127.0.0.1:1");
    let refused = |pipeline: Pipeline<Input>| {
        pipeline.process(async |_, _| Ok(())).build().map(drop).expect_err("it contradicts itself").to_string()
    };
    let start = || kafka.exactly_once("g").from(&topic);
    let uncommitted = refused(start().consumer(|consumer| consumer.set("isolation.level", "read_uncommitted")));
    assert!(uncommitted.contains("isolation.level=read_uncommitted") && uncommitted.contains("exactly-once"));
    let slow = refused(start().transaction_timeout(Duration::from_secs(2)).commit_interval(Duration::from_secs(2)));
    assert!(slow.contains("commit_interval=2s") && slow.contains("transaction.timeout.ms=2000"), "{slow}");
    let long = refused(
        start()
            .transaction_timeout(Duration::from_secs(60))
            .consumer(|consumer| consumer.set("max.poll.interval.ms", "45000")),
    );
    assert!(long.contains("transaction.timeout.ms=60000") && long.contains("max.poll.interval.ms=45000"), "{long}");
    let idempotence = refused(start().producer(|producer| producer.idempotence(false)));
    assert!(
        idempotence.contains("transactional.id") && idempotence.contains("enable.idempotence=false"),
        "{idempotence}"
    );
    let other = refused(start().producer(|producer| producer.set("transactional.id", "other")));
    assert!(other.contains("transactional.id=other"), "{other}");
    let assigned = refused(start().consumer(|consumer| consumer.assign([("config", 0)])));
    assert!(assigned.contains("assign") && assigned.contains("exactly-once"), "{assigned}");
    let auto = refused(start().consumer(|consumer| consumer.set("enable.auto.commit", "true")));
    assert!(auto.contains("enable.auto.commit=true") && auto.contains("exactly-once"), "{auto}");
    assert!(refused(start().lanes(0)).contains("lanes"));
    assert!(refused(start().transactional_id("")).contains("transactional.id"));
    let plain = kafka.producer().set("transactional.id", "t").build().expect_err("not in transactions").to_string();
    assert!(plain.contains("transactional.id=t") && plain.contains("transactional_producer"), "{plain}");
    let routed =
        refused(start().consumer(|consumer| consumer.route(&topic_of_routes(), async |_: Input| Ok::<_, Error>(()))));
    assert!(routed.contains("route(") && routed.contains("exactly-once"), "{routed}");
}

fn topic_of_routes() -> Lines {
    Topic::new("routed", Utf8, Utf8)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_goes_with_the_offsets_of_the_transaction() {
    let (from, to, group) = (given::topic("from", 1), given::topic("to", 1), unique("notes"));
    fill(&from, 50).await;
    let out = to.clone();
    let copy = pipeline(&group, &from).process(move |batch, tx| {
        let out = out.clone();
        async move {
            for record in &batch {
                let partition = TopicPartition::new(record.topic(), record.partition());
                let refused = tx.set_offset_metadata(&partition, "x".repeat(4_097)).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::TooLarge);
                tx.set_offset_metadata(&partition, format!("behind {}", record.value()))?;
                tx.send(out.record(record.key(), record.value())).await?;
            }
            Ok(())
        }
    });
    let copy = start!(copy);
    eventually("all is copied", SOON, async || committed(&to).len() >= 50).await;
    copy.stop().await;
    let offsets = given::kafka().admin().group_offsets(&group).await.unwrap();
    let offset = offsets[0].as_ref().unwrap();
    assert_eq!((offset.topic(), offset.offset(), offset.metadata()), (from.name(), Some(50), &b"behind 49"[..]));
}

/// A record whose processing hangs would time out every transaction it is in. It is found, and goes to the dead letters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_hangs_for_ever_is_isolated_before_the_transaction_times_out() {
    let (from, to, dead) = (given::topic("from", 1), given::topic("to", 1), given::topic("dead", 1));
    fill(&from, 40).await;
    let (out, letters) = (to.clone(), dead.name().to_owned());
    let copy = pipeline(&unique("hangs"), &from)
        .transaction_timeout(Duration::from_secs(1))
        .max_records(8)
        .attempts(2)
        .dead_letter(move |poisoned, tx| {
            let letters = letters.clone();
            async move { Ok(tx.send(poisoned.into_record().for_topic(letters)).await?) }
        })
        .process(move |batch, tx| {
            let out = out.clone();
            async move {
                for record in &batch {
                    if record.value() == "21" {
                        std::future::pending::<()>().await;
                    }
                    tx.send(out.record(record.key(), record.value())).await?;
                }
                Ok(())
            }
        });
    let copy = start!(copy);
    eventually("all is accounted for", SOON, async || committed(&to).len() + committed(&dead).len() >= 40).await;
    copy.stop().await;
    assert_eq!(committed(&dead), ["21"]);
    assert_eq!(counts(&to).len(), 39);
    assert!(counts(&to).values().all(|count| *count == 1));
}
