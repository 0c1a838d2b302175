//! What is wrong with a dead letter, and what keeps it from being sent back.

use std::borrow::Cow;
use std::fmt;

use crate::dialect::Dialect;

/// Something that a dead letter has lost, or may have lost, on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage<'a> {
    /// The value is a copy of the key, and the original value is nowhere: SmallRye, when the key could not be decoded.
    ValueIsKey,
    /// The key holds U+FFFD, which takes the place of bytes that a String serde could not read.
    ReplacedInKey,
    /// The value holds U+FFFD.
    ReplacedInValue,
    /// The value is empty, and may have been null (a tombstone).
    NullMayBeEmpty,
    /// There is no key, and the framework keeps none.
    KeyMayBeLost,
    /// Header order, duplicates or nulls are not kept by the framework.
    HeadersRearranged,
    /// A header of the dialect holds no number.
    UnreadableNumber(&'static str),
    /// The hops are not equally often named, so that topics and offsets cannot be told to belong together.
    UnevenHops,
    /// The topic of the origin is no text.
    UnreadableTopic(Cow<'a, str>),
}

impl Damage<'_> {
    /// Whether the record would not be what it was: it is sent back only if somebody says so.
    pub fn changes_the_record(&self) -> bool {
        matches!(
            self,
            Self::ValueIsKey | Self::ReplacedInKey | Self::ReplacedInValue | Self::NullMayBeEmpty | Self::KeyMayBeLost
        )
    }
}

impl fmt::Display for Damage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ValueIsKey => f.write_str("the value is a copy of the key; the original value is lost"),
            Self::ReplacedInKey => f.write_str("the key holds U+FFFD: a String serde may have replaced bytes"),
            Self::ReplacedInValue => f.write_str("the value holds U+FFFD: a String serde may have replaced bytes"),
            Self::NullMayBeEmpty => f.write_str("the value is empty and may have been null (a tombstone)"),
            Self::KeyMayBeLost => f.write_str("there is no key; the framework does not keep it"),
            Self::HeadersRearranged => {
                f.write_str("the framework does not keep order, duplicates and nulls of headers")
            }
            Self::UnreadableNumber(name) => write!(f, "the {name} in the headers is no number"),
            Self::UnevenHops => f.write_str("topics, partitions and offsets are not equally many"),
            Self::UnreadableTopic(topic) => write!(f, "the topic in the headers is no text: {topic}"),
        }
    }
}

/// What a dead letter does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// The topic of its origin.
    Topic,
    /// The partition of its origin.
    Partition,
    /// The offset of its origin.
    Offset,
    /// The timestamp it had there.
    Timestamp,
    /// The consumer group that failed.
    Group,
    /// The class of the error.
    Class,
    /// How many deliveries have failed.
    Attempts,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::Timestamp => "timestamp",
            Self::Group => "group",
            Self::Class => "class",
            Self::Attempts => "attempts",
        })
    }
}

/// Why a record is not sent back by what its headers say. With a target that the user names, only
/// [`Pending`](Self::Pending) and [`Damaged`](Self::Damaged) are left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal<'a> {
    /// Its headers are of no known dialect.
    NoDialect,
    /// The dialect does not write the topic.
    NoTopic(Dialect),
    /// There was no record: a punctuator of Kafka Streams failed.
    NoRecord,
    /// The partition or offset of the origin is negative.
    NegativeOrigin(String),
    /// The origin is an internal topic, into which only its application writes.
    InternalTopic(&'a str),
    /// The origin is a topic of dead letters itself.
    DeadLetterTopic(&'a str),
    /// It waits for another attempt, and will be handled without us.
    Pending,
    /// It is not what it was.
    Damaged(Damage<'a>),
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDialect => f.write_str("no header tells where it came from: name a target"),
            Self::NoTopic(dialect) => write!(f, "{dialect} does not write the topic: name a target"),
            Self::NoRecord => f.write_str("there was no record: a punctuator failed"),
            Self::NegativeOrigin(place) => write!(f, "the origin {place} is none"),
            Self::InternalTopic(topic) => write!(f, "the origin {topic} is internal to its application"),
            Self::DeadLetterTopic(topic) => write!(f, "the origin {topic} holds dead letters itself: name a target"),
            Self::Pending => f.write_str("it waits for another attempt, and is not dead"),
            Self::Damaged(damage) => damage.fmt(f),
        }
    }
}
