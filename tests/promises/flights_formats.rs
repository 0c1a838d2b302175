//! The flights as typed events, through a real Kafka and a real schema registry: with a schema that refers to another one,
//! and with a new version of it in the middle of the stream, while readers of both versions are at work.

mod cancelled;

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_client::serde::{
    Avro, CompatibilityLevel, Deserializer, JsonSchema, Protobuf, Registry, Schema, SchemaReference, Serializer,
    Validation,
};
use kafka_client::{Error, FailedRecord, Received, Topic, TopicSpec, Utf8};
use serde::{Deserialize, Serialize};
use tests::harness::{SchemaRegistry, eventually, unique};

use crate::given::{self, kafka};
use crate::group::{Member, Taken, quick};

const FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/flights.csv"));
const FLIGHTS: usize = 3_375;
const CANCELLED: usize = 895;
/// So many are written with the first version of the schema.
const FIRST: usize = 1_700;
/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line of the file; what is empty there is absent here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Line {
    time_hour: String,
    carrier: String,
    flight: i32,
    tailnum: Option<String>,
    origin: String,
    dest: String,
    sched_dep_time: i32,
    dep_time: Option<i32>,
    dep_delay: Option<i32>,
    air_time: Option<i32>,
    distance: i32,
    /// What only the second version knows.
    #[serde(skip)]
    status: String,
}

fn lines() -> Vec<Line> {
    let lines = csv::Reader::from_reader(FILE.as_bytes()).into_deserialize::<Line>();
    let lines = Vec::from_iter(lines.map(Result::unwrap));
    assert_eq!((lines.len(), lines.iter().filter(|line| line.dep_time.is_none()).count()), (FLIGHTS, CANCELLED));
    lines
}

/// An event, as one version of its schema has it.
trait Event: Send + Sync + 'static {
    fn of(line: &Line) -> Self;
    fn line(self) -> Line;
}

/// The types of a format: an airport, and the two versions of a flight.
macro_rules! events {
    (($($derive:tt)*), $make:expr, $code:expr,
     { $($(#[$attribute:meta])* $field:ident: $type:ty),* }, $(#[$of_status:meta])* status) => {
        #[derive($($derive)*)]
        pub(super) struct One { $($(#[$attribute])* $field: $type),* }

        #[derive($($derive)*)]
        pub(super) struct Two { $($(#[$attribute])* $field: $type,)* $(#[$of_status])* status: String }

        impl Event for One {
            fn of(line: &Line) -> Self {
                let Two { $($field,)* .. } = Two::of(line);
                Self { $($field),* }
            }

            fn line(self) -> Line {
                let Self { $($field),* } = self;
                Two { $($field,)* status: String::new() }.line()
            }
        }

        impl Event for Two {
            fn of(line: &Line) -> Self {
                let Line { time_hour, carrier, flight, tailnum, origin, dest, sched_dep_time, dep_time, dep_delay,
                           air_time, distance, status } = line.clone();
                let (origin, dest) = ($make(origin), $make(dest));
                Self { time_hour, carrier, flight, tailnum, origin, dest, sched_dep_time, dep_time, dep_delay, air_time,
                       distance, status }
            }

            fn line(self) -> Line {
                let Self { time_hour, carrier, flight, tailnum, origin, dest, sched_dep_time, dep_time, dep_delay,
                           air_time, distance, status } = self;
                let (origin, dest) = ($code(origin), $code(dest));
                Line { time_hour, carrier, flight, tailnum, origin, dest, sched_dep_time, dep_time, dep_delay, air_time,
                       distance, status }
            }
        }
    };
}

/// For Avro and JSON.
mod named {
    use super::{Deserialize, Event, Line, Serialize};

    #[derive(Serialize, Deserialize, Debug)]
    pub(super) struct Airport {
        code: String,
    }

    events!((Serialize, Deserialize, Debug), |code| Airport { code }, |airport: Airport| airport.code, {
        time_hour: String, carrier: String, flight: i32, tailnum: Option<String>, origin: Airport, dest: Airport,
        sched_dep_time: i32, dep_time: Option<i32>, dep_delay: Option<i32>, air_time: Option<i32>, distance: i32
    }, #[serde(default)] status);
}

/// For Protobuf.
mod numbered {
    use super::{Event, Line};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Airport {
        #[prost(string, tag = "1")]
        code: String,
    }

    events!((Clone, PartialEq, prost::Message), |code| Some(Airport { code }),
        |airport: Option<Airport>| airport.expect("an airport").code, {
        #[prost(string, tag = "1")] time_hour: String,
        #[prost(string, tag = "2")] carrier: String,
        #[prost(int32, tag = "3")] flight: i32,
        #[prost(string, optional, tag = "4")] tailnum: Option<String>,
        #[prost(message, optional, tag = "5")] origin: Option<Airport>,
        #[prost(message, optional, tag = "6")] dest: Option<Airport>,
        #[prost(int32, tag = "7")] sched_dep_time: i32,
        #[prost(int32, optional, tag = "8")] dep_time: Option<i32>,
        #[prost(int32, optional, tag = "9")] dep_delay: Option<i32>,
        #[prost(int32, optional, tag = "10")] air_time: Option<i32>,
        #[prost(int32, tag = "11")] distance: i32
    }, #[prost(string, tag = "12")] status);
}

/// Flights by carrier, in the order of the carrier's partition.
fn by_carrier(lines: impl IntoIterator<Item = Line>) -> BTreeMap<String, Vec<Line>> {
    let mut carriers = BTreeMap::<_, Vec<_>>::new();
    for line in lines {
        carriers.entry(line.carrier.clone()).or_default().push(line);
    }
    carriers
}

/// The serdes of one format, for the two versions.
struct Format<A, B> {
    name: &'static str,
    one: A,
    two: B,
    /// What a reader of the second version finds in an event of the first.
    unknown: &'static str,
    /// What the registry is to check.
    level: CompatibilityLevel,
}

/// A reader of a topic: everything it handled, as lines.
fn reader<V>(topic: &Topic<Utf8, V>) -> (Member, Taken<Line>)
where
    V: Deserializer,
    V::Output: Event,
{
    let handled = Taken::new();
    let book = handled.clone();
    let consumer = quick(&kafka(), &unique("tower"))
        .route(topic, move |event: Received<String, V::Output>| {
            let (key, event) = event.into_parts();
            let line = event.line();
            assert_eq!(key, line.carrier);
            book.push(line);
            async { Ok::<_, Error>(()) }
        })
        .on_failed_record(async |record: FailedRecord| Err::<(), _>(std::io::Error::other(format!("{record:?}"))));
    (Member::start(consumer), handled)
}

async fn every_flight_arrives<A, B>(format: Format<A, B>, registry: &Registry)
where
    A: Serializer<Input: Event + Sized> + Deserializer<Output: Event>,
    B: Serializer<Input: Event + Sized> + Deserializer<Output: Event>,
{
    let name = unique(format.name);
    kafka().ensure_topics(&[TopicSpec::new(&name, 4)]).await.unwrap();
    registry.set_compatibility_level(Some(&format!("{name}-value")), format.level).await.unwrap();
    let (one, two) = (Topic::new(name.as_str(), Utf8, format.one), Topic::new(name.as_str(), Utf8, format.two));
    let mut lines = lines();
    let producer = given::built(kafka().producer());

    let first = Vec::from_iter(lines[..FIRST].iter().map(A::Input::of));
    let records = lines.iter().zip(&first).map(|(line, event)| one.record(line.carrier.as_str(), event));
    assert_eq!(producer.send_batch(records).await.unwrap(), FIRST);
    let (old, by_old) = reader(&one);
    let (new, by_new) = reader(&two);
    eventually("both are at work", PATIENCE, async || by_old.len() > 0 && by_new.len() > 0).await;

    // The new version; its writers know the status.
    for line in &mut lines[FIRST..] {
        line.status = if line.dep_time.is_some() { "flown" } else { "cancelled" }.to_owned();
    }
    let second = Vec::from_iter(lines[FIRST..].iter().map(B::Input::of));
    let records = lines[FIRST..].iter().zip(&second).map(|(line, event)| two.record(line.carrier.as_str(), event));
    assert_eq!(producer.send_batch(records).await.unwrap(), FLIGHTS - FIRST);
    eventually("all are read", PATIENCE, async || by_old.len() == FLIGHTS && by_new.len() == FLIGHTS).await;
    for member in [old, new] {
        let report = member.stop().await;
        assert_eq!((report.handled, report.failed), (FLIGHTS as u64, 0));
    }
    assert_eq!(registry.versions(&format!("{name}-value"), Default::default()).await.unwrap(), [1, 2]);

    let mut as_old = lines.clone();
    as_old.iter_mut().for_each(|line| line.status = String::new());
    assert_eq!(by_carrier(by_old.take()), by_carrier(as_old));
    lines[..FIRST].iter_mut().for_each(|line| line.status = format.unknown.to_owned());
    assert_eq!(by_carrier(by_new.take()), by_carrier(lines));
}

async fn real() -> Registry {
    let registry = tokio::task::spawn_blocking(SchemaRegistry::shared).await.unwrap();
    Registry::connect(registry.url()).unwrap()
}

/// Registers what a flight refers to, under a subject of its own.
async fn airport(registry: &Registry, name: &str, schema: Schema) -> SchemaReference {
    let subject = unique("airport");
    registry.register(&subject, &schema).await.unwrap();
    SchemaReference::new(name, subject, 1)
}

/// The two versions of a flight in Avro, with what they refer to; what a cancelled flight has not is null in a union.
async fn avro(registry: &Registry) -> Format<Avro<named::One>, Avro<named::Two>> {
    let schema = r#"{"type":"record","name":"Airport","namespace":"air","fields":[{"name":"code","type":"string"}]}"#;
    let airport = airport(registry, "air.Airport", Schema::avro(schema)).await;
    let flight = |status: &str| {
        let text = |name: &str| format!(r#"{{"name":"{name}","type":"string"}}"#);
        let int = |name: &str| format!(r#"{{"name":"{name}","type":"int"}}"#);
        let maybe = |name: &str, t: &str| format!(r#"{{"name":"{name}","type":["null","{t}"],"default":null}}"#);
        let place = |name: &str| format!(r#"{{"name":"{name}","type":"air.Airport"}}"#);
        let fields = [
            text("time_hour"),
            text("carrier"),
            int("flight"),
            maybe("tailnum", "string"),
            place("origin"),
            place("dest"),
            int("sched_dep_time"),
            maybe("dep_time", "int"),
            maybe("dep_delay", "int"),
            maybe("air_time", "int"),
            int("distance"),
        ]
        .join(",");
        let text = format!(r#"{{"type":"record","name":"Flight","namespace":"air","fields":[{fields}{status}]}}"#);
        Schema::avro(text).with_reference(airport.clone())
    };
    let two = flight(r#",{"name":"status","type":"string","default":"unknown"}"#);
    Format {
        name: "flights-avro",
        one: Avro::<named::One>::with_schema(registry, flight("")),
        two: Avro::<named::Two>::with_schema(registry, two),
        unknown: "unknown",
        level: CompatibilityLevel::Full,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flight_arrives_as_avro() {
    let registry = real().await;
    every_flight_arrives(avro(&registry).await, &registry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flight_arrives_as_json() {
    let registry = real().await;
    let schema = r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["code"],
        "properties":{"code":{"type":"string","minLength":3,"maxLength":3}}}"#;
    let airport = airport(&registry, "airport.json", Schema::json(schema)).await;
    let flight = |status: &str| {
        let text = format!(
            r#"{{"$schema":"http://json-schema.org/draft-07/schema#","title":"Flight","type":"object","additionalProperties":false,
            "required":["carrier","origin","dest"],"properties":{{
            "time_hour":{{"type":"string"}},"carrier":{{"type":"string"}},"flight":{{"type":"integer","minimum":1}},
            "tailnum":{{"type":["string","null"]}},"origin":{{"$ref":"airport.json"}},"dest":{{"$ref":"airport.json"}},
            "sched_dep_time":{{"type":"integer"}},"dep_time":{{"type":["integer","null"]}},
            "dep_delay":{{"type":["integer","null"]}},"air_time":{{"type":["integer","null"]}},
            "distance":{{"type":"integer"}}{status}}}}}"#
        );
        Schema::json(text).with_reference(airport.clone())
    };
    // Whoever validates, validates the airports too.
    let two = flight(r#","status":{"type":"string"}"#);
    let format = Format {
        name: "flights-json",
        one: JsonSchema::<named::One>::with_schema(&registry, flight("")).validation(Validation::Both),
        two: JsonSchema::<named::Two>::with_schema(&registry, two).validation(Validation::Both),
        unknown: "",
        level: CompatibilityLevel::Backward,
    };
    every_flight_arrives(format, &registry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flight_arrives_as_protobuf() {
    let registry = real().await;
    let schema = "syntax = \"proto3\";\npackage air;\n\nmessage Airport {\n  string code = 1;\n}\n";
    let airport = airport(&registry, "airport.proto", Schema::protobuf(schema)).await;
    let flight = |status: &str| {
        let text = format!(
            "syntax = \"proto3\";\npackage air;\n\nimport \"airport.proto\";\n\nmessage Note {{\n  string text = 1;\n}}\n\n\
             message Flight {{\n  string time_hour = 1;\n  string carrier = 2;\n  int32 flight = 3;\n  \
             optional string tailnum = 4;\n  Airport origin = 5;\n  Airport dest = 6;\n  int32 sched_dep_time = 7;\n  \
             optional int32 dep_time = 8;\n  optional int32 dep_delay = 9;\n  optional int32 air_time = 10;\n  \
             int32 distance = 11;\n{status}}}\n"
        );
        Schema::protobuf(text).with_reference(airport.clone())
    };
    let two = flight("  string status = 12;\n");
    let format = Format {
        name: "flights-protobuf",
        one: Protobuf::<numbered::One>::with_schema(&registry, flight(""), "air.Flight"),
        two: Protobuf::<numbered::Two>::with_schema(&registry, two, "air.Flight"),
        unknown: "",
        level: CompatibilityLevel::Full,
    };
    every_flight_arrives(format, &registry).await;
}

#[test]
fn a_flight_that_is_lost_or_changed_is_noticed() {
    let lines = lines();
    let whole = by_carrier(lines.clone());
    for tamper in [0, 1, 2] {
        let mut other = lines.clone();
        match tamper {
            0 => drop(other.remove(17)),
            1 => other[17].origin = "XXX".to_owned(),
            _ => other.push(other[17].clone()),
        }
        assert_ne!(by_carrier(other), whole);
    }
    // Each version holds all that its schema knows.
    let two = |mut line: Line| {
        line.status = "flown".to_owned();
        assert_eq!(named::Two::of(&line).line(), line);
        assert_eq!(numbered::Two::of(&line).line(), line);
        line.status = String::new();
        assert_eq!(named::One::of(&line).line(), line);
    };
    lines.into_iter().for_each(two);
}
