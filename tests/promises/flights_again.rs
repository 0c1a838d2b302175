//! The flights again: some lines are broken, in five ways, and some are handled in a second attempt only. What cannot be
//! handled is dead-lettered with its reason, looked at and mended by the command, and handled then: every flight once.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Json, Kafka, RawRecord, Received, Topic, Utf8};
use kafka_dlq::{Backoff, Decision, Recovery};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tests::harness::oracle::{self, Isolation};
use tests::harness::{Cluster, eventually, unique};

use crate::given;
use crate::group::{Member, quick};
use crate::recovery::{header, send, stored};

/// New York, 7 to 10 February 2013: a blizzard.
const FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/flights.csv"));
const FLIGHTS: usize = 3_375;
const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(120);

/// One line of the file; what is empty there is absent here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Flight {
    time_hour: String,
    carrier: String,
    flight: u16,
    tailnum: Option<String>,
    origin: String,
    dest: String,
    sched_dep_time: u16,
    dep_time: Option<u16>,
    dep_delay: Option<i16>,
    sched_arr_time: u16,
    arr_time: Option<u16>,
    arr_delay: Option<i16>,
    air_time: Option<u16>,
    distance: u16,
}

/// How a line is broken on its way, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Broken {
    /// The last bracket is missing.
    Truncated,
    /// There is a byte in it that no text has.
    NotUtf8,
    /// It does not say whose flight it is.
    FieldMissing,
    /// Its distance is a text.
    WrongType,
    /// Its airport is written as no airport is.
    Refused,
}

use Broken::{FieldMissing, NotUtf8, Refused, Truncated, WrongType};

const WAYS: [Broken; 5] = [Truncated, NotUtf8, FieldMissing, WrongType, Refused];

impl Broken {
    fn of(line: usize) -> Option<Self> {
        line.is_multiple_of(29).then(|| WAYS[line / 29 % WAYS.len()])
    }

    fn value(self, flight: &Flight) -> Vec<u8> {
        let whole = serde_json::to_string(flight).unwrap();
        let mut value: Value = serde_json::from_str(&whole).unwrap();
        match self {
            Truncated => whole.strip_suffix('}').unwrap().as_bytes().to_vec(),
            NotUtf8 => {
                let at = whole.find("\"dest\":\"").unwrap() + "\"dest\":\"".len();
                [&whole.as_bytes()[..at], b"\xff", &whole.as_bytes()[at..]].concat()
            }
            FieldMissing => {
                value.as_object_mut().unwrap().remove("carrier");
                value.to_string().into_bytes()
            }
            WrongType => {
                value["distance"] = flight.distance.to_string().into();
                value.to_string().into_bytes()
            }
            Refused => {
                value["origin"] = flight.origin.to_lowercase().into();
                value.to_string().into_bytes()
            }
        }
    }

    /// What its dead letters say: a text of their reason or trace.
    fn told(self) -> &'static str {
        match self {
            Truncated => "JSON cut short",
            NotUtf8 => "invalid unicode code point",
            FieldMissing => "missing field `carrier`",
            WrongType => "in distance",
            Refused => "no such airport",
        }
    }

    /// What mends them.
    fn mending(self) -> [&'static str; 2] {
        match self {
            Truncated => ["--transform-text", r#". + "}""#],
            NotUtf8 => ["--transform-text", r#"gsub("\ufffd"; "")"#],
            FieldMissing => ["--transform", ".carrier = $letter.key"],
            WrongType => ["--transform", ".distance |= tonumber"],
            Refused => ["--transform", ".origin |= ascii_upcase"],
        }
    }
}

/// A flight that the tower is too busy for at the first attempt.
fn is_late(line: usize) -> bool {
    line % 31 == 7
}

#[derive(Debug)]
enum Trouble {
    Busy,
    NoSuchAirport,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Trouble {}

fn decide(trouble: &Trouble) -> Decision {
    match trouble {
        Trouble::Busy => Decision::Retry(Backoff::fixed(Duration::from_millis(20)).attempts(5)),
        Trouble::NoSuchAirport => Decision::dead_letter("no such airport"),
    }
}

/// What became of each line: how often it was begun, and what was handled.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    begun: BTreeMap<usize, u32>,
    handled: BTreeMap<usize, Vec<Flight>>,
}

impl Book {
    fn handled(&self) -> usize {
        self.0.lock().handled.values().map(Vec::len).sum()
    }

    fn handle(&self, line: usize, flight: Flight) -> Result<(), Trouble> {
        let mut lines = self.0.lock();
        let begun = lines.begun.entry(line).or_default();
        *begun += 1;
        if is_late(line) && *begun == 1 {
            return Err(Trouble::Busy);
        }
        if !["EWR", "JFK", "LGA"].contains(&flight.origin.as_str()) {
            return Err(Trouble::NoSuchAirport);
        }
        lines.handled.entry(line).or_default().push(flight);
        Ok(())
    }
}

/// The command, run to its end.
fn kafka_dlq(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlq-command"));
    command.env_clear().env("KAFKA_BOOTSTRAP_SERVERS", Cluster::shared().bootstrap());
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn flights() -> Vec<Flight> {
    let flights: Vec<Flight> = csv::Reader::from_reader(FILE.as_bytes()).deserialize().map(Result::unwrap).collect();
    assert_eq!(flights.len(), FLIGHTS);
    flights
}

fn line_of(text: &[u8]) -> usize {
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_flights_are_dead_lettered_mended_and_handled_once() {
    let (kafka, flights): (Kafka, _) = (given::kafka(), flights());
    let (lines, group) = (given::topic("flights", PARTITIONS), unique("tower"));
    let letters = format!("{}.dlq", lines.name());
    let broken: BTreeMap<usize, Broken> =
        (0..FLIGHTS).filter_map(|line| Broken::of(line).map(|way| (line, way))).collect();
    let of_each = |way: Broken| broken.values().filter(|other| **other == way).count();
    assert!(WAYS.iter().all(|way| of_each(*way) > 20), "each way is there");

    // They take off, each with its number.
    let record = |(line, flight): (usize, &Flight)| {
        let value = Broken::of(line).map_or_else(|| serde_json::to_vec(flight).unwrap(), |way| way.value(flight));
        let mut record = RawRecord::new(lines.name(), Some(flight.carrier.clone().into_bytes()), Some(value));
        record.headers.push("line", line.to_string());
        record
    };
    send(&kafka, flights.iter().enumerate().map(record)).await;

    let book = Book::default();
    let handler = {
        let book = book.clone();
        move |record: Received<String, Flight>| {
            let line = line_of(record.headers().last("line").flatten().unwrap());
            std::future::ready(book.handle(line, record.into_value()))
        }
    };
    let typed = Topic::new(lines.name(), Utf8, Json::<Flight>::new());
    let recovery = Recovery::by(decide).dead_letter(&letters).wrap(handler);
    let member = Member::start(quick(&kafka, &group).route(&typed, recovery));

    // Every line is accounted for: handled, or a dead letter.
    let well = FLIGHTS - broken.len();
    eventually("all that can be is handled", PATIENCE, async || book.handled() == well).await;
    eventually("the others are dead letters", PATIENCE, async || stored(&letters).len() == broken.len()).await;
    let mut dead_lines: Vec<usize> =
        stored(&letters).iter().map(|letter| line_of(header(letter, "line").unwrap())).collect();
    dead_lines.sort_unstable();
    assert_eq!(dead_lines, broken.keys().copied().collect::<Vec<_>>(), "those that are broken, once each");
    for line in (0..FLIGHTS).filter(|line| is_late(*line) && !broken.contains_key(line)) {
        assert_eq!(book.0.lock().begun[&line], 2, "line {line} was retried");
    }

    // What the command tells of them.
    let all = kafka_dlq(&["peek", &letters, "-n", "10", "--json"]);
    let listed: Value = serde_json::from_str(&kafka_dlq(&["ls", &letters, "--json"])).unwrap();
    assert_eq!(listed["depth"], broken.len(), "{listed}");
    let counted = kafka_dlq(&["stats", &letters, "--by", "reason", "--json"]);
    let counted: Vec<Value> = counted.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum: u64 = counted.iter().map(|reason| reason["count"].as_u64().unwrap()).sum();
    assert_eq!(sum, broken.len() as u64, "{counted:?}");
    let refused = counted.iter().find(|reason| reason["is"] == "no such airport").unwrap();
    assert_eq!(refused["count"], of_each(Refused), "{counted:?}");
    for way in WAYS {
        let peeked = kafka_dlq(&["peek", &letters, "--reason", way.told(), "-n", "1000", "--json"]);
        let peeked: Vec<Value> = peeked.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(peeked.len(), of_each(way), "{way:?}: none of these: {all}");
        let place = peeked[0]["place"].as_str().unwrap();
        let shown = kafka_dlq(&["show", place]);
        assert!(shown.contains(&group) && shown.contains("line = ") && shown.contains(way.told()), "{way:?}: {shown}");
        let explained = kafka_dlq(&["explain", place]);
        assert!(explained.contains(&format!("goes to {}", lines.name())), "{explained}");
        assert_eq!(explained.contains("could not be decoded"), way != Refused, "{way:?}: {explained}");
    }

    // Mended, way by way: looked at first, and then done.
    for way in WAYS {
        let redrive = [&["redrive", &letters, "--reason", way.told(), "--json"], &way.mending()[..]].concat();
        let dry: Value = serde_json::from_str(&kafka_dlq(&redrive)).unwrap();
        assert_eq!((&dry["sent"], &dry["dry_run"]), (&of_each(way).into(), &true.into()), "{way:?}: {dry}");
        let sent: Value = serde_json::from_str(&kafka_dlq(&[&redrive[..], &["--execute"]].concat())).unwrap();
        assert_eq!((&sent["sent"], &sent["end"]), (&of_each(way).into(), &"done".into()), "{way:?}: {sent}");
        // Said again, there is nothing left to do.
        let again: Value = serde_json::from_str(&kafka_dlq(&[&redrive[..], &["--execute"]].concat())).unwrap();
        assert_eq!(again["sent"], 0, "{way:?}: {again}");
    }
    eventually("every flight is handled", PATIENCE, async || book.handled() >= FLIGHTS).await;
    let ends = oracle::end_offsets_as(Cluster::shared().bootstrap(), lines.name(), Isolation::ReadCommitted);
    let committed = async || oracle::committed(Cluster::shared().bootstrap(), &group, lines.name()) == ends;
    eventually("all is committed", PATIENCE, committed).await;
    member.stop().await;

    // Each once, and as the file has it; and nothing has failed again.
    let handled = &book.0.lock().handled;
    assert_eq!(handled.len(), FLIGHTS);
    for (line, flight) in flights.iter().enumerate() {
        assert_eq!(handled[&line], std::slice::from_ref(flight), "line {line}, {:?}", Broken::of(line));
    }
    assert_eq!(stored(&letters).len(), broken.len());
}
