//! `message.timeout.ms` stays longer than an outage; what a short one does is shown with librdkafka alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_client::{ErrorKind, Kafka, ProducerBuilder};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use tests::harness::{Breakable, Cluster, eventually_blocking};

use crate::given::{self, Lines, built, log_on};

const PATIENCE: Duration = Duration::from_secs(60);

fn anywhere() -> ProducerBuilder {
    Kafka::connect("localhost:9092").producer()
}

#[test]
fn a_message_timeout_below_two_minutes_is_refused_with_both_names() {
    for (builder, key) in [
        (anywhere().set("message.timeout.ms", "119999"), "message.timeout.ms=119999"),
        (anywhere().set("delivery.timeout.ms", "3000"), "delivery.timeout.ms=3000"),
        (anywhere().delivery_timeout(Duration::from_secs(3)), "message.timeout.ms=3000"),
        (anywhere().idempotence(true).delivery_timeout(Duration::from_secs(3)), "message.timeout.ms=3000"),
        (Kafka::connect("localhost:9092").set("message.timeout.ms", "1").producer(), "message.timeout.ms=1"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let said = error.to_string();
        assert!(said.contains(key) && said.contains("enable.idempotence=true"), "{said}");
    }
}

#[test]
fn without_idempotence_or_from_two_minutes_on_it_is_allowed() {
    for builder in [
        anywhere().idempotence(false).delivery_timeout(Duration::from_secs(3)),
        anywhere().set("enable.idempotence", "false").set("message.timeout.ms", "3000"),
        anywhere().delivery_timeout(Duration::from_secs(120)),
        anywhere().set("message.timeout.ms", "0"),
        anywhere(),
    ] {
        built(builder);
    }
}

#[test]
fn an_outage_loses_nothing_of_ours_and_a_hole_of_who_set_a_short_timeout() {
    let kafka = Cluster::breakable();
    let (ours, naive) = (given::topic_on(&kafka, "outage", 1), given::topic_on(&kafka, "outage-naive", 1));
    // Small requests, so that most of what is sent during the outage waits in the client.
    let producer = Kafka::connect(kafka.bootstrap()).producer().linger(Duration::from_millis(1));
    let producer = built(producer.set("batch.num.messages", "10"));
    let short = short_timeout(&kafka);

    let mut deliveries = Vec::new();
    let mut write = |numbers: std::ops::Range<usize>| {
        for n in numbers {
            deliveries.push(producer.try_enqueue(ours.record("k", &n.to_string())).unwrap());
            let value = n.to_string();
            let record = BaseRecord::with_opaque_to(naive.name(), Box::new(n)).key("k").payload(&value).partition(0);
            short.send(record).map_err(|(e, _)| e).unwrap();
        }
    };
    write(0..100);
    settle(&short);
    eventually_blocking("ours are acknowledged", PATIENCE, || producer.in_flight() == 0);
    kafka.broker().stop();
    let start = Instant::now();
    write(100..200);
    // It expires what it cannot send within its 3 s.
    eventually_blocking("records of the short timeout have failed", PATIENCE, || {
        short.poll(Duration::from_millis(20));
        !short.context().told.lock().failed.is_empty()
    });
    assert!(start.elapsed() > Duration::from_secs(2));
    assert_eq!(producer.in_flight(), 100, "ours wait");
    kafka.broker().cont();
    write(200..300);
    settle(&short);
    for delivery in deliveries {
        futures::executor::block_on(delivery).unwrap();
    }

    let all: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(given::values(&log_on(&kafka, &ours)), all);

    let told = short.context().told.lock();
    let stored = numbers(&kafka, &naive);
    let hole: Vec<_> = (0..300).filter(|n| !stored.contains(n)).collect();
    assert!(hole.iter().any(|n| (100..200).contains(n)), "lost in the middle: {hole:?}");
    assert!((200..300).all(|n| told.delivered.contains(&n) && stored.contains(&n)), "what came later was delivered");
}

/// The negative control: librdkafka with idempotence and a timeout that seems sensible.
fn short_timeout(kafka: &Breakable) -> BaseProducer<Reports> {
    ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "3000")
        .set("linger.ms", "1")
        .set("batch.num.messages", "10")
        .create_with_context(Reports::default())
        .unwrap()
}

#[derive(Clone, Default)]
struct Reports {
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    delivered: BTreeSet<usize>,
    failed: BTreeSet<usize>,
}

impl rdkafka::ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, n: Box<usize>) {
        let mut told = self.told.lock();
        match result {
            Ok(_) => told.delivered.insert(*n),
            Err(_) => told.failed.insert(*n),
        };
    }
}

fn settle(producer: &BaseProducer<Reports>) {
    eventually_blocking("every record has its report", PATIENCE, || {
        producer.poll(Duration::from_millis(20));
        producer.in_flight_count() == 0
    });
}

fn numbers(kafka: &Breakable, lines: &Lines) -> BTreeSet<usize> {
    given::values(&log_on(kafka, lines)).iter().map(|value| value.parse().unwrap()).collect()
}
