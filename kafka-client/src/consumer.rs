//! Consuming: a router from topics to handlers, that commits what is finished and nothing else.
//!
//! ```text
//!   partition queues ──▶ lanes (a task each) ──▶ decode ──▶ handler ──▶ completion ──▶ watermark
//!                          ▲                                                              │
//!   rebalances ──▶ control task ◀────────────── what may be committed ───────────────────┘
//! ```
//!
//! There is no thread and no channel hop: librdkafka wakes the lane when its partition's queue has records, and the
//! lane drains them by the batch. A partition whose handler is slow is not polled; librdkafka then stops fetching it.

mod builder;
mod control;
mod handler;
mod lane;
#[allow(dead_code, unreachable_pub, reason = "the lane and the control task are about to use it; `internals` shows it")]
pub(crate) mod offset_map;
mod received;
mod report;
mod router;
mod stream;
#[allow(dead_code, unreachable_pub, reason = "as of the offset map")]
pub(crate) mod tracker;
mod watermark;

pub use builder::{Consumer, ConsumerBuilder, Guarantee, StartFrom};
pub use handler::{Completion, Handler};
pub use received::{FailedRecord, RawBatch, RawRef, Received};
pub use report::ConsumerReport;
pub use stream::{Acknowledgeable, RecordStream};
