//! A wrong setting is refused by name before anything is connected, and a secret is never printed.

use std::time::Duration;

use kafka_client::{Acks, ErrorKind, Kafka, ProducerBuilder, Retry, Security};
use tests::harness::{Cluster, Logs};

fn anywhere() -> ProducerBuilder {
    Kafka::connect("localhost:9092").producer()
}

/// What the refusal says; it has the right kind and advice.
#[track_caller]
fn refusal(builder: ProducerBuilder) -> String {
    let error = builder.build().expect_err("it is refused");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent));
    assert_eq!(error.operation(), Some("build producer"));
    error.to_string()
}

#[test]
fn an_unknown_key_or_a_malformed_value_is_named() {
    for (key, value) in [
        ("liger.ms", "5"),
        ("producer.linger.ms", "5"),
        ("key.serializer", "org.apache.kafka.common.serialization.StringSerializer"),
        ("linger.ms", "soon"),
        ("linger.ms", "-1"),
        ("linger.ms", "5ms"),
        ("compression.type", "rar"),
        ("enable.idempotence", "yes"),
        ("queue.buffering.max.messages", "many"),
        ("queue.buffering.max.messages", "0"),
        ("queue.buffering.max.kbytes", "-5"),
        ("queue.buffering.max.kbytes", "4000000"),
        ("message.max.bytes", "1"),
        ("acks", "two"),
        ("partitioner", "hash"),
        ("dr_cb", "x"),
    ] {
        for said in
            [refusal(anywhere().set(key, value)), refusal(Kafka::connect("localhost:9092").set(key, value).producer())]
        {
            assert!(said.contains(key), "{key}={value}: {said}");
        }
    }
    for servers in ["", "no port:", "a:b", "host:99999999"] {
        let said = refusal(Kafka::connect(servers).producer());
        assert!(said.contains("bootstrap.servers"), "{said}");
    }
    assert!(refusal(anywhere().max_in_flight_records(0)).contains("queue.buffering.max.messages"));
    assert!(refusal(anywhere().max_in_flight_bytes(0)).contains("queue.buffering.max.kbytes"));
    assert!(refusal(anywhere().linger(Duration::from_secs(10_000))).contains("linger.ms"));
}

#[test]
fn of_a_contradiction_both_sides_are_named() {
    let sasl = |mechanism: &str| anywhere().set("security.protocol", "sasl_plaintext").set("sasl.mechanism", mechanism);
    for (builder, one, other) in [
        (anywhere().acks(Acks::Leader), "acks=1", "enable.idempotence=true"),
        (anywhere().acks(Acks::None).idempotence(true), "acks=0", "enable.idempotence=true"),
        (anywhere().set("request.required.acks", "1"), "request.required.acks=1", "enable.idempotence=true"),
        (anywhere().set("retries", "0"), "retries=0", "enable.idempotence=true"),
        (anywhere().set("max.in.flight", "6"), "max.in.flight=6", "enable.idempotence=true"),
        (anywhere().delivery_timeout(Duration::from_secs(5)), "message.timeout.ms=5000", "enable.idempotence=true"),
        (anywhere().linger(Duration::from_secs(301)), "linger.ms", "message.timeout.ms"),
        (anywhere().set("transactional.id", "t").idempotence(false), "transactional.id=t", "enable.idempotence=false"),
        (anywhere().set("delivery.report.only.error", "true"), "delivery.report.only.error=true", "this producer"),
        (anywhere().set("sasl.username", "u"), "sasl.username", "security.protocol"),
        (sasl("PLAIN"), "sasl.mechanism=PLAIN", "sasl.username"),
    ] {
        let said = refusal(builder);
        assert!(said.contains(one) && said.contains(other), "{one} and {other}: {said}");
    }
}

#[test]
fn a_typed_option_wins_over_the_escape_hatch_and_says_so() {
    let logs = Logs::listen();
    let builder = anywhere().linger(Duration::from_millis(7)).set("linger.ms", "8").set("queue.buffering.max.ms", "9");
    let printed = format!("{builder:?}");
    assert!(printed.contains("7") && !printed.contains("8"), "{printed}");
    builder.build().unwrap();
    assert!(logs.any(|line| line.message == "the option for `linger.ms` wins over `set(\"linger.ms\", ..)`"));
}

/// The negative control: what librdkafka takes without a word, and what comes of it shows later or never.
#[test]
fn librdkafka_alone_takes_much_of_it() {
    for (key, value) in [("linger.ms", "5ms"), ("bootstrap.servers", "a:b"), ("message.timeout.ms", "3000")] {
        let mut naive = rdkafka::ClientConfig::new();
        naive.set("bootstrap.servers", "localhost:9092").set("enable.idempotence", "true").set(key, value);
        naive.create::<rdkafka::producer::BaseProducer>().unwrap();
        let builder = Kafka::connect("localhost:9092").set(key, value).producer();
        let ours = if key == "bootstrap.servers" { Kafka::connect(value).producer() } else { builder };
        assert!(refusal(ours).contains(key));
    }
}

/// The secrets of this file; no other text contains it.
const SECRET: &str = "hunter2-71c6";

#[tokio::test]
async fn no_secret_is_ever_printed() {
    let logs = Logs::listen();
    let servers = Cluster::shared().bootstrap();
    let kafka = Kafka::connect(servers).security(Security::sasl_plain(SECRET, SECRET));
    // Everything that librdkafka would tell, its own configuration included.
    let kafka = kafka.set("debug", "all").client_id("bad-config");
    let mut printed = vec![format!("{kafka:?}"), format!("{:?}", Security::sasl_plain(SECRET, SECRET).ca_pem(SECRET))];

    for (key, value) in [
        ("sasl.pasword", SECRET),
        ("sasl.password", "hunter2-71c6\0"),
        ("sasl.jaas.config", SECRET),
        ("ssl.key.password", SECRET),
        ("ssl.key.pem", SECRET),
        ("ssl.keystore.password", SECRET),
        ("sasl.oauthbearer.client.secret", SECRET),
    ] {
        let builder = Kafka::connect(servers).producer().set(key, value);
        printed.push(format!("{builder:?}"));
        let error = builder.build().unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
        printed.push(format!("{error} {error:?}"));
    }
    let overruled = kafka.producer().set("sasl.password", "other-hunter2-71c6");
    printed.push(format!("{overruled:?}"));

    // The shared broker knows no SASL, so the login fails, which is told in the log and by the record.
    let producer = kafka.producer().build().unwrap();
    printed.push(format!("{producer:?}"));
    let record = kafka_client::RawRecord::new("any", None, Some(b"v".to_vec()));
    let delivery = producer.enqueue(&record).await.unwrap();
    tests::harness::eventually("the login fails", Duration::from_secs(30), async || {
        logs.any(|line| line.message.contains("SaslHandshakeRequest") || line.message.contains("SASL"))
    })
    .await;
    let _ = producer.close(Duration::from_millis(500)).await;
    let error = delivery.await.unwrap_err();
    printed.push(format!("{error} {error:?}"));

    assert!(logs.any(|line| line.target == "kafka_client::native" && line.level == tracing::Level::DEBUG));
    printed.extend(logs.lines().into_iter().map(|line| line.to_string()));
    let spilt: Vec<_> = printed.into_iter().filter(|line| line.contains("hunter2")).collect();
    assert_eq!(spilt, [""; 0]);
}
