//! What waits is seen, in place and on the retry topic, and goes where somebody wants it to: in the process, and over HTTP.

use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Received, RunningConsumer, TopicPartition};
use kafka_dlq::inspect::{InspectServer, PartitionView, Steer, Waiting};
use kafka_dlq::{Backoff, Decision, ErrorKind, Inspect, Inspector, Order, Recovery, RetryTopic};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tests::harness::{eventually, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::given::{self, Lines};
use crate::group::{SOON, Taken, committed_of, quick};
use crate::recorder::numbers;
use crate::recovery::{Trouble, header, send, stored};

const FAR: Backoff = Backoff::fixed(Duration::from_secs(3_600)).attempts(9);

/// A consumer whose handler fails with records that are not `fine`, until they are.
struct Scene {
    source: Lines,
    dead: String,
    retries: String,
    handled: Taken<String>,
    fine: Arc<Mutex<Vec<String>>>,
    group: String,
    consumer: RunningConsumer,
}

impl Scene {
    /// `retry_topic`: records wait there, and not in place.
    async fn new(retry_topic: Option<Order>) -> Self {
        let (source, dead, retries) = (given::topic("seen", 1), unique("seen.dlq"), unique("seen.retry"));
        let (handled, fine, group) = (Taken::new(), Arc::new(Mutex::new(Vec::new())), unique("seen"));
        let (taken, well) = (handled.clone(), fine.clone());
        let handler = move |record: Received<String, String>| {
            let is_fine = record.value().starts_with("fine") || well.lock().contains(record.value());
            if is_fine {
                taken.push(record.value().clone());
            }
            async move { if is_fine { Ok(()) } else { Err(Trouble::Busy) } }
        };
        let recovery = Recovery::by(|_: &Trouble| Decision::Retry(FAR)).dead_letter(&dead);
        let recovery = match retry_topic {
            Some(order) => recovery.in_place(0).retry_topic(RetryTopic::new(&retries).order(order)),
            None => recovery,
        };
        let concurrency = kafka_client::Concurrency::by_key(8);
        let consumer = quick(&given::kafka(), &group).route_concurrent(&source, concurrency, recovery.wrap(handler));
        let consumer = consumer.build().unwrap().spawn();
        Self { source, dead, retries, handled, fine, group, consumer }
    }

    async fn send(&self, records: &[(&str, &str)]) {
        let records: Vec<_> = records.iter().map(|(key, value)| given::raw(&self.source, key, value)).collect();
        send(&given::kafka(), records).await;
    }

    fn inspector(&self) -> Inspector {
        self.consumer.inspect()
    }

    /// The partition that records wait in.
    fn place(&self, retry_topic: bool) -> TopicPartition {
        TopicPartition::new(if retry_topic { self.retries.as_str() } else { self.source.name() }, 0)
    }

    async fn view(&self, place: &TopicPartition) -> Option<PartitionView> {
        let views = self.inspector().partitions(100).await.unwrap();
        views.into_iter().find(|view| view.partition == *place)
    }

    /// Waits until so many records wait there.
    async fn waiting(&self, place: &TopicPartition, count: usize) -> Vec<Waiting> {
        eventually("they wait", SOON, async || self.view(place).await.is_some_and(|view| view.pending == count)).await;
        self.view(place).await.unwrap().waiting
    }

    async fn all_committed(&self, records: i64) {
        eventually("all is committed", SOON, async || {
            committed_of(&self.group, self.source.name()) == [(0, records)].into()
        })
        .await;
    }
}

/// The record of this key.
fn of<'w>(waiting: &'w [Waiting], key: &str) -> &'w Waiting {
    waiting
        .iter()
        .find(|one| one.key.as_deref() == Some(key.as_bytes()))
        .unwrap_or_else(|| panic!("{key}: {waiting:?}"))
}

#[tokio::test]
async fn what_waits_in_place_is_seen_and_steered() {
    let scene = Scene::new(None).await;
    scene.send(&[("a", "fine"), ("b", "bad b"), ("c", "bad c"), ("d", "bad d"), ("e", "fine e")]).await;
    let place = scene.place(false);
    let waiting = scene.waiting(&place, 3).await;
    let view = scene.view(&place).await.unwrap();
    assert_eq!((view.head, view.blocked_keys, view.in_flight, view.running.len()), (Some(1), 3, 3, 3));
    assert!(view.next_due.is_some() && view.exposure >= 3 && !view.paused);
    assert!(waiting.iter().all(|one| one.attempts == 1 && one.due.is_some() && one.origin.is_none()));

    let inspector = scene.inspector();
    assert_eq!(inspector.park(&place, 1).unwrap_err().kind(), ErrorKind::Unsupported, "there is no retry topic");
    assert_eq!(inspector.skip(&place, 99).unwrap_err().kind(), ErrorKind::NotWaiting);
    inspector.retry_now(&place, of(&waiting, "b").offset).unwrap();
    eventually("it is tried again", SOON, async || {
        scene.view(&place).await.unwrap().waiting.iter().any(|one| one.offset == 1 && one.attempts == 2)
    })
    .await;
    scene.fine.lock().push("bad b".to_owned());
    inspector.retry_now(&place, 1).unwrap();
    inspector.skip(&place, of(&waiting, "c").offset).unwrap();
    inspector.dead_letter(&place, of(&waiting, "d").offset).unwrap();
    scene.all_committed(5).await;
    let mut handled = scene.handled.take();
    handled.sort();
    assert_eq!(handled, ["bad b", "fine", "fine e"]);
    let dead = stored(&scene.dead);
    assert_eq!(given::values(&dead), ["bad d"]);
    assert_eq!(given::text(header(&dead[0], "dlq.reason")), "asked");
    scene.consumer.stop().await.unwrap();
}

#[tokio::test]
async fn what_waits_on_the_retry_topic_is_seen_and_steered() {
    for order in [Order::KeepOrder, Order::Unordered] {
        let numbers = numbers();
        let scene = Scene::new(Some(order)).await;
        scene.send(&[("a", "bad a"), ("b", "bad b"), ("c", "bad c"), ("d", "bad d")]).await;
        scene.all_committed(4).await;
        let place = scene.place(true);
        let waiting = scene.waiting(&place, 4).await;
        for one in &waiting {
            assert_eq!((one.attempts, one.behind), (1, false));
            assert_eq!(one.origin.as_ref().map(|(topic, _)| topic.as_str()), Some(scene.source.name()));
        }
        if order == Order::KeepOrder {
            assert_eq!(scene.view(&place).await.unwrap().blocked_keys, 4);
            assert_eq!(
                scene.view(&scene.place(false)).await.unwrap().blocked_keys,
                4,
                "they are blocked at the source"
            );
        }
        let inspector = scene.inspector();
        let at = |key: &str| of(&waiting, key).offset;
        inspector.park(&place, at("a")).unwrap();
        inspector.skip(&place, at("b")).unwrap();
        inspector.dead_letter(&place, at("c")).unwrap();
        let left = scene.waiting(&place, 2).await;
        assert_eq!((of(&left, "a").due, of(&left, "d").due.is_some()), (None, true));
        let age = || numbers.sum(&scene.group, "kafka_dlq_oldest_retry_age_seconds", Some(("topic", &scene.retries)));
        eventually("the oldest one's age is told", SOON, async || age().is_some_and(|age| age > 0.0)).await;
        scene.fine.lock().extend(["bad a".to_owned(), "bad d".to_owned()]);
        inspector.unpark(&place, at("a")).unwrap();
        inspector.retry_now(&place, at("d")).unwrap();
        scene.waiting(&place, 0).await;
        eventually("both are handled", SOON, async || scene.handled.len() == 2).await;
        let dead = stored(&scene.dead);
        assert_eq!(given::values(&dead), ["bad c"]);
        assert_eq!(given::text(header(&dead[0], "dlq.reason")), "asked");
        for gone in ["a", "b", "c", "d"] {
            assert_eq!(inspector.steer(&place, at(gone), Steer::Skip).unwrap_err().kind(), ErrorKind::NotWaiting);
        }
        scene.consumer.stop().await.unwrap();
    }
}

/// A request as anybody could send it: status and JSON.
async fn request(server: &InspectServer, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let length = body.len();
    let text =
        format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{answer}: {e}")),
    )
}

const LOCAL: &str = "host: localhost\r\n";
const JSON: &str = "host: 127.0.0.1\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn over_http_the_same_is_seen_and_a_wrong_request_is_told_by_its_field() {
    let scene = Scene::new(None).await;
    scene.send(&[("a", "bad a"), ("b", "bad b")]).await;
    let place = scene.place(false);
    scene.waiting(&place, 2).await;
    let server = InspectServer::start(scene.inspector(), 0).await.unwrap();
    assert!(server.address().ip().is_loopback());

    let (status, shown) = request(&server, "GET", "/partitions?waiting=1", LOCAL, "").await;
    assert_eq!(status, 200);
    let shown = &shown.as_array().unwrap()[0];
    assert_eq!(
        (&shown["topic"], &shown["head"], &shown["pending"]),
        (&json!(scene.source.name()), &json!(0), &json!(2))
    );
    assert_eq!((shown["waiting"].as_array().unwrap().len(), &shown["waiting"][0]["attempts"]), (1, &json!(1)));
    assert!(shown["next_due_ms"].is_u64());
    assert_eq!(request(&server, "GET", "/health", LOCAL, "").await.0, 200);

    let order = |action: &str, offset: i64| {
        json!({"action": action, "topic": scene.source.name(), "partition": 0, "offset": offset}).to_string()
    };
    let big = " ".repeat(70_000);
    for (method, path, headers, body, status, field) in [
        ("GET", "/nothing", LOCAL, "", 404, "path"),
        ("DELETE", "/partitions", LOCAL, "", 405, "method"),
        ("GET", "/partitions?waiting=many", LOCAL, "", 400, "waiting"),
        ("GET", "/partitions", "host: somewhere.example\r\n", "", 403, "host"),
        ("POST", "/steer", LOCAL, &order("skip", 0), 415, "content-type"),
        ("POST", "/steer", JSON, "{}", 400, "action"),
        ("POST", "/steer", JSON, &order("drop", 0), 400, "action"),
        ("POST", "/steer", JSON, &order("skip", -1), 400, "offset"),
        ("POST", "/steer", JSON, &order("skip", 77), 404, "offset"),
        ("POST", "/steer", JSON, &order("park", 0), 409, "action"),
        ("POST", "/steer", JSON, &big, 413, "body"),
    ] {
        let (answered, text) = request(&server, method, path, headers, body).await;
        assert_eq!((answered, &text["field"]), (status, &json!(field)), "{method} {path}: {text}");
        assert!(text["error"].is_string());
    }
    assert_eq!(scene.waiting(&place, 2).await.len(), 2, "nothing of it was done");

    assert_eq!(request(&server, "POST", "/steer", JSON, &order("skip", 0)).await, (200, json!({"done": true})));
    assert_eq!(request(&server, "POST", "/steer", JSON, &order("dead-letter", 1)).await.0, 200);
    scene.all_committed(2).await;
    assert_eq!(given::values(&stored(&scene.dead)), ["bad b"]);
    scene.consumer.stop().await.unwrap();
    assert_eq!(request(&server, "GET", "/health", LOCAL, "").await.0, 503);
    assert_eq!(request(&server, "GET", "/partitions", LOCAL, "").await.0, 503);
}
