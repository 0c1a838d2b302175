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
    /// Names and values, one behind the other: a record's headers take two allocations, however many they are.
    bytes: Vec<u8>,
    list: Vec<Place>,
}

/// Where a header ends in the bytes; it begins where the one before it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    name: usize,
    value: usize,
    is_null: bool,
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a header. Kafka's names are text; a name with a NUL is refused when the record is sent.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.append(name.as_ref(), Some(value.as_ref()));
    }

    /// Appends a header whose value is null, which is not the same as empty.
    pub fn push_null(&mut self, name: impl AsRef<[u8]>) {
        self.append(name.as_ref(), None);
    }

    /// Makes room for so many more headers, whose names and values take so many bytes.
    pub fn reserve(&mut self, headers: usize, bytes: usize) {
        self.list.reserve(headers);
        self.bytes.reserve(bytes);
    }

    fn append(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.bytes.extend_from_slice(name);
        let name = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.list.push(Place { name, value: self.bytes.len(), is_null: value.is_none() });
    }

    pub(crate) const fn none() -> Self {
        Self { bytes: Vec::new(), list: Vec::new() }
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
        (0..self.list.len()).map(|index| self.at(index))
    }

    fn at(&self, index: usize) -> Header<'_> {
        let from = index.checked_sub(1).map_or(0, |before| self.list[before].value);
        let place = self.list[index];
        let value = (!place.is_null).then(|| &self.bytes[place.name..place.value]);
        Header { name: &self.bytes[from..place.name], value }
    }

    /// The value of the last header of that name: `None` without one, `Some(None)` where it is null.
    pub fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        (0..self.list.len())
            .rev()
            .map(|index| self.at(index))
            .find(|header| header.name == name.as_bytes())
            .map(|header| header.value)
    }

    /// Removes every header of that name, and says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let (before, mut kept, mut from, mut to) = (self.len(), 0, 0, 0);
        for index in 0..before {
            let place = self.list[index];
            if self.bytes[from..place.name] != *name.as_bytes() {
                self.bytes.copy_within(from..place.value, to);
                let end = to + place.value - from;
                self.list[kept] = Place { name: to + place.name - from, value: end, ..place };
                (kept, to) = (kept + 1, end);
            }
            from = place.value;
        }
        self.list.truncate(kept);
        self.bytes.truncate(to);
        before - kept
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
    }

    /// How many bytes names and values take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn extend(&mut self, other: &Headers) {
        other.iter().for_each(|header| self.append(header.name, header.value));
    }

    pub(crate) fn copy_of(native: Option<&HeaderList>) -> Self {
        let Some(native) = native else { return Self::new() };
        Self::copied((0..native.len()).filter_map(|index| native.get(index)))
    }

    fn copied<'h>(headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>) -> Self {
        let mut copy = Self::new();
        copy.list.reserve(headers.size_hint().1.unwrap_or(0));
        headers.for_each(|(name, value)| copy.append(name, value));
        copy
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
        Headers::copied(self.iter().map(|header| (header.name, header.value)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, Option<&str>)]) -> Headers {
        let mut made = Headers::new();
        for (name, value) in headers {
            match value {
                Some(value) => made.push(name, value),
                None => made.push_null(name),
            }
        }
        made
    }

    fn listed(headers: &Headers) -> Vec<(String, Option<Vec<u8>>)> {
        headers.iter().map(|one| (one.name().into_owned(), one.value().map(Vec::from))).collect()
    }

    #[test]
    fn order_duplicates_nulls_and_what_is_empty_are_told_apart() {
        let headers = of(&[("a", Some("1")), ("", Some("")), ("a", None), ("b", Some(""))]);
        let some = |value: &str| Some(value.as_bytes().to_vec());
        let expected = [("a", some("1")), ("", some("")), ("a", None), ("b", some(""))];
        assert_eq!(listed(&headers), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!((headers.last("a"), headers.last(""), headers.last("c")), (Some(None), Some(Some(&b""[..])), None));
        assert_ne!(of(&[("a", None)]), of(&[("a", Some(""))]));
        assert_ne!(of(&[("ab", Some("c"))]), of(&[("a", Some("bc"))]), "the same bytes");
    }

    #[test]
    fn what_is_removed_leaves_the_others_as_they_were() {
        let mut headers = of(&[("x", Some("1")), ("a", Some("2")), ("x", None), ("b", None), ("x", Some(""))]);
        assert_eq!((headers.remove("y"), headers.len()), (0, 5));
        assert_eq!(headers.remove("x"), 3);
        assert_eq!(headers, of(&[("a", Some("2")), ("b", None)]));
        headers.extend(&of(&[("x", Some("3"))]));
        assert_eq!((headers.last("x"), headers.bytes()), (Some(Some(&b"3"[..])), 5));
        headers.clear();
        assert_eq!(headers, Headers::new());
    }
}
