//! A timer beside transactions, on a runtime of one thread: whoever blocks the thread makes it late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kafka_client::{BoxError, Transaction};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::group::{Feed, Member};
use super::pipeline::{group, output};
use super::work::{Half, Halves};
use crate::audit::{Audit, Stamp};
use crate::frame::{self, Load, Outcome, PARTITIONS, Sample};
use crate::meter::Window;

const TICK: Duration = Duration::from_millis(1);
/// Transactions that are committed, and as many that are aborted.
const TRANSACTIONS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// Notes how late it is at worst.
pub(crate) struct Ticker {
    worst: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Ticker {
    /// In the current runtime.
    pub(crate) fn start() -> Self {
        let worst = Arc::new(AtomicU64::new(0));
        let noted = worst.clone();
        let task = tokio::spawn(async move {
            loop {
                let due = tokio::time::Instant::now() + TICK;
                sleep_until(due).await;
                noted.fetch_max(due.elapsed().as_nanos() as u64, Ordering::Relaxed);
            }
        });
        Self { worst, task }
    }

    /// The worst since it was asked for the last time. It ticks once more first.
    async fn lap(&self) -> Duration {
        sleep(TICK * 5).await;
        Duration::from_nanos(self.worst.swap(0, Ordering::Relaxed))
    }

    /// The worst since then.
    pub(crate) async fn stop(self) -> Duration {
        let worst = self.lap().await;
        self.task.abort();
        worst
    }
}

pub(crate) fn runtime_of_the_ticker() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

static TIMERS: Halves = Halves::new();

/// Of the thread that works.
pub(crate) fn beside_transactions(load: &Load) -> Outcome<Sample> {
    TIMERS.ask(Half::Ours, || both(load))
}

/// Of a thread that does nothing else, at the same time: what the machine does to it.
pub(crate) fn idle(load: &Load) -> Outcome<Sample> {
    TIMERS.ask(Half::Ideal, || both(load))
}

fn both(load: &Load) -> Outcome<[Sample; 2]> {
    let (stop, stopped) = oneshot::channel::<()>();
    let idle = thread::spawn(move || {
        runtime_of_the_ticker()?.block_on(async {
            let ticker = Ticker::start();
            // Dropped or told: it is over.
            let _ = stopped.await;
            Outcome::Ok(ticker.stop().await)
        })
    });
    let window = Window::open();
    let (audit, fed) = (Audit::open(&load.bootstrap, &load.output), Feed::start(load));
    let laps = runtime_of_the_ticker()?.block_on(laps(load, audit.stamp(), fed));
    drop(stop);
    let idle = idle.join().map_err(|_| "the idle thread panicked")??;
    let (laps, records) = laps?;
    audit.close(records)?;
    let used = window.close();
    let worst = laps.iter().map(|(_, lap)| *lap).max().unwrap_or_default();
    let cells = laps.iter().map(|(name, lap)| ((*name).to_owned(), lap.as_secs_f64() * 1e6)).collect();
    let ours = Sample { cells, ..Sample::median_latency(&mut [worst], used)? };
    Ok([ours, Sample::median_latency(&mut [idle], used)?])
}

type Laps = Vec<(&'static str, Duration)>;

/// Everything that ends transactions, or interrupts them; and how many records are to be found then.
async fn laps(load: &Load, stamp: Stamp, feed: Feed) -> Outcome<(Laps, u64)> {
    let ticker = Ticker::start();
    let mut laps = Laps::new();
    let out = output(load);
    let id = format!("{}-{:08x}", load.output, frame::random() as u32);
    let mut producer = kafka_client::Kafka::connect(&load.bootstrap).transactional_producer(id).build().await?;
    laps.push(("start", ticker.lap().await));
    for (name, commits) in [("commit", true), ("abort", false)] {
        for number in 0..TRANSACTIONS {
            let work = async |tx: Transaction| {
                for partition in 0..PARTITIONS {
                    let number = (1 << 62) + number * PARTITIONS as u64 + u64::from(partition.unsigned_abs());
                    let value = stamp.value(number);
                    tx.send(out.record(b"ticking!", &value).partition(partition)).await?;
                }
                if commits { Ok(()) } else { Err::<(), _>(BoxError::from("on purpose")) }
            };
            if producer.transaction(work).await.is_ok() != commits {
                return Err(format!("{name}: it was not as it should be").into());
            }
        }
        laps.push((name, ticker.lap().await));
    }
    if !producer.close(PATIENCE).await.is_complete() {
        return Err("records were left behind".into());
    }
    laps.push(("close of the producer", ticker.lap().await));

    let group = group(load);
    let here = Member::of(load, &group, feed.stamp(), stamp)?;
    let handle = here.handle();
    let here = here.spawn();
    assigned(&handle, 8).await?;
    laps.push(("join", ticker.lap().await));
    let (other, its_end) = Member::of(load, &group, feed.stamp(), stamp)?.on_a_thread();
    assigned(&handle, 4).await?;
    drop(other);
    assigned(&handle, 8).await?;
    its_end.await??;
    laps.push(("rebalance", ticker.lap().await));
    let fed = tokio::task::spawn_blocking(|| feed.stop()).await??;
    caught_up(&handle).await?;
    here.stop().await?;
    laps.push(("close of the pipeline", ticker.stop().await));
    Ok((laps, TRANSACTIONS * PARTITIONS as u64 + fed))
}

async fn assigned(handle: &kafka_client::ConsumerHandle, partitions: usize) -> Outcome<()> {
    let start = Instant::now();
    while handle.health().assigned != partitions {
        if start.elapsed() > PATIENCE {
            return Err(format!("{} partitions are assigned, not {partitions}", handle.health().assigned).into());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Waits until all that was written is committed.
pub(super) async fn caught_up(handle: &kafka_client::ConsumerHandle) -> Outcome<()> {
    let start = Instant::now();
    loop {
        let behind: u64 = handle.lag().await?.iter().map(|lag| lag.records).sum();
        if behind == 0 {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            let partitions = handle.partitions().await?;
            return Err(
                format!("{behind} records are still to be read: {:?} of {partitions:?}", handle.lag().await?).into()
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}
