//! What most promises about consuming start with: members of a group, and an account of what they handled.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Consumer, ConsumerBuilder, ConsumerReport, Error, Kafka, Received};
use parking_lot::Mutex;
use tests::harness::{Cluster, eventually, oracle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::given::Lines;

/// For what takes milliseconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(45);

/// A consumer of this group that notices and commits within milliseconds.
pub(crate) fn quick(kafka: &Kafka, group: &str) -> ConsumerBuilder {
    kafka
        .consumer(group)
        .commit_interval(Duration::from_millis(10))
        .set("heartbeat.interval.ms", "100")
        .set("session.timeout.ms", "6000")
        .set("fetch.wait.max.ms", "20")
}

/// A member of a group that runs in a task of its own.
pub(crate) struct Member {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<ConsumerReport, Error>>,
}

impl Member {
    #[track_caller]
    pub(crate) fn start(builder: ConsumerBuilder) -> Self {
        Self::run(builder.build().unwrap_or_else(|e| panic!("{e}")))
    }

    fn run(consumer: Consumer) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(consumer.run_until(stopped)) }
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) -> ConsumerReport {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(SOON, self.task).await;
        ended.expect("it ends").expect("its task does not panic").unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// Asks it to end, and does not wait.
    pub(crate) fn stopping(self) -> JoinHandle<Result<ConsumerReport, Error>> {
        let _ = self.stop.send(());
        self.task
    }

    /// The error that ends it.
    pub(crate) async fn failure(self) -> Error {
        let ended = tokio::time::timeout(SOON, self.task).await;
        match ended.expect("it ends").expect("its task does not panic") {
            Err(error) => error,
            Ok(report) => panic!("it ended without an error: {report:?}"),
        }
    }

    /// Drops the future that runs it, wherever it is.
    pub(crate) async fn drop_it(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// What was handled, by whom, in the order in which it was finished.
#[derive(Clone, Default)]
pub(crate) struct Account {
    lines: Arc<Mutex<Vec<Handled>>>,
}

/// A record that was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handled {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) by: char,
}

impl Account {
    pub(crate) fn add(&self, by: char, partition: i32, offset: i64) {
        self.lines.lock().push(Handled { partition, offset, by });
    }

    pub(crate) fn record(&self, by: char, record: &Received<String, String>) {
        self.add(by, record.partition(), record.offset());
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.lock().len()
    }

    pub(crate) fn all(&self) -> Vec<Handled> {
        self.lines.lock().clone()
    }

    /// How many of them this member handled.
    pub(crate) fn of(&self, by: char) -> usize {
        self.lines.lock().iter().filter(|handled| handled.by == by).count()
    }

    /// The offsets of a partition, in the order in which they were handled.
    pub(crate) fn offsets(&self, partition: i32) -> Vec<i64> {
        self.lines
            .lock()
            .iter()
            .filter(|handled| handled.partition == partition)
            .map(|handled| handled.offset)
            .collect()
    }

    /// By partition, the first offset that nobody has handled yet.
    pub(crate) fn unfinished(&self, partitions: i32) -> BTreeMap<i32, i64> {
        let first = |partition| {
            let mut offsets = self.offsets(partition);
            offsets.sort_unstable();
            offsets.dedup();
            (0..).zip(&offsets).take_while(|(expected, offset)| expected == *offset).count() as i64
        };
        (0..partitions).map(|partition| (partition, first(partition))).collect()
    }

    /// Waits until that many are handled.
    pub(crate) async fn reaches(&self, count: usize) {
        eventually(&format!("{count} records are handled"), SOON, async || self.len() >= count).await;
    }
}

/// What handlers were given, in order.
pub(crate) struct Taken<T>(Arc<Mutex<Vec<T>>>);

impl<T> Taken<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn push(&self, taken: T) {
        self.0.lock().push(taken);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.0.lock())
    }

    pub(crate) fn all(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.0.lock().clone()
    }
}

impl<T> Clone for Taken<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Where committed offsets are ahead of what is finished: the check that a careless consumer fails.
pub(crate) fn ahead(committed: &BTreeMap<i32, i64>, unfinished: &BTreeMap<i32, i64>) -> Vec<(i32, i64)> {
    let is_ahead = |(partition, next): &(&i32, &i64)| **next > unfinished.get(partition).copied().unwrap_or(0);
    committed.iter().filter(is_ahead).map(|(partition, next)| (*partition, *next)).collect()
}

/// A door that handlers wait at until it is opened, to a number.
#[derive(Clone)]
pub(crate) struct Door(Arc<watch::Sender<i64>>);

impl Door {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Lets everybody through who waits for a number below this one.
    pub(crate) fn open_to(&self, below: i64) {
        self.0.send_replace(below);
    }

    pub(crate) fn open(&self) {
        self.open_to(i64::MAX);
    }

    /// Waits, as a handler does that has to say how it went.
    pub(crate) fn pass(&self, number: i64) -> impl Future<Output = Result<(), Infallible>> + Send + use<> {
        let mut door = self.0.subscribe();
        async move {
            // The door may go with its test: then nobody waits for an answer.
            let _ = door.wait_for(|below| number < *below).await;
            Ok(())
        }
    }
}

/// Writes so many records to a partition, without the toolkit; their values are their offsets.
#[track_caller]
pub(crate) fn fill(topic: &Lines, partition: i32, count: usize) {
    let bootstrap = Cluster::shared().bootstrap();
    let from = oracle::end_offsets(bootstrap, topic.name())[&partition];
    fill_at(bootstrap, topic.name(), partition, from, count);
}

/// As `fill`, for any broker; the partition ends at `from`.
#[track_caller]
pub(crate) fn fill_at(bootstrap: &str, topic: &str, partition: i32, from: i64, count: usize) {
    let values: Vec<String> = (from..).take(count).map(|offset| offset.to_string()).collect();
    let records: Vec<_> =
        values.iter().map(|value| (Some(partition), Some(&b"k"[..]), Some(value.as_bytes()))).collect();
    oracle::produce(bootstrap, topic, &records);
}

/// What the group has committed on the shared broker.
#[track_caller]
pub(crate) fn committed(group: &str, topic: &Lines) -> BTreeMap<i32, i64> {
    committed_of(group, topic.name())
}

/// As `committed`, by the topic's name.
#[track_caller]
pub(crate) fn committed_of(group: &str, topic: &str) -> BTreeMap<i32, i64> {
    oracle::committed(Cluster::shared().bootstrap(), group, topic)
}

/// Waits until the group has committed exactly this on the shared broker.
pub(crate) async fn commits(group: &str, topic: &Lines, expected: &[(i32, i64)]) {
    let expected: BTreeMap<i32, i64> = expected.iter().copied().collect();
    eventually(&format!("{expected:?} is committed"), SOON, async || committed(group, topic) == expected).await;
}
