//! A high-level async Kafka client over librdkafka: typed topics, a producer whose every record gets an answer, a
//! consumer that commits only what is finished.
//!
//! ```text
//! record ─▶ interceptor ─▶ serializer ─▶ producer ─▶ (broker) ─▶ poll ─▶ partition queue ─▶ deserializer ─▶ handler ─▶ commit
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic"))]

mod kafka;
mod config;
mod security;
mod topic;
mod partition;
mod record;
mod headers;
mod interceptor;
mod partitioner;
mod outage;
mod producer;
mod consumer;
mod transaction;
mod admin;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod logging;
#[allow(unsafe_code, reason = "the one room that talks to librdkafka; each block says why it is sound")]
mod native;

pub use admin::{
    AclOperation, Admin, CommittedOffset, ConfigAlteration, ConfigEntry, ConfigResource, ConfigSource, Deleted,
    DeletedGroup, Ensured, GroupDescription, GroupList, GroupListing, GroupMember, GroupState, GroupType, Isolation,
    ListedOffset, ListedTopic, Node, OffsetChange, OffsetSpec, OffsetTarget, PartitionLag, ResourceConfig, TopicChange,
    TopicDescription, TopicSpec,
};
pub use consumer::{
    Acknowledgeable, Assigned, Assignor, AtRisk, BatchRouteHandler, Batching, Bell, BoxError, Completion, Concurrency,
    Consumer, ConsumerBuilder, ConsumerHandle, ConsumerInterceptor, ConsumerReport, FailedRecord, GivenBack,
    GroupProtocol, Guarantee, Handler, Health, Incoming, Lag, OnStuck, PartitionStatus, PartitionStream,
    PartitionStreams, RawBatch, RawReceived, RawRef, RebalanceListener, Received, RecordStream, RouteHandler,
    RunningConsumer, RunningHandler, Schedule, StartAt, StartFrom, StuckHandler, Turn, Undecoded,
};
#[cfg(feature = "embedded")]
pub use embedded::{Embedded, Fault, Request};
pub use error::{Error, ErrorKind, Retry};
pub use headers::{Header, Headers, HeadersRef};
pub use interceptor::{Acknowledgement, Outgoing, ProducerInterceptor};
pub use kafka::Kafka;
pub use kafka_serde::{self as serde, Bytes, Json, NoKey, Optional, Utf8};
pub use partition::TopicPartition;
pub use partitioner::{Partitioner, Unassigned};
pub use producer::{
    Acks, BatchError, BatchFailure, Compression, Delivered, Delivery, FlushReport, Outcome, Producer, ProducerBuilder,
    SendError, Sender, TrySendError,
};
pub use record::{RawRecord, Record, Sendable};
pub use security::Security;
pub use topic::Topic;
pub use transaction::{
    Batch, Decision, ExactlyOnce, ExactlyOnceBuilder, Pipeline, Poisoned, ReadyPipeline, Transaction,
    TransactionalProducer, TransactionalProducerBuilder, Undone,
};

/// For `benches` of this workspace alone; no promise is made about it.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::consumer::offset_map::{DecodeError, MAX_BYTES, OffsetMap};
    pub use crate::consumer::tracker::{Begun, Tracker};
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send_sync<T: Send + Sync>() {}

    #[test]
    fn public_types_go_between_threads() {
        is_send_sync::<(Kafka, Admin, Security, Error)>();
        is_send_sync::<(Producer, Delivery, SendError, BatchError, RawRecord, Headers)>();
        is_send_sync::<(Record<'_, Utf8, Bytes>, Topic<Utf8, Bytes>, Sender<Utf8, Bytes>)>();
        is_send_sync::<(Received<String, Vec<u8>>, FailedRecord, RawBatch, RawRef<'_>, Acknowledgeable<(), ()>)>();
        is_send_sync::<(Consumer, ConsumerReport)>();
    }

    #[test]
    fn what_users_implement_can_be_a_trait_object() {
        let _: Option<Box<dyn ProducerInterceptor>> = None;
        let _: Option<Box<dyn Partitioner>> = None;
    }
}
