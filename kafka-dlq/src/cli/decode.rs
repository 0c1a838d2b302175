//! Values through the registry: Avro, Protobuf and JSON Schema as JSON; JSON and text as they are; hex where nothing fits.

use kafka_client::serde::protobuf;
use kafka_client::serde::{Avro, Deserializer, Part, Registry, SchemaId, SchemaType, Source, Stop};
use serde_json::{Value, json};

use super::settings::Settings;
use super::shown;
use crate::error::{Error, ErrorKind};

/// Decodes keys and values, as far as it can.
pub(super) struct Decoder {
    registry: Option<Known>,
}

struct Known {
    registry: Registry,
    avro: Avro<Value>,
    protobuf: protobuf::DynamicProtobuf,
}

/// How often a schema that is missing is asked for.
const MISSES: usize = 8;

impl Decoder {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let Some(url) = &settings.registry else { return Ok(Self { registry: None }) };
        let registry = Registry::connect(url.as_str())
            .map_err(|error| Error::new(ErrorKind::Config, "--registry cannot be used").with_source(error))?;
        let (avro, protobuf) = (Avro::from_registry(&registry), protobuf::DynamicProtobuf::new(&registry));
        Ok(Self { registry: Some(Known { registry, avro, protobuf }) })
    }

    /// A key or value for people.
    pub(super) async fn text(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> String {
        match self.registered(bytes, topic, part).await {
            Some(value) => shown::text(&value.to_string()),
            None => shown::bytes(bytes),
        }
    }

    /// A key or value for programs: decoded, or text, or `{"hex": ..}`.
    pub(super) async fn json(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> Value {
        if let Some(value) = self.registered(bytes, topic, part).await {
            return value;
        }
        let Some(bytes) = bytes else { return Value::Null };
        match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            Err(_) => json!({ "hex": shown::hex(bytes) }),
        }
    }

    async fn registered(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> Option<Value> {
        let known = self.registry.as_ref()?;
        let framed = bytes?;
        let (0, id, rest) = (*framed.first()?, framed.get(1..5)?, framed.get(5..)?) else { return None };
        let id = i32::from_be_bytes(id.try_into().ok()?);
        let schema = known.registry.schema(SchemaId::Id(id)).await.ok()?;
        let from = Source::new(topic, part);
        match schema.schema.schema_type {
            SchemaType::Json => serde_json::from_slice(rest).ok(),
            SchemaType::Avro => warm(|| known.avro.deserialize(bytes, &from)).await,
            SchemaType::Protobuf => {
                warm(|| known.protobuf.deserialize(bytes, &from)).await.map(|value| message(&value))
            }
        }
    }
}

/// Decodes, fetching what is missing.
async fn warm<T>(decode: impl Fn() -> Result<T, Stop>) -> Option<T> {
    for _ in 0..MISSES {
        match decode() {
            Ok(value) => return Some(value),
            Err(Stop::Miss(miss)) => miss.resolve().await.ok()?,
            Err(Stop::Error(_)) => return None,
        };
    }
    None
}

fn message(message: &protobuf::Dynamic) -> Value {
    let field = |name: String| message.get(&name).map(|value| (name, field(&value)));
    Value::Object(message.fields().into_iter().filter_map(field).collect())
}

fn field(value: &protobuf::Value) -> Value {
    use protobuf::Value as Of;
    match value {
        Of::Bool(value) => (*value).into(),
        Of::I32(value) | Of::Enum(value) => (*value).into(),
        Of::I64(value) => (*value).into(),
        Of::U32(value) => (*value).into(),
        Of::U64(value) => (*value).into(),
        Of::F32(value) => (*value).into(),
        Of::F64(value) => (*value).into(),
        Of::String(value) => value.as_str().into(),
        Of::Bytes(value) => json!({ "hex": shown::hex(value) }),
        Of::Message(value) => message(value),
        Of::List(values) => values.iter().map(field).collect(),
        Of::Map(values) => Value::Object(values.iter().map(|(key, value)| (key.clone(), field(value))).collect()),
        _ => Value::Null,
    }
}
