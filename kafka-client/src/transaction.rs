//! Transactions: records, and the offsets of what they were made of, that count together or not at all.
//!
//! ```text
//!   TransactionalProducer::transaction ──▶ Transaction::send ──▶ producer
//!              │ begin, commit, abort
//!              ▼
//!   conductor (a thread: native calls block) ──▶ stage: acknowledgements ──▶ offsets ──▶ commit, or abort

//!
//!   ExactlyOnce: consumer ──▶ sessions (one a lane, each with a producer): batches ──▶ the user's code ──▶ Transaction
//! ```

mod producer;
mod handle;
mod engine;
mod conductor;
mod stage;
mod failure;
mod runner;
mod session;
mod batch;
mod touched;
mod patience;
mod hook;
mod routes;

pub use batch::{Batch, Decision, Poisoned, Undone};
pub use handle::Transaction;
pub use producer::{TransactionalProducer, TransactionalProducerBuilder};
pub use routes::{Handed, TransactionalRoutes};
pub use runner::{ExactlyOnce, ExactlyOnceBuilder, Pipeline, ReadyPipeline};
