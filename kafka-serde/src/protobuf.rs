//! Protobuf with registered schemas: any `prost::Message`, or [`Dynamic`] where the type is not known at build time.
//!
//! ```text
//!   schema id │ index of the message in the registered file │ the message
//! ```
//!
//! An index is a path: message 1 of the file, message 0 inside it. What it counts is where real clients disagree: a field
//! `map<K, V>` makes a nested message behind the scenes, which some count and some do not. It is resolved in the schema
//! that the payload was written with, as Confluent's Java does: in a `.proto` text a map counts for nothing, in a
//! `FileDescriptorProto` its message is there and counts. Where only the other way of counting leads to a message, that
//! is taken; where the index leads to another message than the expected one, it is an error, and never decoded.

mod dynamic;
mod file;
mod index;
mod proto_json;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use prost::Message;

pub use self::dynamic::{Dynamic, DynamicProtobuf, Value};
pub use self::proto_json::ProtoJson;

use self::file::File;
use self::index::Index;
use crate::registered::{Format, Registered};
use crate::wire::{Frame, Framing};
use crate::{
    Deserializer, Encoded, Error, ErrorKind, RegisteredSchema, Registry, Schema, SchemaChoice, SchemaType, Serializer,
    Source, Stop, SubjectName, Target,
};

/// A message that knows its Protobuf schema.
///
/// ```
/// use kafka_serde::{ProtobufSchema, Schema};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Order {
///     #[prost(int64, tag = "1")]
///     id: i64,
/// }
///
/// impl ProtobufSchema for Order {
///     const MESSAGE: &str = "shop.Order";
///
///     fn protobuf_schema() -> Schema {
///         Schema::protobuf(r#"syntax = "proto3"; package shop; message Order { int64 id = 1; }"#)
///     }
/// }
/// ```
pub trait ProtobufSchema {
    /// The message's full name, with its package and the messages around it.
    const MESSAGE: &'static str;

    /// The file that defines the message, with the references that it imports.
    fn protobuf_schema() -> Schema;
}

/// The message `M` in Protobuf, with its schemas in a registry; payloads are those of Confluent's serializers.
///
/// It writes straight into the caller's buffer. The index of the message is worked out once a schema, on both sides. Fields
/// that `M` does not know are skipped, as Protobuf does.
///
/// A schema that is not known yet is a [`Stop::Miss`]; the client resolves it by itself. Null is refused; for tombstones
/// use [`Optional`](crate::Optional).
///
/// ```
/// use kafka_serde::{Deserializer, Part, Protobuf, Registry, Schema, Serializer, Source, Stop, Target};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Order {
///     #[prost(int64, tag = "1")]
///     id: i64,
/// }
///
/// # async fn example() -> Result<(), Stop> {
/// let registry = Registry::in_memory();
/// let file = Schema::protobuf(r#"syntax = "proto3"; package shop; message Order { int64 id = 1; }"#);
/// let orders = Protobuf::<Order>::with_schema(&registry, file, "shop.Order");
///
/// let mut bytes = Vec::new();
/// while let Err(stop) = orders.serialize(&Order { id: 1 }, &mut Target::new("orders", Part::Value), &mut bytes) {
///     let Stop::Miss(miss) = stop else { return Err(stop) };
///     bytes.clear();
///     miss.resolve().await?;
/// }
/// assert_eq!(bytes[5..], [0, 8, 1]);
///
/// let from = Source::new("orders", Part::Value);
/// if let Err(Stop::Miss(miss)) = orders.deserialize(Some(&bytes), &from) {
///     miss.resolve().await?;
/// }
/// assert_eq!(orders.deserialize(Some(&bytes), &from)?, Order { id: 1 });
/// # Ok(())
/// # }
/// # futures::executor::block_on(example()).unwrap();
/// ```
pub struct Protobuf<M> {
    registered: Registered<ProtobufFormat>,
    // A function that returns M, not an M: so `Protobuf<M>` is Send and Sync whatever M is.
    message: PhantomData<fn() -> M>,
}

impl<M> Protobuf<M> {
    /// Writes and reads with the schema that `M` knows.
    pub fn new(registry: &Registry) -> Self
    where
        M: ProtobufSchema,
    {
        Self::with_schema(registry, M::protobuf_schema(), M::MESSAGE)
    }

    /// Writes with the file `schema`, in which the message has this full name. One that cannot be used is an error of the
    /// first record.
    pub fn with_schema(registry: &Registry, schema: Schema, message: impl Into<String>) -> Self {
        Self::of(Registered::new(ProtobufFormat { message: message.into() }, registry, schema))
    }

    fn of(registered: Registered<ProtobufFormat>) -> Self {
        Self { registered, message: PhantomData }
    }

    /// Sets how the schema to write with is found, overriding the default: this serde's own is registered on first use.
    pub fn choose(self, choice: SchemaChoice) -> Self {
        Self::of(self.registered.with(|settings| settings.choice = choice))
    }

    /// Sets how subjects are called, overriding the default `orders-value`. Corresponds to
    /// `value.subject.name.strategy`. Reading does not ask for subjects.
    pub fn subject(self, name: SubjectName) -> Self {
        Self::of(self.registered.with(|settings| settings.subject = name))
    }

    /// Sets where the schema's name and the index are written, overriding the default, in front of the payload.
    /// Corresponds to `value.schema.id.serializer`. Reading finds both.
    pub fn framing(self, framing: Framing) -> Self {
        Self::of(self.registered.with(|settings| settings.framing = framing))
    }
}

impl<M: Message + 'static> Serializer for Protobuf<M> {
    type Input = M;

    #[inline]
    fn serialize(&self, value: &M, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.registered.encode(to, out, |_, out| {
            // `encode` would work out the message's length first, to see whether the buffer has room for it; a `Vec` has.
            value.encode_raw(out);
            Ok(())
        })
    }
}

impl<M: Message + Default + 'static> Deserializer for Protobuf<M> {
    type Output = M;

    #[inline]
    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<M, Stop> {
        self.registered.decode(bytes, from, |reader, frame| {
            let data = match frame.data.strip_prefix(reader.usual.as_slice()) {
                Some(data) if frame.header.is_none() && !reader.usual.is_empty() => data,
                _ => {
                    let (index, data) = split(&frame)?;
                    reader.check(&index)?;
                    data
                }
            };
            M::decode(data).map_err(|error| reader.malformed(error))
        })
    }
}

/// The index, from the header or from the payload, and the message.
fn split<'a>(frame: &Frame<'a>) -> Result<(Index, &'a [u8]), Error> {
    match frame.header {
        None => Index::read(frame.data),
        Some(header) => match Index::read(header)? {
            (index, []) => Ok((index, frame.data)),
            _ => Err(Error::new(ErrorKind::Malformed, "the schema id header goes on after the index of the message")),
        },
    }
}

/// What is the same for all messages.
pub(crate) struct ProtobufFormat {
    message: String,
}

/// Where the expected message is in the file that a payload was written with.
pub(crate) struct Reader {
    message: String,
    file: File,
    expected: Option<Index>,
    /// The expected index as nearly all write it; empty where there is none.
    usual: Vec<u8>,
    /// The expected message as the other way of counting has it, where that index means nothing in the first way.
    other: Option<Index>,
}

impl Reader {
    fn check(&self, index: &Index) -> Result<(), Error> {
        if self.expected.as_ref() == Some(index) || self.other.as_ref() == Some(index) {
            return Ok(());
        }
        Err(self.refuse(index))
    }

    #[cold]
    fn malformed(&self, error: prost::DecodeError) -> Error {
        Error::new(ErrorKind::Malformed, format!("not a {}", self.message)).with_source(error)
    }

    #[cold]
    fn refuse(&self, index: &Index) -> Error {
        let found = match self.file.resolve(index) {
            Some(name) => format!("the payload is a {name}"),
            None => format!("the payload's index {index} leads to no message of its schema"),
        };
        Error::new(ErrorKind::Malformed, format!("{found}, and a {} is expected", self.message))
    }
}

impl Format for ProtobufFormat {
    type Writer = Vec<u8>;
    type Reader = Reader;

    const NAME: &'static str = "Protobuf";

    fn writer(&self, schema: &RegisteredSchema) -> Result<Vec<u8>, Error> {
        let file = file(schema)?;
        match file.index(&self.message) {
            Some(index) => Ok(index.to_bytes()),
            None => {
                let message = format!("the schema has no message called {}", self.message);
                Err(Error::new(ErrorKind::InvalidSchema, message))
            }
        }
    }

    fn reader(&self, schema: &RegisteredSchema, _own: Option<&RegisteredSchema>) -> Result<Reader, Error> {
        let file = file(schema)?;
        let expected = file.index(&self.message);
        let other = file.other_index(&self.message);
        let usual = expected.as_ref().map(Index::to_bytes).unwrap_or_default();
        Ok(Reader { message: self.message.clone(), file, expected, usual, other })
    }

    fn index(writer: &Vec<u8>) -> &[u8] {
        writer
    }

    fn record_name(&self) -> Option<String> {
        Some(self.message.clone())
    }
}

fn file(schema: &RegisteredSchema) -> Result<File, Error> {
    if schema.schema.schema_type != SchemaType::Protobuf {
        let message = format!("the schema is {}, and Protobuf is expected", schema.schema.schema_type);
        return Err(Error::new(ErrorKind::InvalidSchema, message));
    }
    File::parse(&schema.schema.text)
}

// By hand, since derived impls would ask the same of M.

impl<M> Clone for Protobuf<M> {
    fn clone(&self) -> Self {
        Self::of(self.registered.clone())
    }
}

impl<M> fmt::Debug for Protobuf<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protobuf").field("choice", &self.registered.settings().choice).finish_non_exhaustive()
    }
}
