//! Questions that change nothing.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::refusal::Refusal;
use super::store::{Entry, Store, Stored};
use super::subject::{DEFAULT, Subject};
use crate::registry::client::Version;
use crate::registry::code::RegistryCode;
use crate::registry::wire::write_schema;

/// Which of the deleted ones are looked at.
#[derive(Clone, Copy)]
pub(super) struct Deleted {
    pub(super) with: bool,
    pub(super) only: bool,
}

impl Deleted {
    fn shows(self, entry: Entry) -> bool {
        if self.only { entry.deleted } else { self.with || !entry.deleted }
    }
}

impl Store {
    pub(super) fn list_contexts(&self) -> Value {
        let others = self.contexts.iter().filter(|(name, context)| *name != DEFAULT && !context.subjects.is_empty());
        std::iter::once(DEFAULT).chain(others.map(|(name, _)| name.as_str())).collect()
    }

    /// `prefix` is one of `:*:` (all contexts), `:.eu:`, or of a subject in the default context.
    pub(super) fn list_subjects(&self, prefix: &str, deleted: Deleted) -> Value {
        let all = self.all_versions().filter(|(_, _, entry)| deleted.shows(*entry));
        let mut subjects: Vec<String> = Vec::new();
        for (subject, _, _) in all {
            let name = subject.to_string();
            let shown = match prefix.strip_prefix(":*:") {
                Some(prefix) => subject.name.starts_with(prefix),
                None => {
                    let wanted = Subject::of_default(prefix);
                    subject.context == wanted.context && subject.name.starts_with(&wanted.name)
                }
            };
            if shown && subjects.last() != Some(&name) {
                subjects.push(name);
            }
        }
        subjects.into()
    }

    fn all_versions(&self) -> impl Iterator<Item = (Subject, i32, Entry)> {
        self.contexts.iter().flat_map(|(context, held)| {
            held.subjects.iter().flat_map(move |(name, versions)| {
                let subject = Subject { context: context.clone(), name: name.clone() };
                versions.live(true).map(move |(version, entry)| (subject.clone(), version, entry))
            })
        })
    }

    pub(super) fn list_versions(&self, subject: &Subject, deleted: Deleted) -> Result<Value, Refusal> {
        let versions = self.existing(subject, deleted.with || deleted.only)?;
        let shown = versions.live(true).filter(|(_, entry)| deleted.shows(*entry));
        Ok(shown.map(|(version, _)| version).collect())
    }

    /// The version that a request names.
    pub(super) fn entry(&self, subject: &Subject, version: Version, deleted: bool) -> Result<(i32, Entry), Refusal> {
        let versions = self.existing(subject, deleted)?;
        let found = match version {
            Version::Latest => versions.live(deleted).next_back(),
            Version::Number(number) => versions.live(deleted).find(|(version, _)| *version == number),
        };
        found.ok_or_else(|| match version {
            Version::Number(number) => Refusal::no_version(number),
            Version::Latest => Refusal::no_subject(subject),
        })
    }

    pub(super) fn get_version(&self, subject: &Subject, version: Version, deleted: bool) -> Result<Value, Refusal> {
        let (version, entry) = self.entry(subject, version, deleted)?;
        self.tell(subject, version, entry)
    }

    /// A version as answers tell it.
    pub(super) fn tell(&self, subject: &Subject, version: i32, entry: Entry) -> Result<Value, Refusal> {
        let stored = self.stored(&subject.context, entry.id).ok_or_else(|| Refusal::no_schema(entry.id))?;
        let mut body = told(stored);
        body.insert("subject".to_owned(), subject.to_string().into());
        body.insert("version".to_owned(), version.into());
        body.insert("id".to_owned(), stored.id.into());
        Ok(Value::Object(body))
    }

    pub(super) fn get_version_text(
        &self,
        subject: &Subject,
        version: Version,
        deleted: bool,
    ) -> Result<String, Refusal> {
        let (_, entry) = self.entry(subject, version, deleted)?;
        let stored = self.stored(&subject.context, entry.id).ok_or_else(|| Refusal::no_schema(entry.id))?;
        Ok(stored.schema.text.to_string())
    }

    /// The newest version whose metadata holds all of the properties.
    pub(super) fn get_with_metadata(
        &self,
        subject: &Subject,
        wanted: &[(&str, &str)],
        deleted: bool,
    ) -> Result<Value, Refusal> {
        let versions = self.existing(subject, deleted)?;
        let holds = |stored: &Stored| {
            let metadata = stored.schema.metadata.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
            let properties = metadata.as_ref().and_then(|metadata| metadata.get("properties"));
            wanted
                .iter()
                .all(|(name, value)| properties.and_then(|all| all.get(name)).and_then(Value::as_str) == Some(value))
        };
        let found =
            versions.live(deleted).rev().find(|(_, entry)| self.stored(&subject.context, entry.id).is_some_and(holds));
        let (version, entry) =
            found.ok_or_else(|| Refusal::new(RegistryCode::SCHEMA_NOT_FOUND, "No schema with this metadata found"))?;
        self.tell(subject, version, entry)
    }

    pub(super) fn get_id(&self, context: &str, id: i32, max: bool) -> Result<Value, Refusal> {
        let mut body = told(self.stored(context, id).ok_or_else(|| Refusal::no_schema(id))?);
        if max {
            let max = self.contexts.get(context).and_then(|held| held.schemas.last_key_value()).map(|(id, _)| *id);
            body.insert("maxId".to_owned(), max.into());
        }
        Ok(Value::Object(body))
    }

    pub(super) fn get_id_text(&self, context: &str, id: i32) -> Result<String, Refusal> {
        let stored = self.stored(context, id).ok_or_else(|| Refusal::no_schema(id))?;
        Ok(stored.schema.text.to_string())
    }

    /// An answer that tells a schema, with a Protobuf schema as its descriptor.
    pub(super) fn serialized(&self, mut answer: Value) -> Result<Value, Refusal> {
        let guid = answer.get("guid").and_then(Value::as_str).and_then(|guid| Uuid::parse_str(guid).ok());
        let held = |(context, held): (&String, &super::store::Context)| {
            let stored = held.schemas.values().find(|stored| Some(stored.guid) == guid)?;
            Some((context.clone(), stored.schema.clone()))
        };
        let Some((context, schema)) = self.contexts.iter().find_map(held) else { return Ok(answer) };
        if let Some(text) = self.parse(&schema, &context)?.serialized() {
            answer["schema"] = text.into();
        }
        Ok(answer)
    }

    /// Where the schema of an id is registered: subjects, or subjects with versions.
    pub(super) fn get_places(
        &self,
        context: &str,
        id: i32,
        deleted: bool,
        with_versions: bool,
    ) -> Result<Value, Refusal> {
        self.stored(context, id).ok_or_else(|| Refusal::no_schema(id))?;
        let places = self
            .all_versions()
            .filter(|(subject, _, entry)| subject.context == context && entry.id == id && (deleted || !entry.deleted));
        if with_versions {
            return Ok(places
                .map(|(subject, version, _)| json!({"subject": subject.to_string(), "version": version}))
                .collect());
        }
        let mut subjects: Vec<String> = places.map(|(subject, _, _)| subject.to_string()).collect();
        subjects.dedup();
        Ok(subjects.into())
    }

    pub(super) fn get_guid(&self, guid: &str) -> Result<Value, Refusal> {
        let guid = Uuid::parse_str(guid).map_err(|_| Refusal::no_schema(guid))?;
        let mut all = self.contexts.values().flat_map(|context| context.schemas.values());
        let stored = all.find(|stored| stored.guid == guid).ok_or_else(|| Refusal::no_schema(guid))?;
        Ok(Value::Object(told(stored)))
    }

    pub(super) fn get_guid_ids(&self, guid: &str) -> Result<Value, Refusal> {
        let parsed = Uuid::parse_str(guid).map_err(|_| Refusal::no_schema(guid))?;
        let of = |(name, context): (&String, &super::store::Context)| {
            let stored = context.schemas.values().find(|stored| stored.guid == parsed)?;
            Some(json!({"context": name, "id": stored.id}))
        };
        let ids: Vec<Value> = self.contexts.iter().filter_map(of).collect();
        if ids.is_empty() { Err(Refusal::no_schema(guid)) } else { Ok(ids.into()) }
    }

    pub(super) fn list_schemas(&self, prefix: &str, deleted: Deleted, latest_only: bool) -> Result<Value, Refusal> {
        let subjects = self.list_subjects(prefix, deleted);
        let mut listed = Vec::new();
        for subject in subjects.as_array().into_iter().flatten().filter_map(Value::as_str).map(Subject::of_default) {
            let Some(versions) = self.versions(&subject) else { continue };
            let shown: Vec<_> = versions.live(true).filter(|(_, entry)| deleted.shows(*entry)).collect();
            let shown = if latest_only { &shown[shown.len().saturating_sub(1)..] } else { &shown[..] };
            for (version, entry) in shown {
                listed.push(self.tell(&subject, *version, *entry)?);
            }
        }
        Ok(listed.into())
    }

    /// The ids of live schemas that refer to a version.
    pub(super) fn users(&self, subject: &Subject, version: i32) -> Vec<i32> {
        let refers = |user: &Subject, entry: &Entry| {
            let stored = self.stored(&user.context, entry.id);
            stored.is_some_and(|stored| {
                let mut references = stored.schema.references.iter();
                references
                    .any(|used| used.version == version && Subject::read(&used.subject, &user.context) == *subject)
            })
        };
        let users = self.all_versions().filter(|(user, _, entry)| !entry.deleted && refers(user, entry));
        let mut ids: Vec<i32> = users.map(|(_, _, entry)| entry.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

fn told(stored: &Stored) -> Map<String, Value> {
    let mut body = Map::new();
    // What is not JSON was refused when it was registered.
    let _ = write_schema(&stored.schema, &mut body);
    body.insert("guid".to_owned(), stored.guid.to_string().into());
    body
}
