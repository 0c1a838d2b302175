//! What a consumer promises, and where it starts.

/// What a consumer promises about records when it, or its process, fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// Offsets are committed after records are finished: none is lost, some may be handled again. The default.
    #[default]
    AtLeastOnce,
    /// Offsets are committed before records are handled: none is handled twice, some may be lost. An orderly end, and
    /// partitions that move in good order, lose none.
    AtMostOnce,
    /// Offsets are committed in the transactions that hold what was made of the records, so that consumers with
    /// `read_committed` see it once (KIP-447). Handlers send through [`Received::transaction`](crate::Received::transaction);
    /// what is sent elsewhere is not part of it.
    ///
    /// No transaction is open while handlers work. What they send waits until the next commit
    /// ([`commit_interval`](crate::ConsumerBuilder::commit_interval), 100 ms unless set), which takes what is finished in all
    /// partitions at one moment. A transaction that fails is undone: all partitions go back to their committed offsets, and
    /// what was not committed is handled again. It is no error of the consumer, however long it lasts.
    ///
    /// Records are handled one by one, by key, by the batch, or when they are due, as with the other guarantees. For
    /// processing whole batches in one transaction see [`Kafka::exactly_once`](crate::Kafka::exactly_once).
    ///
    /// ```
    /// # use kafka_client::{Error, Guarantee, Kafka, Received, SendError, Topic, Utf8};
    /// # fn main() -> Result<(), Error> {
    /// # let kafka = Kafka::embedded()?;
    /// let orders = Topic::new("orders", Utf8, Utf8);
    /// let invoices = Topic::new("invoices", Utf8, Utf8);
    /// let consumer = kafka
    ///     .consumer("billing")
    ///     .guarantee(Guarantee::ExactlyOnce)
    ///     .transactional_id("billing-0")
    ///     .route(&orders, move |order: Received<String, String>| {
    ///         let invoices = invoices.clone();
    ///         async move {
    ///             let invoice = format!("{} due", order.value());
    ///             order.transaction().send(invoices.record(order.key(), &invoice)).await?;
    ///             Ok::<_, SendError>(())
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ExactlyOnce,
}

/// Where a group starts on a partition for which it has no offset yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// With the oldest record; the default. (Kafka's own default skips what was written before the group existed.)
    Earliest,
    /// With records written from now on.
    Latest,
    /// Nowhere: the consumer ends with an error.
    Fail,
}
