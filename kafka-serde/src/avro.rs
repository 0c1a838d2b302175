//! Avro with registered schemas: any serde type, or [`Value`] where the schema is not known at build time.
//!
//! ```text
//!   T ── Serialize ──▶ bytes of the writer's schema, straight into the caller's buffer
//!   bytes ──▶ plan (writer's schema × reader's schema, made once) ── Deserialize ──▶ T
//! ```
//!
//! How serde's types and Avro's meet:
//!
//! | Avro | serde |
//! |---|---|
//! | `record` | a struct (by name, in any order), a map, a tuple (by position) |
//! | union with `null` | `Option` |
//! | any other union | an enum whose variants are called as the branches: `Order` or `shop.Order` for a record, `String`, `Long` .. for a primitive; or an untagged enum |
//! | `enum` | an enum of unit variants, a string |
//! | `bytes`, `fixed` | `Vec<u8>`, `[u8; N]`, `serde_bytes` |
//! | `decimal` | a string, `-12.50`, up to 38 digits; an `f64`; its bytes |
//! | `uuid` | a string, `uuid::Uuid` |
//! | `date`, times, timestamps | the number that Avro stores |
//! | `duration` | a struct of `months`, `days`, `milliseconds`; 12 bytes |
//!
//! A value nested deeper than 64 records, arrays and maps is refused.

#[cfg(feature = "internals")]
pub(crate) mod bare;
mod de;
mod decimal;
mod default;
mod derive;
mod fault;
mod input;
mod model;
mod parse;
mod plan;
mod ser;
#[cfg(test)]
mod tests;
mod value;
mod view;

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};

pub use derive::{AvroType, RecordText, SchemaText};
pub use value::Value;
pub use view::AvroView;

use self::de::{Mode, Walk};
use self::fault::Fault;
use self::input::Input;
use self::model::Model;
use self::plan::Plan;
use self::ser::Ser;
use crate::registered::{Format, Registered};
use crate::wire::Framing;
use crate::{
    Deserializer, Encoded, Error, ErrorKind, RegisteredSchema, Registry, Schema, SchemaChoice, Serializer, Source,
    Stop, SubjectName, Target,
};

/// A type that knows its Avro schema.
///
/// With the feature `derive`, `#[derive(AvroSchema)]` writes it for a struct with named fields, an enum of unit variants,
/// and an enum whose variants hold one type each (a union). It follows `#[serde(rename, rename_all, skip)]`, takes
/// comments for `doc`, and knows of its own: `#[avro(namespace = "..", name = "..", alias = "..", doc = "..")]` on a type,
/// `#[avro(default = "JSON", alias = "..", doc = "..", schema = "JSON", bytes)]` on a field, and `#[avro(default)]` on the
/// symbol that stands for those a reader does not know. An `Option` defaults to null. Where this crate has another name,
/// `#[avro(crate = "kafka_client::serde")]` on the type tells it.
///
/// By hand:
///
/// ```
/// use kafka_serde::{AvroSchema, Schema};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order {
///     id: i64,
///     item: String,
/// }
///
/// impl AvroSchema for Order {
///     fn avro_schema() -> Schema {
///         Schema::avro(
///             r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
///                 {"name": "id", "type": "long"},
///                 {"name": "item", "type": "string"}
///             ]}"#,
///         )
///     }
/// }
/// ```
pub trait AvroSchema {
    /// The schema, with the references that its text uses.
    fn avro_schema() -> Schema;
}

/// `T` in Avro, with its schemas in a registry; payloads are those of Confluent's serializers, byte for byte.
///
/// It writes with the schema that its [`SchemaChoice`] finds (by default its own, registered on first use), straight into
/// the caller's buffer and without an allocation of its own. It reads whatever version a payload was written with as its
/// own schema says: fields that are missing get their defaults, aliases and promotions apply. What that means for a pair
/// of schemas is worked out once.
///
/// A schema that is not known yet is a [`Stop::Miss`]; the client resolves it by itself. Null is refused; for tombstones
/// use [`Optional`](crate::Optional).
///
/// ```
/// use kafka_serde::{Avro, AvroSchema, Deserializer, Part, Registry, Schema, Serializer, Source, Stop, Target};
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// struct Order {
///     id: i64,
///     item: String,
/// }
///
/// impl AvroSchema for Order {
///     fn avro_schema() -> Schema {
///         Schema::avro(
///             r#"{"type": "record", "name": "Order", "fields": [
///                 {"name": "id", "type": "long"},
///                 {"name": "item", "type": "string"}
///             ]}"#,
///         )
///     }
/// }
///
/// # async fn example() -> Result<(), Stop> {
/// let registry = Registry::in_memory();
/// let orders = Avro::<Order>::new(&registry);
/// let order = Order { id: 1, item: "tea".into() };
///
/// let mut bytes = Vec::new();
/// while let Err(stop) = orders.serialize(&order, &mut Target::new("orders", Part::Value), &mut bytes) {
///     let Stop::Miss(miss) = stop else { return Err(stop) };
///     bytes.clear();
///     miss.resolve().await?;
/// }
/// assert_eq!(bytes[5..], [2, 6, b't', b'e', b'a']);
/// assert_eq!(orders.deserialize(Some(&bytes), &Source::new("orders", Part::Value))?, order);
/// # Ok(())
/// # }
/// # futures::executor::block_on(example()).unwrap();
/// ```
pub struct Avro<T> {
    registered: Registered<AvroFormat>,
    // A function that returns T, not a T: so `Avro<T>` is Send and Sync whatever T is.
    value: PhantomData<fn() -> T>,
}

impl<T> Avro<T> {
    /// Writes and reads with the schema that `T` knows.
    pub fn new(registry: &Registry) -> Self
    where
        T: AvroSchema,
    {
        Self::with_schema(registry, T::avro_schema())
    }

    /// Writes and reads with this schema. One that cannot be used is an error of the first record.
    pub fn with_schema(registry: &Registry, schema: Schema) -> Self {
        let own = Own { schema: schema.clone(), model: OnceLock::new() };
        Self::of(Registered::new(AvroFormat { own: Some(own) }, registry, schema))
    }

    /// Reads every payload as it was written, and writes with the newest version of the subject: only the registry knows
    /// the schemas. With [`Value`] for `T`, any of them.
    ///
    /// What a version lacks is then up to serde: `#[serde(default)]`, `#[serde(alias = "..")]`.
    pub fn from_registry(registry: &Registry) -> Self {
        let registered = Registered::new(AvroFormat { own: None }, registry, Schema::avro("\"null\""));
        Self::of(registered.with(|settings| settings.choice = SchemaChoice::latest().unchecked()))
    }

    fn of(registered: Registered<AvroFormat>) -> Self {
        Self { registered, value: PhantomData }
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

    /// Sets where the schema's name is written, overriding the default, in front of the payload. Corresponds to
    /// `value.schema.id.serializer`. Reading finds both.
    pub fn framing(self, framing: Framing) -> Self {
        Self::of(self.registered.with(|settings| settings.framing = framing))
    }

    /// The value in `bytes`, not yet decoded: for types that borrow from the payload.
    ///
    /// ```
    /// # use kafka_serde::{Avro, Part, Registry, Source, Stop};
    /// #[derive(serde::Deserialize)]
    /// struct OrderRef<'a> {
    ///     id: i64,
    ///     item: &'a str,
    /// }
    ///
    /// # fn example(orders: &Avro<()>, bytes: &[u8]) -> Result<(), Stop> {
    /// let view = orders.view(Some(bytes), &Source::new("orders", Part::Value))?;
    /// let order: OrderRef<'_> = view.get()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Deserializer::deserialize`]; what is wrong with the data itself is said by [`AvroView::get`].
    pub fn view<'a>(&self, bytes: Option<&'a [u8]>, from: &Source<'a>) -> Result<AvroView<'a>, Stop> {
        AvroView::new(&self.registered, bytes, from)
    }
}

impl<T: Serialize + 'static> Serializer for Avro<T> {
    type Input = T;

    #[inline]
    fn serialize(&self, value: &T, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.registered.encode(to, out, |model, out| {
            write(model, value, out).map_err(|fault| fault.into_error(ErrorKind::Unencodable))
        })
    }
}

impl<T: DeserializeOwned + Send + 'static> Deserializer for Avro<T> {
    type Output = T;

    #[inline]
    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<T, Stop> {
        self.registered.decode(bytes, from, |plan, frame| {
            read(plan, frame.data()?).map_err(|fault| fault.into_error(ErrorKind::Malformed))
        })
    }
}

impl Serializer for Avro<Value> {
    type Input = Value;

    fn serialize(&self, value: &Value, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.registered.encode(to, out, |model, out| {
            let start = out.len();
            value::write(model, value, out).map_err(|fault| fault.into_error(ErrorKind::Unencodable))?;
            strip(model, start, out);
            Ok(())
        })
    }
}

impl Deserializer for Avro<Value> {
    type Output = Value;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<Value, Stop> {
        self.registered.decode(bytes, from, |plan, frame| {
            let mut input = Input::new(frame.data()?);
            let value = value::read(plan, &mut input).and_then(|value| input.end().map(|()| value));
            value.map_err(|fault| fault.into_error(ErrorKind::Malformed))
        })
    }
}

/// Appends `value` as the model says.
#[inline]
fn write<T: Serialize + ?Sized>(model: &Model, value: &T, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    value.serialize(Ser::new(model, out))?;
    strip(model, start, out);
    Ok(())
}

/// Takes the length from top-level `bytes`: Confluent's clients write none.
#[inline]
fn strip(model: &Model, start: usize, out: &mut Vec<u8>) {
    if model.root().is_raw() {
        let width = out[start..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        out.drain(start..start + width);
    }
}

/// Reads the one value that `data` is.
#[inline]
fn read<'de, T: Deserialize<'de>>(plan: &'de Plan, data: &'de [u8]) -> Result<T, Fault> {
    read_by(plan, data, Mode::Positions).or_else(|_| again(plan, data))
}

/// A type that reads structs by name only gets its way; for all others, this finds the same error again.
#[cold]
fn again<'de, T: Deserialize<'de>>(plan: &'de Plan, data: &'de [u8]) -> Result<T, Fault> {
    read_by(plan, data, Mode::Names)
}

#[inline]
fn read_by<'de, T: Deserialize<'de>>(plan: &'de Plan, data: &'de [u8], mode: Mode) -> Result<T, Fault> {
    let mut walk = Walk::new(plan, data, mode);
    let value = T::deserialize(walk.root())?;
    walk.input.end()?;
    Ok(value)
}

/// What is the same for all types.
pub(crate) struct AvroFormat {
    own: Option<Own>,
}

/// The schema that a serde was given; parsed when it is first needed, since its references are in the registry.
struct Own {
    schema: Schema,
    model: OnceLock<Result<Arc<Model>, String>>,
}

impl Own {
    fn model(&self, references: &[&str]) -> Result<Arc<Model>, Error> {
        let parsed =
            self.model.get_or_init(|| parse::parse(&self.schema.text, references.iter().copied()).map(Arc::new));
        parsed.clone().map_err(|why| Error::new(ErrorKind::InvalidSchema, why))
    }
}

impl Format for AvroFormat {
    type Writer = Model;
    type Reader = Plan;

    const NAME: &'static str = "Avro";

    fn writer(&self, schema: &RegisteredSchema) -> Result<Model, Error> {
        model(schema)
    }

    fn reader(&self, schema: &RegisteredSchema, own: Option<&RegisteredSchema>) -> Result<Plan, Error> {
        let writer = model(schema)?;
        let invalid = |why| Error::new(ErrorKind::InvalidSchema, why);
        let Some(mine) = &self.own else { return Plan::of(&writer).map_err(invalid) };
        let reader = match own {
            Some(own) => mine.model(&texts(own))?,
            None => mine.model(&[])?,
        };
        Plan::resolve(&writer, &reader)
            .map_err(|why| invalid(format!("the payload's schema cannot be read as the expected one: {why}")))
    }

    fn record_name(&self) -> Option<String> {
        record_name(&self.own.as_ref()?.schema.text)
    }
}

fn model(schema: &RegisteredSchema) -> Result<Model, Error> {
    if schema.schema.schema_type != crate::SchemaType::Avro {
        let message = format!("the schema is {}, and Avro is expected", schema.schema.schema_type);
        return Err(Error::new(ErrorKind::InvalidSchema, message));
    }
    parse::parse(&schema.schema.text, texts(schema)).map_err(|why| Error::new(ErrorKind::InvalidSchema, why))
}

/// The texts of all that a schema refers to, each once: a schema may be reached under several names.
fn texts(schema: &RegisteredSchema) -> Vec<&str> {
    let mut texts: Vec<&str> = Vec::new();
    for (_, used) in schema.dependencies() {
        if !texts.contains(&&*used.schema.text) {
            texts.push(&used.schema.text);
        }
    }
    texts
}

/// The full name of the type that a schema's text defines at its top.
fn record_name(text: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let name = json.get("name")?.as_str()?;
    match json.get("namespace").and_then(serde_json::Value::as_str) {
        Some(space) if !space.is_empty() && !name.contains('.') => Some(format!("{space}.{name}")),
        _ => Some(name.to_owned()),
    }
}

// By hand, since derived impls would ask the same of T.

impl<T> Clone for Avro<T> {
    fn clone(&self) -> Self {
        Self::of(self.registered.clone())
    }
}

impl<T> fmt::Debug for Avro<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Avro").field("choice", &self.registered.settings().choice).finish_non_exhaustive()
    }
}
