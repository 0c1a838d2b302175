//! However often partitions come and go, each of them is read on, and the process lives.

use std::time::{Duration, Instant};

use kafka_client::{Assignor, Error, GroupProtocol, Received};
use tests::harness::unique;

use crate::given;
use crate::group::{Account, Member, SOON, fill, quick};

const PARTITIONS: i32 = 6;

async fn members_flicker(protocol: GroupProtocol, times: usize) {
    let start = Instant::now();
    let (topic, group, account) = (given::topic("orders", PARTITIONS), unique("billing"), Account::default());
    let consumer = |by: char| {
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
        consumer.group_protocol(protocol.clone()).route(&topic, handler).build().unwrap()
    };
    let stays = consumer('a');
    let handle = stays.handle();
    let stays = Member::run(stays);
    let mut not_left = Vec::new();
    for time in 0..times {
        let comes = Member::run(consumer('b'));
        // Now and then it stays long enough to get something; else it leaves in the middle of the rebalance.
        tokio::time::sleep(Duration::from_millis([5, 40, 120, 300][time % 4])).await;
        if !comes.stop().await.left_group {
            not_left.push(time);
        }
    }
    println!("{protocol:?}: {times} times in {:?}; did not leave: {not_left:?}", start.elapsed());
    (0..PARTITIONS).for_each(|partition| fill(&topic, partition, 10));
    let start = Instant::now();
    while account.unfinished(PARTITIONS).values().any(|next| *next < 10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if start.elapsed() > 6 * SOON {
            panic!(
                "{protocol:?}: {:?} {:?} {:?}",
                account.unfinished(PARTITIONS),
                handle.health(),
                handle.partitions().await
            );
        }
    }
    println!("{protocol:?}: read on after {:?}", start.elapsed());
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
