//! Payloads of each format, with the schema in order and the bytes from anybody.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures::executor::block_on;
use kafka_serde::avro::Value;
use kafka_serde::protobuf::DynamicProtobuf;
use kafka_serde::{
    Avro, Deserializer, FindHeader, JsonSchema, Part, Protobuf, Registry, Schema, Serializer, Source, Stop, Target,
    Validation,
};
use serde::{Deserialize, Serialize};

use crate::meter::Meter;
use crate::mutate::Dice;
use crate::rounds;

/// What any payload may cost: an error with its message, its field, its causes.
const EVERY: usize = 4 * 1024;

/// What one byte may cost on top: an item that takes one byte is a value of the type's size, in a vector that has grown
/// to it by doubling.
const PER_BYTE: usize = 512;

#[derive(Serialize, Deserialize, Debug)]
struct Order {
    id: i64,
    customer: String,
    paid: bool,
    price: f64,
    note: Option<String>,
    tags: Vec<String>,
    counts: BTreeMap<String, i64>,
    blob: Vec<u8>,
    next: Option<Box<Order>>,
}

fn order(depth: usize) -> Order {
    Order {
        id: 4_211,
        customer: "eva".into(),
        paid: true,
        price: 4.5,
        note: (depth > 0).then(|| "door".into()),
        tags: vec!["hot".into(), "green".into(), String::new()],
        counts: BTreeMap::from([("a".into(), 1), ("b".into(), -2)]),
        blob: vec![0, 255, 128],
        next: (depth > 0).then(|| Box::new(order(depth - 1))),
    }
}

const AVRO: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"id","type":"long"},{"name":"customer","type":"string"},{"name":"paid","type":"boolean"},
    {"name":"price","type":"double"},{"name":"note","type":["null","string"],"default":null},
    {"name":"tags","type":{"type":"array","items":"string"}},{"name":"counts","type":{"type":"map","values":"long"}},
    {"name":"blob","type":{"type":"array","items":"int"}},{"name":"next","type":["null","Order"],"default":null}]}"#;

/// What a reader of tomorrow expects: other names, wider numbers, fields that are not there, fields that are dropped.
const EVOLVED: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"added","type":"string","default":"new"},{"name":"id","type":"double"},
    {"name":"label","aliases":["note"],"type":["string","null"],"default":""},
    {"name":"counts","type":{"type":"map","values":"float"}},{"name":"next","type":["null","Order"],"default":null}]}"#;

fn to() -> Target<'static> {
    Target::new("orders", Part::Value)
}

fn written<S: Serializer>(serde: &S, value: &S::Input) -> Vec<u8> {
    loop {
        let mut out = Vec::new();
        match serde.serialize(value, &mut to(), &mut out) {
            Ok(_) => return out,
            Err(Stop::Miss(miss)) => block_on(miss.resolve()).unwrap(),
            Err(Stop::Error(error)) => panic!("{error:?}"),
        }
    }
}

/// Decodes a warm payload; misses are answered by the registry in the process.
fn decode<D: Deserializer>(serde: &D, bytes: &[u8], from: &Source<'_>) -> Option<Result<D::Output, String>> {
    match serde.deserialize(Some(bytes), from) {
        Ok(value) => Some(Ok(value)),
        Err(Stop::Error(error)) => {
            // Whoever logs it prints all of it.
            let mut text = String::new();
            let _ = write!(text, "{error} {error:?}");
            assert!(text.len() < 16 * 1024, "{} bytes of text for {} of payload", text.len(), bytes.len());
            Some(Err(text))
        }
        Err(Stop::Miss(_)) => None,
    }
}

/// Gives a target payloads that are nearly in order, each with the prefix of `schema`'s id.
fn attack<D: Deserializer>(what: &str, serde: &D, seeds: &[Vec<u8>], of_ci: usize) {
    let meter = Meter::take();
    let from = Source::new("orders", Part::Value);
    for seed in seeds {
        while let Err(stop) = serde.deserialize(Some(seed), &from) {
            let Stop::Miss(miss) = stop else { panic!("{what}: a seed is refused: {stop:?}") };
            block_on(miss.resolve()).unwrap();
        }
    }
    let (mut good, mut worst) = (0, 0.0_f64);
    let mut dice = Dice::new(0x00dd_ba11 ^ what.len() as u64);
    let datums = Vec::from_iter(seeds.iter().map(|seed| seed[5..].to_vec()));
    for round in 0..rounds(of_ci) {
        // The id is left in place: an unknown one is another test's.
        let payload = [&seeds[round % seeds.len()][..5], &dice.payload(&datums)].concat();
        let most = EVERY + PER_BYTE * payload.len();
        let mut outcome = None;
        let used = meter.bytes(most, || outcome = serde.deserialize(Some(&payload), &from).ok().map(drop));
        assert!(used <= most, "{what}: {used} bytes for a payload of {}: {payload:02x?}", payload.len());
        worst = worst.max(used as f64 / most as f64);
        good += usize::from(outcome.is_some());
        let _ = decode(serde, &payload, &from);
    }
    // Else the payloads were too broken to get anywhere.
    assert!(good * 100 > rounds(of_ci), "{what}: only {good} of {} were read", rounds(of_ci));
    println!("{what}: {good} of {} read; at most {:.0} % of what they may use", rounds(of_ci), worst * 100.0);
}

#[test]
fn avro_survives_any_bytes() {
    let registry = Registry::in_memory();
    let typed = Avro::<Order>::with_schema(&registry, Schema::avro(AVRO));
    let seeds = [0, 1, 3].map(|depth| written(&typed, &order(depth)));
    attack("avro, typed", &typed, &seeds, 20_000);
    attack("avro, any value", &Avro::<Value>::with_schema(&registry, Schema::avro(AVRO)), &seeds, 20_000);
    attack("avro, ignored", &Avro::<serde::de::IgnoredAny>::with_schema(&registry, Schema::avro(AVRO)), &seeds, 5_000);
    let evolved = Avro::<Value>::with_schema(&registry, Schema::avro(EVOLVED));
    attack("avro, evolved", &evolved, &seeds, 20_000);
}

#[test]
fn avro_of_every_shape_survives_any_bytes() {
    for schema in [
        r#""bytes""#,
        r#""string""#,
        r#"{"type":"array","items":"null"}"#,
        r#"{"type":"array","items":{"type":"array","items":{"type":"array","items":"boolean"}}}"#,
        r#"{"type":"map","values":{"type":"map","values":"null"}}"#,
        r#"["null",{"type":"fixed","name":"F","size":3},{"type":"enum","name":"E","symbols":["A","B"]}]"#,
        r#"{"type":"bytes","logicalType":"decimal","precision":30,"scale":2}"#,
        r#"{"type":"record","name":"E","fields":[]}"#,
        r#"{"type":"record","name":"T","fields":[{"name":"kids","type":{"type":"array","items":"T"}}]}"#,
    ] {
        let registry = Registry::in_memory();
        let schema = Schema::avro(schema);
        let id = block_on(registry.register("orders-value", &schema)).unwrap().id.unwrap();
        let serde = Avro::<Value>::with_schema(&registry, schema.clone());
        let mut seeds = Vec::new();
        let mut dice = Dice::new(7);
        // Whatever noise is in order is a start.
        while seeds.len() < 20 {
            let length = dice.roll(12);
            let noise: Vec<u8> = dice.bytes(length).iter().map(|byte| byte & 7).collect();
            let payload = [&[0][..], &id.to_be_bytes(), &noise].concat();
            let from = Source::new("orders", Part::Value);
            if let Err(Stop::Miss(miss)) = serde.deserialize(Some(&payload), &from) {
                block_on(miss.resolve()).unwrap();
            }
            if serde.deserialize(Some(&payload), &from).is_ok() {
                seeds.push(payload);
            } else {
                // The empty value, of most.
                let least = [&[0][..], &id.to_be_bytes(), &[0]].concat();
                let least = if serde.deserialize(Some(&least), &from).is_ok() { least } else { least[..5].to_vec() };
                if serde.deserialize(Some(&least), &from).is_ok() {
                    seeds.push(least);
                }
            }
        }
        attack(&format!("avro, {}", schema.text), &serde, &seeds, 4_000);
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    customer: String,
    #[prost(string, repeated, tag = "3")]
    tags: Vec<String>,
    #[prost(btree_map = "string, int64", tag = "4")]
    counts: BTreeMap<String, i64>,
    #[prost(message, optional, boxed, tag = "5")]
    next: Option<Box<Message>>,
    #[prost(message, repeated, tag = "6")]
    kids: Vec<Message>,
    #[prost(double, repeated, tag = "7")]
    prices: Vec<f64>,
}

const PROTO: &str = "syntax = \"proto3\"; package shop;
    message Other { message Inner { string text = 1; } Inner inner = 1; }
    message Message { int64 id = 1; string customer = 2; repeated string tags = 3; map<string, int64> counts = 4;
        Message next = 5; repeated Message kids = 6; repeated double prices = 7; }";

fn message(depth: usize) -> Message {
    Message {
        id: -1,
        customer: "eva".into(),
        tags: vec!["hot".into(), String::new()],
        counts: BTreeMap::from([("a".into(), 1)]),
        next: (depth > 0).then(|| Box::new(message(depth - 1))),
        kids: (0..depth).map(message).collect(),
        prices: vec![0.5, 1.5],
    }
}

#[test]
fn protobuf_survives_any_bytes() {
    let registry = Registry::in_memory();
    let typed = Protobuf::<Message>::with_schema(&registry, Schema::protobuf(PROTO), "shop.Message");
    let seeds = [0, 1, 3].map(|depth| written(&typed, &message(depth)));
    attack("protobuf, typed", &typed, &seeds, 20_000);
    attack("protobuf, any message", &DynamicProtobuf::new(&registry), &seeds, 10_000);
}

const JSON: &str = r##"{"type":"object","required":["id"],"properties":{"id":{"type":"integer","minimum":1},
    "customer":{"type":"string","pattern":"^[a-z]+$"},"tags":{"type":"array","items":{"type":"string"},"uniqueItems":true},
    "next":{"anyOf":[{"type":"null"},{"$ref":"#"}]}}}"##;

#[test]
fn json_survives_any_bytes() {
    let registry = Registry::in_memory();
    let plain = JsonSchema::<Order>::with_schema(&registry, Schema::json(JSON));
    let seeds = [0, 1, 3].map(|depth| written(&plain, &order(depth)));
    attack("json, typed", &plain, &seeds, 20_000);
    attack("json, validated", &plain.clone().validation(Validation::Both), &seeds, 10_000);
    let any =
        JsonSchema::<serde_json::Value>::with_schema(&registry, Schema::json(JSON)).validation(Validation::Decode);
    attack("json, any value", &any, &seeds, 10_000);
}

/// Headers of one record.
struct Headers(Vec<(&'static str, Option<Vec<u8>>)>);

impl FindHeader for Headers {
    fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        self.0.iter().rfind(|(known, _)| *known == name).map(|(_, value)| value.as_deref())
    }
}

#[test]
fn frames_and_headers_survive_any_bytes() {
    let registry = Registry::in_memory();
    let avro = Avro::<Order>::with_schema(&registry, Schema::avro(AVRO));
    let protobuf = Protobuf::<Message>::with_schema(&registry, Schema::protobuf(PROTO), "shop.Message");
    let mut seeds = vec![written(&avro, &order(0))];
    let other = Protobuf::<Message>::with_schema(&registry, Schema::protobuf(PROTO), "shop.Message")
        .subject(kafka_serde::SubjectName::custom(|_, _, _| "messages".into()));
    seeds.push(written(&other, &message(1)));
    for id in [1_i32, 2] {
        let found = block_on(registry.schema(id)).unwrap();
        seeds.push([&[1][..], found.guid.unwrap().as_bytes(), &seeds[id as usize - 1][5..]].concat());
    }
    let heads = Vec::from_iter(seeds.iter().map(|seed| seed[..seed.len().min(22)].to_vec()));
    let meter = Meter::take();
    let (mut dice, mut missed) = (Dice::new(0xf4a3), 0);
    for _ in 0..rounds(30_000) {
        let payload = dice.payload(&seeds);
        let mut headers = Headers(Vec::new());
        for _ in 0..dice.roll(3) {
            let name = ["__value_schema_id", "__key_schema_id", "trace"][dice.roll(3)];
            let value = (dice.roll(6) > 0).then(|| dice.payload(&heads));
            headers.0.push((name, value));
        }
        let part = [Part::Key, Part::Value][dice.roll(2)];
        let from = Source::new("orders", part).with_headers(&headers);
        let most = EVERY + PER_BYTE * (payload.len() + 64);
        let mut misses = 0;
        let used = meter.bytes(most, || {
            for stop in
                [avro.deserialize(Some(&payload), &from).err(), protobuf.deserialize(Some(&payload), &from).err()]
            {
                misses += usize::from(matches!(stop, Some(Stop::Miss(_))));
            }
        });
        assert!(used <= most, "{used} bytes for {payload:02x?} with {:02x?}", headers.0);
        missed += misses;
    }
    assert!(missed > 0, "ids that nobody knows are asked for");
}
