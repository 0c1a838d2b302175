//! Starts what the tests and the benches are proven against, and looks at it with other eyes than ours.
//!
//! ```text
//!   test ── Cluster::shared() ──▶ a real Apache Kafka, started on first use, gone with the test process
//!     │
//!     ├─── the toolkit under test ───▶ ┌───────┐
//!     │                                │ Kafka │
//!     └─── oracle, java ─────────────▶ └───────┘   what is in the log, as librdkafka and Java see it
//! ```
//!
//! The promises themselves are in `promises/`, one file a promise, all in one test binary.

pub mod harness;
