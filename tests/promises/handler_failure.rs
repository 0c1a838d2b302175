//! A handler that fails or panics ends its consumer, which says where, finishes what others hold, and commits what is
//! finished: never the failed record.

use std::error::Error as _;
use std::future::pending;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kafka_client::serde::{Deserializer, Source, Stop};
use kafka_client::{Completion, Error, ErrorKind, RawBatch, Received, Topic, Utf8};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::{ClientConfig, Message as _};
use tests::harness::{Cluster, eventually, unique};

use crate::given;
use crate::group::{Door, Member, SOON, Taken, commits, committed, fill, quick};

/// The ways to fail, and what each is reported as.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Error,
    Panic,
    PanicBeforeTheFuture,
    LaterError,
    LaterPanic,
}

use Failure::{LaterError, LaterPanic, Panic, PanicBeforeTheFuture};

const ALL: [Failure; 5] = [Failure::Error, Panic, PanicBeforeTheFuture, LaterError, LaterPanic];

type Answer = Result<Completion, std::io::Error>;

impl Failure {
    fn happen(self) -> BoxFuture<'static, Answer> {
        match self {
            Failure::Error => async { Err(std::io::Error::other("no money")) }.boxed(),
            Panic => async { panic!("no money") }.boxed(),
            PanicBeforeTheFuture => panic!("no money"),
            LaterError => later(async { Err(std::io::Error::other("no money")) }),
            LaterPanic => later(async { panic!("no money") }),
        }
    }

    #[track_caller]
    fn check(self, error: &Error) {
        assert_eq!(error.operation(), Some("handle"), "{self:?}");
        if matches!(self, Failure::Error | LaterError) {
            assert_eq!(error.kind(), ErrorKind::Handler, "{self:?}");
            let source = error.source().expect("the handler's own error");
            assert_eq!(source.to_string(), "no money");
            assert!(source.downcast_ref::<std::io::Error>().is_some());
        } else {
            assert_eq!(error.kind(), ErrorKind::Panicked, "{self:?}");
            assert!(error.to_string().ends_with("the handler panicked: no money"), "{error}");
        }
    }
}

fn later(work: impl Future<Output = Result<(), std::io::Error>> + Send + 'static) -> BoxFuture<'static, Answer> {
    async { Ok(Completion::later(work)) }.boxed()
}

fn done() -> BoxFuture<'static, Answer> {
    async { Ok(Completion::done()) }.boxed()
}

#[tokio::test]
async fn the_consumer_says_where_it_failed_and_commits_what_is_before_it() {
    for failure in ALL {
        let (topic, group) = (given::topic("orders", 1), unique("billing"));
        fill(&topic, 0, 10);
        let handled = Taken::new();
        let at = handled.clone();
        let handler = move |record: Received<String, String>| {
            if record.offset() == 4 {
                return failure.happen();
            }
            at.push(record.offset());
            done()
        };
        let error = Member::start(quick(&given::kafka(), &group).route(&topic, handler)).failure().await;
        failure.check(&error);
        assert_eq!((error.topic(), error.partition(), error.offset()), (Some(topic.name()), Some(0), Some(4)));
        assert!(error.to_string().starts_with(&format!("handle failed for {}-0 at 4: ", topic.name())), "{error}");
        assert_eq!(committed(&group, &topic), [(0, 4)].into(), "{failure:?}");
        // What fails later lets others begin; what fails at once does not.
        let begun_after = handled.all().into_iter().filter(|offset| *offset > 4).count();
        assert!(begun_after == 0 || matches!(failure, LaterError | LaterPanic), "{failure:?}: {:?}", handled.all());

        // The next one starts with the failed record.
        let again = Taken::new();
        let at = again.clone();
        let handler = move |record: Received<String, String>| {
            at.push(record.offset());
            done()
        };
        let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
        commits(&group, &topic, &[(0, 10)]).await;
        member.stop().await;
        assert_eq!(again.all(), (4..10).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_others_hold_is_finished_and_committed_first() {
    for failure in ALL {
        let (topic, group) = (given::topic("orders", 3), unique("billing"));
        for partition in 0..3 {
            fill(&topic, partition, 5);
        }
        // Two partitions are in the middle of their second record when the third one fails.
        let (begun, door) = (Taken::new(), Door::closed());
        let (begins, pass) = (begun.clone(), door.clone());
        let handler = move |record: Received<String, String>| match (record.partition(), record.offset()) {
            (2, 0) => {
                let all_begun = pass.pass(0);
                async move {
                    let _ = all_begun.await;
                    failure.happen().await
                }
                .boxed()
            }
            (_, 1) => {
                begins.push(record.partition());
                let passed = pass.pass(1);
                async {
                    let _ = passed.await;
                    Ok(Completion::done())
                }
                .boxed()
            }
            _ => done(),
        };
        let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
        eventually("two are in the middle", SOON, async || begun.len() == 2).await;
        commits(&group, &topic, &[(0, 1), (1, 1)]).await;
        door.open_to(1);
        let failed = tokio::spawn(member.failure());
        // The consumer waits for the two.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!failed.is_finished());
        assert_eq!(committed(&group, &topic), [(0, 1), (1, 1)].into());
        door.open();
        let error = failed.await.unwrap();
        failure.check(&error);
        assert_eq!((error.partition(), error.offset()), (Some(2), Some(0)));
        assert_eq!(committed(&group, &topic), [(0, 2), (1, 2)].into(), "{failure:?}");
        assert_eq!(begun.len(), 2, "nothing was begun after the failure");
    }
}

#[tokio::test]
async fn completions_before_the_failed_record_are_awaited_and_committed() {
    let (topic, group, door) = (given::topic("orders", 1), unique("billing"), Door::closed());
    fill(&topic, 0, 10);
    let pass = door.clone();
    let handler = move |record: Received<String, String>| match record.offset() {
        0..4 => {
            let passed = pass.pass(0);
            async { Ok(Completion::later(passed)) }.boxed()
        }
        4 => Failure::Error.happen(),
        // Begun never.
        _ => pending().boxed(),
    };
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    let failed = tokio::spawn(member.failure());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!failed.is_finished());
    door.open();
    assert_eq!(failed.await.unwrap().offset(), Some(4));
    assert_eq!(committed(&group, &topic), [(0, 4)].into());
}

#[tokio::test]
async fn the_first_of_several_failures_is_the_one_that_is_told() {
    let (topic, group, door) = (given::topic("orders", 1), unique("billing"), Door::closed());
    fill(&topic, 0, 3);
    let pass = door.clone();
    let handler = move |record: Received<String, String>| {
        let passed = pass.pass(record.offset());
        later(async {
            let _ = passed.await;
            Err(std::io::Error::other("no money"))
        })
    };
    let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
    door.open_to(1);
    let failed = tokio::spawn(member.failure());
    tokio::time::sleep(Duration::from_millis(100)).await;
    door.open();
    assert_eq!(failed.await.unwrap().offset(), Some(0));
    assert_eq!(committed(&group, &topic), [].into());
}

#[tokio::test]
async fn a_batch_fails_as_a_whole() {
    for failure in ALL {
        let (topic, group) = (given::topic("orders", 1), unique("billing"));
        fill(&topic, 0, 10);
        let builder = || quick(&given::kafka(), &group).max_batch_records(3);
        let typed = move |batch: Vec<Received<String, String>>| match batch.iter().any(|record| record.offset() == 4) {
            true => failure.happen(),
            false => done(),
        };
        let error = Member::start(builder().route_batch(&topic, typed)).failure().await;
        failure.check(&error);
        let first = committed(&group, &topic)[&0];
        assert!((1..=4).contains(&first), "{first}");
        assert_eq!((error.partition(), error.offset()), (Some(0), Some(first)), "{failure:?}");

        let raw = move |batch: RawBatch| match batch.iter().any(|record| record.offset() == 4) {
            true => failure.happen(),
            false => done(),
        };
        let error = Member::start(builder().route_raw(topic.name(), raw)).failure().await;
        failure.check(&error);
        let first = committed(&group, &topic)[&0];
        assert!((1..=4).contains(&first), "{first}");
        assert_eq!((error.partition(), error.offset()), (Some(0), Some(first)), "{failure:?}");
    }
}

/// Text that is not `3`, on which it panics.
struct Touchy;

impl Deserializer for Touchy {
    type Output = String;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<String, Stop> {
        let text = Utf8.deserialize(bytes, from)?;
        assert_ne!(text, "3", "I was told there would be no 3");
        Ok(text)
    }
}

#[tokio::test]
async fn a_serde_that_panics_ends_the_consumer_too() {
    let (lines, group) = (given::topic("orders", 1), unique("billing"));
    fill(&lines, 0, 10);
    let topic = Topic::new(lines.name(), Utf8, Touchy);
    let handler = |_: Received<String, String>| done();
    let error = Member::start(quick(&given::kafka(), &group).route(&topic, handler)).failure().await;
    assert_eq!((error.kind(), error.partition()), (ErrorKind::Panicked, Some(0)));
    assert!(error.to_string().contains("I was told there would be no 3"), "{error}");
    assert_eq!(committed(&group, &lines), [(0, 3)].into());
}

#[tokio::test]
async fn the_careless_way_commits_past_a_panic() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 10);
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", Cluster::shared().bootstrap())
        .set("group.id", &group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    consumer.subscribe(&[topic.name()]).unwrap();
    let mut records = consumer.stream();
    // A task a record, so that a slow one does not hold up the others; a panic ends its task, and that is all.
    let handled = Taken::new();
    for _ in 0..10 {
        let record = records.next().await.unwrap().unwrap().detach();
        let at = handled.clone();
        let _ = tokio::spawn(async move {
            assert_ne!(record.offset(), 4, "no money");
            at.push(record.offset());
        })
        .await;
    }
    consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    assert!(!handled.all().contains(&4));
    assert_eq!(committed(&group, &topic), [(0, 10)].into(), "the check that the failed record is not committed fails");
}
