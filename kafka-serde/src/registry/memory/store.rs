//! What the registry holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::refusal::Refusal;
use super::subject::Subject;
use crate::registry::client::Mode;
use crate::registry::compatibility::{Parsed, compact};
use crate::{CompatibilityLevel, RegisteredSchema, Schema, SchemaReference, SchemaType};

/// How deep references may nest.
const DEEPEST: usize = 32;

#[derive(Default)]
pub(super) struct Store {
    pub(super) contexts: BTreeMap<String, Context>,
    pub(super) level: Option<CompatibilityLevel>,
    pub(super) mode: Option<Mode>,
}

/// A space of ids and subjects of its own.
#[derive(Default)]
pub(super) struct Context {
    pub(super) schemas: BTreeMap<i32, Stored>,
    ids: HashMap<Content, i32>,
    pub(super) subjects: BTreeMap<String, Versions>,
    pub(super) level: Option<CompatibilityLevel>,
    pub(super) mode: Option<Mode>,
}

#[derive(Clone)]
pub(super) struct Stored {
    pub(super) id: i32,
    pub(super) guid: Uuid,
    pub(super) schema: Schema,
}

/// The versions of a subject.
#[derive(Default)]
pub(super) struct Versions {
    pub(super) versions: BTreeMap<i32, Entry>,
    pub(super) level: Option<CompatibilityLevel>,
    pub(super) mode: Option<Mode>,
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) id: i32,
    pub(super) deleted: bool,
}

/// What makes two schemas the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content(Schema);

impl Content {
    /// A schema is its text without white space between tokens, its references, metadata and rules.
    pub(super) fn of(schema: &Schema) -> Self {
        let mut schema = schema.clone();
        if schema.schema_type != SchemaType::Protobuf {
            schema.text = compact(&schema.text).into();
        }
        Self(schema)
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.0
    }

    /// The same GUID for the same schema, whatever the registry and the context.
    fn guid(&self) -> Uuid {
        let Schema { schema_type, text, references, metadata, rule_set } = &self.0;
        let name = format!("{schema_type}\n{text}\n{references:?}\n{metadata:?}\n{rule_set:?}");
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    }
}

impl Store {
    pub(super) fn context(&mut self, name: &str) -> &mut Context {
        self.contexts.entry(name.to_owned()).or_default()
    }

    pub(super) fn versions(&self, subject: &Subject) -> Option<&Versions> {
        self.contexts.get(&subject.context)?.subjects.get(&subject.name)
    }

    /// The subject, where it has a version that is not deleted, or any with `deleted`.
    pub(super) fn existing(&self, subject: &Subject, deleted: bool) -> Result<&Versions, Refusal> {
        let versions = self.versions(subject).filter(|versions| versions.live(deleted).next().is_some());
        versions.ok_or_else(|| Refusal::no_subject(subject))
    }

    pub(super) fn stored(&self, context: &str, id: i32) -> Option<&Stored> {
        self.contexts.get(context)?.schemas.get(&id)
    }

    /// The schema of a version, with all that it refers to.
    pub(super) fn registered(&self, subject: &Subject, id: i32) -> Result<RegisteredSchema, Refusal> {
        let stored = self.stored(&subject.context, id).ok_or_else(|| Refusal::no_schema(id))?;
        self.resolve(&stored.schema, &subject.context, 0)
    }

    /// A schema of the context with all that it refers to.
    pub(super) fn resolve(&self, schema: &Schema, context: &str, depth: usize) -> Result<RegisteredSchema, Refusal> {
        if depth >= DEEPEST {
            return Err(Refusal::invalid_schema(format_args!("references nest deeper than {DEEPEST}")));
        }
        let mut references = Vec::with_capacity(schema.references.len());
        for reference in &schema.references {
            let SchemaReference { name, subject: subject_name, version } = reference;
            let subject = Subject::read(subject_name, context);
            let entry = self.versions(&subject).and_then(|versions| versions.versions.get(version));
            let stored = entry.and_then(|entry| self.stored(&subject.context, entry.id));
            let missing = || {
                let why = format!("No schema reference found for subject \"{subject}\" and version {version} ({name})");
                Refusal::invalid_schema(why)
            };
            let stored = stored.ok_or_else(missing)?;
            let mut used = self.resolve(&stored.schema, &subject.context, depth + 1)?;
            (used.subject, used.version) = (Some(subject.to_string().into()), Some(*version));
            references.push((reference.clone(), Arc::new(used)));
        }
        Ok(RegisteredSchema::new(schema.clone(), references))
    }

    /// Understands a schema, or says what is wrong with it.
    pub(super) fn parse(&self, schema: &Schema, context: &str) -> Result<Parsed, Refusal> {
        Parsed::new(&self.resolve(schema, context, 0)?).map_err(Refusal::invalid_schema)
    }

    /// The versions of `subject` that hold `schema`, newest first; by normal form with `normal`.
    pub(super) fn find(
        &self,
        subject: &Subject,
        schema: &Schema,
        normal: Option<&Parsed>,
        deleted: bool,
    ) -> Option<(i32, Entry)> {
        let versions = self.versions(subject)?;
        let content = Content::of(schema);
        let normal = normal.map(Parsed::normal_form);
        let same = |entry: &Entry| {
            let Some(stored) = self.stored(&subject.context, entry.id) else { return false };
            if Content::of(&stored.schema) == content {
                return true;
            }
            let Some(normal) = &normal else { return false };
            let alike =
                stored.schema.schema_type == schema.schema_type && stored.schema.references == schema.references;
            alike && self.parse(&stored.schema, &subject.context).is_ok_and(|parsed| parsed.normal_form() == *normal)
        };
        versions.live(deleted).rev().find(|(_, entry)| same(entry))
    }
}

impl Context {
    /// The id of a schema: the one it has, or the next.
    pub(super) fn keep(&mut self, schema: &Schema, wanted: Option<i32>) -> i32 {
        let content = Content::of(schema);
        if let Some(id) = self.ids.get(&content).filter(|id| wanted.is_none_or(|wanted| wanted == **id)) {
            return *id;
        }
        let next = || self.schemas.last_key_value().map_or(1, |(last, _)| last + 1);
        let id = wanted.unwrap_or_else(next);
        self.schemas.insert(id, Stored { id, guid: content.guid(), schema: content.schema().clone() });
        self.ids.insert(content, id);
        id
    }

    /// Forgets a schema that no version holds any more.
    pub(super) fn sweep(&mut self, id: i32) {
        let held = self.subjects.values().any(|subject| subject.versions.values().any(|entry| entry.id == id));
        if !held && let Some(stored) = self.schemas.remove(&id) {
            self.ids.remove(&Content::of(&stored.schema));
        }
    }
}

impl Versions {
    /// The versions that are not deleted, ascending; all of them with `deleted`.
    pub(super) fn live(&self, deleted: bool) -> impl DoubleEndedIterator<Item = (i32, Entry)> {
        let live = move |(_, entry): &(&i32, &Entry)| deleted || !entry.deleted;
        self.versions.iter().filter(live).map(|(version, entry)| (*version, *entry))
    }

    pub(super) fn next(&self) -> i32 {
        self.versions.last_key_value().map_or(1, |(last, _)| last + 1)
    }
}
