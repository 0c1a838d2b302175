//! Which changes between two files lose data, by what Confluent and Protobuf document: numbers decide, names do not.

use std::collections::BTreeMap;

use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type as Kind};
use protox::prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto};

use super::File;

/// What `reader` cannot read of what `writer` writes.
pub(in super::super) fn unreadable(reader: &File, writer: &File) -> Vec<String> {
    let mut changes = Changes { reader, writer, seen: Vec::new(), problems: Vec::new() };
    changes.messages(&reader.file.message_type, &writer.file.message_type, "");
    changes.problems
}

struct Changes<'a> {
    reader: &'a File,
    writer: &'a File,
    /// Pairs of message types that fields compared, or are comparing: what ends a recursion.
    seen: Vec<(&'a str, &'a str)>,
    problems: Vec<String>,
}

/// What a number on the wire may be read as: Protobuf's groups of types that can be exchanged.
#[derive(Debug, PartialEq)]
enum Wire {
    Varint,
    ZigZag,
    Length,
    Fixed32,
    Fixed64,
    Float,
    Double,
    Message,
    Map,
}

impl<'a> Changes<'a> {
    fn messages(&mut self, reader: &'a [DescriptorProto], writer: &'a [DescriptorProto], path: &str) {
        for old in writer.iter().filter(|message| !is_map_entry(message)) {
            let path = format!("{path}{}", old.name());
            match reader.iter().find(|new| new.name() == old.name()) {
                Some(new) => self.message(new, old, &path),
                None => self.problem(&path, "the message was removed"),
            }
        }
    }

    fn message(&mut self, reader: &'a DescriptorProto, writer: &'a DescriptorProto, path: &str) {
        let (new, old) = (by_number(reader), by_number(writer));
        for (number, field) in &new {
            if field.label() == Label::Required && !old.contains_key(number) {
                self.problem(path, &format!("required field {} was added", field.name()));
            }
        }
        for (number, was) in old {
            match new.get(&number) {
                Some(is) => self.field(is, was, &format!("{path}.{}", is.name())),
                None if was.label() == Label::Required => {
                    self.problem(path, &format!("required field {} was removed", was.name()));
                }
                None if self.left_its_oneof(reader, writer, was) => {
                    self.problem(path, &format!("{} was removed from a oneof", was.name()));
                }
                None => {}
            }
        }
        self.oneofs(reader, writer, path);
        self.messages(&reader.nested_type, &writer.nested_type, &format!("{path}."));
    }

    /// A field of a oneof that stays: a reader takes what the field says for nothing set at all.
    fn left_its_oneof(&self, reader: &DescriptorProto, writer: &DescriptorProto, was: &FieldDescriptorProto) -> bool {
        let Some(oneof) = oneof(writer, was) else { return false };
        real_oneofs(reader).any(|name| name == oneof)
    }

    /// A oneof may take in one field that stood alone, and no other: of two, one would be lost.
    fn oneofs(&mut self, reader: &DescriptorProto, writer: &DescriptorProto, path: &str) {
        for name in real_oneofs(reader) {
            let members = reader.field.iter().filter(|field| oneof(reader, field) == Some(name));
            let were: Vec<_> =
                members.filter_map(|is| writer.field.iter().find(|was| was.number() == is.number())).collect();
            let alone = were.iter().filter(|was| oneof(writer, was).is_none()).count();
            if alone > 1 {
                self.problem(path, &format!("several fields were moved to oneof {name}"));
            } else if alone == 1 && were.len() > 1 {
                self.problem(path, &format!("a field was moved to oneof {name}, which others were in"));
            }
        }
    }

    fn field(&mut self, reader: &'a FieldDescriptorProto, writer: &'a FieldDescriptorProto, path: &str) {
        let (new, old) = (wire(self.reader, reader), wire(self.writer, writer));
        if new != old {
            return self.problem(path, &format!("{} became {}", told(writer), told(reader)));
        }
        let repeated = |field: &FieldDescriptorProto| field.label() == Label::Repeated;
        if repeated(reader) != repeated(writer) && !matches!(new, Wire::Length | Wire::Message) {
            // Packed numbers are one field of bytes: a single number cannot be read from them.
            return self.problem(path, "a number became repeated, or a repeated one single");
        }
        match new {
            Wire::Message => self.message_type(reader.type_name(), writer.type_name(), path),
            Wire::Map => {
                let entry = |file: &'a File, field: &FieldDescriptorProto| {
                    file.types.get(field.type_name()).and_then(|named| named.message.as_ref())
                };
                if let (Some(new), Some(old)) = (entry(self.reader, reader), entry(self.writer, writer)) {
                    for (is, was) in new.field.iter().zip(&old.field) {
                        self.field(is, was, &format!("{path}.{}", is.name()));
                    }
                }
            }
            _ => {}
        }
    }

    /// The same message within its package, and one that is itself compatible.
    fn message_type(&mut self, reader: &'a str, writer: &'a str, path: &str) {
        let (Some(new), Some(old)) = (self.reader.types.get(reader), self.writer.types.get(writer)) else { return };
        let local = |name: &'a str, package: &str| name.strip_prefix(package).unwrap_or(name);
        if local(reader, &new.package) != local(writer, &old.package) {
            return self.problem(path, &format!("{writer} became {reader}"));
        }
        if self.seen.contains(&(reader, writer)) {
            return;
        }
        self.seen.push((reader, writer));
        if let (Some(new), Some(old)) = (&new.message, &old.message) {
            self.message(new, old, path);
        }
    }

    fn problem(&mut self, path: &str, why: &str) {
        let problem = format!("{path}: {why}");
        // A message may be reached by several roads.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

fn by_number(message: &DescriptorProto) -> BTreeMap<i32, &FieldDescriptorProto> {
    message.field.iter().map(|field| (field.number(), field)).collect()
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

/// The name of the oneof that a field is in; an `optional` of proto3 makes one up, which is none.
fn oneof<'a>(message: &'a DescriptorProto, field: &FieldDescriptorProto) -> Option<&'a str> {
    let index = field.oneof_index.filter(|_| !field.proto3_optional())?;
    message.oneof_decl.get(usize::try_from(index).ok()?).map(|oneof| oneof.name())
}

fn real_oneofs(message: &DescriptorProto) -> impl Iterator<Item = &str> {
    let names = message.oneof_decl.iter().map(|oneof| oneof.name());
    names.filter(|name| message.field.iter().any(|field| oneof(message, field) == Some(name)))
}

fn wire(file: &File, field: &FieldDescriptorProto) -> Wire {
    match field.r#type() {
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum => Wire::Varint,
        Kind::Sint32 | Kind::Sint64 => Wire::ZigZag,
        Kind::String | Kind::Bytes => Wire::Length,
        Kind::Fixed32 | Kind::Sfixed32 => Wire::Fixed32,
        Kind::Fixed64 | Kind::Sfixed64 => Wire::Fixed64,
        Kind::Float => Wire::Float,
        Kind::Double => Wire::Double,
        Kind::Message | Kind::Group => {
            let message = file.types.get(field.type_name()).and_then(|named| named.message.as_ref());
            if message.is_some_and(is_map_entry) { Wire::Map } else { Wire::Message }
        }
    }
}

fn told(field: &FieldDescriptorProto) -> String {
    let kind = field.r#type().as_str_name();
    kind.strip_prefix("TYPE_").unwrap_or(kind).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RegisteredSchema, Schema};

    fn problems(reader: &str, writer: &str) -> Vec<String> {
        let parse = |text: &str| {
            let text = format!("syntax = \"proto3\"; package p; {text}");
            File::parse(&RegisteredSchema::new(Schema::protobuf(text), Vec::new())).unwrap()
        };
        unreadable(&parse(reader), &parse(writer))
    }

    fn message(fields: &str) -> String {
        format!(
            "enum E {{ Z = 0; }} message N {{ int32 n = 1; }} message O {{ int32 n = 1; }} message M {{ {fields} }}"
        )
    }

    #[track_caller]
    fn reads(reader: &str, writer: &str) {
        assert_eq!(problems(&message(reader), &message(writer)), [""; 0]);
    }

    #[track_caller]
    fn refuses(reader: &str, writer: &str, why: &str) {
        assert_eq!(problems(&message(reader), &message(writer)), [why]);
    }

    #[test]
    fn fields_come_go_and_change_their_names() {
        reads("int32 a = 1; string b = 2;", "int32 a = 1;");
        reads("", "int32 a = 1;");
        reads("int32 x = 1;", "int32 a = 1;");
    }

    #[test]
    fn a_number_keeps_its_kind_on_the_wire() {
        for (new, old) in
            [("int64", "int32"), ("bool", "uint32"), ("E", "int32"), ("bytes", "string"), ("sint64", "sint32")]
        {
            reads(&format!("{new} a = 1;"), &format!("{old} a = 1;"));
            reads(&format!("{old} a = 1;"), &format!("{new} a = 1;"));
        }
        refuses("string a = 1;", "int32 a = 1;", "M.a: int32 became string");
        refuses("sint32 a = 1;", "int32 a = 1;", "M.a: int32 became sint32");
        refuses("double a = 1;", "float a = 1;", "M.a: float became double");
        refuses("fixed64 a = 1;", "fixed32 a = 1;", "M.a: fixed32 became fixed64");
        refuses("N a = 1;", "bytes a = 1;", "M.a: bytes became message");
        refuses("O a = 1;", "N a = 1;", "M.a: .p.N became .p.O");
    }

    #[test]
    fn a_single_field_becomes_repeated_unless_it_is_a_number() {
        reads("repeated string a = 1;", "string a = 1;");
        reads("repeated N a = 1;", "N a = 1;");
        refuses("repeated int32 a = 1;", "int32 a = 1;", "M.a: a number became repeated, or a repeated one single");
    }

    #[test]
    fn messages_may_come_and_not_go() {
        assert!(problems("message A {} message B {}", "message A {}").is_empty());
        assert!(problems("message B {} message A {}", "message A {} message B {}").is_empty(), "order has no meaning");
        assert_eq!(problems("message A {}", "message A {} message B {}"), ["B: the message was removed"]);
        assert_eq!(problems("message A {}", "message A { message B {} }"), ["A.B: the message was removed"]);
        assert!(problems("message A {}", "message A {} enum E { Z = 0; }").is_empty());
    }

    #[test]
    fn a_oneof_takes_in_one_field_that_stood_alone() {
        reads("oneof o { int32 a = 1; }", "int32 a = 1;");
        reads("oneof o { int32 a = 1; string b = 2; }", "int32 a = 1;");
        reads("oneof o { int32 a = 1; string b = 2; }", "oneof o { int32 a = 1; }");
        reads("optional int32 a = 1; optional int32 b = 2;", "int32 a = 1; int32 b = 2;");
        let several = "M: several fields were moved to oneof o";
        refuses("oneof o { int32 a = 1; int32 b = 2; }", "int32 a = 1; int32 b = 2;", several);
        let existing = "M: a field was moved to oneof o, which others were in";
        refuses("oneof o { int32 a = 1; int32 b = 2; }", "oneof o { int32 a = 1; } int32 b = 2;", existing);
        let removed = "M: b was removed from a oneof";
        refuses("oneof o { int32 a = 1; }", "oneof o { int32 a = 1; int32 b = 2; }", removed);
        reads("", "oneof o { int32 a = 1; int32 b = 2; }");
    }

    #[test]
    fn maps_are_compared_by_key_and_value() {
        reads("map<string, int64> a = 1;", "map<string, int32> a = 1;");
        refuses("map<string, string> a = 1;", "map<string, int32> a = 1;", "M.a.value: int32 became string");
        assert_eq!(
            problems(&message("string a = 1;"), &message("map<string, int32> a = 1;")),
            ["M.a: message became string"]
        );
    }

    #[test]
    fn required_fields_of_proto2_neither_come_nor_go() {
        let parse = |fields: &str| {
            let text = format!("syntax = \"proto2\"; message M {{ {fields} }}");
            File::parse(&RegisteredSchema::new(Schema::protobuf(text), Vec::new())).unwrap()
        };
        let (none, one) = (parse(""), parse("required int32 a = 1;"));
        assert_eq!(unreadable(&one, &none), ["M: required field a was added"]);
        assert_eq!(unreadable(&none, &one), ["M: required field a was removed"]);
        assert!(unreadable(&parse("optional int32 a = 1;"), &one).is_empty());
    }

    #[test]
    fn a_recursive_message_ends() {
        let tree = |of: &str| format!("message T {{ {of} v = 1; repeated T next = 2; }}");
        assert!(problems(&tree("int64"), &tree("int32")).is_empty());
        assert_eq!(problems(&tree("string"), &tree("int32")).len(), 2, "as a message, and as the field");
    }
}
