//! A process that is killed in the middle of a record: at least once it loses nothing, at most once it repeats nothing.
//!
//! The consumers run in children, this very binary again, which write what they begin and finish to a file. A child is
//! killed while a record hangs in its handler, and whatever else was fetched with it.

use std::collections::BTreeMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Error, Guarantee, Kafka, Received, Topic, Utf8};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message};
use tests::harness::{Cluster, eventually_blocking, unique};

use crate::given::{self, Lines};
use crate::group::{SOON, committed, fill, quick};
use crate::harness::this_binary;

/// What a child is to do: `consumer bootstrap topic group ledger hang`, where `hang` is an offset of partition 0.
const CHILD: &str = "KILLED_CHILD";
const RECORDS: i64 = 30;
/// How many records a consumer takes at once.
const BATCH: usize = 8;

#[test]
fn at_least_once_nothing_is_lost_however_often_it_is_killed() {
    let scene = Scene::new();
    for hang in [5, 12] {
        scene.killed("at-least-once", hang, || scene.committed() == [(0, hang), (1, RECORDS)].into());
    }
    scene.runs_to_the_end("at-least-once");
    let ledger = scene.ledger();
    assert_eq!(ledger.lost(), []);
    // Only what was in the middle is handled again: the rest was finished, and committed.
    assert_eq!(ledger.begun_twice(), [(0, 5), (0, 12)]);
}

#[test]
fn at_most_once_nothing_is_handled_twice_however_often_it_is_killed() {
    let scene = Scene::new();
    for hang in [5, 12] {
        scene.killed("at-most-once", hang, || scene.committed().get(&0) > Some(&hang));
    }
    scene.runs_to_the_end("at-most-once");
    let ledger = scene.ledger();
    assert_eq!(ledger.begun_twice(), []);
    // The kills were real: what had been fetched with the records in the middle is gone.
    let lost = ledger.lost();
    assert!(lost.contains(&(0, 5)) && lost.contains(&(0, 12)), "{lost:?}");
    // A batch of each partition at each kill, at most.
    assert!(lost.len() <= 2 * 2 * BATCH, "{lost:?}");
}

#[test]
fn the_careless_way_loses_the_record_it_is_killed_in() {
    let scene = Scene::new();
    scene.killed("careless", 5, || scene.committed().get(&0) > Some(&5));
    scene.runs_to_the_end("careless");
    assert!(scene.ledger().lost().contains(&(0, 5)), "the same check as above finds what was lost");
}

/// A topic, a group, and the file that its members write to.
struct Scene {
    topic: Lines,
    group: String,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let topic = given::topic("orders", 2);
        for partition in [0, 1] {
            fill(&topic, partition, RECORDS as usize);
        }
        Self { topic, group: unique("billing"), dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    fn committed(&self) -> BTreeMap<i32, i64> {
        committed(&self.group, &self.topic)
    }

    fn ledger(&self) -> Ledger {
        Ledger::read(&self.file())
    }

    /// Runs a consumer until it hangs in a record and `ripe` is true, and kills it.
    #[track_caller]
    fn killed(&self, consumer: &str, hang: i64, ripe: impl Fn() -> bool) {
        let mut child = self.child(consumer, hang);
        let in_the_middle = || self.ledger().begun.contains_key(&(0, hang));
        eventually_blocking(&format!("{consumer} is in the middle of {hang}"), SOON, in_the_middle);
        eventually_blocking(&format!("{consumer} has committed what it would"), SOON, &ripe);
        child.kill().and_then(|()| child.wait()).unwrap();
        // Nothing came after the last look.
        assert!(ripe(), "{:?}", self.committed());
    }

    /// Runs a consumer until everything is committed, and lets it end.
    fn runs_to_the_end(&self, consumer: &str) {
        let all = [(0, RECORDS), (1, RECORDS)].into();
        while self.committed() != all {
            let mut child = self.child(consumer, -1);
            eventually_blocking("everything is committed", SOON, || self.committed() == all);
            drop(child.stdin.take());
            assert!(child.wait().unwrap().success());
            // At most once, a good end takes back what it has committed and not begun: then another one begins there.
        }
    }

    fn child(&self, consumer: &str, hang: i64) -> Child {
        let (bootstrap, file) = (Cluster::shared().bootstrap(), self.file());
        let order = format!("{consumer} {bootstrap} {} {} {} {hang}", self.topic.name(), self.group, file.display());
        Command::new(this_binary())
            .args(["--exact", "killed::child", "--ignored"])
            .env(CHILD, order)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// What was begun and finished, and how often, by partition and offset.
#[derive(Default)]
struct Ledger {
    begun: BTreeMap<(i32, i64), usize>,
    finished: BTreeMap<(i32, i64), usize>,
}

impl Ledger {
    fn read(path: &Path) -> Self {
        let mut ledger = Self::default();
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            let mut words = line.split(' ');
            let (Some(what), Some(partition), Some(offset), Some(".")) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let lines = if what == "begin" { &mut ledger.begun } else { &mut ledger.finished };
            *lines.entry((partition.parse().unwrap(), offset.parse().unwrap())).or_default() += 1;
        }
        ledger
    }

    fn lost(&self) -> Vec<(i32, i64)> {
        let all = (0..2).flat_map(|partition| (0..RECORDS).map(move |offset| (partition, offset)));
        all.filter(|record| !self.finished.contains_key(record)).collect()
    }

    fn begun_twice(&self) -> Vec<(i32, i64)> {
        self.begun.iter().filter(|(_, times)| **times > 1).map(|(record, _)| *record).collect()
    }
}

#[test]
#[ignore = "runs as the child of other tests only"]
fn child() {
    let Ok(order) = env::var(CHILD) else { return };
    let words: Vec<&str> = order.split(' ').collect();
    let &[consumer, bootstrap, topic, group, ledger, hang] = words.as_slice() else { panic!("{order}") };
    let pen =
        Pen { file: OpenOptions::new().create(true).append(true).open(ledger).unwrap(), hang: hang.parse().unwrap() };
    match consumer {
        "careless" => careless(bootstrap, topic, group, &pen),
        "at-least-once" => ours(bootstrap, topic, group, pen, Guarantee::AtLeastOnce),
        _ => ours(bootstrap, topic, group, pen, Guarantee::AtMostOnce),
    }
}

/// Writes the ledger. A line is one write, so a kill leaves it whole or leaves it out.
struct Pen {
    file: File,
    hang: i64,
}

impl Pen {
    fn write(&self, what: &str, partition: i32, offset: i64) {
        let line = format!("{what} {partition} {offset} .\n");
        (&self.file).write_all(line.as_bytes()).unwrap();
    }

    fn hangs(&self, partition: i32, offset: i64) -> bool {
        (partition, offset) == (0, self.hang)
    }
}

#[tokio::main]
async fn ours(bootstrap: &str, topic: &str, group: &str, pen: Pen, guarantee: Guarantee) {
    let topic = Topic::new(topic, Utf8, Utf8);
    let pen = Arc::new(pen);
    let handler = move |record: Received<String, String>| {
        let pen = pen.clone();
        async move {
            let (partition, offset) = (record.partition(), record.offset());
            pen.write("begin", partition, offset);
            if pen.hangs(partition, offset) {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            pen.write("finish", partition, offset);
            Ok::<_, Error>(())
        }
    };
    // A static member that comes back takes its place again, without waiting for the session of the one killed.
    let consumer = quick(&Kafka::connect(bootstrap), group)
        .set("group.instance.id", "only")
        .max_batch_records(BATCH)
        .guarantee(guarantee)
        .route(&topic, handler)
        .build()
        .unwrap();
    let asked_to_end = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]).map(drop));
    consumer.run_until(asked_to_end).await.unwrap();
}

/// librdkafka's defaults, faster: what was polled counts as handled.
fn careless(bootstrap: &str, topic: &str, group: &str, pen: &Pen) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("group.instance.id", "only")
        .set("auto.offset.reset", "earliest")
        .set("auto.commit.interval.ms", "10")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let ended = std::thread::spawn(|| std::io::stdin().read(&mut [0]).map(drop));
    while !ended.is_finished() {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(10)) else { continue };
        pen.write("begin", record.partition(), record.offset());
        if pen.hangs(record.partition(), record.offset()) {
            std::thread::sleep(2 * SOON);
        }
        pen.write("finish", record.partition(), record.offset());
    }
}
