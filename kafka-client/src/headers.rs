//! Headers: an ordered list of names and values, in which a name may stand twice and a value may be null.

use std::borrow::Cow;
use std::fmt;

use kafka_serde::{AddHeader, FindHeader};

use crate::consumer::Kept;
use crate::native::headers::HeaderList;

/// The headers of a record to send, or of one that came back: ordered, duplicates and nulls kept.
///
/// ```
/// use kafka_client::Headers;
///
/// let mut headers = Headers::new();
/// headers.push("attempt", "1");
/// headers.push("attempt", "2");
/// headers.push_null("reviewed");
/// assert_eq!(headers.last("attempt"), Some(Some(&b"2"[..])));
/// assert_eq!(headers.last("reviewed"), Some(None));
/// assert_eq!(headers.last("missing"), None);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    list: Vec<NameAndValue>,
}

type NameAndValue = (Box<[u8]>, Option<Box<[u8]>>);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a header. Kafka's names are text; a name with a NUL is refused when the record is sent.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.list.push((name.as_ref().into(), Some(value.as_ref().into())));
    }

    /// Appends a header whose value is null, which is not the same as empty.
    pub fn push_null(&mut self, name: impl AsRef<[u8]>) {
        self.list.push((name.as_ref().into(), None));
    }

    pub(crate) const fn none() -> Self {
        Self { list: Vec::new() }
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The headers in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Header<'_>> {
        self.list.iter().map(|(name, value)| Header { name, value: value.as_deref() })
    }

    /// The value of the last header of that name: `None` without one, `Some(None)` where it is null.
    pub fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        self.list.iter().rev().find(|(other, _)| **other == *name.as_bytes()).map(|(_, value)| value.as_deref())
    }

    /// Removes every header of that name, and says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.list.len();
        self.list.retain(|(other, _)| **other != *name.as_bytes());
        before - self.list.len()
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    /// How many bytes names and values take.
    pub(crate) fn bytes(&self) -> usize {
        self.list.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.len())).sum()
    }

    pub(crate) fn extend(&mut self, other: &Headers) {
        self.list.extend(other.list.iter().cloned());
    }

    pub(crate) fn copy_of(native: Option<&HeaderList>) -> Self {
        let Some(native) = native else { return Self::new() };
        let copy = |(name, value): (&[u8], Option<&[u8]>)| (Box::from(name), value.map(Box::from));
        Self { list: (0..native.len()).filter_map(|index| native.get(index).map(copy)).collect() }
    }
}

impl AddHeader for Headers {
    fn add(&mut self, name: &str, value: Option<&[u8]>) {
        match value {
            Some(value) => self.push(name, value),
            None => self.push_null(name),
        }
    }
}

impl FindHeader for Headers {
    fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        Headers::last(self, name)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One header of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The name; bytes that are not UTF-8 (no conforming client writes them) are shown as `U+FFFD`.
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name)
    }

    /// The name, bit for bit.
    pub fn name_bytes(&self) -> &'a [u8] {
        self.name
    }

    /// The value; `None` is null.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }
}

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name())?;
        match self.value {
            Some(value) => write!(f, "{:?}", String::from_utf8_lossy(value)),
            None => f.write_str("null"),
        }
    }
}

/// The headers of a record that was read: looked up in place, parsed only when somebody asks.
#[derive(Clone, Copy)]
pub struct HeadersRef<'a> {
    list: List<'a>,
}

#[derive(Clone, Copy)]
enum List<'a> {
    None,
    Native(&'a HeaderList),
    Kept(&'a Kept),
}

impl<'a> HeadersRef<'a> {
    pub(crate) fn new(native: Option<&'a HeaderList>) -> Self {
        Self { list: native.map_or(List::None, List::Native) }
    }

    pub(crate) fn kept(kept: &'a Kept) -> Self {
        Self { list: List::Kept(kept) }
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        match self.list {
            List::None => 0,
            List::Native(list) => list.len(),
            List::Kept(kept) => kept.headers(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The headers in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Header<'a>> + use<'a> {
        let list = self.list;
        (0..self.len()).filter_map(move |index| {
            let header = match list {
                List::None => None,
                List::Native(list) => list.get(index),
                List::Kept(kept) => kept.header(index),
            };
            header.map(|(name, value)| Header { name, value })
        })
    }

    /// The value of the last header of that name: `None` without one, `Some(None)` where it is null.
    pub fn last(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().rev().find(|header| header.name == name.as_bytes()).map(|header| header.value)
    }

    /// A copy that can be sent again.
    pub fn to_owned(&self) -> Headers {
        let copy = |header: Header<'_>| (Box::from(header.name), header.value.map(Box::from));
        Headers { list: self.iter().map(copy).collect() }
    }
}

impl FindHeader for HeadersRef<'_> {
    fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        HeadersRef::last(self, name)
    }
}

impl fmt::Debug for HeadersRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
