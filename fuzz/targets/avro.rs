//! Any bytes as Avro: to any value, to one that is passed over, and through another reader's schema.

#![no_main]

use std::sync::LazyLock;

use fuzz::{decode_behind, registry};
use kafka_serde::avro::Value;
use kafka_serde::{Avro, Schema};
use libfuzzer_sys::fuzz_target;

const WRITER: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"id","type":"long"},{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9}},
    {"name":"note","type":["null","string",{"type":"enum","name":"Kind","symbols":["A","B"]}]},
    {"name":"tags","type":{"type":"array","items":{"type":"map","values":"float"}}},
    {"name":"hash","type":{"type":"fixed","name":"Hash","size":2}},{"name":"next","type":["null","Order"]}]}"#;

/// What another reader expects: wider numbers, fields that are not there, fields that are dropped.
const READER: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"added","type":"string","default":"new"},{"name":"id","type":"double"},
    {"name":"next","type":["null","Order"],"default":null}]}"#;

struct Serdes {
    prefix: Vec<u8>,
    any: Avro<Value>,
    ignored: Avro<serde::de::IgnoredAny>,
    evolved: Avro<Value>,
}

static SERDES: LazyLock<Serdes> = LazyLock::new(|| {
    let (registry, prefix) = registry(&Schema::avro(WRITER));
    Serdes {
        prefix,
        any: Avro::with_schema(&registry, Schema::avro(WRITER)),
        ignored: Avro::with_schema(&registry, Schema::avro(WRITER)),
        evolved: Avro::with_schema(&registry, Schema::avro(READER)),
    }
});

fuzz_target!(|datum: &[u8]| {
    decode_behind(&SERDES.any, &SERDES.prefix, datum);
    decode_behind(&SERDES.ignored, &SERDES.prefix, datum);
    decode_behind(&SERDES.evolved, &SERDES.prefix, datum);
});
