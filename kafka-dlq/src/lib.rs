//! What to do with a record that failed: retries, dead letters, and the way back.
//!
//! ```text
//! handler ─▶ failure ─▶ policy ─▶ again, in place | retry topic | dead letter ─▶ read, mend, send back
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic"))]

mod failure;
mod backoff;
mod policy;
mod budget;
mod breaker;
mod bisect;
mod recovery;
mod retry_topic;
pub mod dialect;

pub use backoff::{Backoff, Exhausted, Tried};
pub use breaker::Breaker;
pub use budget::Budget;
pub use failure::{Failure, TimestampType};
pub use policy::{Decision, Policy};
pub use recovery::{Dialect, Recovered, Recovery};
pub use retry_topic::{Order, RetryTopic};
