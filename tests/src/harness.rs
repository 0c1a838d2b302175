//! The harness: a real Apache Kafka for a test, and independent views of what it holds.
//!
//! A test takes the shared broker and topics of its own:
//!
//! ```no_run
//! use tests::harness::{Cluster, oracle, unique};
//!
//! let kafka = Cluster::shared();
//! let orders = unique("orders");
//! oracle::create_topic(kafka.bootstrap(), &orders, 3, 1);
//! oracle::produce(kafka.bootstrap(), &orders, &[(Some(0), Some(b"o-1"), Some(b"paid"))]);
//! assert_eq!(oracle::end_offsets(kafka.bootstrap(), &orders)[&0], 1);
//! ```
//!
//! A test that breaks brokers takes a cluster of its own, `Cluster::start(3)`, or has `Cluster::breakable()`, which
//! has one node, for itself for a while.
//!
//! Everything here panics with a sentence that says what to do; nothing is skipped in silence. The calls block,
//! which is fine in a test: they return within milliseconds, a start within seconds.

// Reading order: the cluster, what it is made of, then the views of it.
mod kafka;
mod node;
mod port;
pub(crate) mod process;
mod properties;
mod proxy;
mod supervisor;

mod breakable;
mod fetch;
mod front;
mod guarded;
mod logs;
#[cfg(feature = "interop")]
mod java_program;
mod python;
mod registry;
mod wait;

pub mod java;
pub mod oracle;

pub use breakable::Breakable;
pub use front::{Front, Trouble};
pub use guarded::Guarded;
#[cfg(feature = "interop")]
pub use java_program::JavaProgram;
pub use kafka::Cluster;
pub use logs::{Line, Logs};
pub use node::Node;
pub use proxy::Proxy;
pub use python::{python, try_python};
pub use registry::SchemaRegistry;
pub use wait::{eventually, eventually_blocking, unique};
