//! The oracle and Java see what is stored, neither more nor less.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tests::harness::oracle::{self, Isolation, Stored};
use tests::harness::{Cluster, java, unique};

#[test]
fn what_was_produced_is_read_back_with_nulls_and_partitions() {
    let kafka = Cluster::shared().bootstrap();
    let topic = unique("orders");
    oracle::create_topic(kafka, &topic, 3, 1);
    assert_eq!(oracle::read_all(kafka, &topic, Isolation::ReadCommitted), []);

    oracle::produce(
        kafka,
        &topic,
        &[(Some(2), Some(b"o-1"), Some(b"paid")), (Some(2), Some(b"o-1"), None), (Some(0), None, Some(b""))],
    );
    let all = oracle::read_all(kafka, &topic, Isolation::ReadCommitted);
    let seen: Vec<_> = all.iter().map(|r| (r.partition, r.offset, r.key.as_deref(), r.value.as_deref())).collect();
    assert_eq!(
        seen,
        [(0, 0, None, Some(&b""[..])), (2, 0, Some(&b"o-1"[..]), Some(&b"paid"[..])), (2, 1, Some(&b"o-1"[..]), None),]
    );
    assert!(all.iter().all(|record| record.timestamp.is_some() && record.headers.is_empty()));
    assert_eq!(oracle::end_offsets(kafka, &topic), [(0, 1), (1, 0), (2, 2)].into());
    assert_eq!(oracle::leader(kafka, &topic, 2), 1);

    oracle::delete_topic(kafka, &topic);
    // The name is free again, on every broker.
    oracle::create_topic(kafka, &topic, 1, 1);
    assert_eq!(oracle::end_offsets(kafka, &topic), [(0, 0)].into());
}

#[test]
fn without_a_partition_the_oracle_writes_where_java_would() {
    let kafka = Cluster::shared().bootstrap();
    let topic = unique("keyed");
    oracle::create_topic(kafka, &topic, 5, 1);
    let keys: Vec<_> = (0..50).map(|n| format!("key-{n}").into_bytes()).collect();
    let records: Vec<_> = keys.iter().map(|key| (None, Some(&key[..]), None)).collect();
    oracle::produce(kafka, &topic, &records);

    let expected: BTreeMap<_, _> = keys.iter().cloned().zip(java::partitions(Cluster::libs(), &keys, 5)).collect();
    let stored = oracle::read_all(kafka, &topic, Isolation::ReadCommitted).into_iter();
    let seen: BTreeMap<_, _> = stored.map(|record| (record.key.unwrap_or_default(), record.partition)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn aborted_records_are_seen_by_read_uncommitted_only() {
    let kafka = Cluster::shared().bootstrap();
    let topic = unique("payments");
    oracle::create_topic(kafka, &topic, 1, 1);
    let producer = transactional(kafka);
    for (value, commit) in [("committed", true), ("aborted", false)] {
        producer.begin_transaction().unwrap_or_else(|e| panic!("{e}"));
        let headers = OwnedHeaders::new()
            .insert(Header { key: "trace", value: Some("a") })
            .insert(Header::<&str> { key: "trace", value: None });
        send(&producer, BaseRecord::to(&topic).payload(value).headers(headers));
        let ended = if commit { producer.commit_transaction(TIMEOUT) } else { producer.abort_transaction(TIMEOUT) };
        ended.unwrap_or_else(|e| panic!("{e}"));
    }
    let values = |records: Vec<Stored>| -> Vec<_> {
        records
            .into_iter()
            .map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap_or_default()).into_owned())
            .collect()
    };
    let committed = oracle::read_all(kafka, &topic, Isolation::ReadCommitted);
    assert_eq!(committed[0].headers, [("trace".into(), Some(b"a".to_vec())), ("trace".into(), None)]);
    assert_eq!(values(committed), ["committed"]);
    assert_eq!(values(oracle::read_all(kafka, &topic, Isolation::ReadUncommitted)), ["committed", "aborted"]);
    // Two records and the two markers that end their transactions.
    assert_eq!(oracle::end_offsets(kafka, &topic)[&0], 4);

    // Behind a transaction that is still open, read_committed ends, and does not wait.
    producer.begin_transaction().unwrap_or_else(|e| panic!("{e}"));
    send(&producer, BaseRecord::to(&topic).payload("open"));
    oracle::produce(kafka, &topic, &[(Some(0), None, Some(b"outside"))]);
    assert_eq!(values(oracle::read_all(kafka, &topic, Isolation::ReadCommitted)), ["committed"]);
    assert_eq!(oracle::read_all(kafka, &topic, Isolation::ReadUncommitted).len(), 4);
}

#[test]
fn committed_offsets_are_those_of_the_group() {
    let kafka = Cluster::shared().bootstrap();
    let (topic, group) = (unique("orders"), unique("billing"));
    oracle::create_topic(kafka, &topic, 2, 1);
    assert_eq!(oracle::committed(kafka, &group, &topic), [].into());
    commit(kafka, &group, &topic, 1, 7);
    assert_eq!(oracle::committed(kafka, &group, &topic), [(1, 7)].into());
}

#[test]
fn java_chooses_partitions_by_murmur2() {
    // Of Kafka's own UtilsTest: the murmur2 hashes of these keys.
    let known: [(&[u8], i32); 6] = [
        (b"21", -973_932_308),
        (b"foobar", -790_332_482),
        (b"a-little-bit-long-string", -985_981_536),
        (b"a-little-bit-longer-string", -1_486_304_829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        (b"abc", 479_470_107),
    ];
    let keys: Vec<_> = known.iter().map(|(key, _)| key.to_vec()).chain([Vec::new(), vec![0xff; 70_000]]).collect();
    let chosen = java::partitions(Cluster::libs(), &keys, 7);
    let expected: Vec<_> = known.iter().map(|(_, hash)| (hash & i32::MAX) % 7).collect();
    assert_eq!(chosen[..known.len()], expected);
    assert_eq!(chosen.len(), keys.len());
}

const TIMEOUT: Duration = Duration::from_secs(30);

fn transactional(bootstrap: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", unique("views"))
        .create()
        .unwrap_or_else(|e| panic!("no producer: {e}"));
    producer.init_transactions(TIMEOUT).unwrap_or_else(|e| panic!("{e}"));
    producer
}

/// Sends and waits for the acknowledgement: an abort right after a send can be fatal (librdkafka issue 4849).
fn send(producer: &BaseProducer, record: BaseRecord<'_, (), str>) {
    producer.send(record).unwrap_or_else(|(e, _)| panic!("{e}"));
    producer.flush(TIMEOUT).unwrap_or_else(|e| panic!("{e}"));
}

fn commit(bootstrap: &str, group: &str, topic: &str, partition: i32, offset: i64) {
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
    use rdkafka::{Offset, TopicPartitionList};
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .create()
        .unwrap_or_else(|e| panic!("no consumer: {e}"));
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap_or_else(|e| panic!("{e}"));
    consumer.commit(&offsets, CommitMode::Sync).unwrap_or_else(|e| panic!("{e}"));
}
