//! What partitions see that a member keeps while it gives others away: they stand still until the rebalance is answered,
//! since librdkafka fetches nothing meanwhile, and go on by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_client::{Assignor, BoxError, Error, GroupProtocol, RebalanceListener, Received, TopicPartition};
use parking_lot::Mutex;
use tests::harness::{eventually, unique};

use crate::given;
use crate::group::{Member, SOON, quick};

const PARTITIONS: i32 = 4;
/// How long the listener holds up the answer.
const HOLDS: Duration = Duration::from_millis(1_500);

struct Slow;

impl RebalanceListener for Slow {
    async fn revoked(&self, _: &[TopicPartition]) -> Result<(), BoxError> {
        tokio::time::sleep(HOLDS).await;
        Ok(())
    }
}

/// By partition, when `a` has handled something last, and its longest pause.
type Pauses = Arc<Mutex<BTreeMap<i32, (Instant, Duration)>>>;

async fn longest_pauses(protocol: GroupProtocol) -> Vec<Duration> {
    let (topic, group, pauses) = (given::topic("orders", PARTITIONS), unique("billing"), Pauses::default());
    let writing = {
        let (topic, producer) = (topic.clone(), given::built(given::kafka().producer()));
        tokio::spawn(async move {
            loop {
                let batch = (0..PARTITIONS).map(|partition| topic.record("k", "tick").partition(partition));
                producer.send_batch(batch).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    let consumer = || match protocol {
        GroupProtocol::Consumer { .. } => given::kafka().consumer(&group).set("fetch.wait.max.ms", "20"),
        _ => quick(&given::kafka(), &group),
    };
    let noted = pauses.clone();
    let handler = move |record: Received<String, String>| {
        let mut noted = noted.lock();
        let (last, longest) = noted.entry(record.partition()).or_insert((Instant::now(), Duration::ZERO));
        *longest = (*longest).max(last.elapsed());
        *last = Instant::now();
        async { Ok::<_, Error>(()) }
    };
    let a = consumer().group_protocol(protocol.clone()).on_rebalance(Slow).route(&topic, handler);
    let a = Member::start(a);
    eventually("a has all", SOON, async || pauses.lock().len() == PARTITIONS as usize).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    pauses.lock().values_mut().for_each(|(_, longest)| *longest = Duration::ZERO);

    let (taken, by_b) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let (partitions, count) = (taken.clone(), by_b.clone());
    let handler = move |record: Received<String, String>| {
        partitions.lock().push(record.partition());
        *count.lock() += 1;
        async { Ok::<_, Error>(()) }
    };
    let b = Member::start(consumer().group_protocol(protocol.clone()).route(&topic, handler));
    eventually("b has a share", SOON, async || *by_b.lock() > 50).await;
    let kept = || -> Vec<Duration> {
        let gone = taken.lock().clone();
        let read_on = |(partition, (last, _)): &(&i32, &(Instant, Duration))| {
            !gone.contains(partition) && last.elapsed() < Duration::from_millis(400)
        };
        pauses.lock().iter().filter(read_on).map(|(_, (_, longest))| *longest).collect()
    };
    eventually(&format!("{protocol:?}: two stay, and are read on"), SOON, async || kept().len() == 2).await;
    let kept = kept();
    writing.abort();
    b.stop().await;
    a.stop().await;
    println!("{protocol:?}: kept partitions paused for {kept:?}");
    kept
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_partitions_pause_for_as_long_as_the_answer_takes_and_go_on() {
    for protocol in
        [GroupProtocol::Classic(Assignor::CooperativeSticky), GroupProtocol::Consumer { remote_assignor: None }]
    {
        for pause in longest_pauses(protocol.clone()).await {
            assert!(pause >= HOLDS / 2, "{protocol:?}: they do not pause any more ({pause:?}); tell it in the docs");
            assert!(pause < HOLDS + Duration::from_secs(5), "{protocol:?}: {pause:?}");
        }
    }
}
