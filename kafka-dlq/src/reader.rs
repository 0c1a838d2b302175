//! Reads a topic from here to there, and ends.
//!
//! ```text
//! spans (what stands there now) ─▶ partitions, assigned by hand ─▶ each record, as a DeadLetter ─▶ the end of every span
//! ```
//!
//! Nothing is committed that outlives the reading: the group has a name made up for it, and is deleted.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_client::{
    Assigned, BoxError, ConsumerHandle, Isolation, Kafka, NoKey, OffsetSpec, RebalanceListener, Received, StartAt,
    Topic, TopicPartition,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::dead_letter::DeadLetter;
use crate::error::{Error, ErrorKind};
use crate::redrive::Selection;
use crate::values::{PASSES, Values};

/// The records of a partition from one offset to before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Span {
    pub(crate) fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// How long a partition may give nothing before the reading fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to leave nothing behind.
const TIDYING: Duration = Duration::from_secs(5);
/// How often it is looked whether only markers of transactions are left.
const LOOK: Duration = Duration::from_millis(50);

/// What stands in the topic now, of committed transactions.
///
/// # Errors
/// [`ErrorKind::UnknownTopic`], and what the client reports.
pub(crate) async fn spans(kafka: &Kafka, topic: &str) -> Result<Vec<Span>, Error> {
    let admin = kafka.admin();
    let denied = |error: Error| error.lacking("DESCRIBE", topic, "");
    let described = admin.describe_topic(topic).await;
    let described = described.map_err(|error| denied(Error::kafka("look at the topic", error)))?;
    let Some(described) = described else {
        return Err(Error::new(ErrorKind::UnknownTopic, format!("there is no topic {topic}")));
    };
    let of = |spec| (0..described.partitions()).map(move |partition| (topic, partition, spec)).collect::<Vec<_>>();
    let mut ends = [Vec::new(), Vec::new()];
    for (spec, ends) in [OffsetSpec::Earliest, OffsetSpec::Latest].into_iter().zip(&mut ends) {
        let listed = admin.list_offsets(&of(spec), Isolation::ReadCommitted).await;
        for one in listed.map_err(|error| denied(Error::kafka("list offsets", error)))? {
            let one = one.map_err(|error| denied(Error::kafka("list offsets", error)))?;
            ends.push(one.offset().unwrap_or(0));
        }
    }
    let [from, to] = ends;
    Ok((0..).zip(from.into_iter().zip(to)).map(|(partition, (from, to))| Span { partition, from, to }).collect())
}

/// Calls `each` on every record of the spans, in the order of each partition, until it breaks.
///
/// # Errors
/// What the client reports; a partition that gives nothing for 30 s.
pub(crate) async fn read(
    kafka: &Kafka,
    topic: &str,
    spans: &[Span],
    each: impl FnMut(&DeadLetter<'_>) -> ControlFlow<()> + Send + 'static,
) -> Result<(), Error> {
    let spans: Vec<Span> = spans.iter().copied().filter(|span| !span.is_empty()).collect();
    if spans.is_empty() {
        return Ok(());
    }
    let group = made_up_group();
    read_as(kafka, &group, topic, spans, each).await?;
    if let Err(error) = kafka.admin().timeout(TIDYING).delete_groups(&[&group]).await {
        tracing::debug!(%error, group, "a group that was made up for reading stays behind");
    }
    Ok(())
}

/// Reads as often as it takes until it is known by which schemas values were written that a selection has to see.
pub(crate) async fn warm(
    kafka: &Kafka,
    topic: &str,
    spans: &[Span],
    selection: &Selection,
    values: &Values,
) -> Result<(), Error> {
    if !selection.sees_values() {
        return Ok(());
    }
    for _ in 0..PASSES {
        let (seeing, noted) = (selection.clone(), values.clone());
        let each = move |letter: &DeadLetter<'_>| {
            seeing.matches_by(letter, Some(&noted));
            ControlFlow::Continue(())
        };
        read(kafka, topic, spans, each).await?;
        if !values.resolve().await? {
            break;
        }
    }
    Ok(())
}

/// A name that no other group has.
pub(crate) fn made_up_group() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("kafka-dlq.read.{:016x}", RandomState::new().hash_one(std::process::id()))
}

struct Reading<F> {
    open: HashMap<i32, Span>,
    each: F,
    broken: bool,
    moved: Instant,
}

impl<F: FnMut(&DeadLetter<'_>) -> ControlFlow<()>> Reading<F> {
    fn take(&mut self, record: &Received<(), ()>) {
        let Some(span) = self.open.get(&record.partition()).copied() else { return };
        self.moved = Instant::now();
        if record.offset() < span.to && !self.broken {
            self.broken = (self.each)(&DeadLetter::of(record)).is_break();
        }
        if record.offset() + 1 >= span.to {
            self.open.remove(&span.partition);
        }
    }

    fn is_done(&self) -> bool {
        self.broken || self.open.is_empty()
    }
}

async fn read_as<F>(kafka: &Kafka, group: &str, topic: &str, spans: Vec<Span>, each: F) -> Result<(), Error>
where
    F: FnMut(&DeadLetter<'_>) -> ControlFlow<()> + Send + 'static,
{
    let open: HashMap<i32, Span> = spans.iter().map(|span| (span.partition, *span)).collect();
    let reading = Arc::new(Mutex::new(Reading { open, each, broken: false, moved: Instant::now() }));
    let done = Arc::new(Notify::new());
    let handler = {
        let (reading, done) = (reading.clone(), done.clone());
        move |batch: Vec<Received<(), ()>>| {
            let mut reading = reading.lock();
            batch.iter().for_each(|record| reading.take(record));
            if reading.is_done() {
                done.notify_one();
            }
            std::future::ready(Ok::<(), BoxError>(()))
        }
    };
    let consumer = kafka
        .consumer(group)
        .assign(spans.iter().map(|span| TopicPartition::new(topic, span.partition)))
        .on_rebalance(Starts(spans.clone()))
        .route_batch(&Topic::new(topic, NoKey, NoKey), handler)
        .set("isolation.level", "read_committed")
        .commit_interval(Duration::from_secs(3600))
        .max_batch_records(5_000)
        .build()
        .map_err(|error| Error::kafka("read", error))?;
    let handle = consumer.handle();
    let end = async {
        while !reading.lock().is_done() {
            tokio::select! {
                () = done.notified() => (),
                () = tokio::time::sleep(LOOK) => look(&reading, &handle).await,
            }
        }
    };
    // Nothing has to end in good order where nothing is committed: whatever hinders it ends it at once.
    tokio::select! {
        ran = consumer.run_until(end) => {
            ran.map(drop).map_err(|error| Error::kafka("read", error).lacking("READ", topic, group))
        }
        error = silence(topic, &reading) => Err(error),
        error = denial(kafka, group, &spans, topic) => Err(error),
    }
}

/// Waits until nothing has come for too long.
async fn silence<F>(topic: &str, reading: &Mutex<Reading<F>>) -> Error {
    loop {
        let rest = PATIENCE.saturating_sub(reading.lock().moved.elapsed());
        if rest.is_zero() {
            let text = format!("{topic} gave nothing for {} s", PATIENCE.as_secs());
            return Error::new(ErrorKind::Kafka, text);
        }
        tokio::time::sleep(rest).await;
    }
}

/// Waits for the broker to refuse the group, which the client would ask for again and again; for ever where it does not.
async fn denial(kafka: &Kafka, group: &str, spans: &[Span], topic: &str) -> Error {
    let of: Vec<(&str, i32)> = spans.iter().take(1).map(|span| (topic, span.partition)).collect();
    let error = match kafka.admin().group_offsets_of(group, &of).await {
        Err(error) => Some(error),
        Ok(answers) => answers.into_iter().find_map(Result::err),
    };
    match error.filter(|error| error.kind() == kafka_client::ErrorKind::Denied) {
        Some(error) => Error::kafka("read", error).lacking("READ", topic, "kafka-dlq.read.*"),
        None => std::future::pending().await,
    }
}

/// Closes spans of which only markers of transactions, or records that are compacted away, are left.
async fn look<F>(reading: &Mutex<Reading<F>>, handle: &ConsumerHandle) {
    let Ok(partitions) = handle.partitions().await else { return };
    let mut reading = reading.lock();
    for one in partitions.iter().filter(|one| one.in_flight == 0 && one.buffered_records == 0) {
        let number = one.partition.partition();
        if reading.open.get(&number).is_some_and(|span| one.position.is_some_and(|position| position >= span.to)) {
            reading.open.remove(&number);
        }
    }
}

/// Starts each partition where its span begins.
struct Starts(Vec<Span>);

impl RebalanceListener for Starts {
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        for partition in assigned.partitions() {
            if let Some(span) = self.0.iter().find(|span| span.partition == partition.partition()) {
                assigned.start_at(&partition, StartAt::Offset(span.from));
            }
        }
        Ok(())
    }
}
