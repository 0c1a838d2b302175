//! What every format with registered schemas needs: which schema to write with, and which one a payload was written with.
//!
//! ```text
//!   value   ──▶ writers: topic, key or value ──▶ compiled schema, its id ──▶ bytes
//!   payload ──▶ frame ──▶ readers: schema id ──▶ compiled schema ─────────▶ value
//!                  none there: ask what the registry knows; compile once │ not known: Stop::Miss
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::optional::required;
use crate::wire::{Frame, Framing, Tag, header};
use crate::{
    Encoded, Error, ErrorKind, Miss, Part, RegisteredSchema, Registry, Schema, SchemaChoice, SchemaId, Source, Stop,
    SubjectName, Target,
};

/// Compiled schemas that one serde keeps, each way; with more, it starts again.
const MOST_KEPT: usize = 1_000;

/// How many of them are kept where they are found fastest.
const FIRST: usize = 4;

/// What a format makes of a schema, once.
pub(crate) trait Format: Send + Sync + 'static {
    type Writer: Send + Sync + 'static;
    type Reader: Send + Sync + 'static;

    /// What is expected, for the error about a null.
    const NAME: &'static str;

    fn writer(&self, schema: &RegisteredSchema) -> Result<Self::Writer, Error>;

    /// `own` is the serde's own schema with its references, where it has any.
    fn reader(&self, schema: &RegisteredSchema, own: Option<&RegisteredSchema>) -> Result<Self::Reader, Error>;

    /// What stands between the schema's name and the data: Protobuf's index of the message.
    fn index(writer: &Self::Writer) -> &[u8] {
        let _ = writer;
        &[]
    }

    /// The full name of the record type, which a subject may be called after.
    fn record_name(&self) -> Option<String>;
}

/// A format and a registry. Cheap to clone; clones share what was compiled.
pub(crate) struct Registered<F: Format> {
    inner: Arc<Inner<F>>,
}

struct Inner<F: Format> {
    format: Arc<F>,
    settings: Settings,
    /// Whether the registry may choose another schema than it did.
    moves: bool,
    /// The first few of each, which for most serdes are all: found with a load and a comparison.
    first_writers: [OnceLock<Slot<F>>; FIRST],
    first_readers: [OnceLock<Known<F>>; FIRST],
    writers: ArcSwap<Vec<Slot<F>>>,
    readers: ArcSwap<Readers<F>>,
    /// The serde's own schema with what it refers to, for reading; filled in by a miss, where it refers to anything.
    own: Arc<OnceLock<RegisteredSchema>>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) registry: Registry,
    /// What the encoder would register.
    pub(crate) schema: Schema,
    pub(crate) choice: SchemaChoice,
    pub(crate) subject: SubjectName,
    pub(crate) framing: Framing,
}

type Readers<F> = HashMap<SchemaId, Arc<Compiled<<F as Format>::Reader>>, BuildHasherDefault<IdHasher>>;

type Known<F> = (SchemaId, Arc<Compiled<<F as Format>::Reader>>);

/// A schema that does not compile is kept too: each record that names it gets the same answer.
pub(crate) type Compiled<C> = Result<C, (ErrorKind, String)>;

struct Slot<F: Format> {
    part: Part,
    topic: Box<str>,
    generation: u64,
    ready: Arc<Ready<F>>,
}

struct Ready<F: Format> {
    id: Option<SchemaId>,
    prefix: Prefix,
    writer: Compiled<F::Writer>,
}

/// The schema's name, and Protobuf's index: what stands before the data, or in the header.
struct Prefix {
    bytes: Box<[u8]>,
    /// The first of them. Nearly always they are all there are, and eight bytes are copied by one store, while a copy of
    /// a length that the compiler does not know is a call.
    first: [u8; 8],
}

impl Prefix {
    fn new(bytes: Vec<u8>) -> Self {
        let mut first = [0; 8];
        first.iter_mut().zip(&bytes).for_each(|(first, byte)| *first = *byte);
        Self { bytes: bytes.into(), first }
    }

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.bytes.len();
        if self.bytes.len() <= self.first.len() {
            out.extend_from_slice(&self.first);
            out.truncate(end);
        } else {
            out.extend_from_slice(&self.bytes);
        }
    }
}

impl<F: Format> Registered<F> {
    pub(crate) fn new(format: F, registry: &Registry, schema: Schema) -> Self {
        let settings = Settings {
            registry: registry.clone(),
            schema,
            choice: SchemaChoice::default(),
            subject: SubjectName::default(),
            framing: Framing::default(),
        };
        Self::of(Arc::new(format), settings)
    }

    fn of(format: Arc<F>, settings: Settings) -> Self {
        let inner = Inner {
            format,
            moves: settings.choice.moves(),
            settings,
            first_writers: Default::default(),
            first_readers: Default::default(),
            writers: ArcSwap::default(),
            readers: ArcSwap::default(),
            own: Arc::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same with other settings, and nothing compiled yet.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.inner.settings.clone();
        change(&mut settings);
        Self::of(Arc::clone(&self.inner.format), settings)
    }

    /// The same with another format, and nothing compiled yet.
    #[cfg(any(feature = "json-schema", feature = "protobuf"))]
    pub(crate) fn with_format(&self, format: F) -> Self {
        Self::of(Arc::new(format), self.inner.settings.clone())
    }

    #[cfg(feature = "json-schema")]
    pub(crate) fn format(&self) -> &F {
        &self.inner.format
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Writes a field: the schema's name, and what `write` appends.
    #[inline]
    pub(crate) fn encode(
        &self,
        to: &mut Target<'_>,
        out: &mut Vec<u8>,
        write: impl FnOnce(&F::Writer, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Encoded, Stop> {
        let inner = &*self.inner;
        if let Some(ready) = inner.first_writer(to) {
            return inner.put(ready, to, out, write);
        }
        let ready = inner.other_writer(to)?;
        inner.put(&ready, to, out, write)
    }

    /// Reads a field with the schema that it names.
    #[inline]
    pub(crate) fn decode<'a, V>(
        &self,
        bytes: Option<&'a [u8]>,
        from: &Source<'a>,
        read: impl FnOnce(&F::Reader, Frame<'a>) -> Result<V, Error>,
    ) -> Result<V, Stop> {
        let inner = &*self.inner;
        let frame = Frame::read(required(bytes, F::NAME)?, from)?;
        if let Some(reader) = inner.first_reader(frame.id) {
            return inner.take(reader, frame, read);
        }
        let reader = inner.other_reader(frame.id)?;
        inner.take(&reader, frame, read)
    }

    /// The compiled schema that a payload names, for those who borrow from it.
    #[cfg(feature = "avro")]
    pub(crate) fn reader(&self, id: SchemaId) -> Result<Arc<Compiled<F::Reader>>, Stop> {
        match self.inner.first_reader(id) {
            Some(reader) => Ok(Arc::clone(reader)),
            None => self.inner.other_reader(id),
        }
    }
}

/// What a schema that did not compile says.
#[inline]
pub(crate) fn compiled<C>(compiled: &Compiled<C>, id: SchemaId) -> Result<&C, Error> {
    compiled.as_ref().map_err(|(kind, message)| Error::new(*kind, message.as_str()).with_schema(id))
}

impl<F: Format> Inner<F> {
    #[inline]
    fn first_writer(&self, to: &Target<'_>) -> Option<&Ready<F>> {
        let (part, topic) = (to.part(), to.topic());
        let known = self.first_writers.iter().map_while(OnceLock::get);
        let slot = { known }.find(|slot| slot.part == part && *slot.topic == *topic && self.is_fresh(slot))?;
        Some(&slot.ready)
    }

    fn other_writer(&self, to: &Target<'_>) -> Result<Arc<Ready<F>>, Stop> {
        let writers = self.writers.load();
        let found = writers.binary_search_by(|slot| place(slot).cmp(&(to.part() == Part::Value, to.topic())));
        match found.ok().map(|at| &writers[at]).filter(|slot| self.is_fresh(slot)) {
            Some(slot) => Ok(Arc::clone(&slot.ready)),
            None => self.compile_writer(to),
        }
    }

    #[inline]
    fn first_reader(&self, id: SchemaId) -> Option<&Arc<Compiled<F::Reader>>> {
        let known = self.first_readers.iter().map_while(OnceLock::get);
        { known }.find(|(known, _)| *known == id).map(|(_, reader)| reader)
    }

    fn other_reader(&self, id: SchemaId) -> Result<Arc<Compiled<F::Reader>>, Stop> {
        match self.readers.load().get(&id) {
            Some(reader) => Ok(Arc::clone(reader)),
            None => self.compile_reader(id),
        }
    }

    /// Whether the registry would still choose this schema.
    #[inline]
    fn is_fresh(&self, slot: &Slot<F>) -> bool {
        !self.moves || slot.generation == self.settings.registry.generation()
    }

    #[inline]
    fn put(
        &self,
        ready: &Ready<F>,
        to: &mut Target<'_>,
        out: &mut Vec<u8>,
        write: impl FnOnce(&F::Writer, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Encoded, Stop> {
        let located = |error: Error| match ready.id {
            Some(id) => error.with_schema(id),
            None => error,
        };
        let writer = match &ready.writer {
            Ok(writer) => writer,
            Err((kind, message)) => return Err(located(Error::new(*kind, message.as_str())).into()),
        };
        match self.settings.framing {
            Framing::Prefix => {
                ready.prefix.put(out);
                write(writer, out).map_err(located)?;
            }
            Framing::Header => {
                write(writer, out).map_err(located)?;
                self.put_header(&ready.prefix.bytes, to)?;
            }
        }
        Ok(Encoded::Bytes)
    }

    fn put_header(&self, value: &[u8], to: &mut Target<'_>) -> Result<(), Error> {
        match to.add_header(header(to.part()), Some(value)) {
            true => Ok(()),
            false => {
                let message = "the schema id belongs in a header, and there is none to write to; use Framing::Prefix";
                Err(Error::new(ErrorKind::Unencodable, message))
            }
        }
    }

    #[inline]
    fn take<'a, V>(
        &self,
        reader: &Compiled<F::Reader>,
        frame: Frame<'a>,
        read: impl FnOnce(&F::Reader, Frame<'a>) -> Result<V, Error>,
    ) -> Result<V, Stop> {
        match read(compiled(reader, frame.id)?, frame) {
            Ok(value) => Ok(value),
            Err(error) => Err(error.with_schema(frame.id).into()),
        }
    }

    #[cold]
    fn compile_writer(&self, to: &Target<'_>) -> Result<Arc<Ready<F>>, Stop> {
        let Settings { registry, schema, choice, subject, .. } = &self.settings;
        let subject = subject.subject(to.topic(), to.part(), self.format.record_name().as_deref())?;
        // Before the question, so that an answer that moves meanwhile is asked for again.
        let generation = registry.generation();
        let Some(found) = registry.known_to_write(&subject, schema, choice) else {
            let (registry, schema, choice) = (registry.clone(), schema.clone(), choice.clone());
            return Err(Stop::Miss(Miss::new(
                async move { registry.to_write(&subject, &schema, &choice).await.map(drop) },
            )));
        };
        let ready = Arc::new(self.ready(&found)?);
        let slot = Slot { part: to.part(), topic: to.topic().into(), generation, ready: Arc::clone(&ready) };
        // One that was stale has its place still; the newer one is found behind it.
        if self.first_writers.iter().any(|first| first.set(slot.clone()).is_ok()) {
            return Ok(ready);
        }
        self.writers.rcu(|writers| {
            let mut kept: Vec<_> = match writers.len() {
                MOST_KEPT.. => Vec::new(),
                _ => writers.iter().map(Slot::clone).collect(),
            };
            let slot = slot.clone();
            match kept.binary_search_by(|known| place(known).cmp(&place(&slot))) {
                Ok(at) => kept[at] = slot,
                Err(at) => kept.insert(at, slot),
            }
            kept
        });
        Ok(ready)
    }

    fn ready(&self, found: &RegisteredSchema) -> Result<Ready<F>, Error> {
        let missing =
            |what| Error::new(ErrorKind::RegistryAnswer, format!("the registry gives no {what} for the schema"));
        let tag = match self.settings.framing {
            Framing::Prefix => Tag::id(found.id.ok_or_else(|| missing("id"))?),
            Framing::Header => Tag::guid(found.guid.ok_or_else(|| {
                missing("GUID, which the header needs: it is older than Confluent Platform 8.0; use Framing::Prefix")
            })?),
        };
        let id = found.id.map(SchemaId::Id).or(found.guid.map(SchemaId::Guid));
        let writer = kept(self.format.writer(found));
        let index = writer.as_ref().map(F::index).unwrap_or_default();
        Ok(Ready { id, prefix: Prefix::new([tag.as_bytes(), index].concat()), writer })
    }

    #[cold]
    fn compile_reader(&self, id: SchemaId) -> Result<Arc<Compiled<F::Reader>>, Stop> {
        let registry = &self.settings.registry;
        let Some(found) = registry.known(id) else {
            let registry = registry.clone();
            let fetch = async move { registry.schema(id).await.map(drop).map_err(|error| error.with_schema(id)) };
            return Err(Stop::Miss(Miss::new(fetch)));
        };
        if !self.settings.schema.references.is_empty() && self.own.get().is_none() {
            return Err(self.find_own());
        }
        let reader = Arc::new(kept(self.format.reader(&found, self.own.get())));
        if self.first_readers.iter().any(|first| first.set((id, Arc::clone(&reader))).is_ok()) {
            return Ok(reader);
        }
        self.readers.rcu(|readers| {
            let mut readers = if readers.len() >= MOST_KEPT { Readers::<F>::default() } else { (**readers).clone() };
            readers.insert(id, Arc::clone(&reader));
            readers
        });
        Ok(reader)
    }
}

impl<F: Format> Inner<F> {
    /// Fetches what the serde's own schema refers to.
    fn find_own(&self) -> Stop {
        let (registry, schema, own) = (self.settings.registry.clone(), self.settings.schema.clone(), self.own.clone());
        Stop::Miss(Miss::new(async move {
            let mut references = Vec::with_capacity(schema.references.len());
            for reference in &schema.references {
                let found = registry.version(&reference.subject, reference.version).await?;
                references.push((reference.clone(), found));
            }
            // Another task may have been faster.
            let _ = own.set(RegisteredSchema::new(schema, references));
            Ok(())
        }))
    }
}

fn kept<C>(compiled: Result<C, Error>) -> Compiled<C> {
    compiled.map_err(|error| (error.kind(), error.to_string()))
}

fn place<F: Format>(slot: &Slot<F>) -> (bool, &str) {
    (slot.part == Part::Value, &slot.topic)
}

// By hand, since derived impls would ask the same of F.

impl<F: Format> Clone for Registered<F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<F: Format> Clone for Slot<F> {
    fn clone(&self) -> Self {
        let (topic, ready) = (self.topic.clone(), Arc::clone(&self.ready));
        Self { part: self.part, topic, generation: self.generation, ready }
    }
}

/// Spreads ids and GUIDs. The keys are what the registry knows, not what payloads claim.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_i32(&mut self, id: i32) {
        self.write_u64(id as u64);
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.write_u64(discriminant as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_any_length_is_appended_as_it_is() {
        for length in 0..40 {
            let bytes = Vec::from_iter(1..=length);
            let mut out = vec![7];
            Prefix::new(bytes.clone()).put(&mut out);
            assert_eq!(out, [&[7], &bytes[..]].concat());
        }
    }
}
