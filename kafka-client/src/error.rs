//! What can go wrong, what to do about it, and where it happened.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

pub use kafka_serde::Retry;

use crate::native::{Code, NativeError};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is unknown, malformed, or contradicts another; the message names it.
    Config,
    /// A key or value could not be encoded.
    Encode,
    /// A record that was read could not be decoded.
    Decode,
    /// There is no room in the producer's queue now.
    Full,
    /// A custom partitioner failed, or chose a partition that does not exist.
    Partitioner,
    /// The record is larger than `message.max.bytes`, or than the broker or the topic accepts.
    TooLarge,
    /// The topic or partition does not exist.
    UnknownTopic,
    /// No broker could be reached.
    Unreachable,
    /// It took too long.
    Timeout,
    /// The broker refused it for lack of permission, or the login failed.
    Denied,
    /// The member is not part of its group any more; its partitions belong to others.
    Fenced,
    /// The client is closed or closing.
    Closed,
    /// A handler, or a rebalance listener, returned an error.
    Handler,
    /// A handler has been running for longer than it may.
    Stuck,
    /// An interceptor, callback, partitioner or handler panicked.
    Panicked,
    /// The transaction was aborted: nothing of it is visible to `read_committed` consumers.
    Aborted,
    /// A topic exists, but not as asked for.
    Mismatch,
    /// Kafka answered with an error that has no kind of its own here; [`Error::code`] names it.
    Broker,
}

/// An error of this crate: what it is, what to do now, during which operation, and at which coordinates.
///
/// `Display` prints this layer only; [`source`](StdError::source) leads to the cause. Cheap to clone.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    fatal: bool,
    code: Option<&'static str>,
    operation: Option<&'static str>,
    group: Option<Arc<str>>,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner {
            kind,
            retry: Retry::Permanent,
            fatal: false,
            code: None,
            operation: None,
            group: None,
            topic: None,
            partition: None,
            offset: None,
            message: message.into(),
            source: None,
        };
        Self { inner: Arc::new(inner) }
    }

    /// A record that has no bytes.
    pub(crate) fn unencodable(error: kafka_serde::Error) -> Self {
        Self::new(ErrorKind::Encode, "the record cannot be encoded").with_retry(error.retry()).with_source(error)
    }

    /// Bytes that are no record of this topic.
    pub(crate) fn undecodable(error: kafka_serde::Error) -> Self {
        Self::new(ErrorKind::Decode, "the record cannot be decoded").with_retry(error.retry()).with_source(error)
    }

    fn change(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.inner)
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub(crate) fn native(error: NativeError) -> Self {
        let (kind, retry) = classify(&error);
        let mut converted = Self::new(kind, format!("{} ({})", error.text, error.name)).with_retry(retry);
        converted.change().fatal = error.fatal || error.code == Code::Fatal;
        converted.change().code = Some(error.name);
        converted
    }

    pub(crate) fn with_retry(mut self, retry: Retry) -> Self {
        self.change().retry = retry;
        self
    }

    pub(crate) fn fatal(mut self) -> Self {
        self.change().fatal = true;
        self
    }

    pub(crate) fn with_operation(mut self, operation: &'static str) -> Self {
        self.change().operation.get_or_insert(operation);
        self
    }

    pub(crate) fn with_group(mut self, group: &Arc<str>) -> Self {
        self.change().group.get_or_insert_with(|| group.clone());
        self
    }

    pub(crate) fn with_topic(mut self, topic: impl Into<String>) -> Self {
        self.change().topic.get_or_insert_with(|| topic.into());
        self
    }

    pub(crate) fn with_partition(mut self, partition: Option<i32>) -> Self {
        let inner = self.change();
        inner.partition = inner.partition.or(partition.filter(|partition| *partition >= 0));
        self
    }

    pub(crate) fn with_offset(mut self, offset: Option<i64>) -> Self {
        let inner = self.change();
        inner.offset = inner.offset.or(offset.filter(|offset| *offset >= 0));
        self
    }

    /// Says what to do about it.
    pub(crate) fn with_advice(mut self, advice: &str) -> Self {
        let inner = self.change();
        inner.message = format!("{}: {advice}", inner.message);
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.change().source = Some(Arc::from(source.into()));
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What to do now: nothing helps ([`Retry::Permanent`]), the same call may succeed later ([`Retry::Temporary`]),
    /// or it was retried already until a limit ([`Retry::Persistent`]).
    pub fn retry(&self) -> Retry {
        self.inner.retry
    }

    /// Whether the client that reported it can do nothing more and has to be built again.
    pub fn is_fatal(&self) -> bool {
        self.inner.fatal
    }

    /// Kafka's own name for it (`NOT_ENOUGH_REPLICAS`), with a leading underscore where the client library said it.
    pub fn code(&self) -> Option<&'static str> {
        self.inner.code
    }

    /// What was being done: `send`, `commit`, `ensure topics`.
    pub fn operation(&self) -> Option<&'static str> {
        self.inner.operation
    }

    /// The group of the consumer that it happened to, where it ended one.
    pub fn group(&self) -> Option<&str> {
        self.inner.group.as_deref()
    }

    /// The topic it happened on.
    pub fn topic(&self) -> Option<&str> {
        self.inner.topic.as_deref()
    }

    /// The partition it happened on.
    pub fn partition(&self) -> Option<i32> {
        self.inner.partition
    }

    /// The offset it happened at.
    pub fn offset(&self) -> Option<i64> {
        self.inner.offset
    }
}

/// Sorts Kafka's codes into kinds and advice.
fn classify(error: &NativeError) -> (ErrorKind, Retry) {
    use ErrorKind as Kind;
    use Retry::{Permanent, Persistent, Temporary};
    match error.code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::OffsetMetadataTooLarge => {
            (Kind::TooLarge, Permanent)
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::InvalidTopic => {
            (Kind::UnknownTopic, Permanent)
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::NodeUpdate => {
            (Kind::Unreachable, Temporary)
        }
        // The client library has retried until its own limit before it reports these.
        Code::MessageTimedOut | Code::OperationTimedOut => (Kind::Timeout, Persistent),
        Code::RequestTimedOut | Code::TimedOutQueue => (Kind::Timeout, Temporary),
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => (Kind::Denied, Permanent),
        Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::FencedInstanceId
        | Code::FencedMemberEpoch
        | Code::AssignmentLost
        | Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch => (Kind::Fenced, Permanent),
        Code::PurgeQueue | Code::PurgeInflight => (Kind::Closed, Permanent),
        Code::InvalidArgument => (Kind::Config, Permanent),
        _ if error.retriable => (Kind::Broker, Temporary),
        _ => (Kind::Broker, Permanent),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        if let Some(operation) = inner.operation {
            write!(f, "{operation} failed")?;
            if let Some(topic) = &inner.topic {
                write!(f, " for {topic}")?;
                if let Some(partition) = inner.partition {
                    write!(f, "-{partition}")?;
                }
                if let Some(offset) = inner.offset {
                    write!(f, " at {offset}")?;
                }
            }
            f.write_str(": ")?;
        }
        f.write_str(&inner.message)
    }
}

/// An error and its causes in one line: what `fn main() -> Result<(), Error>` prints.
pub(crate) fn fmt_chain(error: &dyn StdError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(f, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

/// `{:?}` prints the error and its causes for people, `{:#?}` all fields.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt_chain(self, f);
        }
        let inner = &self.inner;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("retry", &inner.retry)
            .field("fatal", &inner.fatal)
            .field("code", &inner.code)
            .field("operation", &inner.operation)
            .field("group", &inner.group)
            .field("topic", &inner.topic)
            .field("partition", &inner.partition)
            .field("offset", &inner.offset)
            .field("message", &inner.message)
            .field("source", &inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}
