//! Why a value has no bytes, or bytes have no value.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use crate::Part;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not of this format, or do not fit the expected type.
    Malformed,
    /// The field is null where a value is expected; [`Optional`](crate::Optional) accepts both.
    UnexpectedNull,
    /// The value cannot be written in this format.
    Unencodable,
    /// The schema cannot be used: it does not parse, refers to what is not there, or does not fit what is asked of it.
    InvalidSchema,
    /// The registry knows no such schema, subject or version.
    SchemaNotFound,
    /// The schema does not keep the compatibility that its subject asks for.
    Incompatible,
    /// The registry does not accept the credentials, or does not allow this to them.
    AccessDenied,
    /// The registry refuses the request as it is: an operation that is not permitted, a value that it does not know.
    Refused,
    /// The registry could not be reached, or could not answer now.
    RegistryUnavailable,
    /// The registry answered something that is not of its protocol.
    RegistryAnswer,
    /// A setting is missing, out of range, or contradicts another one; the message names it.
    InvalidSetting,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same call fails the same way: change the input or the configuration.
    Permanent,
    /// The same call may succeed later.
    Temporary,
    /// It was retried as often as configured, and still failed.
    Persistent,
}

/// A field that could not be encoded or decoded.
///
/// ```
/// use kafka_serde::{Error, ErrorKind, Part, Retry};
///
/// let error = Error::new(ErrorKind::Malformed, "not a temperature").at("sensors", Part::Value);
/// assert_eq!(error.to_string(), "value of sensors: not a temperature");
/// assert_eq!(error.retry(), Retry::Permanent);
/// ```
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    part: Option<Part>,
    topic: Option<String>,
    field: Option<String>,
    #[cfg(feature = "registry")]
    schema: Option<crate::SchemaId>,
    message: String,
    #[cfg(feature = "registry")]
    registry_code: Option<crate::RegistryCode>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A new error of this layer; `message` is lower case, without a full stop, and names the field where it can.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner {
            kind,
            retry: Retry::Permanent,
            part: None,
            topic: None,
            field: None,
            #[cfg(feature = "registry")]
            schema: None,
            message: message.into(),
            #[cfg(feature = "registry")]
            registry_code: None,
            source: None,
        };
        Self { inner: Box::new(inner) }
    }

    /// Adds the cause, which [`source`](StdError::source) then returns.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Says which half of which topic's record it was, unless that is known already.
    pub fn at(mut self, topic: &str, part: Part) -> Self {
        self.inner.part.get_or_insert(part);
        self.inner.topic.get_or_insert_with(|| topic.to_owned());
        self
    }

    /// Names the field inside the value, as `items[3].price`; the message names it too.
    pub fn with_field(mut self, path: impl Into<String>) -> Self {
        self.inner.field = Some(path.into());
        self
    }

    /// The field inside the value, where known.
    pub fn field(&self) -> Option<&str> {
        self.inner.field.as_deref()
    }

    /// Says which schema it was, unless that is known already.
    #[cfg(feature = "registry")]
    pub fn with_schema(mut self, id: crate::SchemaId) -> Self {
        self.inner.schema.get_or_insert(id);
        self
    }

    /// The schema that was written with, or that the payload names, where known.
    #[cfg(feature = "registry")]
    pub fn schema_id(&self) -> Option<crate::SchemaId> {
        self.inner.schema
    }

    /// Says what to do now; [`Retry::Permanent`] unless set.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.inner.retry = retry;
        self
    }

    #[cfg(feature = "registry")]
    pub(crate) fn with_registry_code(mut self, code: crate::RegistryCode) -> Self {
        self.inner.registry_code = Some(code);
        self
    }

    /// The registry's own number for what is wrong, where a registry answered.
    #[cfg(feature = "registry")]
    pub fn registry_code(&self) -> Option<crate::RegistryCode> {
        self.inner.registry_code
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What to do now.
    pub fn retry(&self) -> Retry {
        self.inner.retry
    }

    /// The half of the record, where known.
    pub fn part(&self) -> Option<Part> {
        self.inner.part
    }

    /// The topic, where known.
    pub fn topic(&self) -> Option<&str> {
        self.inner.topic.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        match (&inner.part, &inner.topic) {
            (Some(part), Some(topic)) => write!(f, "{part} of {topic}: ")?,
            (Some(part), None) => write!(f, "{part}: ")?,
            _ => {}
        }
        #[cfg(feature = "registry")]
        if let Some(schema) = &inner.schema {
            write!(f, "{schema}: ")?;
        }
        f.write_str(&inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("retry", &self.inner.retry)
            .field("part", &self.inner.part)
            .field("topic", &self.inner.topic)
            .field("field", &self.inner.field)
            .field("message", &self.inner.message)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

/// Something must be fetched before this value can be encoded or decoded.
///
/// ```
/// use kafka_serde::{Deserializer, Source, Stop};
///
/// async fn decode<D: Deserializer>(serde: &D, bytes: &[u8], from: &Source<'_>) -> Result<D::Output, Stop> {
///     match serde.deserialize(Some(bytes), from) {
///         Err(Stop::Miss(miss)) => {
///             miss.resolve().await?;
///             serde.deserialize(Some(bytes), from)
///         }
///         done => done,
///     }
/// }
/// ```
pub struct Miss {
    /// Never locked: it makes what cannot be shared `Sync`, as errors should be.
    fetch: Mutex<Fetch>,
}

type Fetch = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl Miss {
    /// A miss that `fetch` resolves.
    pub fn new(fetch: impl Future<Output = Result<(), Error>> + Send + 'static) -> Self {
        Self { fetch: Mutex::new(Box::pin(fetch)) }
    }

    /// Fetches what is missing; afterwards the same call is made again.
    ///
    /// # Errors
    /// As the format says; [`Error::retry`] tells whether trying again can help.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the waiting only; the next call misses again.
    pub async fn resolve(self) -> Result<(), Error> {
        self.fetch.into_inner().unwrap_or_else(PoisonError::into_inner).await
    }
}

impl fmt::Debug for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Miss")
    }
}

/// Why encoding or decoding stopped.
#[derive(Debug)]
pub enum Stop {
    /// Fetch what is missing, then ask again.
    Miss(Miss),
    /// It failed.
    Error(Error),
}

impl Stop {
    /// Says which half of which topic's record it was; a miss says so when it cannot be resolved.
    pub fn at(self, topic: &str, part: Part) -> Self {
        match self {
            Stop::Miss(miss) => {
                let topic = topic.to_owned();
                Stop::Miss(Miss::new(async move { miss.resolve().await.map_err(|error| error.at(&topic, part)) }))
            }
            Stop::Error(error) => Stop::Error(error.at(topic, part)),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Miss(_) => f.write_str("a schema must be fetched first"),
            Stop::Error(error) => error.fmt(f),
        }
    }
}

impl StdError for Stop {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Stop::Miss(_) => None,
            Stop::Error(error) => error.source(),
        }
    }
}

/// The longest field path in an error, in characters.
#[cfg(any(feature = "json", feature = "protobuf"))]
const LONGEST_PATH: usize = 256;

/// A path as an error names it; `None` for the root.
#[cfg(any(feature = "json", feature = "protobuf"))]
pub(crate) fn path_of(path: &serde_path_to_error::Path) -> Option<String> {
    let path = path.to_string();
    // The root is ".", and "?" stands for a key that was not read to its end.
    let known = path.strip_suffix('?').unwrap_or(&path).trim_end_matches('.');
    // A key of a map is as long as the payload wants it to be.
    (!known.is_empty()).then(|| known.chars().take(LONGEST_PATH).collect())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn error() -> Error {
        Error::new(ErrorKind::Malformed, "not a temperature")
    }

    #[test]
    fn display_names_the_coordinates_that_are_known() {
        assert_eq!(error().to_string(), "not a temperature");
        assert_eq!(error().at("sensors", Part::Value).to_string(), "value of sensors: not a temperature");
        assert_eq!(error().at("sensors", Part::Key).to_string(), "key of sensors: not a temperature");
    }

    #[test]
    fn the_first_coordinates_stay() {
        let error = error().at("sensors", Part::Key).at("retries", Part::Value);
        assert_eq!((error.topic(), error.part()), (Some("sensors"), Some(Part::Key)));
    }

    #[test]
    fn the_cause_is_the_source_and_not_in_the_message() {
        let cause = "x".parse::<f32>().unwrap_err();
        let error = error().with_source(cause.clone());
        assert_eq!(error.to_string(), "not a temperature");
        assert_eq!(error.source().unwrap().to_string(), cause.to_string());
        assert_eq!(Stop::from(error).source().unwrap().to_string(), cause.to_string());
    }

    #[test]
    fn an_error_is_permanent_unless_it_says_otherwise() {
        assert_eq!((error().kind(), error().retry()), (ErrorKind::Malformed, Retry::Permanent));
        assert_eq!(error().with_retry(Retry::Temporary).retry(), Retry::Temporary);
    }

    #[test]
    fn a_miss_resolves_to_what_its_fetch_does() {
        let mut context = Context::from_waker(Waker::noop());
        let found = pin!(Miss::new(async { Ok(()) }).resolve()).poll(&mut context);
        assert!(matches!(found, Poll::Ready(Ok(()))));
        let lost = pin!(Miss::new(async { Err(error()) }).resolve()).poll(&mut context);
        assert!(matches!(lost, Poll::Ready(Err(_))));
        let never = pin!(Miss::new(std::future::pending()).resolve()).poll(&mut context);
        assert!(never.is_pending());
    }

    #[test]
    fn a_miss_that_is_not_resolved_says_for_what_it_was() {
        let stop = Stop::Miss(Miss::new(async { Err(error()) })).at("sensors", Part::Key).at("retries", Part::Value);
        let Stop::Miss(miss) = stop else { panic!("{stop:?}") };
        let lost = pin!(miss.resolve()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(lost, Poll::Ready(Err(error)) if error.to_string() == "key of sensors: not a temperature"));
    }

    #[test]
    fn a_stop_travels_between_threads() {
        fn travels<T: Send + Sync + 'static>() {}
        travels::<Stop>();
        travels::<Error>();
    }

    #[test]
    fn a_miss_says_what_it_waits_for() {
        let stop = Stop::Miss(Miss::new(async { Ok(()) }));
        assert_eq!(stop.to_string(), "a schema must be fetched first");
        assert!(stop.source().is_none());
    }
}
