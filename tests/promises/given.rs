//! What most promises about producing start with.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_client::{Kafka, Producer, ProducerBuilder, RawRecord, Topic, Utf8};
use tests::harness::oracle::{self, Isolation, Stored};
use tests::harness::{Cluster, unique};

/// Lines of text.
pub(crate) type Lines = Topic<Utf8, Utf8>;

/// The shared broker.
pub(crate) fn kafka() -> Kafka {
    Kafka::connect(Cluster::shared().bootstrap())
}

/// A topic of its own on the shared broker.
pub(crate) fn topic(name: &str, partitions: i32) -> Lines {
    topic_on(Cluster::shared(), name, partitions)
}

/// A topic of its own on this cluster, with as many replicas as the cluster has nodes.
pub(crate) fn topic_on(cluster: &Cluster, name: &str, partitions: i32) -> Lines {
    let name = unique(name);
    oracle::create_topic(cluster.bootstrap(), &name, partitions, cluster.nodes().len().max(1) as i32);
    Topic::new(name, Utf8, Utf8)
}

/// A producer built, which these settings allow.
#[track_caller]
pub(crate) fn built(builder: ProducerBuilder) -> Producer {
    builder.build().unwrap_or_else(|e| panic!("{e}"))
}

/// A record of text.
pub(crate) fn raw(topic: &Lines, key: impl ToString, value: impl ToString) -> RawRecord {
    RawRecord::new(topic.name(), Some(key.to_string().into_bytes()), Some(value.to_string().into_bytes()))
}

/// A timestamp that is not now, in milliseconds; not so old that Kafka would delete the record for its age.
pub(crate) fn yesterday() -> i64 {
    static NOW: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);
    NOW.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64) - 24 * 60 * 60 * 1000
}

/// The log of a topic on the shared broker, partition by partition.
#[track_caller]
pub(crate) fn log(topic: &Lines) -> Vec<Stored> {
    log_on(Cluster::shared(), topic)
}

/// The log of a topic on this cluster, partition by partition.
#[track_caller]
pub(crate) fn log_on(cluster: &Cluster, topic: &Lines) -> Vec<Stored> {
    oracle::read_all(cluster.bootstrap(), topic.name(), Isolation::ReadUncommitted)
}

/// The values of a log, which are text.
pub(crate) fn values(log: &[Stored]) -> Vec<String> {
    log.iter().map(|stored| text(stored.value.as_deref())).collect()
}

/// Bytes that are text; none are `null`.
pub(crate) fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "null".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}
