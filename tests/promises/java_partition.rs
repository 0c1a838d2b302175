//! A keyed record goes where Kafka's own Java producer puts it.

use std::time::Duration;

use futures::future::join_all;
use kafka_client::{Producer, RawRecord};
use tests::harness::{Cluster, java};

use crate::given::{self, Lines, built};

const KEYS: usize = 1_000;
const PARTITIONS: i32 = 7;

#[tokio::test]
async fn a_thousand_keys_go_where_java_puts_them() {
    let keys = keys();
    let expected = java::partitions(Cluster::libs(), &keys, PARTITIONS);
    let lines = given::topic("keyed", PARTITIONS);
    let producer = built(given::kafka().producer().linger(Duration::from_millis(1)));
    assert_eq!(partitions_of(&producer, &lines, &keys).await, expected);

    // A batch takes another way into librdkafka, and so do records with headers.
    let in_batch = given::topic("keyed-in-batch", PARTITIONS);
    let records: Vec<_> = keys.iter().map(|key| record(&in_batch, key)).collect();
    assert_eq!(producer.send_batch(&records).await.unwrap(), KEYS);
    assert_eq!(stored_at(&in_batch, &keys), expected);

    let with_headers = given::topic("keyed-with-headers", PARTITIONS);
    let records = keys.iter().map(|key| {
        let mut record = record(&with_headers, key);
        record.headers.push("header", "value");
        record
    });
    assert_eq!(producer.send_batch(records).await.unwrap(), KEYS);
    assert_eq!(stored_at(&with_headers, &keys), expected);

    // The negative control: what librdkafka does unless told otherwise.
    let crc32 = built(given::kafka().producer().set("partitioner", "consistent_random"));
    let chosen = partitions_of(&crc32, &lines, &keys).await;
    let same = chosen.iter().zip(&expected).filter(|(one, other)| one == other).count();
    // One in seven agrees by chance.
    assert!((50..300).contains(&same), "{same} of {KEYS} keys");
}

#[tokio::test]
async fn an_explicit_partition_and_a_custom_partitioner_come_before_the_key() {
    let lines = given::topic("chosen", PARTITIONS);
    let last =
        |record: &kafka_client::Unassigned<'_>| (record.key() != Some(b"default")).then(|| record.partitions() - 1);
    let producer = built(given::kafka().producer().partitioner(last));
    let java = java::partitions(Cluster::libs(), &[b"default".to_vec()], PARTITIONS)[0];
    for (record, expected) in [
        (lines.record("a", "to the custom partitioner's"), PARTITIONS - 1),
        (lines.record("a", "to its own").partition(2), 2),
        (lines.record("default", "to Java's"), java),
    ] {
        assert_eq!(producer.send(record).await.unwrap().partition(), expected);
    }
    let mut sender = producer.sender(&lines).unwrap();
    assert_eq!(sender.enqueue(lines.record("a", "b")).await.unwrap().await.unwrap().partition(), PARTITIONS - 1);
    assert_eq!(producer.send_batch((0..10).map(|_| lines.record("in a batch", "b"))).await.unwrap(), 10);
    let batch = given::log(&lines).into_iter().filter(|stored| stored.key.as_deref() == Some(b"in a batch"));
    assert!(batch.map(|stored| stored.partition).eq([PARTITIONS - 1; 10]));
}

/// Random bytes of all lengths, and whatever has been handled specially by somebody.
fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0],
        vec![0xff; 4],
        "größe".into(),
        vec![0xc3, 0x28],
        b"key-1".to_vec(),
        vec![b'x'; 100_000],
        vec![0x80; 4_099],
    ];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    while keys.len() < KEYS {
        let mut next = || {
            // xorshift64: the same keys in each run.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let len = next() % 64;
        keys.push((0..len).map(|_| (next() >> 32) as u8).collect());
    }
    keys
}

fn record(lines: &Lines, key: &[u8]) -> RawRecord {
    RawRecord::new(lines.name(), Some(key.to_vec()), Some(b"value".to_vec()))
}

/// Where each key's record was acknowledged.
async fn partitions_of(producer: &Producer, lines: &Lines, keys: &[Vec<u8>]) -> Vec<i32> {
    let sends = keys.iter().map(|key| producer.send(record(lines, key)));
    join_all(sends).await.into_iter().map(|outcome| outcome.unwrap().partition()).collect()
}

/// Where each key's record is in the log.
fn stored_at(lines: &Lines, keys: &[Vec<u8>]) -> Vec<i32> {
    let log = given::log(lines);
    assert_eq!(log.len(), keys.len());
    let partition = |key| log.iter().find(|stored| stored.key.as_ref() == Some(key)).unwrap().partition;
    keys.iter().map(partition).collect()
}
