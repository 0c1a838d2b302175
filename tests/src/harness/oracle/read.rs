//! Reads what is stored: records, ends of partitions, committed offsets.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::PATIENCE;
use super::topics::partitions;
use crate::harness::eventually_blocking;

const ONE_TRY: Duration = Duration::from_secs(2);
/// How long the markers of transactions that have ended may take. One that is open is waited for as long: not so long that
/// much happens meanwhile.
const MARKERS: Duration = Duration::from_millis(250);

/// Which records a reader sees, as `isolation.level` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Only records of committed transactions, and up to the first transaction that is still open.
    ReadCommitted,
    /// All records, those of aborted and open transactions too.
    ReadUncommitted,
}

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// A record as it is stored in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The partition it is in.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Its key, None if null.
    pub key: Option<Vec<u8>>,
    /// Its value, None if null (a tombstone).
    pub value: Option<Vec<u8>>,
    /// Its headers in the order they were written, a null value as None.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its timestamp in milliseconds since 1970, whoever set it.
    pub timestamp: Option<i64>,
}

/// Reads `topic` from the beginning to where it ended when this was called, in order of partition and offset.
///
/// Under `ReadCommitted`, small transactions that have just ended count as such: a broker confirms a commit before the
/// markers stand in the logs, and until then readers see none of it.
///
/// # Panics
///
/// If Kafka has nothing more to say for 30 s before the end is reached.
#[track_caller]
pub fn read_all(bootstrap: &str, topic: &str, isolation: Isolation) -> Vec<Stored> {
    if isolation == Isolation::ReadCommitted {
        wait_for_markers(bootstrap, topic);
    }
    // Assigning wants a group, though nothing is joined or committed.
    let consumer = consumer(bootstrap, "oracle", isolation);
    // Under read_committed the broker's answer is where the first open transaction starts.
    let mut unread: BTreeMap<i32, i64> = BTreeMap::new();
    let mut from = TopicPartitionList::new();
    for partition in partitions(bootstrap, topic) {
        let (start, end) = watermarks(&consumer, topic, partition);
        if start < end {
            unread.insert(partition, end);
            set(&mut from, topic, partition, Offset::Offset(start));
        }
    }
    consumer.assign(&from).unwrap_or_else(|e| panic!("{topic} could not be assigned: {e}"));

    let mut records = Vec::new();
    let mut heard = Instant::now();
    while !unread.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let record = Stored::of(&message);
                if let Some(&end) = unread.get(&record.partition) {
                    if record.offset + 1 >= end {
                        unread.remove(&record.partition);
                    }
                    if record.offset < end {
                        records.push(record);
                    }
                }
            }
            // The last offsets may be markers of transactions, or aborted records: nothing to hand out.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            // Lost connections and elections: librdkafka tries again by itself.
            Some(Err(_)) | None => {
                assert!(heard.elapsed() < PATIENCE, "reading {topic} got stuck before the ends {unread:?}");
                continue;
            }
        }
        heard = Instant::now();
    }
    close(&consumer);
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

fn wait_for_markers(bootstrap: &str, topic: &str) {
    let end = |isolation| end_offsets_as(bootstrap, topic, isolation);
    let start = Instant::now();
    while start.elapsed() < MARKERS && end(Isolation::ReadCommitted) != end(Isolation::ReadUncommitted) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the offset that the next record of each partition gets.
///
/// # Panics
///
/// If the topic does not exist or its leaders do not answer within 30 s.
#[track_caller]
pub fn end_offsets(bootstrap: &str, topic: &str) -> BTreeMap<i32, i64> {
    end_offsets_as(bootstrap, topic, Isolation::ReadCommitted)
}

/// Returns the offset behind the last record of each partition that a reader of this isolation may see: under
/// `ReadCommitted` where the first open transaction starts.
///
/// # Panics
///
/// As [`end_offsets`] does.
#[track_caller]
pub fn end_offsets_as(bootstrap: &str, topic: &str, isolation: Isolation) -> BTreeMap<i32, i64> {
    // No group, since nothing is assigned: such a client is gone faster.
    let client = super::client(bootstrap).set("isolation.level", isolation.name()).create();
    let consumer: BaseConsumer = client.unwrap_or_else(|e| panic!("no consumer: {e}"));
    let end = |partition| (partition, watermarks(&consumer, topic, partition).1);
    partitions(bootstrap, topic).into_iter().map(end).collect()
}

/// Returns the offsets that `group` has committed for `topic`: the next to be handled. Partitions without a commit
/// are absent.
///
/// Waits for commits inside a transaction that is being completed.
///
/// # Panics
///
/// If the topic does not exist or the coordinator does not answer within 30 s.
#[track_caller]
pub fn committed(bootstrap: &str, group: &str, topic: &str) -> BTreeMap<i32, i64> {
    let consumer = consumer(bootstrap, group, Isolation::ReadCommitted);
    let mut asked = TopicPartitionList::new();
    for partition in partitions(bootstrap, topic) {
        asked.add_partition(topic, partition);
    }
    // A broker that has just become the group's coordinator, the first time above all, says first that it is not.
    let mut answered = consumer.committed_offsets(asked.clone(), PATIENCE);
    eventually_blocking(&format!("committed offsets of {group}"), PATIENCE, || {
        answered.is_ok() || {
            answered = consumer.committed_offsets(asked.clone(), ONE_TRY);
            answered.is_ok()
        }
    });
    let answered = answered.unwrap_or_else(|e| panic!("no committed offsets of {group} for {topic}: {e}"));
    let offset = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => Some((element.partition(), offset)),
        _ => None,
    };
    let offsets = answered.elements().into_iter().filter_map(offset).collect();
    // Before the consumer, whose end waits for the lists that it handed out.
    drop(answered);
    close(&consumer);
    offsets
}

impl Stored {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
            timestamp: message.timestamp().to_millis(),
        }
    }
}

fn consumer(bootstrap: &str, group: &str, isolation: Isolation) -> BaseConsumer {
    super::client(bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation.name())
        .create()
        .unwrap_or_else(|e| panic!("no consumer: {e}"))
}

/// Closes a consumer that is about to be dropped: the drop would look every 100 ms whether it is closed.
fn close(consumer: &BaseConsumer) {
    let deadline = Instant::now() + Duration::from_secs(5);
    if consumer.close_queue().is_ok() {
        while !consumer.closed() && Instant::now() < deadline {
            consumer.poll(Duration::from_millis(1));
        }
    }
}

#[track_caller]
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    // A try that asks a leader which was just lost, or while there is none, fails or waits in vain.
    let mut answer = consumer.fetch_watermarks(topic, partition, ONE_TRY);
    eventually_blocking(&format!("offsets of {topic}-{partition}"), PATIENCE, || {
        answer.is_ok() || {
            answer = consumer.fetch_watermarks(topic, partition, ONE_TRY);
            answer.is_ok()
        }
    });
    answer.unwrap_or_else(|e| panic!("no offsets of {topic}-{partition}: {e}"))
}

fn set(list: &mut TopicPartitionList, topic: &str, partition: i32, offset: Offset) {
    list.add_partition_offset(topic, partition, offset)
        .unwrap_or_else(|e| panic!("{topic}-{partition} at {offset:?} is no position: {e}"));
}
