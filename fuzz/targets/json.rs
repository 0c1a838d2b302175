//! Any bytes as JSON, with and without validation.

#![no_main]

use std::sync::LazyLock;

use fuzz::{decode_behind, registry};
use kafka_serde::{JsonSchema, Schema, Validation};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const SCHEMA: &str = r##"{"type":"object","required":["id"],"properties":{"id":{"type":"integer","minimum":1},
    "name":{"type":"string","pattern":"^[a-z]+$"},"tags":{"type":"array","uniqueItems":true},
    "next":{"anyOf":[{"type":"null"},{"$ref":"#"}]}}}"##;

struct Serdes {
    prefix: Vec<u8>,
    plain: JsonSchema<Value>,
    validated: JsonSchema<Value>,
}

static SERDES: LazyLock<Serdes> = LazyLock::new(|| {
    let (registry, prefix) = registry(&Schema::json(SCHEMA));
    let serde = || JsonSchema::with_schema(&registry, Schema::json(SCHEMA));
    Serdes { prefix, plain: serde().validation(Validation::Off), validated: serde().validation(Validation::Decode) }
});

fuzz_target!(|datum: &[u8]| {
    decode_behind(&SERDES.plain, &SERDES.prefix, datum);
    decode_behind(&SERDES.validated, &SERDES.prefix, datum);
});
