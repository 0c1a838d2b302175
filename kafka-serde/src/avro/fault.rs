//! What is wrong with a datum or a value, and in which field.

use std::fmt::{self, Display};

use crate::{Error, ErrorKind};

/// The longest field path in an error, in bytes: a map's key is as long as the payload wants it to be.
const LONGEST_PATH: usize = 256;

/// A failed read or write; boxed, since it is carried through every result of the hot path.
#[derive(Debug)]
pub(crate) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    message: String,
    path: String,
}

impl Fault {
    #[cold]
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Inner { message: message.into(), path: String::new() }))
    }

    /// Says that it happened inside this field; called from the inside outwards.
    #[cold]
    pub(crate) fn in_field(mut self, name: &str) -> Self {
        let rest = &self.0.path;
        let dot = if rest.is_empty() || rest.starts_with('[') { "" } else { "." };
        self.0.path = format!("{name}{dot}{rest}");
        self
    }

    /// Says that it happened inside this item of an array.
    #[cold]
    pub(crate) fn in_item(self, index: usize) -> Self {
        self.in_field(&format!("[{index}]"))
    }

    /// The field, as `items[3].price`; empty where it is the value as a whole.
    pub(crate) fn path(&self) -> &str {
        let path = &self.0.path;
        let end = (0..=LONGEST_PATH.min(path.len())).rev().find(|end| path.is_char_boundary(*end)).unwrap_or(0);
        &path[..end]
    }

    /// The message alone.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// This fault as the crate's error.
    pub(crate) fn into_error(self, kind: ErrorKind) -> Error {
        let path = self.path();
        match path {
            "" => Error::new(kind, self.message()),
            path => Error::new(kind, format!("{path}: {}", self.message())).with_field(path),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            "" => f.write_str(self.message()),
            path => write!(f, "{path}: {}", self.message()),
        }
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    #[cold]
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

impl serde::ser::Error for Fault {
    #[cold]
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}
