//! What is tried out on the embedded broker is true of the real one: the same conversation has the same answers.

use std::sync::Arc;

use futures::StreamExt;
use kafka_client::{Error, FailedRecord, Json, Kafka, RawRecord, Received, Topic, TopicSpec, Utf8};
use parking_lot::Mutex;
use tests::harness::{eventually, unique};

use crate::given;
use crate::group::{Member, SOON, quick};

type Lines = Topic<Utf8, Json<String>>;

/// What was said, line by line.
#[derive(Clone, Default)]
struct Transcript(Arc<Mutex<Vec<String>>>);

impl Transcript {
    fn say(&self, line: impl Into<String>) {
        self.0.lock().push(line.into());
    }

    fn count(&self, start: &str) -> usize {
        self.0.lock().iter().filter(|line| line.starts_with(start)).count()
    }
}

#[tokio::test]
async fn the_same_conversation_has_the_same_answers() {
    let embedded = conversation(&Kafka::embedded().unwrap()).await;
    let real = conversation(&given::kafka()).await;
    assert_eq!(embedded, real);
    // It was about something.
    let count = |start: &str| real.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((count("delivered"), count("handled"), count("streamed")), (41, 35, 5), "{real:#?}");
}

/// Produce, consume, commit, poison, restart and read on. Names and times are left out, they differ.
async fn conversation(kafka: &Kafka) -> Vec<String> {
    let (said, group) = (Transcript::default(), unique("billing"));
    let topic: Lines = Topic::new(unique("lines"), Utf8, Json::new());
    let ensured = kafka.ensure_topics(&[TopicSpec::new(topic.name(), 3)]).await.unwrap();
    said.say(format!("{:?} with {} partitions", ensured[0].change(), ensured[0].partitions()));

    let producer = kafka.producer().build().unwrap();
    let produce = async |numbers: std::ops::Range<usize>| {
        for n in numbers {
            let (key, value) = (format!("k-{n}"), format!("line {n}"));
            let delivered = producer.send(topic.record(&key, &value).header("n", n.to_string())).await.unwrap();
            said.say(format!("delivered {key} to {} at {}", delivered.partition(), delivered.offset()));
        }
    };

    // The first ones are taken from a stream, and acknowledged.
    produce(0..5).await;
    let builder = || quick(kafka, &group);
    let mut stream = builder().stream(&topic).unwrap();
    for _ in 0..5 {
        let record = stream.next().await.unwrap().unwrap();
        said.say(format!("streamed {} from {} at {}", record.value(), record.partition(), record.offset()));
        record.ack();
    }
    let report = stream.close().await.unwrap();
    said.say(format!("closed {} {} {}", report.handled, report.unfinished, report.left_group));

    produce(5..40).await;
    let poison = RawRecord::new(topic.name(), Some(b"k-1".to_vec()), Some(b"{".to_vec()));
    let delivered = producer.send(&poison).await.unwrap();
    said.say(format!("delivered poison to {} at {}", delivered.partition(), delivered.offset()));

    // Another consumer reads on.
    let (records, failed) = (said.clone(), said.clone());
    let consumer = builder()
        .route(&topic, move |record: Received<String, String>| {
            let n = record.headers().last("n").flatten().map(String::from_utf8_lossy);
            records.say(format!("handled {} {} n={n:?}", record.key(), record.value()));
            async { Ok::<_, Error>(()) }
        })
        .on_failed_record(move |record: FailedRecord| {
            failed.say(format!("failed at {} {:?}", record.partition(), record.error().kind()));
            async { Ok::<_, Error>(()) }
        });
    let member = Member::start(consumer);
    eventually("it has read on", SOON, async || said.count("handled") == 35 && said.count("failed") == 1).await;
    let report = member.stop().await;
    said.say(format!("ended {} {} {} {}", report.handled, report.failed, report.unfinished, report.left_group));
    let committed: Vec<_> = report.committed.into_iter().map(|((_, partition), next)| (partition, next)).collect();
    said.say(format!("committed {committed:?}"));

    // Partitions are read in parallel, so the order between them is nobody's promise.
    let mut said = said.0.lock().clone();
    said.sort();
    said
}
