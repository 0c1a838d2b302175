//! Brokers can be killed, stopped and started again, and what was acknowledged is still there.

use std::time::Duration;

use tests::harness::oracle::{self, Isolation};
use tests::harness::{Cluster, eventually_blocking, unique};

/// A broker is missed when its session of 3 s has ended.
const FAILOVER: Duration = Duration::from_secs(30);

#[test]
fn three_nodes_survive_the_loss_of_one_and_take_it_back() {
    let kafka = Cluster::start(3);
    let topic = unique("orders");
    oracle::create_topic(kafka.bootstrap(), &topic, 3, 3);
    oracle::produce(kafka.bootstrap(), &topic, &[(Some(0), Some(b"o-1"), Some(b"before"))]);

    let leader = oracle::leader(kafka.bootstrap(), &topic, 0);
    let lost = kafka.nodes().iter().find(|node| node.id() == leader).unwrap_or_else(|| panic!("no node {leader}"));
    let pid = lost.pid();
    lost.kill();
    assert_eq!(lost.pid(), None);
    eventually_blocking("another broker leads", FAILOVER, || {
        let now = oracle::leader(kafka.bootstrap(), &topic, 0);
        now != leader && now != -1
    });
    oracle::produce(kafka.bootstrap(), &topic, &[(Some(0), Some(b"o-2"), Some(b"while away"))]);

    lost.start();
    assert_ne!(lost.pid(), pid);
    // Asked alone, the broker that was away knows it all.
    let address = format!("127.0.0.1:{}", lost.port());
    let keys: Vec<_> =
        oracle::read_all(&address, &topic, Isolation::ReadUncommitted).into_iter().map(|record| record.key).collect();
    assert_eq!(keys, [Some(b"o-1".to_vec()), Some(b"o-2".to_vec())]);
}

#[test]
fn a_single_node_keeps_its_log_through_a_kill() {
    let kafka = Cluster::start(1);
    let topic = unique("orders");
    oracle::create_topic(kafka.bootstrap(), &topic, 1, 1);
    oracle::produce(kafka.bootstrap(), &topic, &[(None, Some(b"o-1"), Some(b"paid"))]);
    for _ in 0..2 {
        kafka.node(0).kill();
        kafka.node(0).start();
    }
    assert_eq!(oracle::read_all(kafka.bootstrap(), &topic, Isolation::ReadCommitted).len(), 1);
}

#[test]
fn a_stopped_broker_is_silent_until_it_goes_on() {
    let kafka = Cluster::start(1);
    let node = kafka.node(0);
    let topic = unique("orders");
    oracle::create_topic(kafka.bootstrap(), &topic, 1, 1);

    node.stop();
    std::thread::scope(|scope| {
        let produced = scope.spawn(|| oracle::produce(kafka.bootstrap(), &topic, &[(None, None, Some(b"late"))]));
        // No event tells that nothing happens: this is the one place for a sleep.
        std::thread::sleep(Duration::from_millis(500));
        assert!(!produced.is_finished(), "a stopped broker acknowledged a record");
        node.cont();
    });
    assert_eq!(oracle::end_offsets(kafka.bootstrap(), &topic)[&0], 1);

    node.stop();
    node.kill();
    node.start();
    assert_eq!(oracle::end_offsets(kafka.bootstrap(), &topic)[&0], 1);
}

#[test]
#[should_panic(expected = "log.retention.check.interval.ms")]
fn a_refused_property_is_reported_in_kafkas_own_words() {
    Cluster::start_with(1, &[("log.retention.check.interval.ms", "soon")]);
}

#[test]
fn a_broker_that_ends_while_starting_is_not_waited_for() {
    // Formatting the storage does not look at reporters, the broker does.
    let started = std::panic::catch_unwind(|| Cluster::start_with(1, &[("metric.reporters", "no.such.Reporter")]));
    let Err(reason) = started else { panic!("it started") };
    let reason = reason.downcast_ref::<String>().expect("a text");
    // And not that it did not start in time.
    assert!(reason.contains("ended while starting"), "{reason}");
    assert!(reason.contains("no.such.Reporter"), "{reason}");
}
