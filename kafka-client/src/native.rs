//! The native room: every `unsafe` block and every name of librdkafka, behind small safe types.
//!
//! ```text
//!   Client ──owns──▶ rd_kafka_t          one a producer, consumer or admin; destroyed off the async threads
//!     ├─ Topic       rd_kafka_topic_t    produce: one, many, with headers
//!     ├─ Queue       rd_kafka_queue_t    poll for an Event, or drain a partition into Messages; wakes a task
//!     │    ├─ Event        delivery reports, rebalances, commit results, errors, logs, admin results
//!     │    └─ Message      one consumed record; borrowed views, headers parsed on demand
//!     ├─ Partitions  rd_kafka_topic_partition_list_t
//!     ├─ Membership  rd_kafka_consumer_group_metadata_t; transactions are calls of the client
//!     └─ Mock        rd_kafka_mock_cluster_t
//! ```
//!
//! Every type that points into a client holds an `Arc<Client>`, so the client outlives what it lent. Nothing here
//! decides anything, and nothing here calls user code.

pub(crate) mod admin;
pub(crate) mod client;
pub(crate) mod code;
pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod headers;
pub(crate) mod message;
#[cfg(feature = "embedded")]
pub(crate) mod mock;
pub(crate) mod partitions;
pub(crate) mod queue;
pub(crate) mod signal;
pub(crate) mod token;
pub(crate) mod topic;
pub(crate) mod transaction;

pub(crate) use client::{Client, Role};
pub(crate) use code::{Code, NativeError};
pub(crate) use event::{Event, EventKind};
pub(crate) use message::{Message, MessageRef};
pub(crate) use partitions::{Entry, Partitions};
pub(crate) use queue::Queue;
pub(crate) use signal::Signal;
pub(crate) use token::{Owner, Token};
pub(crate) use topic::Topic;
pub(crate) use transaction::Membership;

#[cfg(all(test, feature = "embedded"))]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod proofs;
