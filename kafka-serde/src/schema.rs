//! Schemas as a registry keeps them, and how an encoder finds the one it writes with.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::{Error, ErrorKind};

/// The language a schema is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SchemaType {
    /// Apache Avro; what a registry means when it names no type.
    #[default]
    Avro,
    /// JSON Schema, drafts 4 to 2020-12.
    Json,
    /// Protocol Buffers: a `.proto` text, or a base64 `FileDescriptorProto`.
    Protobuf,
}

impl SchemaType {
    /// The name in the registry's API: `AVRO`, `JSON` or `PROTOBUF`.
    pub const fn as_str(self) -> &'static str {
        match self {
            SchemaType::Avro => "AVRO",
            SchemaType::Json => "JSON",
            SchemaType::Protobuf => "PROTOBUF",
        }
    }
}

impl fmt::Display for SchemaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SchemaType {
    type Err = Error;

    /// Reads the name that the registry's API uses, in capitals or not.
    fn from_str(name: &str) -> Result<Self, Error> {
        [SchemaType::Avro, SchemaType::Json, SchemaType::Protobuf]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::new(ErrorKind::InvalidSchema, format!("no schema type is called {name:?}")))
    }
}

/// A schema that another one uses, kept under a subject of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SchemaReference {
    /// How the using schema names it: an Avro full name, a JSON `$ref` address, a Protobuf import path.
    pub name: String,
    /// The subject it is registered under.
    pub subject: String,
    /// Its version there, from 1.
    pub version: i32,
}

impl SchemaReference {
    /// The schema that `subject` holds as `version`, used as `name`.
    pub fn new(name: impl Into<String>, subject: impl Into<String>, version: i32) -> Self {
        Self { name: name.into(), subject: subject.into(), version }
    }
}

/// A schema as a registry stores it: a text and what the text refers to.
///
/// ```
/// use kafka_serde::{Schema, SchemaReference, SchemaType};
///
/// let flight = Schema::avro(r#"{"type":"record","name":"Flight","fields":[{"name":"to","type":"Airport"}]}"#)
///     .with_reference(SchemaReference::new("Airport", "airports-value", 1));
/// assert_eq!(flight.schema_type, SchemaType::Avro);
/// assert_eq!(flight.references[0].subject, "airports-value");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Schema {
    /// The language of the text.
    pub schema_type: SchemaType,
    /// The text as it was registered, character for character.
    pub text: Arc<str>,
    /// The schemas that the text names and does not define.
    pub references: Vec<SchemaReference>,
    /// The registry's `metadata` object as JSON, passed through.
    pub metadata: Option<Arc<str>>,
    /// The registry's `ruleSet` object as JSON, passed through.
    pub rule_set: Option<Arc<str>>,
}

impl Schema {
    /// A schema without references; the text is not looked at.
    pub fn new(schema_type: SchemaType, text: impl Into<Arc<str>>) -> Self {
        Self { schema_type, text: text.into(), references: Vec::new(), metadata: None, rule_set: None }
    }

    /// An Avro schema.
    pub fn avro(text: impl Into<Arc<str>>) -> Self {
        Self::new(SchemaType::Avro, text)
    }

    /// A JSON Schema.
    pub fn json(text: impl Into<Arc<str>>) -> Self {
        Self::new(SchemaType::Json, text)
    }

    /// A Protobuf schema: a `.proto` text, or a base64 `FileDescriptorProto`.
    pub fn protobuf(text: impl Into<Arc<str>>) -> Self {
        Self::new(SchemaType::Protobuf, text)
    }

    /// Adds a schema that the text names and does not define.
    pub fn with_reference(mut self, reference: SchemaReference) -> Self {
        self.references.push(reference);
        self
    }

    /// Sets the registry's `metadata` object, as JSON text.
    pub fn with_metadata(mut self, json: impl Into<Arc<str>>) -> Self {
        self.metadata = Some(json.into());
        self
    }

    /// Sets the registry's `ruleSet` object, as JSON text.
    pub fn with_rule_set(mut self, json: impl Into<Arc<str>>) -> Self {
        self.rule_set = Some(json.into());
        self
    }
}

/// The number or the name that a payload carries in place of its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemaId {
    /// The registry's number, unique within one context of one registry.
    Id(i32),
    /// The registry's GUID, unique everywhere.
    Guid(Uuid),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaId::Id(id) => write!(f, "schema {id}"),
            SchemaId::Guid(guid) => write!(f, "schema {guid}"),
        }
    }
}

impl From<i32> for SchemaId {
    fn from(id: i32) -> Self {
        SchemaId::Id(id)
    }
}

impl From<Uuid> for SchemaId {
    fn from(guid: Uuid) -> Self {
        SchemaId::Guid(guid)
    }
}

/// A schema that a registry knows, with all that it refers to.
///
/// References are resolved to any depth; a schema that several others refer to is one value that they share.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegisteredSchema {
    /// The number that payloads carry, where the answer said it.
    pub id: Option<i32>,
    /// The GUID that headers carry, where the registry gives them (Confluent Platform 8.0 and later).
    pub guid: Option<Uuid>,
    /// A subject it is registered under, where it was found through one.
    pub subject: Option<Arc<str>>,
    /// Its version under that subject.
    pub version: Option<i32>,
    /// The schema itself.
    pub schema: Schema,
    /// What it refers to, in the order of `schema.references`.
    pub references: Vec<(SchemaReference, Arc<RegisteredSchema>)>,
}

impl RegisteredSchema {
    /// A schema without a place in a registry: no id, no subject.
    ///
    /// `references` are those of `schema.references`, resolved, in the same order.
    pub fn new(schema: Schema, references: Vec<(SchemaReference, Arc<RegisteredSchema>)>) -> Self {
        Self { id: None, guid: None, subject: None, version: None, schema, references }
    }

    /// All schemas it refers to, at any depth, each once and after those it refers to itself, with the name they are
    /// used by: the order a parser wants to see them in.
    pub fn dependencies(&self) -> Vec<(&SchemaReference, &Arc<RegisteredSchema>)> {
        fn visit<'a>(schema: &'a RegisteredSchema, found: &mut Vec<(&'a SchemaReference, &'a Arc<RegisteredSchema>)>) {
            for (reference, used) in &schema.references {
                // The same place under two names is kept twice: Protobuf finds it by the name.
                if !found.iter().any(|(known, seen)| known.name == reference.name && seen.same_place(used)) {
                    visit(used, found);
                    found.push((reference, used));
                }
            }
        }
        let mut found = Vec::new();
        visit(self, &mut found);
        found
    }

    fn same_place(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other)
            || (self.subject.is_some() && (&self.subject, self.version) == (&other.subject, other.version))
    }
}

/// How an encoder finds the schema that it writes with.
///
/// Every choice has exactly the options that apply to it, so that contradictory ones cannot be written.
///
/// ```
/// use kafka_serde::SchemaChoice;
///
/// assert_eq!(SchemaChoice::default(), SchemaChoice::register());
/// assert_eq!(SchemaChoice::look_up().normalized(), SchemaChoice::LookUp { normalize: true });
/// assert_eq!(SchemaChoice::latest().unchecked(), SchemaChoice::Latest { check: false });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemaChoice {
    /// Registers the encoder's schema on first use, as `auto.register.schemas=true` does. The default.
    Register {
        /// Lets the registry bring the text into its normal form first: `normalize.schemas`, default false.
        normalize: bool,
    },
    /// Finds the id of the encoder's schema, which must be registered already: `auto.register.schemas=false`.
    LookUp {
        /// Compares normal forms: `normalize.schemas`, default false.
        normalize: bool,
    },
    /// Writes with the newest version of the subject: `use.latest.version`.
    Latest {
        /// Refuses a newest version that cannot read what the encoder's schema writes:
        /// `latest.compatibility.strict`, default true.
        check: bool,
    },
    /// Writes with the newest version that has these metadata properties: `use.latest.with.metadata`.
    LatestWith {
        /// Names and values that the version's metadata must hold.
        metadata: BTreeMap<String, String>,
        /// As for [`Latest`](Self::Latest).
        check: bool,
    },
    /// Writes with the schema of this id: `use.schema.id`.
    Id {
        /// The id.
        id: i32,
        /// Refuses a schema that cannot read what the encoder's schema writes: `id.compatibility.strict`, default true.
        check: bool,
    },
    /// Writes with the schema of this GUID: `use.schema.guid`.
    Guid {
        /// The GUID.
        guid: Uuid,
        /// As for [`Id`](Self::Id).
        check: bool,
    },
}

impl SchemaChoice {
    /// Registers the encoder's schema on first use.
    pub const fn register() -> Self {
        Self::Register { normalize: false }
    }

    /// Finds the id of the encoder's schema, which must be registered already.
    pub const fn look_up() -> Self {
        Self::LookUp { normalize: false }
    }

    /// Writes with the newest version of the subject.
    pub const fn latest() -> Self {
        Self::Latest { check: true }
    }

    /// Writes with the newest version whose metadata holds these properties.
    pub fn latest_with<K: Into<String>, V: Into<String>>(metadata: impl IntoIterator<Item = (K, V)>) -> Self {
        let metadata = metadata.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self::LatestWith { metadata, check: true }
    }

    /// Writes with the schema of this id.
    pub const fn id(id: i32) -> Self {
        Self::Id { id, check: true }
    }

    /// Writes with the schema of this GUID.
    pub const fn guid(guid: Uuid) -> Self {
        Self::Guid { guid, check: true }
    }

    /// Lets the registry compare and store normal forms; has no meaning, and no effect, where the encoder's schema is
    /// not what is asked for.
    pub fn normalized(mut self) -> Self {
        if let Self::Register { normalize } | Self::LookUp { normalize } = &mut self {
            *normalize = true;
        }
        self
    }

    /// Skips the check that the found schema can read what the encoder's schema writes; has no effect where the
    /// encoder's schema is what is asked for.
    pub fn unchecked(mut self) -> Self {
        if let Self::Latest { check }
        | Self::LatestWith { check, .. }
        | Self::Id { check, .. }
        | Self::Guid { check, .. } = &mut self
        {
            *check = false;
        }
        self
    }

    /// Whether what is written with can change while the encoder's schema stays the same.
    pub const fn moves(&self) -> bool {
        matches!(self, Self::Latest { .. } | Self::LatestWith { .. })
    }
}

impl Default for SchemaChoice {
    fn default() -> Self {
        Self::register()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(subject: &str, references: Vec<(SchemaReference, Arc<RegisteredSchema>)>) -> Arc<RegisteredSchema> {
        let mut schema = RegisteredSchema::new(Schema::avro(format!("\"{subject}\"")), references);
        (schema.subject, schema.version) = (Some(subject.into()), Some(1));
        Arc::new(schema)
    }

    fn used(subject: &str, schema: &Arc<RegisteredSchema>) -> (SchemaReference, Arc<RegisteredSchema>) {
        (SchemaReference::new(subject, subject, 1), Arc::clone(schema))
    }

    #[test]
    fn types_have_the_names_of_the_api() {
        for known in [SchemaType::Avro, SchemaType::Json, SchemaType::Protobuf] {
            assert_eq!(known.to_string().parse::<SchemaType>().unwrap(), known);
        }
        assert_eq!("json".parse::<SchemaType>().unwrap(), SchemaType::Json);
        assert_eq!("XML".parse::<SchemaType>().unwrap_err().to_string(), "no schema type is called \"XML\"");
    }

    #[test]
    fn a_diamond_is_listed_once_and_before_what_uses_it() {
        let base = placed("base", vec![]);
        let left = placed("left", vec![used("base", &base)]);
        // Fetched a second time, so another value of the same place.
        let right = placed("right", vec![used("base", &placed("base", vec![]))]);
        let top = placed("top", vec![used("left", &left), used("right", &right)]);
        let names: Vec<_> = top.dependencies().iter().map(|(reference, _)| reference.name.as_str()).collect();
        assert_eq!(names, ["base", "left", "right"]);
    }

    #[test]
    fn options_that_do_not_apply_change_nothing() {
        assert_eq!(SchemaChoice::latest().normalized(), SchemaChoice::latest());
        assert_eq!(SchemaChoice::register().unchecked(), SchemaChoice::register());
        assert_eq!(SchemaChoice::id(3).unchecked(), SchemaChoice::Id { id: 3, check: false });
    }
}
