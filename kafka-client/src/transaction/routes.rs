//! Handlers in transactions: one topic after the other is joined to a handler, as in a consumer.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use kafka_serde::Deserializer;

use super::batch::Batch;
use super::handle::Transaction;
use super::runner::{ExactlyOnce, ExactlyOnceBuilder, Pipeline};
use crate::consumer::{BoxError, ConsumerReport, Received};
use crate::error::Error;
use crate::topic::Topic;

/// The handling of some records.
type Handling = BoxFuture<'static, Result<(), BoxError>>;

/// What handles a batch.
type HandleAll = fn(Batch<Handed>, Transaction) -> Handling;

/// A record with its handler.
type Work = Box<dyn FnOnce(Transaction) -> Handling + Send>;

/// Routes whose handlers send through the transaction that they are given; made by [`ExactlyOnceBuilder::route`].
#[must_use = "a builder does nothing until it is run"]
pub struct TransactionalRoutes {
    pipeline: Pipeline<Handed>,
}

/// A record on its way to its handler.
pub struct Handed(Work);

impl ExactlyOnceBuilder {
    /// Handles the records of a topic one after the other, in the order of each partition: `handler` is given a record and
    /// the transaction to send results in. Further topics may have handlers of their own.
    ///
    /// ```no_run
    /// # use kafka_client::{BoxError, Kafka, Received, Topic, Transaction, Utf8};
    /// # async fn example(kafka: Kafka, orders: Topic<Utf8, Utf8>, refunds: Topic<Utf8, Utf8>) -> Result<(), kafka_client::Error> {
    /// async fn bill(order: Received<String, String>, tx: Transaction) -> Result<(), BoxError> {
    ///     let invoices = Topic::new("invoices", Utf8, Utf8);
    ///     tx.send(invoices.record(order.key(), "due")).await?;
    ///     Ok(())
    /// }
    /// # async fn pay_back(order: Received<String, String>, tx: Transaction) -> Result<(), BoxError> { Ok(()) }
    /// kafka.exactly_once("billing").route(&orders, bill).route(&refunds, pay_back).run().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn route<K, V, F, Fut>(self, topic: &Topic<K, V>, handler: F) -> TransactionalRoutes
    where
        K: Deserializer<Output: Send + 'static>,
        V: Deserializer<Output: Send + 'static>,
        F: Fn(Received<K::Output, V::Output>, Transaction) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        TransactionalRoutes { pipeline: self.from_as(topic, handed(handler)) }
    }
}

fn handed<K, V, F, Fut>(handler: F) -> impl Fn(Received<K, V>) -> Handed + Send + Sync + 'static
where
    K: Send + 'static,
    V: Send + 'static,
    F: Fn(Received<K, V>, Transaction) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let handler = Arc::new(handler);
    move |record| {
        let handler = handler.clone();
        Handed(Box::new(move |transaction| Box::pin(handler(record, transaction))))
    }
}

impl TransactionalRoutes {
    /// Handles the records of another topic; see [`ExactlyOnceBuilder::route`].
    pub fn route<K, V, F, Fut>(self, topic: &Topic<K, V>, handler: F) -> Self
    where
        K: Deserializer<Output: Send + 'static>,
        V: Deserializer<Output: Send + 'static>,
        F: Fn(Received<K::Output, V::Output>, Transaction) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self { pipeline: self.pipeline.from_as(topic, handed(handler)) }
    }

    /// Sets options of the pipeline: its id, its lanes, when it commits, where poison goes.
    pub fn with(self, customize: impl FnOnce(Pipeline<Handed>) -> Pipeline<Handed>) -> Self {
        Self { pipeline: customize(self.pipeline) }
    }

    /// Runs until `shutdown` is ready; see [`ReadyPipeline::run_until`](crate::ReadyPipeline::run_until).
    ///
    /// # Errors
    /// As there, and for settings that contradict each other.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn run_until(self, shutdown: impl Future) -> Result<ConsumerReport, Error> {
        self.handling().run_until(shutdown).await
    }

    /// Runs until something fails.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until).
    ///
    /// # Cancel safety
    /// As [`run_until`](Self::run_until).
    pub async fn run(self) -> Result<ConsumerReport, Error> {
        self.handling().run().await
    }

    fn handling(self) -> ExactlyOnce<Handed, HandleAll> {
        self.pipeline.process(|batch, transaction| {
            Box::pin(async move {
                for Handed(work) in batch {
                    work(transaction.again()).await?;
                }
                Ok(())
            })
        })
    }
}

impl fmt::Debug for TransactionalRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pipeline.fmt(f)
    }
}

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handed").finish_non_exhaustive()
    }
}
