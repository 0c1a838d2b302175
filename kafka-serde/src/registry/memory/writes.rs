//! Registering, looking up, testing, deleting.

use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use super::store::{Entry, Store};
use super::subject::Subject;
use crate::registry::client::{Mode, Version};
use crate::registry::code::RegistryCode;
use crate::registry::compatibility::Parsed;
use crate::registry::wire;
use crate::{CompatibilityLevel, Schema};

/// The schema of a request, and where it wants to be in import mode.
pub(super) struct Wanted {
    pub(super) schema: Schema,
    id: Option<i32>,
    version: Option<i32>,
}

impl Wanted {
    pub(super) fn read(body: &Value) -> Result<Self, Refusal> {
        let body: &Map<String, Value> = body.as_object().ok_or_else(|| Refusal::invalid_schema("no JSON object"))?;
        let text = wire::text(body, "schema").map_err(Refusal::invalid_schema)?.unwrap_or_default();
        if text.trim().is_empty() {
            return Err(Refusal::new(RegistryCode::INVALID_SCHEMA, "Empty schema"));
        }
        let schema = wire::read_schema(body, text).map_err(Refusal::invalid_schema)?;
        let positive = |name| wire::number(body, name).map(|number| number.filter(|number| *number > 0));
        let (id, version) = (positive("id"), positive("version"));
        Ok(Self {
            schema,
            id: id.map_err(Refusal::invalid_schema)?,
            version: version.map_err(Refusal::invalid_schema)?,
        })
    }
}

impl Store {
    pub(super) fn register(&mut self, subject: &Subject, wanted: &Wanted, normalize: bool) -> Result<Value, Refusal> {
        if subject.name.is_empty() {
            return Err(Refusal::new(
                RegistryCode::INVALID_SUBJECT,
                format!("The specified subject '{subject}' is not a valid."),
            ));
        }
        let mode = self.mode(subject);
        self.may_register(subject, wanted, mode)?;
        let parsed = self.parse(&wanted.schema, &subject.context)?;
        if let Some((version, entry)) = self.find(subject, &wanted.schema, normalize.then_some(&parsed), false) {
            return match wanted.id.filter(|id| *id != entry.id) {
                Some(id) => {
                    let message = format!("Schema already registered with id {} instead of input id {id}", entry.id);
                    Err(Refusal::new(RegistryCode::ID_MISMATCH, message))
                }
                None => self.tell(subject, version, entry),
            };
        }
        if mode != Mode::Import {
            let problems = self.problems(subject, &parsed, self.level(subject), None)?;
            if !problems.is_empty() {
                let message = format!(
                    "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: {problems:?}"
                );
                return Err(Refusal::new(RegistryCode::INCOMPATIBLE, message));
            }
        }
        let known = normalize.then(|| self.alike(subject, &wanted.schema, &parsed)).flatten();
        let context = self.context(&subject.context);
        if let Some(id) = wanted.id
            && let Some(other) = context.schemas.get(&id)
            && super::store::Content::of(&other.schema) != super::store::Content::of(&wanted.schema)
        {
            return Err(Refusal::not_permitted(format!("Overwrite new schema with id {id} is not permitted.")));
        }
        let id = known.unwrap_or_else(|| context.keep(&wanted.schema, wanted.id));
        let versions = context.subjects.entry(subject.name.clone()).or_default();
        let version = wanted.version.unwrap_or_else(|| versions.next());
        let entry = Entry { id, deleted: false };
        versions.versions.insert(version, entry);
        self.tell(subject, version, entry)
    }

    fn may_register(&self, subject: &Subject, wanted: &Wanted, mode: Mode) -> Result<(), Refusal> {
        match mode {
            Mode::ReadWrite if wanted.id.is_some() => Err(Refusal::not_permitted(format!(
                "Subject {subject} in context {} is not in import mode",
                subject.context
            ))),
            Mode::ReadWrite => Ok(()),
            Mode::Import if wanted.id.is_none() => {
                Err(Refusal::not_permitted("Cannot register schema without ID in import mode"))
            }
            Mode::Import => Ok(()),
            Mode::ReadOnly | Mode::ReadOnlyOverride | Mode::Forward => Err(read_only(subject, mode)),
        }
    }

    /// A schema of the context with the same normal form.
    fn alike(&self, subject: &Subject, schema: &Schema, parsed: &Parsed) -> Option<i32> {
        let normal = parsed.normal_form();
        let held = self.contexts.get(&subject.context)?;
        let same = held.schemas.values().find(|stored| {
            stored.schema.schema_type == schema.schema_type
                && stored.schema.references == schema.references
                && self.parse(&stored.schema, &subject.context).is_ok_and(|known| known.normal_form() == normal)
        });
        same.map(|stored| stored.id)
    }

    /// What stands against a schema at a level, towards one version or towards all that the level looks at.
    fn problems(
        &self,
        subject: &Subject,
        parsed: &Parsed,
        level: CompatibilityLevel,
        towards: Option<Entry>,
    ) -> Result<Vec<String>, Refusal> {
        if level == CompatibilityLevel::None {
            return Ok(Vec::new());
        }
        let newest_first = match towards {
            Some(entry) => vec![entry.id],
            None => {
                let all = self.versions(subject).into_iter().flat_map(|versions| versions.live(false).rev());
                let ids = all.map(|(_, entry)| entry.id);
                ids.take(if level.is_transitive() { usize::MAX } else { 1 }).collect()
            }
        };
        let mut older = Vec::with_capacity(newest_first.len());
        for id in newest_first {
            older.push(Parsed::new(&self.registered(subject, id)?).map_err(Refusal::invalid_schema)?);
        }
        Ok(parsed.problems(level, &older))
    }

    pub(super) fn look_up(
        &self,
        subject: &Subject,
        wanted: &Wanted,
        normalize: bool,
        deleted: bool,
    ) -> Result<Value, Refusal> {
        self.existing(subject, deleted)?;
        let parsed = self.parse(&wanted.schema, &subject.context)?;
        let found = self.find(subject, &wanted.schema, normalize.then_some(&parsed), deleted);
        let (version, entry) = found.ok_or_else(|| Refusal::new(RegistryCode::SCHEMA_NOT_FOUND, "Schema not found"))?;
        self.tell(subject, version, entry)
    }

    /// Whether a schema would fit; `None` stands for all versions that the level looks at.
    pub(super) fn test(
        &self,
        subject: &Subject,
        version: Option<Version>,
        wanted: &Wanted,
        verbose: bool,
    ) -> Result<Value, Refusal> {
        let parsed = self.parse(&wanted.schema, &subject.context)?;
        let towards = match version {
            None => None,
            Some(version) => match self.entry(subject, version, false) {
                Ok((_, entry)) => Some(entry),
                // Nothing stands against the first version of a subject.
                Err(_) if version == Version::Latest => return Ok(json!({"is_compatible": true})),
                Err(refusal) => return Err(refusal),
            },
        };
        let problems = self.problems(subject, &parsed, self.level(subject), towards)?;
        let mut body = json!({"is_compatible": problems.is_empty()});
        if verbose {
            body["messages"] = problems.into();
        }
        Ok(body)
    }

    pub(super) fn delete_subject(&mut self, subject: &Subject, permanent: bool) -> Result<Value, Refusal> {
        self.may_delete(subject)?;
        let versions = self.existing(subject, true)?;
        let numbers: Vec<i32> = versions.live(permanent).map(|(version, _)| version).collect();
        if !permanent && numbers.is_empty() {
            let message = format!("Subject '{subject}' was soft deleted.Set permanent=true to delete permanently");
            return Err(Refusal::new(RegistryCode::SUBJECT_SOFT_DELETED, message));
        }
        if permanent && versions.live(false).next().is_some() {
            let message = format!("Subject '{subject}' was not deleted first before being permanently deleted");
            return Err(Refusal::new(RegistryCode::SUBJECT_NOT_SOFT_DELETED, message));
        }
        if let Some(version) = numbers.iter().find(|version| !self.users(subject, **version).is_empty()) {
            return Err(referenced(subject, *version));
        }
        for version in &numbers {
            self.drop_version(subject, *version, permanent);
        }
        let context = self.context(&subject.context);
        if permanent {
            context.subjects.remove(&subject.name);
        } else if let Some(versions) = context.subjects.get_mut(&subject.name) {
            (versions.level, versions.mode) = (None, None);
        }
        Ok(numbers.into())
    }

    pub(super) fn delete_version(
        &mut self,
        subject: &Subject,
        version: Version,
        permanent: bool,
    ) -> Result<Value, Refusal> {
        self.may_delete(subject)?;
        let (version, entry) = self.entry(subject, version, true)?;
        if entry.deleted && !permanent {
            let message = format!(
                "Subject '{subject}' Version {version} was soft deleted.Set permanent=true to delete permanently"
            );
            return Err(Refusal::new(RegistryCode::VERSION_SOFT_DELETED, message));
        }
        if !entry.deleted && permanent {
            let message =
                format!("Subject '{subject}' Version {version} was not deleted first before being permanently deleted");
            return Err(Refusal::new(RegistryCode::VERSION_NOT_SOFT_DELETED, message));
        }
        if !self.users(subject, version).is_empty() {
            return Err(referenced(subject, version));
        }
        self.drop_version(subject, version, permanent);
        Ok(version.into())
    }

    fn drop_version(&mut self, subject: &Subject, version: i32, permanent: bool) {
        let context = self.context(&subject.context);
        let Some(versions) = context.subjects.get_mut(&subject.name) else { return };
        if permanent {
            if let Some(entry) = versions.versions.remove(&version) {
                context.sweep(entry.id);
            }
        } else if let Some(entry) = versions.versions.get_mut(&version) {
            entry.deleted = true;
        }
    }

    fn may_delete(&self, subject: &Subject) -> Result<(), Refusal> {
        match self.mode(subject) {
            mode @ (Mode::ReadOnly | Mode::ReadOnlyOverride | Mode::Forward) => Err(read_only(subject, mode)),
            Mode::ReadWrite | Mode::Import => Ok(()),
        }
    }
}

fn read_only(subject: &Subject, mode: Mode) -> Refusal {
    Refusal::not_permitted(format!("Subject {subject} in context {} is in read-only mode ({mode})", subject.context))
}

fn referenced(subject: &Subject, version: i32) -> Refusal {
    let message = format!("One or more references exist to the schema {{subject={subject},version={version}}}.");
    Refusal::new(RegistryCode::REFERENCE_EXISTS, message)
}
