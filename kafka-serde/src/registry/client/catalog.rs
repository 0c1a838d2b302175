//! What a registry holds.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{integers, strings};
use crate::registry::request::Request;
use crate::registry::wire;
use crate::{Error, RegisteredSchema, Registry};

/// A version of a subject: a number from 1, or the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    /// The newest that is not deleted.
    #[default]
    Latest,
    /// This one.
    Number(i32),
}

impl From<i32> for Version {
    fn from(number: i32) -> Self {
        Version::Number(number)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Latest => f.write_str("latest"),
            Version::Number(number) => number.fmt(f),
        }
    }
}

/// Whether softly deleted subjects and versions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Deleted {
    /// They are left out.
    #[default]
    Without,
    /// They are listed with the others.
    With,
    /// Only they are listed.
    Only,
}

/// A place that a schema is registered at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SubjectVersion {
    /// The subject.
    pub subject: String,
    /// The version under it.
    pub version: i32,
}

impl Deleted {
    fn on(self, request: Request) -> Request {
        match self {
            Deleted::Without => request,
            Deleted::With => request.with("deleted", "true"),
            Deleted::Only => request.with("deletedOnly", "true"),
        }
    }
}

/// All of these ask the registry each time, and fail with
/// [`SchemaNotFound`](crate::ErrorKind::SchemaNotFound), [`RegistryUnavailable`](crate::ErrorKind::RegistryUnavailable),
/// [`AccessDenied`](crate::ErrorKind::AccessDenied), [`Refused`](crate::ErrorKind::Refused) or
/// [`RegistryAnswer`](crate::ErrorKind::RegistryAnswer). Dropping a future gives up the waiting only.
impl Registry {
    /// The subjects of all contexts, or of this handle's, in the order of the registry.
    ///
    /// # Errors
    /// See above.
    pub async fn subjects(&self, deleted: Deleted) -> Result<Vec<String>, Error> {
        let request = deleted.on(Request::get(&["subjects"]));
        let request = match &self.shared.settings.context {
            Some(context) => request.with("subjectPrefix", format!(":.{context}:")),
            None => request,
        };
        Ok(self.shared.ask_for(&request, strings).await?)
    }

    /// The versions of `subject`, ascending.
    ///
    /// # Errors
    /// See above.
    pub async fn versions(&self, subject: &str, deleted: Deleted) -> Result<Vec<i32>, Error> {
        let subject = self.shared.settings.qualified(subject);
        let request = deleted.on(Request::get(&["subjects", &subject, "versions"]));
        Ok(self.shared.ask_for(&request, integers).await?)
    }

    /// The newest schema of `subject`, with all that it refers to.
    ///
    /// # Errors
    /// See above.
    pub async fn latest(&self, subject: &str) -> Result<Arc<RegisteredSchema>, Error> {
        self.version(subject, Version::Latest).await
    }

    /// A schema of `subject`, with all that it refers to; its id is known from then on.
    ///
    /// # Errors
    /// See above.
    pub async fn version(&self, subject: &str, version: impl Into<Version>) -> Result<Arc<RegisteredSchema>, Error> {
        let subject: Arc<str> = self.shared.settings.qualified(subject).into();
        let request = Request::get(&["subjects", &subject, "versions", &version.into().to_string()]);
        Ok(self.shared.newest(&subject, &request).await?)
    }

    /// The newest schema of `subject` whose metadata holds all of `properties`.
    ///
    /// # Errors
    /// See above.
    pub async fn latest_with(
        &self,
        subject: &str,
        properties: &[(&str, &str)],
    ) -> Result<Arc<RegisteredSchema>, Error> {
        let subject: Arc<str> = self.shared.settings.qualified(subject).into();
        let mut request = Request::get(&["subjects", &subject, "metadata"]);
        for (name, value) in properties {
            request = request.with("key", *name).with("value", *value);
        }
        Ok(self.shared.newest(&subject, &request).await?)
    }

    /// The ids of the schemas that refer to this one.
    ///
    /// # Errors
    /// See above.
    pub async fn referenced_by(&self, subject: &str, version: impl Into<Version>) -> Result<Vec<i32>, Error> {
        let subject = self.shared.settings.qualified(subject);
        let version = version.into().to_string();
        let request = Request::get(&["subjects", &subject, "versions", &version, "referencedby"]);
        Ok(self.shared.ask_for(&request, integers).await?)
    }

    /// The places where the schema of this id is registered.
    ///
    /// # Errors
    /// See above.
    pub async fn places(&self, id: i32) -> Result<Vec<SubjectVersion>, Error> {
        let request = Request::get(&["schemas", "ids", &id.to_string(), "versions"]);
        let request = match &self.shared.settings.context {
            Some(context) => request.with("subject", format!(":.{context}:")),
            None => request,
        };
        Ok(self.shared.ask_for(&request, places).await?)
    }

    /// The names of the schema types that the registry knows.
    ///
    /// # Errors
    /// See above.
    pub async fn schema_types(&self) -> Result<Vec<String>, Error> {
        Ok(self.shared.ask_for(&Request::get(&["schemas", "types"]), strings).await?)
    }

    /// The registry's contexts; the default one is `.`.
    ///
    /// # Errors
    /// See above.
    pub async fn contexts(&self) -> Result<Vec<String>, Error> {
        Ok(self.shared.ask_for(&Request::get(&["contexts"]), strings).await?)
    }
}

fn places(body: &Value) -> Result<Vec<SubjectVersion>, String> {
    let place = |item: &Value| {
        let item = item.as_object().ok_or("a list of something else")?;
        let subject = wire::text(item, "subject")?.ok_or("a place without subject")?.to_owned();
        let version = wire::number(item, "version")?.ok_or("a place without version")?;
        Ok(SubjectVersion { subject, version })
    };
    body.as_array().ok_or("no list")?.iter().map(place).collect()
}
