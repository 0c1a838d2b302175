//! The Avro schemas of Rust types: what `#[derive(AvroSchema)]` is made of.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use crate::Schema;

/// A type with a place in an Avro schema.
///
/// `#[derive(AvroSchema)]` implements it for structs and enums; here it is implemented for what they are made of. A
/// `Vec<u8>` is an array of ints unless its field says `#[avro(bytes)]`.
pub trait AvroType {
    /// Appends the type's schema.
    fn write(schema: &mut SchemaText);
}

/// The text of a schema while it is written.
#[derive(Debug, Default)]
pub struct SchemaText {
    json: String,
    /// The types that are defined already: a second time, their name is enough.
    defined: Vec<String>,
    /// The namespaces around.
    spaces: Vec<String>,
}

impl SchemaText {
    /// The schema of `T`.
    pub fn of<T: AvroType>() -> Schema {
        let mut text = Self::default();
        T::write(&mut text);
        Schema::avro(text.json)
    }

    /// Appends JSON as it is.
    pub fn raw(&mut self, json: &str) {
        self.json.push_str(json);
    }

    /// Appends a record; a type without a namespace is in that of the type around it.
    pub fn record(
        &mut self,
        name: &str,
        namespace: Option<&str>,
        doc: Option<&str>,
        aliases: &[&str],
        fields: impl FnOnce(&mut RecordText<'_>),
    ) {
        if !self.begin("record", name, namespace, doc, aliases) {
            return;
        }
        self.raw(",\"fields\":[");
        fields(&mut RecordText { schema: self, first: true });
        self.raw("]}");
        self.spaces.pop();
    }

    /// Appends an enum.
    pub fn enumeration(
        &mut self,
        name: &str,
        namespace: Option<&str>,
        doc: Option<&str>,
        aliases: &[&str],
        symbols: &[&str],
        default: Option<&str>,
    ) {
        if !self.begin("enum", name, namespace, doc, aliases) {
            return;
        }
        self.raw(",\"symbols\":");
        self.list(symbols);
        if let Some(default) = default {
            self.raw(",\"default\":");
            self.string(default);
        }
        self.raw("}");
        self.spaces.pop();
    }

    /// Appends a union of what these append.
    pub fn union(&mut self, branches: &[fn(&mut SchemaText)]) {
        self.raw("[");
        for (index, branch) in branches.iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            branch(self);
        }
        self.raw("]");
    }

    /// Starts a definition, and its namespace; `false` where the type is defined already, and its name was appended.
    fn begin(&mut self, kind: &str, name: &str, namespace: Option<&str>, doc: Option<&str>, aliases: &[&str]) -> bool {
        let space = namespace.or(self.spaces.last().map(String::as_str)).unwrap_or_default().to_owned();
        let full = if space.is_empty() { name.to_owned() } else { format!("{space}.{name}") };
        if self.defined.contains(&full) {
            self.string(&full);
            return false;
        }
        self.raw(&format!("{{\"type\":\"{kind}\",\"name\":"));
        self.string(name);
        if namespace.is_some() {
            self.raw(",\"namespace\":");
            self.string(&space);
        }
        if let Some(doc) = doc {
            self.raw(",\"doc\":");
            self.string(doc);
        }
        if !aliases.is_empty() {
            self.raw(",\"aliases\":");
            self.list(aliases);
        }
        self.defined.push(full);
        self.spaces.push(space);
        true
    }

    fn list(&mut self, texts: &[&str]) {
        self.raw("[");
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            self.string(text);
        }
        self.raw("]");
    }

    fn string(&mut self, text: &str) {
        // A text is never refused.
        let _ = write!(self.json, "{}", serde_json::Value::from(text));
    }
}

/// The fields of a record while it is written.
#[derive(Debug)]
pub struct RecordText<'a> {
    schema: &'a mut SchemaText,
    first: bool,
}

impl RecordText<'_> {
    /// Appends a field; `default` is JSON. An `Option` without a default has null.
    pub fn field(
        &mut self,
        name: &str,
        aliases: &[&str],
        doc: Option<&str>,
        default: Option<&str>,
        write: impl FnOnce(&mut SchemaText),
    ) {
        let schema = &mut *self.schema;
        if !std::mem::take(&mut self.first) {
            schema.raw(",");
        }
        schema.raw("{\"name\":");
        schema.string(name);
        if let Some(doc) = doc {
            schema.raw(",\"doc\":");
            schema.string(doc);
        }
        if !aliases.is_empty() {
            schema.raw(",\"aliases\":");
            schema.list(aliases);
        }
        schema.raw(",\"type\":");
        let start = schema.json.len();
        write(schema);
        let optional = schema.json[start..].starts_with("[\"null\"");
        if let Some(default) = default.or(optional.then_some("null")) {
            schema.raw(",\"default\":");
            schema.raw(default);
        }
        schema.raw("}");
    }
}

macro_rules! primitives {
    ($($json:literal: $($type:ty)*;)*) => {$($(
        impl AvroType for $type {
            fn write(schema: &mut SchemaText) {
                schema.raw($json);
            }
        }
    )*)*};
}

primitives! {
    "\"null\"": ();
    "\"boolean\"": bool;
    "\"int\"": i8 i16 i32 u8 u16;
    "\"long\"": i64 u32 u64;
    "\"float\"": f32;
    "\"double\"": f64;
    "\"string\"": String str char;
    "{\"type\":\"string\",\"logicalType\":\"uuid\"}": uuid::Uuid;
}

macro_rules! around {
    ($($before:literal $type:ty, $after:literal;)*) => {$(
        impl<T: AvroType> AvroType for $type {
            fn write(schema: &mut SchemaText) {
                schema.raw($before);
                T::write(schema);
                schema.raw($after);
            }
        }
    )*};
}

around! {
    "[\"null\"," Option<T>, "]";
    "{\"type\":\"array\",\"items\":" Vec<T>, "}";
    "{\"type\":\"array\",\"items\":" [T], "}";
    "{\"type\":\"map\",\"values\":" BTreeMap<String, T>, "}";
}

impl<T: AvroType, S> AvroType for HashMap<String, T, S> {
    fn write(schema: &mut SchemaText) {
        BTreeMap::<String, T>::write(schema);
    }
}

macro_rules! through {
    ($($type:ty)*) => {$(
        impl<T: AvroType + ?Sized> AvroType for $type {
            fn write(schema: &mut SchemaText) {
                T::write(schema);
            }
        }
    )*};
}

through! { &T Box<T> Arc<T> }
