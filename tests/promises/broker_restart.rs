//! The broker is killed and started again while a group reads: its members go on by themselves, nothing is lost, keys keep
//! their order, and no more is handled again than was exposed.

use std::time::Duration;

use kafka_client::{Concurrency, Error, Kafka, Received};
use tests::harness::{Cluster, eventually, oracle};

use crate::given;
use crate::group::{Member, SOON};
use crate::ledger::{Ledger, What};
use crate::member_process::Tells;
use crate::protocol::{Protocol, SESSION};

const PARTITIONS: i32 = 4;
const KEYS: usize = 8;
const RECORDS: usize = 1_000;
const EXPOSURE: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_classic_protocol_members_go_on_after_a_restart() {
    go_on(Protocol::Range).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_consumer_protocol_members_go_on_after_a_restart() {
    go_on(Protocol::Consumer).await;
}

async fn go_on(protocol: Protocol) {
    let cluster = Cluster::breakable();
    let topic = given::topic_on(&cluster, "orders", PARTITIONS);
    let group = protocol.group_on(cluster.bootstrap(), SESSION);
    let ledger = Ledger::new();
    let keys: Vec<String> = (0..KEYS).map(|key| format!("key-{key}")).collect();
    let write = |count: usize| {
        let record = |at: usize| (None, Some(keys[at % KEYS].as_bytes()), Some(&b"paid"[..]));
        let records: Vec<_> = (0..count).map(record).collect();
        oracle::produce(cluster.bootstrap(), topic.name(), &records);
    };
    let kafka = Kafka::connect(cluster.bootstrap());
    let member = |by| {
        let pen = ledger.pen(by);
        let handler = move |record: Received<String, String>| {
            let pen = pen.clone();
            async move {
                let tell = |what| pen.record(what, record.partition(), record.offset(), record.key());
                tell(What::Begin);
                tokio::time::sleep(Duration::from_millis(5)).await;
                tell(What::Finish);
                Ok::<_, Error>(())
            }
        };
        let builder = protocol
            .member(&kafka, &group, SESSION)
            .set("reconnect.backoff.max.ms", "500")
            .max_duplicate_exposure(EXPOSURE)
            .on_rebalance(Tells(ledger.pen(by)));
        Member::start(builder.route_concurrent(&topic, Concurrency::by_key(2), handler))
    };
    let members = [member('a'), member('b')];
    eventually("both have partitions", SOON, async || {
        let lines = ledger.lines();
        ['a', 'b'].iter().all(|by| lines.count(*by, What::Assigned) > 0)
    })
    .await;
    write(RECORDS);
    eventually("both are in the middle of it", SOON, async || {
        let lines = ledger.lines();
        ['a', 'b'].iter().all(|by| lines.count(*by, What::Finish) >= 10)
    })
    .await;
    cluster.broker().kill();
    cluster.broker().start();
    write(RECORDS);

    let written = oracle::end_offsets(cluster.bootstrap(), topic.name());
    // A broker that is away for longer than their session makes members of the classic protocol give up and join anew, and
    // wait until the session of what they were before has ended.
    eventually("all is committed", 3 * SOON, async || {
        let read: Vec<_> = written.iter().filter(|(_, end)| **end > 0).map(|(at, end)| (*at, *end)).collect();
        oracle::committed(cluster.bootstrap(), &group, topic.name()).into_iter().collect::<Vec<_>>() == read
    })
    .await;
    for member in members {
        member.stop().await;
    }
    let lines = ledger.lines();
    assert_eq!(lines.lost(&written), [], "{protocol:?}");
    assert_eq!(lines.out_of_order(), [], "{protocol:?}");
    let repeated = lines.repeats().len();
    assert!(repeated <= 2 * EXPOSURE, "{protocol:?}: {repeated} records were handled again");
}
