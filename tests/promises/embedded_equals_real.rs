//! A conversation with the embedded broker is the conversation with a real one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use kafka_client::{Error, Json, Kafka, Received, Topic, TopicChange, TopicSpec, Utf8};
use parking_lot::Mutex;
use tests::harness::oracle::{self, Isolation, Stored};
use tests::harness::{Cluster, eventually, unique};

use crate::given;
use crate::group::{Member, SOON, quick};

const PARTITIONS: i32 = 3;
const RECORDS: u32 = 30;

/// What was said, without the names that differ.
#[derive(Debug, PartialEq)]
struct Conversation {
    ensured: Vec<(i32, TopicChange)>,
    delivered: Vec<(i32, i64)>,
    log: Vec<Stored>,
    /// By reader: what it handled, partition by partition.
    handled: Vec<Vec<(i32, i64, String, u32)>>,
    /// After each reader.
    committed: Vec<BTreeMap<i32, i64>>,
}

impl Conversation {
    async fn with(kafka: &Kafka, bootstrap: &str) -> Self {
        let (topic, group) = (Topic::new(unique("orders"), Utf8, Json::<u32>::new()), unique("billing"));
        let mut said = Self { ensured: vec![], delivered: vec![], log: vec![], handled: vec![], committed: vec![] };
        for _ in 0..2 {
            let ensured = kafka.ensure_topics(&[TopicSpec::new(topic.name(), PARTITIONS)]).await.unwrap();
            said.ensured.extend(ensured.iter().map(|topic| (topic.partitions(), topic.change())));
        }
        // The second reader of the group begins where the first one has ended.
        for numbers in [0..RECORDS, RECORDS..2 * RECORDS] {
            said.produces(kafka, &topic, numbers).await;
            said.reads(kafka, bootstrap, &topic, &group).await;
        }
        said.log = oracle::read_all(bootstrap, topic.name(), Isolation::ReadUncommitted);
        said
    }

    async fn produces(&mut self, kafka: &Kafka, topic: &Topic<Utf8, Json<u32>>, numbers: Range<u32>) {
        let producer = given::built(kafka.producer());
        for number in numbers {
            let key = format!("o-{}", number % 7);
            let time = UNIX_EPOCH + Duration::from_millis(given::yesterday() as u64);
            let record =
                topic.record(&key, &number).timestamp(time).header("n", number.to_string()).null_header("null");
            let delivered = producer.send(record).await.unwrap();
            self.delivered.push((delivered.partition(), delivered.offset()));
        }
        assert!(producer.close(SOON).await.is_complete());
    }

    async fn reads(&mut self, kafka: &Kafka, bootstrap: &str, topic: &Topic<Utf8, Json<u32>>, group: &str) {
        let handled = Arc::new(Mutex::new(Vec::new()));
        let handler = {
            let handled = handled.clone();
            move |record: Received<String, u32>| {
                handled.lock().push((record.partition(), record.offset(), record.key().clone(), *record.value()));
                async { Ok::<_, Error>(()) }
            }
        };
        let member = Member::start(quick(kafka, group).route(topic, handler));
        eventually("all are handled", SOON, async || handled.lock().len() >= RECORDS as usize).await;
        let report = member.stop().await;
        assert_eq!((report.handled, report.unfinished, report.left_group), (RECORDS.into(), 0, true));
        self.committed.push(oracle::committed(bootstrap, group, topic.name()));
        let mut handled = std::mem::take(&mut *handled.lock());
        // Stable: what is out of order within a partition stays so.
        handled.sort_by_key(|(partition, ..)| *partition);
        self.handled.push(handled);
    }
}

#[tokio::test]
async fn the_same_is_said_to_both_and_both_answer_the_same() {
    let real = Conversation::with(&given::kafka(), Cluster::shared().bootstrap()).await;
    let kafka = Kafka::embedded().unwrap();
    let bootstrap = kafka.embedded_broker().unwrap().bootstrap_servers().to_owned();
    let embedded = Conversation::with(&kafka, &bootstrap).await;
    assert_eq!(embedded, real);

    // And it was not about nothing.
    assert_eq!(real.ensured, [(PARTITIONS, TopicChange::Created), (PARTITIONS, TopicChange::Unchanged)]);
    assert_eq!(real.log.len(), 2 * RECORDS as usize);
    assert!(real.committed[1].len() > 1, "several partitions: {:?}", real.committed);
    for (numbers, handled) in [0..RECORDS, RECORDS..2 * RECORDS].into_iter().zip(&real.handled) {
        let mut found: Vec<_> = handled.iter().map(|(.., number)| *number).collect();
        found.sort_unstable();
        assert_eq!(found, numbers.collect::<Vec<_>>());
    }
}
