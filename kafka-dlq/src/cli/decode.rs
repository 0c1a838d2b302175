//! Keys and values: by their schemas where there is a registry; JSON and text as they are; hex where nothing fits.

use kafka_client::serde::Part;
use serde_json::{Value, json};

use super::settings::Settings;
use super::shown;
use crate::error::Error;
use crate::values::Values;

/// Decodes keys and values, as far as it can.
pub(super) struct Decoder {
    values: Option<Values>,
}

impl Decoder {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        Ok(Self { values: settings.registry()?.as_ref().map(Values::new) })
    }

    pub(super) fn values(&self) -> Option<&Values> {
        self.values.as_ref()
    }

    /// A key or value for people.
    pub(super) async fn text(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> String {
        match self.by_schema(bytes, topic, part).await {
            Some(value) => shown::text(&value.to_string()),
            None => shown::bytes(bytes),
        }
    }

    /// A key or value for programs: decoded, or text, or `{"hex": ..}`.
    pub(super) async fn json(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> Value {
        if let Some(value) = self.by_schema(bytes, topic, part).await {
            return value;
        }
        let Some(bytes) = bytes else { return Value::Null };
        match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            Err(_) => json!({ "hex": shown::hex(bytes) }),
        }
    }

    async fn by_schema(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> Option<Value> {
        self.values.as_ref()?.fetched(bytes, topic, part).await
    }
}
