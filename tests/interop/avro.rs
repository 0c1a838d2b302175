use std::collections::BTreeMap;

use kafka_client::serde::{Avro, Framing, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Job, Place, Records, speak};

const KEY: &str =
    r#"{"type": "record", "name": "Key", "namespace": "n", "fields": [{"name": "id", "type": "string"}]}"#;
const VALUE: &str = r#"{"type": "record", "name": "R", "namespace": "n", "fields": [
    {"name": "a", "type": "long"}, {"name": "s", "type": "string"}, {"name": "o", "type": ["null", "int"]},
    {"name": "l", "type": {"type": "array", "items": "int"}}, {"name": "m", "type": {"type": "map", "values": "double"}},
    {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}}, {"name": "b", "type": "bytes"},
    {"name": "t", "type": "boolean"}, {"name": "x", "type": "float"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "u", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "n", "type": {"type": "record", "name": "N", "fields": [{"name": "deep", "type": ["null", "R"]}]}}]}"#;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Key {
    id: String,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
enum E {
    A,
    B,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct N {
    deep: Option<Box<R>>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct R {
    a: i64,
    s: String,
    o: Option<i32>,
    l: Vec<i32>,
    /// One entry at most: the order of more is the writer's.
    m: BTreeMap<String, f64>,
    e: E,
    b: Bytes,
    t: bool,
    x: f32,
    at: i64,
    u: String,
    n: N,
}

/// Serde takes a `Vec<u8>` for a list of numbers.
#[derive(Clone, Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl serde::de::Visitor<'_> for Read {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Read)
    }
}

fn plain() -> R {
    R {
        a: -(1 << 40),
        s: "h\u{e9}".into(),
        o: Some(7),
        l: vec![1, -2, 300],
        m: BTreeMap::from([("k".into(), 1.5)]),
        e: E::B,
        b: Bytes(vec![0xff, 0]),
        t: true,
        x: 0.25,
        at: 1_767_323_045_678,
        u: "67e55044-10b1-426f-9247-bb680e5fe0c8".into(),
        n: N { deep: None },
    }
}

/// The same, as the peer says it.
fn said(r: &R) -> Value {
    json!({
        "a": r.a, "s": r.s, "o": r.o, "l": r.l, "m": r.m, "e": format!("{:?}", r.e),
        "b": {"$bytes": r.b.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>()}, "t": r.t, "x": r.x,
        "at": {"$millis": r.at}, "u": {"$uuid": r.u}, "n": {"deep": r.n.deep.as_deref().map(said)},
    })
}

async fn both_ways(place: Place, framing: Framing) {
    let deep =
        R { a: i64::MAX, o: None, l: vec![], m: BTreeMap::new(), n: N { deep: Some(Box::new(plain())) }, ..plain() };
    let values = [Some(plain()), Some(R { e: E::A, s: String::new(), a: 0, ..plain() }), None, Some(deep)];
    // Python refuses every payload of Avro below 6 bytes, also where there is no prefix.
    let key = |number: usize| Key { id: format!("order-{number}") };
    let ours = Vec::from_iter(values.into_iter().enumerate().map(|(number, value)| (key(number), value)));
    let theirs = ours.iter().map(|(key, value)| (json!({"id": key.id}), value.as_ref().map_or(Value::Null, said)));
    let records = Records { theirs: theirs.collect(), ours };
    let registry = place.client();
    let serdes = || {
        let key = Avro::<Key>::with_schema(&registry, Schema::avro(KEY)).framing(framing);
        (key, Avro::<R>::with_schema(&registry, Schema::avro(VALUE)).framing(framing))
    };
    let job = Job { format: "avro", framing, registry: place.url(), key: KEY.into(), value: VALUE.into() };
    // Avro has one way to write a value, as long as nobody splits a list.
    speak(job, records, serdes, |theirs, ours| theirs == ours).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn avro_with_a_prefix() {
    both_ways(Place::ours().await, Framing::Prefix).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn avro_with_a_header() {
    both_ways(Place::ours().await, Framing::Header).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn avro_with_a_real_registry() {
    both_ways(Place::real().await, Framing::Prefix).await;
}
