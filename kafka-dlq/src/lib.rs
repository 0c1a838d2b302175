//! What to do with a record that failed: retries, dead letters, and the way back.
//!
//! ```text
//! handler ─▶ failure ─▶ policy ─▶ again, in place | retry topic | dead letter ─▶ read, mend, send back
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic"))]

mod failure;
pub mod dialect;
mod dead_letter;

pub use dead_letter::{Damage, DeadLetter, HeadersView, Missing, Place, RecordView, Refusal, TopicKind};
pub use dialect::Dialect;
pub use failure::{Failure, TimestampType};
