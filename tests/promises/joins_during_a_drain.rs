//! A third member that joins while the first one drains for the second changes nothing: the drain ends as it would have,
//! nothing is lost, and nothing is handled twice.

use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Error, Received};
use tests::harness::{Cluster, eventually, oracle};

use crate::given::{self, Lines as Topic};
use crate::group::{Member, SOON, commits, fill};
use crate::ledger::{Ledger, Lines, What};
use crate::member_process::{MemberProcess, Order, Tells};
use crate::protocol::{Protocol, SESSION, millis};

const PARTITIONS: i32 = 6;
/// What the first member is in the middle of, on each partition.
const HELD: i64 = 5;
const RECORDS: i64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_range_nothing_is_lost_and_nothing_handled_twice() {
    changes_nothing(Protocol::Range).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_cooperative_sticky_nothing_is_lost_and_nothing_handled_twice() {
    changes_nothing(Protocol::Cooperative).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_consumer_protocol_nothing_is_lost_and_nothing_handled_twice() {
    changes_nothing(Protocol::Consumer).await;
}

async fn changes_nothing(protocol: Protocol) {
    let lines = third_joins(protocol, Duration::from_secs(20)).await;
    assert_eq!(lines.begun_twice(), [], "{protocol:?}");
    assert_eq!(lines.owned_twice(), [], "{protocol:?}");
}

/// The same scene finds the records of a member that does not wait for its handlers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_drain_what_was_in_the_middle_is_handled_twice() {
    let lines = third_joins(Protocol::Range, Duration::from_millis(1)).await;
    assert!(lines.begun_twice().iter().any(|(_, offset)| *offset == HELD), "{:?}", lines.begun_twice());
}

async fn third_joins(protocol: Protocol, drain: Duration) -> Lines {
    let bootstrap = Cluster::shared().bootstrap();
    let (topic, group) = (given::topic("orders", PARTITIONS), protocol.group(SESSION));
    let ledger = Arc::new(Ledger::new());
    let gate = ledger.sign("gate");
    (0..PARTITIONS).for_each(|partition| fill(&topic, partition, RECORDS as usize));
    let order = Order::default()
        .with("kind", "ours")
        .with("protocol", protocol.name())
        .with("bootstrap", bootstrap)
        .with("topic", topic.name())
        .with("group", &group)
        .with("session", millis(SESSION))
        .with("drain", drain.as_millis())
        .with("hold", HELD)
        .with("gate", gate.display());
    let a = MemberProcess::start(&order, 'a', &ledger);
    eventually("a is in the middle of all partitions", SOON, async || {
        let lines = ledger.lines();
        (0..PARTITIONS).all(|at| lines.of(What::Begin).any(|line| line.place() == (at, HELD)))
    })
    .await;
    let to_all = |offset| (0..PARTITIONS).map(|partition| (partition, offset)).collect::<Vec<_>>();
    commits(&group, &topic, &to_all(HELD)).await;

    let b = member(protocol, &group, &topic, &ledger, 'b');
    eventually("a drains", SOON, async || ledger.lines().count('a', What::Draining) > 0).await;
    let c = member(protocol, &group, &topic, &ledger, 'c');
    eventually("all three are members", SOON, async || members(&group).await == 3).await;
    std::fs::write(&gate, "").unwrap();
    commits(&group, &topic, &to_all(RECORDS)).await;

    // Two partitions each, in the end, and all go on.
    eventually("each has partitions", SOON, async || {
        let lines = ledger.lines();
        ['b', 'c'].iter().all(|by| lines.count(*by, What::Assigned) > 0)
    })
    .await;
    (0..PARTITIONS).for_each(|partition| fill(&topic, partition, 5));
    commits(&group, &topic, &to_all(RECORDS + 5)).await;
    a.stop().await;
    b.stop().await;
    c.stop().await;
    let lines = ledger.lines();
    assert_eq!(lines.lost(&oracle::end_offsets(bootstrap, topic.name())), [], "{protocol:?}");
    lines
}

async fn members(group: &str) -> usize {
    let described = given::kafka().admin().describe_groups(&[group]).await.unwrap().remove(0);
    described.map_or(0, |group| group.members().len())
}

fn member(protocol: Protocol, group: &str, topic: &Topic, ledger: &Ledger, by: char) -> Member {
    let pen = ledger.pen(by);
    let tells = Tells(pen.clone());
    let handler = move |record: Received<String, String>| {
        pen.record(What::Begin, record.partition(), record.offset(), "");
        pen.record(What::Finish, record.partition(), record.offset(), "");
        std::future::ready(Ok::<_, Error>(()))
    };
    Member::start(protocol.member(&given::kafka(), group, SESSION).on_rebalance(tells).route(topic, handler))
}
