//! Avro: a schema as the rules of resolution see it.

mod parse;
mod resolution;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::RegisteredSchema;

pub(super) use resolution::unreadable;

/// A schema with all the names it uses.
pub(crate) struct Schema {
    root: Type,
    named: BTreeMap<String, Named>,
}

/// The shape of a value. Logical types change nothing about who can read whom.
#[derive(Clone, Debug, PartialEq)]
enum Type {
    Primitive(Primitive),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    /// By its full name.
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

#[derive(Debug)]
struct Named {
    aliases: Vec<String>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Record(Vec<Field>),
    Enum { symbols: Vec<String>, default: Option<String> },
    Fixed(u64),
}

#[derive(Debug)]
struct Field {
    name: String,
    aliases: Vec<String>,
    schema: Type,
    /// As JSON, for the normal form.
    default: Option<String>,
}

impl Primitive {
    const ALL: [(&'static str, Primitive); 8] = [
        ("null", Primitive::Null),
        ("boolean", Primitive::Boolean),
        ("int", Primitive::Int),
        ("long", Primitive::Long),
        ("float", Primitive::Float),
        ("double", Primitive::Double),
        ("bytes", Primitive::Bytes),
        ("string", Primitive::String),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, primitive)| *primitive)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

impl Schema {
    /// Understands a schema after all that it refers to.
    pub(super) fn parse(schema: &RegisteredSchema) -> Result<Self, String> {
        parse::parse(schema)
    }

    /// Names in full, attributes in one order, what has no meaning left out.
    pub(super) fn normal_form(&self) -> String {
        let mut text = String::new();
        let mut defined = Vec::new();
        self.write(&self.root, &mut defined, &mut text);
        text
    }

    fn write<'a>(&'a self, schema: &'a Type, defined: &mut Vec<&'a str>, text: &mut String) {
        // Writing to a String cannot fail.
        match schema {
            Type::Primitive(primitive) => text.push_str(primitive.name()),
            Type::Array(items) | Type::Map(items) => {
                text.push_str(if matches!(schema, Type::Array(_)) { "array<" } else { "map<" });
                self.write(items, defined, text);
                text.push('>');
            }
            Type::Union(branches) => {
                text.push('[');
                for branch in branches {
                    self.write(branch, defined, text);
                    text.push(',');
                }
                text.push(']');
            }
            Type::Named(name) => {
                text.push_str(name);
                if !defined.contains(&name.as_str()) {
                    defined.push(name);
                    if let Some(named) = self.named.get(name) {
                        self.write_body(named, defined, text);
                    }
                }
            }
        }
    }

    fn write_body<'a>(&'a self, named: &'a Named, defined: &mut Vec<&'a str>, text: &mut String) {
        let _ = write!(text, "{:?}", named.aliases);
        match &named.body {
            Body::Record(fields) => {
                text.push('{');
                for field in fields {
                    let _ = write!(text, "{:?}{:?}={:?}:", field.name, field.aliases, field.default);
                    self.write(&field.schema, defined, text);
                    text.push(',');
                }
                text.push('}');
            }
            Body::Enum { symbols, default } => {
                let _ = write!(text, "enum{symbols:?}{default:?}");
            }
            Body::Fixed(size) => {
                let _ = write!(text, "fixed({size})");
            }
        }
    }
}
