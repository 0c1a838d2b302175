//! Every example, run as a process: it ends by itself, with success, and says what it is there to say.
//!
//! On an embedded broker, whatever the environment holds; but for `exactly_once`, which gets a real one.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kafka_client::Kafka;
use rustix::process::{Pid, Signal, kill_process};
use tests::harness::Cluster;
use tests::harness::oracle::{self, Isolation};

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
fn in_every_protocol_members_share_partitions_and_only_range_stops_them_all() {
    let out = end(start(env!("CARGO_BIN_EXE_consumer_groups")));
    // Alone, stopped when the other one joins, then each, and alone again.
    let row = |protocol: &str| {
        let row = out.lines().find_map(|line| line.strip_prefix(protocol)).unwrap();
        row.split_whitespace().map(|cell| cell.parse().unwrap()).collect::<Vec<usize>>()
    };
    assert_eq!(row("range "), [6, 6, 3, 3, 6]);
    assert_eq!(row("cooperative-sticky "), [6, 3, 3, 3, 6]);
    assert_eq!(row("consumer "), [6, 3, 3, 3, 6]);
}

#[test]
fn a_rebalance_listener_keeps_state_for_the_partitions_that_are_here() {
    let out = end(start(env!("CARGO_BIN_EXE_rebalance_listener")));
    // The story, without the partitions that are in it: which ones move is the assignor's to say.
    let story: Vec<String> = out
        .lines()
        .map(|line| line.trim_end_matches(|end: char| end.is_ascii_digit() || end == ' ').trim().to_owned())
        .collect();
    let right = |members: &str| format!("all balances are right, shared by {members}");
    let expected = ["a  assigned", &right("a"), "a  revoked", "b  assigned", &right("a and b"), "b  revoked"];
    assert_eq!(story[..6], expected, "{out}");
    let expected = ["a  assigned", &right("a"), "a  lost", "a  assigned", &right("a"), "a  revoked"];
    assert_eq!(story[6..], expected, "{out}");
}

#[test]
fn by_key_is_fast_and_in_order_and_unordered_is_not_in_order() {
    let out = end(start(env!("CARGO_BIN_EXE_ordered_by_key")));
    let row = |mode: &str| {
        let row = out.lines().find_map(|line| line.strip_prefix(mode)).unwrap();
        let (millis, out_of_order) = row.split_once("ms").unwrap();
        [millis, out_of_order].map(|cell| cell.trim().parse::<u64>().unwrap())
    };
    let ([serial, _], [by_key, wrong], [_, unordered]) = (row("by_partition"), row("by_key"), row("unordered"));
    assert!(by_key * 4 < serial && wrong == 0 && unordered > 0, "{out}");
}

#[test]
fn a_kill_repeats_no_more_than_the_strategy_allows() {
    let out = end(start(env!("CARGO_BIN_EXE_commit_strategies")));
    let figure = |name: &str| {
        let row = out.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        row.trim().split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    // The accident did happen: something was under way, and is handled again.
    assert!((1..=5).contains(&figure("never more than 5")), "{out}");
    assert!((1..150).contains(&figure("every 10 records")) && figure("interval of 1 s") > 0, "{out}");
    assert!(figure("awaited in the handler") == 200 && figure("finished later") == 200, "{out}");
}

#[test]
fn with_offsets_in_the_database_every_payment_counts_once_and_with_those_in_kafka_it_does_not() {
    let out = end(start(env!("CARGO_BIN_EXE_offsets_in_a_database")));
    assert_says(&out, &["in the database: 820, which is right", "too much"]);
    // The sum of 1 to 40; and some of them twice.
    let wrong = out.lines().find_map(|line| line.strip_prefix("balance with the offsets in Kafka:")).unwrap();
    let wrong: u64 = wrong.trim().split(',').next().unwrap().parse().unwrap();
    assert!(wrong > 820, "{out}");
}

#[test]
fn sigterm_lets_handlers_finish_and_loses_and_repeats_nothing() {
    let out = end(start(env!("CARGO_BIN_EXE_graceful_shutdown")));
    assert_eq!(out.matches("SIGTERM").count(), 3, "{out}");
    let reports: Vec<&str> = out.lines().filter(|line| line.starts_with("  handled")).collect();
    let [finished, cut_off, rest] = reports[..] else { panic!("{out}") };
    assert!(finished.contains("unfinished 0") && rest.contains("unfinished 0, committed [60]"), "{out}");
    assert!(cut_off.contains("unfinished 1, committed [33], left the group: true"), "{out}");
    assert_says(&out, &["60 of 60 records were handled to the end; more than once: []"]);
}

#[test]
fn lag_and_health_tell_what_is_paused_and_what_is_stuck() {
    let out = end(start(env!("CARGO_BIN_EXE_lag_and_health")));
    assert_says(
        &out,
        &[
            "at first  live",
            "lag       [0, 50, 100], the last one paused",
            "stuck     live true, ready true, 3 partitions, stuck at 50 in",
            "resumed   live true, ready true, 3 partitions\n",
            "lag       [0, 0, 0]",
            "ended     live false, ready false, 0 partitions",
            "kafka_consumer_records_handled_total 300\n",
            "kafka_consumer_commits_total{result=confirmed} ",
            "kafka_consumer_stuck_handlers 0\n",
        ],
    );
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

/// Killed twice at least, until a kill has hit a transaction whose results were in the log; and started once more when all
/// is done.
#[test]
fn exactly_once_counts_every_departure_once_though_it_is_killed() {
    let kafka = Cluster::shared().bootstrap();
    let run = || start_with(env!("CARGO_BIN_EXE_exactly_once"), &[("KAFKA_BOOTSTRAP_SERVERS", kafka)]);
    let hidden = || {
        let [all, visible] = [Isolation::ReadUncommitted, Isolation::ReadCommitted]
            .map(|isolation| oracle::read_all(kafka, "examples.delays", isolation).len());
        all > visible
    };
    for kills in 1.. {
        let mut example = run();
        let mut lines = BufReader::new(example.stdout.take().unwrap()).lines().map(Result::unwrap);
        let counted = lines.by_ref().filter(|line| line.ends_with("and not committed them")).take(4).count();
        // It works on this batch for 100 ms; its results are on their way to the log.
        sleep(Duration::from_millis(60));
        example.kill().unwrap();
        assert!(!example.wait().unwrap().success() && counted == 4, "it was killed in the middle");
        if kills >= 2 && hidden() {
            break;
        }
        assert!(kills < 6, "the kills hit no open transaction");
    }
    let out = end(run());
    assert!(out.contains("and not committed them"), "the last run had something left to do\n{out}");
    let (_, table) = out.split_once("minutes late\n").unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let (end_of_table, rows) = rows.split_last().unwrap();
    assert_eq!(end_of_table.join(" "), "as in the file, to the minute");
    let expected = delays_of_the_file();
    let expected: Vec<Vec<&str>> = expected.iter().map(|row| row.split(' ').collect()).collect();
    assert_eq!(rows, expected);

    let again = end(run());
    assert!(again.starts_with("0 departures") && again.ends_with(table), "it adds nothing\n{again}");
}

/// Carrier, departures, cancelled, minutes: without the code of the example.
fn delays_of_the_file() -> Vec<String> {
    let mut totals = BTreeMap::<&str, (u64, u64, i64)>::new();
    for line in include_str!("../data/flights.csv").lines().skip(1) {
        let columns: Vec<&str> = line.split(',').collect();
        let (departures, cancelled, minutes) = totals.entry(columns[1]).or_default();
        *departures += 1;
        match columns[8] {
            "" => *cancelled += 1,
            late => *minutes += late.parse::<i64>().unwrap(),
        }
    }
    let row = |(carrier, (departures, cancelled, minutes))| format!("{carrier} {departures} {cancelled} {minutes}");
    totals.into_iter().map(row).collect()
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

#[test]
fn retry_and_dead_letter_accounts_for_every_order() {
    let out = end(start(env!("CARGO_BIN_EXE_retry_and_dead_letter")));
    let letters = ["o-2: declined", "o-5: declined", "o-7: attempts", "o-x: decode"];
    assert_says(&out, &letters.map(|letter| format!("dead letter {letter}")).each_ref().map(String::as_str));
    assert_says(&out, &["o-3 is charged, at call 4", "charged: "]);
}

#[test]
fn ordered_retry_keeps_the_order_of_a_key_and_holds_up_no_other() {
    let out = end(start(env!("CARGO_BIN_EXE_ordered_retry")));
    assert_says(&out, &["KeepOrder: the others were booked", "; 0 movements out of order"]);
}

#[test]
fn outage_breaker_blames_no_record() {
    let out = end(start(env!("CARGO_BIN_EXE_outage_breaker")));
    assert_says(&out, &["500 of 500 charged, 0 dead letters"]);
}

#[test]
fn batch_bisect_inserts_all_rows_but_one() {
    let out = end(start(env!("CARGO_BIN_EXE_batch_bisect")));
    assert_says(&out, &["999 of 1000 rows are in the table"]);
}
