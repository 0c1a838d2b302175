//! What this project promises, proven against a real Apache Kafka: one file a promise.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod acknowledged_is_stored;
mod admin;
mod bad_config;
mod batches_and_streams;
mod callbacks;
mod cancel_safety;
mod close;
mod commit_watch;
mod concurrency;
mod config_changes;
mod consumer_cancel_safety;
mod consumer_config;
mod dead_letters;
mod embedded_equals_real;
mod evicted_while_draining;
mod finished_is_committed;
mod flights_road;
mod flush;
mod given;
mod group;
mod groups;
mod handler_failure;
mod harness;
mod interceptors;
mod java_partition;
mod kept_partitions;
mod killed;
mod ledger;
mod list_offsets;
mod listeners;
mod member_process;
mod naive;
mod one_deadline;
mod poison;
mod possibly_written;
mod protocol;
mod rebalance;
mod saturation;
mod short_timeout;
mod shutdown;
mod start_from;
mod static_members;
mod steering;
mod thousand_rebalances;
