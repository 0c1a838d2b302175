//! Dead letters of every framework go back: what can, as it was; what cannot, with the reason.

use kafka_client::{Headers, Kafka, RawRecord};
use kafka_dlq::{Failure, Redrive, Selection, Target, dialect};
use tests::harness::Cluster;
use tests::harness::oracle::{self, Isolation, Stored};

use crate::given::{self, Lines};

/// A dead-letter topic with the topic its letters came from.
pub(crate) struct Given {
    pub(crate) kafka: Kafka,
    pub(crate) orders: Lines,
    pub(crate) letters: Lines,
}

impl Given {
    pub(crate) fn new(partitions: i32) -> Self {
        Self {
            kafka: given::kafka(),
            orders: given::topic("orders", partitions),
            letters: given::topic("orders.dlq", partitions),
        }
    }

    /// A dead letter of our dialect, of the record at `offset`.
    pub(crate) fn letter(&self, offset: i64, reason: &str) -> RawRecord {
        let key = format!("k-{}", offset % 7);
        let mut record = given::raw(&self.letters, key, format!("{{\"id\":{offset}}}"));
        record.headers = application();
        let failure = Failure {
            reason: Some(reason),
            class: Some("CardDeclined"),
            attempts: Some(3),
            group: Some("billing"),
            ..Failure::at(self.orders.name(), (offset % 3) as i32, offset)
        };
        dialect::ours::write(&failure, &mut record.headers);
        record
    }

    pub(crate) async fn write(&self, letters: impl IntoIterator<Item = RawRecord>) {
        let producer = given::built(self.kafka.producer());
        producer.send_batch(letters.into_iter().collect::<Vec<_>>()).await.unwrap();
    }

    pub(crate) fn redrive(&self) -> Redrive {
        Redrive::new(&self.kafka, self.letters.name())
    }

    /// What consumers with `read_committed` see of the orders.
    pub(crate) fn sent(&self) -> Vec<Stored> {
        oracle::read_all(Cluster::shared().bootstrap(), self.orders.name(), Isolation::ReadCommitted)
    }
}

fn application() -> Headers {
    let mut headers = Headers::new();
    headers.push("tag", "a");
    headers.push("tag", "b");
    headers.push_null("null");
    headers.push("empty", "");
    headers
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_sent_and_sends_nothing() {
    let given = Given::new(3);
    let reasons = ["timeout", "timeout", "decode"];
    given.write((0..30).map(|offset| given.letter(offset, reasons[offset as usize % 3]))).await;
    given.write([given::raw(&given.letters, "k", "nobody knows where this came from")]).await;

    let report = given.redrive().select(Selection::all().reason("timeout")).dry_run().await.unwrap();
    assert!(report.is_dry_run());
    assert_eq!((report.read(), report.sent(), report.parked()), (31, 20, 0), "{report}");
    assert_eq!(report.targets().get(given.orders.name()), Some(&20));
    assert_eq!(report.left().get("not selected"), Some(&11));

    let all = given.redrive().dry_run().await.unwrap();
    assert_eq!((all.sent(), all.left().len()), (30, 1), "{all}");
    assert!(all.left().keys().next().unwrap().contains("name a target"), "{all}");
    assert_eq!(given.sent(), []);
}

#[tokio::test]
async fn an_empty_topic_and_one_that_is_not_there_end_at_once() {
    let given = Given::new(3);
    let report = given.redrive().dry_run().await.unwrap();
    assert_eq!((report.read(), report.sent()), (0, 0));
    let error = Redrive::new(&given.kafka, "no-such-topic.dlq").dry_run().await.unwrap_err();
    assert_eq!(error.kind(), kafka_dlq::ErrorKind::UnknownTopic);
    assert!(error.to_string().contains("no-such-topic.dlq"));
}

#[tokio::test]
async fn the_same_record_twice_counts_once() {
    let given = Given::new(1);
    given.write([given.letter(1, "a"), given.letter(2, "a"), given.letter(1, "a")]).await;
    let report = given.redrive().dry_run().await.unwrap();
    assert_eq!(report.sent(), 2, "{report}");
    let both = given.redrive().duplicates(true).dry_run().await.unwrap();
    assert_eq!(both.sent(), 3, "{both}");
}

#[tokio::test]
async fn what_a_target_would_refuse_is_left_with_the_reason() {
    let given = Given::new(3);
    let mut far = given.letter(1, "a");
    far.headers.remove("dlq.timestamp");
    far.headers.push("dlq.timestamp", (given::yesterday() + 3 * 86_400_000).to_string());
    let mut elsewhere = given.letter(2, "a");
    elsewhere.headers.remove("dlq.partition");
    elsewhere.headers.push("dlq.partition", "77");
    given.write([far, elsewhere, given.letter(3, "a")]).await;
    let redrive = given.redrive().keep_timestamp(true).keep_partition(true);
    let report = redrive.dry_run().await.unwrap();
    assert_eq!(report.sent(), 1, "{report}");
    let reasons = report.left().keys().cloned().collect::<Vec<_>>().join("\n");
    assert!(reasons.contains("message.timestamp.after.max.ms") && reasons.contains("no partition 77"), "{reasons}");

    let nowhere = given.redrive().to(Target::Topic("no-such-topic".into())).dry_run().await.unwrap();
    assert_eq!(nowhere.sent(), 0);
    assert_eq!(nowhere.left().get("there is no topic no-such-topic"), Some(&3));
}
