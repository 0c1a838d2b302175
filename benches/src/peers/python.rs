//! confluent-kafka-python's serializers, in a process of their own that times its own loop.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tests::harness::try_python;

use super::place::Place;
use crate::frame::{Load, Outcome, Sample};
use crate::meter::Used;
use crate::ours::serde::{AVRO, JSON, order};

const PROGRAM: &str = include_str!("serde.py");

/// What the program prints.
#[derive(Deserialize)]
struct Timed {
    wall_s: f64,
    cpu_s: f64,
}

fn timed(load: &Load, format: &str, work: &str) -> Outcome<Sample> {
    let place = Place::new()?;
    let schema = if format == "avro" { AVRO } else { JSON };
    let job = json!({
        "registry": place.url(), "format": format, "do": work, "schema": schema, "record": order(), "count": load.messages
    });
    let Timed { wall_s, cpu_s } = serde_json::from_str(&try_python(PROGRAM, &job.to_string())?)?;
    // Allocations of Python are not counted.
    let used = Used { wall: Duration::from_secs_f64(wall_s), cpu: Duration::from_secs_f64(cpu_s), allocations: 0 };
    Ok(Sample::rate(load.messages, used))
}

pub(crate) fn avro_encode(load: &Load) -> Outcome<Sample> {
    timed(load, "avro", "encode")
}

pub(crate) fn avro_decode(load: &Load) -> Outcome<Sample> {
    timed(load, "avro", "decode")
}

pub(crate) fn json_encode(load: &Load) -> Outcome<Sample> {
    timed(load, "json", "encode")
}

pub(crate) fn json_decode(load: &Load) -> Outcome<Sample> {
    timed(load, "json", "decode")
}

pub(crate) fn protobuf_encode(load: &Load) -> Outcome<Sample> {
    timed(load, "protobuf", "encode")
}

pub(crate) fn protobuf_decode(load: &Load) -> Outcome<Sample> {
    timed(load, "protobuf", "decode")
}
