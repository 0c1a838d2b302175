//! Whether one schema can read what another one wrote, by the rules that Confluent documents.

mod avro;
mod json;
mod level;
mod protobuf;

pub use level::CompatibilityLevel;

use crate::{RegisteredSchema, SchemaType};

/// A schema that was understood, with all that it refers to.
pub(crate) enum Parsed {
    Avro(avro::Schema),
    Json(json::Document),
    Protobuf(Box<protobuf::File>),
}

/// How deep a schema may nest: far beyond any real one, and far from the end of a stack.
const DEEPEST: usize = 100;

impl Parsed {
    /// Understands a schema.
    ///
    /// # Errors
    /// Says what is wrong with it, and where.
    pub(crate) fn new(schema: &RegisteredSchema) -> Result<Self, String> {
        Ok(match schema.schema.schema_type {
            SchemaType::Avro => Self::Avro(avro::Schema::parse(schema)?),
            SchemaType::Json => Self::Json(json::Document::parse(schema)?),
            SchemaType::Protobuf => Self::Protobuf(Box::new(protobuf::File::parse(schema)?)),
        })
    }

    /// The form that `format=serialized` asks for: of Protobuf, a `FileDescriptorProto` in base64.
    pub(crate) fn serialized(&self) -> Option<String> {
        match self {
            Self::Protobuf(file) => Some(file.serialized()),
            Self::Avro(_) | Self::Json(_) => None,
        }
    }

    /// What stands against this schema after `older` ones, newest first, at a level: nothing, if it is compatible.
    pub(crate) fn problems(&self, level: CompatibilityLevel, older: &[Parsed]) -> Vec<String> {
        let looked_at = if level.is_transitive() { older.len() } else { older.len().min(1) };
        let mut problems = Vec::new();
        for old in &older[..looked_at] {
            if level.reads_old() {
                problems.extend(
                    self.unreadable(old).into_iter().map(|why| format!("the new schema cannot read old data: {why}")),
                );
            }
            if level.reads_new() {
                problems.extend(
                    old.unreadable(self).into_iter().map(|why| format!("the old schema cannot read new data: {why}")),
                );
            }
        }
        problems
    }

    /// What this schema, as the reader, cannot read of what `writer` writes.
    fn unreadable(&self, writer: &Parsed) -> Vec<String> {
        match (self, writer) {
            (Self::Avro(reader), Self::Avro(writer)) => avro::unreadable(reader, writer),
            (Self::Json(reader), Self::Json(writer)) => json::unreadable(reader, writer),
            (Self::Protobuf(reader), Self::Protobuf(writer)) => protobuf::unreadable(reader, writer),
            _ => vec!["the schema type is another one".to_owned()],
        }
    }

    /// A text that is equal for schemas that differ in form only.
    pub(crate) fn normal_form(&self) -> String {
        match self {
            Self::Avro(schema) => schema.normal_form(),
            Self::Json(document) => document.normal_form(),
            Self::Protobuf(file) => file.normal_form(),
        }
    }
}

/// JSON without the white space between its tokens; everything else stays, the order of fields too.
pub(crate) fn compact(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        compact.push(c);
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schema;

    pub(super) fn parsed(schema: Schema) -> Parsed {
        Parsed::new(&RegisteredSchema::new(schema, Vec::new())).unwrap()
    }

    #[test]
    fn only_space_between_tokens_goes() {
        assert_eq!(compact("{ \"a b\" : \"x \\\" y\\\\\" ,\n\t\"c\": [ 1, 2 ] }"), r#"{"a b":"x \" y\\","c":[1,2]}"#);
    }

    #[test]
    fn another_type_is_another_schema() {
        let (avro, json) = (parsed(Schema::avro("\"int\"")), parsed(Schema::json("{}")));
        assert_eq!(avro.problems(CompatibilityLevel::Backward, &[json]).len(), 1);
    }

    #[test]
    fn the_level_decides_who_reads_whom_and_how_far_back() {
        use CompatibilityLevel as Level;
        // v1 writes a, v2 makes it optional by a default, v3 drops it.
        let field = |fields: &str| Schema::avro(format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#));
        let v1 = || parsed(field(r#"{"name":"a","type":"int"}"#));
        let v2 = || parsed(field(r#"{"name":"a","type":"int","default":0}"#));
        let v3 = parsed(field(""));
        let ok = |level| v3.problems(level, &[v2(), v1()]).is_empty();
        let expected = [
            (Level::None, true),
            (Level::Backward, true),
            (Level::BackwardTransitive, true),
            (Level::Forward, true),
            (Level::ForwardTransitive, false),
            (Level::Full, true),
            (Level::FullTransitive, false),
        ];
        for (level, expected) in expected {
            assert_eq!(ok(level), expected, "{level}");
        }
        assert!(v1().problems(Level::Forward, &[parsed(field(""))]).is_empty());
        assert!(!v1().problems(Level::Backward, &[parsed(field(""))]).is_empty());
    }
}
