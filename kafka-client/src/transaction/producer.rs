//! Records that become visible together, or not at all.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conductor::Conductor;
use super::engine::{Engine, Recipe};
use super::failure::{Cause, Failure};
use super::handle::{Gate, Transaction};
use crate::consumer::BoxError;
use crate::error::{Error, ErrorKind, Retry};
use crate::kafka::Kafka;
use crate::producer::{FlushReport, ProducerBuilder};

/// `transaction.timeout.ms`, unless set: librdkafka's default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Builds a [`TransactionalProducer`]; made by [`Kafka::transactional_producer`].
#[must_use = "a builder does nothing until `build`"]
pub struct TransactionalProducerBuilder {
    recipe: Recipe,
}

impl Kafka {
    /// Starts building a producer of transactions.
    ///
    /// The id (`transactional.id`) outlives the process: a producer that starts under it fences the one before, and
    /// aborts what that has left open. So it must stay the same when an instance restarts, and must be another one for
    /// each instance that runs: the ordinal of a pod in a StatefulSet (`billing-0`), not its random name.
    pub fn transactional_producer(&self, id: impl Into<Arc<str>>) -> TransactionalProducerBuilder {
        let recipe = Recipe { kafka: self.clone(), id: id.into(), timeout: DEFAULT_TIMEOUT, customize: None };
        TransactionalProducerBuilder { recipe }
    }
}

impl TransactionalProducerBuilder {
    /// Sets how long a transaction may take before the broker aborts it, overriding the default of 60 s. Corresponds to
    /// `transaction.timeout.ms`. Consumers with `read_committed` wait that long for a transaction whose producer died.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.recipe.timeout = timeout;
        self
    }

    /// Sets the options of the producer itself: compression, partitioner, interceptors. A producer that has ended is
    /// built again, so the function may be called more than once.
    pub fn producer(mut self, customize: impl Fn(ProducerBuilder) -> ProducerBuilder + Send + Sync + 'static) -> Self {
        self.recipe.customize = Some(Arc::new(customize));
        self
    }

    /// Builds the producer, and makes it the only one of its id: others are fenced, and what they left open is aborted.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for settings that contradict each other, [`ErrorKind::Denied`] without the permission to use
    /// the id, [`ErrorKind::Timeout`] when no coordinator answers within twice the timeout.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind but, perhaps, a fenced predecessor.
    pub async fn build(self) -> Result<TransactionalProducer, Error> {
        if self.recipe.id.is_empty() {
            let text = "`transactional.id` is empty: transactions need one";
            return Err(Error::config(text).with_operation("build producer"));
        }
        let engine = self.recipe.start().await.map_err(|ended| ended.error)?;
        Ok(TransactionalProducer { recipe: self.recipe, engine: Some(engine), fenced: None })
    }
}

impl fmt::Debug for TransactionalProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducerBuilder").field("id", &self.recipe.id).finish_non_exhaustive()
    }
}

/// Sends records in transactions: consumers with `read_committed` see all of one, or nothing.
///
/// ```no_run
/// # use kafka_client::{Json, Kafka, Topic, Utf8};
/// # async fn example() -> Result<(), kafka_client::Error> {
/// let kafka = Kafka::from_env()?;
/// let payments = Topic::new("payments", Utf8, Json::<u64>::new());
///
/// let mut producer = kafka.transactional_producer("transfers-0").build().await?;
/// producer
///     .transaction(async |tx| {
///         tx.send(payments.record("alice", &90)).await?;
///         tx.send(payments.record("bob", &110)).await?;
///         Ok(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// Offsets of a consumer belong in the same transaction where records are read, processed and written: see
/// [`Kafka::exactly_once`].
pub struct TransactionalProducer {
    recipe: Recipe,
    /// `None` after it has ended; built again for the next transaction.
    engine: Option<Engine>,
    /// Another producer has the id: this one must not take it back.
    fenced: Option<Error>,
}

impl TransactionalProducer {
    /// The id.
    pub fn id(&self) -> &str {
        &self.recipe.id
    }

    /// Runs `work` in a transaction: commits what it has sent when it returns `Ok`, aborts it when it returns an error or
    /// is dropped.
    ///
    /// A record that cannot be delivered makes the transaction fail, also where `work` has ignored the error. The answers
    /// of brokers are awaited at the end, not at each send.
    ///
    /// # Errors
    /// With [`ErrorKind::Aborted`] nothing is visible to anybody; `source` is what `work` returned, or what went wrong.
    /// [`retry`](Error::retry) says whether the same again may succeed. [`ErrorKind::Fenced`]: another producer has taken
    /// the id over, and this one is of no use any more. Where a commit was asked for and the answer never came, the kind
    /// is another, and whether the records are visible is unknown: the next transaction settles it either way.
    ///
    /// # Cancel safety
    /// Dropping the future before the commit begins aborts the transaction; after that, it is committed as a whole. The
    /// next transaction begins after that.
    pub async fn transaction<T, Fut>(&mut self, work: impl FnOnce(Transaction) -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, BoxError>>,
    {
        let engine = self.ready().await?;
        if let Err(failure) = engine.conductor.begin().await {
            return Err(self.failed(failure));
        }
        let (transaction, gate) = Transaction::new(engine.producer.clone());
        let open = Open { conductor: &engine.conductor, gate, ended: false };
        let worked = work(transaction).await;
        open.gate.close();
        let ended = match worked {
            Ok(value) => engine.conductor.commit(Vec::new(), || true).await.map(|()| Ok(value)),
            Err(error) => engine.conductor.abort().await.map(|()| Err(error)),
        };
        open.ended();
        match ended {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::new(ErrorKind::Aborted, "the transaction was aborted").with_source(error)),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// The engine, built again where it has ended.
    async fn ready(&mut self) -> Result<&Engine, Error> {
        if let Some(error) = &self.fenced {
            return Err(error.clone());
        }
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => match self.recipe.start().await {
                Ok(engine) => engine,
                Err(ended) => return Err(self.failed(Failure::Ended(ended))),
            },
        };
        Ok(self.engine.insert(engine))
    }

    fn failed(&mut self, failure: Failure) -> Error {
        match failure {
            Failure::Aborted(error) => Error::new(ErrorKind::Aborted, "the transaction was aborted")
                .with_retry(retry(error.kind()))
                .with_source(error),
            Failure::Ended(ended) => {
                self.engine = None;
                if ended.cause == Cause::Fenced {
                    self.fenced = Some(ended.error.clone());
                }
                ended.error
            }
        }
    }

    /// Ends the producer, `deadline` at most. No transaction is open then.
    ///
    /// # Cancel safety
    /// Dropping the future lets the end go on in the background.
    pub async fn close(mut self, deadline: Duration) -> FlushReport {
        let Some(Engine { producer, conductor }) = self.engine.take() else { return FlushReport::default() };
        let start = Instant::now();
        if tokio::time::timeout(deadline, conductor.abort()).await.is_err() {
            tracing::warn!("the last transaction was not aborted in time; the broker does it after its timeout");
        }
        producer.close(deadline.saturating_sub(start.elapsed())).await
    }
}

/// Whether the same transaction may succeed another time: not where the records are to blame, or a permission.
fn retry(kind: ErrorKind) -> Retry {
    match kind {
        ErrorKind::Config
        | ErrorKind::Denied
        | ErrorKind::Encode
        | ErrorKind::Partitioner
        | ErrorKind::TooLarge
        | ErrorKind::UnknownTopic => Retry::Permanent,
        _ => Retry::Temporary,
    }
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducer").field("id", &self.recipe.id).finish_non_exhaustive()
    }
}

/// Aborts the transaction when its future is dropped. A commit that has begun ends first, and leaves nothing to abort.
struct Open<'a> {
    conductor: &'a Conductor,
    gate: Arc<Gate>,
    ended: bool,
}

impl Open<'_> {
    fn ended(mut self) {
        self.ended = true;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.gate.close();
        if !self.ended {
            self.conductor.abort_soon();
        }
    }
}
