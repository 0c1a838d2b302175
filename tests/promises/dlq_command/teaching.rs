//! What it says of itself, of the cluster, and of mistakes.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn doctor_names_what_is_wrong() {
    let given = Given::new(1);
    given.write([given.letter(0, "a")]).await;
    let text = done(&run(&["doctor", given.letters.name()]));
    assert!(text.contains("reach Kafka") && text.contains("use transactions"), "{text}");
    assert!(text.contains(&format!("write to {}", given.orders.name())), "{text}");
    assert_eq!(given::log(&given.orders), [], "it looks, and writes nothing");
    let compacted = tests::harness::unique("compacted.dlq");
    let spec = kafka_client::TopicSpec::new(&compacted, 1).replication(1).config("cleanup.policy", "compact");
    given.kafka.ensure_topics(&[spec]).await.unwrap();
    let output = run(&["doctor", &compacted]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stdout(&output).contains("cleanup.policy=compact"), "{}", stdout(&output));
}

#[test]
fn the_help_teaches_it_and_mistakes_are_named() {
    let help = done(&run(&["--help"]));
    for part in ["redrive", "--execute", "Exit codes", "peek", "KAFKA_BOOTSTRAP_SERVERS"] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert!(done(&run(&["completions", "bash"])).contains("kafka-dlq"));
    assert!(done(&run(&["man"])).contains(".TH"));
    assert_eq!(run(&["peek"]).status.code(), Some(2));
    assert_eq!(run(&["peek", "x", "--dialect", "klingon"]).status.code(), Some(2));
    let nowhere = Command::new(env!("CARGO_BIN_EXE_dlq-command")).env_clear().args(["ls"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("--bootstrap"));
}

#[test]
fn a_broker_that_is_gone_is_said_and_not_waited_for_for_ever() {
    let begun = std::time::Instant::now();
    let output = command().args(["-b", "127.0.0.1:1", "stats", "orders.dlq"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(begun.elapsed() < Duration::from_secs(60));
}
