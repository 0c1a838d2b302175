//! The registry's client over HTTP: the conversation with a registry that works, and what happens with one that does not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod access;
mod choices;
mod conversation;
mod outages;
mod script;
mod sharing;
mod tls;
