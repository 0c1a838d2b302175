//! A handler that fails ends the consumer, and the error says where; what is finished stays finished.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use futures::future::BoxFuture;
use kafka_client::{Completion, ConsumerBuilder, Error, ErrorKind, FailedRecord, Json, Received, Topic, Utf8};
use tests::harness::{eventually, unique};
use tokio::sync::watch;

use crate::given::{self, Lines};
use crate::group::{Account, Door, Member, SOON, commits, committed, fill, quick};

/// An error of an application, with a cause of its own.
#[derive(Debug)]
struct Declined(NoMoney);

#[derive(Debug, PartialEq, Eq)]
struct NoMoney(u32);

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the card was declined")
    }
}

impl fmt::Display for NoMoney {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} are missing", self.0)
    }
}

impl StdError for Declined {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

impl StdError for NoMoney {}

type Outcome = BoxFuture<'static, Result<Completion, Declined>>;

fn finished() -> Outcome {
    Box::pin(async { Ok(Completion::done()) })
}

/// How a handler may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Error,
    Panic,
    PanicBeforeTheFuture,
    LaterError,
    LaterPanic,
}

impl Failing {
    const ALL: [Self; 5] = [Self::Error, Self::Panic, Self::PanicBeforeTheFuture, Self::LaterError, Self::LaterPanic];

    fn fail(self) -> Outcome {
        match self {
            Self::Error => Box::pin(async { Err(Declined(NoMoney(7))) }),
            Self::Panic => Box::pin(async { panic!("told on purpose to {}", "panic") }),
            Self::PanicBeforeTheFuture => panic!("told on purpose to {}", "panic"),
            Self::LaterError => Box::pin(async { Ok(Completion::later(async { Err(Declined(NoMoney(7))) })) }),
            Self::LaterPanic => Box::pin(async {
                let later = async { panic!("told on purpose to {}", "panic") };
                Ok(Completion::later::<Declined>(later))
            }),
        }
    }

    /// The error names the place and what happened there.
    #[track_caller]
    fn is_told(self, error: &Error, topic: &str, partition: i32, offset: i64) {
        let at = (error.topic(), error.partition(), error.offset());
        assert_eq!(at, (Some(topic), Some(partition), Some(offset)), "{self:?}");
        assert_eq!(error.operation(), Some("handle"), "{self:?}");
        let said = error.to_string();
        assert!(said.contains(&format!("{topic}-{partition} at {offset}")), "{self:?}: {said}");
        match self {
            Self::Error | Self::LaterError => {
                assert_eq!(error.kind(), ErrorKind::Handler, "{self:?}");
                let declined = error.source().and_then(|source| source.downcast_ref::<Declined>());
                let cause = declined.and_then(StdError::source).and_then(|cause| cause.downcast_ref());
                assert_eq!(cause, Some(&NoMoney(7)), "{self:?}");
                let all = format!("{error:?}");
                assert!(all.ends_with(": the card was declined: 7 are missing"), "{self:?}: {all}");
            }
            Self::Panic | Self::PanicBeforeTheFuture | Self::LaterPanic => {
                assert_eq!(error.kind(), ErrorKind::Panicked, "{self:?}");
                assert!(said.ends_with("told on purpose to panic"), "{self:?}: {said}");
            }
        }
    }
}

/// A member that keeps an account of what it handles.
fn handling(group: &str, topic: &Lines, account: &Account) -> ConsumerBuilder {
    let account = account.clone();
    quick(&given::kafka(), group).route(topic, move |record: Received<String, String>| {
        account.record('b', &record);
        finished()
    })
}

#[tokio::test]
async fn it_ends_with_where_and_why_while_other_partitions_are_drained() {
    for failing in Failing::ALL {
        let (topic, group) = (given::topic("orders", 2), unique("billing"));
        fill(&topic, 0, 6);
        fill(&topic, 1, 4);
        let (account, door, failed) = (Account::default(), Door::closed(), Arc::new(AtomicBool::new(false)));
        let waits = Arc::new(watch::Sender::new(false));
        let handler = {
            let (account, door, failed, waits) = (account.clone(), door.clone(), failed.clone(), waits.clone());
            move |record: Received<String, String>| -> Outcome {
                let (account, failed) = (account.clone(), failed.clone());
                match (record.partition(), record.offset()) {
                    (0, 3) => {
                        let mut waits = waits.subscribe();
                        // One that panics before it returns a future cannot wait.
                        if failing == Failing::PanicBeforeTheFuture {
                            failed.store(true, SeqCst);
                            return failing.fail();
                        }
                        Box::pin(async move {
                            waits.wait_for(|waits| *waits).await.unwrap();
                            failed.store(true, SeqCst);
                            failing.fail().await
                        })
                    }
                    (1, 1) => {
                        let pass = door.pass(0);
                        waits.send_replace(true);
                        Box::pin(async move {
                            pass.await;
                            account.record('a', &record);
                            Ok(Completion::done())
                        })
                    }
                    _ => {
                        account.record('a', &record);
                        finished()
                    }
                }
            }
        };
        let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
        eventually("it has failed", SOON, async || failed.load(SeqCst)).await;
        let began = *waits.borrow();
        door.open();
        let error = member.failure().await;
        failing.is_told(&error, topic.name(), 0, 3);

        assert_eq!(account.offsets(0), [0, 1, 2], "{failing:?}");
        if failing != Failing::PanicBeforeTheFuture {
            assert!(began);
            assert_eq!(account.offsets(1), [0, 1], "{failing:?}: it is drained, and takes no more");
        }
        let mut finished = account.unfinished(2);
        finished.retain(|_, next| *next > 0);
        assert_eq!(committed(&group, &topic), finished, "{failing:?}");

        // The next member starts with the record that failed.
        let next = Account::default();
        let member = Member::start(handling(&group, &topic, &next));
        commits(&group, &topic, &[(0, 6), (1, 4)]).await;
        member.stop().await;
        assert_eq!(next.offsets(0), [3, 4, 5], "{failing:?}");
        assert_eq!(account.len() + next.len(), 10, "{failing:?}: each is finished once");
    }
}

#[tokio::test]
async fn work_that_fails_later_holds_back_all_that_follows_it() {
    for failing in [Failing::Error, Failing::Panic] {
        let (topic, group) = (given::topic("orders", 1), unique("billing"));
        fill(&topic, 0, 10);
        let (account, door) = (Account::default(), Door::closed());
        let handler = {
            let (account, door) = (account.clone(), door.clone());
            move |record: Received<String, String>| -> Outcome {
                account.record('a', &record);
                let (offset, pass) = (record.offset(), door.pass(0));
                Box::pin(async move {
                    Ok(match offset {
                        2 => Completion::later(async move {
                            pass.await;
                            failing.fail().await.map(drop)
                        }),
                        _ => Completion::done(),
                    })
                })
            }
        };
        let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
        account.reaches(10).await;
        commits(&group, &topic, &[(0, 2)]).await;
        door.open();
        let error = member.failure().await;
        failing.is_told(&error, topic.name(), 0, 2);
        assert_eq!(committed(&group, &topic), [(0, 2)].into());
    }
}

#[tokio::test]
async fn a_failed_batch_is_named_by_its_first_record_and_none_of_it_is_committed() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 20);
    for failing in Failing::ALL {
        let batches = Account::default();
        let account = batches.clone();
        let handler = move |batch: Vec<Received<String, String>>| {
            account.record('a', &batch[0]);
            match batch.iter().any(|record| record.offset() == 9) {
                true => failing.fail(),
                false => finished(),
            }
        };
        let builder = quick(&given::kafka(), &group).max_batch_records(4).route_batch(&topic, handler);
        let error = Member::start(builder).failure().await;
        let first = batches.offsets(0).last().copied().unwrap();
        failing.is_told(&error, topic.name(), 0, first);
        assert!((6..=9).contains(&first), "a batch of four at most that holds 9, not from {first}");
        assert_eq!(committed(&group, &topic), [(0, first)].into(), "{failing:?}");
    }
}

#[tokio::test]
async fn a_failed_raw_batch_too() {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 20);
    for failing in Failing::ALL {
        let batches = Account::default();
        let account = batches.clone();
        let handler = move |batch: kafka_client::RawBatch| {
            account.add('a', batch.partition(), batch.get(0).unwrap().offset());
            match batch.iter().any(|record| record.offset() == 9) {
                true => failing.fail(),
                false => finished(),
            }
        };
        let builder = quick(&given::kafka(), &group).max_batch_records(4).route_raw(topic.name(), handler);
        let error = Member::start(builder).failure().await;
        let first = batches.offsets(0).last().copied().unwrap();
        failing.is_told(&error, topic.name(), 0, first);
        assert_eq!(committed(&group, &topic), [(0, first)].into(), "{failing:?}");
    }
}

#[tokio::test]
async fn a_handler_for_failed_records_that_fails_ends_it_too() {
    for failing in Failing::ALL {
        let (lines, group) = (given::topic("orders", 1), unique("billing"));
        // A number is JSON of a number; no text is.
        fill(&lines, 0, 3);
        given::built(given::kafka().producer()).send(lines.record("k", "three")).await.unwrap();
        fill(&lines, 0, 2);
        let numbers = Topic::new(lines.name(), Utf8, Json::<i64>::new());
        let builder = quick(&given::kafka(), &group)
            .route(&numbers, |_: Received<String, i64>| finished())
            .on_failed_record(move |_: FailedRecord| failing.fail());
        let error = Member::start(builder).failure().await;
        failing.is_told(&error, lines.name(), 0, 3);
        assert_eq!(committed(&group, &lines), [(0, 3)].into(), "{failing:?}");
    }
}

#[tokio::test]
async fn a_failure_while_the_consumer_is_ending_is_told() {
    for failing in [Failing::Error, Failing::Panic, Failing::LaterError, Failing::LaterPanic] {
        let (topic, group) = (given::topic("orders", 1), unique("billing"));
        fill(&topic, 0, 3);
        let (account, door) = (Account::default(), Door::closed());
        let handler = {
            let (account, door) = (account.clone(), door.clone());
            move |record: Received<String, String>| -> Outcome {
                account.record('a', &record);
                let (offset, pass) = (record.offset(), door.pass(0));
                Box::pin(async move {
                    if offset == 1 {
                        pass.await;
                        return failing.fail().await;
                    }
                    Ok(Completion::done())
                })
            }
        };
        let member = Member::start(quick(&given::kafka(), &group).route(&topic, handler));
        account.reaches(2).await;
        let ending = member.stopping();
        // The member's task is told before this one goes on.
        tokio::task::yield_now().await;
        door.open();
        let ended = tokio::time::timeout(SOON, ending).await.unwrap().unwrap();
        failing.is_told(&ended.unwrap_err(), topic.name(), 0, 1);
        assert_eq!(committed(&group, &topic), [(0, 1)].into(), "{failing:?}");
        assert_eq!(account.len(), 2, "{failing:?}");
    }
}
