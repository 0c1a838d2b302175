//! Values by the schemas they were written with, through a registry.
//!
//! Deciding about a dead letter neither waits nor asks anybody. What a decision would have to ask for is noted; who decides
//! [resolves](Values::resolve) it, and decides again. What is known is looked up by topic and schema id, without a lock and
//! without a string: subjects are called by their names only to ask for them.

mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use arc_swap::ArcSwap;
use kafka_client::serde::{
    Avro, Deserializer, Encoded, ErrorKind as Why, JsonSchema, Miss, Part, RegisteredSchema, Registry, SchemaId,
    SchemaType, Serializer, Source, Stop, Target, Validation, protobuf,
};
use kafka_client::{BoxError, RawRecord};
use parking_lot::Mutex;
use serde_json::Value;

use self::known::{Fits, Known, Learned};
use crate::error::{Error, ErrorKind};

/// How often a decision is made again for what was missing, before what is known has to do.
pub(crate) const PASSES: usize = 8;
/// The magic byte and the id in front of a payload.
const PREFIX: usize = 5;

/// Decodes, encodes and checks.
#[derive(Clone)]
pub(crate) struct Values {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    avro: Avro<Value>,
    protobuf: protobuf::DynamicProtobuf,
    messages: protobuf::ProtoJson,
    /// Checks documents both ways.
    documents: JsonSchema<Value>,
    /// What writes the messages of each full name.
    writers: Mutex<BTreeMap<String, protobuf::ProtoJson>>,
    known: ArcSwap<Known>,
    missed: Mutex<Vec<Miss>>,
    asked: Mutex<BTreeSet<Asked>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Schema(i32),
    /// What a topic's subject says to the schema of this id; without one: to bytes that name none.
    Fits(String, IsKey, Option<i32>),
    Newest(String),
}

/// Whether it is the key's subject, not the value's.
type IsKey = bool;

impl Values {
    pub(crate) fn new(registry: &Registry) -> Self {
        let inner = Inner {
            registry: registry.clone(),
            avro: Avro::from_registry(registry),
            protobuf: protobuf::DynamicProtobuf::new(registry),
            messages: protobuf::ProtoJson::new(registry),
            documents: JsonSchema::from_registry(registry).validation(Validation::Both),
            writers: Mutex::default(),
            known: ArcSwap::default(),
            missed: Mutex::default(),
            asked: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A key or value by its schema; `None` where it names none, or it cannot be decoded by it, or not yet.
    pub(crate) fn decoded(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> Option<Value> {
        let framed = bytes?;
        let schema = self.schema(id(framed)?)?;
        let from = Source::new(topic, part);
        match schema.schema.schema_type {
            SchemaType::Json => serde_json::from_slice(framed.get(PREFIX..)?).ok(),
            SchemaType::Avro => self.known(self.inner.avro.deserialize(bytes, &from)),
            SchemaType::Protobuf => self.known(self.inner.messages.deserialize(bytes, &from)),
        }
    }

    /// The same, waiting for what is not known yet.
    #[cfg(feature = "cli")]
    pub(crate) async fn fetched(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> Option<Value> {
        for _ in 0..PASSES {
            let value = self.decoded(bytes, topic, part);
            if value.is_some() || !self.resolve().await.ok()? {
                return value;
            }
        }
        None
    }

    /// Writes a value as the newest schema of the target's subject has it, if `like`, what it was made of, names a schema;
    /// else as JSON.
    ///
    /// # Errors
    /// Why it cannot be written; or that it is [not known yet](Self::is_behind).
    pub(crate) fn written(&self, value: Value, like: Option<&[u8]>, topic: &str) -> Result<Vec<u8>, BoxError> {
        if like.and_then(id).is_none() {
            return Ok(value.to_string().into_bytes());
        }
        let subject = || subject(topic, Part::Value);
        let newest = self.newest(topic).ok_or("the schema of its target is not known yet")?;
        let newest = newest.ok_or_else(|| format!("there is no subject {} to write it with", subject()))?;
        let (mut out, mut target) = (Vec::new(), Target::new(topic, Part::Value));
        let written = match newest.schema.schema_type {
            SchemaType::Avro => self.inner.avro.serialize(&value, &mut target, &mut out),
            SchemaType::Protobuf => {
                self.writer_like(like, topic).and_then(|writer| writer.serialize(&value, &mut target, &mut out))
            }
            SchemaType::Json => self.inner.documents.serialize(&value, &mut target, &mut out),
        };
        match written {
            Ok(Encoded::Bytes) => Ok(out),
            Ok(_) => Err("the schema of its target makes no bytes of it".into()),
            Err(Stop::Miss(miss)) => {
                self.inner.missed.lock().push(miss);
                Err("the schema of its target is not known yet".into())
            }
            Err(Stop::Error(error)) => Err(format!("it is no value of {}: {error}", subject()).into()),
        }
    }

    /// What writes a message of the name that `like` has.
    fn writer_like(&self, like: Option<&[u8]>, topic: &str) -> Result<protobuf::ProtoJson, Stop> {
        let is_message = |schema: Arc<RegisteredSchema>| schema.schema.schema_type == SchemaType::Protobuf;
        if !like.and_then(id).and_then(|id| self.schema(id)).is_some_and(is_message) {
            // It was something else; the first message of the file is what it becomes.
            return Ok(self.inner.messages.clone());
        }
        let like = self.inner.protobuf.deserialize(like, &Source::new(topic, Part::Value))?;
        if like.has_unknown_fields() {
            let message = "it has fields that the schema it was written with does not know, and would lose them";
            return Err(kafka_client::serde::Error::new(Why::Unencodable, message).into());
        }
        let mut writers = self.inner.writers.lock();
        let writer = writers.entry(like.name()).or_insert_with_key(|name| self.inner.messages.clone().message(name));
        Ok(writer.clone())
    }

    /// Whether key and value of a record fit the subjects of its topic: their schemas are registered there, or could be,
    /// and the bytes are values of them.
    ///
    /// # Errors
    /// Why they do not; or that it is [not known yet](Self::is_behind).
    pub(crate) fn check(&self, record: &RawRecord) -> Result<(), BoxError> {
        for (part, bytes) in [(Part::Key, record.key.as_deref()), (Part::Value, record.value.as_deref())] {
            let Some(framed) = bytes else { continue };
            let id = id(framed);
            let (Fits::Checked, Some(id)) = (self.fits(record.topic(), part, id)?, id) else { continue };
            let read = self.validated(framed, record.topic(), part);
            read.map_err(|why| format!("its bytes are no value of schema {id}: {why}"))?;
        }
        Ok(())
    }

    /// Whether bytes are a value of the schema that they name.
    fn validated(&self, framed: &[u8], topic: &str, part: Part) -> Result<(), String> {
        let not_yet = || "it is not known yet".to_owned();
        let schema = id(framed).and_then(|id| self.schema(id)).ok_or_else(not_yet)?;
        let (bytes, from) = (Some(framed), Source::new(topic, part));
        let read = match schema.schema.schema_type {
            SchemaType::Json => self.inner.documents.deserialize(bytes, &from),
            SchemaType::Avro => self.inner.avro.deserialize(bytes, &from),
            SchemaType::Protobuf => self.inner.messages.deserialize(bytes, &from),
        };
        match read {
            Ok(_) => Ok(()),
            Err(Stop::Miss(miss)) => {
                self.inner.missed.lock().push(miss);
                Err(not_yet())
            }
            Err(Stop::Error(error)) => Err(error.to_string()),
        }
    }

    /// Whether something was asked that is not known yet.
    fn is_behind(&self) -> bool {
        !self.inner.missed.lock().is_empty() || !self.inner.asked.lock().is_empty()
    }

    /// Asks the registry for what is not known yet; whether there was anything, so that the same decision is made again.
    ///
    /// # Errors
    /// When the registry cannot be asked: an outage is nothing that a record could be judged by.
    pub(crate) async fn resolve(&self) -> Result<bool, Error> {
        if !self.is_behind() {
            return Ok(false);
        }
        let missed = std::mem::take(&mut *self.inner.missed.lock());
        for miss in missed {
            answered(miss.resolve().await)?;
        }
        let asked = std::mem::take(&mut *self.inner.asked.lock());
        let mut learned = Vec::new();
        let mut outcome = Ok(true);
        for asked in asked {
            match self.answer(asked).await {
                Ok(answer) => learned.extend(answer),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        // What was heard before an outage counts.
        if !learned.is_empty() {
            self.inner.known.rcu(|known| known.with(&learned));
        }
        outcome
    }

    async fn answer(&self, asked: Asked) -> Result<Option<Learned>, Error> {
        Ok(match asked {
            Asked::Schema(id) => match answered(self.inner.registry.schema(SchemaId::Id(id)).await)? {
                Some(_) => None,
                None => Some(Learned::Unknown(id)),
            },
            Asked::Newest(topic) => {
                let newest = answered(self.inner.registry.latest(&subject(&topic, Part::Value)).await)?;
                Some(Learned::Newest(topic, newest))
            }
            Asked::Fits(topic, is_key, id) => {
                let part = if is_key { Part::Key } else { Part::Value };
                let fits = self.compared(&subject(&topic, part), id).await?;
                Some(Learned::Fits(topic, part, id, fits))
            }
        })
    }

    fn schema(&self, id: i32) -> Option<Arc<RegisteredSchema>> {
        let known = self.inner.registry.known(SchemaId::Id(id));
        if known.is_none() && !self.inner.known.load().is_unknown(id) {
            self.ask(Asked::Schema(id));
        }
        known
    }

    fn newest(&self, topic: &str) -> Option<Option<Arc<RegisteredSchema>>> {
        let newest = self.inner.known.load().newest(topic).cloned();
        if newest.is_none() {
            self.ask(Asked::Newest(topic.to_owned()));
        }
        newest
    }

    fn fits(&self, topic: &str, part: Part, id: Option<i32>) -> Result<Fits, String> {
        if let Some(fits) = self.inner.known.load().fits(topic, part, id) {
            return fits.clone();
        }
        self.ask(Asked::Fits(topic.to_owned(), part == Part::Key, id));
        Err("whether its schema fits the target is not known yet".to_owned())
    }

    fn ask(&self, asked: Asked) {
        self.inner.asked.lock().insert(asked);
    }

    fn known<T>(&self, decoded: Result<T, Stop>) -> Option<T> {
        match decoded {
            Ok(value) => Some(value),
            Err(Stop::Miss(miss)) => {
                self.inner.missed.lock().push(miss);
                None
            }
            Err(Stop::Error(_)) => None,
        }
    }

    async fn compared(&self, subject: &str, id: Option<i32>) -> Result<Result<Fits, String>, Error> {
        let registry = &self.inner.registry;
        if answered(registry.latest(subject).await)?.is_none() {
            return Ok(Ok(Fits::Anything));
        }
        let Some(id) = id else {
            return Ok(Err(format!("{subject} has a schema, and its bytes name none")));
        };
        let Some(schema) = answered(registry.schema(SchemaId::Id(id)).await)? else {
            return Ok(Err(format!("the registry does not know its schema {id}")));
        };
        let places = answered(registry.places(id).await)?.unwrap_or_default();
        if places.iter().any(|place| place.subject == subject) {
            return Ok(Ok(Fits::Checked));
        }
        Ok(match answered(registry.could_register(subject, &schema.schema).await)? {
            Some(answer) if answer.is_compatible => Ok(Fits::Checked),
            Some(answer) => {
                let why = answer.messages.join("; ");
                Err(format!("its schema {id} is not compatible with {subject}: {why}"))
            }
            None => Err(format!("its schema {id} cannot be one of {subject}")),
        })
    }
}

/// An answer about the schema is one, good or bad; all else is an outage.
fn answered<T>(answer: Result<T, kafka_client::serde::Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind() {
            Why::RegistryUnavailable | Why::AccessDenied | Why::RegistryAnswer | Why::InvalidSetting => {
                Err(Error::new(ErrorKind::Registry, "could not ask the registry").with_source(error))
            }
            _ => Ok(None),
        },
    }
}

fn subject(topic: &str, part: Part) -> String {
    match part {
        Part::Key => format!("{topic}-key"),
        _ => format!("{topic}-value"),
    }
}

/// The schema id in front of a payload.
fn id(framed: &[u8]) -> Option<i32> {
    match framed {
        [0, id @ ..] => Some(i32::from_be_bytes(*id.first_chunk()?)),
        _ => None,
    }
}

/// As `0x..`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
