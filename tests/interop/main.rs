//! What others write and we read, on a real Kafka: dead letters of the frameworks in Java (`frameworks`), and every format of
//! the schema registry.
//!
//! Confluent's client for Python writes and we read, we write and it reads; with our registry and with a real one.
//!
//! ```text
//!   peer.py ──▶ topic ──▶ our deserializers ──▶ the same values         and the same bytes, where a format has one way
//!   our serializers ──▶ topic ──▶ peer.py ──▶ the same values           to write a value
//! ```
//!
//! Needs a `python3` with the module venv: the harness makes an environment of its own. The frameworks need Maven, which builds
//! the programs in `java`. Without them the tests fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod avro;
mod frameworks;
mod json;
mod protobuf;

use std::sync::Arc;

use kafka_client::serde::{Deserializer, Framing, Registry, RegistryServer, Serializer};
use kafka_client::{Error, Received, Topic};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tests::harness::oracle::{self, Isolation, Stored};
use tests::harness::{Cluster, SchemaRegistry, python, unique};
use tokio::sync::Notify;

const PEER: &str = include_str!("peer.py");

/// A registry that both sides use.
enum Place {
    Ours(RegistryServer),
    Real(&'static SchemaRegistry),
}

impl Place {
    async fn ours() -> Self {
        Self::Ours(RegistryServer::start(&Registry::in_memory(), "127.0.0.1:0").await.unwrap())
    }

    async fn real() -> Self {
        Self::Real(tokio::task::spawn_blocking(SchemaRegistry::shared).await.unwrap())
    }

    fn url(&self) -> String {
        match self {
            Self::Ours(server) => server.url(),
            Self::Real(registry) => registry.url().to_owned(),
        }
    }

    fn client(&self) -> Registry {
        Registry::connect(self.url()).unwrap()
    }
}

/// What one test says to the peer.
struct Job {
    format: &'static str,
    framing: Framing,
    registry: String,
    /// Schemas, or names of messages.
    key: String,
    value: String,
}

impl Job {
    async fn ask(&self, job: Value) -> Value {
        let mut whole = json!({
            "bootstrap": Cluster::shared().bootstrap(), "registry": self.registry, "format": self.format,
            "framing": if self.framing == Framing::Header { "header" } else { "prefix" }, "key": self.key, "value": self.value,
        });
        whole.as_object_mut().unwrap().extend(job.as_object().unwrap().clone());
        let said = tokio::task::spawn_blocking(move || python(PEER, &whole.to_string())).await;
        serde_json::from_str(&said.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))).unwrap()
    }
}

fn topic(name: &str) -> String {
    let name = unique(name);
    oracle::create_topic(Cluster::shared().bootstrap(), &name, 1, 1);
    name
}

fn log(topic: &str) -> Vec<Stored> {
    oracle::read_all(Cluster::shared().bootstrap(), topic, Isolation::ReadUncommitted)
}

/// Keys and values as the two sides mean them: ours, and how the peer says the same.
struct Records<K, V> {
    ours: Vec<(K, Option<V>)>,
    theirs: Vec<(Value, Value)>,
}

/// Both ways, and byte by byte.
///
/// `same_bytes` compares what stands behind the frame; what is left to the writer (the order of a map, white space) is
/// compared as a value there.
async fn speak<K, V>(
    job: Job,
    records: Records<K::Output, V::Output>,
    serdes: impl Fn() -> (K, V),
    same_bytes: impl Fn(&[u8], &[u8]) -> bool,
) where
    K: Serializer<Input = <K as Deserializer>::Output>
        + Deserializer<Output: PartialEq + std::fmt::Debug + Clone + Sync>,
    V: Serializer<Input = <V as Deserializer>::Output>
        + Deserializer<Output: PartialEq + std::fmt::Debug + Clone + Sync>,
{
    let count = records.ours.len();
    // They write first, so that we read what they have registered.
    let theirs = topic(job.format);
    let said = Vec::from_iter(records.theirs.iter().map(|(key, value)| json!([key, value])));
    assert_eq!(job.ask(json!({"do": "write", "topic": theirs, "records": said})).await, json!(count));
    assert_eq!(consumed(&theirs, serdes(), count).await, records.ours, "what Python wrote");

    let ours = topic(job.format);
    let (key, value) = serdes();
    let typed = Topic::new(ours.as_str(), key, kafka_client::Optional::new(value));
    let producer = kafka().producer().build().unwrap();
    for (key, value) in &records.ours {
        producer.send(typed.record(key, value)).await.unwrap();
    }
    let read = job.ask(json!({"do": "read", "topic": ours, "count": count})).await;
    assert_eq!(read, Value::from(said), "what Python reads");

    for (theirs, ours) in log(&theirs).iter().zip(&log(&ours)) {
        let halves = [(&theirs.key, &ours.key), (&theirs.value, &ours.value)];
        for (theirs, ours) in halves {
            let (Some(theirs), Some(ours)) = (theirs, ours) else {
                assert_eq!(theirs, ours, "both are null");
                continue;
            };
            let data = |payload: &[u8]| match job.framing {
                Framing::Prefix => payload[5..].to_vec(),
                Framing::Header => payload.to_vec(),
            };
            assert!(same_bytes(&data(theirs), &data(ours)), "{theirs:02x?}\n{ours:02x?}");
        }
        let names = |stored: &Stored| {
            Vec::from_iter(stored.headers.iter().map(|(name, value)| (name.clone(), value.as_ref().map(Vec::len))))
        };
        assert_eq!(names(theirs), names(ours), "the same headers, of the same length");
    }
}

fn kafka() -> kafka_client::Kafka {
    kafka_client::Kafka::connect(Cluster::shared().bootstrap())
}

/// Reads a topic as a user would.
async fn consumed<K, V>(topic: &str, (key, value): (K, V), count: usize) -> Vec<(K::Output, Option<V::Output>)>
where
    K: Deserializer<Output: Clone + Sync>,
    V: Deserializer<Output: Clone + Sync>,
{
    let topic = Topic::new(topic, key, kafka_client::Optional::new(value));
    let (read, done) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let (book, enough) = (read.clone(), done.clone());
    let handler = move |record: Received<K::Output, Option<V::Output>>| {
        let mut book = book.lock();
        book.push(record.into_parts());
        if book.len() == count {
            enough.notify_one();
        }
        async { Ok::<_, Error>(()) }
    };
    let consumer = kafka().consumer(unique("reader")).route(&topic, handler).build().unwrap();
    let finished = consumer.run_until(done.notified());
    tokio::time::timeout(std::time::Duration::from_secs(60), finished).await.expect("all are read").unwrap();
    std::mem::take(&mut read.lock())
}
