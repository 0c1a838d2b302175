//! Transactions: records, and the offsets of what they were made of, that count together or not at all.
//!
//! ```text
//!   TransactionalProducer::transaction ──▶ Transaction::send ──▶ producer
//!              │ begin, commit, abort
//!              ▼
//!   conductor (a thread: native calls block) ──▶ stage: acknowledgements ──▶ offsets ──▶ commit, or abort

//!
//!   ExactlyOnce: consumer ──▶ sessions (one a lane, each with a producer): batches ──▶ the user's code ──▶ Transaction
//!
//!   a consumer with `Guarantee::ExactlyOnce`: what handlers send waits for the transaction that commits what is finished
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

pub use batch::{Batch, Decision, Poisoned, Undone};
pub(crate) use engine::{Customize, Engine, Recipe};
pub(crate) use failure::{Ended, Failure};
pub use handle::Transaction;
pub(crate) use patience::{Patience, Verdict};
pub use producer::{TransactionalProducer, TransactionalProducerBuilder};
pub(crate) use runner::made_up;
pub use runner::{ExactlyOnce, ExactlyOnceBuilder, Pipeline, ReadyPipeline};
pub(crate) use stage::Offsets;
