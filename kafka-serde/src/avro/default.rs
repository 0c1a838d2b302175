//! Defaults of fields: from the JSON of a schema to the binary form, once a schema.

use std::sync::Arc;

use serde_json::Value as Json;

use super::input::{put_bytes, put_long};
use super::model::{Kind, Logical, Model, NodeId};

/// More than any real default has; a record whose fields default to records of defaults can grow without end.
const LONGEST: usize = 1 << 20;

/// Fills in the binary form of every default that fits its field's type.
pub(crate) fn encode_all(model: &mut Model) {
    for id in 0..model.nodes.len() {
        let Kind::Record(record) = &model.nodes[id].kind else { continue };
        let encoded: Vec<Option<Arc<[u8]>>> =
            record.fields.iter().map(|field| encoded(model, field.node, field.default.as_ref()?)).collect();
        let Kind::Record(record) = &mut model.nodes[id].kind else { continue };
        for (field, bytes) in record.fields.iter_mut().zip(encoded) {
            field.default_bytes = bytes;
        }
    }
}

fn encoded(model: &Model, node: NodeId, json: &Json) -> Option<Arc<[u8]>> {
    let mut out = Vec::new();
    put(model, node, json, 64, &mut out)?;
    Some(out.into())
}

fn put(model: &Model, node: NodeId, json: &Json, deeper: usize, out: &mut Vec<u8>) -> Option<()> {
    if deeper == 0 || out.len() > LONGEST {
        return None;
    }
    let deeper = deeper - 1;
    match (&model.node(node).kind, json) {
        (Kind::Null, Json::Null) => {}
        (Kind::Boolean, Json::Bool(value)) => out.push(u8::from(*value)),
        (Kind::Int, Json::Number(number)) => put_long(i32::try_from(whole(number)?).ok()?.into(), out),
        (Kind::Long, Json::Number(number)) => put_long(whole(number)?, out),
        (Kind::Float, json) => out.extend_from_slice(&(float(json)? as f32).to_le_bytes()),
        (Kind::Double, json) => out.extend_from_slice(&float(json)?.to_le_bytes()),
        (Kind::String, Json::String(text)) => put_bytes(text.as_bytes(), out),
        (Kind::Bytes, Json::String(text)) => put_bytes(&octets(text)?, out),
        (Kind::Fixed(fixed), Json::String(text)) => {
            let octets = match model.node(node).logical {
                // Some write a UUID's default as its text.
                Some(Logical::Uuid) if text.len() == 36 => text.parse::<uuid::Uuid>().ok()?.as_bytes().to_vec(),
                _ => octets(text)?,
            };
            (octets.len() == fixed.size).then_some(())?;
            out.extend_from_slice(&octets);
        }
        (Kind::Enum(kind), Json::String(text)) => {
            put_long(kind.symbols.iter().position(|symbol| **symbol == **text)? as i64, out);
        }
        (Kind::Array(items), Json::Array(list)) => {
            if !list.is_empty() {
                put_long(list.len() as i64, out);
                list.iter().try_for_each(|item| put(model, *items, item, deeper, out))?;
            }
            out.push(0);
        }
        (Kind::Map(values), Json::Object(map)) => {
            if !map.is_empty() {
                put_long(map.len() as i64, out);
            }
            for (key, value) in map {
                put_bytes(key.as_bytes(), out);
                put(model, *values, value, deeper, out)?;
            }
            out.push(0);
        }
        (Kind::Record(record), Json::Object(map)) => {
            for field in &record.fields {
                let json = map.get(&*field.name).or(field.default.as_ref())?;
                put(model, field.node, json, deeper, out)?;
            }
        }
        // Avro asks for the first branch; since 1.12 any will do.
        (Kind::Union(branches), json) => {
            let start = out.len();
            return branches.iter().enumerate().find_map(|(index, branch)| {
                out.truncate(start);
                put_long(index as i64, out);
                put(model, *branch, json, deeper, out)
            });
        }
        _ => return None,
    }
    Some(())
}

/// JSON writes `1` and `1.0` for the same whole number.
fn whole(number: &serde_json::Number) -> Option<i64> {
    number
        .as_i64()
        .or_else(|| number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15).map(|f| f as i64))
}

fn float(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        // As Java writes what JSON has no number for.
        Json::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" | "INF" => Some(f64::INFINITY),
            "-Infinity" | "-INF" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Bytes as a schema's JSON has them: a character for each, U+0000 to U+00FF.
fn octets(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|octet| u8::try_from(u32::from(octet)).ok()).collect()
}
