//! Values to bytes and back, for the keys and values of Kafka records.
//!
//! ```text
//!   value ──▶ Serializer ──▶ bytes (or null) ──▶ Kafka ──▶ bytes (or null) ──▶ Deserializer ──▶ value
//!                 │                                                                 │
//!                 └── Stop::Miss: a schema must be fetched first; resolve it, then ask again
//! ```
//!
//! Encoding and decoding are plain functions: no future, no lock, no allocation beyond the value's own. A format that
//! needs something from outside (a schema that is not cached yet) says so with [`Stop::Miss`]; the caller awaits
//! [`Miss::resolve`] once and asks again. So the warm path works anywhere, also outside an async runtime.
//!
//! Formats with registered schemas (`Avro`, `Protobuf`, `JsonSchema`) are features, as is the registry's client.
//!
//! A serde implements one or both of [`Serializer`] and [`Deserializer`]:
//!
//! ```
//! use kafka_serde::{Deserializer, Part, Serializer, Source, Target, Utf8};
//!
//! let mut bytes = Vec::new();
//! Utf8.serialize("o-1", &mut Target::new("orders", Part::Key), &mut bytes)?;
//! assert_eq!(bytes, b"o-1");
//! assert_eq!(Utf8.deserialize(Some(&bytes), &Source::new("orders", Part::Key))?, "o-1");
//! # Ok::<(), kafka_serde::Stop>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic"))]

mod context;
mod error;
#[cfg(test)]
mod fixture;
mod plain;
mod optional;
#[cfg(feature = "json")]
mod json;
mod combinators;
#[cfg(feature = "registry")]
mod schema;
#[cfg(feature = "registry")]
mod subject;
#[cfg(feature = "registry")]
mod registry;
#[cfg(feature = "_registered")]
mod wire;
#[cfg(feature = "_registered")]
mod registered;
#[cfg(feature = "avro")]
pub mod avro;
#[cfg(feature = "protobuf")]
pub mod protobuf;
#[cfg(feature = "json-schema")]
mod json_schema;

#[cfg(feature = "avro")]
pub use avro::{Avro, AvroSchema};
pub use combinators::{Contramap, DeserializerExt, Map, OrElse, SerializerExt, TryMap};
pub use context::{AddHeader, FindHeader, Part, Source, Target};
pub use error::{Error, ErrorKind, Miss, Retry, Stop};
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "json-schema")]
pub use json_schema::{HasJsonSchema, JsonSchema, Validation};
#[cfg(feature = "derive")]
pub use kafka_serde_derive::AvroSchema;
pub use optional::Optional;
pub use plain::*;
#[cfg(feature = "protobuf")]
pub use protobuf::{Protobuf, ProtobufSchema};
#[cfg(feature = "registry-server")]
pub use registry::RegistryServer;
#[cfg(feature = "registry")]
pub use registry::{
    Compatibility, CompatibilityLevel, Delete, Deleted, Mode, OAuth, Registry, RegistryBuilder, RegistryCode,
    RegistryStats, SubjectVersion, Version,
};
#[cfg(feature = "registry")]
pub use schema::{RegisteredSchema, Schema, SchemaChoice, SchemaId, SchemaReference, SchemaType};
#[cfg(feature = "registry")]
pub use subject::SubjectName;
#[cfg(feature = "_registered")]
pub use wire::Framing;

/// For `benches` of this workspace alone; no promise is made about it.
#[cfg(all(feature = "internals", feature = "avro"))]
#[doc(hidden)]
pub mod internals {
    pub use crate::avro::bare::BareAvro;
}

/// What a [`Serializer`] produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// Bytes were appended to the buffer (none, for an empty payload).
    Bytes,
    /// The field is null; the buffer is untouched. A null value is a tombstone for a compacted topic.
    Null,
}

/// Turns a value into the bytes of a record's key or value.
///
/// One required method; implement it on a small, cheap type and share the expensive parts (a schema, a validator).
pub trait Serializer: Send + Sync + 'static {
    /// What is encoded: `str` for [`Utf8`], `T` for `Json<T>`.
    type Input: ?Sized;

    /// Appends the encoding of `value` to `out`, which may already hold other bytes.
    ///
    /// # Errors
    /// [`Stop::Error`] when the value has no encoding; [`Stop::Miss`] when something must be fetched first. After either,
    /// `out` may hold a partial encoding: the caller truncates it.
    fn serialize(&self, value: &Self::Input, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop>;

    /// The encoding of `value`, where that is a part of the value itself, so that no copy is needed.
    ///
    /// A serde that answers `Some` here must encode to the same bytes in [`serialize`](Self::serialize).
    fn as_bytes<'a>(&self, value: &'a Self::Input) -> Option<&'a [u8]> {
        let _ = value;
        None
    }
}

/// Turns the bytes of a record's key or value back into a value.
///
/// ```
/// use kafka_serde::{Deserializer, Error, ErrorKind, Source, Stop, Utf8};
///
/// /// A temperature as text, `21.5`.
/// struct Celsius;
///
/// impl Deserializer for Celsius {
///     type Output = f32;
///
///     fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<f32, Stop> {
///         let text = Utf8.deserialize(bytes, from)?;
///         text.parse().map_err(|error| Error::new(ErrorKind::Malformed, "not a temperature").with_source(error).into())
///     }
/// }
/// ```
pub trait Deserializer: Send + Sync + 'static {
    /// What is decoded: `String` for [`Utf8`], `T` for `Json<T>`.
    type Output: Send + 'static;

    /// Decodes `bytes`; `None` is Kafka's null, which is not the same as no bytes.
    ///
    /// # Errors
    /// [`Stop::Error`] when the bytes are not of this format; [`Stop::Miss`] when something must be fetched first.
    /// Never panics and never allocates more than the payload can justify, whatever the bytes.
    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<Self::Output, Stop>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_traits_can_be_trait_objects() {
        let serializer: &dyn Serializer<Input = str> = &Utf8;
        let deserializer: &dyn Deserializer<Output = String> = &Utf8;
        assert_eq!(serializer.as_bytes("a"), Some(&b"a"[..]));
        assert!(deserializer.deserialize(Some(b"a"), &Source::new("t", Part::Key)).is_ok());
    }

    #[test]
    fn public_types_can_be_sent_and_shared() {
        fn is<T: Send + Sync>() {}
        is::<(Bytes, Utf8, NoKey, Bool, List<Utf8>, Optional<Utf8>)>();
        is::<(I8, I16, I32, I64, U8, U16, U32, U64, F32, F64)>();
        is::<(Error, ErrorKind, Retry, Encoded, Part)>();
        #[cfg(feature = "uuid")]
        is::<Uuid>();
        #[cfg(feature = "json")]
        is::<Json<std::rc::Rc<()>>>();
        #[cfg(feature = "avro")]
        is::<(Avro<std::rc::Rc<()>>, avro::AvroView<'_>, avro::Value, Framing)>();
        #[cfg(feature = "protobuf")]
        is::<(Protobuf<std::rc::Rc<()>>, protobuf::DynamicProtobuf, protobuf::Dynamic, protobuf::Value)>();
        #[cfg(feature = "protobuf")]
        is::<protobuf::ProtoJson>();
        #[cfg(feature = "json-schema")]
        is::<(JsonSchema<std::rc::Rc<()>>, Validation)>();

        // A fetch runs on one task: it is sent there, never shared.
        fn is_send<T: Send>() {}
        is_send::<(Miss, Stop)>();
    }
}
