//! Any bytes as the frame: magic byte, id or GUID, message index, in the payload and in the header beside it.

#![no_main]

use std::sync::LazyLock;

use fuzz::{decode, registry};
use kafka_serde::avro::Value;
use kafka_serde::protobuf::DynamicProtobuf;
use kafka_serde::{Avro, FindHeader, JsonSchema, Part, Schema, Source};
use libfuzzer_sys::fuzz_target;

const SCHEMA: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}"#;

struct Serdes {
    avro: Avro<Value>,
    json: JsonSchema<serde_json::Value>,
    protobuf: DynamicProtobuf,
}

static SERDES: LazyLock<Serdes> = LazyLock::new(|| {
    let (registry, _) = registry(&Schema::avro(SCHEMA));
    Serdes {
        avro: Avro::with_schema(&registry, Schema::avro(SCHEMA)),
        json: JsonSchema::with_schema(&registry, Schema::json("true")),
        protobuf: DynamicProtobuf::new(&registry),
    }
});

/// One header that is there, with these bytes.
struct Header<'a>(&'a [u8]);

impl FindHeader for Header<'_> {
    fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        (name == "__value_schema_id").then_some(Some(self.0))
    }
}

// The first byte says how many of the others are the header's; none, and there is no header.
fuzz_target!(|input: (u8, &[u8])| {
    let (length, bytes) = input;
    let (header, payload) = bytes.split_at(usize::from(length).min(bytes.len()));
    let header = Header(header);
    let mut from = Source::new("orders", Part::Value);
    if length > 0 {
        from = from.with_headers(&header);
    }
    decode(&SERDES.avro, payload, &from);
    decode(&SERDES.json, payload, &from);
    decode(&SERDES.protobuf, payload, &from);
});
