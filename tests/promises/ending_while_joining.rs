//! A member that ends while it joins is not counted on by the broker: nobody has to wait for the end of its session.
//!
//! (Where the group is so busy with rebalances that the broker does not answer a join within 3 s, the member says in its
//! report that it could not leave. With cooperative-sticky that happens when members come and go all the time: librdkafka
//! joins once a second at most, and each of them makes the others join several times.)

use std::time::Duration;

use kafka_client::{Error, Kafka, Received, RunningConsumer};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tests::harness::{Logs, eventually, unique};

use crate::given;
use crate::group::SOON;
use crate::protocol::Protocol;
use crate::way::Way;

/// Of all members: longer than anybody here waits.
const SESSION: Duration = Duration::from_secs(45);
/// How long a request takes, there and back each: a join is several of them.
const WAY: u64 = 15;
/// When members end that have just begun: in steps that hit each request.
const UNTIL: u64 = 500;
const STEP: usize = 10;

/// Whether one more member gets its share, after many others have ended while they joined.
async fn is_held_up(protocol: Protocol, comes_and_goes: impl AsyncFn(&Kafka, &str, &str, Duration)) -> bool {
    let way = Way::shared();
    let (topic, direct) = (given::topic_on(way.cluster(), "orders", 4), Kafka::connect(way.cluster().bootstrap()));
    // With KIP-848 the session is the group's, and that long by default.
    let group = unique("billing");
    let member = || -> RunningConsumer {
        let handler = async |_: Received<String, String>| Ok::<_, Error>(());
        protocol.member(&direct, &group, SESSION).route(&topic, handler).build().unwrap().spawn()
    };
    let stays = member();
    eventually("it has all", SOON, async || stays.handle().health().assigned == 4).await;
    way.takes(WAY);
    let by_way = Kafka::connect(way.bootstrap());
    for millis in (0..UNTIL).step_by(STEP) {
        comes_and_goes(&by_way, &group, topic.name(), Duration::from_millis(millis)).await;
    }
    let comes = member();
    let joins = eventually("another one gets its share", 2 * SOON, async || comes.handle().health().assigned == 2);
    let is_held_up = tokio::time::timeout(SOON / 2, joins).await.is_err();
    comes.stop().await.unwrap();
    stays.stop().await.unwrap();
    is_held_up
}

async fn ours(protocol: Protocol) {
    let comes_and_goes = async |kafka: &Kafka, group: &str, topic: &str, after: Duration| {
        let topic = kafka_client::Topic::new(topic, kafka_client::Utf8, kafka_client::Utf8);
        let handler = async |_: Received<String, String>| Ok::<_, Error>(());
        let logs = Logs::listen();
        let comes = protocol.member(kafka, group, SESSION).set("debug", "cgrp").route(&topic, handler);
        let comes = comes.build().unwrap().spawn();
        tokio::time::sleep(after).await;
        if !comes.stop().await.unwrap().left_group {
            let said: Vec<_> = logs.lines().into_iter().map(|line| line.to_string()).collect();
            panic!("{protocol:?}, after {after:?}: {}", said.join("\n"));
        }
    };
    assert!(!is_held_up(protocol, comes_and_goes).await, "{protocol:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_range_it_holds_nobody_up() {
    ours(Protocol::Range).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_the_consumer_protocol_it_holds_nobody_up() {
    ours(Protocol::Consumer).await;
}

/// librdkafka that is closed at once: the same check finds that somebody has to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn one_that_does_not_wait_for_its_join_holds_others_up() {
    let bootstrap = Way::shared().bootstrap().to_owned();
    let comes_and_goes = async |_: &Kafka, group: &str, topic: &str, after: Duration| {
        let (config, topic) = (Protocol::Consumer.foreign(&bootstrap, group, SESSION), topic.to_owned());
        let comes_and_goes = move || {
            let consumer: BaseConsumer = config.create().unwrap();
            consumer.subscribe(&[&topic]).unwrap();
            std::thread::sleep(after);
        };
        tokio::task::spawn_blocking(comes_and_goes).await.unwrap();
    };
    assert!(is_held_up(Protocol::Consumer, comes_and_goes).await, "the check finds who holds others up");
}
