//! Header dialects: what frameworks write onto their dead letters, read and (three of them) written.
//!
//! ```text
//! headers ─▶ marks (one pass, nothing kept) ─▶ dialects ─▶ account (one pass each, borrowed) ─▶ DeadLetter
//! ```
//!
//! Pure: no I/O, no clock. A header's bytes are data: what cannot be read is damage, not an error.

pub mod ours;
pub mod spring;
pub mod connect;
mod streams;
mod smallrye;
mod watermill;
mod arroyo;
mod ruststream;
mod share_group;
mod silverback;
mod wolverine;
mod karafka;
mod shape;
mod marks;
mod account;

use std::fmt;

pub(crate) use account::{Account, places};
pub(crate) use marks::Marks;
pub(crate) use shape::Shape;

/// Who writes which headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Dialect {
    /// Ours: [`ours`].
    Ours,
    /// Spring Kafka's `DeadLetterPublishingRecoverer`.
    Spring,
    /// Spring Kafka's retry topics, and the dead-letter topic behind them.
    SpringRetry,
    /// Kafka Streams' dead-letter topic.
    Streams,
    /// A Kafka Connect sink with `errors.deadletterqueue.context.headers.enable=true`.
    Connect,
    /// SmallRye Reactive Messaging (Quarkus), `failure-strategy=dead-letter-queue`.
    SmallRye,
    /// SmallRye Reactive Messaging, `failure-strategy=delayed-retry-topic`.
    SmallRyeRetry,
    /// Watermill's poison queue.
    Watermill,
    /// arroyo (Python).
    Arroyo,
    /// ruststream.
    Ruststream,
    /// Kafka's share groups (KIP-1191).
    ShareGroup,
    /// Silverback (.NET).
    Silverback,
    /// Wolverine (.NET).
    Wolverine,
    /// Karafka (Ruby).
    Karafka,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Ours,
        Self::Spring,
        Self::SpringRetry,
        Self::Streams,
        Self::Connect,
        Self::SmallRye,
        Self::SmallRyeRetry,
        Self::Watermill,
        Self::Arroyo,
        Self::Ruststream,
        Self::ShareGroup,
        Self::Silverback,
        Self::Wolverine,
        Self::Karafka,
    ];

    /// Its name, as the command shows and takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Spring => "spring",
            Self::SpringRetry => "spring-retry",
            Self::Streams => "streams",
            Self::Connect => "connect",
            Self::SmallRye => "smallrye",
            Self::SmallRyeRetry => "smallrye-retry",
            Self::Watermill => "watermill",
            Self::Arroyo => "arroyo",
            Self::Ruststream => "ruststream",
            Self::ShareGroup => "share-group",
            Self::Silverback => "silverback",
            Self::Wolverine => "wolverine",
            Self::Karafka => "karafka",
        }
    }

    /// The dialect of that [`name`](Self::name).
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// Whether a header of this name (and value) is the framework's own, and not the application's, on a record of this
    /// dialect.
    pub(crate) fn owns(self, name: &[u8], value: Option<&[u8]>) -> bool {
        match self {
            Self::Ours => ours::NAMES.iter().any(|other| other.as_bytes() == name),
            Self::Spring | Self::SpringRetry => spring::owns(name),
            Self::Watermill => watermill::owns(name, value),
            Self::SmallRye | Self::SmallRyeRetry => smallrye::owns(name),
            Self::Streams => name.starts_with(b"__streams.errors."),
            Self::Connect => name.starts_with(b"__connect.errors."),
            Self::ShareGroup => name.starts_with(b"__dlq.errors."),
            _ => self.shape().field(name).is_some(),
        }
    }

    pub(crate) fn shape(self) -> &'static Shape {
        match self {
            Self::Ours => &ours::SHAPE,
            Self::Spring => &spring::RECOVERER,
            Self::SpringRetry => &spring::RETRY,
            Self::Streams => &streams::SHAPE,
            Self::Connect => &connect::SHAPE,
            Self::SmallRye => &smallrye::DEAD_LETTER,
            Self::SmallRyeRetry => &smallrye::RETRY,
            Self::Watermill => &watermill::SHAPE,
            Self::Arroyo => &arroyo::SHAPE,
            Self::Ruststream => &ruststream::SHAPE,
            Self::ShareGroup => &share_group::SHAPE,
            Self::Silverback => &silverback::SHAPE,
            Self::Wolverine => &wolverine::SHAPE,
            Self::Karafka => &karafka::SHAPE,
        }
    }

    /// Whether the record keeps the timestamp it had at its origin.
    pub(crate) fn keeps_timestamp(self) -> bool {
        matches!(self, Self::Ours | Self::Streams | Self::Connect)
    }

    /// Whether its framework decodes and encodes keys and values on the way, where it is told to (String serdes).
    pub(crate) fn may_recode(self) -> bool {
        matches!(self, Self::Spring | Self::SpringRetry | Self::SmallRye | Self::SmallRyeRetry)
    }

    /// Whether records also stand under it while they wait for another attempt.
    pub(crate) fn has_retries(self) -> bool {
        matches!(self, Self::Ours | Self::SpringRetry | Self::SmallRyeRetry | Self::Ruststream)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
