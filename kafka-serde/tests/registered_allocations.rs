//! A warm encode with a registered schema allocates nothing, a decode only what the value owns, and hostile bytes
//! next to nothing.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::alloc::System;
use std::collections::BTreeMap;

use kafka_serde::{
    Avro, Deserializer, Encoded, JsonSchema, Part, Protobuf, Registry, Schema, Serializer, Source, Stop, Target,
};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Eight fields; its own seven allocations are three strings, the note, the list and two tags.
#[derive(Serialize, Deserialize)]
struct Order {
    id: i64,
    customer: String,
    item: String,
    currency: String,
    cents: i64,
    paid: bool,
    note: Option<String>,
    tags: Vec<String>,
}

/// The same in another order than the schema's.
#[derive(Serialize)]
struct Turned {
    tags: Vec<String>,
    note: Option<String>,
    paid: bool,
    cents: i64,
    currency: String,
    item: String,
    customer: String,
    id: i64,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct OrderRef<'a> {
    id: i64,
    customer: &'a str,
    item: &'a str,
    currency: &'a str,
    cents: i64,
    paid: bool,
    note: Option<&'a str>,
    tags: Vec<&'a str>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    customer: String,
}

const AVRO: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"id","type":"long"},{"name":"customer","type":"string"},{"name":"item","type":"string"},
    {"name":"currency","type":"string"},{"name":"cents","type":"long"},{"name":"paid","type":"boolean"},
    {"name":"note","type":["null","string"]},{"name":"tags","type":{"type":"array","items":"string"}}]}"#;

fn order() -> Order {
    Order {
        id: 1,
        customer: "eva".into(),
        item: "tea".into(),
        currency: "EUR".into(),
        cents: 450,
        paid: true,
        note: Some("door".into()),
        tags: vec!["hot".into(), "green".into()],
    }
}

fn turned() -> Turned {
    let Order { id, customer, item, currency, cents, paid, note, tags } = order();
    Turned { id, customer, item, currency, cents, paid, note, tags }
}

fn to() -> Target<'static> {
    Target::new("orders", Part::Value)
}

fn from() -> Source<'static> {
    Source::new("orders", Part::Value)
}

/// What `work` asks of the allocator, in the quietest of many rounds: other threads of the test harness allocate now and
/// then, and what `work` itself does shows in every round.
fn used(mut work: impl FnMut()) -> (usize, usize) {
    let round = || {
        let region = Region::new(ALLOCATOR);
        work();
        let Stats { allocations, reallocations, bytes_allocated, .. } = region.change();
        (allocations + reallocations, bytes_allocated)
    };
    std::iter::repeat_with(round).take(100).min().unwrap()
}

fn payload<S: Serializer>(serde: &S, value: &S::Input) -> Vec<u8> {
    loop {
        let mut out = Vec::new();
        match serde.serialize(value, &mut to(), &mut out) {
            Ok(Encoded::Bytes) => return out,
            Err(Stop::Miss(miss)) => futures::executor::block_on(miss.resolve()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn encodings<S: Serializer>(serde: &S, value: &S::Input) -> usize {
    let mut out = payload(serde, value);
    out.reserve(1024);
    used(|| {
        out.clear();
        assert!(serde.serialize(value, &mut to(), &mut out).is_ok());
    })
    .0
}

fn decodings<D: Deserializer>(serde: &D, bytes: &[u8]) -> usize {
    while let Err(Stop::Miss(miss)) = serde.deserialize(Some(bytes), &from()) {
        futures::executor::block_on(miss.resolve()).unwrap();
    }
    used(|| assert!(serde.deserialize(Some(bytes), &from()).is_ok())).0
}

/// One test, since tests that run side by side would count each other's allocations.
#[test]
fn warm_serdes_allocate_nothing_but_the_value() {
    let registry = Registry::in_memory();
    let avro = Avro::<Order>::with_schema(&registry, Schema::avro(AVRO));
    let bytes = payload(&avro, &order());
    assert_eq!(encodings(&avro, &order()), 0);
    assert_eq!(decodings(&avro, &bytes), 7);
    let turned_avro = Avro::<Turned>::with_schema(&registry, Schema::avro(AVRO));
    assert_eq!(encodings(&turned_avro, &turned()), 0, "also where the fields are in another order");
    assert_eq!(payload(&turned_avro, &turned()), bytes);
    let borrowed = used(|| {
        let view = avro.view(Some(&bytes), &from()).unwrap();
        assert_eq!(view.get::<OrderRef<'_>>().unwrap().item, "tea");
    });
    assert_eq!(borrowed.0, 1, "the list of tags");

    let json = JsonSchema::<Order>::with_schema(&Registry::in_memory(), Schema::json("{}"));
    assert_eq!(encodings(&json, &order()), 0);
    // A list of JSON has no length: serde_json lets the vector grow, from four.
    assert_eq!(decodings(&json, &payload(&json, &order())), 7);

    let file = Schema::protobuf("syntax = \"proto3\"; message M { int64 id = 1; string customer = 2; }");
    let protobuf = Protobuf::<Message>::with_schema(&Registry::in_memory(), file, "M");
    let message = Message { id: 1, customer: "eva".into() };
    assert_eq!(encodings(&protobuf, &message), 0);
    assert_eq!(decodings(&protobuf, &payload(&protobuf, &message)), 1);

    // schema_registry_converter allocates 268 MB for six such bytes.
    let list = r#"{"type":"array","items":"string"}"#;
    for schema in [AVRO, list, r#"{"type":"map","values":"long"}"#, r#"{"type":"array","items":"null"}"#, "\"string\""]
    {
        let registry = Registry::in_memory();
        let schema = Schema::avro(schema);
        let id = futures::executor::block_on(registry.register("s", &schema)).unwrap().id.unwrap();
        hostile(&Avro::<Order>::with_schema(&registry, schema.clone()), id);
        hostile(&Avro::<Vec<String>>::with_schema(&registry, schema.clone()), id);
        hostile(&Avro::<BTreeMap<String, i64>>::with_schema(&registry, schema.clone()), id);
        hostile(&Avro::<kafka_serde::avro::Value>::with_schema(&registry, schema.clone()), id);
    }
    let registry = Registry::in_memory();
    let file = Schema::protobuf("syntax = \"proto3\"; message M { int64 id = 1; string customer = 2; }");
    let id = futures::executor::block_on(registry.register("s", &file)).unwrap().id.unwrap();
    hostile(&Protobuf::<Message>::with_schema(&registry, file, "M"), id);
}

/// Decodes a prefix and up to six bytes that claim as much as they can.
fn hostile<D: Deserializer>(serde: &D, id: i32) {
    for claim in
        [&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00][..], &[0xff, 0xff, 0xff, 0x7f], &[0x80], &[0x02, 0xfe, 0xff, 0x7f]]
    {
        let bytes = [&[0][..], &id.to_be_bytes(), claim].concat();
        for _ in 0..3 {
            if let Err(Stop::Miss(miss)) = serde.deserialize(Some(&bytes), &from()) {
                futures::executor::block_on(miss.resolve()).unwrap();
            }
        }
        let (_, allocated) = used(|| assert!(serde.deserialize(Some(&bytes), &from()).is_err()));
        assert!(allocated <= 4096, "{allocated} bytes for {claim:x?}");
    }
}
