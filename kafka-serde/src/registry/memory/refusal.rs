//! What the registry says no with: a code and a sentence, in Confluent's words where there are any.

use serde_json::json;

use super::subject::Subject;
use crate::registry::code::RegistryCode;
use crate::registry::request::Answer;

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: RegistryCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: RegistryCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn no_subject(subject: &Subject) -> Self {
        Self::new(RegistryCode::SUBJECT_NOT_FOUND, format!("Subject '{subject}' not found."))
    }

    pub(super) fn no_version(version: i32) -> Self {
        Self::new(RegistryCode::VERSION_NOT_FOUND, format!("Version {version} not found."))
    }

    pub(super) fn no_schema(what: impl std::fmt::Display) -> Self {
        Self::new(RegistryCode::SCHEMA_NOT_FOUND, format!("Schema {what} not found"))
    }

    pub(super) fn invalid_schema(why: impl std::fmt::Display) -> Self {
        Self::new(RegistryCode::INVALID_SCHEMA, format!("Invalid schema: {why}"))
    }

    pub(super) fn not_permitted(why: impl Into<String>) -> Self {
        Self::new(RegistryCode::NOT_PERMITTED, why)
    }

    /// A request that is not of the API.
    pub(super) fn bad_request(status: u32, why: impl Into<String>) -> Self {
        Self::new(RegistryCode::new(status), why)
    }

    pub(super) fn answer(&self) -> Answer {
        let body = json!({"error_code": self.code.get(), "message": self.message});
        let status = u16::try_from(self.code.status()).unwrap_or(500);
        Answer { status, retry_after: None, body: body.to_string().into_bytes() }
    }
}
