//! Without permission: what is missing is told by name, one right after the other, until it can be done.

use std::time::Duration;

use kafka_client::{Kafka, TopicSpec};
use kafka_dlq::{Failure, dialect};
use tests::harness::oracle::{self, Isolation};
use tests::harness::{Guarded, eventually};

use super::*;

fn as_user(broker: &Guarded, user: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlq-command"));
    command.env_clear();
    for (key, value) in broker.settings(user) {
        command.env(format!("KAFKA_{}", key.to_uppercase().replace('.', "_")), value);
    }
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Forty dead letters, which came from `orders`.
async fn letters(broker: &Guarded) {
    let kafka = Kafka::connect(broker.bootstrap());
    kafka.ensure_topics(&[TopicSpec::new("orders", 2), TopicSpec::new("orders.dlq", 2)]).await.unwrap();
    let letters = (0..40).map(|offset| {
        let mut letter = kafka_client::RawRecord::new("orders.dlq", Some(b"k".to_vec()), Some(b"{}".to_vec()));
        let failure = Failure { reason: Some("timeout"), ..Failure::at("orders", 0, offset) };
        dialect::ours::write(&failure, &mut letter.headers);
        letter
    });
    given::built(kafka.producer()).send_batch(letters.collect::<Vec<_>>()).await.unwrap();
}

#[tokio::test]
async fn each_right_that_is_missing_is_named_with_its_topic_until_nothing_is() {
    let broker = Cluster::guarded(&["ann", "bob"]);
    letters(&broker).await;
    let redrive = ["redrive", "orders.dlq", "--job", "mend", "--execute"];
    // What is run, the right that it names, and how that is given.
    let steps: [(&[&str], &str, &[&str]); 8] = [
        (
            &["stats", "orders.dlq"],
            "DESCRIBE on topic orders.dlq",
            &["--operation", "Describe", "--topic", "orders.dlq"],
        ),
        (
            &["stats", "orders.dlq"],
            "READ on group kafka-dlq.read.* is missing",
            &["--operation", "Read", "--group", "kafka-dlq.read.", "--resource-pattern-type", "prefixed"],
        ),
        (&["stats", "orders.dlq"], "READ on topic orders.dlq", &["--operation", "Read", "--topic", "orders.dlq"]),
        (
            &redrive,
            "READ on group kafka-dlq.redrive.orders.dlq.mend",
            &["--operation", "Read", "--group", "kafka-dlq.redrive.orders.dlq.mend"],
        ),
        (&redrive, "DESCRIBE on topic orders", &["--operation", "Describe", "--topic", "orders"]),
        // What is marked as discarded has to be known, also where nothing is.
        (
            &redrive,
            "DESCRIBE on topic orders.dlq.discarded",
            &["--operation", "Describe", "--topic", "orders.dlq.discarded"],
        ),
        (
            &redrive,
            "WRITE on transactional id",
            &["--operation", "Write", "--transactional-id", "kafka-dlq.", "--resource-pattern-type", "prefixed"],
        ),
        (&redrive, "WRITE on topic orders is missing", &["--operation", "Write", "--topic", "orders"]),
    ];
    for (arguments, right, allow) in steps {
        let mut output = as_user(&broker, "ann", arguments);
        // The right before may take a moment to be known to the broker.
        let told = async || {
            output = as_user(&broker, "ann", arguments);
            // For whoever runs it with --nocapture.
            eprintln!("{}", said(&output).trim_end());
            said(&output).contains(right)
        };
        eventually(&format!("{arguments:?} names {right}"), Duration::from_secs(90), told).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
        assert_eq!(oracle::read_all(broker.bootstrap(), "orders", Isolation::ReadCommitted), []);
        if right == "WRITE on topic orders is missing" {
            // It is said before anything is tried.
            let doctor = as_user(&broker, "ann", &["doctor", "orders.dlq"]);
            assert_eq!(doctor.status.code(), Some(5), "{}", stdout(&doctor));
            assert!(stdout(&doctor).contains(right), "{}", stdout(&doctor));
        }
        broker.allow("ann", allow);
    }
    let mut output = as_user(&broker, "ann", &redrive);
    let finished = async || {
        output = as_user(&broker, "ann", &redrive);
        output.status.code() == Some(0)
    };
    eventually("all is allowed", Duration::from_secs(90), finished).await;
    assert_eq!(oracle::read_all(broker.bootstrap(), "orders", Isolation::ReadCommitted).len(), 40);
    let text = done(&as_user(&broker, "ann", &["doctor", "orders.dlq"]));
    assert!(text.lines().any(|line| line.starts_with("write to orders") && line.contains("yes")), "{text}");
    // Another user sees nothing of it, and a wrong password is no missing right.
    let listed = as_user(&broker, "bob", &["ls"]);
    assert!(!done(&listed).contains("orders.dlq"), "{}", stdout(&listed));
    let nobody = as_user(&broker, "nobody", &["stats", "orders.dlq"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(said(&nobody).to_lowercase().contains("authentication"), "{}", said(&nobody));
}
