//! A record that kills its process is found out, and is dead-lettered unexecuted after three deaths; innocent ones are not,
//! however often somebody kills the process.
//!
//! The consumers run in children, this very binary again, which write what they begin and finish to a file.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{
    Batching, Bytes, Concurrency, ConsumerBuilder, Error, Handler, Headers, Kafka, RawRecord, Received, Topic, Utf8,
};
use kafka_dlq::{Backoff, Decision, Recovery, RetryTopic};
use tests::chaos::process::{Process, asked_to_end};
use tests::harness::oracle::Stored;
use tests::harness::{Cluster, eventually_blocking, unique};

use crate::given::{self, Lines};
use crate::group::{Member, SOON, committed, quick};
use crate::harness::this_binary;
use crate::recovery::{header, send, stored};

/// What a child is to do: `how bootstrap topic group dead-letters ledger gate`.
const CHILD: &str = "QUARANTINE_CHILD";
const PARTITIONS: i32 = 2;
const RECORDS: i64 = 40;
const KEYS: i64 = 5;
/// What the last life needs: a session of the static member, and the records.
const WHOLE_LIFE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_very_first_record_is_quarantined_after_three_deaths_and_all_others_are_handled() {
    let scene = Scene::new(&[0]).await;
    assert_eq!(scene.restarted_until_done("by-key", 9), 3);
    scene.all_but_the_killers_are_handled(&[0]);
}

#[tokio::test]
async fn a_record_among_others_of_its_batch_is_found_out_too() {
    let scene = Scene::new(&[17]).await;
    assert_eq!(scene.restarted_until_done("batch", 9), 3);
    scene.all_but_the_killers_are_handled(&[17]);
}

#[tokio::test]
async fn a_record_that_kills_when_it_is_tried_again_is_found_on_the_retry_topic() {
    let scene = Scene::new(&[11]).await;
    assert_eq!(scene.restarted_until_done("retry", 9), 3);
    scene.all_but_the_killers_are_handled(&[11]);
}

#[tokio::test]
async fn two_of_them_take_five_deaths_and_none_is_executed_more_than_thrice() {
    let scene = Scene::new(&[20, 22]).await;
    // Both are suspects of the first death.
    assert_eq!(scene.restarted_until_done("by-key", 9), 5);
    scene.all_but_the_killers_are_handled(&[20, 22]);
}

#[tokio::test]
async fn without_a_quarantine_it_kills_for_ever() {
    let scene = Scene::new(&[5]).await;
    assert_eq!(scene.restarted_until_done("plain", 6), 6, "it never gets beyond the record");
    assert_eq!(scene.ledger().begun[&(0, 5)], 6);
    assert!(!scene.ledger().finished.contains_key(&(0, 5)));
    assert_eq!(scene.dead_letters().len(), 0);
}

#[tokio::test]
async fn whoever_is_killed_from_outside_in_different_records_is_innocent() {
    let scene = Scene::new(&[]).await;
    for hang in [0, 3, 4, 12, 13, 30] {
        scene.killed_in("by-key", hang);
    }
    assert_eq!(scene.restarted_until_done("by-key", 1), 0);
    scene.all_but_the_killers_are_handled(&[]);
    assert_eq!(
        scene.metadata().await,
        vec![Vec::<u8>::new(); PARTITIONS as usize],
        "an orderly end leaves no suspects"
    );
}

#[tokio::test]
async fn two_kills_in_the_same_record_are_not_enough_and_three_in_a_row_are() {
    let scene = Scene::new(&[]).await;
    scene.killed_in("by-key", 8);
    scene.killed_in("by-key", 8);
    // It is handled then, and the next kill is another record's.
    scene.killed_in("by-key", 9);
    assert_eq!(scene.restarted_until_done("by-key", 1), 0);
    scene.all_but_the_killers_are_handled(&[]);

    let scene = Scene::new(&[]).await;
    (0..3).for_each(|_| scene.killed_in("by-key", 8));
    assert_eq!(scene.restarted_until_done("by-key", 1), 0);
    scene.all_but_the_killers_are_handled(&[8]);
}

#[tokio::test]
async fn an_orderly_end_between_two_deaths_makes_nobody_forget() {
    let scene = Scene::new(&[6]).await;
    for life in 1..=3 {
        assert_eq!(scene.restarted_until_done("by-key", 1), 1, "life {life}");
        // A member that handles nothing, because it is told to end while it waits for the first record.
        scene.comes_and_goes();
    }
    assert_eq!(scene.restarted_until_done("by-key", 1), 0);
    scene.all_but_the_killers_are_handled(&[6]);
    assert_eq!(scene.ledger().begun[&(0, 6)], 3);
}

#[tokio::test]
async fn a_quarantine_that_makes_no_sense_is_refused() {
    let (kafka, source) = (given::kafka(), given::topic("refused", 1));
    let handler = async |_: Received<String, String>| Ok::<_, Error>(());
    for (recovery, why) in [
        (Recovery::retry(SOON_AGAIN).quarantine(3), "`quarantine` and no `dead_letter`"),
        (Recovery::retry(SOON_AGAIN).quarantine(1).dead_letter(unique("dlq")), "`quarantine(1)`"),
        (Recovery::retry(SOON_AGAIN).quarantine(256).dead_letter(unique("dlq")), "`quarantine(256)`"),
    ] {
        let consumer = quick(&kafka, &unique("refused")).route(&source, recovery.wrap(handler));
        let error = Member::start(consumer).failure().await;
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains(why), "{error:?}");
    }
}

const SOON_AGAIN: Backoff = Backoff::fixed(Duration::from_millis(20)).attempts(9);

/// A topic, a group, and the file that its members write to.
struct Scene {
    topic: Lines,
    group: String,
    dead: String,
    dir: tempfile::TempDir,
}

impl Scene {
    /// Records of five keys on each partition; those of partition 0 at these offsets kill whoever handles them.
    async fn new(killers: &[i64]) -> Self {
        let topic = given::topic("quarantine", PARTITIONS);
        let record = |partition: i32, offset: i64| {
            let deadly = partition == 0 && killers.contains(&offset);
            let mut value = if deadly { b"kill ".to_vec() } else { b"fine ".to_vec() };
            // No text: it goes through everything as it is.
            value.extend([0xff, 0x00, offset as u8]);
            let mut record = RawRecord::new(topic.name(), Some(key(partition, offset).into_bytes()), Some(value));
            let mut headers = Headers::new();
            headers.push("trace", vec![0xfe, offset as u8]);
            headers.push_null("trace");
            (record.headers, record.partition) = (headers, Some(partition));
            record.timestamp = Some(given::yesterday() + offset);
            record
        };
        let all = (0..PARTITIONS).flat_map(|partition| (0..RECORDS).map(move |offset| (partition, offset)));
        send(&given::kafka(), all.map(|(partition, offset)| record(partition, offset))).await;
        Self { topic, group: unique("quarantine"), dead: unique("quarantine.dlq"), dir: tempfile::tempdir().unwrap() }
    }

    fn ledger(&self) -> Ledger {
        Ledger::read(&self.file("ledger"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn dead_letters(&self) -> Vec<Stored> {
        stored(&self.dead)
    }

    fn start(&self, how: &str, hang: i64) -> Process {
        let bootstrap = Cluster::shared().bootstrap();
        let (topic, group, dead) = (self.topic.name(), &self.group, &self.dead);
        let order = format!("{how} {bootstrap} {topic} {group} {dead} {} {hang}", self.file("ledger").display());
        let mut command = Command::new(this_binary());
        Process::start(command.args(["--exact", "quarantine::child", "--ignored"]).env(CHILD, order))
    }

    fn is_done(&self) -> bool {
        committed(&self.group, &self.topic) == (0..PARTITIONS).map(|partition| (partition, RECORDS)).collect()
    }

    /// Starts a member again and again until everything is committed, `most` deaths at most. How many there were.
    #[track_caller]
    fn restarted_until_done(&self, how: &str, most: usize) -> usize {
        for deaths in 0..most {
            let mut process = self.start(how, -1);
            let mut ended = None;
            eventually_blocking(&format!("life {deaths} ends, or does all"), WHOLE_LIFE, || {
                ended = process.ended();
                ended.is_some() || self.is_done()
            });
            match ended {
                Some(status) => assert!(!status.success(), "it was not asked to end"),
                None => {
                    process.stop(SOON).unwrap();
                    return deaths;
                }
            }
        }
        most
    }

    /// Runs a member until it is in the middle of this record, and kills it.
    #[track_caller]
    fn killed_in(&self, how: &str, hang: i64) {
        let times = || self.ledger().begun.get(&(0, hang)).copied().unwrap_or(0);
        let before = times();
        let process = self.start(how, hang);
        eventually_blocking(&format!("it is in the middle of {hang}"), WHOLE_LIFE, || times() > before);
        process.kill();
    }

    /// Runs a member that takes part and ends in good order before it handles anything.
    fn comes_and_goes(&self) {
        let before = self.ledger();
        let process = self.start("paused", -1);
        let joined = || self.ledger().lines > before.lines;
        eventually_blocking("it takes part", WHOLE_LIFE, joined);
        process.stop(SOON).unwrap();
        assert_eq!(self.ledger().begun, before.begun);
    }

    /// The metadata of the group's offsets.
    async fn metadata(&self) -> Vec<Vec<u8>> {
        let offsets = given::kafka().admin().group_offsets(&self.group).await.unwrap();
        offsets.into_iter().map(|offset| offset.unwrap().metadata().to_vec()).collect()
    }

    /// All records were finished, in the order of their keys, but the killers: those are dead letters, bit for bit, and were
    /// begun three times at most.
    #[track_caller]
    fn all_but_the_killers_are_handled(&self, killers: &[i64]) {
        let ledger = self.ledger();
        let all = (0..PARTITIONS).flat_map(|partition| (0..RECORDS).map(move |offset| (partition, offset)));
        let killers: BTreeSet<_> = killers.iter().map(|offset| (0, *offset)).collect();
        let expected: BTreeSet<_> = all.filter(|record| !killers.contains(record)).collect();
        assert_eq!(ledger.finished.keys().copied().collect::<BTreeSet<_>>(), expected);
        for killer in &killers {
            assert!(ledger.begun[killer] <= 3, "{killer:?} was executed {} times", ledger.begun[killer]);
        }
        for (name, offsets) in &ledger.by_key {
            assert!(offsets.is_sorted(), "{name}: {offsets:?}");
        }
        let (dead, log) = (self.dead_letters(), given::log(&self.topic));
        let of = |record: &Stored| given::text(header(record, "dlq.offset")).parse::<i64>().unwrap();
        assert_eq!(dead.iter().map(|record| (0, of(record))).collect::<BTreeSet<_>>(), killers);
        if killers.len() == 1 {
            assert_eq!(dead.len(), 1);
        }
        for letter in dead {
            let original = log.iter().find(|one| (one.partition, one.offset) == (0, of(&letter))).unwrap();
            assert_eq!((&letter.key, &letter.value), (&original.key, &original.value));
            assert_eq!((letter.timestamp, letter.partition), (original.timestamp, 0));
            assert!(letter.headers.starts_with(&original.headers), "{:?}", letter.headers);
            assert_eq!(given::text(header(&letter, "dlq.reason")), "quarantine");
            assert_eq!(given::text(header(&letter, "dlq.message")), "crashed its process 3 times");
        }
    }
}

fn key(partition: i32, offset: i64) -> String {
    format!("{partition}-{}", offset % KEYS)
}

/// What was begun and finished, and how often, by partition and offset.
#[derive(Default)]
struct Ledger {
    lines: usize,
    begun: BTreeMap<(i32, i64), usize>,
    finished: BTreeMap<(i32, i64), usize>,
    /// Offsets in the order in which they were finished for the first time, by key.
    by_key: BTreeMap<String, Vec<i64>>,
}

impl Ledger {
    fn read(path: &std::path::Path) -> Self {
        let mut ledger = Self::default();
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            ledger.lines += 1;
            let words: Vec<&str> = line.split(' ').collect();
            let &[what, partition, offset, "."] = words.as_slice() else { continue };
            let record = (partition.parse().unwrap(), offset.parse().unwrap());
            if what == "begin" {
                *ledger.begun.entry(record).or_default() += 1;
            } else {
                let times = ledger.finished.entry(record).or_default();
                *times += 1;
                if *times == 1 {
                    ledger.by_key.entry(key(record.0, record.1)).or_default().push(record.1);
                }
            }
        }
        ledger
    }
}

#[test]
#[ignore = "runs as the child of other tests only"]
fn child() {
    let Ok(order) = env::var(CHILD) else { return };
    let words: Vec<&str> = order.split(' ').collect();
    let &[how, bootstrap, topic, group, dead, ledger, hang] = words.as_slice() else { panic!("{order}") };
    let pen =
        Pen { file: OpenOptions::new().create(true).append(true).open(ledger).unwrap(), hang: hang.parse().unwrap() };
    member(how, bootstrap, topic, group, dead, Arc::new(pen));
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn member(how: &str, bootstrap: &str, topic: &str, group: &str, dead: &str, pen: Arc<Pen>) {
    let kafka = Kafka::connect(bootstrap);
    // A static member that comes back takes its place again, without waiting for the session of the one that died.
    let builder = quick(&kafka, group).static_member("only");
    let topic = Topic::new(topic, Utf8, Bytes);
    let consumer = routed(builder, how, &topic, dead, pen.clone()).build().unwrap();
    let asked = tokio::task::spawn_blocking(asked_to_end);
    if how == "paused" {
        let handle = consumer.handle();
        let partitions: Vec<_> = (0..PARTITIONS).map(|partition| (topic.name().to_owned(), partition)).collect();
        tokio::spawn(async move {
            handle.pause(partitions.iter().map(|(topic, partition)| (topic.as_str(), *partition))).await.unwrap();
            while handle.partitions().await.unwrap().len() < PARTITIONS as usize {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            pen.line("joined");
        });
    }
    consumer.run_until(asked).await.unwrap();
}

fn routed(
    builder: ConsumerBuilder,
    how: &str,
    topic: &Topic<Utf8, Bytes>,
    dead: &str,
    pen: Arc<Pen>,
) -> ConsumerBuilder {
    let one = Work { pen: pen.clone(), kills: true, fails_first: how == "retry" };
    let quarantine = Recovery::by(|_: &Busy| Decision::Retry(SOON_AGAIN)).dead_letter(dead);
    match how {
        "plain" => builder.route_concurrent(topic, Concurrency::by_key(4), quarantine.wrap(one)),
        "batch" => {
            let batching = Batching::up_to(16).linger(Duration::from_millis(50));
            builder.route_batching(topic, batching, quarantine.quarantine(3).wrap(one))
        }
        "retry" => {
            let retries = RetryTopic::new(format!("{dead}.retry"));
            let recovery = quarantine.in_place(0).retry_topic(retries).quarantine(3);
            builder.route_concurrent(topic, Concurrency::by_key(4), recovery.wrap(one))
        }
        _ => builder.route_concurrent(topic, Concurrency::by_key(4), quarantine.quarantine(3).wrap(one)),
    }
}

#[derive(Debug)]
struct Busy;

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("busy")
    }
}

impl std::error::Error for Busy {}

/// What the children do with a record.
struct Work {
    pen: Arc<Pen>,
    kills: bool,
    /// Records that kill do so on the retry topic only.
    fails_first: bool,
}

impl Work {
    async fn record(&self, record: &Received<String, Vec<u8>>) -> Result<(), Busy> {
        let header = |name: &str| {
            let value = record.headers().last(name).flatten()?;
            std::str::from_utf8(value).ok()?.parse::<i64>().ok()
        };
        let retried = header("dlq.offset");
        let (partition, offset) = (record.partition(), retried.unwrap_or(record.offset()));
        let kills = self.kills && record.value().starts_with(b"kill");
        if kills && self.fails_first && retried.is_none() {
            return Err(Busy);
        }
        self.pen.write("begin", partition, offset);
        if kills {
            std::process::abort();
        }
        if (partition, offset) == (0, self.pen.hang) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.pen.write("finish", partition, offset);
        Ok(())
    }
}

impl Handler<Received<String, Vec<u8>>> for Work {
    type Error = Busy;

    async fn handle(&self, record: Received<String, Vec<u8>>) -> Result<kafka_client::Completion, Busy> {
        self.record(&record).await.map(Into::into)
    }
}

impl Handler<Vec<Received<String, Vec<u8>>>> for Work {
    type Error = Busy;

    async fn handle(&self, batch: Vec<Received<String, Vec<u8>>>) -> Result<kafka_client::Completion, Busy> {
        for record in &batch {
            self.record(record).await?;
        }
        Ok(kafka_client::Completion::done())
    }
}

/// Writes the ledger. A line is one write, so a kill leaves it whole or leaves it out.
struct Pen {
    file: File,
    hang: i64,
}

impl Pen {
    fn write(&self, what: &str, partition: i32, offset: i64) {
        self.line(&format!("{what} {partition} {offset} ."));
    }

    fn line(&self, line: &str) {
        (&self.file).write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
