//! Where the listener wants to start, the partition starts: also where another offset is committed, and where without
//! any the consumer would fail.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use kafka_client::{
    Assigned, BoxError, Consumer, Error, RebalanceListener, Received, StartAt, StartFrom, TopicPartition,
};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tests::harness::{Cluster, eventually, unique};
use tokio::sync::oneshot;

use crate::given::{self, Lines, yesterday};
use crate::group::{SOON, Taken, commits, quick};

/// Records that are there before anybody reads, a second apart.
const RECORDS: i64 = 10;
/// What groups have committed that have.
const COMMITTED: i64 = 7;

/// What the group would do without the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Committed,
    /// Nothing is committed, and `StartFrom::Fail`.
    Fails,
}

struct StartsAt(Option<StartAt>, Taken<BTreeMap<i32, Option<i64>>>);

impl RebalanceListener for StartsAt {
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        let committed = |one: &TopicPartition| (one.partition(), assigned.committed(one));
        self.1.push(assigned.partitions().iter().map(committed).collect());
        // As a listener does that keeps offsets elsewhere, and some for partitions that are another member's.
        if let Some(start) = self.0 {
            for partition in assigned.partitions() {
                assigned.start_at(&partition, start);
                assigned.start_at(&TopicPartition::new(partition.topic(), 77), start);
            }
        }
        Ok(())
    }
}

struct Reader {
    what: String,
    expected: i64,
    group: String,
    taken: Taken<i64>,
    told: Taken<BTreeMap<i32, Option<i64>>>,
    before: Before,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<kafka_client::ConsumerReport, Error>>,
    handle: kafka_client::ConsumerHandle,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_starts_where_the_listener_says() {
    let topic = given::topic("orders", 1);
    let producer = given::built(given::kafka().producer());
    for offset in 0..RECORDS {
        let at = UNIX_EPOCH + Duration::from_millis((yesterday() + 1_000 * offset) as u64);
        producer.send(topic.record("k", "v").timestamp(at)).await.unwrap();
    }
    let time = |offset: i64, millis: i64| {
        StartAt::Time(UNIX_EPOCH + Duration::from_millis((yesterday() + 1_000 * offset + millis) as u64))
    };
    let places = [
        (Some(StartAt::Offset(4)), 4),
        (Some(StartAt::Offset(RECORDS)), RECORDS),
        (Some(StartAt::Beginning), 0),
        (Some(StartAt::End), RECORDS),
        (Some(time(6, 0)), 6),
        (Some(time(5, 1)), 6),
        // Nothing is as young as that.
        (Some(time(RECORDS, 0)), RECORDS),
        (None, 0),
    ];
    let mut readers = Vec::new();
    for before in [Before::Nothing, Before::Committed, Before::Fails] {
        for (start, expected) in places {
            let expected = match (start, before) {
                // The listener says nothing.
                (None, Before::Committed) => COMMITTED,
                (None, Before::Fails) => continue,
                _ => expected,
            };
            readers.push(Reader::start(&topic, before, start, expected));
        }
    }
    for reader in &mut readers {
        let what = format!("{} has started", reader.what);
        eventually(&what, SOON, async || {
            if reader.task.is_finished() {
                panic!("{}: {:?}", reader.what, (&mut reader.task).await);
            }
            reader.handle.health().assigned == 1
        })
        .await;
    }
    producer.send(topic.record("k", "v")).await.unwrap();
    for reader in readers {
        reader.has_read_from_its_place(&topic).await;
    }
}

impl Reader {
    fn start(topic: &Lines, before: Before, start: Option<StartAt>, expected: i64) -> Self {
        let (group, taken, told) = (unique("billing"), Taken::new(), Taken::new());
        if before == Before::Committed {
            commit(topic, &group);
        }
        let at = taken.clone();
        let handler = move |record: Received<String, String>| {
            at.push(record.offset());
            async { Ok::<_, Error>(()) }
        };
        let from = if before == Before::Fails { StartFrom::Fail } else { StartFrom::Earliest };
        let consumer: Consumer = quick(&given::kafka(), &group)
            .start_from(from)
            .on_rebalance(StartsAt(start, told.clone()))
            .route(topic, handler)
            .build()
            .unwrap();
        let (handle, (stop, stopped)) = (consumer.handle(), oneshot::channel());
        let task = tokio::spawn(consumer.run_until(stopped));
        Self { what: format!("{before:?}, {start:?}"), expected, group, taken, told, before, stop, task, handle }
    }

    async fn has_read_from_its_place(self, topic: &Lines) {
        let what = &self.what;
        eventually(&format!("{what}: the last record is read"), SOON, async || {
            self.taken.all().last() == Some(&RECORDS)
        })
        .await;
        commits(&self.group, topic, &[(0, RECORDS + 1)]).await;
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(self.taken.all(), (self.expected..=RECORDS).collect::<Vec<_>>(), "{what}");
        let committed = (self.before == Before::Committed).then_some(COMMITTED);
        assert_eq!(self.told.all(), [BTreeMap::from([(0, committed)])], "{what}: what the listener is told");
    }
}

fn commit(topic: &Lines, group: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", Cluster::shared().bootstrap())
        .set("group.id", group)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic.name(), 0, Offset::Offset(COMMITTED)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}
