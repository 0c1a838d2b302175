//! Handlers: what a consumer does with what it reads.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use futures::FutureExt;
use futures::future::try_join_all;

use crate::producer::Delivery;

/// An error of a handler, of any type.
pub(crate) type HandlerError = Box<dyn StdError + Send + Sync>;

/// The rest of a handler's work.
pub(super) type Later = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send>>;

/// Handles a record ([`Received`](crate::Received)), a batch, or a failed record. Any
/// `Fn(I) -> impl Future<Output = Result<C, E>>` is one, where `C` is `()` or a [`Completion`].
///
/// Wrappers implement it around another handler: retry, dead letters, timeouts.
///
/// ```
/// # use kafka_client::Received;
/// # struct Order;
/// # #[derive(Debug)] struct CardDeclined;
/// # impl std::fmt::Display for CardDeclined { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
/// # impl std::error::Error for CardDeclined {}
/// async fn charge(order: Received<String, Order>) -> Result<(), CardDeclined> {
///     println!("charging {} ({} at {})", order.key(), order.partition(), order.offset());
///     Ok(())
/// }
/// # fn is_handler<I>(_: impl kafka_client::Handler<I>) {}
/// # is_handler::<Received<String, Order>>(charge);
/// ```
pub trait Handler<I>: Send + Sync + 'static {
    /// Why it failed.
    type Error: Into<Box<dyn StdError + Send + Sync>> + Send;

    /// Handles `input`. The input's offset is committed once the returned [`Completion`] is done, and that of
    /// every record before it.
    ///
    /// # Errors
    /// End the consumer, with the offset uncommitted: a wrapper that retries or dead-letters goes around the handler.
    fn handle(&self, input: I) -> impl Future<Output = Result<Completion, Self::Error>> + Send;
}

impl<I, F, Fut, C, E> Handler<I> for F
where
    I: Send,
    F: Fn(I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, E>> + Send,
    C: Into<Completion>,
    E: Into<Box<dyn StdError + Send + Sync>> + Send,
{
    type Error = E;

    async fn handle(&self, input: I) -> Result<Completion, E> {
        self(input).await.map(Into::into)
    }
}

/// When a handled record is finished: now, or once something else has ended.
///
/// A handler that returns before its work is done (a record it has enqueued, say) lets the consumer go on; the offset
/// waits. A [`Delivery`] is a completion.
pub struct Completion {
    kind: Kind,
}

pub(super) enum Kind {
    Done,
    Later(Later),
    Unfinished,
}

impl Completion {
    /// Finished now.
    pub fn done() -> Self {
        Self { kind: Kind::Done }
    }

    /// Not finished: the [`Schedule`](crate::Schedule) that handed out the record has taken it back, to hand it out again.
    /// On routes without a schedule, nothing from the record on is committed any more.
    pub fn unfinished() -> Self {
        Self { kind: Kind::Unfinished }
    }

    /// Whether it is [`unfinished`](Self::unfinished).
    pub fn is_unfinished(&self) -> bool {
        matches!(self.kind, Kind::Unfinished)
    }

    /// Finished once `work` is. When that fails, the consumer ends as if the handler had failed.
    pub fn later<E: Into<Box<dyn StdError + Send + Sync>>>(
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        Self { kind: Kind::Later(Box::pin(work.map(|result| result.map_err(Into::into)))) }
    }

    /// Waits until it is finished, for wrappers that have something to do then. An [`unfinished`](Self::unfinished) one is
    /// left to whoever returns it.
    ///
    /// # Errors
    /// What the work failed with.
    ///
    /// # Cancel safety
    /// The work is dropped where it is.
    pub async fn finished(self) -> Result<(), Box<dyn StdError + Send + Sync>> {
        match self.kind {
            Kind::Done | Kind::Unfinished => Ok(()),
            Kind::Later(work) => work.await,
        }
    }

    /// Finished once all of these are. When one fails, so does this, and the others are not waited for any more.
    pub fn all(completions: impl IntoIterator<Item = Completion>) -> Self {
        let mut later = Vec::new();
        for completion in completions {
            match completion.kind {
                Kind::Done => (),
                Kind::Later(work) => later.push(work),
                Kind::Unfinished => return Self::unfinished(),
            }
        }
        match later.is_empty() {
            true => Self::done(),
            false => Self { kind: Kind::Later(Box::pin(try_join_all(later).map(|result| result.map(drop)))) },
        }
    }

    pub(super) fn into_kind(self) -> Kind {
        self.kind
    }
}

/// What a handler, or its [`Completion`], returns as its error when the partition is to stop while it waits: the record
/// is not finished, that is nobody's failure, and it will be read again.
///
/// See [`RawReceived::stopping`](crate::RawReceived::stopping). While the partition goes on it is an error like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenBack;

impl fmt::Display for GivenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record was given back, though its partition goes on")
    }
}

impl StdError for GivenBack {}

impl From<()> for Completion {
    fn from((): ()) -> Self {
        Self::done()
    }
}

impl From<Delivery> for Completion {
    fn from(delivery: Delivery) -> Self {
        Self::later(async move { delivery.await.map(drop) })
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Done => "Completion::done",
            Kind::Later(_) => "Completion::later",
            Kind::Unfinished => "Completion::unfinished",
        })
    }
}
