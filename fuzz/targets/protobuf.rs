//! Any bytes as Protobuf: the index of the message and the message, by its descriptor.

#![no_main]

use std::sync::LazyLock;

use fuzz::{decode_behind, registry};
use kafka_serde::Schema;
use kafka_serde::protobuf::DynamicProtobuf;
use libfuzzer_sys::fuzz_target;

const SCHEMA: &str = r#"syntax = "proto3"; package shop;
    message Other { message Inner { string text = 1; } Inner inner = 1; map<string, Inner> inners = 2; }
    message Order { message Line { string item = 1; sint32 count = 2; } int64 id = 1; repeated Line lines = 2;
        map<string, Order> by_name = 3; oneof how { double price = 4; bytes token = 5; } repeated fixed32 packed = 6; }"#;

static SERDE: LazyLock<(DynamicProtobuf, Vec<u8>)> = LazyLock::new(|| {
    let (registry, prefix) = registry(&Schema::protobuf(SCHEMA));
    (DynamicProtobuf::new(&registry), prefix)
});

fuzz_target!(|datum: &[u8]| decode_behind(&SERDE.0, &SERDE.1, datum));
