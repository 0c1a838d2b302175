//! The session in the README was really run: the same commands say the same again.
//!
//! With `WRITE_README_SESSION=1`, what they say is written into the README.

use std::path::Path;

use kafka_client::{Kafka, TopicSpec};
use kafka_dlq::{Failure, dialect};

use super::*;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
const FROM: &str = "<!-- session: tests/promises/dlq_command/session.rs -->\n```console\n";
const TO: &str = "```\n<!-- end of session -->\n";
const PROMPT: &str = "$ kafka-dlq ";

/// Orders whose amounts are texts, and some that met a payment service that was down.
async fn letters(kafka: &Kafka) {
    let specs = [TopicSpec::new("orders", 1), TopicSpec::new("orders.dlq", 1)];
    kafka.ensure_topics(&specs).await.unwrap();
    let letters = (0..12).map(|number: i64| {
        let is_text = number % 3 != 0;
        let amount = if is_text { format!("\"{}\"", 10 + number) } else { (10 + number).to_string() };
        let mut letter = kafka_client::RawRecord::new(
            "orders.dlq",
            Some(format!("o-{}", 100 + number).into_bytes()),
            Some(format!("{{\"id\":{},\"amount\":{amount}}}", 100 + number).into_bytes()),
        );
        let undecodable = format!("receive failed for orders-0 at {}: the record cannot be decoded", 4_000 + number);
        let cause = "JSON of another shape at line 1 column 24 in amount: invalid type: string, expected f64";
        let trace = format!("{undecodable}: value of orders: {cause}");
        letter.headers.push("trace-id", format!("{:04x}", 4096 + number * 77));
        letter.timestamp = Some(given::yesterday());
        let failure = Failure {
            timestamp_ms: Some(given::yesterday()),
            failed_at_ms: Some(given::yesterday()),
            group: Some("billing"),
            attempts: Some(if is_text { 1 } else { 4 }),
            reason: Some(if is_text { "decode" } else { "Timeout" }),
            message: Some(if is_text { &undecodable } else { "payments did not answer within 5 s" }),
            trace: is_text.then_some(trace.as_str()),
            ..Failure::at("orders", 0, 4_000 + number)
        };
        dialect::ours::write(&failure, &mut letter.headers);
        letter
    });
    given::built(kafka.producer()).send_batch(letters.collect::<Vec<_>>()).await.unwrap();
}

/// A command of a shell as its arguments: those with spaces stand in single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut begun) = (false, false);
    for letter in line.chars() {
        match letter {
            '\'' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                if begun || !words.last().unwrap().is_empty() {
                    words.push(String::new());
                }
                begun = false;
            }
            other => words.last_mut().unwrap().push(other),
        }
    }
    words
}

/// Without what is another with each run: times.
fn timeless(text: &str) -> String {
    const LIKE: &[u8] = b"0000-00-00T00:00:00Z";
    let is_time = |part: &[u8]| {
        part.len() == LIKE.len()
            && part.iter().zip(LIKE).all(|(one, like)| if *like == b'0' { one.is_ascii_digit() } else { one == like })
    };
    let mut bytes = text.as_bytes().to_vec();
    for at in 0..bytes.len().saturating_sub(LIKE.len() - 1) {
        if is_time(&bytes[at..at + LIKE.len()]) {
            bytes[at..at + LIKE.len()].copy_from_slice(b"2026-11-23T09:30:00Z");
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn the_session_in_the_readme_was_really_run() {
    let cluster = Cluster::start(1);
    letters(&Kafka::connect(cluster.bootstrap())).await;
    let readme = std::fs::read_to_string(README).unwrap();
    let (before, rest) = readme.split_once(FROM).expect("the README has a session");
    let (session, after) = rest.split_once(TO).expect("the session has an end");
    let mut run = String::new();
    for line in session.lines().filter(|line| line.starts_with(PROMPT)) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dlq-command"));
        command.env_clear().env("KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap());
        let output = command.args(words(&line[PROMPT.len()..])).stdin(Stdio::null()).output().unwrap();
        run.push_str(&format!("{line}\n{}", timeless(&stdout(&output))));
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(run.lines().filter(|line| line.starts_with(PROMPT)).count() >= 6, "{run}");
    if std::env::var_os("WRITE_README_SESSION").is_some() {
        std::fs::write(Path::new(README), format!("{before}{FROM}{run}{TO}{after}")).unwrap();
        return;
    }
    assert_eq!(session, run, "the README tells of another session: run this with WRITE_README_SESSION=1");
    // And it came to its end: all twelve are back, with amounts that are numbers.
    let sent = tests::harness::oracle::read_all(
        cluster.bootstrap(),
        "orders",
        tests::harness::oracle::Isolation::ReadCommitted,
    );
    assert_eq!(sent.len(), 12);
    for stored in sent {
        let value: Value = serde_json::from_slice(stored.value.as_deref().unwrap()).unwrap();
        assert!(value["amount"].is_number(), "{value}");
    }
}

#[test]
fn words_are_split_as_a_shell_does() {
    assert_eq!(
        words("redrive a --transform '.x |= tonumber'  --execute"),
        ["redrive", "a", "--transform", ".x |= tonumber", "--execute"]
    );
}
