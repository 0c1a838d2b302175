//! Offsets are told as the leaders have them: by place, by time, and by what transactions leave to be read.

use std::time::{Duration, UNIX_EPOCH};

use kafka_client::{Admin, Error, ErrorKind, Isolation, OffsetSpec, OffsetTarget};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tests::harness::{Cluster, eventually, unique};

use crate::given::{self, Lines};
use crate::group::fill;

const WAIT: Duration = Duration::from_secs(20);

fn admin() -> Admin {
    given::kafka().admin()
}

fn plain() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", Cluster::shared().bootstrap());
    config
}

/// Offset and timestamp of the first partition.
async fn listed(topic: &Lines, spec: OffsetSpec, isolation: Isolation) -> (Option<i64>, Option<i64>) {
    let listed = admin().list_offsets(&[(topic.name(), 0, spec)], isolation).await.unwrap().remove(0).unwrap();
    (listed.offset(), listed.timestamp_ms())
}

/// Records at these offsets from yesterday, in milliseconds, in this order.
async fn written_at(topic: &Lines, millis: &[i64]) -> i64 {
    let (producer, yesterday) = (given::built(given::kafka().producer()), given::yesterday());
    for after in millis {
        let mut record = given::raw(topic, "k", "v");
        (record.partition, record.timestamp) = (Some(0), Some(yesterday + after));
        producer.send(record).await.unwrap();
    }
    yesterday
}

fn time(millis: i64) -> OffsetSpec {
    OffsetSpec::Timestamp(UNIX_EPOCH + Duration::from_millis(millis as u64))
}

#[tokio::test]
async fn offsets_are_found_by_place_and_by_time() {
    const ALL: Isolation = Isolation::ReadUncommitted;
    let topic = given::topic("orders", 1);
    assert_eq!(listed(&topic, OffsetSpec::Latest, ALL).await.0, Some(0));
    assert_eq!(listed(&topic, OffsetSpec::MaxTimestamp, ALL).await, (None, None));
    assert_eq!(listed(&topic, time(0), ALL).await, (None, None));

    let start = written_at(&topic, &[0, 100, 900, 200]).await;
    let native: AdminClient<_> = plain().create().unwrap();
    let mut first = TopicPartitionList::new();
    first.add_partition_offset(topic.name(), 0, Offset::Offset(1)).unwrap();
    native.delete_records(&first, &AdminOptions::new()).await.unwrap();
    for (spec, offset, timestamp) in [
        (OffsetSpec::Earliest, Some(1), None),
        (OffsetSpec::Latest, Some(4), None),
        (OffsetSpec::MaxTimestamp, Some(2), Some(start + 900)),
        (time(start), Some(1), Some(start + 100)),
        (time(start + 101), Some(2), Some(start + 900)),
        (time(start + 900), Some(2), Some(start + 900)),
        (time(start + 901), None, None),
    ] {
        assert_eq!(listed(&topic, spec, ALL).await, (offset, timestamp), "{spec:?}");
    }
    let epoch = admin().list_offsets(&[(topic.name(), 0, time(start))], ALL).await.unwrap().remove(0).unwrap();
    assert_eq!(epoch.leader_epoch(), Some(0));
}

#[tokio::test]
async fn a_group_is_taken_to_a_time() -> Result<(), Error> {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    let start = written_at(&topic, &[0, 100, 200]).await;
    for (target, to) in
        [(time(start + 50), 1), (time(start + 200), 2), (time(start + 201), 3), (OffsetSpec::MaxTimestamp, 2)]
    {
        let altered = admin().alter_group_offsets(&group, &[(topic.name(), 0)], target).await?.remove(0)?;
        assert_eq!((altered.to(), altered.wanted()), (to, None), "{target:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_open_transaction_ends_a_partition_for_those_who_read_what_is_committed() -> Result<(), Error> {
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    fill(&topic, 0, 3);
    let producer: BaseProducer = plain().set("transactional.id", unique("till")).create().unwrap();
    producer.init_transactions(WAIT).unwrap();
    producer.begin_transaction().unwrap();
    for value in ["a", "b"] {
        producer.send(BaseRecord::<str, str>::to(topic.name()).partition(0).key("k").payload(value)).unwrap();
    }
    producer.flush(WAIT).unwrap();
    let ends = async || {
        let end = async |isolation| listed(&topic, OffsetSpec::Latest, isolation).await.0;
        (end(Isolation::ReadCommitted).await, end(Isolation::ReadUncommitted).await)
    };
    assert_eq!(ends().await, (Some(3), Some(5)));
    admin().alter_group_offsets(&group, &[(topic.name(), 0)], OffsetTarget::Exact(1)).await?;
    let lag = async |isolation| Ok::<_, Error>(admin().group_lag(&group, isolation).await?.remove(0)?.lag());
    assert_eq!((lag(Isolation::ReadCommitted).await?, lag(Isolation::ReadUncommitted).await?), (2, 4));
    // Past the end, as far as committed transactions go.
    admin().alter_group_offsets(&group, &[(topic.name(), 0)], OffsetSpec::Latest).await?;
    assert_eq!((lag(Isolation::ReadCommitted).await?, lag(Isolation::ReadUncommitted).await?), (0, 0));
    producer.commit_transaction(WAIT).unwrap();
    // The marker of the transaction has an offset, too; it is written in a moment.
    eventually("both ends are one", WAIT, async || ends().await == (Some(6), Some(6))).await;
    Ok(())
}

#[tokio::test]
async fn a_partition_that_is_not_there_hides_no_other_and_is_not_created() -> Result<(), Error> {
    let (topic, missing) = (given::topic("orders", 40), unique("refunds"));
    fill(&topic, 17, 5);
    let mut of: Vec<_> = (0..40).map(|partition| (topic.name(), partition, OffsetSpec::Latest)).collect();
    of.extend([(missing.as_str(), 0, OffsetSpec::Latest), (topic.name(), 40, OffsetSpec::Latest)]);
    let told = admin().list_offsets(&of, Isolation::ReadCommitted).await?;
    for (at, told) in told.iter().enumerate() {
        match told {
            Ok(listed) => {
                assert_eq!((listed.partition(), listed.offset()), (at as i32, Some(if at == 17 { 5 } else { 0 })))
            }
            Err(error) => {
                assert_eq!((at >= 40, error.kind(), error.topic()), (true, ErrorKind::UnknownTopic, Some(of[at].0)));
            }
        }
    }
    assert_eq!(told.iter().flatten().count(), 40);
    assert_eq!(admin().describe_topic(&missing).await?, None);
    Ok(())
}
