//! The seven levels.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind};

/// Which older and newer schemas of a subject must understand each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CompatibilityLevel {
    /// None: everything may be registered.
    None,
    /// The new schema reads what the latest wrote: upgrade consumers first. The registry's default.
    #[default]
    Backward,
    /// The new schema reads what every older one wrote.
    BackwardTransitive,
    /// The latest schema reads what the new one writes: upgrade producers first.
    Forward,
    /// Every older schema reads what the new one writes.
    ForwardTransitive,
    /// Both ways with the latest.
    Full,
    /// Both ways with every older one.
    FullTransitive,
}

impl CompatibilityLevel {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// The name in the registry's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    pub(crate) const fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    pub(crate) const fn reads_old(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    pub(crate) const fn reads_new(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }
}

impl fmt::Display for CompatibilityLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CompatibilityLevel {
    type Err = Error;

    /// Reads the name that the registry's API uses, in capitals or not.
    fn from_str(name: &str) -> Result<Self, Error> {
        let unknown = || Error::new(ErrorKind::Refused, format!("no compatibility level is called {name:?}"));
        Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(name)).ok_or_else(unknown)
    }
}
