//! Six bytes behind a schema id that claim a string of 268 MB: what decoding asks the allocator for, before it refuses.

use kafka_serde::avro::Value;
use kafka_serde::{Avro, Deserializer, JsonSchema, Registry, Schema, Validation};

use super::{AVRO, JSON, Order, PROTO, from, protobuf, resolved};
use crate::frame::{Load, Outcome, Sample};
use crate::meter::{Window, bytes_asked};

/// A prefix with the id 1; a first field; and the length of a string.
pub(crate) const AVRO_CLAIM: [u8; 11] = [0, 0, 0, 0, 1, 0x02, 0xfe, 0xff, 0xff, 0xff, 0x01];

/// The same of Protobuf, with the index of the message.
const PROTOBUF_CLAIM: [u8; 11] = [0, 0, 0, 0, 1, 0x00, 0x12, 0xff, 0xff, 0xff, 0x7f];

/// JSON has no lengths to lie about.
const JSON_CLAIM: [u8; 11] = *b"\0\0\0\0\x01[[[[[[";

/// A registry that knows one schema, as 1.
fn registry(schema: Schema) -> Outcome<Registry> {
    let registry = Registry::in_memory();
    match futures::executor::block_on(registry.register("orders-value", &schema))?.id {
        Some(1) => Ok(registry),
        other => Err(format!("the first schema has the id {other:?}").into()),
    }
}

/// Tells what a decoder asks for each time that it is called; warm from the second on.
fn decoder<D: Deserializer>(serde: D, payload: &'static [u8]) -> Box<dyn Fn() -> Outcome<f64>> {
    Box::new(move || {
        let decode = || serde.deserialize(Some(payload), &from()).map(drop);
        match (resolved(decode), bytes_asked(decode)) {
            (Err(_), (Err(_), asked)) => Ok(asked as f64),
            _ => Err("six bytes were taken for a record".into()),
        }
    })
}

/// The worst of all formats.
pub(crate) fn worst(_load: &Load) -> Outcome<Sample> {
    let avro = registry(Schema::avro(AVRO))?;
    let json = registry(Schema::json(JSON))?;
    let json = JsonSchema::<Order>::with_schema(&json, Schema::json(JSON));
    let decoders = [
        ("Avro", decoder(Avro::<Order>::with_schema(&avro, Schema::avro(AVRO)), &AVRO_CLAIM)),
        ("Avro, any value", decoder(Avro::<Value>::from_registry(&avro), &AVRO_CLAIM)),
        ("JSON", decoder(json.clone(), &JSON_CLAIM)),
        ("JSON, validated", decoder(json.validation(Validation::Both), &JSON_CLAIM)),
        ("Protobuf", decoder(protobuf(&registry(Schema::protobuf(PROTO))?), &PROTOBUF_CLAIM)),
    ];
    for (_, decoder) in &decoders {
        decoder()?;
    }
    let (mut cells, mut worst) = (Vec::with_capacity(decoders.len()), 0.0_f64);
    let window = Window::open();
    for (format, decoder) in &decoders {
        let asked = decoder()?;
        worst = worst.max(asked);
        cells.push(((*format).to_owned(), asked));
    }
    // Each of them decodes twice.
    Ok(Sample { cells, ..Sample::bytes(worst, 2 * decoders.len() as u64, window.close()) })
}

/// What the issue allows: 4 KiB.
pub(crate) fn goal(_load: &Load) -> Outcome<Sample> {
    Ok(Sample::bytes(4096.0, 1, Window::open().close()))
}
