//! From an id or a place to a schema with all that it refers to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::failure::Failure;
use super::known::Place;
use super::refused::Question;
use super::request::Request;
use super::wire::Found;
use super::{Registry, Shared};
use crate::{Error, ErrorKind, RegisteredSchema, Schema, SchemaId, SchemaReference};

/// How deep references may nest.
const DEEPEST: usize = 32;

/// How many schemas one schema may refer to, at any depth.
const MOST: usize = 1_000;

/// What one schema refers to, resolved, by the place it is kept at.
type Resolved = HashMap<Place, Arc<RegisteredSchema>>;

impl Registry {
    /// The schema of this id, where it is known: no lock, no allocation, no request.
    pub fn known(&self, id: impl Into<SchemaId>) -> Option<Arc<RegisteredSchema>> {
        let found = self.shared.known.ids.get(&id.into());
        if found.is_some() {
            self.shared.known.counters.hits.add();
        }
        found
    }

    /// The schema of this id, with all that it refers to.
    ///
    /// A known one is returned at once. An unknown one costs one request, however many ask for it at the same time,
    /// and one for each schema that it refers to and that is not known. A registry's "there is no such schema" is
    /// remembered for 10 s.
    ///
    /// # Errors
    /// [`ErrorKind::SchemaNotFound`] when the registry has no such schema; [`ErrorKind::InvalidSchema`] when its
    /// references nest deeper than 32, are more than 1,000, or go in a circle; [`ErrorKind::RegistryUnavailable`] when the
    /// registry cannot answer now, after the configured retries; [`ErrorKind::AccessDenied`],
    /// [`ErrorKind::RegistryAnswer`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the waiting; others who wait for the same schema still get it.
    pub async fn schema(&self, id: impl Into<SchemaId>) -> Result<Arc<RegisteredSchema>, Error> {
        let id = id.into();
        match self.known(id) {
            Some(known) => Ok(known),
            None => self.shared.find(id).await.map_err(Error::from),
        }
    }

    /// Fetches these schemas, so that the first records that carry them do not wait. All are tried.
    ///
    /// # Errors
    /// The first failure, as for [`schema`](Self::schema); the others are known all the same.
    ///
    /// # Cancel safety
    /// What was fetched before the future is dropped is known.
    pub async fn prewarm(&self, ids: impl IntoIterator<Item = SchemaId>) -> Result<(), Error> {
        let mut first = Ok(());
        for id in ids {
            let fetched = self.schema(id).await;
            first = first.and(fetched.map(drop));
        }
        first
    }

    /// Fetches the latest schema of each of these subjects, and makes its id known. All are tried.
    ///
    /// # Errors
    /// The first failure, as for [`schema`](Self::schema); the others are known all the same.
    ///
    /// # Cancel safety
    /// What was fetched before the future is dropped is known.
    pub async fn prewarm_subjects<S: AsRef<str>>(&self, subjects: impl IntoIterator<Item = S>) -> Result<(), Error> {
        let mut first = Ok(());
        for subject in subjects {
            let fetched = self.latest(subject.as_ref()).await;
            first = first.and(fetched.map(drop));
        }
        first
    }
}

impl Shared {
    /// The schema of an id that is not known.
    pub(super) async fn find(self: &Arc<Self>, id: SchemaId) -> Result<Arc<RegisteredSchema>, Failure> {
        self.known.counters.misses.fetch_add(1, Relaxed);
        let question = Question::Id(id);
        if let Some(failure) = self.known.refused.get(&question, Instant::now()) {
            self.known.counters.failures_served.fetch_add(1, Relaxed);
            return Err(failure);
        }
        let shared = Arc::clone(self);
        let asked = self.known.id_flights.join(id, || async move {
            // It may have landed between the caller's look and now.
            match shared.known.ids.get(&id) {
                Some(known) => Ok(known),
                None => shared.fetch(id).await,
            }
        });
        let answer = asked.await;
        if let Err(failure) = &answer {
            self.known.refused.remember(question, failure, Instant::now());
        }
        answer
    }

    async fn fetch(self: &Arc<Self>, id: SchemaId) -> Result<Arc<RegisteredSchema>, Failure> {
        let request = match id {
            SchemaId::Id(id) => Request::get(&["schemas", "ids", &id.to_string()]),
            SchemaId::Guid(guid) => Request::get(&["schemas", "guids", &guid.to_string()]),
        };
        // Ids are of a context, and a context is told by a subject in it.
        let request = match &self.settings.context {
            Some(context) if matches!(id, SchemaId::Id(_)) => request.with("subject", format!(":.{context}:")),
            _ => request,
        };
        let mut found = self.ask_for(&request, Found::read).await?;
        match id {
            SchemaId::Id(id) => found.id = Some(id),
            SchemaId::Guid(guid) => found.guid = Some(guid),
        }
        // The version is one of several, where the schema is registered under several subjects.
        found.version = None;
        let schema = self.resolved(found, None).await.map_err(|failure| failure.within(id))?;
        Ok(self.remember(Arc::new(schema)))
    }

    /// Makes a schema known by its id and its GUID, and returns the one that is known.
    pub(super) fn remember(&self, schema: Arc<RegisteredSchema>) -> Arc<RegisteredSchema> {
        let ids = [schema.id.map(SchemaId::Id), schema.guid.map(SchemaId::Guid)];
        for id in ids.into_iter().flatten() {
            if self.known.ids.get(&id).is_none() {
                self.known.ids.insert(id, Arc::clone(&schema));
            }
        }
        schema
    }

    /// Resolves what a schema refers to.
    pub(super) async fn resolved(
        self: &Arc<Self>,
        found: Found,
        place: Option<Place>,
    ) -> Result<RegisteredSchema, Failure> {
        let mut path = Vec::from_iter(place.clone());
        self.resolve(found, place, &mut path, &mut Resolved::new()).await
    }

    fn resolve<'a>(
        self: &'a Arc<Self>,
        found: Found,
        place: Option<Place>,
        path: &'a mut Vec<Place>,
        resolved: &'a mut Resolved,
    ) -> BoxFuture<'a, Result<RegisteredSchema, Failure>> {
        async move {
            let Some(schema) = found.schema else {
                return Err(Failure::new(ErrorKind::RegistryAnswer, "the registry answered without a schema"));
            };
            let references = self.references(&schema, path, resolved).await?;
            let mut registered = RegisteredSchema::new(schema, references);
            (registered.id, registered.guid, registered.version) = (found.id, found.guid, found.version);
            if let Some((subject, version)) = place {
                (registered.subject, registered.version) = (Some(subject), Some(version));
            }
            Ok(registered)
        }
        .boxed()
    }

    async fn references(
        self: &Arc<Self>,
        schema: &Schema,
        path: &mut Vec<Place>,
        resolved: &mut Resolved,
    ) -> Result<Vec<(SchemaReference, Arc<RegisteredSchema>)>, Failure> {
        let mut references = Vec::with_capacity(schema.references.len());
        for reference in &schema.references {
            let used = self.reference(reference, path, resolved).await;
            let used = used.map_err(|failure| {
                let SchemaReference { name, subject, version } = reference;
                failure.within(format_args!("reference {name} ({subject} version {version})"))
            })?;
            references.push((reference.clone(), used));
        }
        Ok(references)
    }

    async fn reference(
        self: &Arc<Self>,
        reference: &SchemaReference,
        path: &mut Vec<Place>,
        resolved: &mut Resolved,
    ) -> Result<Arc<RegisteredSchema>, Failure> {
        let subject: Arc<str> = self.settings.qualified(&reference.subject).into();
        let place = (subject, reference.version);
        if let Some(known) = resolved.get(&place) {
            return Ok(Arc::clone(known));
        }
        let refuse = |why: String| Err(Failure::new(ErrorKind::InvalidSchema, why));
        if path.contains(&place) {
            return refuse("it refers to itself, by one or more steps".to_owned());
        }
        if path.len() >= DEEPEST {
            return refuse(format!("references nest deeper than {DEEPEST}"));
        }
        if resolved.len() >= MOST {
            return refuse(format!("more than {MOST} schemas are referred to"));
        }
        let found = self.version(place.clone()).await?;
        path.push(place.clone());
        let used = self.resolve(Found::clone(&found), Some(place.clone()), path, resolved).await?;
        path.pop();
        let used = Arc::new(used);
        resolved.insert(place, Arc::clone(&used));
        Ok(used)
    }

    /// A version of a subject, deleted softly or not: a schema may refer to it still.
    pub(super) async fn version(self: &Arc<Self>, place: Place) -> Result<Arc<Found>, Failure> {
        if let Some(known) = self.known.versions.get(&place) {
            return Ok(known);
        }
        let question = Question::Version(place.clone());
        if let Some(failure) = self.known.refused.get(&question, Instant::now()) {
            self.known.counters.failures_served.fetch_add(1, Relaxed);
            return Err(failure);
        }
        let shared = Arc::clone(self);
        let asked = self.known.version_flights.join(place.clone(), || async move {
            if let Some(known) = shared.known.versions.get(&place) {
                return Ok(known);
            }
            let (subject, version) = &place;
            let request =
                Request::get(&["subjects", subject, "versions", &version.to_string()]).with_flag("deleted", true);
            let found = Arc::new(shared.ask_for(&request, Found::read).await?);
            shared.known.versions.insert(place, Arc::clone(&found));
            Ok(found)
        });
        let answer = asked.await;
        if let Err(failure) = &answer {
            self.known.refused.remember(question, failure, Instant::now());
        }
        answer
    }
}
