//! A topic as a stream, for those who want to drive.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::future::BoxFuture;
use kafka_serde::Deserializer;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, coop};

use super::lane::{Ended, Lane};
use super::received::{Origin, Received};
use super::report::ConsumerReport;
use super::router::{Route, decoded};
use super::run::Consumer;
use super::state::{LaneState, Taken};
use crate::error::{Error, ErrorKind};
use crate::native::message::Fetched;
use crate::partition::TopicPartition;
use crate::topic::Topic;

/// Decoded records on their way from a lane to the stream: one for each turn of a lane, not one for each record.
pub(super) struct Portion<K, V> {
    lane: Arc<LaneState>,
    records: std::vec::IntoIter<Received<K, V>>,
    /// Dropped with the portion, when all of it is handed out: what the lane waits for before it reports a failure.
    _taken: Option<oneshot::Sender<()>>,
}

impl<K, V> Portion<K, V> {
    /// Hands out the next record. None, once the lane is stopping: the rest is read again.
    fn next(&mut self) -> Option<Acknowledgeable<K, V>> {
        if self.records.len() == 0 || !self.lane.open_one() {
            return None;
        }
        let record = self.records.next()?;
        let (offset, bytes) = (record.offset(), record.size());
        self.lane.start(offset);
        self.lane.held.add(1, bytes);
        Some(Acknowledgeable { record: Some(record), lane: self.lane.clone(), offset, bytes })
    }
}

type Sender<K, V> = mpsc::Sender<Portion<K, V>>;
type Receiver<K, V> = mpsc::Receiver<Portion<K, V>>;

pub(super) fn stream_channel<K, V>() -> (Sender<K, V>, Receiver<K, V>) {
    mpsc::channel(1)
}

/// A record of a [`RecordStream`]: read it like a [`Received`], and say when it is finished.
///
/// Its offset is committed once it and all records before it on its partition are acknowledged. One that is dropped
/// without [`ack`](Self::ack) holds back the offset: it is read again after a restart.
pub struct Acknowledgeable<K, V> {
    record: Option<Received<K, V>>,
    lane: Arc<LaneState>,
    offset: i64,
    bytes: usize,
}

impl<K, V> Acknowledgeable<K, V> {
    /// The record is finished.
    pub fn ack(mut self) {
        self.record = None;
        self.lane.finish(self.offset);
    }

    /// Finishes the record and keeps it.
    pub fn into_acked(mut self) -> Received<K, V> {
        self.lane.finish(self.offset);
        match self.record.take() {
            Some(record) => record,
            None => unreachable!("the record leaves only with `self`"),
        }
    }
}

impl<K, V> Deref for Acknowledgeable<K, V> {
    type Target = Received<K, V>;

    fn deref(&self) -> &Received<K, V> {
        match &self.record {
            Some(record) => record,
            None => unreachable!("the record leaves only with `self`"),
        }
    }
}

impl<K, V> Drop for Acknowledgeable<K, V> {
    fn drop(&mut self) {
        if self.record.is_some() {
            self.lane.give_up(self.offset);
        }
        self.lane.held.remove(1, self.bytes);
        self.lane.close_one();
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Acknowledgeable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.fmt(f)
    }
}

/// The records of a topic, as a [`Stream`]; made by [`ConsumerBuilder::stream`](crate::ConsumerBuilder::stream).
///
/// Yields records of all assigned partitions, in order within each. It ends after an error, or once it is closed.
///
/// ```
/// # use kafka_client::{Kafka, Topic, Utf8};
/// # use futures::StreamExt;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kafka = Kafka::embedded()?;
/// # let lines = Topic::new("lines", Utf8, Utf8);
/// # kafka.producer().build()?.send(lines.record("k", "v")).await?;
/// let mut stream = kafka.consumer("readers").stream(&lines)?;
/// if let Some(record) = stream.next().await {
///     let record = record?;
///     println!("{} at {}", record.value(), record.offset());
///     record.ack();
/// }
/// stream.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct RecordStream<K, V> {
    portions: Receiver<K, V>,
    current: Option<Portion<K, V>>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<ConsumerReport, Error>>>,
}

impl<K: Send + 'static, V: Send + 'static> RecordStream<K, V> {
    pub(super) fn start(consumer: Consumer, portions: Receiver<K, V>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(consumer.run_until(stopped));
        Self { portions, current: None, stop: Some(stop), task: Some(task) }
    }

    /// Ends the stream: commits what is acknowledged, and leaves the group.
    ///
    /// # Errors
    /// As [`Consumer::run_until`].
    ///
    /// # Cancel safety
    /// Dropping the future lets the end go on in the background.
    pub async fn close(mut self) -> Result<ConsumerReport, Error> {
        self.current = None;
        self.portions.close();
        while self.portions.try_recv().is_ok() {}
        drop(self.stop.take());
        match self.task.take() {
            Some(task) => joined(task.await),
            None => Err(Error::new(ErrorKind::Closed, "the stream has ended already")),
        }
    }
}

fn joined(result: Result<Result<ConsumerReport, Error>, tokio::task::JoinError>) -> Result<ConsumerReport, Error> {
    result.unwrap_or_else(|error| Err(Error::new(ErrorKind::Panicked, "the consumer's task ended").with_source(error)))
}

impl<K, V> Stream for RecordStream<K, V> {
    type Item = Result<Acknowledgeable<K, V>, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(record) = ready!(poll_portions(&mut this.portions, &mut this.current, context)) {
            return Poll::Ready(Some(Ok(record)));
        }
        // The lanes are gone, so the consumer has ended, or is about to.
        let Some(task) = &mut this.task else { return Poll::Ready(None) };
        let result = ready!(Pin::new(task).poll(context));
        this.task = None;
        Poll::Ready(joined(result).err().map(Err))
    }
}

/// The next record; `None` when there will be no more.
fn poll_portions<K, V>(
    portions: &mut Receiver<K, V>,
    current: &mut Option<Portion<K, V>>,
    context: &mut Context<'_>,
) -> Poll<Option<Acknowledgeable<K, V>>> {
    loop {
        if let Some(record) = current.as_mut().and_then(Portion::next) {
            return Poll::Ready(Some(record));
        }
        *current = None;
        *current = ready!(portions.poll_recv(context));
        if current.is_none() {
            return Poll::Ready(None);
        }
    }
}

impl<K, V> Unpin for RecordStream<K, V> {}

/// The records of one partition, from the moment it is assigned until it is taken away; made by [`PartitionStreams`].
///
/// It ends when the partition moves to another member, or the consumer ends. Records that were handed out may still be
/// acknowledged then, until `drain_timeout` is over.
pub struct PartitionStream<K, V> {
    partition: TopicPartition,
    portions: Receiver<K, V>,
    current: Option<Portion<K, V>>,
}

impl<K, V> PartitionStream<K, V> {
    /// The partition.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }
}

impl<K, V> Stream for PartitionStream<K, V> {
    type Item = Acknowledgeable<K, V>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        poll_portions(&mut this.portions, &mut this.current, context)
    }
}

impl<K, V> Unpin for PartitionStream<K, V> {}

impl<K, V> fmt::Debug for PartitionStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionStream").field("partition", &self.partition).finish_non_exhaustive()
    }
}

/// A stream for each partition that is assigned; made by
/// [`ConsumerBuilder::partition_streams`](crate::ConsumerBuilder::partition_streams).
///
/// Each is to be read by a task of its own: one that is not read holds up nobody else. It ends after an error, or once
/// it is closed.
///
/// ```no_run
/// # use kafka_client::{Kafka, Topic, Utf8};
/// # use futures::StreamExt;
/// # async fn example(kafka: Kafka, lines: Topic<Utf8, Utf8>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut partitions = kafka.consumer("readers").partition_streams(&lines)?;
/// while let Some(partition) = partitions.next().await {
///     let mut records = partition?;
///     tokio::spawn(async move {
///         while let Some(record) = records.next().await {
///             println!("{}: {}", records.partition(), record.value());
///             record.ack();
///         }
///     });
/// }
/// # Ok(())
/// # }
/// ```
pub struct PartitionStreams<K, V> {
    streams: mpsc::Receiver<PartitionStream<K, V>>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<ConsumerReport, Error>>>,
}

impl<K: Send + 'static, V: Send + 'static> PartitionStreams<K, V> {
    pub(super) fn start(consumer: Consumer, streams: mpsc::Receiver<PartitionStream<K, V>>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(consumer.run_until(stopped));
        Self { streams, stop: Some(stop), task: Some(task) }
    }

    /// Ends the streams: commits what is acknowledged, and leaves the group.
    ///
    /// # Errors
    /// As [`Consumer::run_until`].
    ///
    /// # Cancel safety
    /// Dropping the future lets the end go on in the background.
    pub async fn close(mut self) -> Result<ConsumerReport, Error> {
        self.streams.close();
        while self.streams.try_recv().is_ok() {}
        drop(self.stop.take());
        match self.task.take() {
            Some(task) => joined(task.await),
            None => Err(Error::new(ErrorKind::Closed, "the streams have ended already")),
        }
    }
}

impl<K, V> Stream for PartitionStreams<K, V> {
    type Item = Result<PartitionStream<K, V>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(stream) = ready!(self.streams.poll_recv(context)) {
            return Poll::Ready(Some(Ok(stream)));
        }
        let Some(task) = &mut self.task else { return Poll::Ready(None) };
        let result = ready!(Pin::new(task).poll(context));
        self.task = None;
        Poll::Ready(joined(result).err().map(Err))
    }
}

impl<K, V> Unpin for PartitionStreams<K, V> {}

impl<K, V> fmt::Debug for PartitionStreams<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionStreams").finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for RecordStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordStream").finish_non_exhaustive()
    }
}

/// The route behind a stream: its "handler" is whoever polls the stream.
pub(super) struct StreamRoute<K: Deserializer, V: Deserializer> {
    pub(super) topic: Topic<K, V>,
    pub(super) sender: Sender<K::Output, V::Output>,
}

impl<K: Deserializer, V: Deserializer> Route for StreamRoute<K, V> {
    fn topic(&self) -> &str {
        self.topic.name()
    }

    fn run(self: Arc<Self>, lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move { feed(&self.topic, &self.sender, lane).await })
    }
}

/// The route behind partition streams: one stream a life of a partition.
pub(super) struct PartitionStreamRoute<K: Deserializer, V: Deserializer> {
    pub(super) topic: Topic<K, V>,
    pub(super) sender: mpsc::Sender<PartitionStream<K::Output, V::Output>>,
}

impl<K: Deserializer, V: Deserializer> Route for PartitionStreamRoute<K, V> {
    fn topic(&self) -> &str {
        self.topic.name()
    }

    fn run(self: Arc<Self>, lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (sender, portions) = stream_channel();
            let partition = TopicPartition::new(lane.state.topic.clone(), lane.state.partition);
            let stream = PartitionStream { partition, portions, current: None };
            let sent = tokio::select! {
                sent = self.sender.send(stream) => sent.is_ok(),
                () = lane.state.until_stopping() => false,
            };
            if sent {
                feed(&self.topic, &sender, lane).await;
            }
        })
    }
}

/// Decodes what a lane fetches, and hands it over by the portion.
async fn feed<K: Deserializer, V: Deserializer>(
    topic: &Topic<K, V>,
    sender: &Sender<K::Output, V::Output>,
    mut lane: Lane,
) {
    while let Ok(Some(fetched)) = lane.fetch().await {
        if records(topic, sender, &mut lane, fetched).await.is_err() {
            break;
        }
    }
    lane.drain().await;
    // Only what somebody holds is waited for. An error has stopped the lane, or is about to.
    lane.state.until_stopping().await;
    lane.state.settled().await;
}

async fn records<K: Deserializer, V: Deserializer>(
    topic: &Topic<K, V>,
    sender: &Sender<K::Output, V::Output>,
    lane: &mut Lane,
    fetched: Fetched,
) -> Result<(), Ended> {
    let mut records = Vec::with_capacity(fetched.len());
    for message in fetched.into_messages() {
        coop::consume_budget().await;
        if lane.take(message.view().offset()).await? == Taken::Finished {
            continue;
        }
        lane.settings.interceptors.received(&lane.state.topic, &message);
        let origin = Origin::own(&lane.state, message);
        match decoded(topic, &lane.state.topic, &lane.state, origin).await {
            Some(Ok(record)) => records.push(record),
            Some(Err(failed)) => {
                // In order: what was read before it is handed out before it.
                let (taken, all_taken) = oneshot::channel();
                hand_over(sender, lane, std::mem::take(&mut records), Some(taken)).await?;
                tokio::select! {
                    _ = all_taken => (),
                    () = lane.state.until_stopping() => return Err(Ended),
                }
                if !lane.may_start(1).await {
                    return Err(Ended);
                }
                lane.undecodable(failed).await?;
            }
            None => return Err(Ended),
        }
    }
    hand_over(sender, lane, records, None).await
}

async fn hand_over<K, V>(
    sender: &Sender<K, V>,
    lane: &mut Lane,
    records: Vec<Received<K, V>>,
    taken: Option<oneshot::Sender<()>>,
) -> Result<(), Ended> {
    if !records.is_empty() && !lane.may_start(records.len()).await {
        return Err(Ended);
    }
    let portion = Portion { lane: lane.state.clone(), records: records.into_iter(), _taken: taken };
    tokio::select! {
        sent = sender.send(portion) => sent.map_err(|_| Ended),
        () = lane.state.until_stopping() => Err(Ended),
    }
}
