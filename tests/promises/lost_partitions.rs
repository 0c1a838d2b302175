//! A listener may take its time over partitions that are lost: its consumer goes on, the group does not wait for it, and
//! partitions that come back are told after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use kafka_client::{
    Assigned, BoxError, Consumer, ConsumerHandle, ConsumerReport, Error, ErrorKind, Fault, Kafka, RebalanceListener,
    Received, Request, Topic, TopicPartition, TopicSpec, Utf8,
};
use tests::harness::{eventually, unique};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::given::Lines;
use crate::group::{Door, SOON, Taken};
use crate::recorder::{Numbers, numbers};

/// Longer than anything here waits for: what is done before it was not held up.
const DRAIN: Duration = Duration::from_secs(60);

/// A consumer on a broker of its own, that can be told that it is no member any more.
struct Scene {
    kafka: Kafka,
    topic: Lines,
    group: String,
    events: Taken<&'static str>,
    door: Door,
    handled: Arc<AtomicUsize>,
    handle: ConsumerHandle,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<ConsumerReport, Error>>,
}

struct Slow {
    events: Taken<&'static str>,
    door: Door,
    fails: bool,
}

impl RebalanceListener for Slow {
    async fn assigned(&self, _: &mut Assigned) -> Result<(), BoxError> {
        self.events.push("assigned");
        Ok(())
    }

    async fn revoked(&self, _: &[TopicPartition]) -> Result<(), BoxError> {
        self.events.push("revoked");
        Ok(())
    }

    async fn lost(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        assert_eq!(partitions.len(), 2);
        self.events.push("lost begins");
        let _ = self.door.pass(0).await;
        self.events.push("lost ends");
        if self.fails { Err("the cache cannot be dropped".into()) } else { Ok(()) }
    }
}

impl Scene {
    async fn of_one_that_loses_its_partitions(fails: bool) -> Self {
        let numbers = numbers();
        let (kafka, group) = (Kafka::embedded().unwrap(), unique("billing"));
        let topic = Topic::new(unique("orders"), Utf8, Utf8);
        kafka.ensure_topics(&[TopicSpec::new(topic.name(), 2)]).await.unwrap();
        let (events, door, handled) = (Taken::new(), Door::closed(), Arc::new(AtomicUsize::new(0)));
        let count = handled.clone();
        let handler = move |_: Received<String, String>| {
            count.fetch_add(1, SeqCst);
            std::future::ready(Ok::<_, Error>(()))
        };
        let consumer: Consumer = kafka
            .consumer(&group)
            .commit_interval(Duration::from_millis(10))
            .drain_timeout(DRAIN)
            .on_rebalance(Slow { events: events.clone(), door: door.clone(), fails })
            .route(&topic, handler)
            .build()
            .unwrap();
        let (handle, (stop, stopped)) = (consumer.handle(), oneshot::channel());
        let task = tokio::spawn(consumer.run_until(stopped));
        let scene = Self { kafka, topic, group, events, door, handled, handle, stop, task };
        scene.reads(5).await;
        let broker = scene.kafka.embedded_broker().unwrap();
        broker.fail_requests(Request::Heartbeat, Fault::UnknownMember, 1).unwrap();
        eventually("its partitions are lost", SOON, async || scene.events.all() == ["assigned", "lost begins"]).await;
        assert_eq!(scene.rebalances(numbers, "lost"), 1.0);
        scene
    }

    async fn reads(&self, records: usize) {
        let before = self.handled.load(SeqCst);
        let producer = self.kafka.producer().build().unwrap();
        producer.send_batch((0..records).map(|_| self.topic.record("k", "v"))).await.unwrap();
        let all = before + records;
        eventually("they are handled", SOON, async || self.handled.load(SeqCst) == all).await;
    }

    fn rebalances(&self, numbers: &Numbers, kind: &str) -> f64 {
        numbers.sum(&self.group, "kafka_consumer_rebalances_total", Some(("kind", kind))).unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_goes_on_while_its_listener_takes_its_time_over_lost_partitions() {
    let scene = Scene::of_one_that_loses_its_partitions(false).await;
    let answered = tokio::time::timeout(SOON, scene.handle.partitions()).await;
    assert_eq!(answered.expect("handles are answered").unwrap(), []);
    // The group has it back, and does not wait for its listener.
    eventually("it is a member again", SOON, async || scene.rebalances(numbers(), "assigned") == 2.0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(scene.events.all(), ["assigned", "lost begins"], "what comes is told after what is lost");
    scene.door.open();
    scene.reads(5).await;
    assert_eq!(scene.events.all(), ["assigned", "lost begins", "lost ends", "assigned"]);
    drop(scene.stop);
    let report = tokio::time::timeout(SOON, scene.task).await.expect("it ends").unwrap().unwrap();
    assert_eq!((report.handled, report.unfinished), (10, 0));
    assert_eq!(scene.events.all().split_off(4), ["revoked"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_ends_waits_for_its_listener() {
    let scene = Scene::of_one_that_loses_its_partitions(false).await;
    drop(scene.stop);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!scene.task.is_finished());
    scene.door.open();
    tokio::time::timeout(SOON, scene.task).await.expect("it ends").unwrap().unwrap();
    assert_eq!(scene.events.all()[..3], ["assigned", "lost begins", "lost ends"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_fails_over_lost_partitions_ends_its_consumer_with_its_error() {
    let scene = Scene::of_one_that_loses_its_partitions(true).await;
    scene.door.open();
    let error = tokio::time::timeout(SOON, scene.task).await.expect("it ends").unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handler);
    let told = format!("{error:?}");
    assert!(told.contains("(lost)") && told.contains("the cache cannot be dropped"), "{told}");
}
