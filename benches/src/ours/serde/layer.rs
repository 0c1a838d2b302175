//! What a registered schema costs above the codec: one side has to find it and to write and read its id, the other has it
//! in hand and knows the data alone.

use std::hint::black_box;

use kafka_serde::internals::BareAvro;
use prost::Message as _;

use super::{AVRO, Message, Order, message, order};
use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;

/// The same in nanoseconds a record.
fn in_ns(sample: Outcome<Sample>) -> Outcome<Sample> {
    let Sample { operations, used, .. } = sample?;
    Ok(Sample::nanoseconds(operations, used))
}

/// The same, with what a record allocates: the line tells it of encoding only.
fn in_ns_counted(sample: Outcome<Sample>) -> Outcome<Sample> {
    let Sample { operations, used, .. } = sample?;
    let allocations = used.allocations as f64 / operations as f64;
    Ok(Sample { figures: [Some(("allocs_per_op", allocations)), None, None], ..Sample::nanoseconds(operations, used) })
}

/// Writes one value again and again, into one buffer.
fn encode(load: &Load, mut write: impl FnMut(&mut Vec<u8>) -> Outcome<()>) -> Outcome<Sample> {
    let mut out = Vec::with_capacity(256);
    let window = Window::open();
    for _ in 0..load.messages {
        out.clear();
        write(&mut out)?;
        black_box(&out);
    }
    Ok(Sample::nanoseconds(load.messages, window.close()))
}

/// Reads one datum again and again.
fn decode<T>(load: &Load, bytes: &[u8], read: impl Fn(&[u8]) -> Outcome<T>) -> Outcome<Sample> {
    let window = Window::open();
    for _ in 0..load.messages {
        black_box(read(black_box(bytes))?);
    }
    Ok(Sample::nanoseconds(load.messages, window.close()))
}

pub(crate) fn avro_encode(load: &Load) -> Outcome<Sample> {
    in_ns(super::avro_encode(load))
}

pub(crate) fn avro_decode(load: &Load) -> Outcome<Sample> {
    in_ns_counted(super::avro_decode(load))
}

pub(crate) fn bare_avro_encode(load: &Load) -> Outcome<Sample> {
    let (codec, value) = (BareAvro::new(AVRO)?, order());
    encode(load, |out| Ok(codec.encode(black_box(&value), out)?))
}

pub(crate) fn bare_avro_decode(load: &Load) -> Outcome<Sample> {
    let codec = BareAvro::new(AVRO)?;
    let mut bytes = Vec::new();
    codec.encode(&order(), &mut bytes)?;
    let window = Window::open();
    for _ in 0..load.messages {
        black_box(codec.decode::<Order>(black_box(&bytes))?);
    }
    Ok(Sample::nanoseconds(load.messages, window.close()))
}

pub(crate) fn json_encode(load: &Load) -> Outcome<Sample> {
    in_ns(super::json_encode(load))
}

pub(crate) fn json_decode(load: &Load) -> Outcome<Sample> {
    in_ns_counted(super::json_decode(load))
}

pub(crate) fn bare_json_encode(load: &Load) -> Outcome<Sample> {
    let value = order();
    encode(load, |out| Ok(serde_json::to_writer(out, black_box(&value))?))
}

pub(crate) fn bare_json_decode(load: &Load) -> Outcome<Sample> {
    decode(load, &serde_json::to_vec(&order())?, |bytes| Ok(serde_json::from_slice::<Order>(bytes)?))
}

pub(crate) fn protobuf_encode(load: &Load) -> Outcome<Sample> {
    in_ns(super::protobuf_encode(load))
}

pub(crate) fn protobuf_decode(load: &Load) -> Outcome<Sample> {
    in_ns_counted(super::protobuf_decode(load))
}

pub(crate) fn bare_protobuf_encode(load: &Load) -> Outcome<Sample> {
    let value = message();
    encode(load, |out| Ok(black_box(&value).encode(out)?))
}

pub(crate) fn bare_protobuf_decode(load: &Load) -> Outcome<Sample> {
    decode(load, &message().encode_to_vec(), |bytes| Ok(Message::decode(bytes)?))
}
