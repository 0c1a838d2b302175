//! A JSON document to be checked: its strings stay where they stand in the payload.

use std::borrow::Cow;
use std::fmt;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, Node, NodeIdentity, Object};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// One value. Members are in the order of their names, each name once: where a text has it twice, the last counts.
#[derive(Debug, Default)]
pub(super) enum Document<'a> {
    #[default]
    Null,
    Boolean(bool),
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Document<'a>>),
    Object(Vec<Member<'a>>),
}

type Member<'a> = (Cow<'a, str>, Document<'a>);

impl<'a> Document<'a> {
    /// Reads a text, which may nest as deep as serde_json allows: 128 levels.
    pub(super) fn read(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(boolean) => Value::Bool(*boolean),
            Self::Number(number) => Value::Number(number.clone()),
            Self::String(string) => Value::String(string.clone().into_owned()),
            Self::Array(items) => items.iter().map(Self::value).collect(),
            Self::Object(members) => {
                Value::Object(members.iter().map(|(name, value)| (name.clone().into_owned(), value.value())).collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Document<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Document<'de>, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, boolean: bool) -> Result<Document<'de>, E> {
        Ok(Document::Boolean(boolean))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Document<'de>, E> {
        Ok(Document::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Document<'de>, E> {
        Ok(Document::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Document<'de>, E> {
        Number::from_f64(number).map(Document::Number).ok_or_else(|| E::custom("no finite number"))
    }

    fn visit_borrowed_str<E>(self, string: &'de str) -> Result<Document<'de>, E> {
        Ok(Document::String(Cow::Borrowed(string)))
    }

    fn visit_str<E>(self, string: &str) -> Result<Document<'de>, E> {
        Ok(Document::String(Cow::Owned(string.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Document<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Document::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document<'de>, A::Error> {
        let mut members: Vec<Member<'de>> = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        if !members.is_sorted_by(|(one, _), (next, _)| one < next) {
            // Stable, so that of one name twice the last stays last.
            members.sort_by(|(one, _), (next, _)| one.cmp(next));
            members.dedup_by(|later, kept| {
                later.0 == kept.0 && {
                    std::mem::swap(later, kept);
                    true
                }
            });
        }
        Ok(Document::Object(members))
    }
}

/// The name of a member; serde alone would copy it.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

/// Documents, as validators see them.
pub(super) struct Documents;

impl Json for Documents {
    type Node<'a> = &'a Document<'a>;
    type PreparedKey = String;
    type StringBuffer = Document<'static>;

    // A look-up compares names, half of them each time.
    const KEYS_PER_LOOKUP: usize = 2;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(
        buffer: &mut Document<'static>,
        string: &str,
        with: impl for<'n> FnOnce(&'n Document<'n>) -> T,
    ) -> T {
        *buffer = Document::String(Cow::Owned(string.to_owned()));
        with(buffer)
    }
}

impl<'a> Node<'a, Documents> for &'a Document<'a> {
    type Object = &'a [Member<'a>];
    type Array = &'a [Document<'a>];
    type Number = &'a Number;

    fn as_object(&self) -> Option<&'a [Member<'a>]> {
        if let Document::Object(members) = self { Some(members) } else { None }
    }

    fn as_array(&self) -> Option<&'a [Document<'a>]> {
        if let Document::Array(items) = self { Some(items) } else { None }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        if let Document::String(string) = self { Some(Cow::Borrowed(string)) } else { None }
    }

    fn as_number(&self) -> Option<&'a Number> {
        if let Document::Number(number) = self { Some(number) } else { None }
    }

    fn as_boolean(&self) -> Option<bool> {
        if let Document::Boolean(boolean) = self { Some(*boolean) } else { None }
    }

    fn is_null(&self) -> bool {
        matches!(self, Document::Null)
    }

    fn json_type(&self) -> JsonType {
        match self {
            Document::Null => JsonType::Null,
            Document::Boolean(_) => JsonType::Boolean,
            Document::Number(_) => JsonType::Number,
            Document::String(_) => JsonType::String,
            Document::Array(_) => JsonType::Array,
            Document::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self, expected) {
            (Document::Null, Value::Null) => true,
            (Document::Boolean(one), Value::Bool(other)) => one == other,
            (Document::String(one), Value::String(other)) => one == other,
            (_, Value::Null | Value::Bool(_) | Value::String(_)) => false,
            // Numbers compare as numbers, and what is nested is rare here.
            _ => jsonschema::json::cmp::equal(&self.value(), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(self.value())
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref::<Document<'_>>(self).addr()))
    }
}

impl<'a> Object<'a, Documents> for &'a [Member<'a>] {
    type Node = &'a Document<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        <[Member<'_>]>::len(self)
    }

    fn get(&self, key: &String) -> Option<&'a Document<'a>> {
        let at = self.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        Some(&self[at].1)
    }

    fn members(&self) -> Members<'a> {
        Members(self.iter())
    }
}

pub(super) struct Members<'a>(std::slice::Iter<'a, Member<'a>>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a Document<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (&**name, value))
    }
}

impl<'a> Array<'a, Documents> for &'a [Document<'a>] {
    type Node = &'a Document<'a>;
    type ElementsIter = std::slice::Iter<'a, Document<'a>>;

    fn len(&self) -> usize {
        <[Document<'_>]>::len(self)
    }

    fn elements(&self) -> std::slice::Iter<'a, Document<'a>> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_what_serde_json_reads() {
        for text in [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "1.5",
            "1e300",
            "\"\"",
            "\"a\\n\\u00e9\"",
            "[]",
            "[1,[2,{}]]",
            "{}",
            r#"{"b":1,"a":{"d":null,"c":["x"]}}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"b":0,"a":1,"a":2,"a":{"a":3}}"#,
            r#"{"\u0062":1,"b":2}"#,
        ] {
            let theirs: Value = serde_json::from_str(text).unwrap();
            assert_eq!(Document::read(text.as_bytes()).unwrap().value(), theirs, "{text}");
        }
        for text in ["", "nul", "[1", "{\"a\"}", "1e999", "\"\u{1}\"", "[] []"] {
            assert!(Document::read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Document::read("[".repeat(200).as_bytes()).is_err());
    }

    #[test]
    fn strings_without_escapes_stay_in_the_payload() {
        let text = br#"{"name":"plain"}"#;
        let Document::Object(members) = Document::read(text).unwrap() else { panic!("an object") };
        assert!(matches!(&members[0], (Cow::Borrowed("name"), Document::String(Cow::Borrowed("plain")))));
    }

    /// The same verdicts as of serde_json's own values.
    #[test]
    fn validators_see_the_same_document() {
        let schemas = [
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 1}}}),
            json!({"additionalProperties": {"type": ["string", "null"], "maxLength": 2}, "minProperties": 2}),
            json!({"propertyNames": {"pattern": "^[a-c]$"}, "patternProperties": {"^b": {"const": {"x": 1.0}}}}),
            json!({"items": {"enum": [1, "x", null, [1], {"a": 1}]}, "uniqueItems": true, "maxItems": 3}),
            json!({"anyOf": [{"type": "null"}, {"$ref": "#/definitions/t"}], "definitions": {"t": {"type": "object",
                "properties": {"next": {"$ref": "#"}}, "additionalProperties": false}}}),
            json!({"not": {"type": "number", "multipleOf": 0.1}}),
        ];
        let documents = [
            "null",
            "1",
            "1.0",
            "0.3",
            "\"x\"",
            "\"\u{e9}\u{e9}\u{e9}\"",
            "{}",
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":0}"#,
            r#"{"a":"","b":null}"#,
            r#"{"b":{"x":1},"a":null}"#,
            r#"{"d":1,"a":2}"#,
            "[1,\"x\",null]",
            "[1,1.0]",
            "[[1],{\"a\":1}]",
            "[[1],[1]]",
            "[2]",
            r#"{"next":{"next":null}}"#,
            r#"{"next":{"other":null}}"#,
            r#"{"a":"no","a":5}"#,
        ];
        for schema in &schemas {
            let theirs = jsonschema::validator_for(schema).unwrap();
            let ours = jsonschema::options_for::<Documents>().build(schema).unwrap();
            for text in documents {
                let value: Value = serde_json::from_str(text).unwrap();
                let document = Document::read(text.as_bytes()).unwrap();
                assert_eq!(ours.is_valid(&document), theirs.is_valid(&value), "{schema} {text}");
                let [one, other] = [
                    ours.validate(&document).map_err(|error| (error.to_string(), error.instance_path().to_string())),
                    theirs.validate(&value).map_err(|error| (error.to_string(), error.instance_path().to_string())),
                ];
                assert_eq!(one, other, "{schema} {text}");
            }
        }
    }
}
