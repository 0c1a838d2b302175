//! Members that copy a steady flow of records, exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::future::BoxFuture;
use kafka_client::{ConsumerBuilder, ConsumerHandle, ConsumerReport, Error, Kafka};
use tokio::sync::oneshot;

use super::pipeline::{Input, output};
use super::{producer, runtime, topic};
use crate::audit::Stamp;
use crate::frame::{self, Load, MAX_IN_FLIGHT, Outcome, PARTITIONS};

/// Between two batches of a record for each partition.
const PACE: Duration = Duration::from_millis(5);
/// How long a transaction may be open: others wait that long for that of a member that was killed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A thread that writes the input until it is stopped.
pub(crate) struct Feed {
    stamp: Stamp,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<u64>>,
}

impl Feed {
    pub(crate) fn start(load: &Load) -> Self {
        let (stamp, over) = (Stamp::new(frame::random()), Arc::new(AtomicBool::new(false)));
        let (load, ends) = (load.clone(), over.clone());
        let thread = thread::spawn(move || {
            runtime()?.block_on(async {
                let (producer, topic) = (producer(&load, MAX_IN_FLIGHT)?, topic(&load));
                let mut fed = 0;
                while !ends.load(Ordering::Relaxed) {
                    let numbers = fed..fed + u64::from(PARTITIONS.unsigned_abs());
                    let values: Vec<_> = numbers.clone().map(|number| stamp.value(number)).collect();
                    let records = values
                        .iter()
                        .zip(0..)
                        .map(|(value, number)| topic.record(b"the feed", value).partition(number));
                    fed += producer.send_batch(records).await? as u64;
                    tokio::time::sleep(PACE).await;
                }
                Ok(fed)
            })
        });
        Self { stamp, over, thread }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// How many records it has written.
    pub(crate) fn stop(self) -> Outcome<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the feeding thread panicked")?
    }
}

/// What a member does with each batch, after it has sent the copies: told the partitions of the records.
type After = Arc<dyn Fn(Vec<i32>) -> BoxFuture<'static, ()> + Send + Sync>;

pub(crate) fn nothing(_: Vec<i32>) -> BoxFuture<'static, ()> {
    Box::pin(async {})
}

/// A member, and how it is run.
pub(crate) struct Member {
    handle: ConsumerHandle,
    running: BoxFuture<'static, Result<ConsumerReport, Error>>,
    stop: oneshot::Sender<()>,
}

impl Member {
    /// Copies what has the one stamp, with the other one.
    pub(crate) fn of(load: &Load, group: &str, from: Stamp, to: Stamp) -> Outcome<Self> {
        Self::with(load, group, (from, to), |builder| builder, Arc::new(nothing))
    }

    pub(crate) fn with(
        load: &Load,
        group: &str,
        (from, to): (Stamp, Stamp),
        customize: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder + Send + 'static,
        after: After,
    ) -> Outcome<Self> {
        let out = output(load);
        let pipeline = Kafka::connect(&load.bootstrap)
            .exactly_once(group)
            .from(&topic(load))
            .transaction_timeout(TIMEOUT)
            .consumer(move |builder| customize(builder.set("fetch.wait.max.ms", "50")))
            .process(move |batch, tx| {
                let (out, after) = (out.clone(), after.clone());
                async move {
                    let copy = |record| Some((record, to.value(from.number(Input::value(record))?)));
                    let copies: Vec<_> = batch.iter().filter_map(copy).collect();
                    tx.send_batch(copies.iter().map(|(record, value)| out.record(record.key(), value))).await?;
                    let mut partitions: Vec<i32> = batch.iter().map(Input::partition).collect();
                    partitions.dedup();
                    after(partitions).await;
                    Ok(())
                }
            })
            .build()?;
        let (stop, stopped) = oneshot::channel();
        Ok(Self { handle: pipeline.handle(), running: Box::pin(pipeline.run_until(stopped)), stop })
    }

    pub(crate) fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }

    /// In the current runtime.
    pub(crate) fn spawn(self) -> Spawned {
        Spawned { stop: self.stop, task: tokio::spawn(self.running) }
    }

    /// With a runtime of its own, until the first of these is dropped; the other one tells how it has ended.
    pub(crate) fn on_a_thread(self) -> (oneshot::Sender<()>, oneshot::Receiver<Outcome<()>>) {
        let (ended, its_end) = oneshot::channel();
        let Self { running, stop, .. } = self;
        thread::spawn(move || {
            let outcome = runtime().and_then(|runtime| Ok(runtime.block_on(running).map(drop)?));
            // Who has given up does not need it.
            let _ = ended.send(outcome);
        });
        (stop, its_end)
    }
}

pub(crate) struct Spawned {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<ConsumerReport, Error>>,
}

impl Spawned {
    pub(crate) async fn stop(self) -> Outcome<()> {
        drop(self.stop);
        match self.task.await??.left_group {
            true => Ok(()),
            false => Err("it did not leave its group".into()),
        }
    }
}
