//! A schema registry that is down is nobody's poison: records wait for it both ways, those with known schemas go on, and
//! whoever does not want to wait says so.

use std::error::Error as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kafka_client::serde::{Avro, AvroSchema, Part, Registry, RegistryServer, Schema, Serializer, Stop, Target};
use kafka_client::{Error, ErrorKind, FailedRecord, Producer, Received, Retry, Topic, Utf8};
use serde::{Deserialize, Serialize};
use tests::harness::{Cluster, Front, Trouble, eventually, oracle, unique};
use tokio::sync::oneshot;

use crate::given::{self, kafka};
use crate::group::{Member, SOON, Taken, committed_of, quick};

#[derive(AvroSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[avro(crate = "kafka_client::serde")]
struct Order {
    id: i64,
}

type Orders = Topic<Utf8, Avro<Order>>;

/// A registry on a port, to be stopped and started again with what is in it.
struct Served {
    memory: Registry,
    address: SocketAddr,
    server: Option<RegistryServer>,
}

impl Served {
    async fn start() -> Self {
        let memory = Registry::in_memory();
        let server = RegistryServer::start(&memory, "127.0.0.1:0").await.unwrap();
        Self { memory, address: server.address(), server: Some(server) }
    }

    fn stop(&mut self) {
        self.server = None;
    }

    async fn go_on(&mut self) {
        let server = &mut self.server;
        let (memory, address) = (&self.memory, self.address);
        eventually("the port is free again", SOON, async || {
            *server = RegistryServer::start(memory, address).await.ok();
            server.is_some()
        })
        .await;
    }

    /// A client of it, which knows nothing so far.
    fn client(&self) -> Registry {
        hasty(&format!("http://{}", self.address))
    }
}

/// A client that leaves the waiting to whoever asks it.
fn hasty(url: &str) -> Registry {
    Registry::builder(url).retries(0).timeout(Duration::from_millis(300)).build().unwrap()
}

fn orders(registry: &Registry, name: &str) -> Orders {
    let name = unique(name);
    oracle::create_topic(Cluster::shared().bootstrap(), &name, 1, 1);
    Topic::new(name, Utf8, Avro::new(registry))
}

/// The ids in a topic's log, by a registry that is in order.
fn stored(orders: &Orders, registry: &Registry) -> Vec<i64> {
    let avro = Avro::<Order>::new(registry);
    let log = oracle::read_all(Cluster::shared().bootstrap(), orders.name(), oracle::Isolation::ReadUncommitted);
    let ids = log.iter().map(|stored| {
        let from = kafka_client::serde::Source::new(orders.name(), Part::Value);
        loop {
            match kafka_client::serde::Deserializer::deserialize(&avro, stored.value.as_deref(), &from) {
                Ok(order) => return order.id,
                Err(Stop::Miss(miss)) => futures::executor::block_on(miss.resolve()).unwrap(),
                Err(Stop::Error(error)) => panic!("{error:?}"),
            }
        }
    });
    ids.collect()
}

/// Sends an order a way, each way by its number.
async fn send(producer: &Producer, orders: &Orders, id: i64) -> Result<(), Error> {
    let order = Order { id };
    let record = || orders.record("k", &order);
    match id % 5 {
        0 => drop(producer.send(record()).await?),
        1 => drop(producer.enqueue(record()).await?.await?),
        2 => {
            let (answer, answered) = oneshot::channel();
            producer.send_with(record(), move |outcome| drop(answer.send(outcome))).await?;
            answered.await.unwrap()?;
        }
        3 => drop(producer.send_batch([record()]).await?),
        _ => drop(producer.sender(orders)?.enqueue(record()).await?.await?),
    }
    Ok(())
}

/// Whether it is done by now, without waiting for it.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    tokio::time::timeout(Duration::from_millis(300), future).await.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_sent_during_an_outage_arrive_when_it_is_over() {
    let mut registry = Served::start().await;
    let client = registry.client();
    let (known, unknown) = (orders(&client, "known"), orders(&client, "unknown"));
    let producer = given::built(kafka().producer());
    producer.send(known.record("k", &Order { id: -1 })).await.unwrap();
    registry.stop();

    // What sends by hand, and does not wait, loses the record: there is an outage.
    let by_hand =
        unknown.value().serialize(&Order { id: -1 }, &mut Target::new(unknown.name(), Part::Value), &mut Vec::new());
    let Err(Stop::Miss(miss)) = by_hand else { panic!("the schema is known") };
    assert_eq!(miss.resolve().await.unwrap_err().retry(), Retry::Temporary);

    let mut waiting: FuturesUnordered<_> = (0..50).map(|id| send(&producer, &unknown, id)).collect();
    assert!(is_pending(&mut waiting.next()).await);
    // Schemas that are known ask nobody, and records with them wait for nobody.
    for id in 0..50 {
        send(&producer, &known, id).await.unwrap();
    }
    assert!(is_pending(&mut waiting.next()).await, "an outage is no error");

    registry.go_on().await;
    let finished = async { while waiting.next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(SOON, finished).await.expect("the outage is over");
    let mut arrived = stored(&unknown, &registry.memory);
    arrived.sort_unstable();
    assert_eq!(arrived, Vec::from_iter(0..50));
    assert_eq!(stored(&known, &registry.memory), Vec::from_iter(-1..50));
    assert_eq!(producer.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_keeps_its_order_over_an_outage() {
    let mut registry = Served::start().await;
    let client = registry.client();
    let (known, unknown) = (orders(&client, "known"), orders(&client, "unknown"));
    let producer = given::built(kafka().producer());
    producer.send(known.record("k", &Order { id: -1 })).await.unwrap();
    registry.stop();
    let values = Vec::from_iter((0..30).map(|id| Order { id }));
    let records = values.iter().map(|order| if order.id % 3 == 1 { &unknown } else { &known }.record("k", order));
    let mut sending = Box::pin(producer.send_batch(records));
    assert!(is_pending(&mut sending).await);
    registry.go_on().await;
    assert_eq!(tokio::time::timeout(SOON, sending).await.expect("the outage is over").unwrap(), 30);
    assert_eq!(stored(&unknown, &registry.memory), Vec::from_iter((0..30).filter(|id| id % 3 == 1)));
    assert_eq!(stored(&known, &registry.memory), Vec::from_iter((-1..30).filter(|id| id % 3 != 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_deadline_ends_the_waiting_and_the_error_says_for_what() {
    let mut registry = Served::start().await;
    let client = registry.client();
    let unknown = orders(&client, "unknown");
    let producer = given::built(kafka().producer());
    registry.stop();
    let order = Order { id: 1 };
    let error = producer.send_within(unknown.record("k", &order), Duration::from_millis(500)).await.unwrap_err();
    assert_eq!((error.error().kind(), error.error().retry()), (ErrorKind::Timeout, Retry::Temporary));
    assert_eq!(error.error().topic(), Some(unknown.name()));
    assert!(!error.maybe_written());
    let cause = error.source().expect("the registry's error").to_string();
    assert!(cause.contains("got no answer"), "{cause}");
    let refused = producer.try_enqueue(unknown.record("k", &order)).unwrap_err();
    assert_eq!((refused.error().kind(), refused.error().retry()), (ErrorKind::Full, Retry::Temporary));

    registry.go_on().await;
    producer.send_within(unknown.record("k", &order), SOON).await.unwrap();
    assert_eq!(stored(&unknown, &registry.memory), [1], "the record that was refused was not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_wait_may_try_again_and_is_accepted_then() {
    let mut registry = Served::start().await;
    let unknown = orders(&registry.client(), "unknown");
    let producer = given::built(kafka().producer());
    let order = Order { id: 1 };
    registry.stop();
    for _ in 0..100 {
        let refused = producer.try_enqueue(unknown.record("k", &order)).unwrap_err();
        assert_eq!((refused.error().kind(), refused.error().retry()), (ErrorKind::Full, Retry::Temporary));
    }
    registry.go_on().await;
    let mut delivery = None;
    eventually("it is accepted", SOON, async || {
        delivery = producer.try_enqueue(unknown.record("k", &order)).ok();
        delivery.is_some()
    })
    .await;
    delivery.unwrap().await.unwrap();
    assert_eq!(stored(&unknown, &registry.memory), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_waited_out_for_the_delivery_timeout_and_no_longer() {
    let mut registry = Served::start().await;
    let client = registry.client();
    let (known, unknown) = (orders(&client, "known"), orders(&client, "unknown"));
    let limit = Duration::from_secs(2);
    let producer = given::built(kafka().producer().idempotence(false).delivery_timeout(limit));
    producer.send(known.record("k", &Order { id: -1 })).await.unwrap();
    registry.stop();

    let start = Instant::now();
    let error = producer.send(unknown.record("k", &Order { id: 1 })).await.unwrap_err();
    assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
    assert_eq!((error.error().kind(), error.error().retry()), (ErrorKind::Timeout, Retry::Persistent));
    assert!(error.to_string().contains("`message.timeout.ms`") && !error.maybe_written(), "{error}");
    assert!(error.source().expect("the registry's error").to_string().contains("got no answer"));

    // A batch waits once, not once a record; what lacks nothing is delivered.
    let values = Vec::from_iter((0..40).map(|id| Order { id }));
    let records = values.iter().map(|order| if order.id % 4 == 0 { &unknown } else { &known }.record("k", order));
    let start = Instant::now();
    let error = producer.send_batch(records).await.unwrap_err();
    assert!(start.elapsed() < 3 * limit, "{:?}", start.elapsed());
    assert_eq!(error.delivered(), 30);
    assert!(error.failures().iter().all(|failure| failure.index() % 4 == 0));
    assert!(error.failures().iter().all(|failure| failure.error().error().kind() == ErrorKind::Timeout));
    assert_eq!(producer.in_flight(), 0);

    // The outage is over, and so is its time.
    registry.go_on().await;
    producer.send(unknown.record("k", &Order { id: 7 })).await.unwrap();
    assert_eq!(stored(&unknown, &registry.memory), [7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_registry_does_not_keep_the_producer_from_closing() {
    let mut registry = Served::start().await;
    let unknown = orders(&registry.client(), "unknown");
    let producer = given::built(kafka().producer());
    registry.stop();
    let sender = producer.clone();
    let order = Order { id: 1 };
    let mut sending = Box::pin(sender.send(unknown.record("k", &order)));
    assert!(is_pending(&mut sending).await);
    assert!(producer.close(SOON).await.is_complete());
    let error = tokio::time::timeout(SOON, sending).await.expect("it does not wait").unwrap_err();
    assert_eq!(error.error().kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_refused_is_an_error_at_once_and_its_neighbours_go_on() {
    let registry = Served::start().await;
    let client = registry.client();
    let (known, refused) = (orders(&client, "known"), orders(&client, "refused"));
    let other = Schema::avro(r#"{"type":"record","name":"Order","fields":[{"name":"name","type":"string"}]}"#);
    registry.memory.register(&format!("{}-value", refused.name()), &other).await.unwrap();
    let producer = given::built(kafka().producer());
    let values = [Order { id: 0 }, Order { id: 1 }, Order { id: 2 }];
    let records = values.iter().map(|order| if order.id == 1 { &refused } else { &known }.record("k", order));
    let error = tokio::time::timeout(SOON, producer.send_batch(records)).await.expect("at once").unwrap_err();
    assert_eq!((error.delivered(), error.failures()[0].index()), (2, 1));
    let failure = error.failures()[0].error();
    assert_eq!((failure.error().kind(), failure.error().retry()), (ErrorKind::Encode, Retry::Permanent));
}

/// A stream of orders of which each has a schema of its own, through a registry in every kind of trouble.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_in_trouble_costs_time_and_no_record() {
    let registry = Served::start().await;
    let front = Front::of(registry.address).await;
    // Each has its own client, as another process would.
    let (writer, reader) = (hasty(&front.url()), hasty(&front.url()));
    let topic = orders(&reader, "orders");
    let (group, handled, failed) = (unique("billing"), Taken::new(), Taken::new());
    let (at, poison) = (handled.clone(), failed.clone());
    let consumer = quick(&kafka(), &group)
        .route(&topic, move |order: Received<String, Order>| {
            at.push(order.value().id);
            async { Ok::<_, Error>(()) }
        })
        .on_failed_record(move |record: FailedRecord| {
            poison.push(format!("{:?}", record.error()));
            async { Ok::<_, Error>(()) }
        });
    let member = Member::start(consumer);
    let producer = given::built(kafka().producer());
    for (id, trouble) in (0..).zip(Trouble::ALL) {
        let extra = Schema::avro(format!(
            r#"{{"type":"record","name":"Order","fields":[{{"name":"id","type":"long"}},{{"name":"extra_{id}","type":"int","default":0}}]}}"#
        ));
        front.give(trouble).await;
        let met = front.refused();
        let wider = Topic::new(topic.name(), Utf8, Avro::<Wider>::with_schema(&writer, extra));
        let order = Wider { id };
        let mut sending = Box::pin(producer.send(wider.record("k", &order)));
        assert!(is_pending(&mut sending).await, "{trouble:?}");
        eventually("it is asked again", SOON, async || {
            assert!(is_pending(&mut sending).await, "{trouble:?}");
            front.refused() > met + 1
        })
        .await;
        front.give(Trouble::None).await;
        tokio::time::timeout(SOON, sending).await.unwrap_or_else(|_| panic!("after {trouble:?}")).unwrap();

        // Now the reader: it has not seen this schema, unless it was faster than the trouble is.
        eventually("it is handled", SOON, async || handled.len() > id as usize).await;
    }
    let count = Trouble::ALL.len();
    let all = [(0, count as i64)].into();
    eventually("all is committed", SOON, async || committed_of(&group, topic.name()) == all).await;
    let report = member.stop().await;
    assert_eq!(failed.all(), [""; 0]);
    assert_eq!(handled.all(), Vec::from_iter(0..count as i64));
    assert_eq!((report.handled, report.failed), (count as u64, 0));
}

/// An order of the schemas above, whose other fields have defaults.
#[derive(Serialize)]
struct Wider {
    id: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_during_an_outage_waits_in_its_lane_and_is_no_poison() {
    let registry = Served::start().await;
    let front = Front::of(registry.address).await;
    let reader = hasty(&front.url());
    let producer = given::built(kafka().producer());
    for trouble in Trouble::ALL {
        let topic = orders(&reader, "orders");
        // Another schema each time, so that the reader has to ask.
        let extra = Schema::avro(format!(
            r#"{{"type":"record","name":"Order","fields":[{{"name":"id","type":"long"}},{{"name":"{trouble:?}","type":"int","default":0}}]}}"#
        ));
        let written = Topic::new(topic.name(), Utf8, Avro::<Wider>::with_schema(&registry.memory, extra));
        let values = Vec::from_iter((0..10).map(|id| Wider { id }));
        producer.send_batch(values.iter().map(|order| written.record("k", order))).await.unwrap();

        front.give(trouble).await;
        let met = front.refused();
        let (handled, failed) = (Taken::new(), Taken::new());
        let (at, poison) = (handled.clone(), failed.clone());
        let consumer = quick(&kafka(), &unique("billing"))
            .route(&topic, move |order: Received<String, Order>| {
                at.push(order.value().id);
                async { Ok::<_, Error>(()) }
            })
            .on_failed_record(move |record: FailedRecord| {
                poison.push(format!("{:?}", record.error()));
                async { Ok::<_, Error>(()) }
            });
        let member = Member::start(consumer);
        eventually("the registry is asked again", SOON, async || front.refused() > met + 1).await;
        assert_eq!((handled.len(), failed.all()), (0, vec![]), "{trouble:?}");
        front.give(Trouble::None).await;
        eventually("all are handled", SOON, async || handled.len() == 10).await;
        let report = member.stop().await;
        assert_eq!((report.handled, report.failed), (10, 0), "{trouble:?}");
        assert_eq!(handled.all(), Vec::from_iter(0..10));
    }
}
