//! What Confluent's Python serializers wrote (`data/confluent_kafka_python.py`) is read, and written in the same bytes.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;
use std::fmt::Debug;

use kafka_serde::{
    Avro, Deserializer, JsonSchema, Part, Protobuf, Registry, Schema, SchemaType, Serializer, Source, Stop, Target,
    Validation,
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Written {
    name: String,
    format: String,
    schema: String,
    payload: String,
}

/// One of them: its schema, and the payload without the five bytes of the id.
fn written(name: &str) -> (Schema, Vec<u8>) {
    let all: Vec<Written> = serde_json::from_str(include_str!("data/confluent_kafka_python.json")).unwrap();
    let one = all.into_iter().find(|one| one.name == name).unwrap();
    let bytes = |at| u8::from_str_radix(&one.payload[at..at + 2], 16).unwrap();
    let payload = (0..one.payload.len()).step_by(2).map(bytes).collect();
    (Schema::new(one.format.parse::<SchemaType>().unwrap(), one.schema), payload)
}

/// Reads what Python wrote, and writes it again.
fn both_ways<S>(name: &str, serde: impl FnOnce(&Registry, Schema) -> S, value: &S::Output) -> Vec<u8>
where
    S: Serializer<Input = <S as Deserializer>::Output> + Deserializer,
    S::Output: PartialEq + Debug,
{
    let (schema, payload) = written(name);
    let registry = Registry::in_memory();
    let id = futures::executor::block_on(registry.register("orders-value", &schema)).unwrap().id.unwrap();
    let prefix = [&[0][..], &id.to_be_bytes()].concat();
    let serde = serde(&registry, schema);
    let bytes = [&prefix[..], &payload].concat();
    let from = Source::new("orders", Part::Value);
    let read = loop {
        match serde.deserialize(Some(&bytes), &from) {
            Err(Stop::Miss(miss)) => futures::executor::block_on(miss.resolve()).unwrap(),
            done => break done.unwrap(),
        }
    };
    assert_eq!(read, *value, "{name}");
    let mut out = Vec::new();
    while let Err(stop) = serde.serialize(value, &mut Target::new("orders", Part::Value), &mut out) {
        let Stop::Miss(miss) = stop else { panic!("{name}: {stop}") };
        futures::executor::block_on(miss.resolve()).unwrap();
        out.clear();
    }
    assert_eq!(out[..5], prefix);
    out.drain(..5);
    if name != "decimal" {
        assert_eq!(out, payload, "{name}");
    }
    out
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Record {
    a: i64,
    s: String,
    o: Option<i32>,
    l: Vec<i32>,
    m: BTreeMap<String, f64>,
    e: E,
    f: [u8; 3],
    b: Vec<u8>,
    t: bool,
    x: f32,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum E {
    A,
    B,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Union {
    R { a: i32 },
    S { b: String },
}

fn avro<T>(registry: &Registry, schema: Schema) -> Avro<T> {
    Avro::with_schema(registry, schema)
}

#[test]
fn avro_is_the_same() {
    let record = Record {
        a: -(1 << 40),
        s: "h\u{e9}".into(),
        o: Some(7),
        l: vec![1, -2, 300],
        m: BTreeMap::from([("k".into(), 1.5)]),
        e: E::B,
        f: [1, 2, 3],
        b: vec![0xff],
        t: true,
        x: 0.25,
    };
    both_ways("record", avro::<Record>, &record);
    both_ways("uuid", avro::<(String,)>, &("67e55044-10b1-426f-9247-bb680e5fe0c8".into(),));
    both_ways("timestamp", avro::<(i64,)>, &(1_767_323_045_000,));
    both_ways("string", avro::<String>, &"text".into());
    both_ways("bytes", avro::<Vec<u8>>, &b"raw bytes".to_vec());
    both_ways("long", avro::<i64>, &-5);
    both_ways("union", avro::<Union>, &Union::S { b: "x".into() });
}

/// Python writes a redundant sign byte; Java does not, and nor do we.
#[test]
fn a_decimal_is_read_with_its_redundant_byte_and_written_without() {
    assert_eq!(written("decimal").1, [4, 0xff, 0x80]);
    assert_eq!(both_ways("decimal", avro::<(String,)>, &("-1.28".into(),)), [2, 0x80]);
}

#[test]
fn json_is_the_same() {
    let serde = |registry: &Registry, schema| {
        JsonSchema::<BTreeMap<String, i64>>::with_schema(registry, schema).validation(Validation::Both)
    };
    both_ways("json", serde, &BTreeMap::from([("id".into(), 1)]));
}

#[derive(Clone, PartialEq, prost::Message)]
struct First {
    #[prost(int32, tag = "1")]
    x: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Inner {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Outer {
    #[prost(btree_map = "string, int32", tag = "1")]
    counts: BTreeMap<String, i32>,
    #[prost(message, optional, tag = "2")]
    inner: Option<Inner>,
}

fn protobuf<M>(name: &str) -> impl FnOnce(&Registry, Schema) -> Protobuf<M> {
    move |registry, schema| Protobuf::with_schema(registry, schema, name)
}

/// Python registers a base64 descriptor, and counts the message that the map makes: `Inner` is 1 in `Outer`.
#[test]
fn protobuf_is_the_same_index_and_all() {
    both_ways("shop.First", protobuf::<First>("shop.First"), &First { x: 150 });
    let inner = Inner { text: "x".into() };
    let outer = Outer { counts: BTreeMap::from([("a".into(), 1)]), inner: Some(inner.clone()) };
    both_ways("shop.Outer", protobuf::<Outer>("shop.Outer"), &outer);
    let bytes = both_ways("shop.Outer.Inner", protobuf::<Inner>("shop.Outer.Inner"), &inner);
    assert_eq!(bytes[..3], [4, 2, 2]);
    both_ways("shop.Outer.Second", protobuf::<Inner>("shop.Outer.Second"), &Inner { text: "y".into() });
}
