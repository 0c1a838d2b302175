//! Dead letters that the frameworks themselves have written (programs in Java, `java/`), on a real Kafka: read, explained by
//! the command, and sent back as what they were, or left with the reason.
//!
//! ```text
//!   records of every kind ──▶ topic ──▶ a framework, which fails ──▶ its dead-letter topic ──▶ DeadLetter, kafka-dlq explain
//!                               ▲                                                          └─▶ Redrive ──┐
//!                               └────────────────── the same records, bit for bit ───────────────────────┘
//! ```

mod connect;
mod retry_topics;
mod spring;
mod streams;

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{Headers, Kafka, Producer, RawRecord, TopicSpec};
use kafka_dlq::{DeadLetter, RecordView, Redrive, RedriveReport};
use serde_json::Value;
use tests::harness::oracle::{self, Isolation, Stored};
use tests::harness::{Cluster, JavaProgram};

const PARTITIONS: i32 = 3;

fn bootstrap() -> &'static str {
    Cluster::shared().bootstrap()
}

fn kafka() -> Kafka {
    Kafka::connect(bootstrap())
}

fn producer() -> Producer {
    kafka().producer().build().unwrap()
}

/// Makes topics, all at once.
async fn create(topics: &[String], partitions: i32) {
    let specs: Vec<TopicSpec> = topics.iter().map(|topic| TopicSpec::new(topic, partitions).replication(1)).collect();
    kafka().ensure_topics(&specs).await.unwrap();
}

/// What consumers with `read_committed` see.
fn log(topic: &str) -> Vec<Stored> {
    oracle::read_all(bootstrap(), topic, Isolation::ReadCommitted)
}

fn depth(topic: &str) -> i64 {
    oracle::end_offsets(bootstrap(), topic).values().sum()
}

/// The application's headers: a duplicate, an empty one, a null, a name that is no ASCII, a value that is no text, and a name
/// that begins as Spring's do.
fn application() -> Headers {
    let mut headers = Headers::new();
    headers.push("trace-id", "7");
    headers.push("tag", "a");
    headers.push("tag", "b");
    headers.push("empty", "");
    headers.push_null("null");
    headers.push("Größe", [0, 159, 146, 150]);
    headers.push("kafka_correlationId", [0xca, 0xfe]);
    headers
}

/// Key and value; `None` is null.
type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Keys and values of every kind.
const ODD: [Pair<'static>; 6] = [
    (Some(b"o-1"), Some(b"{\"id\":1}")),
    (Some(&[0xff, 0, 0xfe]), Some(&[0xfe, 0xff, 0])),
    (Some(b"gone"), None),
    (None, Some(b"no key")),
    (Some(b""), Some(b"")),
    (None, None),
];

/// Writes records into a topic, by turns into its partitions, with timestamps of yesterday; every second one has headers.
/// Returns them as they are stored.
async fn write(producer: &Producer, topic: &str, records: &[Pair<'_>]) -> Vec<Stored> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let yesterday = now - 24 * 60 * 60 * 1000;
    let raw = records.iter().enumerate().map(|(at, (key, value))| {
        let mut record = RawRecord::new(topic, key.map(Vec::from), value.map(Vec::from));
        record.timestamp = Some(yesterday + at as i64);
        record.partition = Some(at as i32 % PARTITIONS);
        if at % 2 == 0 {
            record.headers = application();
        }
        record
    });
    producer.send_batch(raw.collect::<Vec<_>>()).await.unwrap();
    let mut stored = log(topic);
    stored.sort_by_key(|stored| stored.timestamp);
    assert_eq!(stored.len(), records.len());
    stored
}

/// Waits until topics hold this many records.
fn wait_for(program: &mut JavaProgram, letters: &[(&str, usize)]) {
    for (topic, count) in letters {
        program.until(&format!("{count} dead letters in {topic}"), || depth(topic) >= *count as i64);
    }
}

/// A record of a dead-letter topic.
struct Letter {
    topic: String,
    stored: Stored,
    headers: Headers,
}

impl Letter {
    fn read(&self) -> DeadLetter<'_> {
        DeadLetter::of(RecordView {
            partition: Some(self.stored.partition),
            offset: Some(self.stored.offset),
            timestamp_ms: self.stored.timestamp,
            key: self.stored.key.as_deref(),
            value: self.stored.value.as_deref(),
            ..RecordView::new(&self.topic, &self.headers)
        })
    }

    fn place(&self) -> String {
        format!("{}-{}@{}", self.topic, self.stored.partition, self.stored.offset)
    }

    /// How often it has this header.
    fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|header| header.name() == name).count()
    }

    /// What the command tells of it.
    fn explained(&self) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_dlq-command"))
            .env_clear()
            .env("KAFKA_BOOTSTRAP_SERVERS", bootstrap())
            .args(["explain", &self.place(), "--json"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[track_caller]
    fn assert_holds(&self, original: &Stored) {
        assert_eq!((&self.stored.key, &self.stored.value), (&original.key, &original.value), "{}", self.place());
        assert_eq!(self.read().application_headers(), headers(original), "{}", self.place());
    }
}

fn headers(stored: &Stored) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in &stored.headers {
        match value {
            Some(value) => headers.push(name, value),
            None => headers.push_null(name),
        }
    }
    headers
}

fn letters(topic: &str) -> Vec<Letter> {
    let letter = |stored: Stored| Letter { topic: topic.to_owned(), headers: headers(&stored), stored };
    log(topic).into_iter().map(letter).collect()
}

/// The one dead letter of a record that stands in `topic`.
#[track_caller]
fn letter_of<'a>(letters: &'a [Letter], topic: &str, original: &Stored) -> &'a Letter {
    let origin = format!("{topic}-{}@{}", original.partition, original.offset);
    let mut found = letters.iter().filter(|letter| letter.read().origin().to_string() == origin);
    let letter = found.next().unwrap_or_else(|| panic!("no dead letter says that it comes from {origin}"));
    assert_eq!(found.count(), 0, "others say so too");
    letter
}

/// Sends dead letters back as they were, and nothing more.
async fn sent_back(letters: &str, change: impl FnOnce(Redrive) -> Redrive) -> RedriveReport {
    let redrive = Redrive::new(&kafka(), letters).mark(false).keep_partition(true).keep_timestamp(true);
    let run = change(redrive);
    let report = tokio::time::timeout(Duration::from_secs(90), run.run_until(std::future::pending::<()>()));
    report.await.expect("it ends").unwrap()
}

/// Whether two records stand at the same place of their topics.
fn is_at(one: &Stored, other: &Stored) -> bool {
    (one.partition, one.offset) == (other.partition, other.offset)
}

/// Whether behind its first records a topic now holds these once more: key, value, headers, partition and timestamp.
#[track_caller]
fn assert_returned<'a>(topic: &str, originals: &[Stored], returned: impl IntoIterator<Item = &'a Stored>) {
    let is_new = |stored: &&Stored| !originals.iter().any(|one| is_at(one, stored));
    let bits = |stored: &Stored| Stored { offset: 0, ..stored.clone() };
    let mut found: Vec<Stored> = log(topic).iter().filter(is_new).map(bits).collect();
    let mut expected: Vec<Stored> = returned.into_iter().map(bits).collect();
    for list in [&mut found, &mut expected] {
        list.sort_by_key(|stored| stored.timestamp);
    }
    assert_eq!(found, expected, "what came back to {topic}");
}
