//! Starts what the tests and the benches are proven against, looks at it with other eyes than ours, and breaks it.
//!
//! ```text
//!   test ── Cluster::shared() ──▶ a real Apache Kafka, started on first use, gone with the test process
//!     │
//!     ├─── the toolkit under test ───▶ ┌───────┐
//!     │                                │ Kafka │
//!     └─── oracle, java ─────────────▶ └───────┘   what is in the log, as librdkafka and Java see it
//! ```
//!
//! The promises themselves are in `promises/`, one file a promise, all in one test binary. The program `chaos` holds
//! what they promise against processes that are killed and stopped, and brokers that come and go.

pub mod harness;
pub mod chaos;
