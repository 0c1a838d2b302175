//! What this project promises, proven against a real Apache Kafka: one file a promise.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod acknowledged_is_stored;
mod admin;
mod finished_is_committed;
mod given;
mod group;
mod harness;
mod java_partition;
mod saturation;
