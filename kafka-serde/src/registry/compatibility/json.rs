//! JSON Schema: a document with those it refers to.

mod containment;
mod limits;
mod objects;
mod references;
mod sums;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{RegisteredSchema, SchemaType};

pub(super) use containment::unreadable;

/// A schema, and the documents its `$ref`s name.
pub(crate) struct Document {
    root: Value,
    /// By the name the reference is used by.
    others: BTreeMap<String, Value>,
}

impl Document {
    /// Understands a schema after all that it refers to.
    pub(super) fn parse(schema: &RegisteredSchema) -> Result<Self, String> {
        let root = read(&schema.schema.text)?;
        let mut others = BTreeMap::new();
        for (reference, used) in schema.dependencies() {
            let of = |why: String| format!("reference {}: {why}", reference.name);
            if used.schema.schema_type != SchemaType::Json {
                return Err(of("it is not a JSON Schema".to_owned()));
            }
            others.insert(reference.name.clone(), read(&used.schema.text).map_err(of)?);
        }
        let document = Self { root, others };
        for schema in std::iter::once(&document.root).chain(document.others.values()) {
            document.check(schema, schema, "#")?;
        }
        Ok(document)
    }

    /// Keys in one order.
    pub(super) fn normal_form(&self) -> String {
        // A serde_json map sorts its keys, unless some crate asked for their order to be kept.
        sorted(&self.root).to_string()
    }

    /// Checks what is compared later: that every keyword has the shape it must have, and that every `$ref` is there.
    fn check(&self, schema: &Value, base: &Value, path: &str) -> Result<(), String> {
        let schema = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(schema) => schema,
            other => return Err(format!("{path}: {other} is no schema")),
        };
        if let Some(target) = schema.get("$ref") {
            let target = target.as_str().ok_or_else(|| format!("{path}: a $ref that is no string"))?;
            if self.find(target, base).is_none() {
                return Err(format!("{path}: {target} is not found"));
            }
        }
        for (keyword, value) in schema {
            let path = format!("{path}/{keyword}");
            shape(keyword, value).map_err(|why| format!("{path}: {why}"))?;
            match keyword.as_str() {
                "properties" | "patternProperties" | "definitions" | "$defs" | "dependentSchemas" => {
                    for (name, inner) in value.as_object().into_iter().flatten() {
                        self.check(inner, base, &format!("{path}/{name}"))?;
                    }
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.check_all(value, base, &path)?,
                "items" if value.is_array() => self.check_all(value, base, &path)?,
                "items"
                | "additionalItems"
                | "additionalProperties"
                | "not"
                | "contains"
                | "propertyNames"
                | "if"
                | "then"
                | "else" => self.check(value, base, &path)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_all(&self, list: &Value, base: &Value, path: &str) -> Result<(), String> {
        let mut all = list.as_array().into_iter().flatten().enumerate();
        all.try_for_each(|(i, inner)| self.check(inner, base, &format!("{path}/{i}")))
    }
}

/// What a keyword's value must be.
fn shape(keyword: &str, value: &Value) -> Result<(), String> {
    const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
    let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
    let (right, expected) = match keyword {
        "type" => {
            (value.as_array().map_or_else(|| known(value), |all| !all.is_empty() && all.iter().all(known)), "a type")
        }
        "properties" | "patternProperties" | "definitions" | "$defs" | "dependentSchemas" | "dependentRequired"
        | "dependencies" => (value.is_object(), "an object"),
        // Draft 3 and some tools write a boolean.
        "required" => {
            (value.is_boolean() || value.as_array().is_some_and(|all| all.iter().all(Value::is_string)), "names")
        }
        "enum" => (value.is_array(), "a list"),
        "allOf" | "anyOf" | "oneOf" => (value.as_array().is_some_and(|all| !all.is_empty()), "a list of schemas"),
        "maxLength" | "minLength" | "maxItems" | "minItems" | "maxProperties" | "minProperties" => {
            (value.as_f64().is_some_and(|number| number >= 0.0 && number.fract() == 0.0), "a number from 0")
        }
        "maximum" | "minimum" => (value.is_number(), "a number"),
        "multipleOf" => (value.as_f64().is_some_and(|number| number > 0.0), "a number above 0"),
        "exclusiveMaximum" | "exclusiveMinimum" => (value.is_number() || value.is_boolean(), "a number"),
        "pattern" => (value.is_string(), "a string"),
        "uniqueItems" => (value.is_boolean(), "true or false"),
        _ => return Ok(()),
    };
    if right { Ok(()) } else { Err(format!("{value} is not {expected}")) }
}

fn read(text: &str) -> Result<Value, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    match json {
        Value::Object(_) | Value::Bool(_) => Ok(json),
        other => Err(format!("{other} is no JSON Schema")),
    }
}

fn sorted(json: &Value) -> Value {
    match json {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(fields) => {
            let by_name: BTreeMap<_, _> = fields.iter().collect();
            let sorted: Map<_, _> = by_name.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            Value::Object(sorted)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schema;

    fn parse(text: &str) -> Result<Document, String> {
        Document::parse(&RegisteredSchema::new(Schema::json(text), Vec::new()))
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("7", "7 is no JSON Schema"),
            (r#"{"type":"text"}"#, "#/type: \"text\" is not a type"),
            (r#"{"properties":{"a":7}}"#, "#/properties/a: 7 is no schema"),
            (r#"{"allOf":[]}"#, "#/allOf: [] is not a list of schemas"),
            (r##"{"items":{"$ref":"#/definitions/a"}}"##, "#/items: #/definitions/a is not found"),
            (r#"{"maxLength":-1}"#, "#/maxLength: -1 is not a number from 0"),
        ] {
            assert_eq!(parse(text).err().as_deref(), Some(why), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn the_order_of_keys_has_no_meaning() {
        let (a, b) = (parse(r#"{"type":"object","title":"A"}"#), parse(r#"{"title":"A", "type":"object"}"#));
        assert_eq!(a.unwrap().normal_form(), b.unwrap().normal_form());
    }
}
