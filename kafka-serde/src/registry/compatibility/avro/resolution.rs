//! Who can read whom, by the schema resolution of Avro's specification as Java's `SchemaCompatibility` applies it.

use super::{Body, Field, Named, Primitive, Schema, Type};

/// What `reader` cannot read of what `writer` writes.
pub(in super::super) fn unreadable(reader: &Schema, writer: &Schema) -> Vec<String> {
    let mut resolution = Resolution { reader, writer, seen: Vec::new(), problems: Vec::new() };
    resolution.resolve(&reader.root, &writer.root, "");
    resolution.problems
}

struct Resolution<'a> {
    reader: &'a Schema,
    writer: &'a Schema,
    /// Pairs of names that were, or are being, compared: a recursive type is compatible unless something else is wrong.
    seen: Vec<(&'a str, &'a str)>,
    problems: Vec<String>,
}

impl<'a> Resolution<'a> {
    fn resolve(&mut self, reader: &'a Type, writer: &'a Type, path: &str) {
        match (reader, writer) {
            (_, Type::Union(branches)) => {
                for branch in branches {
                    self.resolve(reader, branch, path);
                }
            }
            (Type::Union(branches), _) => {
                if !branches.iter().any(|branch| self.can_read(branch, writer)) {
                    self.problem(path, format_args!("no branch of the reader's union reads {}", writer.name()));
                }
            }
            (Type::Array(reader), Type::Array(writer)) => self.resolve(reader, writer, &format!("{path}[]")),
            (Type::Map(reader), Type::Map(writer)) => self.resolve(reader, writer, &format!("{path}{{}}")),
            (Type::Named(reader), Type::Named(writer)) => self.named(reader, writer, path),
            (Type::Primitive(reader), Type::Primitive(writer)) if promotes(*writer, *reader) => {}
            _ => self.problem(path, format_args!("{} is read as {}", writer.name(), reader.name())),
        }
    }

    fn can_read(&mut self, reader: &'a Type, writer: &'a Type) -> bool {
        // What a failed attempt saw proves nothing to the next.
        let (problems, seen) = (self.problems.len(), self.seen.len());
        self.resolve(reader, writer, "");
        let readable = self.problems.len() == problems;
        self.problems.truncate(problems);
        if !readable {
            self.seen.truncate(seen);
        }
        readable
    }

    fn named(&mut self, reader: &'a str, writer: &'a str, path: &str) {
        if self.seen.contains(&(reader, writer)) {
            return;
        }
        self.seen.push((reader, writer));
        let (Some(new), Some(old)) = (self.reader.named.get(reader), self.writer.named.get(writer)) else { return };
        if !same_name(reader, new, writer) {
            return self.problem(path, format_args!("{writer} is read as {reader}, which has no such alias"));
        }
        match (&new.body, &old.body) {
            (Body::Record(new), Body::Record(old)) => self.record(new, old, path),
            (Body::Enum { symbols: new, default }, Body::Enum { symbols: old, .. }) => {
                let missing: Vec<&str> =
                    old.iter().filter(|symbol| !new.contains(symbol)).map(String::as_str).collect();
                if !missing.is_empty() && default.is_none() {
                    let missing = missing.join(", ");
                    self.problem(path, format_args!("enum {reader} has no default and no symbols {missing}"));
                }
            }
            (Body::Fixed(new), Body::Fixed(old)) if new == old => {}
            (Body::Fixed(new), Body::Fixed(old)) => {
                self.problem(path, format_args!("fixed {reader} has {new} bytes, and {old} are written"));
            }
            _ => self.problem(path, format_args!("{reader} is another kind of type")),
        }
    }

    fn record(&mut self, reader: &'a [Field], writer: &'a [Field], path: &str) {
        for field in reader {
            let path = format!("{path}.{}", field.name);
            match written(field, writer) {
                Some(old) => self.resolve(&field.schema, &old.schema, &path),
                None if field.default.is_some() || self.has_default_symbol(&field.schema) => {}
                None => self.problem(&path, format_args!("it is not written, and has no default")),
            }
        }
    }

    /// An enum with a default of its own stands in for a default of the field.
    fn has_default_symbol(&self, schema: &Type) -> bool {
        let Type::Named(name) = schema else { return false };
        let named = self.reader.named.get(name);
        named.is_some_and(|named| matches!(named.body, Body::Enum { default: Some(_), .. }))
    }

    fn problem(&mut self, path: &str, why: std::fmt::Arguments<'_>) {
        let path = path.strip_prefix('.').unwrap_or(path);
        let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
        self.problems.push(format!("{place}{why}"));
    }
}

/// The field that a reader's field takes its value from: by its name, or by an alias.
fn written<'a>(field: &Field, writer: &'a [Field]) -> Option<&'a Field> {
    let by = |name: &String| writer.iter().find(|old| old.name == *name);
    by(&field.name).or_else(|| field.aliases.iter().find_map(by))
}

/// Names are compared without their namespaces, aliases with them.
fn same_name(reader: &str, named: &Named, writer: &str) -> bool {
    let last = |name: &'_ str| name.rsplit('.').next().unwrap_or_default().to_owned();
    last(reader) == last(writer) || named.aliases.iter().any(|alias| alias == writer)
}

fn promotes(writer: Primitive, reader: Primitive) -> bool {
    use Primitive::{Bytes, Double, Float, Int, Long, String};
    writer == reader
        || matches!(
            (writer, reader),
            (Int, Long | Float | Double) | (Long, Float | Double) | (Float, Double) | (String, Bytes) | (Bytes, String)
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegisteredSchema;

    fn schema(text: &str) -> Schema {
        Schema::parse(&RegisteredSchema::new(crate::Schema::avro(text), Vec::new())).unwrap()
    }

    fn problems(reader: &str, writer: &str) -> Vec<String> {
        unreadable(&schema(reader), &schema(writer))
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    #[test]
    fn primitives_promote_one_way() {
        let allowed = [
            ("int", "long"),
            ("int", "float"),
            ("int", "double"),
            ("long", "float"),
            ("long", "double"),
            ("float", "double"),
            ("string", "bytes"),
            ("bytes", "string"),
        ];
        for (writer, _) in Primitive::ALL {
            for (reader, _) in Primitive::ALL {
                let readable = problems(&format!("\"{reader}\""), &format!("\"{writer}\"")).is_empty();
                assert_eq!(readable, writer == reader || allowed.contains(&(writer, reader)), "{writer} as {reader}");
            }
        }
    }

    #[test]
    fn a_new_field_needs_a_default_and_a_removed_one_does_not() {
        let (none, some) = (record(""), record(r#"{"name":"a","type":"int"}"#));
        let with_default = record(r#"{"name":"a","type":"int","default":0}"#);
        assert_eq!(problems(&some, &none), ["a: it is not written, and has no default"]);
        assert!(problems(&with_default, &none).is_empty());
        assert!(problems(&none, &some).is_empty());
        let null_default = record(r#"{"name":"a","type":["null","int"],"default":null}"#);
        assert!(problems(&null_default, &none).is_empty(), "null is a default");
    }

    #[test]
    fn aliases_of_fields_and_types_are_names_too() {
        let old = record(r#"{"name":"a","type":"int"}"#);
        assert!(problems(&record(r#"{"name":"b","aliases":["a"],"type":"long"}"#), &old).is_empty());
        assert!(!problems(&record(r#"{"name":"b","aliases":["a"],"type":"string"}"#), &old).is_empty());
        let renamed = |aliases: &str| format!(r#"{{"type":"record","name":"S","aliases":{aliases},"fields":[]}}"#);
        assert!(problems(&renamed(r#"["R"]"#), &record("")).is_empty());
        assert!(!problems(&renamed("[]"), &record("")).is_empty());
    }

    #[test]
    fn another_namespace_is_the_same_name() {
        let in_namespace = r#"{"type":"record","name":"x.y.R","fields":[]}"#;
        assert!(problems(in_namespace, &record("")).is_empty());
    }

    #[test]
    fn every_branch_that_is_written_must_be_read() {
        assert!(problems(r#"["null","int"]"#, r#""int""#).is_empty());
        assert!(problems(r#"["null","int"]"#, r#"["int","null"]"#).is_empty());
        assert!(!problems(r#"["null","int"]"#, r#"["null","int","string"]"#).is_empty());
        assert!(problems(r#""long""#, r#"["int","long"]"#).is_empty());
        assert!(!problems(r#""int""#, r#"["null","int"]"#).is_empty());
        assert!(problems(r#"["null","double"]"#, r#""int""#).is_empty(), "a branch may promote");
    }

    #[test]
    fn a_symbol_may_be_removed_only_with_a_default() {
        let two = r#"{"type":"enum","name":"E","symbols":["A","B"]}"#;
        let one = r#"{"type":"enum","name":"E","symbols":["A"]}"#;
        let one_with_default = r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#;
        assert_eq!(problems(one, two), ["enum E has no default and no symbols B"]);
        assert!(problems(one_with_default, two).is_empty());
        assert!(problems(two, one).is_empty());
    }

    #[test]
    fn a_fixed_keeps_its_size() {
        let fixed = |size| format!(r#"{{"type":"fixed","name":"F","size":{size}}}"#);
        assert!(problems(&fixed(4), &fixed(4)).is_empty());
        assert_eq!(problems(&fixed(4), &fixed(5)), ["fixed F has 4 bytes, and 5 are written"]);
    }

    #[test]
    fn the_place_in_the_schema_is_named() {
        let nested = |inner: &str| {
            record(&format!(r#"{{"name":"a","type":{{"type":"array","items":{{"type":"map","values":"{inner}"}}}}}}"#))
        };
        assert_eq!(problems(&nested("int"), &nested("string")), ["a[]{}: string is read as int"]);
    }

    #[test]
    fn a_recursive_type_ends_and_its_faults_are_found() {
        let list = |value: &str| {
            format!(
                r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":"{value}"}},{{"name":"next","type":["null","L"]}}]}}"#
            )
        };
        assert!(problems(&list("long"), &list("int")).is_empty());
        assert!(!problems(&list("int"), &list("long")).is_empty());
    }
}
