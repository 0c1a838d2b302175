//! A topic as a stream, for those who want to drive.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::future::BoxFuture;
use kafka_serde::Deserializer;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::builder::Consumer;
use super::lane::{Lane, LaneState};
use super::received::Received;
use super::report::ConsumerReport;
use super::router::{Route, decoded};
use crate::error::{Error, ErrorKind};
use crate::topic::Topic;

/// Fetches on their way from the lanes to the stream: one for each turn of a lane, not one for each record.
type Portions<K, V> = mpsc::Receiver<Vec<Acknowledgeable<K, V>>>;

pub(super) fn stream_channel<K, V>() -> (mpsc::Sender<Vec<Acknowledgeable<K, V>>>, Portions<K, V>) {
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
    portions: Portions<K, V>,
    current: VecDeque<Acknowledgeable<K, V>>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<ConsumerReport, Error>>>,
}

impl<K: Send + 'static, V: Send + 'static> RecordStream<K, V> {
    pub(super) fn start(consumer: Consumer, portions: Portions<K, V>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(consumer.run_until(stopped));
        Self { portions, current: VecDeque::new(), stop: Some(stop), task: Some(task) }
    }

    /// Ends the stream: commits what is acknowledged, and leaves the group.
    ///
    /// # Errors
    /// As [`Consumer::run_until`].
    ///
    /// # Cancel safety
    /// Dropping the future lets the end go on in the background.
    pub async fn close(mut self) -> Result<ConsumerReport, Error> {
        self.current.clear();
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
            if let Some(record) = self.current.pop_front() {
                return Poll::Ready(Some(Ok(record)));
            }
            match ready!(self.portions.poll_recv(context)) {
                Some(portion) => self.current = portion.into(),
                None => break,
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
    pub(super) sender: mpsc::Sender<Vec<Acknowledgeable<K::Output, V::Output>>>,
}

impl<K: Deserializer, V: Deserializer> Route for StreamRoute<K, V> {
    fn topic(&self) -> &str {
        self.topic.name()
    }

    fn run(self: Arc<Self>, mut lane: Lane) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(fetched)) = lane.fetch().await {
                let mut portion = Vec::with_capacity(fetched.len());
                for message in fetched.into_messages() {
                    let offset = message.view().offset();
                    lane.state.begin(offset);
                    match decoded(&self.topic, &lane.state, message).await {
                        Some(Ok(record)) => {
                            lane.state.open_one();
                            portion.push(Acknowledgeable { record: Some(record), lane: lane.state.clone(), offset });
                        }
                        Some(Err(failed)) => {
                            if lane.undecodable(failed).await.is_err() {
                                // What was read before it is still handed out, and may be acknowledged.
                                let _ = self.sender.send(portion).await;
                                return;
                            }
                        }
                        None => break,
                    }
                }
                let sent = tokio::select! {
                    sent = self.sender.send(portion) => sent.is_ok(),
                    () = lane.state.until_stopping() => false,
                };
                if !sent {
                    break;
                }
            }
            lane.state.settled().await;
        })
    }
}
