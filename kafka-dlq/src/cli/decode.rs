//! Keys and values: by their schemas where there is a registry; JSON and text as they are; hex where nothing fits.

use kafka_client::serde::Part;
use serde_json::{Value, json};

use super::arguments::View;
use super::redact::{length, redacted};
use super::settings::Settings;
use super::{explain, shown};
use crate::values::Values;

/// Decodes keys and values, as far as it can, and shows of them what may be seen.
pub(super) struct Decoder {
    values: Option<Values>,
    view: View,
}

impl Decoder {
    pub(super) fn new(settings: &Settings, view: &View) -> Self {
        Self { values: settings.values.clone(), view: view.clone() }
    }

    pub(super) fn values(&self) -> Option<&Values> {
        self.values.as_ref()
    }

    /// A key or value for people.
    pub(super) async fn text(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> String {
        if self.hides() {
            return match self.json(bytes, topic, part).await {
                Value::String(text) => text,
                value => shown::text(&value.to_string()),
            };
        }
        match self.by_schema(bytes, topic, part).await {
            Some(value) => shown::text(&value.to_string()),
            None => shown::bytes(bytes),
        }
    }

    /// A key or value for programs: decoded, or text, or `{"hex": ..}`.
    pub(super) async fn json(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> Value {
        if self.view.redact {
            return length(bytes).into();
        }
        if self.hides() {
            let by_schema = self.by_schema(bytes, topic, part).await;
            let value = by_schema.or_else(|| serde_json::from_slice(bytes?).ok());
            // What has no fields might be anything.
            return match value.filter(|value| value.is_object() || value.is_array()) {
                Some(value) => redacted(value, &self.view.redact_field),
                None => length(bytes).into(),
            };
        }
        if let Some(value) = self.by_schema(bytes, topic, part).await {
            return value;
        }
        let Some(bytes) = bytes else { return Value::Null };
        match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            Err(_) => json!({ "hex": shown::hex(bytes) }),
        }
    }

    /// The value of a header for people: text, or hex.
    pub(super) fn header(&self, name: &str, value: Option<&[u8]>) -> String {
        match self.view.redact || self.view.redact_field.iter().any(|field| field == name) {
            true => length(value),
            false => explain::header_value(value),
        }
    }

    /// The message of an error, which may repeat what the record holds.
    pub(super) fn message(&self, message: &str) -> String {
        match self.view.redact {
            true => length(Some(message.as_bytes())),
            false => message.to_owned(),
        }
    }

    /// Whether some fields must not be seen.
    fn hides(&self) -> bool {
        self.view.redact || !self.view.redact_field.is_empty()
    }

    async fn by_schema(&self, bytes: Option<&[u8]>, topic: &str, part: Part) -> Option<Value> {
        self.values.as_ref()?.fetched(bytes, topic, part).await
    }
}
