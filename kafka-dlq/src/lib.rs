//! What to do with a record that failed: retries, dead letters, and the way back.
//!
//! ```text
//! handler ─▶ failure ─▶ policy ─▶ again, in place | retry topic | dead letter ─▶ read, mend, send back
//! ```
//!
//! A typed handler, three retries in place, delayed ones in the order of keys, then a dead letter:
//!
//! ```no_run
//! # use kafka_client::{Json, Kafka, Received, Topic, Utf8};
//! # use kafka_dlq::{Backoff, Decision, Recovery, RetryTopic};
//! # use std::time::Duration;
//! # #[derive(Debug)] enum ChargeError { Busy, Declined }
//! # impl std::fmt::Display for ChargeError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
//! # impl std::error::Error for ChargeError {}
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let kafka = Kafka::from_env()?;
//! let orders = Topic::new("orders", Utf8, Json::<u32>::new());
//! const SOON: Backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(600)).attempts(12);
//! async fn charge(order: Received<String, u32>) -> Result<(), ChargeError> { /* .. */ Ok(()) }
//! let recovery = Recovery::by(|error: &ChargeError| match error {
//!     ChargeError::Busy => Decision::Retry(SOON),
//!     ChargeError::Declined => Decision::dead_letter("declined"),
//! })
//! .in_place(3)
//! .retry_topic(RetryTopic::new("billing.retry"))
//! .dead_letter("orders.dlq");
//! kafka.consumer("billing").route(&orders, recovery.wrap(charge)).build()?.run().await?;
//! # Ok(())
//! # }
//! ```

//! Beside it: [`Recovery::quarantine`] for records that kill their process, and [`Inspect`] to see what waits and to steer it.

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
#[cfg(feature = "registry")]
#[cfg_attr(not(feature = "expressions"), allow(dead_code, reason = "only expressions write values"))]
mod values;
#[cfg(not(feature = "registry"))]
#[path = "values/none.rs"]
mod values;
mod redrive;
pub mod inspect;
mod error;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

pub use backoff::{Backoff, Exhausted, Tried};
pub use breaker::Breaker;
pub use budget::Budget;
pub use dead_letter::{Damage, DeadLetter, HeadersView, Missing, Place, RecordView, Refusal, TopicKind};
pub use dialect::Dialect;
pub use error::{Error, ErrorKind};
pub use failure::{Failure, TimestampType};
pub use inspect::{Inspect, Inspector};
pub use policy::{Decision, Policy};
pub use recovery::{Dialect as WrittenDialect, Recovered, Recovery};
pub use redrive::{End, Progress, Redrive, RedriveReport, Selection, Target};
pub use retry_topic::{Order, RetryTopic};
