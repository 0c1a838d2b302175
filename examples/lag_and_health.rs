//! Does my consumer keep up, and is it well? Lag, health, pausing, and the metrics of the `metrics` facade.
//!
//! Run it with `cargo run --bin lag_and_health`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{ConsumerHandle, Health, Kafka, NoKey, OnStuck, Received, Topic, TopicPartition, TopicSpec, Utf8};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

const PARTITIONS: i32 = 3;
/// Records in each of them.
const RECORDS: u64 = 100;
const LIMIT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// What an orchestrator asks over HTTP. A process that is not live is started anew, one that is not ready gets no traffic.
fn probe(health: &Health) -> String {
    let mut text = format!("live {}, ready {}, {} partitions", health.live, health.ready, health.assigned);
    for stuck in &health.stuck {
        // A reason to wake somebody up, but not to start anew: other partitions go on.
        let _ = write!(text, ", stuck at {} in {}", stuck.offset, stuck.partition);
    }
    text
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // First of all. A service installs one that is scraped, or that pushes; here it keeps the numbers to be printed.
    let printed = Printed::default();
    metrics::set_global_recorder(printed.clone())?;

    let kafka = Kafka::from_env_or_embedded()?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let lines = Topic::new(format!("examples.lag_and_health-{run}"), NoKey, Utf8);
    kafka.ensure_topics(&[TopicSpec::new(lines.name(), PARTITIONS)]).await?;
    let producer = kafka.producer().build()?;
    let spread = (0..PARTITIONS).flat_map(|partition| (0..RECORDS).map(move |_| partition));
    producer.send_batch(spread.map(|partition| lines.record(&(), "a line").partition(partition))).await?;

    let consumer = kafka
        .consumer("examples.lag_and_health")
        // The watchdog could also cancel the handler and try again, or end the consumer.
        .handler_limit(LIMIT, OnStuck::Warn)
        .route(&lines, read)
        .build()?;
    // Steers the consumer and looks inside while it runs. Partitions may be paused before they are there.
    let handle = consumer.handle();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(consumer.run_until(stopped));
    let slow: TopicPartition = (lines.name(), 2).into();
    handle.pause([slow.clone()]).await?;
    println!("at first  {}", probe(&handle.health()));

    // Partition 0 is read to its end, partition 1 up to the record whose handler hangs, and partition 2 is paused. All
    // three are told how far they are behind, asked of the cluster.
    let behind = [0, RECORDS - 50, RECORDS];
    until(async || Ok(behinds(&handle).await? == behind)).await?;
    println!("lag       {:?}, the last one paused", behinds(&handle).await?);
    until(async || Ok(!handle.health().stuck.is_empty())).await?;
    println!("stuck     {}", probe(&handle.health()));

    HELP.notify_one();
    handle.resume([slow]).await?;
    until(async || Ok(behinds(&handle).await?.iter().sum::<u64>() == 0 && handle.health().stuck.is_empty())).await?;
    println!("resumed   {}", probe(&handle.health()));
    println!("lag       {:?}", behinds(&handle).await?);
    until(async || Ok(handle.exposure() == 0)).await?;
    println!("          and everything is committed");

    let _ = stop.send(());
    let report = running.await??;
    println!("ended     {}", probe(&handle.health()));
    print!("{}", printed.text());
    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[lines.name()]).await?;
    }
    match report.handled == RECORDS * u64::from(PARTITIONS.unsigned_abs()) {
        true => Ok(()),
        false => Err(format!("{} were handled", report.handled).into()),
    }
}

static HELP: Notify = Notify::const_new();

async fn read(line: Received<(), String>) -> Result<(), Infallible> {
    if (line.partition(), line.offset()) == (1, 50) {
        HELP.notified().await;
    }
    Ok(())
}

/// How far each partition is behind.
async fn behinds(handle: &ConsumerHandle) -> Result<Vec<u64>, kafka_client::Error> {
    Ok(handle.lag().await?.iter().map(|lag| lag.records).collect())
}

async fn until(mut reached: impl AsyncFnMut() -> Result<bool, kafka_client::Error>) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while !reached().await? {
        if start.elapsed() > PATIENCE {
            return Err("it took too long".into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The numbers by their names. Counters and gauges are atomic numbers; histograms are left out.
#[derive(Clone, Default)]
struct Printed {
    counters: Arc<Mutex<BTreeMap<Key, Arc<AtomicU64>>>>,
    gauges: Arc<Mutex<BTreeMap<Key, Arc<AtomicU64>>>>,
}

impl Recorder for Printed {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        Counter::from_arc(counters.entry(key.clone()).or_default().clone())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        Gauge::from_arc(gauges.entry(key.clone()).or_default().clone())
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl Printed {
    fn text(&self) -> String {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = counters.iter().map(|(key, count)| (key, count.load(Ordering::Relaxed) as f64));
        let gauges = gauges.iter().map(|(key, bits)| (key, f64::from_bits(bits.load(Ordering::Relaxed))));
        let mut text = String::new();
        for (key, value) in counters.chain(gauges) {
            // What tells the series of a name apart, besides the group and the topic.
            let kind = key.labels().find(|label| ["kind", "result"].contains(&label.key()));
            let kind = kind.map(|label| format!("{{{}={}}}", label.key(), label.value())).unwrap_or_default();
            let _ = writeln!(text, "{}{kind} {value}", key.name());
        }
        text
    }
}
