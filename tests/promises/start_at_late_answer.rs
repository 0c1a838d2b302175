//! An answer about the end of a partition that comes after the listener has said where to start moves nobody past what is
//! written meanwhile.
//!
//! ```text
//!   assigned ── where does it end? ───────────────────▶ (slow leader) ──▶ an answer, out of date
//!        └──── listener: start at 4 ── seek ── reads 4, 5, ..       └── librdkafka: asks again in 500 ms, and goes there
//! ```

use std::time::{Duration, Instant};

use kafka_client::{Assigned, BoxError, Error, Kafka, RebalanceListener, Received, StartAt, StartFrom};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given::{self, Lines};
use crate::group::{SOON, Taken, fill_at, quick};

/// Records that are there before anybody reads.
const BEFORE: i64 = 10;
/// Records that are written while it is read, a tenth of a second apart: for longer than all answers take.
const MEANWHILE: i64 = 40;
const PLACE: i64 = 4;
/// How long the leader's requests and answers take, each.
const LATE: Duration = Duration::from_millis(400);

struct Scene {
    cluster: Cluster,
    topic: Lines,
    leader: i32,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start_proxied(3, &[]);
        let topic = given::topic_on(&cluster, "orders", 1);
        fill_at(cluster.bootstrap(), topic.name(), 0, 0, BEFORE as usize);
        let leader = oracle::leader(cluster.bootstrap(), topic.name(), 0);
        Self { cluster, topic, leader }
    }

    fn delay(&self) {
        self.cluster.node(self.leader as usize - 1).proxy().delay(LATE);
    }

    /// A group whose coordinator answers at once.
    async fn group(&self) -> String {
        let admin = Kafka::connect(self.cluster.bootstrap()).admin();
        let elsewhere = given::topic_on(&self.cluster, "elsewhere", 1);
        for _ in 0..100 {
            let group = unique("billing");
            // A group that has committed something is there to be described.
            let member: BaseConsumer = config(self.cluster.bootstrap(), &group).create().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(elsewhere.name(), 0, Offset::Offset(0)).unwrap();
            member.commit(&list, CommitMode::Sync).unwrap();
            let told = admin.describe_groups(&[&group]).await.unwrap().remove(0).unwrap();
            if told.coordinator().unwrap().id() != self.leader {
                return group;
            }
        }
        panic!("the leader coordinates all groups");
    }

    fn write_meanwhile(&self) -> std::thread::JoinHandle<()> {
        let (bootstrap, topic) = (self.cluster.bootstrap().to_owned(), self.topic.name().to_owned());
        std::thread::spawn(move || {
            for offset in BEFORE..BEFORE + MEANWHILE {
                fill_at(&bootstrap, &topic, 0, offset, 1);
                std::thread::sleep(Duration::from_millis(100));
            }
        })
    }
}

fn config(bootstrap: &str, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", group).set("enable.auto.commit", "false");
    config
}

struct Starts;

impl RebalanceListener for Starts {
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        for partition in assigned.partitions() {
            assigned.start_at(&partition, StartAt::Offset(PLACE));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_behind_the_place_is_skipped_whatever_would_happen_without_it() {
    let scene = Scene::new();
    let mut readers = Vec::new();
    for from in [StartFrom::Fail, StartFrom::Latest, StartFrom::Earliest] {
        readers.push((from, scene.group().await, Taken::new()));
    }
    scene.delay();
    let mut running = Vec::new();
    for (from, group, taken) in &readers {
        let at: Taken<i64> = taken.clone();
        let handler = move |record: Received<String, String>| {
            at.push(record.offset());
            async { Ok::<_, Error>(()) }
        };
        let consumer = quick(&Kafka::connect(scene.cluster.proxied_bootstrap()), group);
        let consumer = consumer.start_from(*from).on_rebalance(Starts).route(&scene.topic, handler);
        running.push(consumer.build().unwrap().spawn());
    }
    scene.write_meanwhile().join().unwrap();
    let last = BEFORE + MEANWHILE - 1;
    for (from, _, taken) in &readers {
        let read = async || taken.all().last() == Some(&last);
        eventually(&format!("{from:?}: the last record is read"), SOON, read).await;
        assert_eq!(taken.all(), (PLACE..=last).collect::<Vec<_>>(), "{from:?}");
    }
    for consumer in running {
        consumer.stop().await.unwrap();
    }
}

/// librdkafka, that is assigned and then moved: the same check finds records that were never read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_seeks_once_is_moved_on_by_the_late_answer() {
    let scene = Scene::new();
    scene.delay();
    let (bootstrap, topic) = (scene.cluster.proxied_bootstrap(), scene.topic.name().to_owned());
    let writing = scene.write_meanwhile();
    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config(&bootstrap, &unique("naive")).create().unwrap();
        // It knows the leader, as who has joined a group does.
        consumer.fetch_metadata(Some(&topic), SOON).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::End).unwrap();
        consumer.assign(&list).unwrap();
        while consumer.seek(&topic, 0, Offset::Offset(PLACE), Duration::from_secs(1)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (mut read, start) = (Vec::new(), Instant::now());
        while read.last() != Some(&(BEFORE + MEANWHILE - 1)) && start.elapsed() < SOON {
            if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
                read.push(record.offset());
            }
        }
        read
    });
    let read = read.await.unwrap();
    writing.join().unwrap();
    let all: Vec<_> = (PLACE..BEFORE + MEANWHILE).collect();
    assert!(!all.iter().all(|offset| read.contains(offset)), "the check finds what was skipped: {read:?}");
}
