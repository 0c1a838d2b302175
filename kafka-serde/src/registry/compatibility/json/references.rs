//! `$ref`: to a place in the same document, or to another one by its name or its `$id`.

use serde_json::Value;

use super::Document;

impl Document {
    /// The schema that `target` names, from within the document `base`, and the document it is in.
    pub(super) fn find<'a>(&'a self, target: &str, base: &'a Value) -> Option<(&'a Value, &'a Value)> {
        let (address, fragment) = target.split_once('#').unwrap_or((target, ""));
        let document = if address.is_empty() { base } else { self.document(address, base)? };
        let found = match fragment {
            "" => document,
            // A JSON pointer within an address has its own characters escaped twice.
            pointer if pointer.starts_with('/') => document.pointer(&unescaped(pointer))?,
            anchor => anchored(document, anchor)?,
        };
        Some((found, document))
    }

    fn document<'a>(&'a self, address: &str, base: &'a Value) -> Option<&'a Value> {
        if let Some(named) = self.others.get(address) {
            return Some(named);
        }
        let full = match id(base).and_then(|id| id.rsplit_once('/')) {
            Some((folder, _)) if !address.contains("://") => format!("{folder}/{address}"),
            _ => address.to_owned(),
        };
        if let Some(named) = self.others.get(&full) {
            return Some(named);
        }
        std::iter::once(&self.root)
            .chain(self.others.values())
            .find(|document| id(document).is_some_and(|id| id == full))
    }
}

fn id(document: &Value) -> Option<&str> {
    let id = document.get("$id").or_else(|| document.get("id"))?.as_str()?;
    Some(id.trim_end_matches('#'))
}

/// A schema that calls itself by `$anchor`, or by an `$id` of a fragment alone, one level into the definitions.
fn anchored<'a>(document: &'a Value, anchor: &str) -> Option<&'a Value> {
    let is = |schema: &&Value| {
        schema.get("$anchor").and_then(Value::as_str) == Some(anchor)
            || schema.get("$id").and_then(Value::as_str).and_then(|id| id.strip_prefix('#')) == Some(anchor)
    };
    let defined = ["$defs", "definitions"].iter().filter_map(|name| document.get(name)?.as_object());
    std::iter::once(document).chain(defined.flat_map(|all| all.values())).find(is)
}

fn unescaped(pointer: &str) -> String {
    let bytes = pointer.as_bytes();
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, others)) = rest.split_first() {
        let digits = others.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if first == b'%' => {
                text.push(byte);
                rest = &others[2..];
            }
            _ => {
                text.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
