//! What one dialect tells about a record.

use std::borrow::Cow;
use std::str::from_utf8;

use crate::dead_letter::{Damage, HeadersView, Link, Place, RecordView, link};
use crate::failure::TimestampType;

use super::shape::{Field, Fields, Order, number};
use super::{Dialect, connect, smallrye, spring, wolverine};

/// How many hops of one dialect are followed back; a record that has made more has its oldest one taken for what is left.
pub(crate) const MAX_HOPS: usize = 64;

/// What one dialect tells, borrowed from the headers.
#[derive(Clone, Debug)]
pub(crate) struct Account<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) fields: Fields<'a>,
    /// Where it failed in its first life.
    pub(crate) origin: Place<'a>,
    /// Where it failed first since it was sent back last.
    pub(crate) life: Place<'a>,
    /// Where it failed last.
    pub(crate) last: Place<'a>,
    /// Whether topics, partitions and offsets are not equally many, so that which belong together is not certain.
    pub(crate) uneven: bool,
}

impl<'a> Account<'a> {
    pub(crate) fn read(dialect: Dialect, headers: HeadersView<'a>) -> Self {
        let fields = Fields::read(dialect.shape(), headers);
        let counts = [Field::Topic, Field::Partition, Field::Offset].map(|field| fields.count(field));
        let written = counts.into_iter().filter(|count| *count > 0);
        let uneven = written.clone().min() != written.clone().max();
        let hops = written.max().unwrap_or(0);
        let mut account = Self {
            dialect,
            origin: place(dialect, &fields, |field| fields.oldest(field)),
            life: Place::default(),
            last: place(dialect, &fields, |field| fields.newest(field)),
            fields,
            uneven,
        };
        account.life = account.origin;
        if dialect == Dialect::Ours {
            account.last_of_ours();
        } else if dialect == Dialect::SmallRye && account.origin.topic.is_none() {
            // A failed deserialization says no more than the topic.
            let topic = account.fields.oldest(Field::DecodeTopic).and_then(|topic| from_utf8(topic).ok());
            account.origin.topic = topic;
            (account.life, account.last) = (account.origin, account.origin);
        } else if hops > 1 && !uneven {
            account.walk(headers);
        }
        account
    }

    fn last_of_ours(&mut self) {
        let fields = &self.fields;
        if fields.has(Field::LastTopic) {
            self.last = Place {
                topic: fields.newest(Field::LastTopic).and_then(|topic| from_utf8(topic).ok()),
                partition: partition(fields, fields.newest(Field::LastPartition)),
                offset: fields.number(fields.newest(Field::LastOffset)),
            };
            if self.last.topic == self.origin.topic {
                self.life = self.last;
            }
        }
    }

    /// Follows the hops back from the last one, as far as each is where the one before had put the record.
    fn walk(&mut self, headers: HeadersView<'a>) {
        let hops = places(self.dialect, headers);
        let Some(mut later) = hops.last() else { return };
        let mut sent_back = false;
        (self.origin, self.life) = (*later, *later);
        for earlier in hops.iter().rev().skip(1) {
            let (Some(to), Some(from)) = (later.topic, earlier.topic) else {
                // Dialects without topics: nothing contradicts.
                if later.topic.is_some() || earlier.topic.is_some() {
                    return;
                }
                (self.origin, self.life) = (*earlier, *earlier);
                later = earlier;
                continue;
            };
            match link(to, from) {
                Some(Link::Moved) => (),
                Some(Link::SentBack) => sent_back = true,
                None => return,
            }
            self.origin = *earlier;
            if !sent_back {
                self.life = *earlier;
            }
            later = earlier;
        }
    }

    pub(crate) fn attempts(&self) -> Option<u32> {
        let fields = &self.fields;
        let attempts = match self.dialect {
            Dialect::SpringRetry => spring::failures(fields),
            Dialect::SmallRyeRetry => smallrye::attempts(fields),
            _ => fields.number(fields.newest(Field::Attempts)),
        };
        attempts.and_then(|attempts| u32::try_from(attempts).ok())
    }

    pub(crate) fn class(&self) -> Option<&'a [u8]> {
        match self.dialect {
            Dialect::Spring | Dialect::SpringRetry => spring::unwrapped(&self.fields).0,
            _ => self.fields.newest(Field::Class),
        }
    }

    pub(crate) fn message(&self) -> Option<&'a [u8]> {
        match self.dialect {
            Dialect::Spring | Dialect::SpringRetry => spring::unwrapped(&self.fields).1,
            _ => self.fields.newest(Field::Message),
        }
    }

    pub(crate) fn cause_class(&self) -> Option<&'a [u8]> {
        let named = || self.fields.newest(Field::CauseClass);
        match self.dialect {
            Dialect::Spring | Dialect::SpringRetry => spring::innermost(&self.fields).or_else(named),
            _ => named(),
        }
    }

    pub(crate) fn trace(&self) -> Option<&'a [u8]> {
        self.fields.newest(Field::Trace)
    }

    pub(crate) fn reason(&self) -> Option<&'a [u8]> {
        self.fields.newest(Field::Reason)
    }

    pub(crate) fn group(&self) -> Option<Cow<'a, str>> {
        let fields = &self.fields;
        match self.dialect {
            Dialect::Connect => {
                let connector = String::from_utf8_lossy(fields.newest(Field::Group)?);
                Some([connect::GROUP, &connector].concat().into())
            }
            // The recoverer behind a retry topic appends a group of its own.
            Dialect::SpringRetry => fields.oldest(Field::Group).map(String::from_utf8_lossy),
            _ => fields.newest(Field::Group).map(String::from_utf8_lossy),
        }
    }

    /// The timestamp at the origin, where a header keeps it.
    pub(crate) fn timestamp_ms(&self) -> Option<i64> {
        let written = self.fields.number(self.fields.oldest(Field::Timestamp))?;
        Some(written).filter(|millis| *millis >= 0)
    }

    pub(crate) fn timestamp_type(&self) -> Option<TimestampType> {
        match self.fields.oldest(Field::TimestampType)? {
            b"CreateTime" => Some(TimestampType::CreateTime),
            b"LogAppendTime" => Some(TimestampType::LogAppendTime),
            _ => None,
        }
    }

    pub(crate) fn first_failure_ms(&self) -> Option<i64> {
        self.fields.number(self.fields.oldest(Field::FirstFailure))
    }

    pub(crate) fn failed_at_ms(&self) -> Option<i64> {
        self.fields.number(self.fields.newest(Field::FailedAt))
    }

    /// Whether a decoder failed: the bytes are wrong, and no attempt will mend that.
    pub(crate) fn is_decoding(&self) -> bool {
        const SIGNS: [&[u8]; 4] = [b"DeserializationException", b"SerializationException", b"_CONVERTER", b"decode"];
        let says = |text: Option<&[u8]>| text.is_some_and(|text| SIGNS.iter().any(|sign| text.ends_with(sign)));
        let told = [Field::InKey, Field::DecodeReason].into_iter().any(|field| self.fields.has(field));
        told || says(self.class()) || says(self.reason())
    }
}

fn partition(fields: &Fields<'_>, value: Option<&[u8]>) -> Option<i32> {
    fields.number(value).and_then(|partition| i32::try_from(partition).ok())
}

fn topic(dialect: Dialect, value: Option<&[u8]>) -> Option<&str> {
    let topic = from_utf8(value?).ok()?;
    Some(if dialect == Dialect::Wolverine { wolverine::topic(topic) } else { topic })
}

fn place<'a>(dialect: Dialect, fields: &Fields<'a>, value: impl Fn(Field) -> Option<&'a [u8]>) -> Place<'a> {
    Place {
        topic: topic(dialect, value(Field::Topic)),
        partition: partition(fields, value(Field::Partition)),
        offset: fields.number(value(Field::Offset)),
    }
}

/// Every place of a dialect's hops, the oldest first; the newest [`MAX_HOPS`] of them.
///
/// Only for coordinates: each hop writes all three, so the n-th of each belong together where there are equally many.
pub(crate) fn places<'a>(dialect: Dialect, headers: HeadersView<'a>) -> Vec<Place<'a>> {
    let shape = dialect.shape();
    let mut values: [Vec<Option<&'a [u8]>>; 3] = Default::default();
    headers.for_each(|name, value| match shape.field(name) {
        Some(Field::Topic) => values[0].push(value),
        Some(Field::Partition) => values[1].push(value),
        Some(Field::Offset) => values[2].push(value),
        _ => (),
    });
    if shape.order == Order::NewestFirst {
        values.iter_mut().for_each(|list| list.reverse());
    }
    let [topics, partitions, offsets] = values;
    let hops = topics.len().max(partitions.len()).max(offsets.len());
    let nth = |list: &[Option<&'a [u8]>], at: usize| list.get(at).copied().flatten();
    let parsed = |value: Option<&[u8]>| number(shape.numbers, value?);
    (hops.saturating_sub(MAX_HOPS)..hops)
        .map(|at| Place {
            topic: topic(dialect, nth(&topics, at)),
            partition: parsed(nth(&partitions, at)).and_then(|partition| i32::try_from(partition).ok()),
            offset: parsed(nth(&offsets, at)),
        })
        .collect()
}

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

impl<'a> Account<'a> {
    pub(crate) fn damage(&self, record: &RecordView<'a>, damage: &mut Vec<Damage<'a>>) {
        let (key, value) = (record.key, record.value);
        if self.dialect == Dialect::SmallRye && smallrye::lost_its_value(&self.fields, key, value) {
            damage.push(Damage::ValueIsKey);
        }
        let is_replaced = |bytes: Option<&[u8]>| {
            bytes.is_some_and(|bytes| bytes.windows(REPLACEMENT.len()).any(|window| window == REPLACEMENT))
        };
        if self.dialect.may_recode() {
            damage.extend(is_replaced(key).then_some(Damage::ReplacedInKey));
            damage.extend(is_replaced(value).then_some(Damage::ReplacedInValue));
        }
        if self.dialect == Dialect::Arroyo && value == Some(b"") {
            damage.push(Damage::NullMayBeEmpty);
        }
        if self.dialect == Dialect::Watermill && key.is_none() {
            damage.push(Damage::KeyMayBeLost);
        }
        if matches!(self.dialect, Dialect::Watermill | Dialect::Ruststream) {
            damage.push(Damage::HeadersRearranged);
        }
        let numbers =
            [(Field::Partition, "partition"), (Field::Offset, "offset"), (Field::Attempts, "count of attempts")];
        for (field, name) in numbers {
            damage.extend(self.fields.is_damaged(field).then_some(Damage::UnreadableNumber(name)));
        }
        if let (None, Some(topic)) = (self.origin.topic, self.fields.oldest(Field::Topic)) {
            damage.push(Damage::UnreadableTopic(String::from_utf8_lossy(topic)));
        }
        damage.extend(self.uneven.then_some(Damage::UnevenHops));
    }
}
