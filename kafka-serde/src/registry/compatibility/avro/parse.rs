//! Reads the JSON of an Avro schema, with its names.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Body, Field, Named, Primitive, Schema, Type};
use crate::registry::compatibility::DEEPEST;
use crate::{RegisteredSchema, SchemaType};

/// Reads a schema after all that it refers to, whose names it may use.
pub(super) fn parse(schema: &RegisteredSchema) -> Result<Schema, String> {
    let mut parser = Parser { named: BTreeMap::new(), depth: 0 };
    for (reference, used) in schema.dependencies() {
        let of = |why| format!("reference {}: {why}", reference.name);
        if used.schema.schema_type != SchemaType::Avro {
            return Err(of("it is not an Avro schema".to_owned()));
        }
        // The same schema may be used by two names.
        let before = parser.named.keys().cloned().collect::<Vec<_>>();
        let mut alone = Parser { named: std::mem::take(&mut parser.named), depth: 0 };
        match alone.text(&used.schema.text) {
            Ok(_) => {}
            Err(Refusal::Twice(name)) if before.contains(&name) => {}
            Err(refusal) => return Err(of(refusal.to_string())),
        }
        parser.named = alone.named;
    }
    let root = parser.text(&schema.schema.text).map_err(|refusal| refusal.to_string())?;
    Ok(Schema { root, named: parser.named })
}

struct Parser {
    named: BTreeMap<String, Named>,
    depth: usize,
}

/// Why a schema cannot be read.
enum Refusal {
    /// A name is defined twice.
    Twice(String),
    Other(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Twice(name) => write!(f, "{name} is defined twice"),
            Refusal::Other(why) => f.write_str(why),
        }
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Refusal::Other(why)
    }
}

type Read<T> = Result<T, Refusal>;

impl Parser {
    fn text(&mut self, text: &str) -> Read<Type> {
        // A primitive may stand there bare, as older clients register it.
        if let Some(primitive) = Primitive::named(text.trim()) {
            return Ok(Type::Primitive(primitive));
        }
        let json: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        self.schema(&json, "")
    }

    fn schema(&mut self, json: &Value, namespace: &str) -> Read<Type> {
        if self.depth >= DEEPEST {
            return Err(format!("it nests deeper than {DEEPEST}").into());
        }
        self.depth += 1;
        let schema = match json {
            Value::String(name) => self.reference(name, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(object) => self.object(object, namespace),
            other => Err(format!("{other} is no schema").into()),
        };
        self.depth -= 1;
        schema
    }

    fn reference(&self, name: &str, namespace: &str) -> Read<Type> {
        if let Some(primitive) = Primitive::named(name) {
            return Ok(Type::Primitive(primitive));
        }
        let full = full_name(name, namespace);
        match self.named.contains_key(&full) {
            true => Ok(Type::Named(full)),
            // A name without a dot may be one without a namespace too.
            false if self.named.contains_key(name) => Ok(Type::Named(name.to_owned())),
            false => Err(format!("{full} is not defined").into()),
        }
    }

    fn union(&mut self, branches: &[Value], namespace: &str) -> Read<Type> {
        let mut read = Vec::with_capacity(branches.len());
        for branch in branches {
            let branch = self.schema(branch, namespace)?;
            if matches!(branch, Type::Union(_)) {
                return Err("a union directly in a union".to_owned().into());
            }
            let same = |known: &Type| match (known, &branch) {
                (Type::Array(_), Type::Array(_)) | (Type::Map(_), Type::Map(_)) => true,
                (known, branch) => known == branch,
            };
            if read.iter().any(same) {
                return Err(format!("a union with {} twice", branch.name()).into());
            }
            read.push(branch);
        }
        Ok(Type::Union(read))
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Read<Type> {
        let kind = object.get("type").ok_or_else(|| "a schema without type".to_owned())?;
        match kind.as_str() {
            Some("record" | "error") => self.record(object, namespace),
            Some("enum") => self.enumeration(object, namespace),
            Some("fixed") => self.fixed(object, namespace),
            Some("array") => self.inner(object, "items", namespace).map(|items| Type::Array(Box::new(items))),
            Some("map") => self.inner(object, "values", namespace).map(|values| Type::Map(Box::new(values))),
            // {"type": "string", "logicalType": ..} and {"type": {"type": ..}}.
            _ => self.schema(kind, namespace),
        }
    }

    fn inner(&mut self, object: &Map<String, Value>, name: &str, namespace: &str) -> Read<Type> {
        let inner = object.get(name).ok_or_else(|| format!("an array or map without {name}"))?;
        self.schema(inner, namespace)
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str) -> Read<Type> {
        let (name, namespace) = self.define(object, namespace)?;
        let fields = object.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| format!("record {name} has no fields"))?;
        let mut read: Vec<Field> = Vec::with_capacity(fields.len());
        for field in fields {
            let field = self.field(field, &name, &namespace)?;
            if read.iter().any(|known| known.name == field.name) {
                return Err(format!("record {name} has field {} twice", field.name).into());
            }
            read.push(field);
        }
        if let Some(named) = self.named.get_mut(&name) {
            named.body = Body::Record(read);
        }
        Ok(Type::Named(name))
    }

    fn field(&mut self, field: &Value, record: &str, namespace: &str) -> Read<Field> {
        let field = field.as_object().ok_or_else(|| format!("record {record} has a field that is no object"))?;
        let name = text(field, "name")?.ok_or_else(|| format!("record {record} has a field without name"))?;
        valid_name(name)?;
        let schema = field.get("type").ok_or_else(|| format!("field {record}.{name} has no type"))?;
        let schema = self.schema(schema, namespace);
        let schema = schema.map_err(|refusal| match refusal {
            Refusal::Other(why) => format!("field {record}.{name}: {why}").into(),
            twice @ Refusal::Twice(_) => twice,
        })?;
        let aliases = texts(field, "aliases")?;
        Ok(Field { name: name.to_owned(), aliases, schema, default: field.get("default").map(Value::to_string) })
    }

    fn enumeration(&mut self, object: &Map<String, Value>, namespace: &str) -> Read<Type> {
        let (name, _) = self.define(object, namespace)?;
        if !object.get("symbols").is_some_and(Value::is_array) {
            return Err(format!("enum {name} has no symbols").into());
        }
        let symbols = texts(object, "symbols")?;
        for (i, symbol) in symbols.iter().enumerate() {
            valid_name(symbol)?;
            if symbols[..i].contains(symbol) {
                return Err(format!("enum {name} has symbol {symbol} twice").into());
            }
        }
        let default = text(object, "default")?.map(str::to_owned);
        if let Some(default) = default.as_ref().filter(|default| !symbols.contains(default)) {
            return Err(format!("enum {name} has default {default}, which is not one of its symbols").into());
        }
        if let Some(named) = self.named.get_mut(&name) {
            named.body = Body::Enum { symbols, default };
        }
        Ok(Type::Named(name))
    }

    fn fixed(&mut self, object: &Map<String, Value>, namespace: &str) -> Read<Type> {
        let (name, _) = self.define(object, namespace)?;
        let size = object.get("size").and_then(Value::as_u64);
        let size = size.ok_or_else(|| format!("fixed {name} has no size"))?;
        if let Some(named) = self.named.get_mut(&name) {
            named.body = Body::Fixed(size);
        }
        Ok(Type::Named(name))
    }

    /// Makes the name of a type known, before its body is read, which may use it. Returns it in full, and the namespace
    /// of the body.
    fn define(&mut self, object: &Map<String, Value>, namespace: &str) -> Read<(String, String)> {
        let name = text(object, "name")?.ok_or_else(|| "a record, enum or fixed without name".to_owned())?;
        let namespace = text(object, "namespace")?.unwrap_or(namespace);
        let full = full_name(name, namespace);
        full.split('.').try_for_each(valid_name)?;
        if Primitive::named(&full).is_some() {
            return Err(format!("{full} is the name of a primitive").into());
        }
        let within = full.rsplit_once('.').map_or("", |(within, _)| within).to_owned();
        let aliases = texts(object, "aliases")?.iter().map(|alias| full_name(alias, &within)).collect();
        // An empty record stands for what is being read.
        if self.named.contains_key(&full) {
            return Err(Refusal::Twice(full));
        }
        self.named.insert(full.clone(), Named { aliases, body: Body::Record(Vec::new()) });
        Ok((full, within))
    }
}

impl Type {
    pub(super) fn name(&self) -> &str {
        match self {
            Type::Primitive(primitive) => primitive.name(),
            Type::Array(_) => "array",
            Type::Map(_) => "map",
            Type::Union(_) => "union",
            Type::Named(name) => name,
        }
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        // A leading dot says that there is no namespace.
        name.strip_prefix('.').unwrap_or(name).to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn valid_name(name: &str) -> Result<(), Refusal> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit()) {
        Ok(())
    } else {
        Err(format!("{name:?} is no name").into())
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("{name} is {other}, not a string")),
    }
}

fn texts(object: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let Some(list) = object.get(name).filter(|list| !list.is_null()) else { return Ok(Vec::new()) };
    let list = list.as_array().ok_or_else(|| format!("{name} is no list"))?;
    list.iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| format!("{name} holds {item}, not a string")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::SchemaReference;

    fn read(text: &str) -> Result<Schema, String> {
        parse(&RegisteredSchema::new(crate::Schema::avro(text), Vec::new()))
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("", "not JSON: EOF while parsing a value at line 1 column 0"),
            ("7", "7 is no schema"),
            (r#""Order""#, "Order is not defined"),
            (r#"{"type":"record","name":"R"}"#, "record R has no fields"),
            (r#"{"type":"record","name":"R","fields":[{"name":"a"}]}"#, "field R.a has no type"),
            (r#"{"type":"record","name":"R","fields":[{"name":"a","type":"x"}]}"#, "field R.a: x is not defined"),
            (
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
                "record R has field a twice",
            ),
            (r#"{"type":"record","name":"1R","fields":[]}"#, "\"1R\" is no name"),
            (r#"{"type":"enum","name":"E","symbols":["A","A"]}"#, "enum E has symbol A twice"),
            (
                r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#,
                "enum E has default B, which is not one of its symbols",
            ),
            (r#"{"type":"fixed","name":"F"}"#, "fixed F has no size"),
            (r#"["int","int"]"#, "a union with int twice"),
            (r#"["int",["null"]]"#, "a union directly in a union"),
            (r#"{"type":"array"}"#, "an array or map without items"),
            (
                r#"["null",{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":2}]"#,
                "F is defined twice",
            ),
        ] {
            assert_eq!(read(text).err().as_deref(), Some(why), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(n), "}".repeat(n));
        assert!(read(&deep(99)).is_ok());
        assert!(read(&deep(101)).is_err());
    }

    #[test]
    fn a_name_is_found_in_its_namespace() {
        let schema = r#"{"type":"record","name":"shop.Order","fields":[
            {"name":"a","type":{"type":"enum","name":"State","symbols":["NEW"]}},
            {"name":"b","type":"State"},
            {"name":"c","type":["null","shop.Order"]}]}"#;
        let schema = read(schema).unwrap();
        assert!(schema.named.contains_key("shop.State"));
        let bare = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
            {"name":"a","type":{"type":"enum","name":"State","symbols":["NEW"]}},
            {"name":"b","type":"shop.State"},
            {"name":"c","type":["null","Order"]}]}"#;
        assert_eq!(schema.normal_form(), read(bare).unwrap().normal_form());
    }

    #[test]
    fn a_reference_defines_names_once_however_often_it_is_used() {
        let registered =
            |text: &str, references| Arc::new(RegisteredSchema::new(crate::Schema::avro(text), references));
        let uses =
            |name: &str, schema: &Arc<RegisteredSchema>| (SchemaReference::new(name, name, 1), Arc::clone(schema));
        let base = registered(r#"{"type":"fixed","name":"Id","size":4}"#, vec![]);
        let a =
            registered(r#"{"type":"record","name":"A","fields":[{"name":"id","type":"Id"}]}"#, vec![uses("Id", &base)]);
        let b = registered(
            r#"{"type":"record","name":"B","fields":[{"name":"id","type":"Id"}]}"#,
            vec![uses("Id2", &base)],
        );
        let top = registered(r#"["A","B"]"#, vec![uses("A", &a), uses("B", &b)]);
        assert!(parse(&top).is_ok());
        let missing = registered(r#"["A","C"]"#, vec![uses("A", &a)]);
        assert_eq!(parse(&missing).err().as_deref(), Some("C is not defined"));
    }
}
