//! Where a field is going to, or comes from: topic, key or value, headers.

use std::fmt;

/// The half of a record that is encoded or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The record's key.
    Key,
    /// The record's value.
    Value,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Key => "key",
            Part::Value => "value",
        })
    }
}

/// Headers that a serializer may add to (a schema id that travels beside the payload).
pub trait AddHeader {
    /// Appends a header; the value may be null.
    fn add(&mut self, name: &str, value: Option<&[u8]>);
}

/// Headers that a deserializer may look at.
pub trait FindHeader {
    /// The value of the last header called `name`: `None` without one, `Some(None)` where it is null.
    fn last(&self, name: &str) -> Option<Option<&[u8]>>;
}

/// Where an encoded field goes.
///
/// ```
/// use kafka_serde::{AddHeader, Part, Target};
///
/// struct Headers(Vec<String>);
///
/// impl AddHeader for Headers {
///     fn add(&mut self, name: &str, _value: Option<&[u8]>) {
///         self.0.push(name.to_owned());
///     }
/// }
///
/// let mut headers = Headers(Vec::new());
/// let mut to = Target::new("orders", Part::Value).with_headers(&mut headers);
/// assert!(to.add_header("version", Some(&[1])));
/// assert_eq!(headers.0, ["version"]);
/// ```
pub struct Target<'a> {
    topic: &'a str,
    part: Part,
    headers: Option<&'a mut dyn AddHeader>,
}

impl<'a> Target<'a> {
    /// A field of a record for `topic`, without headers to write to.
    pub fn new(topic: &'a str, part: Part) -> Self {
        Self { topic, part, headers: None }
    }

    /// Lets the serializer add headers.
    pub fn with_headers(mut self, headers: &'a mut dyn AddHeader) -> Self {
        self.headers = Some(headers);
        self
    }

    /// The topic the record is for.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Key or value.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Adds a header to the record; `false` where the caller cannot carry headers.
    pub fn add_header(&mut self, name: &str, value: Option<&[u8]>) -> bool {
        match &mut self.headers {
            Some(headers) => {
                headers.add(name, value);
                true
            }
            None => false,
        }
    }
}

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("topic", &self.topic).field("part", &self.part).finish_non_exhaustive()
    }
}

/// Where the bytes of a field come from.
///
/// ```
/// use kafka_serde::{FindHeader, Part, Source};
///
/// struct Version([u8; 1]);
///
/// impl FindHeader for Version {
///     fn last(&self, name: &str) -> Option<Option<&[u8]>> {
///         (name == "version").then_some(Some(&self.0))
///     }
/// }
///
/// let from = Source::new("orders", Part::Value).with_headers(&Version([1]));
/// assert_eq!(from.last_header("version"), Some(Some(&[1][..])));
/// assert_eq!(from.last_header("author"), None);
/// ```
#[derive(Clone, Copy)]
pub struct Source<'a> {
    topic: &'a str,
    part: Part,
    headers: Option<&'a dyn FindHeader>,
}

impl<'a> Source<'a> {
    /// A field of a record of `topic`, without headers.
    pub fn new(topic: &'a str, part: Part) -> Self {
        Self { topic, part, headers: None }
    }

    /// Lets the deserializer look at the record's headers.
    pub fn with_headers(mut self, headers: &'a dyn FindHeader) -> Self {
        self.headers = Some(headers);
        self
    }

    /// The topic the record was read from.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Key or value.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The value of the last header called `name`: `None` without one, `Some(None)` where it is null.
    pub fn last_header(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.headers.and_then(|headers| headers.last(name))
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("topic", &self.topic).field("part", &self.part).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers in the order they were added.
    #[derive(Default)]
    struct Headers(Vec<(String, Option<Vec<u8>>)>);

    impl AddHeader for Headers {
        fn add(&mut self, name: &str, value: Option<&[u8]>) {
            self.0.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        }
    }

    impl FindHeader for Headers {
        fn last(&self, name: &str) -> Option<Option<&[u8]>> {
            self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.as_deref())
        }
    }

    #[test]
    fn a_target_without_headers_says_so() {
        assert!(!Target::new("orders", Part::Key).add_header("a", None));
    }

    #[test]
    fn a_header_that_was_added_last_is_found() {
        let mut headers = Headers::default();
        let mut to = Target::new("orders", Part::Value).with_headers(&mut headers);
        assert!(to.add_header("a", Some(b"1")) && to.add_header("a", Some(b"2")) && to.add_header("b", None));
        let from = Source::new("orders", Part::Value).with_headers(&headers);
        assert_eq!(from.last_header("a"), Some(Some(&b"2"[..])));
        assert_eq!(from.last_header("b"), Some(None), "a null header is there");
        assert_eq!(from.last_header("c"), None);
        assert_eq!(Source::new("orders", Part::Value).last_header("a"), None);
    }

    #[test]
    fn both_know_topic_and_part_and_print_them() {
        let (to, from) = (Target::new("orders", Part::Key), Source::new("orders", Part::Value));
        assert_eq!((to.topic(), to.part()), ("orders", Part::Key));
        assert_eq!((from.topic(), from.part()), ("orders", Part::Value));
        assert_eq!(format!("{to:?}"), "Target { topic: \"orders\", part: Key, .. }");
        assert_eq!(format!("{from:?}"), "Source { topic: \"orders\", part: Value, .. }");
        assert_eq!(format!("{} {}", Part::Key, Part::Value), "key value");
    }
}
