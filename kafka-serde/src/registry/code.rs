//! The numbers by which a registry says what is wrong.

use std::fmt;

use crate::{ErrorKind, Retry};

/// The `error_code` of a registry's answer: an HTTP status, or a status followed by two digits.
///
/// ```
/// use kafka_serde::RegistryCode;
///
/// assert_eq!(RegistryCode::SUBJECT_NOT_FOUND.get(), 40401);
/// assert_eq!(RegistryCode::SUBJECT_NOT_FOUND.status(), 404);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryCode(u32);

impl RegistryCode {
    /// The subject does not exist.
    pub const SUBJECT_NOT_FOUND: Self = Self(40401);
    /// The subject has no such version.
    pub const VERSION_NOT_FOUND: Self = Self(40402);
    /// No such schema.
    pub const SCHEMA_NOT_FOUND: Self = Self(40403);
    /// The subject is deleted softly already.
    pub const SUBJECT_SOFT_DELETED: Self = Self(40404);
    /// The subject must be deleted softly before it can be deleted for good.
    pub const SUBJECT_NOT_SOFT_DELETED: Self = Self(40405);
    /// The version is deleted softly already.
    pub const VERSION_SOFT_DELETED: Self = Self(40406);
    /// The version must be deleted softly before it can be deleted for good.
    pub const VERSION_NOT_SOFT_DELETED: Self = Self(40407);
    /// The subject has no compatibility level of its own.
    pub const NO_SUBJECT_COMPATIBILITY: Self = Self(40408);
    /// The subject has no mode of its own.
    pub const NO_SUBJECT_MODE: Self = Self(40409);
    /// The schema does not keep the compatibility of its subject.
    pub const INCOMPATIBLE: Self = Self(40901);
    /// The schema is not valid.
    pub const INVALID_SCHEMA: Self = Self(42201);
    /// The version is no number from 1 and not `latest`.
    pub const INVALID_VERSION: Self = Self(42202);
    /// The compatibility level has no such value.
    pub const INVALID_COMPATIBILITY: Self = Self(42203);
    /// The mode has no such value.
    pub const INVALID_MODE: Self = Self(42204);
    /// The mode of the subject does not permit this.
    pub const NOT_PERMITTED: Self = Self(42205);
    /// Other schemas refer to this one.
    pub const REFERENCE_EXISTS: Self = Self(42206);
    /// The schema has another id already.
    pub const ID_MISMATCH: Self = Self(42207);
    /// The subject's name is not valid.
    pub const INVALID_SUBJECT: Self = Self(42208);

    /// The code `code`.
    pub const fn new(code: u32) -> Self {
        Self(code)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The HTTP status that the code belongs to.
    pub const fn status(self) -> u32 {
        if self.0 >= 10_000 { self.0 / 100 } else { self.0 }
    }

    /// What kind of error it is.
    pub(crate) fn kind(self) -> ErrorKind {
        match (self.0, self.status()) {
            (42201, _) => ErrorKind::InvalidSchema,
            (_, 401 | 403) => ErrorKind::AccessDenied,
            (_, 404) => ErrorKind::SchemaNotFound,
            (_, 409) => ErrorKind::Incompatible,
            (_, 408 | 429 | 500..) => ErrorKind::RegistryUnavailable,
            _ => ErrorKind::Refused,
        }
    }

    /// What to do now, when the question was asked once.
    pub(crate) fn retry(self) -> Retry {
        match self.status() {
            408 | 429 | 500 | 502 | 503 | 504 => Retry::Temporary,
            _ => Retry::Permanent,
        }
    }

    /// What the reader of the error can do about it.
    pub(crate) fn advice(self) -> Option<&'static str> {
        Some(match (self.0, self.status()) {
            (40401, _) => "register a schema under this subject first, or check the subject's name",
            (40402, _) => "check the version, or whether it was deleted",
            (40403, _) => "register the schema first, or check that this is the registry of whoever wrote the record",
            (40404, _) | (40406, _) => "it is deleted softly already: delete it for good, or register it again",
            (40405, _) | (40407, _) => "delete it softly first",
            (40408, _) => "the global level applies",
            (40409, _) => "the global mode applies",
            (42201, _) => "correct the schema, or register what it refers to",
            (42203, _) => "one of NONE, BACKWARD, FORWARD, FULL and their _TRANSITIVE forms",
            (42205, _) => "check the mode of the subject",
            (42206, _) => "delete what refers to it first",
            (_, 401) => "check the credentials",
            (_, 403) => "these credentials are not allowed to do this",
            (_, 409) => "change the schema so that it keeps the subject's compatibility level, or change the level",
            (_, 429) => "the registry limits the rate of requests",
            (_, 500..) => "the registry has a problem of its own: see its log",
            _ => return None,
        })
    }
}

impl fmt::Display for RegistryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_kind_and_remedy() {
        for (code, kind, retry) in [
            (401, ErrorKind::AccessDenied, Retry::Permanent),
            (40101, ErrorKind::AccessDenied, Retry::Permanent),
            (403, ErrorKind::AccessDenied, Retry::Permanent),
            (40403, ErrorKind::SchemaNotFound, Retry::Permanent),
            (409, ErrorKind::Incompatible, Retry::Permanent),
            (40901, ErrorKind::Incompatible, Retry::Permanent),
            (42201, ErrorKind::InvalidSchema, Retry::Permanent),
            (42205, ErrorKind::Refused, Retry::Permanent),
            (429, ErrorKind::RegistryUnavailable, Retry::Temporary),
            (50002, ErrorKind::RegistryUnavailable, Retry::Temporary),
            (501, ErrorKind::RegistryUnavailable, Retry::Permanent),
        ] {
            let code = RegistryCode::new(code);
            assert_eq!((code.kind(), code.retry()), (kind, retry), "{code}");
        }
        assert_eq!(RegistryCode::new(418).advice(), None);
    }
}
