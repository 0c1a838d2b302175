//! What can go wrong with a job over dead letters, and what to do about it.

use std::error::Error as StdError;
use std::fmt;

use kafka_client::Retry;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option is malformed, missing, or contradicts another; the message names it.
    Config,
    /// A topic does not exist.
    UnknownTopic,
    /// The record does not wait here: it was finished, is being tried at this moment, or its partition has moved.
    NotWaiting,
    /// What is asked of a recovery takes a topic that it does not have, or cannot be done with a batch.
    Unsupported,
    /// An expression cannot be read, or failed on a record.
    Expression,
    /// What the client reports; [`source`](StdError::source) is its error.
    Kafka,
    /// The schema registry did not answer; [`source`](StdError::source) is its error.
    Registry,
    /// A file or a line of an export is not what it should be.
    Import,
}

/// An error of this crate. `Display` prints this layer only; [`source`](StdError::source) leads to the cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    retry: Retry,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, retry: Retry::Permanent, message: message.into(), source: None }
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the client says while this crate was doing `what`.
    pub(crate) fn kafka(what: &str, error: kafka_client::Error) -> Self {
        let kind = match error.kind() {
            kafka_client::ErrorKind::Config => ErrorKind::Config,
            kafka_client::ErrorKind::UnknownTopic => ErrorKind::UnknownTopic,
            _ => ErrorKind::Kafka,
        };
        let retry = error.retry();
        Self { kind, retry, message: format!("could not {what}"), source: Some(error.into()) }
    }

    /// Names the right that is missing, where the cluster has refused this for one: `doing` (`READ`) on `topic`, unless the
    /// cluster names another one; or that of `group`.
    pub(crate) fn lacking(mut self, doing: &str, topic: &str, group: &str) -> Self {
        if let Some(right) = self.source.as_deref().and_then(|source| missing_right(source, doing, topic, group)) {
            self.message = format!("{}: the right {right} is missing", self.message);
        }
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do now, as [`kafka_client::Error::retry`].
    pub fn retry(&self) -> Retry {
        self.retry
    }
}

fn missing_right(error: &(dyn StdError + 'static), doing: &str, topic: &str, group: &str) -> Option<String> {
    let refused = error.downcast_ref::<kafka_client::Error>();
    let right = refused.and_then(|refused| match refused.code()? {
        "TOPIC_AUTHORIZATION_FAILED" => Some(format!("{doing} on topic {}", refused.topic().unwrap_or(topic))),
        "GROUP_AUTHORIZATION_FAILED" => Some(format!("READ on group {}", refused.group().unwrap_or(group))),
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" => Some("WRITE on transactional id kafka-dlq.*".to_owned()),
        "CLUSTER_AUTHORIZATION_FAILED" => Some(format!("{doing} on the cluster")),
        _ => None,
    });
    right.or_else(|| missing_right(error.source()?, doing, topic, group))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
