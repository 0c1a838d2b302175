//! A rebalance listener hears of partitions in turn: they come before any of their records, and they go once these are
//! finished and committed. One that fails ends its consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Assigned, BoxError, Error, ErrorKind, RebalanceListener, Received, TopicPartition};
use parking_lot::Mutex;
use tests::harness::{eventually, unique};
use tokio::task::spawn_blocking;

use crate::given::{self, Lines as Topic};
use crate::group::{Account, Member, SOON, commits, committed_of, fill, quick};
use crate::ledger::{Ledger, Line, Pen, What};
use crate::protocol::{Protocol, SESSION};

const PARTITIONS: i32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_range_a_partition_comes_before_its_records_and_goes_after_its_commit() {
    each_is_told_in_turn(Protocol::Range).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_cooperative_sticky_a_partition_comes_before_its_records_and_goes_after_its_commit() {
    each_is_told_in_turn(Protocol::Cooperative).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_consumer_protocol_a_partition_comes_before_its_records_and_goes_after_its_commit() {
    each_is_told_in_turn(Protocol::Consumer).await;
}

/// A member stays, others come and go, and records are written all the time.
async fn each_is_told_in_turn(protocol: Protocol) {
    let (topic, group, ledger) = (given::topic("orders", PARTITIONS), protocol.group(SESSION), Ledger::new());
    let commits_seen = Arc::default();
    let start = |by: char| Member::start(member(protocol, &group, &topic, ledger.pen(by), &commits_seen));
    let write = || (0..PARTITIONS).for_each(|partition| fill(&topic, partition, 20));
    write();
    let stays = start('a');
    for by in ['b', 'c', 'd', 'e'] {
        let comes = start(by);
        // Most stay until they have something to do; one leaves in the middle of its rebalance.
        if by != 'd' {
            eventually("it handles records", SOON, async || {
                write();
                tokio::time::sleep(Duration::from_millis(50)).await;
                ledger.lines().count(by, What::Finish) > 20
            })
            .await;
        }
        comes.stop().await;
    }
    let ends = tests::harness::oracle::end_offsets(tests::harness::Cluster::shared().bootstrap(), topic.name());
    let all: Vec<_> = ends.iter().map(|(partition, end)| (*partition, *end)).collect();
    commits(&group, &topic, &all).await;
    stays.stop().await;

    let lines = ledger.lines();
    assert_eq!(out_of_turn(&lines.0), Vec::<String>::new(), "{protocol:?}");
    assert_eq!(lines.owned_twice(), [], "{protocol:?}");
    assert_eq!(lines.lost(&ends), []);
    // Whoever was told that a partition goes saw its commit already.
    let seen = std::mem::take(&mut *commits_seen.lock());
    assert!(seen.len() >= 2 * PARTITIONS as usize, "partitions have moved: {seen:?}");
    for Seen { by, partition, committed, finished } in seen {
        assert_eq!(committed, finished, "{protocol:?}: {by} gave partition {partition} away");
    }
}

fn member(
    protocol: Protocol,
    group: &str,
    topic: &Topic,
    pen: Pen,
    seen: &Arc<Mutex<Vec<Seen>>>,
) -> kafka_client::ConsumerBuilder {
    let next = Arc::new(Mutex::new(BTreeMap::new()));
    let listener = Slow {
        pen: pen.clone(),
        group: group.to_owned(),
        topic: topic.name().to_owned(),
        next: next.clone(),
        seen: seen.clone(),
    };
    let handler = move |record: Received<String, String>| {
        let (pen, next) = (pen.clone(), next.clone());
        async move {
            let (partition, offset) = (record.partition(), record.offset());
            pen.record(What::Begin, partition, offset, "");
            tokio::time::sleep(Duration::from_millis(1)).await;
            next.lock().insert(partition, offset + 1);
            pen.record(What::Finish, partition, offset, "");
            Ok::<_, Error>(())
        }
    };
    protocol
        .member(&given::kafka(), group, SESSION)
        // Only what the end of a partition commits is there in time.
        .commit_interval(Duration::from_secs(2))
        .on_rebalance(listener)
        .route(topic, handler)
}

/// What a listener saw in Kafka when a partition left.
#[derive(Clone, Copy, Debug)]
struct Seen {
    by: char,
    partition: i32,
    committed: i64,
    finished: i64,
}

/// Takes its time, and looks into Kafka.
struct Slow {
    pen: Pen,
    group: String,
    topic: String,
    /// Behind the last record that this member has finished.
    next: Arc<Mutex<BTreeMap<i32, i64>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl RebalanceListener for Slow {
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assigned.partitions().iter().for_each(|one| self.pen.partition(What::Assigned, one.partition()));
        Ok(())
    }

    async fn revoked(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        let (group, topic) = (self.group.clone(), self.topic.clone());
        let committed = spawn_blocking(move || committed_of(&group, &topic)).await?;
        for one in partitions {
            let partition = one.partition();
            if let Some(finished) = self.next.lock().remove(&partition) {
                let committed = committed.get(&partition).copied().unwrap_or(-1);
                self.seen.lock().push(Seen { by: self.pen.by(), partition, committed, finished });
            }
            self.pen.partition(What::Revoked, partition);
        }
        Ok(())
    }

    async fn lost(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        partitions.iter().for_each(|one| {
            self.next.lock().remove(&one.partition());
            self.pen.partition(What::Lost, one.partition());
        });
        Ok(())
    }
}

/// What a member heard twice in a row, heard of a partition that it did not have, or handled outside of its time.
fn out_of_turn(lines: &[Line]) -> Vec<String> {
    let mut has: BTreeMap<(char, i32), bool> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in lines {
        let has = has.entry((line.by, line.partition)).or_default();
        let right = match line.what {
            What::Assigned => !std::mem::replace(has, true),
            What::Revoked | What::Lost => std::mem::replace(has, false),
            What::Begin | What::Finish => *has,
            _ => true,
        };
        if !right {
            wrong.push(format!("{line:?}"));
        }
    }
    let kept = has.iter().filter(|(_, has)| **has).map(|(whose, _)| format!("{whose:?} was never told that it went"));
    wrong.extend(kept);
    wrong
}

#[test]
fn what_is_out_of_turn_is_found() {
    let told = |words: &[What]| {
        let ledger = Ledger::new();
        let pen = ledger.pen('a');
        words.iter().for_each(|what| pen.record(*what, 0, 0, ""));
        out_of_turn(&ledger.lines().0).len()
    };
    assert_eq!(told(&[What::Assigned, What::Begin, What::Finish, What::Revoked, What::Assigned, What::Lost]), 0);
    assert_eq!(told(&[What::Begin, What::Assigned, What::Lost]), 1);
    assert_eq!(told(&[What::Assigned, What::Assigned, What::Lost]), 1);
    assert_eq!(told(&[What::Assigned, What::Revoked, What::Lost]), 1);
    assert_eq!(told(&[What::Assigned, What::Lost, What::Finish]), 1);
    assert_eq!(told(&[What::Assigned]), 1);
}

/// What a listener does wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Assigned,
    AssignedPanics,
    Revoked,
    RevokedPanics,
}

struct Fails(Fault);

impl RebalanceListener for Fails {
    async fn assigned(&self, _: &mut Assigned) -> Result<(), BoxError> {
        match self.0 {
            Fault::Assigned => Err("no cache today".into()),
            Fault::AssignedPanics => panic!("no cache today"),
            _ => Ok(()),
        }
    }

    async fn revoked(&self, _: &[TopicPartition]) -> Result<(), BoxError> {
        match self.0 {
            Fault::Revoked => Err("no cache today".into()),
            Fault::RevokedPanics => panic!("no cache today"),
            _ => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_fails_ends_its_consumer_with_its_error_and_another_member_goes_on() {
    for fault in [Fault::Assigned, Fault::AssignedPanics, Fault::Revoked, Fault::RevokedPanics] {
        let (topic, group, account) = (given::topic("orders", 2), unique("billing"), Account::default());
        (0..2).for_each(|partition| fill(&topic, partition, 10));
        let consumer = |by: char| {
            let account = account.clone();
            let handler = move |record: Received<String, String>| {
                account.record(by, &record);
                async { Ok::<_, Error>(()) }
            };
            quick(&given::kafka(), &group).route(&topic, handler)
        };
        let a = Member::start(consumer('a').on_rebalance(Fails(fault)));
        let fails_at_once = matches!(fault, Fault::Assigned | Fault::AssignedPanics);
        if !fails_at_once {
            account.reaches(20).await;
        }
        // The group rebalances.
        let b = Member::start(consumer('b'));
        let error = a.failure().await;
        let panicked = matches!(fault, Fault::AssignedPanics | Fault::RevokedPanics);
        assert_eq!(error.kind(), if panicked { ErrorKind::Panicked } else { ErrorKind::Handler }, "{error:?}");
        let what = if fails_at_once { "(assigned)" } else { "(revoked)" };
        let told = format!("{error:?}");
        assert!(told.contains("listener") && told.contains(what) && told.contains("no cache today"), "{told}");
        (0..2).for_each(|partition| fill(&topic, partition, 10));
        commits(&group, &topic, &[(0, 20), (1, 20)]).await;
        // It has left: nobody waited for its session to end. Nothing was handled by one whose listener had failed.
        assert!(!fails_at_once || account.of('a') == 0, "{fault:?}");
        // What was committed before stays so.
        let twice = account.all().len() - 40;
        assert_eq!(twice, 0, "{fault:?}: {:?}", account.all());
        b.stop().await;
    }
}
