//! JSON with registered schemas, and its validation.

mod document;
mod validator;

#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::validator::Validator;
use crate::json;
use crate::registered::{Format, Registered};
use crate::wire::Framing;
use crate::{
    Deserializer, Encoded, Error, ErrorKind, RegisteredSchema, Registry, Schema, SchemaChoice, SchemaType, Serializer,
    Source, Stop, SubjectName, Target,
};

/// When a document is checked against its schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Validation {
    /// Never; what Java's serializer does unless `json.fail.invalid.schema` is set. The default.
    #[default]
    Off,
    /// When it is written.
    Encode,
    /// When it is read, against the schema that it was written with.
    Decode,
    /// Both ways.
    Both,
}

impl Validation {
    const fn encodes(self) -> bool {
        matches!(self, Self::Encode | Self::Both)
    }

    const fn decodes(self) -> bool {
        matches!(self, Self::Decode | Self::Both)
    }
}

/// A type that knows its JSON Schema.
///
/// ```
/// use kafka_serde::{HasJsonSchema, Schema};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// impl HasJsonSchema for Order {
///     fn json_schema() -> Schema {
///         Schema::json(r#"{"title": "Order", "type": "object", "properties": {"id": {"type": "integer", "minimum": 1}}}"#)
///     }
/// }
/// ```
pub trait HasJsonSchema {
    /// The schema, with the references that its text uses.
    fn json_schema() -> Schema;
}

/// `T` as JSON, with its schemas in a registry; payloads are those of Confluent's serializers.
///
/// It writes straight into the caller's buffer. With [`validation`](Self::validation) on, documents are checked by a
/// validator that is compiled once a schema; a `$ref` finds the schemas that are registered as references, and nothing
/// else: no file is read and no request made. Drafts 4, 6, 7, 2019-09 and 2020-12; draft 7 for a schema without `$schema`,
/// as in Java.
///
/// A schema that is not known yet is a [`Stop::Miss`]; the client resolves it by itself. Null is refused; for tombstones
/// use [`Optional`](crate::Optional).
///
/// ```
/// use kafka_serde::{
///     Deserializer, JsonSchema, Part, Registry, Schema, Serializer, Source, Stop, Target, Validation,
/// };
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// struct Order {
///     id: u64,
/// }
///
/// # async fn example() -> Result<(), Stop> {
/// let registry = Registry::in_memory();
/// let schema = Schema::json(r#"{"type": "object", "properties": {"id": {"type": "integer", "minimum": 1}}}"#);
/// let orders = JsonSchema::<Order>::with_schema(&registry, schema).validation(Validation::Both);
///
/// let mut bytes = Vec::new();
/// while let Err(stop) = orders.serialize(&Order { id: 1 }, &mut Target::new("orders", Part::Value), &mut bytes) {
///     let Stop::Miss(miss) = stop else { return Err(stop) };
///     bytes.clear();
///     miss.resolve().await?;
/// }
/// assert_eq!(&bytes[5..], br#"{"id":1}"#);
/// assert_eq!(orders.deserialize(Some(&bytes), &Source::new("orders", Part::Value))?, Order { id: 1 });
///
/// let refused = orders.serialize(&Order { id: 0 }, &mut Target::new("orders", Part::Value), &mut bytes);
/// assert!(refused.unwrap_err().to_string().ends_with("id: 0 is less than the minimum of 1"));
/// # Ok(())
/// # }
/// # futures::executor::block_on(example()).unwrap();
/// ```
pub struct JsonSchema<T> {
    registered: Registered<JsonFormat>,
    validation: Validation,
    // A function that returns T, not a T: so `JsonSchema<T>` is Send and Sync whatever T is.
    value: PhantomData<fn() -> T>,
}

impl<T> JsonSchema<T> {
    /// Writes with the schema that `T` knows.
    pub fn new(registry: &Registry) -> Self
    where
        T: HasJsonSchema,
    {
        Self::with_schema(registry, T::json_schema())
    }

    /// Writes with this schema. One that cannot be used is an error of the first record that is validated.
    pub fn with_schema(registry: &Registry, schema: Schema) -> Self {
        let format = JsonFormat { title: title(&schema.text), validation: Validation::Off };
        Self { registered: Registered::new(format, registry, schema), validation: Validation::Off, value: PhantomData }
    }

    /// Reads any document, and writes with the newest version of the subject: only the registry knows the schemas.
    pub fn from_registry(registry: &Registry) -> Self {
        Self::with_schema(registry, Schema::json("{}")).choose(SchemaChoice::latest().unchecked())
    }

    /// Sets when documents are checked, overriding the default, never. Corresponds to `json.fail.invalid.schema`. A check
    /// reads the document into a tree of its own, which costs an allocation or two for each object and list in it.
    pub fn validation(self, validation: Validation) -> Self {
        let format = JsonFormat { title: self.registered.format().title.clone(), validation };
        Self { registered: self.registered.with_format(format), validation, ..self }
    }

    /// Sets how the schema to write with is found, overriding the default: this serde's own is registered on first use.
    pub fn choose(self, choice: SchemaChoice) -> Self {
        Self { registered: self.registered.with(|settings| settings.choice = choice), ..self }
    }

    /// Sets how subjects are called, overriding the default `orders-value`. Corresponds to
    /// `value.subject.name.strategy`. Reading does not ask for subjects.
    pub fn subject(self, name: SubjectName) -> Self {
        Self { registered: self.registered.with(|settings| settings.subject = name), ..self }
    }

    /// Sets where the schema's name is written, overriding the default, in front of the payload. Corresponds to
    /// `value.schema.id.serializer`. Reading finds both.
    pub fn framing(self, framing: Framing) -> Self {
        Self { registered: self.registered.with(|settings| settings.framing = framing), ..self }
    }
}

impl<T: Serialize + 'static> Serializer for JsonSchema<T> {
    type Input = T;

    #[inline]
    fn serialize(&self, value: &T, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.registered.encode(to, out, |validator, out| {
            let from = out.len();
            serde_json::to_writer(&mut *out, value).map_err(json::unencodable)?;
            match validator {
                Some(validator) => validator.check(&out[from..], ErrorKind::Unencodable),
                None => Ok(()),
            }
        })
    }
}

impl<T: DeserializeOwned + Send + 'static> Deserializer for JsonSchema<T> {
    type Output = T;

    #[inline]
    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<T, Stop> {
        self.registered.decode(bytes, from, |validator, frame| {
            let data = frame.data()?;
            if let Some(validator) = validator {
                validator.check(data, ErrorKind::Malformed)?;
            }
            json::read(data)
        })
    }
}

/// What is the same for all types.
pub(crate) struct JsonFormat {
    title: Option<String>,
    validation: Validation,
}

impl Format for JsonFormat {
    type Writer = Option<Validator>;
    type Reader = Option<Validator>;

    const NAME: &'static str = "JSON";

    fn writer(&self, schema: &RegisteredSchema) -> Result<Option<Validator>, Error> {
        compiled(schema, self.validation.encodes())
    }

    fn reader(&self, schema: &RegisteredSchema, _own: Option<&RegisteredSchema>) -> Result<Option<Validator>, Error> {
        compiled(schema, self.validation.decodes())
    }

    fn record_name(&self) -> Option<String> {
        self.title.clone()
    }
}

fn compiled(schema: &RegisteredSchema, wanted: bool) -> Result<Option<Validator>, Error> {
    if schema.schema.schema_type != SchemaType::Json {
        let message = format!("the schema is {}, and JSON is expected", schema.schema.schema_type);
        return Err(Error::new(ErrorKind::InvalidSchema, message));
    }
    if wanted { Validator::new(schema).map(Some) } else { Ok(None) }
}

/// The title of a schema: what Confluent's clients call the type.
fn title(text: &str) -> Option<String> {
    let schema: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(schema.get("title")?.as_str()?.to_owned())
}

// By hand, since derived impls would ask the same of T.

impl<T> Clone for JsonSchema<T> {
    fn clone(&self) -> Self {
        Self { registered: self.registered.clone(), validation: self.validation, value: PhantomData }
    }
}

impl<T> fmt::Debug for JsonSchema<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonSchema")
            .field("choice", &self.registered.settings().choice)
            .field("validation", &self.validation)
            .finish_non_exhaustive()
    }
}
