//! Consuming: a router from topics to handlers, that commits what is finished and nothing else.
//!
//! ```text
//!   partition queues ──▶ lanes (a task each) ──▶ decode ──▶ handler ──▶ completion ──▶ tracker
//!                          ▲                                                             │
//!   rebalances ──▶ control task ◀────────────── what may be committed ──────────────────┘
//! ```
//!
//! There is no thread and no channel hop: librdkafka wakes the lane when its partition's queue has records, and the
//! lane drains them by the batch. A partition whose handler is slow is not polled; librdkafka then stops fetching it.

mod builder;
mod run;
mod group;
mod guarantee;
mod concurrency;
mod handler;
mod listener;
mod interceptor;
mod spawned;
mod handle;
mod control;
mod command;
mod lives;
mod arrival;
mod rebalance;
mod commit;
mod leaving;
mod watchdog;
mod lag;
mod metrics;
mod lane;
mod state;
mod running;
mod exposure;
mod outbox;
mod transacting;
mod suspects;
mod at_risk;
#[allow(unreachable_pub, reason = "`internals` shows it to the benchmarks")]
pub(crate) mod tracker;
#[allow(unreachable_pub, reason = "as of the tracker")]
pub(crate) mod offset_map;
mod router;
mod joined;
mod crew;
mod pool;
mod keyed;
mod batch;
mod schedule;
mod stream;
mod source;
mod received;
mod kept;
mod report;

pub use at_risk::AtRisk;
pub use builder::ConsumerBuilder;
pub use concurrency::{Batching, Concurrency};
pub use group::{Assignor, GroupProtocol};
pub use guarantee::{Guarantee, StartFrom};
pub use handle::{ConsumerHandle, Health, Lag, PartitionStatus, RunningHandler, StuckHandler};
pub use handler::{Completion, GivenBack, Handler};
pub use interceptor::{ConsumerInterceptor, Incoming};
pub use joined::{BatchRouteHandler, RouteHandler};
pub(crate) use kept::Kept;
pub use listener::{Assigned, BoxError, RebalanceListener, StartAt};
pub(crate) use outbox::{Draft, OnCommit};
pub use received::{FailedRecord, RawBatch, RawReceived, RawRef, Received, Undecoded};
pub use report::ConsumerReport;
pub use run::Consumer;
pub use schedule::{Bell, Schedule, Turn};
pub(crate) use source::{Entry, Hold, Inbox, Outlet, Portion, Source, inbox};
pub use spawned::RunningConsumer;
pub use stream::{Acknowledgeable, PartitionStream, PartitionStreams, RecordStream};
pub use watchdog::OnStuck;
