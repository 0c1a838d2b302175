//! The JSON of the registry's API, both ways.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{Schema, SchemaReference, SchemaType};

/// A schema as an answer tells it: the parts that this answer has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) id: Option<i32>,
    pub(crate) guid: Option<Uuid>,
    pub(crate) version: Option<i32>,
    pub(crate) schema: Option<Schema>,
}

impl Found {
    /// Reads what `body` has; says which field is not what the protocol says.
    pub(crate) fn read(body: &Value) -> Result<Self, String> {
        let body = body.as_object().ok_or("no JSON object")?;
        let schema = match text(body, "schema")? {
            Some(text) => Some(read_schema(body, text)?),
            None => None,
        };
        let guid = match text(body, "guid")? {
            Some(guid) => Some(Uuid::parse_str(guid).map_err(|_| "a guid that is no UUID")?),
            None => None,
        };
        Ok(Self { id: number(body, "id")?, guid, version: number(body, "version")?, schema })
    }
}

/// Reads the schema of `body`, whose text is `text`.
pub(crate) fn read_schema(body: &Map<String, Value>, text: &str) -> Result<Schema, String> {
    let schema_type = match self::text(body, "schemaType")? {
        Some(name) => name.parse::<SchemaType>().map_err(|error| error.to_string())?,
        None => SchemaType::Avro,
    };
    let mut schema = Schema::new(schema_type, text);
    schema.references = match body.get("references") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(references)) => references.iter().map(read_reference).collect::<Result<_, _>>()?,
        Some(_) => return Err("references that are no list".to_owned()),
    };
    schema.metadata = raw(body, "metadata");
    schema.rule_set = raw(body, "ruleSet");
    Ok(schema)
}

fn read_reference(reference: &Value) -> Result<SchemaReference, String> {
    let reference = reference.as_object().ok_or("a reference that is no object")?;
    let required = |name| text(reference, name)?.ok_or_else(|| format!("a reference without {name}"));
    let version = number(reference, "version")?.ok_or("a reference without version")?;
    Ok(SchemaReference::new(required("name")?, required("subject")?, version))
}

fn raw(body: &Map<String, Value>, name: &str) -> Option<Arc<str>> {
    body.get(name).filter(|value| !value.is_null()).map(|value| value.to_string().into())
}

pub(crate) fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("a {name} that is no string")),
    }
}

pub(crate) fn number(body: &Map<String, Value>, name: &str) -> Result<Option<i32>, String> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
            number.map(Some).ok_or_else(|| format!("a {name} that is no 32-bit number"))
        }
    }
}

/// Adds the fields that tell `schema` to `body`. Avro is not named, as older registries know no other type.
///
/// # Errors
/// Names the field that is not JSON.
pub(crate) fn write_schema(schema: &Schema, body: &mut Map<String, Value>) -> Result<(), String> {
    body.insert("schema".to_owned(), Value::from(&*schema.text));
    if schema.schema_type != SchemaType::Avro {
        body.insert("schemaType".to_owned(), Value::from(schema.schema_type.as_str()));
    }
    if !schema.references.is_empty() {
        let references = schema.references.iter().map(write_reference).collect();
        body.insert("references".to_owned(), references);
    }
    for (name, json) in [("metadata", &schema.metadata), ("ruleSet", &schema.rule_set)] {
        if let Some(json) = json {
            let value =
                serde_json::from_str(json).map_err(|error| format!("the schema's {name} is not JSON: {error}"))?;
            body.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn write_reference(reference: &SchemaReference) -> Value {
    json!({"name": reference.name, "subject": reference.subject, "version": reference.version})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_survives_both_ways() {
        let schema = Schema::protobuf("syntax = \"proto3\";")
            .with_reference(SchemaReference::new("a.proto", "a", 2))
            .with_metadata(r#"{"properties":{"owner":"shop"}}"#)
            .with_rule_set(r#"{"domainRules":[]}"#);
        let mut body = Map::new();
        write_schema(&schema, &mut body).unwrap();
        assert_eq!(body["schemaType"], "PROTOBUF");
        assert_eq!(Found::read(&Value::Object(body)).unwrap().schema.unwrap(), schema);
    }

    #[test]
    fn avro_is_not_named_and_not_expected_to_be() {
        let mut body = Map::new();
        write_schema(&Schema::avro("\"int\""), &mut body).unwrap();
        assert_eq!(Value::Object(body), json!({"schema": "\"int\""}));
        let found = Found::read(&json!({"schema": "\"int\"", "id": 3, "references": null})).unwrap();
        assert_eq!((found.id, found.schema), (Some(3), Some(Schema::avro("\"int\""))));
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (body, why) in [
            (json!([]), "no JSON object"),
            (json!({"id": "1"}), "a id that is no 32-bit number"),
            (json!({"id": 4_294_967_296_u64}), "a id that is no 32-bit number"),
            (json!({"guid": "1"}), "a guid that is no UUID"),
            (json!({"schema": {}}), "a schema that is no string"),
            (json!({"schema": "", "schemaType": "XML"}), "no schema type is called \"XML\""),
            (json!({"schema": "", "references": [{"name": "a"}]}), "a reference without version"),
        ] {
            assert_eq!(Found::read(&body).unwrap_err(), why);
        }
    }
}
