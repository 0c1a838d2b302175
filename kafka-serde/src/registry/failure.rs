//! `Failure` is why a registry did not give what was asked, in a form that several callers can share.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::code::RegistryCode;
use super::request::{Answer, Request};
use crate::{Error, ErrorKind, Retry};

/// How much of an answer that is not understood an error quotes, in characters.
const LONGEST_QUOTE: usize = 200;

/// How much of a registry's own message an error quotes, in characters.
const LONGEST_MESSAGE: usize = 2_000;

/// Why it failed; cheap to clone, since all who waited for one answer get it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) retry: Retry,
    pub(crate) code: Option<RegistryCode>,
    pub(crate) message: String,
    pub(crate) source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, retry: Retry::Permanent, code: None, message: message.into(), source: None }
    }

    pub(crate) fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Puts what was attempted in front: `reference Airport: subject not found`.
    pub(crate) fn within(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// An answer that is not what the protocol says.
    pub(crate) fn not_understood(request: &Request, answer: &Answer, why: impl fmt::Display) -> Self {
        let text = String::from_utf8_lossy(&answer.body);
        let quote = quoted(&text, LONGEST_QUOTE);
        let message = format!("{} answered {} with {why}: {quote:?}", request.name(), answer.status);
        Self::new(ErrorKind::RegistryAnswer, message).with_retry(Retry::Temporary)
    }

    /// What a registry refused, by the code and the message of its answer.
    pub(crate) fn refused(request: &Request, answer: &Answer) -> Self {
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let field = |name: &str| body.as_ref().and_then(|body| body.get(name));
        let code = field("error_code")
            .and_then(Value::as_u64)
            .and_then(|code| u32::try_from(code).ok())
            .map_or(RegistryCode::new(u32::from(answer.status)), RegistryCode::new);
        // The status decides where a proxy in between has numbers of its own.
        let code = if code.status() == u32::from(answer.status) || u32::from(answer.status) == 409 {
            code
        } else {
            RegistryCode::new(u32::from(answer.status))
        };
        let said = match field("message").and_then(Value::as_str) {
            Some(said) => quoted(said, LONGEST_MESSAGE),
            None => quoted(&String::from_utf8_lossy(&answer.body), LONGEST_QUOTE),
        };
        let mut message = format!("{} answered {code}", request.name());
        if !said.is_empty() {
            message = format!("{message}, {said:?}");
        }
        if let Some(advice) = code.advice() {
            message = format!("{message}: {advice}");
        }
        let failure = Self::new(code.kind(), message).with_retry(code.retry());
        Self { code: Some(code), ..failure }
    }

    /// Whether it is an answer about the schema, which a while later is most likely the same; not an outage.
    pub(crate) fn is_answer(&self) -> bool {
        use ErrorKind as Kind;
        matches!(self.kind, Kind::SchemaNotFound | Kind::Incompatible | Kind::InvalidSchema | Kind::Refused)
    }
}

fn quoted(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let mut error = Error::new(failure.kind, failure.message).with_retry(failure.retry);
        if let Some(code) = failure.code {
            error = error.with_registry_code(code);
        }
        match failure.source {
            Some(source) => error.with_source(Shared(source)),
            None => error,
        }
    }
}

/// A cause that several errors share.
#[derive(Debug)]
struct Shared(Arc<dyn StdError + Send + Sync>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Shared {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Error {
        let answer = Answer { status, retry_after: None, body: body.as_bytes().to_vec() };
        Failure::refused(&Request::get(&["subjects", "a/b"]), &answer).into()
    }

    #[test]
    fn a_refusal_names_the_request_the_code_and_what_to_do() {
        let error = refused(404, r#"{"error_code":40401,"message":"Subject 'a/b' not found."}"#);
        assert_eq!(error.registry_code(), Some(RegistryCode::SUBJECT_NOT_FOUND));
        assert_eq!((error.kind(), error.retry()), (ErrorKind::SchemaNotFound, Retry::Permanent));
        assert_eq!(
            error.to_string(),
            "GET /subjects/a%2Fb answered 40401, \"Subject 'a/b' not found.\": \
             register a schema under this subject first, or check the subject's name"
        );
    }

    #[test]
    fn a_refusal_that_is_not_json_goes_by_the_status() {
        let error = refused(503, "<html>bad gateway</html>");
        assert_eq!(error.registry_code(), Some(RegistryCode::new(503)));
        assert_eq!((error.kind(), error.retry()), (ErrorKind::RegistryUnavailable, Retry::Temporary));
        assert!(error.to_string().contains("bad gateway"));
        let long = refused(500, &"x".repeat(100_000));
        assert!(long.to_string().len() < 500);
    }

    #[test]
    fn a_code_of_another_status_is_not_believed() {
        assert_eq!(refused(401, r#"{"error_code":1}"#).registry_code(), Some(RegistryCode::new(401)));
    }
}
