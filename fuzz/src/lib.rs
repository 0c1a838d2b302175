//! What the fuzz targets have in common: a registry with one schema, and bytes from anybody behind its id.
//!
//! ```text
//!   bytes ──▶ [prefix of an id that is there] ──▶ decode ──▶ a value or an error, printed; never a panic
//! ```
//!
//! `.ci/fuzz` gives each target a short run, guided by coverage, the same every time; `FUZZ_RUNS` makes it longer.
//! `cargo fuzz run --features libfuzzer --sanitizer none avro` goes on until it finds something. What a payload may cost in
//! memory is the promise of `kafka-serde/tests/hostile`, which mutates payloads that are in order, in every test run.

use futures::executor::block_on;
use kafka_serde::{Deserializer, Part, Registry, Schema, Source, Stop};

/// How often a record may ask for what it lacks: its schema, by header and by prefix.
const MOST_MISSES: usize = 4;

/// A registry in the process that knows one schema, and the prefix of its payloads.
///
/// # Panics
///
/// If the schema is refused: a target with a broken schema would prove nothing.
pub fn registry(schema: &Schema) -> (Registry, Vec<u8>) {
    let registry = Registry::in_memory();
    match block_on(registry.register("orders-value", schema)) {
        Ok(registered) => {
            let id = registered.id.unwrap_or_default();
            (registry, [&[0][..], &id.to_be_bytes()].concat())
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Decodes a payload as a consumer does: what is missing is asked for, and the record tried again; errors are printed.
///
/// # Panics
///
/// If it asks for more and more.
pub fn decode<D: Deserializer>(serde: &D, payload: &[u8], from: &Source<'_>) {
    for _ in 0..MOST_MISSES {
        let error = match serde.deserialize(Some(payload), from) {
            Ok(value) => return drop(value),
            Err(Stop::Error(error)) => error,
            Err(Stop::Miss(miss)) => match block_on(miss.resolve()) {
                Ok(()) => continue,
                Err(error) => error,
            },
        };
        return drop(format!("{error} {error:?}"));
    }
    panic!("it asks for more and more");
}

/// Decodes bytes behind a prefix that is in order.
pub fn decode_behind<D: Deserializer>(serde: &D, prefix: &[u8], datum: &[u8]) {
    decode(serde, &[prefix, datum].concat(), &Source::new("orders", Part::Value));
}
