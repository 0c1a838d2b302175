//! Consumer interceptors see every record that is handed out, as it came, and every commit that Kafka has confirmed;
//! whatever they do wrong changes nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kafka_client::{
    Batching, BoxError, Concurrency, ConsumerBuilder, ConsumerInterceptor, Error, FailedRecord, Incoming, RawBatch,
    Received, StartAt, TopicPartition,
};
use parking_lot::Mutex;
use tests::harness::{Cluster, Logs, eventually, oracle, unique};

use crate::given::{self, Lines};
use crate::group::{Door, Member, SOON, Taken, commits, committed, quick};

const RECORDS: i64 = 10;
/// The record whose value is no text.
const UNDECODABLE: i64 = 6;

/// What an interceptor saw of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    topic: String,
    partition: i32,
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    header: Option<Vec<u8>>,
    has_timestamp: bool,
}

/// Keeps what it sees, and then does something wrong if it is told to.
#[derive(Clone)]
struct Watching {
    received: Taken<Seen>,
    committed: Taken<(i32, i64)>,
    misbehave: fn() -> Result<(), BoxError>,
}

impl Watching {
    fn new(misbehave: fn() -> Result<(), BoxError>) -> Self {
        Self { received: Taken::new(), committed: Taken::new(), misbehave }
    }

    fn good() -> Self {
        Self::new(|| Ok(()))
    }

    fn offsets(&self) -> Vec<i64> {
        self.received.all().iter().map(|seen| seen.offset).collect()
    }
}

impl ConsumerInterceptor for Watching {
    fn on_receive(&self, record: &Incoming<'_>) -> Result<(), BoxError> {
        self.received.push(Seen {
            topic: record.topic().to_owned(),
            partition: record.partition(),
            offset: record.offset(),
            key: record.key().map(Vec::from),
            value: record.value().map(Vec::from),
            header: record.headers().last("trace").flatten().map(Vec::from),
            has_timestamp: record.timestamp_ms().is_some(),
        });
        (self.misbehave)()
    }

    fn on_commit(&self, partition: &TopicPartition, offset: i64) {
        self.committed.push((partition.partition(), offset));
        if let Err(error) = (self.misbehave)() {
            panic!("{error}");
        }
    }
}

/// Ten records with a header each, the one without text among them.
async fn written() -> Lines {
    let topic = given::topic("orders", 1);
    let producer = given::built(given::kafka().producer());
    for offset in 0..RECORDS {
        if offset == UNDECODABLE {
            oracle::produce(Cluster::shared().bootstrap(), topic.name(), &[(Some(0), None, Some(b"\xff"))]);
        } else {
            let (key, value) = (format!("k{offset}"), format!("v{offset}"));
            let record = topic.record(&key, &value).partition(0);
            producer.send(record.header("trace", format!("t{offset}"))).await.unwrap();
        }
    }
    topic
}

/// What is to be seen of them.
fn expected(topic: &Lines) -> Vec<Seen> {
    let bytes = |letter: char, offset| (offset != UNDECODABLE).then(|| format!("{letter}{offset}").into_bytes());
    let seen = |offset| Seen {
        topic: topic.name().to_owned(),
        partition: 0,
        offset,
        key: bytes('k', offset),
        value: bytes('v', offset).or(Some(b"\xff".to_vec())),
        header: bytes('t', offset),
        has_timestamp: true,
    };
    (0..RECORDS).map(seen).collect()
}

async fn skips(_: FailedRecord) -> Result<(), Error> {
    Ok(())
}

#[tokio::test]
async fn each_record_is_seen_as_it_came_on_every_kind_of_route() {
    let topic = written().await;
    let route = |kind: &str, consumer: ConsumerBuilder| {
        let one = async |_: Received<String, String>| Ok::<_, Error>(());
        let many = async |_: Vec<Received<String, String>>| Ok::<_, Error>(());
        match kind {
            "record" => consumer.route(&topic, one),
            "by key" => consumer.route_concurrent(&topic, Concurrency::by_key(4), one),
            "batch" => consumer.route_batch(&topic, many),
            "batching" => consumer.route_batching(&topic, Batching::up_to(4), many),
            "raw" => consumer.route_raw(topic.name(), async |_: RawBatch| Ok::<_, Error>(())),
            other => panic!("no route {other}"),
        }
    };
    for kind in ["record", "by key", "batch", "batching", "raw"] {
        let (group, watching) = (unique("billing"), Watching::good());
        let consumer = quick(&given::kafka(), &group).interceptor(watching.clone()).on_failed_record(skips);
        let member = Member::start(route(kind, consumer));
        commits(&group, &topic, &[(0, RECORDS)]).await;
        member.stop().await;
        assert_eq!(watching.received.all(), expected(&topic), "{kind}");
    }
}

#[tokio::test]
async fn each_record_of_a_stream_is_seen_as_it_came() {
    let topic = written().await;
    let (group, watching) = (unique("billing"), Watching::good());
    let consumer = quick(&given::kafka(), &group).interceptor(watching.clone()).on_failed_record(skips);
    let mut records = consumer.stream(&topic).unwrap_or_else(|e| panic!("{e}"));
    for offset in (0..RECORDS).filter(|offset| *offset != UNDECODABLE) {
        let record = records.next().await.unwrap().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(record.offset(), offset);
        record.ack();
    }
    records.close().await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(watching.received.all(), expected(&topic));
}

#[tokio::test]
async fn a_record_that_is_handed_out_again_is_seen_again() {
    let topic = given::topic("orders", 1);
    crate::group::fill(&topic, 0, 5);
    let (group, watching) = (unique("billing"), Watching::good());
    let handler = async |_: Received<String, String>| Ok::<_, Error>(());
    let consumer = quick(&given::kafka(), &group).interceptor(watching.clone()).route(&topic, handler);
    let running = consumer.build().unwrap().spawn();
    commits(&group, &topic, &[(0, 5)]).await;
    running.handle().seek((topic.name(), 0), StartAt::Offset(3)).await.unwrap();
    eventually("the last two are seen again", SOON, async || watching.offsets() == [0, 1, 2, 3, 4, 3, 4]).await;
    running.stop().await.unwrap();
}

/// A commit is told once it is confirmed: not before, none twice, and the last one of all.
#[tokio::test]
async fn each_confirmed_commit_is_seen_once() {
    let (topic, group, door) = (given::topic("orders", 2), unique("billing"), Door::closed());
    crate::group::fill(&topic, 0, 20);
    crate::group::fill(&topic, 1, 20);
    let watching = Watching::good();
    // Where a partition was never committed there is nothing to tell.
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let pass = door.clone();
    let handler = move |record: Received<String, String>| pass.pass(record.offset());
    let member = Member::start(
        quick(&given::kafka(), &group)
            .interceptor(watching.clone())
            .interceptor(NotBefore { group: group.clone(), topic: topic.clone(), wrong: wrong.clone() })
            .route(&topic, handler),
    );
    eventually("it reads", SOON, async || watching.received.len() >= 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(watching.committed.all(), [], "nothing is finished");
    for next in [5, 6, 20] {
        door.open_to(next);
        commits(&group, &topic, &[(0, next), (1, next)]).await;
    }
    member.stop().await;
    let told = watching.committed.all();
    for partition in [0, 1] {
        let of: Vec<i64> = told.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| *offset).collect();
        assert!(of.is_sorted_by(|one, next| one < next), "{of:?}");
        assert!(of.contains(&5) && of.contains(&6), "every commit that could be seen from outside: {of:?}");
        assert_eq!(of.last(), Some(&20), "{of:?}");
    }
    assert_eq!(*wrong.lock(), [], "told before Kafka knew");
}

/// Asks Kafka what it knows when it is told of a commit. (It blocks; a test may.)
struct NotBefore {
    group: String,
    topic: Lines,
    wrong: Arc<Mutex<Vec<(i32, i64)>>>,
}

impl ConsumerInterceptor for NotBefore {
    fn on_receive(&self, _: &Incoming<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn on_commit(&self, partition: &TopicPartition, offset: i64) {
        let known = committed(&self.group, &self.topic).get(&partition.partition()).copied();
        if known.is_none_or(|known| known < offset) {
            self.wrong.lock().push((partition.partition(), offset));
        }
    }
}

#[tokio::test]
async fn what_interceptors_do_wrong_is_logged_and_changes_nothing() {
    let topic = written().await;
    let (group, logs) = (unique("billing"), Logs::listen());
    let erring = Watching::new(|| Err("a consumer's interceptor errs on purpose".into()));
    let panicking = Watching::new(|| panic!("a consumer's interceptor panics on purpose"));
    let good = Watching::good();
    let handled = Taken::new();
    let offsets = handled.clone();
    let handler = move |record: Received<String, String>| {
        offsets.push(record.offset());
        std::future::ready(Ok::<_, Error>(()))
    };
    let consumer = quick(&given::kafka(), &group).on_failed_record(skips).route(&topic, handler);
    let consumer =
        [&erring, &panicking, &good].into_iter().fold(consumer, |consumer, one| consumer.interceptor(one.clone()));
    let member = Member::start(consumer);
    commits(&group, &topic, &[(0, RECORDS)]).await;
    let report = member.stop().await;
    assert_eq!((report.handled, report.failed, report.unfinished), (RECORDS as u64 - 1, 1, 0));
    assert_eq!(handled.all(), (0..RECORDS).filter(|offset| *offset != UNDECODABLE).collect::<Vec<_>>());
    for watching in [&erring, &panicking, &good] {
        assert_eq!(watching.received.all(), expected(&topic));
        assert_eq!(watching.committed.all().last(), Some(&(0, RECORDS)));
    }
    let said = |field: &str, text: &str, what: &str| {
        let is = |line: &&tests::harness::Line| {
            line.level == tracing::Level::ERROR && line.field(field).contains(text) && line.message.ends_with(what)
        };
        logs.lines().iter().filter(is).count()
    };
    assert_eq!(said("error", "errs on purpose", "on_receive"), RECORDS as usize);
    assert_eq!(said("panic", "panics on purpose", "on_receive"), RECORDS as usize);
    assert!(said("panic", "purpose", "on_commit") >= 2);
}
