//! A commit that a member could not send, because it had lost the way to its coordinator, stays with librdkafka and goes
//! out when the way is there again. By then the partitions are another's: it moves no offset back.

use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Error, Kafka, Received};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tests::harness::{Cluster, Logs, eventually, oracle, unique};

use crate::commit_watch::CommitWatch;
use crate::given;
use crate::group::{Door, Member, SOON, fill_at};
use crate::ledger::{Ledger, What};
use crate::member_process::Tells;
use crate::protocol::{Protocol, SESSION};
use crate::way::Way;

/// What would happen to one that goes out in the name of nobody: the check finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commit_of_nobody_moves_the_offsets_of_an_empty_group_back() {
    let (topic, group, ledger) = (given::topic("orders", 2), unique("billing"), Arc::new(Ledger::new()));
    let pen = ledger.pen('a');
    (0..2).for_each(|partition| {
        (0..RECORDS).for_each(|offset| pen.record(What::Finish, partition, offset, ""));
    });
    let bootstrap = Cluster::shared().bootstrap();
    let nobody: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", &group).create().unwrap();
    let mut watch = None;
    for offset in [RECORDS, HELD] {
        let mut list = TopicPartitionList::new();
        for partition in [0, 1] {
            list.add_partition_offset(topic.name(), partition, Offset::Offset(offset)).unwrap();
        }
        nobody.commit(&list, CommitMode::Sync).unwrap();
        if watch.is_none() {
            watch = Some(CommitWatch::start(bootstrap, &group, topic.name(), 2, &ledger).await);
        }
    }
    let seen = watch.unwrap().stop().await;
    assert_eq!(seen.back, [(0, RECORDS, HELD), (1, RECORDS, HELD)]);
}

/// What the member is in the middle of when its way is cut.
const HELD: i64 = 5;
const RECORDS: i64 = 10;

/// What the member is about when its way is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Reading,
    /// It was asked to give a partition away, and commits its last.
    Draining,
}

/// Who has the partitions when the way is there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Another,
    /// The other member has left: the broker takes commits for an empty group from nobody in particular.
    Nobody,
}

macro_rules! promises {
    ($($name:ident: $protocol:ident, $cut:ident, $owner:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
        async fn $name() {
            moves_nothing_back(Protocol::$protocol, Cut::$cut, Owner::$owner).await;
        }
    )*};
}

promises! {
    with_range_what_was_given_up_moves_no_offset_back: Range, Reading, Another;
    with_range_what_was_given_up_moves_no_offset_of_an_empty_group_back: Range, Reading, Nobody;
    with_range_what_was_given_up_in_a_drain_moves_no_offset_of_an_empty_group_back: Range, Draining, Nobody;
    with_cooperative_sticky_what_was_given_up_in_a_drain_moves_no_offset_back: Cooperative, Draining, Another;
    with_cooperative_sticky_what_was_given_up_moves_no_offset_of_an_empty_group_back: Cooperative, Reading, Nobody;
    with_the_consumer_protocol_what_was_given_up_moves_no_offset_back: Consumer, Reading, Another;
    with_the_consumer_protocol_what_was_given_up_moves_no_offset_of_an_empty_group_back: Consumer, Reading, Nobody;
    with_the_consumer_protocol_what_was_given_up_in_a_drain_moves_no_offset_of_an_empty_group_back:
        Consumer, Draining, Nobody;
}

async fn moves_nothing_back(protocol: Protocol, cut: Cut, owner: Owner) {
    let what = format!("{protocol:?}, {cut:?}, {owner:?}");
    let way = Way::shared();
    let topic = given::topic_on(way.cluster(), "orders", 2);
    let (direct, group) = (way.cluster().bootstrap(), protocol.group_on(way.cluster().bootstrap(), SESSION));
    (0..2).for_each(|partition| fill_at(direct, topic.name(), partition, 0, RECORDS as usize));
    let (ledger, door, logs) = (Arc::new(Ledger::new()), Door::closed(), Logs::listen());
    door.open_to(HELD);
    let member = |by: char, bootstrap: &str, door: Option<Door>| {
        let pen = ledger.pen(by);
        let handler = move |record: Received<String, String>| {
            let (pen, passed) = (pen.clone(), door.as_ref().map(|door| door.pass(record.offset())));
            async move {
                pen.record(What::Begin, record.partition(), record.offset(), "");
                if let Some(passed) = passed {
                    let _ = passed.await;
                }
                pen.record(What::Finish, record.partition(), record.offset(), "");
                Ok::<_, Error>(())
            }
        };
        protocol
            .member(&Kafka::connect(bootstrap), &group, SESSION)
            .set("reconnect.backoff.max.ms", "300")
            .set("debug", "cgrp")
            .drain_timeout(Duration::from_secs(20))
            .on_rebalance(Tells(ledger.pen(by)))
            .route(&topic, handler)
    };
    let committed = async |expected: i64| {
        let expected = [(0, expected), (1, expected)].into();
        let all = async || oracle::committed(direct, &group, topic.name()) == expected;
        eventually(&format!("{what}: {expected:?} is committed"), 3 * SOON, all).await;
    };

    let a = Member::start(member('a', way.bootstrap(), Some(door.clone())));
    committed(HELD).await;
    let watch = CommitWatch::start(direct, &group, topic.name(), 2, &ledger).await;
    let mut b = None;
    let is_told = |text: &str| logs.any(|line| line.message.contains(&group) && line.message.contains(text));
    if cut == Cut::Draining {
        b = Some(Member::start(member('b', direct, None)));
        eventually("a is asked to give something away", SOON, async || is_told("wait-unassign-call")).await;
    }
    way.cut();
    // It finishes what it holds shortly before its session ends, and cannot say so.
    tokio::time::sleep(SESSION * 2 / 3).await;
    door.open();
    eventually("its commit is put off", SOON, async || is_told("retrying later")).await;
    let b = b.unwrap_or_else(|| Member::start(member('b', direct, None)));
    committed(RECORDS).await;
    let b = match owner {
        Owner::Another => Some(b),
        Owner::Nobody => {
            b.stop().await;
            None
        }
    };
    let from = logs.lines().len();
    way.mend();
    // It comes back, and all goes on where the other one has left off.
    (0..2).for_each(|partition| fill_at(direct, topic.name(), partition, RECORDS, 5));
    eventually("a is back", 3 * SOON, async || ledger.lines().count('a', What::Assigned) > 2).await;
    committed(RECORDS + 5).await;
    if let Some(b) = b {
        b.stop().await;
    }
    let seen = watch.stop().await;
    a.stop().await;
    let said: Vec<_> = logs.lines().split_off(from).into_iter().map(|line| line.message).collect();
    let answers: Vec<_> = said.iter().filter(|text| text.contains("OffsetCommit for")).collect();
    assert_eq!((seen.back, seen.ahead), (vec![], vec![]), "{what}: {answers:#?}");
    // It did go out: the broker has refused it.
    assert!(answers.iter().any(|text| text.contains("Unknown member")), "{what}: {answers:#?}");
    assert_eq!(ledger.lines().lost(&oracle::end_offsets(direct, topic.name())), []);
}
