//! Modes: what a registry lets be done to a subject.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::compatibility::absent;
use crate::registry::request::{Method, Request};
use crate::{Error, ErrorKind, Registry};

/// What a registry lets be done to a subject, or to all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Everything.
    #[default]
    ReadWrite,
    /// Reading only.
    ReadOnly,
    /// Reading only, whatever the subjects' own modes say.
    ReadOnlyOverride,
    /// Registering with ids and versions that the client gives, without compatibility checks.
    Import,
    /// Reading only; the subject is fed from another registry.
    Forward,
}

impl Mode {
    const ALL: [Mode; 5] = [Mode::ReadWrite, Mode::ReadOnly, Mode::ReadOnlyOverride, Mode::Import, Mode::Forward];

    /// The name in the registry's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::ReadWrite => "READWRITE",
            Mode::ReadOnly => "READONLY",
            Mode::ReadOnlyOverride => "READONLY_OVERRIDE",
            Mode::Import => "IMPORT",
            Mode::Forward => "FORWARD",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let unknown = || Error::new(ErrorKind::Refused, format!("no mode is called {name:?}"));
        Self::ALL.into_iter().find(|mode| mode.as_str().eq_ignore_ascii_case(name)).ok_or_else(unknown)
    }
}

/// All of these ask the registry each time, and fail as every request may. Dropping a future gives up the waiting only.
impl Registry {
    /// The mode set for `subject`, or the global one with `None`; `None` where a subject has none of its own.
    ///
    /// # Errors
    /// As every request may fail.
    pub async fn mode(&self, subject: Option<&str>) -> Result<Option<Mode>, Error> {
        match self.shared.ask_for(&self.mode_request(Method::Get, subject), read).await {
            Ok(mode) => Ok(Some(mode)),
            Err(failure) if absent(&failure) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Sets the mode of `subject`, or the global one with `None`. `force` allows [`Mode::Import`] where schemas are
    /// registered already.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] where the registry does not permit it.
    pub async fn set_mode(&self, subject: Option<&str>, mode: Mode, force: bool) -> Result<(), Error> {
        let request = self.mode_request(Method::Put, subject).with_flag("force", force);
        self.shared.ask(&request.with_body(json!({"mode": mode.as_str()}).to_string())).await?;
        self.shared.known.refused.clear();
        Ok(())
    }

    /// Takes the mode of `subject` away, so that the global one applies.
    ///
    /// # Errors
    /// [`ErrorKind::SchemaNotFound`] where none is set.
    pub async fn reset_mode(&self, subject: &str) -> Result<(), Error> {
        self.shared.ask(&self.mode_request(Method::Delete, Some(subject))).await?;
        self.shared.known.refused.clear();
        Ok(())
    }

    fn mode_request(&self, method: Method, subject: Option<&str>) -> Request {
        match subject {
            Some(subject) => Request::new(method, &["mode", &self.shared.settings.qualified(subject)]),
            None => Request::new(method, &["mode"]),
        }
    }
}

fn read(body: &Value) -> Result<Mode, String> {
    let mode = body.get("mode").and_then(Value::as_str).ok_or("no mode")?;
    mode.parse().map_err(|error: Error| error.to_string())
}
