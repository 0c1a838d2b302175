//! However often partitions come and go, each of them is read on, and the process lives.

use std::time::{Duration, Instant};

use kafka_client::{Assignor, Error, GroupProtocol, Received};
use tests::harness::{eventually, unique};

use crate::given;
use crate::group::{Account, Member, SOON, fill, quick};

const PARTITIONS: i32 = 6;
/// A member that is taken for there while it is not holds the others up for its session: 45 s, the broker's default, with
/// KIP-848.
const SESSION: Duration = Duration::from_secs(45);

async fn members_flicker(protocol: GroupProtocol, times: usize) {
    let (topic, group, account) = (given::topic("orders", PARTITIONS), unique("billing"), Account::default());
    let member = |by: char| {
        let account = account.clone();
        let handler = move |record: Received<String, String>| {
            account.record(by, &record);
            async { Ok::<_, Error>(()) }
        };
        let consumer = match protocol {
            GroupProtocol::Consumer { .. } => {
                given::kafka().consumer(&group).commit_interval(Duration::from_millis(10))
            }
            _ => quick(&given::kafka(), &group),
        };
        Member::start(consumer.group_protocol(protocol.clone()).route(&topic, handler))
    };
    let (start, stays, mut not_left) = (Instant::now(), member('a'), Vec::new());
    for time in 0..times {
        let comes = member('b');
        // Now and then it stays long enough to get something; else it leaves in the middle of the rebalance.
        tokio::time::sleep(Duration::from_millis([5, 40, 120, 300][time % 4])).await;
        if !comes.stop().await.left_group {
            not_left.push(time);
        }
    }
    let took = start.elapsed();
    (0..PARTITIONS).for_each(|partition| fill(&topic, partition, 10));
    let start = Instant::now();
    eventually("every partition is read on", SESSION + SOON, async || {
        account.unfinished(PARTITIONS).values().all(|next| *next == 10)
    })
    .await;
    println!(
        "{protocol:?}: {times} times in {took:?}, read on after {:?}; not left in time: {not_left:?}",
        start.elapsed()
    );
    stays.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_range() {
    members_flicker(GroupProtocol::Classic(Assignor::Range), 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_cooperative_sticky() {
    members_flicker(GroupProtocol::Classic(Assignor::CooperativeSticky), 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_consumer_protocol() {
    members_flicker(GroupProtocol::Consumer { remote_assignor: None }, 20).await;
}

/// Takes ten minutes: `cargo test -p tests --test promises -- --ignored a_thousand_times`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes"]
async fn a_thousand_times() {
    for protocol in [
        GroupProtocol::Classic(Assignor::Range),
        GroupProtocol::Classic(Assignor::CooperativeSticky),
        GroupProtocol::Consumer { remote_assignor: None },
    ] {
        members_flicker(protocol, 1_000 / 3 + 1).await;
    }
}
