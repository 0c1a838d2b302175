//! Messages of a type that is not known at build time, by the descriptor that the registry has.

use std::collections::BTreeMap;
use std::fmt;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage};
use protox::Compiler;
use protox::file::{File as Parsed, FileResolver, GoogleFileResolver};

use super::file::{File, descriptor};
use super::index::Index;
use super::split;
use crate::registered::{Format, Registered};
use crate::wire::{Frame, Framing};
use crate::{
    Deserializer, Encoded, Error, ErrorKind, RegisteredSchema, Registry, Schema, SchemaChoice, SchemaType, Serializer,
    Source, Stop, SubjectName, Target,
};

/// Any message of any registered Protobuf schema.
///
/// It reads a payload by the file it was written with. What it writes are messages of the newest version of the subject, as
/// the first message of the file; to write another one, or with a schema of your own, use
/// [`Protobuf`](crate::Protobuf).
///
/// ```
/// use kafka_serde::protobuf::{DynamicProtobuf, Value};
/// use kafka_serde::{Deserializer, Registry, Source, Stop};
///
/// fn total(registry: &Registry, bytes: &[u8], from: &Source<'_>) -> Result<Option<Value>, Stop> {
///     let message = DynamicProtobuf::new(registry).deserialize(Some(bytes), from)?;
///     assert_eq!(message.name(), "shop.Order");
///     Ok(message.get("total"))
/// }
/// ```
#[derive(Clone)]
pub struct DynamicProtobuf {
    registered: Registered<DynamicFormat>,
}

impl DynamicProtobuf {
    /// Reads by what the registry knows.
    pub fn new(registry: &Registry) -> Self {
        Self { registered: newest(registry) }
    }

    /// Sets how subjects are called, overriding the default `orders-value`. Reading does not ask for subjects.
    pub fn subject(self, name: SubjectName) -> Self {
        Self { registered: self.registered.with(|settings| settings.subject = name) }
    }

    /// Sets where the schema's name and the index are written, overriding the default, in front of the payload.
    pub fn framing(self, framing: Framing) -> Self {
        Self { registered: self.registered.with(|settings| settings.framing = framing) }
    }
}

impl fmt::Debug for DynamicProtobuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DynamicProtobuf")
    }
}

/// A message and its descriptor.
#[derive(Clone, PartialEq)]
pub struct Dynamic {
    message: DynamicMessage,
}

impl Dynamic {
    /// The message's full name.
    pub fn name(&self) -> String {
        self.message.descriptor().full_name().to_owned()
    }

    /// The names of the fields, in the order of the file.
    pub fn fields(&self) -> Vec<String> {
        self.message.descriptor().fields().map(|field| field.name().to_owned()).collect()
    }

    /// A field by its name in the file: its value, or its default where it is not set. `None` where there is no such field,
    /// and for a message that is not set.
    pub fn get(&self, field: &str) -> Option<Value> {
        let field = self.message.descriptor().get_field_by_name(field)?;
        if field.supports_presence() && matches!(field.kind(), Kind::Message(_)) && !self.message.has_field(&field) {
            return None;
        }
        Some(Value::of(&self.message.get_field(&field)))
    }

    /// Whether a field was written, where Protobuf can tell: messages, `optional` and `oneof` fields.
    pub fn has(&self, field: &str) -> bool {
        self.message.has_field_by_name(field)
    }

    /// Whether it, or a message within it, has fields that its schema does not know. They are written again as they came,
    /// and have no names to be shown by.
    pub fn has_unknown_fields(&self) -> bool {
        has_unknown_fields(&self.message)
    }
}

impl fmt::Debug for Dynamic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct(&self.name());
        for (field, value) in self.message.fields() {
            fields.field(field.name(), &Value::of(value));
        }
        fields.finish()
    }
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `bool`
    Bool(bool),
    /// `int32`, `sint32`, `sfixed32`
    I32(i32),
    /// `int64`, `sint64`, `sfixed64`
    I64(i64),
    /// `uint32`, `fixed32`
    U32(u32),
    /// `uint64`, `fixed64`
    U64(u64),
    /// `float`
    F32(f32),
    /// `double`
    F64(f64),
    /// `string`
    String(String),
    /// `bytes`
    Bytes(Vec<u8>),
    /// The number of an `enum`
    Enum(i32),
    /// A message
    Message(Dynamic),
    /// A `repeated` field
    List(Vec<Value>),
    /// A `map`, by the text of its keys
    Map(BTreeMap<String, Value>),
}

impl Value {
    // As deep as the decoder allows: 100.
    fn of(value: &prost_reflect::Value) -> Self {
        use prost_reflect::Value as Theirs;
        match value {
            Theirs::Bool(value) => Self::Bool(*value),
            Theirs::I32(value) => Self::I32(*value),
            Theirs::I64(value) => Self::I64(*value),
            Theirs::U32(value) => Self::U32(*value),
            Theirs::U64(value) => Self::U64(*value),
            Theirs::F32(value) => Self::F32(*value),
            Theirs::F64(value) => Self::F64(*value),
            Theirs::String(value) => Self::String(value.clone()),
            Theirs::Bytes(value) => Self::Bytes(value.to_vec()),
            Theirs::EnumNumber(value) => Self::Enum(*value),
            Theirs::Message(message) => Self::Message(Dynamic { message: message.clone() }),
            Theirs::List(list) => Self::List(list.iter().map(Self::of).collect()),
            Theirs::Map(map) => Self::Map(map.iter().map(|(key, value)| (text(key), Self::of(value))).collect()),
        }
    }
}

// As deep as the decoder allows: 100.
fn has_unknown_fields(message: &DynamicMessage) -> bool {
    use prost_reflect::Value as Of;
    fn within(value: &Of) -> bool {
        match value {
            Of::Message(message) => has_unknown_fields(message),
            Of::List(list) => list.iter().any(within),
            Of::Map(map) => map.values().any(within),
            _ => false,
        }
    }
    message.unknown_fields().next().is_some() || message.fields().any(|(_, value)| within(value))
}

fn text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

impl Serializer for DynamicProtobuf {
    type Input = Dynamic;

    fn serialize(&self, value: &Dynamic, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.registered.encode(to, out, |writer, out| {
            let first = writer.message.full_name();
            if value.message.descriptor().full_name() != first {
                let message = format!("a {} is written, and the schema's first message is {first}", value.name());
                return Err(Error::new(ErrorKind::Unencodable, message));
            }
            // As in `Protobuf`: a `Vec` has room.
            value.message.encode_raw(out);
            Ok(())
        })
    }
}

impl Deserializer for DynamicProtobuf {
    type Output = Dynamic;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<Dynamic, Stop> {
        self.registered.decode(bytes, from, |reader, frame| Ok(Dynamic { message: read(reader, &frame)? }))
    }
}

/// What writes as the newest schema of the subject has it, whatever the reader's.
pub(super) fn newest(registry: &Registry) -> Registered<DynamicFormat> {
    let placeholder = Schema::protobuf("syntax = \"proto3\";");
    let registered = Registered::new(DynamicFormat { message: None }, registry, placeholder);
    registered.with(|settings| settings.choice = SchemaChoice::latest().unchecked())
}

/// A message by the file it was written with.
pub(super) fn read(reader: &Reader, frame: &Frame<'_>) -> Result<DynamicMessage, Error> {
    let (index, data) = split(frame)?;
    let descriptor = reader.message(&index)?;
    DynamicMessage::decode(descriptor, data).map_err(|error| {
        let name = reader.file.resolve(&index).unwrap_or_default();
        Error::new(ErrorKind::Malformed, format!("not a {name}")).with_source(error)
    })
}

pub(super) struct DynamicFormat {
    /// The message to write; the first one of the file.
    message: Option<String>,
}

impl DynamicFormat {
    pub(super) fn named(message: String) -> Self {
        Self { message: Some(message) }
    }
}

pub(super) struct Writer {
    pub(super) message: MessageDescriptor,
    index: Vec<u8>,
}

pub(super) struct Reader {
    file: File,
    pool: DescriptorPool,
}

impl Reader {
    fn message(&self, index: &Index) -> Result<MessageDescriptor, Error> {
        let found = self.file.resolve(index).and_then(|name| self.pool.get_message_by_name(name));
        found.ok_or_else(|| {
            let message = format!("the payload's index {index} leads to no message of its schema");
            Error::new(ErrorKind::Malformed, message)
        })
    }
}

impl Format for DynamicFormat {
    type Writer = Writer;
    type Reader = Reader;

    const NAME: &'static str = "Protobuf";

    fn writer(&self, schema: &RegisteredSchema) -> Result<Writer, Error> {
        let file = super::file(schema)?;
        let index = match &self.message {
            Some(name) => file.index(name),
            None => Index::new(&[0]),
        };
        let found = index.as_ref().and_then(|index| Some((index, file.resolve(index)?)));
        let (index, name) = found.ok_or_else(|| {
            let message = match &self.message {
                Some(name) => format!("the schema has no message {name}"),
                None => "the schema has no message".to_owned(),
            };
            Error::new(ErrorKind::InvalidSchema, message)
        })?;
        let message = pool(schema)?.get_message_by_name(name);
        let message = message.ok_or_else(|| {
            Error::new(ErrorKind::InvalidSchema, format!("the schema does not compile: there is no {name}"))
        })?;
        Ok(Writer { message, index: index.to_bytes() })
    }

    fn reader(&self, schema: &RegisteredSchema, _own: Option<&RegisteredSchema>) -> Result<Reader, Error> {
        Ok(Reader { file: super::file(schema)?, pool: pool(schema)? })
    }

    fn index(writer: &Writer) -> &[u8] {
        &writer.index
    }

    fn record_name(&self) -> Option<String> {
        None
    }
}

/// Compiles a file with all that it imports.
fn pool(schema: &RegisteredSchema) -> Result<DescriptorPool, Error> {
    const MAIN: &str = "__registered.proto";
    let invalid = |error: protox::Error| {
        Error::new(ErrorKind::InvalidSchema, format!("the schema does not compile: {error}")).with_source(error)
    };
    let mut sources = vec![(MAIN.to_owned(), descriptor(&schema.schema.text)?.0)];
    for (reference, used) in schema.dependencies() {
        if used.schema.schema_type != SchemaType::Protobuf {
            let message = format!("the import {} is {}, not Protobuf", reference.name, used.schema.schema_type);
            return Err(Error::new(ErrorKind::InvalidSchema, message));
        }
        sources.push((reference.name.clone(), descriptor(&used.schema.text)?.0));
    }
    let mut compiler = Compiler::with_file_resolver(Imports { sources, known: GoogleFileResolver::new() });
    compiler.include_imports(true);
    compiler.open_file(MAIN).map_err(invalid)?;
    Ok(compiler.descriptor_pool())
}

/// The registered files by the names they are imported by, and those that come with Protobuf.
struct Imports {
    sources: Vec<(String, prost_reflect::prost_types::FileDescriptorProto)>,
    known: GoogleFileResolver,
}

impl FileResolver for Imports {
    fn open_file(&self, name: &str) -> Result<Parsed, protox::Error> {
        match self.sources.iter().find(|(known, _)| known == name) {
            Some((name, file)) => {
                let mut file = file.clone();
                file.name = Some(name.clone());
                Ok(Parsed::from_file_descriptor_proto(file))
            }
            None => self.known.open_file(name),
        }
    }

    fn resolve_path(&self, path: &std::path::Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }
}
