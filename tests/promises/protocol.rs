//! The protocols of groups, for promises: those of chaos, and the sessions that tests have.

use std::time::Duration;

pub(crate) use tests::chaos::protocol::{Protocol, millis};

/// A session long enough for a machine that is busy with other tests.
pub(crate) const SESSION: Duration = Duration::from_secs(6);
/// A session for tests that wait for its end.
pub(crate) const SHORT_SESSION: Duration = Duration::from_millis(2_000);
