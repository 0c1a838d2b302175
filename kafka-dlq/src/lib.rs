//! What to do with a record that failed: retries, dead letters, and the way back.
//!
//! ```text
//! handler ─▶ failure ─▶ policy ─▶ again, in place | retry topic | dead letter ─▶ read, mend, send back
//! ```

#![forbid(unsafe_code)]
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
mod dead_letter;
mod reader;
mod redrive;
mod error;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

pub use dead_letter::{Damage, DeadLetter, HeadersView, Missing, Place, RecordView, Refusal, TopicKind};
pub use dialect::Dialect;
pub use error::{Error, ErrorKind};
pub use failure::{Failure, TimestampType};
pub use redrive::{End, Progress, Redrive, RedriveReport, Selection, Target};
pub use backoff::{Backoff, Exhausted, Tried};
pub use breaker::Breaker;
pub use budget::Budget;
pub use policy::{Decision, Policy};
pub use recovery::{Dialect as WrittenDialect, Recovered, Recovery};
pub use retry_topic::{Order, RetryTopic};
