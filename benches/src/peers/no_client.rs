//! In place of schema-registry-client, which this build is without.

use crate::frame::{Load, Outcome, Sample};

fn absent() -> Outcome<Sample> {
    Err("schema-registry-client is not in this build: run with --features schema-registry-client".into())
}

pub(crate) fn avro_encode(_load: &Load) -> Outcome<Sample> {
    absent()
}

pub(crate) fn avro_decode(_load: &Load) -> Outcome<Sample> {
    absent()
}

pub(crate) fn json_encode(_load: &Load) -> Outcome<Sample> {
    absent()
}

pub(crate) fn json_decode(_load: &Load) -> Outcome<Sample> {
    absent()
}

pub(crate) fn protobuf_encode(_load: &Load) -> Outcome<Sample> {
    absent()
}

pub(crate) fn protobuf_decode(_load: &Load) -> Outcome<Sample> {
    absent()
}
