//! What the dialects have in common: names that stand for fields, numbers in text or binary, hops in one order.

use std::str::from_utf8;

use crate::dead_letter::HeadersView;

/// What a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Topic,
    Partition,
    Offset,
    LastTopic,
    LastPartition,
    LastOffset,
    Timestamp,
    TimestampType,
    Group,
    Class,
    CauseClass,
    Message,
    Trace,
    Attempts,
    FirstFailure,
    FailedAt,
    Reason,
    Hops,
    /// The failure was in the key: its class, or that it was.
    InKey,
    KeyMessage,
    KeyTrace,
    /// What a deserializer says beside the coordinates.
    DecodeTopic,
    DecodeReason,
    /// Something that is the framework's and that nobody asks for.
    Other,
}

const FIELDS: usize = Field::Other as usize + 1;

/// In which order the sets of several hops stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    OldestFirst,
    NewestFirst,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// ASCII decimal.
    Text,
    /// Big-endian two's complement of one to eight bytes.
    Binary,
}

/// A dialect's headers as data.
pub(crate) struct Shape {
    pub(crate) order: Order,
    pub(crate) numbers: Numbers,
    /// Few, each with what it tells.
    pub(crate) names: &'static [(&'static str, Field)],
}

impl Shape {
    pub(crate) fn field(&self, name: &[u8]) -> Option<Field> {
        self.names.iter().find(|(other, _)| other.as_bytes() == name).map(|(_, field)| *field)
    }
}

/// A header's value; `None` is null.
type Value<'a> = Option<&'a [u8]>;

#[derive(Clone, Copy, Debug, Default)]
struct Found<'a> {
    first: Value<'a>,
    last: Value<'a>,
    count: u32,
}

/// What stands in a record's headers in the words of one dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    found: [Found<'a>; FIELDS],
    order: Order,
    numbers: Numbers,
    /// Where the last of them stands among the headers.
    pub(crate) last_index: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn read(shape: &Shape, headers: HeadersView<'a>) -> Self {
        let mut fields =
            Self { found: [Found::default(); FIELDS], order: shape.order, numbers: shape.numbers, last_index: 0 };
        let mut index = 0;
        headers.for_each(|name, value| {
            if let Some(field) = shape.field(name) {
                let found = &mut fields.found[field as usize];
                if found.count == 0 {
                    found.first = value;
                }
                found.last = value;
                found.count = found.count.saturating_add(1);
                fields.last_index = index;
            }
            index += 1;
        });
        fields
    }

    pub(crate) fn count(&self, field: Field) -> u32 {
        self.found[field as usize].count
    }

    pub(crate) fn has(&self, field: Field) -> bool {
        self.count(field) > 0
    }

    /// What the first failure wrote; `None` where there is nothing or null.
    pub(crate) fn oldest(&self, field: Field) -> Option<&'a [u8]> {
        let found = &self.found[field as usize];
        match self.order {
            Order::OldestFirst => found.first,
            Order::NewestFirst => found.last,
        }
    }

    /// What the last failure wrote.
    pub(crate) fn newest(&self, field: Field) -> Option<&'a [u8]> {
        let found = &self.found[field as usize];
        match self.order {
            Order::OldestFirst => found.last,
            Order::NewestFirst => found.first,
        }
    }

    pub(crate) fn number(&self, value: Option<&[u8]>) -> Option<i64> {
        number(self.numbers, value?)
    }

    /// Whether the header is there, is not null, and is no number.
    pub(crate) fn is_damaged(&self, field: Field) -> bool {
        let found = &self.found[field as usize];
        [found.first, found.last].into_iter().flatten().any(|value| number(self.numbers, value).is_none())
    }
}

/// The number that `bytes` are, if they are one that fits.
pub(crate) fn number(numbers: Numbers, bytes: &[u8]) -> Option<i64> {
    match numbers {
        Numbers::Text => from_utf8(bytes).ok()?.parse().ok(),
        Numbers::Binary => binary(bytes),
    }
}

fn binary(bytes: &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first()?;
    let sign = i64::from(i8::from_be_bytes([*first]));
    (rest.len() < 8).then(|| rest.iter().fold(sign, |number, byte| (number << 8) | i64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_numbers_of_any_width_are_read() {
        let read = |bytes: &[u8]| number(Numbers::Binary, bytes);
        assert_eq!(read(&[5]), Some(5));
        assert_eq!(read(&[0xff]), Some(-1));
        assert_eq!(read(&7_i32.to_be_bytes()), Some(7));
        assert_eq!(read(&(-1_i32).to_be_bytes()), Some(-1));
        assert_eq!(read(&i64::MIN.to_be_bytes()), Some(i64::MIN));
        assert_eq!(read(&[0x01, 0x9a, 0x3b, 0x00, 0x11, 0x22]), Some(0x019a_3b00_1122));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0; 9]), None);
    }

    #[test]
    fn text_that_is_no_number_is_none() {
        let read = |bytes: &[u8]| number(Numbers::Text, bytes);
        assert_eq!(read(b"4211"), Some(4211));
        assert_eq!(read(b"-1"), Some(-1));
        for bytes in [&b""[..], b"x", b"1.5", b"99999999999999999999", b"\xff"] {
            assert_eq!(read(bytes), None);
        }
    }
}
