//! Every example, run as a process: it ends by itself, with success, and says what it is there to say.
//!
//! On an embedded broker, whatever the environment holds.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kafka_client::Kafka;
use rustix::process::{Pid, Signal, kill_process};

/// Longer than any example takes on a busy machine: one that hangs fails its test.
const PATIENCE: Duration = Duration::from_secs(90);

fn start(example: &str) -> Child {
    start_with(example, &[])
}

fn start_with(example: &str, variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(example);
    for (name, _) in std::env::vars_os() {
        // They would send it to a real Kafka.
        if name.to_string_lossy().starts_with("KAFKA_") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of an example, and returns what it printed. None prints more than a pipe holds.
fn end(mut example: Child) -> String {
    let start = Instant::now();
    while example.try_wait().unwrap().is_none() && start.elapsed() < PATIENCE {
        sleep(Duration::from_millis(5));
    }
    // Does nothing to one that has ended.
    example.kill().unwrap();
    let output = example.wait_with_output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{} after {:?}\n{out}\n{err}", output.status, start.elapsed());
    out
}

#[track_caller]
fn assert_says(out: &str, lines: &[&str]) {
    for line in lines {
        assert!(out.contains(line), "no {line:?} in\n{out}");
    }
}

#[test]
fn quickstart_sends_and_receives_an_event() {
    let out = end(start(env!("CARGO_BIN_EXE_quickstart")));
    assert_says(&out, &["out  o-1, stored in partition 0 at offset 0", "in   o-1 tea for 450 cents", "Next:"]);
}

#[test]
fn flights_accounts_for_every_flight() {
    let out = end(start(env!("CARGO_BIN_EXE_flights")));
    let accounted = "accounted: 3375 produced, 3375 delivered, 3375 handled, 3375 committed; 895 cancelled, 337 \
                     without a tail number";
    assert_says(&out, &[accounted]);
    // Counted by hand, with cut, sort and uniq: carriers and flights, in the order of the table.
    let carriers: Vec<(&str, u32)> = out
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("accounted"))
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            Some((columns.next()?, columns.next()?.parse().ok()?))
        })
        .collect();
    let expected = [
        ("9E", 207),
        ("AA", 349),
        ("AS", 8),
        ("B6", 569),
        ("DL", 468),
        ("EV", 509),
        ("F9", 6),
        ("FL", 41),
        ("HA", 4),
        ("MQ", 276),
        ("UA", 567),
        ("US", 206),
        ("VX", 37),
        ("WN", 123),
        ("YV", 5),
    ];
    assert_eq!(carriers, expected);
}

#[test]
fn produce_delivers_by_every_way_of_sending() {
    let out = end(start(env!("CARGO_BIN_EXE_produce")));
    assert_says(
        &out,
        &[
            "enqueue      1000 delivered",
            "0 failed, 0 unknown",
            "send_batch   1000 delivered",
            "sender       last offset 999",
            "close        nothing was left behind",
        ],
    );
}

#[test]
fn callbacks_that_misbehave_delay_nobody() {
    let out = end(start(env!("CARGO_BIN_EXE_callbacks")));
    assert_says(&out, &["callback  1000 of 1000 more within", "hook      1003 delivered"]);
}

#[test]
fn the_custom_partitioner_has_its_say() {
    let out = end(start(env!("CARGO_BIN_EXE_custom_partitioner")));
    assert_says(&out, &["partition 0: ben (urgent), eva (urgent)", "refused: ", "an order needs its customer as key"]);
}

#[test]
fn producer_errors_tell_what_happened_to_the_record() {
    let out = end(start(env!("CARGO_BIN_EXE_producer_errors")));
    assert_says(
        &out,
        &[
            "kind TooLarge",
            "the record is back: 2000000 bytes",
            "kind Denied",
            "no error: retried, and delivered",
            "kind Timeout",
            "1 delivered after all",
            "0 delivered, 0 failed, 1 unknown",
            "the producer is closed; the record was not written",
            // 0 retried, 1 late, 2 given up and written all the same.
            "sent again by another producer: offset 3",
        ],
    );
}

#[test]
fn interceptors_see_every_record_and_every_answer() {
    let out = end(start(env!("CARGO_BIN_EXE_interceptors")));
    assert_says(&out, &["4 sent = 3 delivered + 1 failed; 3 with the header `origin`"]);
}

#[test]
fn at_least_once_loses_nothing_and_at_most_once_repeats_nothing() {
    let out = end(start(env!("CARGO_BIN_EXE_delivery_semantics")));
    let cells = |guarantee: &str| {
        let row = out.lines().find_map(|line| line.strip_prefix(guarantee)).unwrap();
        let (lost, twice) = row.trim().split_once("  ").unwrap();
        (lost.to_owned(), twice.trim().to_owned())
    };
    // The accident did happen: there was a payment in the middle, begun again in one case and lost in the other.
    let (lost, twice) = cells("at least once");
    assert!(lost == "none" && twice != "none", "{out}");
    let (lost, twice) = cells("at most once");
    assert!(lost != "none" && twice == "none", "{out}");
}

#[test]
fn avro_is_read_by_those_who_know_the_type_and_those_who_do_not() {
    let out = end(start(env!("CARGO_BIN_EXE_avro")));
    assert_says(
        &out,
        &[
            "typed    1 tea, note Some(\"the green one\"), Open",
            "typed    2 jam, note None, Shipped",
            "typed    o-1 is deleted",
            "generic  item Some(String(\"jam\")), state Some(Enum(\"shop.State\", \"Shipped\"))",
            "subjects [\"orders-value\"]",
        ],
    );
}

#[test]
fn json_that_breaks_its_schema_is_refused_before_it_is_sent() {
    let out = end(start(env!("CARGO_BIN_EXE_json_schema")));
    assert_says(&out, &["price: 0.0 is less than or equal to the minimum of 0", "in       1 tea for 4.5"]);
}

#[test]
fn protobuf_is_read_by_type_and_by_descriptor() {
    let out = end(start(env!("CARGO_BIN_EXE_protobuf")));
    assert_says(
        &out,
        &["typed    bicycle of {\"wheel\": 2}", "dynamic  a shop.Order with item Some(String(\"bicycle\"))"],
    );
}

#[test]
fn a_changed_type_reads_old_records_and_a_broken_one_is_refused() {
    let out = end(start(env!("CARGO_BIN_EXE_schema_evolution")));
    assert_says(&out, &["in       1: 1 x tea", "in       1099511627776: 3 x jam", "refused  Incompatible: "]);
}

#[test]
fn a_topic_of_two_formats_is_read_whole() {
    let out = end(start(env!("CARGO_BIN_EXE_mixed_formats")));
    assert_says(&out, &["in       1 tea, as JSON", "in       2 jam, as Avro", "in       3 honey, by a straggler"]);
}

#[test]
fn the_readme_example_runs_until_ctrl_c() {
    // The README has it connect to a Kafka of yours, so it gets one.
    let kafka = Kafka::embedded().unwrap();
    let servers = kafka.embedded_broker().unwrap().bootstrap_servers();
    let mut example = start_with(env!("CARGO_BIN_EXE_readme"), &[("KAFKA_BOOTSTRAP_SERVERS", servers)]);
    let mut lines = BufReader::new(example.stdout.take().unwrap()).lines().map(Result::unwrap);
    // The end of its output ends this, too.
    assert!(lines.any(|line| line == "o-1 owes 1250 cents for a book"));
    let process = Pid::from_child(&example);
    kill_process(process, Signal::INT).unwrap();
    assert!(lines.any(|line| line == "1 handled"));
    end(example);
}
