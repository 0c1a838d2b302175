//! What this project promises, proven against a real Apache Kafka: one file a promise.

mod harness;
