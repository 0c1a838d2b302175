//! Records that fail: what a recovery costs, whom it holds up, how late it is, and what it keeps in memory.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kafka_client::{
    Bytes, Concurrency, ConsumerBuilder, Error, Isolation, Kafka, OffsetSpec, Producer, Received, StartFrom, Topic,
    TopicSpec, Utf8,
};
use kafka_dlq::{Backoff, Decision, Order, Recovery, RetryTopic};
use tokio::sync::{Notify, oneshot};

use super::consume::Tally;
use super::work::{Half, Halves};
use super::{Plain, consumer, runtime};
use crate::frame::{Load, Outcome, PARTITIONS, Sample, VALUE};
use crate::meter::{self, Window};

/// A failure that the policy decides about.
#[derive(Debug)]
struct Bad(Option<SystemTime>);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad")
    }
}

impl std::error::Error for Bad {}

fn decide(bad: &Bad) -> Decision {
    match bad.0 {
        Some(due) => Decision::Retry(Backoff::at(due)),
        None => Decision::dead_letter("bad"),
    }
}

/// A recovery that has nothing to do.
pub(crate) fn none_fail(load: &Load) -> Outcome<Sample> {
    pipeline(load, 0)
}

/// One record of a hundred is dead-lettered.
pub(crate) fn one_percent(load: &Load) -> Outcome<Sample> {
    pipeline(load, 1)
}

/// One of ten is.
pub(crate) fn ten_percent(load: &Load) -> Outcome<Sample> {
    pipeline(load, 10)
}

/// The window closes behind the last record that was handled, and the last dead letter that stands in the log.
fn pipeline(load: &Load, percent: i64) -> Outcome<Sample> {
    let dead = format!("{}.dlq", load.topic);
    runtime()?.block_on(async {
        let kafka = Kafka::connect(&load.bootstrap);
        let (tally, expected) = (Arc::new(Tally::default()), load.messages);
        let (seen, failed, all) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let handler = {
            let (tally, failed, all) = (tally.clone(), failed.clone(), all.clone());
            move |record: Received<String, String>| {
                let bad = record.offset() % 100 < percent;
                match bad {
                    true => _ = failed.fetch_add(1, Ordering::Relaxed),
                    false => tally.add(1, record.key().len() + record.value().len(), record.offset(), expected),
                }
                if seen.fetch_add(1, Ordering::Relaxed) + 1 == expected {
                    all.notify_one();
                }
                async move { if bad { Err(Bad(None)) } else { Ok(()) } }
            }
        };
        let topic = Topic::new(load.topic.as_str(), Utf8, Utf8);
        let recovery = Recovery::by(decide).dead_letter(&dead).wrap(handler);
        let consumer = consumer(load).route(&topic, recovery).build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let written = async {
            all.notified().await;
            let failed = failed.load(Ordering::Relaxed);
            while failed > 0 && stored(&kafka, &dead).await? < failed {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tally.add(failed, 0, 0, expected);
            drop(stop);
            Outcome::Ok(())
        };
        tokio::try_join!(async { Outcome::Ok(consumer.run_until(stopped).await?) }, written)?;
        kafka.delete_topics(&[&dead]).await?;
        tally.sample()
    })
}

/// How many records a topic has.
async fn stored(kafka: &Kafka, topic: &str) -> Outcome<u64> {
    let ends: Vec<_> = (0..PARTITIONS).map(|partition| (topic, partition, OffsetSpec::Latest)).collect();
    let mut stored = 0;
    for end in kafka.admin().list_offsets(&ends, Isolation::ReadUncommitted).await? {
        stored += u64::try_from(end?.offset().unwrap_or(0))?;
    }
    Ok(stored)
}

/// Topics of one round, deleted at its end.
struct Round {
    kafka: Kafka,
    source: Plain,
    retry: String,
    group: String,
}

impl Round {
    async fn begin(load: &Load) -> Outcome<Self> {
        let kafka = Kafka::connect(&load.bootstrap);
        let name = format!("{}-{:08x}", load.topic, crate::frame::random() as u32);
        kafka.ensure_topics(&[TopicSpec::new(&name, PARTITIONS)]).await?;
        Ok(Self { kafka, source: Topic::new(name.as_str(), Bytes, Bytes), retry: format!("{name}.retry"), group: name })
    }

    fn consumer(&self) -> ConsumerBuilder {
        let builder = self.kafka.consumer(self.group.as_str()).start_from(StartFrom::Earliest);
        builder.max_batch_records(1_000).set("fetch.wait.max.ms", "20")
    }

    async fn end(self) -> Outcome<()> {
        self.kafka.delete_topics(&[self.source.name(), &self.retry]).await?;
        Ok(())
    }
}

/// Records a second of the isolation case.
const PACE: u64 = 5_000;
const KEYS: u64 = 1_000;

/// 999 keys are well, and one fails for ever: the 99th percentile from send to handler.
pub(crate) fn one_sick(load: &Load) -> Outcome<Sample> {
    isolated(load, true)
}

/// All are well.
pub(crate) fn all_well(load: &Load) -> Outcome<Sample> {
    isolated(load, false)
}

fn isolated(load: &Load, sick: bool) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let round = Round::begin(load).await?;
        let (start, healthy) = (Instant::now(), load.messages - load.messages.div_ceil(KEYS));
        let (latencies, last) = (Arc::new(Mutex::new(Vec::with_capacity(load.messages as usize))), Arc::new(Notify::new()));
        let handler = {
            let (latencies, last) = (latencies.clone(), last.clone());
            move |record: Received<Vec<u8>, Vec<u8>>| {
                let is_sick = record.key() == b"00000000";
                if !is_sick {
                    let sent = record.value().first_chunk().map_or(0, |nanos| u64::from_le_bytes(*nanos));
                    let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
                    latencies.push(start.elapsed().saturating_sub(Duration::from_nanos(sent)));
                    if latencies.len() as u64 == healthy {
                        last.notify_one();
                    }
                }
                let fails = is_sick && sick;
                async move { if fails { Err(Bad(Some(SystemTime::now() + Duration::from_millis(100)))) } else { Ok(()) } }
            }
        };
        let recovery = Recovery::by(|bad: &Bad| match decide(bad) {
            Decision::Retry(backoff) => Decision::Retry(backoff.without_limit()),
            other => other,
        });
        let recovery = recovery.in_place(0).retry_topic(RetryTopic::new(&round.retry)).wrap(handler);
        let consumer = round.consumer().route_concurrent(&round.source, Concurrency::by_key(100), recovery).build()?;
        let producer = round.kafka.producer().linger(Duration::ZERO).build()?;
        let (window, sending) = (Window::open(), paced(&producer, &round.source, load.messages, start));
        let (ran, sent) = tokio::join!(consumer.run_until(last.notified()), sending);
        ran?;
        sent?;
        let used = window.close();
        let mut latencies = std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner));
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).map_or(0.0, |one| one.as_secs_f64() * 1e6);
        round.end().await?;
        let rate = latencies.len() as f64 / used.wall.as_secs_f64();
        let mut sample = Sample::microseconds(load.messages, used);
        (sample.value, sample.figures) = (at(99), [Some(("p50", at(50))), Some(("rate", rate)), None]);
        Ok(sample)
    })
}

/// Sends so many a second, with the time of each in its value. The members join before the first one.
async fn paced(producer: &Producer, topic: &Plain, messages: u64, start: Instant) -> Outcome<()> {
    tokio::time::sleep(Duration::from_secs(4)).await;
    let began = Instant::now();
    for n in 0..messages {
        let due = began + Duration::from_secs(1) * n as u32 / PACE as u32;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            tokio::time::sleep(early).await;
        }
        let mut value = *VALUE;
        value[..8].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_le_bytes());
        let key = format!("{:08}", n % KEYS);
        drop(producer.enqueue(topic.record(key.as_bytes(), &value)).await?);
    }
    Ok(())
}

/// Different delays.
const DELAYS: u64 = 100;
/// Between one and the next.
const STEP: Duration = Duration::from_millis(50);
/// How long all have to arrive before the first is due.
const GATHER: Duration = Duration::from_secs(20);

/// What a run with so many waiting records tells.
struct Waited {
    late: Vec<Duration>,
    early: u64,
    /// Of memory, for each waiting record, beside its own bytes.
    overhead: f64,
    used: meter::Used,
}

static UNORDERED: Halves = Halves::new();
static ORDERED: Halves = Halves::new();

/// The 99th percentile of how late a record is tried again, without an order.
pub(crate) fn delay(load: &Load) -> Outcome<Sample> {
    UNORDERED.ask(Half::Ours, || waiting(load, Order::Unordered))
}

/// What a waiting record takes of memory beside its own bytes, without an order.
pub(crate) fn memory(load: &Load) -> Outcome<Sample> {
    UNORDERED.ask(Half::Ideal, || waiting(load, Order::Unordered))
}

/// The same where keys keep their order; each record has a key of its own.
pub(crate) fn delay_in_order(load: &Load) -> Outcome<Sample> {
    ORDERED.ask(Half::Ours, || waiting(load, Order::KeepOrder))
}

/// The same where keys keep their order; each record has a key of its own.
pub(crate) fn memory_in_order(load: &Load) -> Outcome<Sample> {
    ORDERED.ask(Half::Ideal, || waiting(load, Order::KeepOrder))
}

/// What the issue allows: 50 ms.
pub(crate) fn delay_goal(load: &Load) -> Outcome<Sample> {
    goal(load, 50_000.0)
}

/// What the issue allows: 256 bytes.
pub(crate) fn memory_goal(load: &Load) -> Outcome<Sample> {
    goal(load, 256.0)
}

fn goal(load: &Load, value: f64) -> Outcome<Sample> {
    let mut sample = Sample::microseconds(load.messages, Window::open().close());
    sample.value = value;
    Ok(sample)
}

fn waiting(load: &Load, order: Order) -> Outcome<[Sample; 2]> {
    let mut waited = runtime()?.block_on(wait(load, order))?;
    waited.late.sort_unstable();
    let at = |share: f64| {
        let at = (waited.late.len() as f64 * share) as usize;
        waited.late.get(at.min(waited.late.len() - 1)).map_or(0.0, |one| one.as_secs_f64() * 1e6)
    };
    let mut delay = Sample::microseconds(load.messages, waited.used);
    let figures = [Some(("early", waited.early as f64)), Some(("p50", at(0.5))), Some(("most", at(1.0)))];
    (delay.value, delay.figures) = (at(0.99), figures);
    let mut memory = Sample::microseconds(load.messages, waited.used);
    memory.value = waited.overhead;
    Ok([delay, memory])
}

async fn wait(load: &Load, order: Order) -> Outcome<Waited> {
    let round = Round::begin(load).await?;
    let (records, base) = (load.messages, SystemTime::now() + GATHER);
    let due = move |n: u64| base + STEP * (n % DELAYS) as u32;
    let producer = round.kafka.producer().build()?;
    for n in 0..records {
        let key = n.to_le_bytes();
        let record = round.source.record(&key, VALUE).partition((n % PARTITIONS as u64) as i32);
        drop(producer.enqueue(record).await?);
    }
    if !producer.flush(GATHER).await.is_complete() {
        return Err("the source was not filled".into());
    }
    let (late, early, bytes) =
        (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let last = Arc::new(Notify::new());
    let handler = {
        let (late, early, bytes, last) = (late.clone(), early.clone(), bytes.clone(), last.clone());
        move |record: Received<Vec<u8>, Vec<u8>>| {
            let now = SystemTime::now();
            let n = record.key().first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
            // Only the copy on the retry topic has headers.
            let outcome = match record.headers().is_empty() {
                true => Err(Bad(Some(due(n)))),
                false => {
                    let headers: usize = record
                        .headers()
                        .iter()
                        .map(|header| header.name_bytes().len() + header.value().map_or(0, <[u8]>::len))
                        .sum();
                    bytes.fetch_add((record.size() + headers) as u64, Ordering::Relaxed);
                    let lateness = now.duration_since(due(n)).unwrap_or_else(|_| {
                        early.fetch_add(1, Ordering::Relaxed);
                        Duration::ZERO
                    });
                    let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
                    late.push(lateness);
                    if late.len() as u64 == records {
                        last.notify_one();
                    }
                    Ok(())
                }
            };
            async { outcome }
        }
    };
    let retries = RetryTopic::new(&round.retry).order(order);
    let recovery = Recovery::by(decide).in_place(0).without_breaker().retry_topic(retries.clone()).wrap(handler);
    let consumer = round.consumer().route_concurrent(&round.source, Concurrency::by_key(1_000), recovery).build()?;
    late.lock().unwrap_or_else(PoisonError::into_inner).reserve_exact(records as usize);
    let (window, before) = (Window::open(), meter::live_bytes());
    let all = async {
        while (retries.pending() as u64) < records && SystemTime::now() < base {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What was under way to the topic is gone by now.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = (retries.pending(), meter::live_bytes() - before, SystemTime::now() < base);
        last.notified().await;
        waiting
    };
    let waiting = Arc::new(Mutex::new(None));
    let told = waiting.clone();
    let until = async move {
        let waiting = all.await;
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiting);
    };
    consumer.run_until(until).await?;
    let (pending, live, in_time) =
        waiting.lock().unwrap_or_else(PoisonError::into_inner).ok_or("nothing has waited")?;
    if pending as u64 != records || !in_time {
        return Err(format!("{pending} of {records} records were waiting when the first was due").into());
    }
    let used = window.close();
    round.end().await?;
    let own = bytes.load(Ordering::Relaxed) as f64;
    let late = std::mem::take(&mut *late.lock().unwrap_or_else(PoisonError::into_inner));
    let overhead = (live as f64 - own) / records as f64;
    Ok(Waited { late, early: early.load(Ordering::Relaxed), overhead, used })
}

/// A plain consumer, for the pipeline.
pub(crate) fn plain(load: &Load) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let (tally, expected) = (Arc::new(Tally::default()), load.messages);
        let handler = {
            let tally = tally.clone();
            move |record: Received<String, String>| {
                tally.add(1, record.key().len() + record.value().len(), record.offset(), expected);
                async { Ok::<(), Error>(()) }
            }
        };
        let topic = Topic::new(load.topic.as_str(), Utf8, Utf8);
        consumer(load).route(&topic, handler).build()?.run_until(tally.last.notified()).await?;
        tally.sample()
    })
}
