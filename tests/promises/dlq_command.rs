//! `kafka-dlq` as its user runs it: every verb, against a real broker, with the exit codes that it promises.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kafka_client::RawRecord;
use serde_json::Value;
use tests::harness::{Cluster, eventually};

use crate::dead_letters::{Given, ids};
use crate::given;

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlq-command"));
    command.env_clear().env("KAFKA_BOOTSTRAP_SERVERS", Cluster::shared().bootstrap());
    command
}

/// Runs it to its end.
fn run(arguments: &[&str]) -> Output {
    command().args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(output), String::from_utf8_lossy(&output.stderr));
    stdout(output)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn thirty() -> Given {
    let given = Given::new(3);
    let reasons = ["timeout", "timeout", "decode"];
    given.write((0..30).map(|offset| given.letter(offset, reasons[offset as usize % 3]))).await;
    given
}

#[tokio::test]
async fn stats_count_by_reason_and_by_source() {
    let given = thirty().await;
    let text = done(&run(&["stats", given.letters.name()]));
    let first: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((first[0], first[1], *first.last().unwrap()), ("20", "66.7%", "timeout"), "{text}");
    let json = lines(&done(&run(&["stats", given.letters.name(), "--by", "source", "--json"])));
    assert_eq!((&json[0]["is"], &json[0]["count"]), (&given.orders.name().into(), &30.into()));
}

#[tokio::test]
async fn peek_shows_the_oldest_the_newest_and_the_selected() {
    let given = thirty().await;
    let name = given.letters.name();
    assert_eq!(lines(&done(&run(&["peek", name, "--json"]))).len(), 10);
    let decode = lines(&done(&run(&["peek", name, "--json", "-n", "100", "--reason", "decode"])));
    assert_eq!(decode.len(), 10);
    assert!(decode.iter().all(|one| one["reason"] == "decode"));
    let some =
        lines(&done(&run(&["peek", name, "--json", "-n", "100", "--where", ".value.id >= 25 and .attempts == 3"])));
    assert_eq!(some.len(), 5);
    let redacted = done(&run(&["peek", name, "--redact", "--last"]));
    assert!(redacted.contains("bytes>") && !redacted.contains("{\"id\""), "{redacted}");
}

#[tokio::test]
async fn show_and_explain_tell_of_one_record() {
    let given = Given::new(1);
    given.write([given.letter(7, "timeout")]).await;
    let place = format!("{}-0@0", given.letters.name());
    let shown = done(&run(&["show", &place]));
    for part in
        ["CardDeclined", "billing", "{\"id\":7}", "tag = a", "null = null", &format!("{}-1@7", given.orders.name())]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let explained = done(&run(&["explain", &place]));
    assert!(explained.contains("goes to") && explained.contains("a loop      no"), "{explained}");
    let json: Value = serde_json::from_str(&done(&run(&["explain", &place, "--json"]))).unwrap();
    assert_eq!(json["loop"], false);
    assert_eq!(run(&["show", &format!("{}-0@99", given.letters.name())]).status.code(), Some(3));
}

#[tokio::test]
async fn redrive_is_a_dry_run_until_told_otherwise() {
    let given = thirty().await;
    let name = given.letters.name();
    let text = done(&run(&["redrive", name, "--reason", "timeout"]));
    assert!(text.contains("would send 20") && text.contains("--execute"), "{text}");
    assert_eq!(given.sent(), []);
    let json: Value =
        serde_json::from_str(&done(&run(&["redrive", name, "--reason", "timeout", "--execute", "--json"]))).unwrap();
    assert_eq!((&json["sent"], &json["end"]), (&20.into(), &"done".into()));
    assert_eq!(given.sent().len(), 20);
    // At its limit, and again.
    let limited = run(&["redrive", name, "--reason", "decode", "--limit", "4", "--execute"]);
    assert_eq!(limited.status.code(), Some(4), "{}", stdout(&limited));
    done(&run(&["redrive", name, "--reason", "decode", "--execute"]));
    assert_eq!(ids(&given.sent()), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_transform_mends_what_goes_back() {
    let given = Given::new(1);
    given.write([given.letter(7, "decode")]).await;
    let transform = ["redrive", given.letters.name(), "--transform", "{id: (.id + 1)}", "--execute"];
    done(&run(&transform));
    assert_eq!(ids(&given.sent()), [8]);
    assert_eq!(run(&["redrive", given.letters.name(), "--transform", ".["]).status.code(), Some(2));
}

#[tokio::test]
async fn killed_at_any_moment_the_same_command_goes_on() {
    let given = Given::new(3);
    given.write((0..3_000).map(|offset| given.letter(offset, "a"))).await;
    let arguments = ["redrive", given.letters.name(), "--execute"];
    for kill in 1..=5 {
        let mut child = command().args(arguments).args(["--rate", "400"]).stdout(Stdio::null()).spawn().unwrap();
        let some_more = kill * 300;
        eventually("some more are sent", Duration::from_secs(120), async || given.sent().len() >= some_more).await;
        tokio::time::sleep(Duration::from_millis(137 * kill as u64)).await;
        // Kill -9: whatever is open stays open.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(given.sent().len() < 3_000, "nothing is left to go on with");
    done(&run(&arguments));
    assert_eq!(ids(&given.sent()), (0..3_000).collect::<Vec<_>>());
    // The control: the log holds what the kills have cut off, which a copy without transactions would have sent twice.
    assert!(given::log(&given.orders).len() > 3_000, "no transaction was open when the process was killed");
}

#[tokio::test]
async fn what_is_discarded_is_marked_and_left() {
    let given = thirty().await;
    let name = given.letters.name();
    let discard = ["discard", name, "--reason", "timeout", "--why", "test data"];
    let dry = done(&run(&discard));
    assert!(dry.contains("would send 20"), "{dry}");
    let marks = kafka_client::Topic::new(format!("{name}.discarded"), kafka_client::Utf8, kafka_client::Utf8);
    done(&run(&[&discard[..], &["--execute"]].concat()));
    let log = given::log(&marks);
    assert_eq!(log.len(), 20);
    assert!(given::text(log[0].value.as_deref()).contains("test data"));
    assert_eq!(given::log(&given.letters).len(), 30, "nothing was deleted");
    let report = given.redrive().dry_run().await.unwrap();
    assert_eq!((report.sent(), report.left().get("discarded")), (10, Some(&20)), "{report}");
    // Said again, nothing is left to mark.
    done(&run(&[&discard[..], &["--execute"]].concat()));
    assert_eq!(given::log(&marks).len(), 20);
}

/// Bytes and headers of any kind, by a seed.
fn any_record(topic: &str, seed: u64) -> RawRecord {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = |most: u64| -> Option<Vec<u8>> {
        let length = next() % most;
        (next() % 5 > 0).then(|| (0..length).map(|_| next() as u8).collect())
    };
    let (key, value) = (bytes(20), bytes(200));
    let mut record = RawRecord::new(topic, key, value);
    for name in ["a", "b", "a", "Ü", "c"].into_iter().take(seed as usize % 6) {
        match bytes(12) {
            Some(value) => record.headers.push(name, value),
            None => record.headers.push_null(name),
        }
    }
    record.timestamp = Some(given::yesterday() + seed as i64);
    record
}

#[tokio::test]
async fn any_record_survives_dead_letter_export_import_and_redrive_bit_for_bit() {
    let given = Given::new(1);
    let copy = given::topic("copy.dlq", 1);
    let originals: Vec<RawRecord> = (0..200).map(|seed| any_record(given.orders.name(), seed)).collect();
    let dead = (0..).zip(&originals).map(|(offset, original)| {
        let mut letter = RawRecord::new(given.letters.name(), original.key.clone(), original.value.clone());
        (letter.headers, letter.timestamp) = (original.headers.clone(), original.timestamp);
        let failure = kafka_dlq::Failure {
            timestamp_ms: original.timestamp,
            message: Some("boom"),
            ..kafka_dlq::Failure::at(given.orders.name(), 0, offset)
        };
        match offset % 3 {
            0 => kafka_dlq::dialect::ours::write(&failure, &mut letter.headers),
            1 => kafka_dlq::dialect::spring::write(&failure, &mut letter.headers),
            _ => kafka_dlq::dialect::connect::write(&failure, &mut letter.headers),
        }
        letter
    });
    given.write(dead.collect::<Vec<_>>()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    done(&run(&["export", given.letters.name(), "--file", path]));
    done(&run(&["import", path, "--to", copy.name(), "--execute"]));
    done(&run(&["redrive", copy.name(), "--execute", "--no-mark", "--keep-timestamp", "--accept-damage"]));
    let sent = given.sent();
    assert_eq!(sent.len(), originals.len());
    for (stored, original) in sent.iter().zip(&originals) {
        assert_eq!(
            (&stored.key, &stored.value, stored.timestamp),
            (&original.key, &original.value, original.timestamp)
        );
        let headers: Vec<(String, Option<Vec<u8>>)> =
            original.headers.iter().map(|header| (header.name().into_owned(), header.value().map(Vec::from))).collect();
        assert_eq!(stored.headers, headers);
    }
}

#[tokio::test]
async fn interrupted_it_commits_and_says_so() {
    let given = Given::new(1);
    given.write((0..3_000).map(|offset| given.letter(offset, "a"))).await;
    let arguments = ["redrive", given.letters.name(), "--execute", "--rate", "100"];
    let child = command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("some are sent", Duration::from_secs(60), async || !given.sent().is_empty()).await;
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let text = stdout(&output);
    assert!(text.contains("stopped"), "{text}");
    assert!(text.contains(&format!("sent {} ", given.sent().len())), "{text}");
}

#[tokio::test]
async fn an_export_comes_back_bit_for_bit() {
    let given = thirty().await;
    let mut odd = given.letter(30, "a");
    (odd.key, odd.value) = (None, Some(vec![0xff, 0, 0x1b]));
    given.write([odd]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    done(&run(&["export", given.letters.name(), "--file", path]));
    let copy = given::topic("copy.dlq", 3);
    assert!(done(&run(&["import", path, "--to", copy.name()])).contains("would write 31"));
    assert_eq!(given::log(&copy), []);
    done(&run(&["import", path, "--to", copy.name(), "--keep-partition", "--execute"]));
    let sorted = |mut log: Vec<tests::harness::oracle::Stored>| {
        log.sort_by_key(|stored| (stored.partition, stored.offset));
        log
    };
    assert_eq!(sorted(given::log(&copy)), sorted(given::log(&given.letters)));

    // Piped, and refused as a whole for one line that is wrong.
    let mut child = command()
        .args(["import", "-", "--to", copy.name(), "--execute"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    child.stdin.take().unwrap().write_all(format!("{text}{{\"topic\":1}}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 32"), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(given::log(&copy).len(), 31);
}

#[tokio::test]
async fn ls_finds_the_topics_that_hold_dead_letters() {
    let given = thirty().await;
    let name = given.letters.name();
    let named = lines(&done(&run(&["ls", name, "--json"])));
    assert_eq!((&named[0]["depth"], &named[0]["reasons"][0]["reason"]), (&30.into(), &"timeout".into()));
    let all = done(&run(&["ls"]));
    assert!(all.lines().any(|line| line.starts_with(name)), "{all}");
    assert!(!all.lines().any(|line| line.starts_with(given.orders.name()) && !line.starts_with(name)), "{all}");
}

#[tokio::test]
async fn a_topic_of_garbage_is_shown_and_never_obeyed() {
    let given = Given::new(1);
    let garbage: Vec<RawRecord> = (0..200_u64)
        .map(|seed| {
            let bytes = |salt: u64| -> Vec<u8> {
                let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt;
                (0..state % 60)
                    .map(|_| {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        state as u8
                    })
                    .collect()
            };
            let mut record = RawRecord::new(given.letters.name(), Some(bytes(1)), Some(bytes(2)));
            record.headers.push("kafka_dlt-original-topic", "\x1b[2J\x1b]0;owned\x07");
            record.headers.push("kafka_dlt-original-offset", bytes(3));
            record.headers.push("dlq.reason", "\x1b[31mred\u{202e}");
            record.headers.push("\u{9b}31m", bytes(4));
            record
        })
        .collect();
    given.write(garbage).await;
    let name = given.letters.name();
    let place = format!("{name}-0@0");
    let runs: [&[&str]; 6] = [
        &["peek", name, "-n", "200"],
        &["stats", name, "--by", "key"],
        &["show", &place],
        &["explain", &place],
        &["ls", name],
        &["redrive", name],
    ];
    for arguments in runs {
        let text = done(&run(arguments));
        let obeyed = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        assert!(!text.contains(obeyed), "{arguments:?}: {text:?}");
    }
}

#[tokio::test]
async fn an_empty_topic_is_no_error_and_a_missing_one_is() {
    let given = Given::new(2);
    let name = given.letters.name();
    for arguments in
        [&["stats", name][..], &["peek", name], &["ls", name], &["redrive", name, "--execute"], &["export", name]]
    {
        done(&run(arguments));
    }
    for arguments in [&["stats", "no-such.dlq"][..], &["redrive", "no-such.dlq"], &["ls", "no-such.dlq"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("there is no topic no-such.dlq"));
    }
}

#[tokio::test]
async fn watch_shows_what_comes() {
    let given = thirty().await;
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut child =
        command().args(["watch", given.letters.name(), "--json"]).stdout(out.reopen().unwrap()).spawn().unwrap();
    let told = async || {
        given.write([given.letter(99, "late")]).await;
        lines(&std::fs::read_to_string(out.path()).unwrap()).iter().any(|one| one["reason"] == "late")
    };
    eventually("it is shown", Duration::from_secs(60), told).await;
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(lines(&std::fs::read_to_string(out.path()).unwrap()).iter().all(|one| one["reason"] == "late"));
}

#[tokio::test]
async fn doctor_names_what_is_wrong() {
    let given = Given::new(1);
    let text = done(&run(&["doctor", given.letters.name()]));
    assert!(text.contains("reach Kafka") && text.contains("use transactions"), "{text}");
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
