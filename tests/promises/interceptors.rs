//! Interceptors see every record once on its way out and once on its way back, whatever else goes wrong.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use kafka_client::{Acknowledgement, ErrorKind, Outgoing, Producer, ProducerInterceptor, Topic, TopicSpec, Utf8};
use parking_lot::Mutex;
use tests::harness::{Logs, eventually};

use crate::given::{self, Lines, built};

const PATIENCE: Duration = Duration::from_secs(30);

/// What an interceptor saw of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    sent: usize,
    delivered: usize,
    failed: usize,
    /// Acknowledged without the header that this interceptor had added.
    unmarked: usize,
}

const DELIVERED: Seen = Seen { sent: 1, delivered: 1, failed: 0, unmarked: 0 };
const FAILED: Seen = Seen { sent: 1, delivered: 0, failed: 1, unmarked: 0 };

/// Counts what it sees by the record's key, leaves a header, and does something wrong if it is told to.
struct Watching {
    name: &'static str,
    misbehave: fn(),
    fail: bool,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

impl Watching {
    fn new(name: &'static str) -> Self {
        Self { name, misbehave: || (), fail: false, seen: Arc::default() }
    }
}

impl ProducerInterceptor for Watching {
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.seen.lock().entry(given::text(record.key())).or_default().sent += 1;
        let before = record.headers().len().to_string();
        record.headers_mut().push(self.name, before);
        (self.misbehave)();
        if self.fail { Err("did not like it".into()) } else { Ok(()) }
    }

    fn on_acknowledgement(&self, acknowledgement: &Acknowledgement) {
        let mut seen = self.seen.lock();
        let seen = seen.entry(given::text(acknowledgement.key())).or_default();
        match acknowledgement.outcome() {
            Ok(_) => seen.delivered += 1,
            Err(_) => seen.failed += 1,
        }
        seen.unmarked += usize::from(acknowledgement.headers().last(self.name).is_none());
        (self.misbehave)();
    }
}

/// A producer with three interceptors, the first two of which misbehave, and a hook; and what each of them saw.
struct Watched {
    producer: Producer,
    seen: Vec<Arc<Mutex<BTreeMap<String, Seen>>>>,
}

impl Watched {
    fn new() -> Self {
        let erring = Watching { fail: true, ..Watching::new("erring") };
        let panicking =
            Watching { misbehave: || panic!("an interceptor that panics, on purpose"), ..Watching::new("panicking") };
        let good = Watching::new("good");
        let hooked: Arc<Mutex<BTreeMap<String, Seen>>> = Arc::default();
        let mut seen: Vec<_> = [&erring, &panicking, &good].map(|watching| watching.seen.clone()).into();
        seen.push(hooked.clone());
        let builder = given::kafka().producer().linger(Duration::from_millis(1)).set("message.max.bytes", "10000");
        let builder = builder.interceptor(erring).interceptor(panicking).interceptor(good);
        let producer = built(builder.on_delivery(move |acknowledgement| {
            let mut seen = hooked.lock();
            let seen = seen.entry(given::text(acknowledgement.key())).or_default();
            // It hears of the end only.
            seen.sent = 1;
            match acknowledgement.outcome() {
                Ok(_) => seen.delivered += 1,
                Err(_) => seen.failed += 1,
            }
        }));
        Self { producer, seen }
    }

    /// Waits until everybody has seen exactly this.
    async fn all_see(&self, expected: &[(&str, Seen)]) {
        let expected: BTreeMap<_, _> = expected.iter().map(|(key, seen)| ((*key).to_owned(), *seen)).collect();
        let ends =
            |seen: &BTreeMap<String, Seen>| seen.values().map(|seen| seen.delivered + seen.failed).sum::<usize>();
        eventually("every end was told", PATIENCE, async || {
            self.seen.iter().all(|seen| ends(&seen.lock()) >= expected.len())
        })
        .await;
        // Whatever is told once too often has been told when the producer has ended.
        let _ = self.producer.close(PATIENCE).await;
        for seen in &self.seen {
            assert_eq!(*seen.lock(), expected);
        }
    }
}

/// Sends a record in each way that there is, with the way as its key; says which failed.
async fn send_each_way(producer: &Producer, lines: &Lines, value: &str) -> BTreeMap<&'static str, bool> {
    let mut sender = producer.sender(lines).unwrap();
    let record = |key| lines.record(key, value);
    let mut failed = BTreeMap::new();
    failed.insert("send", producer.send(record("send")).await.is_err());
    failed.insert("send_within", producer.send_within(record("send_within"), PATIENCE).await.is_err());
    failed.insert("enqueue", async { producer.enqueue(record("enqueue")).await?.await }.await.is_err());
    let tried = producer.try_enqueue(record("try_enqueue"));
    failed.insert(
        "try_enqueue",
        match tried {
            Ok(delivery) => delivery.await.is_err(),
            Err(_) => true,
        },
    );
    let (answer, answered) = mpsc::channel();
    let accepted = producer.send_with(record("send_with"), move |outcome| answer.send(outcome).unwrap()).await;
    let called = tokio::task::spawn_blocking(move || answered.recv_timeout(PATIENCE)).await.unwrap();
    assert_eq!(accepted.is_ok(), called.is_ok(), "the callback is called for what was accepted");
    failed.insert("send_with", !matches!(called, Ok(Ok(_))));
    let batch = producer.send_batch([record("batch 0"), record("batch 1").header("h", "v")]).await;
    let failures = batch.err().map_or(0, |error| error.failures().len());
    failed.insert("batch 0", failures > 0);
    failed.insert("batch 1", failures > 1);
    failed.insert("sender", async { sender.enqueue(record("sender")).await?.await }.await.is_err());
    failed
}

const WAYS: [&str; 8] = ["send", "send_within", "enqueue", "try_enqueue", "send_with", "batch 0", "batch 1", "sender"];

#[tokio::test]
async fn each_delivered_record_is_seen_once_each_way_and_its_headers_arrive() {
    let (watched, lines) = (Watched::new(), given::topic("intercepted", 1));
    let failed = send_each_way(&watched.producer, &lines, "v").await;
    assert!(failed.values().all(|failed| !failed), "errors and panics change nothing for the record: {failed:?}");
    watched.all_see(&WAYS.map(|way| (way, DELIVERED))).await;

    let log = given::log(&lines);
    assert_eq!(log.len(), WAYS.len());
    for stored in log {
        let own = usize::from(stored.key.as_deref() == Some(b"batch 1"));
        let headers: Vec<_> =
            stored.headers[own..].iter().map(|(name, value)| (name.as_str(), given::text(value.as_deref()))).collect();
        // In their order, each seeing what those before have added.
        let expected = ["erring", "panicking", "good"].into_iter().enumerate();
        let expected: Vec<_> = expected.map(|(at, name)| (name, (at + own).to_string())).collect();
        assert_eq!(headers, expected);
    }
}

#[tokio::test]
async fn each_record_that_the_client_refuses_is_seen_once_each_way() {
    let (watched, lines) = (Watched::new(), given::topic("intercepted", 1));
    let failed = send_each_way(&watched.producer, &lines, &"v".repeat(20_000)).await;
    assert!(failed.values().all(|failed| *failed), "{failed:?}");
    watched.all_see(&WAYS.map(|way| (way, FAILED))).await;
    assert_eq!(given::log(&lines), []);
}

#[tokio::test]
async fn each_record_that_the_broker_refuses_is_seen_once_each_way() {
    let (watched, name) = (Watched::new(), tests::harness::unique("intercepted"));
    let small = TopicSpec::new(&name, 1).config("max.message.bytes", "2000");
    given::kafka().ensure_topics(&[small]).await.unwrap();
    let lines = Topic::new(name, Utf8, Utf8);
    let failed = send_each_way(&watched.producer, &lines, &"v".repeat(5_000)).await;
    assert!(failed.values().all(|failed| *failed), "{failed:?}");
    watched.all_see(&WAYS.map(|way| (way, FAILED))).await;
    assert_eq!(given::log(&lines), []);
}

#[tokio::test]
async fn what_was_not_accepted_is_not_seen() {
    let lines = given::topic("intercepted", 1);
    let watching = Watching::new("good");
    let seen = watching.seen.clone();
    let producer = given::kafka().producer().linger(Duration::from_secs(200)).max_in_flight_records(1);
    let producer = built(producer.interceptor(watching));
    let delivery = producer.enqueue(lines.record("accepted", "v")).await.unwrap();
    let full = producer.try_enqueue(lines.record("full", "v")).unwrap_err();
    assert_eq!(full.error().kind(), ErrorKind::Full);
    let waiting = producer.send_within(lines.record("waiting", "v"), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(waiting.error().kind(), ErrorKind::Timeout);
    assert!(producer.close(PATIENCE).await.is_complete());
    delivery.await.unwrap();
    let closed = producer.send(lines.record("closed", "v")).await.unwrap_err();
    assert_eq!(closed.error().kind(), ErrorKind::Closed);
    assert_eq!(*seen.lock(), BTreeMap::from([("accepted".to_owned(), DELIVERED)]));
}

#[tokio::test]
async fn errors_and_panics_of_interceptors_are_logged() {
    let lines = given::topic("intercepted", 1);
    let logs = Logs::listen();
    let erring = Watching { fail: true, ..Watching::new("erring") };
    let panicking = Watching { misbehave: || panic!("told on purpose to {}", "panic"), ..Watching::new("panicking") };
    let producer = built(given::kafka().producer().interceptor(erring).interceptor(panicking));
    producer.send(lines.record("k", "v")).await.unwrap();
    assert!(producer.close(PATIENCE).await.is_complete());
    assert!(logs.any(|line| line.level == tracing::Level::ERROR && line.field("error") == "did not like it"));
    let panics = logs.lines().into_iter().filter(|line| line.field("panic") == "told on purpose to panic");
    assert_eq!(panics.count(), 2, "on the way out and on the way back");
}
