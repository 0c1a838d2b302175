//! Which dead letters a job is about.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::dead_letter::DeadLetter;
use crate::dialect::Dialect;
use crate::values::Values;

type Predicate = Arc<dyn Fn(&DeadLetter<'_>, Option<&Values>) -> bool + Send + Sync>;

/// Which dead letters a job is about: all that meet every condition. Without conditions, all.
///
/// ```
/// use kafka_dlq::{Dialect, Selection};
///
/// let declined = Selection::all().reason("CardDeclined").source("orders").dialect(Dialect::Spring);
/// ```
#[derive(Clone, Default)]
pub struct Selection {
    reasons: Vec<String>,
    sources: Vec<String>,
    source_partitions: Vec<i32>,
    source_offsets: Option<Range<i64>>,
    partitions: Vec<i32>,
    offsets: Option<Range<i64>>,
    times_ms: Option<Range<i64>>,
    /// What the times were said as: `2h` ago is another time with each run, and the same job.
    times_told: Option<String>,
    keys: Vec<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    dialects: Vec<Dialect>,
    groups: Vec<String>,
    predicates: Vec<(Option<String>, Predicate)>,
}

impl Selection {
    /// All dead letters.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those whose [reason](DeadLetter::reason), message or trace contains `text`; said again, another text will also do. This
    /// holds for every condition that names one of several.
    pub fn reason(mut self, text: impl Into<String>) -> Self {
        self.reasons.push(text.into());
        self
    }

    /// Those whose origin is this topic.
    pub fn source(mut self, topic: impl Into<String>) -> Self {
        self.sources.push(topic.into());
        self
    }

    /// Those whose origin is this partition.
    pub fn source_partition(mut self, partition: i32) -> Self {
        self.source_partitions.push(partition);
        self
    }

    /// Those whose offset at the origin is in this range.
    pub fn source_offsets(mut self, offsets: Range<i64>) -> Self {
        self.source_offsets = Some(offsets);
        self
    }

    /// Those that stand in this partition of the dead-letter topic.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partitions.push(partition);
        self
    }

    /// Those whose offset in the dead-letter topic is in this range.
    pub fn offsets(mut self, offsets: Range<i64>) -> Self {
        self.offsets = Some(offsets);
        self
    }

    /// Those that became dead letters in this time, in milliseconds since the epoch: [when they
    /// failed](DeadLetter::failed_at_ms), or their timestamp where that is not told.
    pub fn times_ms(mut self, times: Range<i64>) -> Self {
        self.times_ms = Some(times);
        self
    }

    /// As [`times_ms`](Self::times_ms), of a job that is told from others by `text`.
    #[cfg(feature = "cli")]
    pub(crate) fn times_told(mut self, times: Range<i64>, text: String) -> Self {
        (self.times_ms, self.times_told) = (Some(times), Some(text));
        self
    }

    /// Those with this key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Those that have a header of this name, and of this value if one is given. Said again, both must be there.
    pub fn header(mut self, name: impl Into<String>, value: Option<&[u8]>) -> Self {
        self.headers.push((name.into(), value.map(<[u8]>::to_vec)));
        self
    }

    /// Those of this dialect.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialects.push(dialect);
        self
    }

    /// Those that this consumer group failed on.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Those for which `predicate` holds. A job that selects by it needs a [name](crate::Redrive::job).
    pub fn matching(mut self, predicate: impl Fn(&DeadLetter<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.predicates.push((None, Arc::new(move |letter, _| predicate(letter))));
        self
    }

    /// Those for which an expression holds; `text` tells it from others.
    #[cfg(feature = "expressions")]
    pub(crate) fn expression(
        mut self,
        text: String,
        holds: impl Fn(&DeadLetter<'_>, Option<&Values>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.predicates.push((Some(text), Arc::new(holds)));
        self
    }

    /// Whether a dead letter meets every condition. Expressions see values without a registry.
    pub fn matches(&self, letter: &DeadLetter<'_>) -> bool {
        self.matches_by(letter, None)
    }

    /// The same; expressions see what values are by their schemas.
    pub(crate) fn matches_by(&self, letter: &DeadLetter<'_>, values: Option<&Values>) -> bool {
        let record = letter.record();
        let within = |range: &Option<Range<i64>>, value: Option<i64>| match range {
            Some(range) => value.is_some_and(|value| range.contains(&value)),
            None => true,
        };
        is_one_of(&self.partitions, || record.partition)
            && within(&self.offsets, record.offset)
            && (self.times_ms.is_none() || within(&self.times_ms, letter.failed_at_ms().or(record.timestamp_ms)))
            && (self.keys.is_empty() || self.keys.iter().any(|key| record.key == Some(key.as_slice())))
            && (self.dialects.is_empty() || letter.dialects().any(|dialect| self.dialects.contains(&dialect)))
            && self.matches_origin(letter)
            && self.matches_reason(letter)
            && self.headers.iter().all(|(name, value)| has(letter, name, value.as_deref()))
            && self.predicates.iter().all(|(_, predicate)| predicate(letter, values))
    }

    fn matches_origin(&self, letter: &DeadLetter<'_>) -> bool {
        let origin = letter.origin();
        (self.sources.is_empty() || self.sources.iter().any(|topic| origin.topic == Some(topic.as_str())))
            && is_one_of(&self.source_partitions, || origin.partition)
            && self
                .source_offsets
                .as_ref()
                .is_none_or(|range| origin.offset.is_some_and(|offset| range.contains(&offset)))
            && (self.groups.is_empty()
                || letter.group().is_some_and(|group| self.groups.iter().any(|other| *other == group)))
    }

    fn matches_reason(&self, letter: &DeadLetter<'_>) -> bool {
        let holds = |text: &str| {
            letter.reason().is_some_and(|reason| reason.contains(text))
                || letter.message().is_some_and(|message| message.contains(text))
                // The cause is often named there alone.
                || letter.trace().is_some_and(|trace| trace.contains(text))
        };
        self.reasons.is_empty() || self.reasons.iter().any(|text| holds(text))
    }

    /// Whether values matter for it.
    pub(crate) fn sees_values(&self) -> bool {
        self.predicates.iter().any(|(text, _)| text.is_some())
    }

    /// Whether it can be told apart from others by its text.
    pub(crate) fn is_told_by_text(&self) -> bool {
        self.predicates.iter().all(|(text, _)| text.is_some())
    }
}

fn is_one_of<T: PartialEq>(wanted: &[T], value: impl FnOnce() -> Option<T>) -> bool {
    wanted.is_empty() || value().is_some_and(|value| wanted.contains(&value))
}

fn has(letter: &DeadLetter<'_>, name: &str, value: Option<&[u8]>) -> bool {
    let mut found = false;
    letter.record().headers.for_each(|other, held| {
        found |= other == name.as_bytes() && (value.is_none() || held == value);
    });
    found
}

/// Every condition in one line: what tells one job from another.
impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expressions: Vec<&str> =
            self.predicates.iter().map(|(text, _)| text.as_deref().unwrap_or("a function")).collect();
        f.debug_struct("Selection")
            .field("reasons", &self.reasons)
            .field("sources", &self.sources)
            .field("source_partitions", &self.source_partitions)
            .field("source_offsets", &self.source_offsets)
            .field("partitions", &self.partitions)
            .field("offsets", &self.offsets)
            .field("times_ms", &self.times_ms.as_ref().filter(|_| self.times_told.is_none()))
            .field("times", &self.times_told)
            .field("keys", &self.keys)
            .field("headers", &self.headers)
            .field("dialects", &self.dialects)
            .field("groups", &self.groups)
            .field("expressions", &expressions)
            .finish()
    }
}
