//! Values to bytes and back with registered schemas: warm, in one thread, into one buffer.

pub(crate) mod hostile;
pub(crate) mod layer;
mod record;

use std::hint::black_box;

use kafka_serde::{
    Avro, Deserializer, JsonSchema, Part, Protobuf, Registry, Schema, Serializer, Source, Stop, Target, Validation,
};

pub(crate) use self::record::{AVRO, JSON, Message, OLDER, Order, OrderRef, PROTO, message, order};
use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;

const TOPIC: &str = "orders";

fn to() -> Target<'static> {
    Target::new(TOPIC, Part::Value)
}

fn from() -> Source<'static> {
    Source::new(TOPIC, Part::Value)
}

/// What a warm serde stops with.
#[cold]
fn cold(stop: Stop) -> String {
    stop.to_string()
}

/// Does what a client does: resolves what is missed, and asks again.
fn resolved<T>(work: impl Fn() -> Result<T, Stop>) -> Outcome<T> {
    loop {
        match work() {
            Ok(done) => return Ok(done),
            Err(Stop::Miss(miss)) => futures::executor::block_on(miss.resolve())?,
            Err(Stop::Error(error)) => return Err(error.into()),
        }
    }
}

fn encoded<S: Serializer>(serde: &S, value: &S::Input) -> Outcome<Vec<u8>> {
    resolved(|| {
        let mut out = Vec::new();
        serde.serialize(value, &mut to(), &mut out).map(|_| out)
    })
}

fn warm<D: Deserializer>(serde: &D, bytes: &[u8]) -> Outcome<()> {
    resolved(|| serde.deserialize(Some(bytes), &from()).map(drop))
}

/// Encodes one value again and again.
fn encode<S: Serializer>(load: &Load, serde: &S, value: &S::Input) -> Outcome<Sample> {
    let mut out = encoded(serde, value)?;
    let window = Window::open();
    for _ in 0..load.messages {
        out.clear();
        serde.serialize(black_box(value), &mut to(), &mut out).map_err(cold)?;
        black_box(&out);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

/// Decodes one payload again and again.
fn decode<D: Deserializer>(load: &Load, serde: &D, bytes: &[u8]) -> Outcome<Sample> {
    warm(serde, bytes)?;
    let window = Window::open();
    for _ in 0..load.messages {
        black_box(serde.deserialize(Some(black_box(bytes)), &from()).map_err(cold)?);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

fn avro(registry: &Registry) -> Avro<Order> {
    Avro::with_schema(registry, Schema::avro(AVRO))
}

pub(crate) fn avro_encode(load: &Load) -> Outcome<Sample> {
    encode(load, &avro(&Registry::in_memory()), &order())
}

pub(crate) fn avro_decode(load: &Load) -> Outcome<Sample> {
    let avro = avro(&Registry::in_memory());
    decode(load, &avro, &encoded(&avro, &order())?)
}

pub(crate) fn avro_borrow(load: &Load) -> Outcome<Sample> {
    let avro = avro(&Registry::in_memory());
    let bytes = encoded(&avro, &order())?;
    warm(&avro, &bytes)?;
    let window = Window::open();
    for _ in 0..load.messages {
        let view = avro.view(Some(black_box(&bytes)), &from()).map_err(cold)?;
        black_box(view.get::<OrderRef<'_>>()?);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

pub(crate) fn avro_evolved(load: &Load) -> Outcome<Sample> {
    let registry = Registry::in_memory();
    let older = Avro::<record::Older>::with_schema(&registry, Schema::avro(OLDER));
    decode(load, &avro(&registry), &encoded(&older, &record::older())?)
}

pub(crate) fn avro_two_threads(load: &Load) -> Outcome<Sample> {
    let avro = avro(&Registry::in_memory());
    encoded(&avro, &order())?;
    let half = load.messages / 2;
    let window = Window::open();
    std::thread::scope(|scope| {
        let work = || -> Result<(), String> {
            let (value, mut out) = (order(), Vec::with_capacity(256));
            for _ in 0..half {
                out.clear();
                avro.serialize(black_box(&value), &mut to(), &mut out).map_err(cold)?;
                black_box(&out);
            }
            Ok(())
        };
        let other = scope.spawn(work);
        work()?;
        other.join().map_err(|_| "a thread panicked")?
    })?;
    Ok(Sample::rate(2 * half, window.close()))
}

fn json(registry: &Registry) -> JsonSchema<Order> {
    JsonSchema::with_schema(registry, Schema::json(JSON))
}

pub(crate) fn json_encode(load: &Load) -> Outcome<Sample> {
    encode(load, &json(&Registry::in_memory()), &order())
}

pub(crate) fn json_validated(load: &Load) -> Outcome<Sample> {
    encode(load, &json(&Registry::in_memory()).validation(Validation::Encode), &order())
}

pub(crate) fn json_decode(load: &Load) -> Outcome<Sample> {
    let json = json(&Registry::in_memory());
    decode(load, &json, &encoded(&json, &order())?)
}

fn protobuf(registry: &Registry) -> Protobuf<Message> {
    Protobuf::with_schema(registry, Schema::protobuf(PROTO), "shop.Order")
}

pub(crate) fn protobuf_encode(load: &Load) -> Outcome<Sample> {
    encode(load, &protobuf(&Registry::in_memory()), &message())
}

pub(crate) fn protobuf_decode(load: &Load) -> Outcome<Sample> {
    let protobuf = protobuf(&Registry::in_memory());
    decode(load, &protobuf, &encoded(&protobuf, &message())?)
}
