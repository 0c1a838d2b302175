//! A consumer's wrong setting is refused by name before anything is connected, and a secret is never printed.

use std::future::{Ready, ready};
use std::time::Duration;

use kafka_client::{ConsumerBuilder, Error, ErrorKind, Kafka, RawBatch, Received, Retry, Security, Topic, Utf8};
use tests::harness::{Cluster, Logs, eventually};

use crate::given::Lines;
use crate::group::SOON;

fn lines(name: &str) -> Lines {
    Topic::new(name, Utf8, Utf8)
}

/// Takes whatever comes.
fn handled<I>(_: I) -> Ready<Result<(), Error>> {
    ready(Ok(()))
}

fn routed(kafka: &Kafka) -> ConsumerBuilder {
    kafka.consumer("billing").route(&lines("orders"), handled::<Received<String, String>>)
}

fn anywhere() -> ConsumerBuilder {
    routed(&Kafka::connect("localhost:9092"))
}

/// What the refusal says; it has the right kind and advice.
#[track_caller]
fn refusal(builder: ConsumerBuilder) -> String {
    told(&builder.build().expect_err("it is refused"))
}

#[track_caller]
fn told(error: &Error) -> String {
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent));
    assert_eq!(error.operation(), Some("build consumer"));
    error.to_string()
}

#[test]
fn what_is_not_refused_is_built() {
    for builder in [
        anywhere(),
        anywhere().set("enable.auto.commit", "false").set("enable.auto.offset.store", "F"),
        anywhere().set("enable.partition.eof", "false").set("session.timeout.ms", "6000"),
        anywhere().set("group.protocol", "consumer").set("group.remote.assignor", "uniform"),
        anywhere().set("max.poll.interval.ms", "60000").drain_timeout(Duration::from_secs(56)),
        anywhere().set("group.protocol", "classic").set("session.timeout.ms", "10000"),
        anywhere().route(&lines("others"), handled::<Received<String, String>>).route_raw("raw", handled::<RawBatch>),
    ] {
        builder.build().unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn an_unknown_key_or_a_malformed_value_is_named() {
    for (key, value) in [
        ("auto.ofset.reset", "earliest"),
        ("consumer.fetch.min.bytes", "1"),
        ("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer"),
        ("auto.offset.reset", "first"),
        ("session.timeout.ms", "soon"),
        ("session.timeout.ms", "6s"),
        ("session.timeout.ms", "0"),
        ("heartbeat.interval.ms", "-1"),
        ("max.poll.interval.ms", "many"),
        ("max.poll.interval.ms", "0"),
        ("auto.commit.interval.ms", "often"),
        ("auto.commit.interval.ms", "0"),
        ("fetch.wait.max.ms", "-5"),
        ("fetch.min.bytes", "0"),
        ("isolation.level", "read_all"),
        ("partition.assignment.strategy", "fair"),
        ("group.protocol", "newest"),
        ("enable.auto.commit", "maybe"),
        ("check.crcs", "yes"),
        ("rebalance_cb", "x"),
        ("offset_commit_cb", "x"),
    ] {
        for said in
            [refusal(anywhere().set(key, value)), refusal(routed(&Kafka::connect("localhost:9092").set(key, value)))]
        {
            assert!(said.contains(key), "{key}={value}: {said}");
        }
    }
    for servers in ["", "no port:", "a:b", "host:99999999"] {
        let said = refusal(routed(&Kafka::connect(servers)));
        assert!(said.contains("bootstrap.servers"), "{said}");
    }
    assert!(refusal(anywhere().commit_interval(Duration::ZERO)).contains("auto.commit.interval.ms"));
    assert!(refusal(anywhere().max_batch_records(0)).contains("max_batch_records"));
}

#[test]
fn a_group_without_a_name_is_refused() {
    let nameless = Kafka::connect("localhost:9092").consumer("").route(&lines("orders"), handled);
    let said = refusal(nameless);
    assert!(said.contains("group.id"), "{said}");
}

#[test]
fn of_a_contradiction_both_sides_are_named() {
    let sessionless = || anywhere().set("group.protocol", "consumer");
    let sasl = || anywhere().set("security.protocol", "sasl_plaintext").set("sasl.mechanism", "PLAIN");
    for (builder, one, other) in [
        (anywhere().set("enable.auto.commit", "true"), "enable.auto.commit=true", "guarantee"),
        (anywhere().set("enable.auto.commit", "1"), "enable.auto.commit=1", "guarantee"),
        (anywhere().set("auto.commit.enable", "true"), "auto.commit.enable=true", "guarantee"),
        (anywhere().set("enable.auto.offset.store", "true"), "enable.auto.offset.store=true", "guarantee"),
        (anywhere().set("enable.partition.eof", "true"), "enable.partition.eof=true", "guarantee"),
        (anywhere().set("offset.store.method", "file"), "offset.store.method=file", "guarantee"),
        (anywhere().drain_timeout(Duration::from_secs(300)), "drain_timeout=300s", "max.poll.interval.ms=300000"),
        (
            anywhere().set("max.poll.interval.ms", "60000").drain_timeout(Duration::from_secs(61)),
            "drain_timeout=61s",
            "max.poll.interval.ms=60000",
        ),
        (anywhere().set("max.poll.interval.ms", "20000"), "max.poll.interval.ms=20000", "session.timeout.ms=45000"),
        (
            anywhere().set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "6000"),
            "heartbeat.interval.ms=6000",
            "session.timeout.ms=6000",
        ),
        (sessionless().set("session.timeout.ms", "6000"), "session.timeout.ms=6000", "group.protocol=consumer"),
        (sessionless().set("heartbeat.interval.ms", "100"), "heartbeat.interval.ms=100", "group.protocol=consumer"),
        (
            sessionless().set("partition.assignment.strategy", "cooperative-sticky"),
            "partition.assignment.strategy=cooperative-sticky",
            "group.protocol=consumer",
        ),
        (anywhere().set("sasl.username", "u"), "sasl.username", "security.protocol"),
        (sasl(), "sasl.mechanism=PLAIN", "sasl.username"),
    ] {
        let said = refusal(builder);
        assert!(said.contains(one) && said.contains(other), "{one} and {other}: {said}");
    }
}

#[test]
fn routes_that_cannot_be_are_refused() {
    let none = refusal(Kafka::connect("localhost:9092").consumer("billing"));
    assert!(none.contains("route"), "{none}");

    let record = handled::<Received<String, String>>;
    let batch = handled::<Vec<Received<String, String>>>;
    for twice in [
        anywhere().route(&lines("orders"), record),
        anywhere().route_batch(&lines("orders"), batch),
        anywhere().route_raw("orders", handled::<RawBatch>),
        anywhere().route(&lines("others"), record).route_raw("orders", handled::<RawBatch>),
    ] {
        let said = refusal(twice);
        assert!(said.contains("orders has two routes"), "{said}");
    }
}

#[tokio::test]
async fn a_stream_is_the_only_reader_and_is_refused_like_the_others() {
    let said = told(&anywhere().stream(&lines("others")).expect_err("it is refused"));
    assert!(said.contains("stream") && said.contains("route(orders)"), "{said}");
    let consumer = Kafka::connect("localhost:9092").consumer("billing");
    let said = told(&consumer.set("enable.auto.commit", "true").stream(&lines("orders")).expect_err("it is refused"));
    assert!(said.contains("enable.auto.commit=true") && said.contains("guarantee"), "{said}");
}

#[test]
fn a_typed_option_wins_over_the_escape_hatch_and_says_so() {
    let logs = Logs::listen();
    let builder = anywhere().start_from(kafka_client::StartFrom::Latest).set("auto.offset.reset", "smallest");
    let printed = format!("{builder:?}");
    assert!(printed.contains("latest") && !printed.contains("smallest"), "{printed}");
    builder.set("group.id", "others").build().unwrap();
    for key in ["auto.offset.reset", "group.id"] {
        let expected = format!("the option for `{key}` wins over `set(\"{key}\", ..)`");
        assert!(logs.any(|line| line.message == expected), "{expected}");
    }
}

/// The secrets of this file; no other text contains it.
const SECRET: &str = "hunter3-9d02";

#[tokio::test]
async fn no_secret_is_ever_printed() {
    let logs = Logs::listen();
    let mut printed = Vec::new();
    for (key, value) in [
        ("sasl.pasword", SECRET),
        ("sasl.password", "hunter3-9d02\0"),
        ("sasl.jaas.config", SECRET),
        ("ssl.key.password", SECRET),
        ("ssl.key.pem", SECRET),
        ("ssl.keystore.password", SECRET),
        ("sasl.oauthbearer.client.secret", SECRET),
    ] {
        let builder = anywhere().set(key, value);
        printed.push(format!("{builder:?} {builder:#?}"));
        let error = builder.build().unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
        printed.push(format!("{error} {error:?} {error:#?}"));
    }

    // The shared broker knows no SASL, so the login fails, and everything that librdkafka tells is in the log.
    let servers = Cluster::shared().bootstrap();
    let kafka = Kafka::connect(servers).security(Security::sasl_plain(SECRET, SECRET)).set("debug", "all");
    let builder = routed(&kafka).set("sasl.password", "other-hunter3-9d02");
    printed.push(format!("{builder:?}"));
    let consumer = builder.build().unwrap();
    printed.push(format!("{consumer:?}"));
    let told = eventually("the login fails", SOON, async || {
        logs.any(|line| line.message.contains("SaslHandshakeRequest") || line.message.contains("SASL"))
    });
    if let Err(error) = consumer.run_until(told).await {
        printed.push(format!("{error} {error:?} {error:#?}"));
    }

    assert!(logs.any(|line| line.target == "kafka_client::native" && line.level == tracing::Level::DEBUG));
    printed.extend(logs.lines().into_iter().map(|line| line.to_string()));
    let spilt: Vec<_> = printed.into_iter().filter(|line| line.contains("hunter3")).collect();
    assert_eq!(spilt, [""; 0]);
}
