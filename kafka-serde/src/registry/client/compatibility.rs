//! Compatibility: asking whether a schema would fit, and the level that decides.

use serde_json::{Map, Value, json};

use super::Version;
use crate::registry::failure::Failure;
use crate::registry::request::{Method, Request};
use crate::registry::wire;
use crate::{CompatibilityLevel, Error, ErrorKind, Registry, RegistryCode, Schema};

/// Whether a schema keeps the compatibility of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compatibility {
    /// Whether it could be registered.
    pub is_compatible: bool,
    /// What stands against it, in the registry's words.
    pub messages: Vec<String>,
}

/// All of these ask the registry each time, and fail as every request may. Dropping a future gives up the waiting only.
impl Registry {
    /// Whether `schema` keeps the compatibility level of `subject` towards one of its versions.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSchema`]; [`ErrorKind::SchemaNotFound`] when there is no such version.
    pub async fn is_compatible(
        &self,
        subject: &str,
        version: impl Into<Version>,
        schema: &Schema,
    ) -> Result<Compatibility, Error> {
        let subject = self.shared.settings.qualified(subject);
        let version = version.into().to_string();
        self.test(&["compatibility", "subjects", &subject, "versions", &version], schema).await
    }

    /// Whether `schema` could be registered under `subject` now, towards all versions that its level looks at.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSchema`].
    pub async fn could_register(&self, subject: &str, schema: &Schema) -> Result<Compatibility, Error> {
        let subject = self.shared.settings.qualified(subject);
        self.test(&["compatibility", "subjects", &subject, "versions"], schema).await
    }

    async fn test(&self, path: &[&str], schema: &Schema) -> Result<Compatibility, Error> {
        let mut body = Map::new();
        wire::write_schema(schema, &mut body).map_err(|why| Failure::new(ErrorKind::InvalidSchema, why))?;
        let request = Request::new(Method::Post, path).with_flag("verbose", true);
        let request = request.with_body(Value::Object(body).to_string());
        Ok(self.shared.ask_for(&request, read).await?)
    }

    /// The compatibility level set for `subject`, or the global one with `None`; `None` where a subject has none of its
    /// own, so that the global one applies.
    ///
    /// # Errors
    /// As every request may fail.
    pub async fn compatibility_level(&self, subject: Option<&str>) -> Result<Option<CompatibilityLevel>, Error> {
        match self.shared.ask_for(&self.level(Method::Get, subject), level).await {
            Ok(level) => Ok(Some(level)),
            Err(failure) if absent(&failure) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Sets the compatibility level of `subject`, or the global one with `None`.
    ///
    /// # Errors
    /// As every request may fail.
    pub async fn set_compatibility_level(&self, subject: Option<&str>, level: CompatibilityLevel) -> Result<(), Error> {
        let body = json!({"compatibility": level.as_str()}).to_string();
        self.shared.ask(&self.level(Method::Put, subject).with_body(body)).await?;
        // What was refused by the old level may be accepted now.
        self.shared.known.refused.clear();
        Ok(())
    }

    /// Takes the compatibility level of `subject` away, so that the global one applies; with `None`, sets the global one
    /// back to the registry's default.
    ///
    /// # Errors
    /// As every request may fail; [`ErrorKind::SchemaNotFound`] where none is set.
    pub async fn reset_compatibility_level(&self, subject: Option<&str>) -> Result<(), Error> {
        self.shared.ask(&self.level(Method::Delete, subject)).await?;
        self.shared.known.refused.clear();
        Ok(())
    }

    fn level(&self, method: Method, subject: Option<&str>) -> Request {
        match subject {
            Some(subject) => Request::new(method, &["config", &self.shared.settings.qualified(subject)]),
            None => Request::new(method, &["config"]),
        }
    }
}

/// Whether a subject has no level or mode of its own; older registries say that the subject is not there.
pub(super) fn absent(failure: &Failure) -> bool {
    matches!(
        failure.code,
        Some(RegistryCode::NO_SUBJECT_COMPATIBILITY | RegistryCode::NO_SUBJECT_MODE | RegistryCode::SUBJECT_NOT_FOUND)
    )
}

fn read(body: &Value) -> Result<Compatibility, String> {
    let is_compatible = body.get("is_compatible").and_then(Value::as_bool).ok_or("no is_compatible")?;
    let messages = body.get("messages").and_then(Value::as_array);
    let messages = messages.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Compatibility { is_compatible, messages })
}

fn level(body: &Value) -> Result<CompatibilityLevel, String> {
    // A GET answers with the first name, a PUT with the second; some registries mix them up.
    let level = body.get("compatibilityLevel").or_else(|| body.get("compatibility")).and_then(Value::as_str);
    level.ok_or("no compatibilityLevel")?.parse().map_err(|error: Error| error.to_string())
}
