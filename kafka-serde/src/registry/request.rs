//! What is asked of a registry, and what it answers, before any HTTP.

use std::time::Duration;

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// One question to a registry: a path in segments that are not escaped yet, so that no name can break out of its own.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<String>,
}

impl Request {
    pub(crate) fn new(method: Method, path: &[&str]) -> Self {
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        Self { method, path, query: Vec::new(), body: None }
    }

    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new(Method::Get, path)
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds `name=true`, where it is.
    pub(crate) fn with_flag(self, name: &'static str, set: bool) -> Self {
        if set { self.with(name, "true") } else { self }
    }

    pub(crate) fn with_body(mut self, json: String) -> Self {
        self.body = Some(json);
        self
    }

    /// The first value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.parameter(name) == Some("true")
    }

    /// Whether asking twice is the same as asking once. A deletion that is repeated finds nothing the second time.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.method != Method::Delete
    }

    /// Path and parameters, escaped: `/subjects/a%2Fb/versions?normalize=true`.
    pub(crate) fn target(&self) -> String {
        let mut target = String::new();
        for segment in &self.path {
            target.push('/');
            escape(segment, &mut target);
        }
        for (i, (name, value)) in self.query.iter().enumerate() {
            target.push(if i == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            escape(value, &mut target);
        }
        target
    }

    /// What errors call it: `GET /subjects/a%2Fb/versions`.
    pub(crate) fn name(&self) -> String {
        let target = self.target();
        let path = target.split('?').next().unwrap_or(&target);
        format!("{} {path}", self.method.as_str())
    }
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

/// Escapes all that is not a letter, a digit or one of `-._~`, so that the text is one segment whatever it holds.
pub(crate) fn escape(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// What an escaped text stands for; `None` where an escape is wrong or the bytes are not UTF-8.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// What a registry answered, good or bad.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How long the registry asks to be left alone: `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_segment_is_escaped_on_its_own() {
        for (subject, escaped) in [
            ("a/b", "a%2Fb"),
            ("a#b", "a%23b"),
            ("a b", "a%20b"),
            ("ü", "%C3%BC"),
            ("a?b=c&d", "a%3Fb%3Dc%26d"),
            (":.eu:orders", "%3A.eu%3Aorders"),
            ("100%", "100%25"),
            ("a-b._~", "a-b._~"),
        ] {
            let request = Request::get(&["subjects", subject, "versions"]);
            assert_eq!(request.target(), format!("/subjects/{escaped}/versions"));
            assert_eq!(unescape(escaped).as_deref(), Some(subject));
        }
        for wrong in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn parameters_are_escaped_and_not_part_of_the_name() {
        let request = Request::get(&["subjects"]).with("subjectPrefix", ":*:").with_flag("deleted", true);
        assert_eq!(request.target(), "/subjects?subjectPrefix=%3A%2A%3A&deleted=true");
        assert_eq!(request.name(), "GET /subjects");
        assert!(request.flag("deleted") && !request.flag("permanent"));
    }
}
