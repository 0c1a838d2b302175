//! The engine without a registry, and the serde with one; apache-avro is the second opinion.

mod evolution;
mod generated;
mod poison;
mod registered;
mod types;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Model, Plan, Value, parse, read, strip, value, write};
use crate::avro::input::Input;

fn model(text: &str) -> Model {
    parse::parse(text, []).unwrap()
}

fn plan(writer: &str, reader: &str) -> Plan {
    Plan::resolve(&model(writer), &model(reader)).unwrap()
}

fn encode<T: Serialize + ?Sized>(schema: &str, value: &T) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(&model(schema), value, &mut out).unwrap();
    out.split_off(6)
}

fn refused<T: Serialize + ?Sized>(schema: &str, value: &T) -> String {
    write(&model(schema), value, &mut Vec::new()).unwrap_err().to_string()
}

fn decode<T: DeserializeOwned>(schema: &str, bytes: &[u8]) -> Result<T, String> {
    evolve(schema, schema, bytes)
}

fn evolve<T: DeserializeOwned>(writer: &str, reader: &str, bytes: &[u8]) -> Result<T, String> {
    read::<T>(&plan(writer, reader), bytes).map_err(|fault| fault.to_string())
}

fn encode_value(schema: &str, value: &Value) -> Vec<u8> {
    let (mut out, model) = (Vec::new(), model(schema));
    value::write(&model, value, &mut out).unwrap();
    strip(&model, 0, &mut out);
    out
}

fn evolve_value(writer: &str, reader: &str, bytes: &[u8]) -> Result<Value, String> {
    let plan = plan(writer, reader);
    let mut input = Input::new(bytes);
    let read = value::read(&plan, &mut input).and_then(|value| input.end().map(|()| value));
    read.map_err(|fault| fault.to_string())
}

fn decode_value(schema: &str, bytes: &[u8]) -> Result<Value, String> {
    evolve_value(schema, schema, bytes)
}

/// A record schema of these fields.
fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

/// What apache-avro reads.
fn theirs(schema: &str, bytes: &[u8]) -> apache_avro::types::Value {
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &*bytes).unwrap()
}
