//! Where records go that cannot be processed.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::batch::Poisoned;
use super::handle::Transaction;
use crate::consumer::BoxError;

/// Takes a record that cannot be processed, in the transaction that commits its offset.
pub(super) type DeadLetter =
    Arc<dyn Fn(Poisoned, Transaction) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// A function as one.
pub(super) fn dead_letter<F, Fut>(bury: F) -> DeadLetter
where
    F: Fn(Poisoned, Transaction) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    Arc::new(move |poisoned, transaction| Box::pin(bury(poisoned, transaction)))
}
