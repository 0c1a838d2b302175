//! The schema that an encoder writes with.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use serde_json::Map;

use super::compatibility::{self, CompatibilityLevel};
use super::failure::Failure;
use super::known::{Chosen, Place};
use super::refused::Question;
use super::request::{Method, Request};
use super::wire::{self, Found};
use super::{Registry, Shared};
use crate::{Error, ErrorKind, RegisteredSchema, Schema, SchemaChoice, SchemaId, SchemaType};

impl Registry {
    /// What [`to_write`](Self::to_write) answered before for the same subject, schema and choice: no request, no lock.
    pub fn known_to_write(
        &self,
        subject: &str,
        schema: &Schema,
        choice: &SchemaChoice,
    ) -> Option<Arc<RegisteredSchema>> {
        let chosen = self.shared.known.chosen(&self.shared.settings.qualified(subject), schema, choice)?;
        self.shared.known.counters.hits.add();
        if choice.moves() && chosen.at.elapsed() >= self.shared.settings.latest_lifetime {
            self.shared.known.counters.stale_served.fetch_add(1, Relaxed);
        }
        Some(chosen.found)
    }

    /// The registered form of an encoder's `schema` under `subject`, found as `choice` says.
    ///
    /// The answer is remembered for this subject, schema and choice together. A "latest" is renewed in the background
    /// every 60 s, where an async runtime is there to do it; while the registry is down the last answer stays.
    /// [`generation`](Self::generation) moves when a renewed answer is another schema.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] when the registry refuses to register the schema, or when a checked choice cannot read
    /// what `schema` writes; [`ErrorKind::SchemaNotFound`] when a schema is to be looked up and is not there;
    /// [`ErrorKind::InvalidSchema`], [`ErrorKind::RegistryUnavailable`], [`ErrorKind::AccessDenied`],
    /// [`ErrorKind::RegistryAnswer`]. A refusal is remembered for 10 s.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the waiting; the schema may be registered all the same.
    pub async fn to_write(
        &self,
        subject: &str,
        schema: &Schema,
        choice: &SchemaChoice,
    ) -> Result<Arc<RegisteredSchema>, Error> {
        if let Some(known) = self.known_to_write(subject, schema, choice) {
            return Ok(known);
        }
        let subject: Arc<str> = self.shared.settings.qualified(subject).into();
        let found = self.shared.choose(subject, schema, choice).await?;
        if choice.moves() {
            self.shared.keep_fresh();
        }
        Ok(found)
    }

    /// Registers `schema` under `subject`, or finds it there: [`to_write`](Self::to_write) with
    /// [`SchemaChoice::register`].
    ///
    /// # Errors
    /// As for [`to_write`](Self::to_write).
    ///
    /// # Cancel safety
    /// Dropping the future gives up the waiting; the schema may be registered all the same.
    pub async fn register(&self, subject: &str, schema: &Schema) -> Result<Arc<RegisteredSchema>, Error> {
        self.to_write(subject, schema, &SchemaChoice::register()).await
    }

    /// Finds `schema` under `subject`, where it must be registered: [`to_write`](Self::to_write) with
    /// [`SchemaChoice::look_up`].
    ///
    /// # Errors
    /// As for [`to_write`](Self::to_write).
    ///
    /// # Cancel safety
    /// Dropping the future gives up the waiting.
    pub async fn look_up(&self, subject: &str, schema: &Schema) -> Result<Arc<RegisteredSchema>, Error> {
        self.to_write(subject, schema, &SchemaChoice::look_up()).await
    }
}

impl Shared {
    async fn choose(
        self: &Arc<Self>,
        subject: Arc<str>,
        schema: &Schema,
        choice: &SchemaChoice,
    ) -> Result<Arc<RegisteredSchema>, Failure> {
        self.known.counters.misses.fetch_add(1, Relaxed);
        let question = Question::Choice(Arc::clone(&subject), schema.clone(), choice.clone());
        if let Some(failure) = self.known.refused.get(&question, Instant::now()) {
            self.known.counters.failures_served.fetch_add(1, Relaxed);
            return Err(failure);
        }
        let key = (Arc::clone(&subject), schema.clone(), choice.clone());
        let (shared, schema, choice) = (Arc::clone(self), schema.clone(), choice.clone());
        let asked = self.known.choice_flights.join(key, || async move {
            match shared.known.chosen(&subject, &schema, &choice) {
                Some(known) => Ok(known.found),
                None => shared.renew(&subject, &schema, &choice).await,
            }
        });
        let answer = asked.await;
        if let Err(failure) = &answer {
            self.known.refused.remember(question, failure, Instant::now());
        }
        answer
    }

    /// Asks the registry, and remembers what it says.
    pub(super) async fn renew(
        self: &Arc<Self>,
        subject: &Arc<str>,
        schema: &Schema,
        choice: &SchemaChoice,
    ) -> Result<Arc<RegisteredSchema>, Failure> {
        let found = self.ask_by(subject, schema, choice).await;
        let found = found.map_err(|failure| failure.within(format_args!("subject {subject}")))?;
        let chosen =
            Chosen { schema: schema.clone(), choice: choice.clone(), found: Arc::clone(&found), at: Instant::now() };
        self.known.choose(subject, chosen);
        Ok(found)
    }

    async fn ask_by(
        self: &Arc<Self>,
        subject: &Arc<str>,
        schema: &Schema,
        choice: &SchemaChoice,
    ) -> Result<Arc<RegisteredSchema>, Failure> {
        match choice {
            SchemaChoice::Register { normalize } => {
                let request = Request::new(Method::Post, &["subjects", subject, "versions"]);
                self.place(subject, schema, *normalize, request).await
            }
            SchemaChoice::LookUp { normalize } => {
                let request = Request::new(Method::Post, &["subjects", subject]);
                self.place(subject, schema, *normalize, request).await
            }
            SchemaChoice::Latest { check } => {
                let request = Request::get(&["subjects", subject, "versions", "latest"]);
                let found = self.newest(subject, &request).await?;
                self.checked(found, schema, *check).await
            }
            SchemaChoice::LatestWith { metadata, check } => {
                let mut request = Request::get(&["subjects", subject, "metadata"]);
                for (name, value) in metadata {
                    request = request.with("key", name).with("value", value);
                }
                let found = self.newest(subject, &request).await?;
                self.checked(found, schema, *check).await
            }
            SchemaChoice::Id { id, check } => {
                let found = self.by_id(SchemaId::Id(*id)).await?;
                self.checked(found, schema, *check).await
            }
            SchemaChoice::Guid { guid, check } => {
                let found = self.by_id(SchemaId::Guid(*guid)).await?;
                self.checked(found, schema, *check).await
            }
        }
    }

    async fn by_id(self: &Arc<Self>, id: SchemaId) -> Result<Arc<RegisteredSchema>, Failure> {
        match self.known.ids.get(&id) {
            Some(known) => Ok(known),
            None => self.find(id).await,
        }
    }

    /// Registers a schema or looks it up, as `request` says.
    async fn place(
        self: &Arc<Self>,
        subject: &Arc<str>,
        schema: &Schema,
        normalize: bool,
        request: Request,
    ) -> Result<Arc<RegisteredSchema>, Failure> {
        let mut body = Map::new();
        wire::write_schema(schema, &mut body).map_err(|why| Failure::new(ErrorKind::InvalidSchema, why))?;
        let request = request.with_flag("normalize", normalize).with_body(serde_json::Value::Object(body).to_string());
        let mut found = self.ask_for(&request, Found::read).await?;
        let Some(id) = found.id else {
            return Err(Failure::new(ErrorKind::RegistryAnswer, "the registry answered without an id"));
        };
        let registers = request.path.len() == 3;
        if normalize && found.schema.is_none() {
            // The normal form is what the id stands for: a Protobuf message may have another index in it.
            found.schema = Some(self.by_id(SchemaId::Id(id)).await?.schema.clone());
        } else if !normalize {
            // What was sent is what the id stands for; the answer may be another print of it.
            found.schema = Some(schema.clone());
        }
        let place = found.version.map(|version| (Arc::clone(subject), version));
        let mut registered = self.resolved(found, place).await?;
        registered.subject = Some(Arc::clone(subject));
        if registers {
            // A subject that was missing a moment ago is not missing any more.
            self.known.refused.clear();
        }
        let registered = Arc::new(registered);
        // An index in a Protobuf payload is one into the text that was registered first, which need not be this one.
        Ok(match registered.schema.schema_type {
            SchemaType::Protobuf => registered,
            SchemaType::Avro | SchemaType::Json => self.remember(registered),
        })
    }

    /// The version that `request` finds, with all that it refers to.
    pub(super) async fn newest(
        self: &Arc<Self>,
        subject: &Arc<str>,
        request: &Request,
    ) -> Result<Arc<RegisteredSchema>, Failure> {
        let found = self.ask_for(request, Found::read).await?;
        let place: Option<Place> = found.version.map(|version| (Arc::clone(subject), version));
        if let Some(place) = &place {
            self.known.versions.insert(place.clone(), Arc::new(found.clone()));
        }
        let registered = Arc::new(self.resolved(found, place).await?);
        Ok(self.remember(registered))
    }

    /// Refuses a schema that cannot read what `schema` writes.
    async fn checked(
        self: &Arc<Self>,
        found: Arc<RegisteredSchema>,
        schema: &Schema,
        check: bool,
    ) -> Result<Arc<RegisteredSchema>, Failure> {
        if check && found.schema != *schema {
            let own = Found { schema: Some(schema.clone()), ..Found::default() };
            let own = self.resolved(own, None).await?;
            let parsed =
                |schema| compatibility::Parsed::new(schema).map_err(|why| Failure::new(ErrorKind::InvalidSchema, why));
            let problems = parsed(&found)?.problems(CompatibilityLevel::Backward, &[parsed(&own)?]);
            if !problems.is_empty() {
                let problems = problems.join("; ");
                let message = format!(
                    "the schema to write with cannot read what the encoder's schema writes: {problems}; \
                     change the encoder's schema, or choose without the check"
                );
                return Err(Failure::new(ErrorKind::Incompatible, message));
            }
        }
        Ok(found)
    }
}
