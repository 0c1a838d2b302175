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

use super::builder::Consumer;
use super::lane::{Ended, Lane, LaneState};
use super::received::Received;
use super::report::ConsumerReport;
use super::router::{Route, decoded};
use crate::error::{Error, ErrorKind};
use crate::native::message::Fetched;
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
        let offset = record.offset();
        self.lane.begin(offset);
        Some(Acknowledgeable { record: Some(record), lane: self.lane.clone(), offset })
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

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(record) = self.current.as_mut().and_then(Portion::next) {
                return Poll::Ready(Some(Ok(record)));
            }
            self.current = None;
            self.current = ready!(self.portions.poll_recv(context));
            if self.current.is_none() {
                break;
            }
        }
        // The lanes are gone, so the consumer has ended, or is about to.
        let Some(task) = &mut self.task else { return Poll::Ready(None) };
        let result = ready!(Pin::new(task).poll(context));
        self.task = None;
        Poll::Ready(joined(result).err().map(Err))
    }
}

impl<K, V> Unpin for RecordStream<K, V> {}

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

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(fetched)) = lane.fetch().await {
                if self.records(&mut lane, fetched).await.is_err() {
                    break;
                }
            }
            lane.drain().await;
            // Only what somebody holds is waited for. An error has stopped the lane, or is about to.
            lane.state.until_stopping().await;
            lane.state.settled().await;
        })
    }
}

impl<K: Deserializer, V: Deserializer> StreamRoute<K, V> {
    async fn records(&self, lane: &mut Lane, fetched: Fetched) -> Result<(), Ended> {
        let mut records = Vec::with_capacity(fetched.len());
        for message in fetched.into_messages() {
            coop::consume_budget().await;
            match decoded(&self.topic, &lane.state, message).await {
                Some(Ok(record)) => records.push(record),
                Some(Err(failed)) => {
                    // In order: what was read before it is handed out before it.
                    let (taken, all_taken) = oneshot::channel();
                    self.hand_over(&lane.state, std::mem::take(&mut records), Some(taken)).await?;
                    tokio::select! {
                        _ = all_taken => (),
                        () = lane.state.until_stopping() => return Err(Ended),
                    }
                    lane.undecodable(failed).await?;
                }
                None => return Err(Ended),
            }
        }
        self.hand_over(&lane.state, records, None).await
    }

    async fn hand_over(
        &self,
        lane: &Arc<LaneState>,
        records: Vec<Received<K::Output, V::Output>>,
        taken: Option<oneshot::Sender<()>>,
    ) -> Result<(), Ended> {
        let portion = Portion { lane: lane.clone(), records: records.into_iter(), _taken: taken };
        tokio::select! {
            sent = self.sender.send(portion) => sent.map_err(|_| Ended),
            () = lane.until_stopping() => Err(Ended),
        }
    }
}
