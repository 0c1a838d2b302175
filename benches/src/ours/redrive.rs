//! Dead letters that go back: how many a second, and how exactly as many as were asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kafka_client::{
    BatchError, BoxError, Completion, Error, Kafka, NoKey, RawRecord, Received, StartFrom, Topic, TopicSpec,
};
use kafka_dlq::{DeadLetter, End, Failure, Redrive, dialect};
use tokio::sync::Notify;

use super::runtime;
use crate::audit::{Audit, Found, Stamp};
use crate::frame::{Load, MAX_IN_FLIGHT, Outcome, PARTITIONS, Sample};
use crate::meter::Window;

/// Dead letters that are written at once.
const BATCH: u64 = 10_000;

/// A topic of dead letters for one round, deleted at its end.
struct Letters {
    kafka: Kafka,
    name: String,
}

impl Letters {
    /// Writes so many, of records of `origin`, with our headers and one of the application.
    async fn fill(load: &Load, origin: &str, records: u64, stamp: Stamp) -> Outcome<Self> {
        let kafka = Kafka::connect(&load.bootstrap);
        let name = format!("{origin}-{:08x}.dlq", crate::frame::random() as u32);
        kafka.ensure_topics(&[TopicSpec::new(&name, PARTITIONS)]).await?;
        let (producer, keys) = (kafka.producer().max_in_flight_records(MAX_IN_FLIGHT as usize).build()?, Load::keys());
        for from in (0..records).step_by(BATCH as usize) {
            let numbers = from..records.min(from + BATCH);
            let letters = numbers.map(|number| {
                let key = keys[number as usize % keys.len()];
                let mut letter = RawRecord::new(&name, Some(key.to_vec()), Some(stamp.value(number).to_vec()));
                letter.headers.push("tag", "a");
                let failure = Failure {
                    reason: Some("timeout"),
                    message: Some("the other side did not answer within 5 s"),
                    group: Some("billing"),
                    attempts: Some(3),
                    ..Failure::at(origin, (number % PARTITIONS as u64) as i32, number as i64)
                };
                dialect::ours::write(&failure, &mut letter.headers);
                letter
            });
            producer.send_batch(letters.collect::<Vec<_>>()).await?;
        }
        Ok(Self { kafka, name })
    }

    async fn end(self) -> Outcome<()> {
        self.kafka.delete_topics(&[&self.name]).await?;
        Ok(())
    }
}

/// From the call to its report: the survey and the joining of the group are in it. `sending`: the rate behind the survey.
pub(crate) fn uncapped(load: &Load) -> Outcome<Sample> {
    let audit = Audit::open(&load.bootstrap, &load.topic);
    let stamp = audit.stamp();
    let (used, surveyed) = runtime()?.block_on(async {
        let letters = Letters::fill(load, &load.topic, load.messages, stamp).await?;
        let surveyed: Arc<Mutex<Option<Instant>>> = Arc::default();
        let told = surveyed.clone();
        let window = Window::open();
        let begun = Instant::now();
        let report = Redrive::new(&letters.kafka, &letters.name)
            .on_progress(move |_| {
                told.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
            })
            .run_until(std::future::pending::<()>())
            .await?;
        let used = window.close();
        if report.sent() != load.messages || *report.end() != End::Done {
            return Err(format!("the job did not send them all: {report}").into());
        }
        letters.end().await?;
        let surveyed = *surveyed.lock().unwrap_or_else(PoisonError::into_inner);
        Outcome::Ok((used, surveyed.map_or(Duration::ZERO, |at| at - begun)))
    })?;
    let Found { transactions, .. } = audit.close(load.messages)?;
    let sending = load.messages as f64 / (used.wall - surveyed).as_secs_f64();
    let figures = [Some(("sending", sending)), Some(("markers_of_a_partition", transactions as f64)), None];
    Ok(Sample { figures, ..Sample::rate(load.messages, used) })
}

/// What is often written in its place: no survey and no transactions; a batch is finished when its records are
/// acknowledged. From the start of the consumer to the last acknowledgement.
pub(crate) fn resent(load: &Load) -> Outcome<Sample> {
    let audit = Audit::open(&load.bootstrap, &load.topic);
    let stamp = audit.stamp();
    let used = runtime()?.block_on(async {
        let letters = Letters::fill(load, &load.topic, load.messages, stamp).await?;
        let producer = letters.kafka.producer().max_in_flight_records(MAX_IN_FLIGHT as usize).build()?;
        let (sent, last) = (Arc::new(Mutex::new(0)), Arc::new(Notify::new()));
        let (counting, expected, ended) = (sent.clone(), load.messages, last.clone());
        let resend = move |batch: Vec<Received<(), ()>>| {
            let (producer, counting, ended) = (producer.clone(), counting.clone(), ended.clone());
            async move {
                let records: Vec<RawRecord> = batch.iter().filter_map(back).collect();
                Ok::<_, Error>(Completion::later(async move {
                    let acknowledged = producer.send_batch(records).await? as u64;
                    let mut sent = counting.lock().unwrap_or_else(PoisonError::into_inner);
                    *sent += acknowledged;
                    if *sent >= expected {
                        ended.notify_one();
                    }
                    Ok::<_, BatchError>(())
                }))
            }
        };
        let window = Window::open();
        let consumer = letters.kafka.consumer(letters.name.as_str()).start_from(StartFrom::Earliest);
        let consumer = consumer.max_batch_records(5_000).set("isolation.level", "read_committed");
        let consumer = consumer.route_batch(&Topic::new(letters.name.as_str(), NoKey, NoKey), resend).build()?;
        let last = async {
            last.notified().await;
            window.close()
        };
        let used: Arc<Mutex<Option<crate::meter::Used>>> = Arc::default();
        let noted = used.clone();
        let end = async move {
            let closed = last.await;
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(closed);
        };
        consumer.run_until(end).await?;
        letters.end().await?;
        let used = used.lock().unwrap_or_else(PoisonError::into_inner).take();
        used.ok_or_else(|| Box::<dyn std::error::Error + Send + Sync>::from("the last record was not acknowledged"))
    })?;
    audit.close(load.messages)?;
    Ok(Sample::rate(load.messages, used))
}

fn back(letter: &Received<(), ()>) -> Option<RawRecord> {
    let letter = DeadLetter::of(letter);
    let topic = letter.way_back().ok()?.topic?.to_owned();
    let record = letter.record();
    let mut back = RawRecord::new(topic, record.key.map(Vec::from), record.value.map(Vec::from));
    back.headers = letter.application_headers();
    Some(back)
}

/// The rates that are asked for, in records a second.
const RATES: [u64; 3] = [100, 1_000, 10_000];

/// The greatest error of all rates, in percent, by the broker's clock: its time of the last record less that of the first.
pub(crate) fn at_rates(load: &Load) -> Outcome<Sample> {
    let seconds = (load.messages / RATES[RATES.len() - 1]).max(1);
    runtime()?.block_on(async {
        let window = Window::open();
        let mut cells = Vec::new();
        for rate in RATES {
            let measured = measured(load, rate, rate * seconds).await?;
            cells.push((rate.to_string(), (measured / rate as f64 - 1.0).abs() * 100.0));
        }
        let worst = cells.iter().map(|(_, error)| *error).fold(0.0, f64::max);
        Ok(Sample { cells, ..Sample::percent(worst, load.messages, window.close()) })
    })
}

async fn measured(load: &Load, rate: u64, records: u64) -> Outcome<f64> {
    let kafka = Kafka::connect(&load.bootstrap);
    let origin = format!("{}-{rate}-{:08x}", load.topic, crate::frame::random() as u32);
    let spec = TopicSpec::new(&origin, PARTITIONS).config("message.timestamp.type", "LogAppendTime");
    kafka.ensure_topics(&[spec]).await?;
    let letters = Letters::fill(load, &origin, records, Stamp::OF_INPUT).await?;
    let job = Redrive::new(&kafka, &letters.name).rate(rate as f64);
    let report = job.run_until(std::future::pending::<()>()).await?;
    if report.sent() != records {
        return Err(format!("the job did not send them all: {report}").into());
    }
    let took = span(&kafka, &origin, records).await?;
    letters.end().await?;
    kafka.delete_topics(&[&origin]).await?;
    // From the first to the last there is one step less than there are records.
    Ok((records - 1) as f64 / took.as_secs_f64())
}

/// Between the first and the last record of a topic, by the time at which the broker took them.
async fn span(kafka: &Kafka, topic: &str, records: u64) -> Outcome<Duration> {
    let (seen, last) = (Arc::new(Mutex::new((0_u64, i64::MAX, i64::MIN))), Arc::new(Notify::new()));
    let (noting, ended) = (seen.clone(), last.clone());
    let note = move |batch: Vec<Received<(), ()>>| {
        let mut seen = noting.lock().unwrap_or_else(PoisonError::into_inner);
        for at in batch.iter().filter_map(Received::timestamp_ms) {
            *seen = (seen.0 + 1, seen.1.min(at), seen.2.max(at));
        }
        if seen.0 >= records {
            ended.notify_one();
        }
        std::future::ready(Ok::<(), BoxError>(()))
    };
    let consumer = kafka.consumer(topic).start_from(StartFrom::Earliest).set("isolation.level", "read_committed");
    let consumer = consumer.route_batch(&Topic::new(topic, NoKey, NoKey), note).build()?;
    tokio::time::timeout(Duration::from_secs(60), consumer.run_until(last.notified())).await??;
    let (_, first, last) = *seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Duration::from_millis((last - first) as u64))
}

/// What the issue allows: 2 %.
pub(crate) fn allowed(load: &Load) -> Outcome<Sample> {
    Ok(Sample::percent(2.0, load.messages, Window::open().close()))
}
