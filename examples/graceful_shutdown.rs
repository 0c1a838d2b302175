//! How does a service end, on SIGTERM and on Ctrl-C, without losing a record or handling one twice?
//!
//! It sends the signal to itself, twice: once while handlers are at work that come to an end, and once with one that does
//! not. A third consumer handles what is left.
//!
//! Run it with `cargo run --bin graceful_shutdown`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{
    Completion, Concurrency, Consumer, ConsumerReport, Handler, Json, Kafka, NoKey, Received, Topic, TopicSpec,
};
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

const RECORDS: usize = 60;
const WORK: Duration = Duration::from_millis(100);
/// One less than what the orchestrator allows between SIGTERM and SIGKILL: in Kubernetes 30 s, here little, for the show.
const DRAIN: Duration = Duration::from_secs(2);
/// Its handler does not come to an end the first time.
const HANGS: usize = 33;
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer in code: `run_until` ends in good order when its argument is ready.
async fn serve(consumer: Consumer) -> Result<ConsumerReport, Box<dyn Error>> {
    let mut terminated = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminated.recv() => println!("SIGTERM"),
            _ = tokio::signal::ctrl_c() => println!("Ctrl-C"),
        }
    };
    // It takes no more records, lets handlers finish what they hold, commits that and leaves the group. A handler that
    // does not finish within `drain_timeout` is cancelled, and its record stays uncommitted. An error is one of the
    // consumer, and not of the shutdown: what was finished is committed all the same.
    let start = Instant::now();
    let report = consumer.run_until(shutdown).await?;
    println!(
        "  handled {}, unfinished {}, committed {:?}, left the group: {}",
        report.handled,
        report.unfinished,
        report.committed.values().collect::<Vec<_>>(),
        report.left_group,
    );
    println!("  after {:.1} s", start.elapsed().as_secs_f32());
    Ok(report)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let jobs = Topic::new(format!("examples.graceful_shutdown-{run}"), NoKey, Json::<usize>::new());
    kafka.ensure_topics(&[TopicSpec::new(jobs.name(), 1)]).await?;
    let producer = kafka.producer().build()?;
    let all: Vec<usize> = (0..RECORDS).collect();
    producer.send_batch(all.iter().map(|number| jobs.record(&(), number))).await?;

    let work = Work::default();
    let member = |hangs: Option<usize>| {
        let worker = Worker { work: work.clone(), hangs };
        // How many there are at the same time makes no difference: all of them may finish.
        let consumer = kafka.consumer(jobs.name()).drain_timeout(DRAIN);
        consumer.route_concurrent(&jobs, Concurrency::unordered(4), worker).build()
    };
    println!("every handler comes to its end");
    tokio::spawn(terminate_after(work.clone(), 10));
    let first = serve(member(None)?).await?;
    println!("one does not: that of record {HANGS}");
    tokio::spawn(terminate_after(work.clone(), HANGS + 8));
    let second = serve(member(Some(HANGS))?).await?;
    println!("the next one goes on where they have ended");
    tokio::spawn(terminate_after(work.clone(), RECORDS));
    let third = serve(member(None)?).await?;

    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[jobs.name()]).await?;
    }
    let done = work.done();
    let twice: Vec<usize> = done.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect();
    println!("{} of {RECORDS} records were handled to the end; more than once: {twice:?}", done.len());
    let unfinished = [&first, &second, &third].map(|report| report.unfinished);
    match done.len() == RECORDS && twice.is_empty() && unfinished == [0, 1, 0] {
        true => Ok(()),
        false => Err("a record was lost, or handled twice".into()),
    }
}

/// What an orchestrator does: here once so many records are done.
async fn terminate_after(work: Work, records: usize) {
    match timeout(PATIENCE, work.reaches(records)).await {
        Ok(()) => (),
        Err(_) => eprintln!("it took too long"),
    }
    if let Err(error) = kill_process(getpid(), Signal::TERM) {
        eprintln!("no signal: {error}");
    }
}

struct Worker {
    work: Work,
    hangs: Option<usize>,
}

impl Handler<Received<(), usize>> for Worker {
    type Error = Infallible;

    async fn handle(&self, job: Received<(), usize>) -> Result<Completion, Infallible> {
        if self.hangs == Some(*job.value()) {
            pending::<()>().await;
        }
        sleep(WORK).await;
        self.work.note(*job.value());
        Ok(Completion::done())
    }
}

/// Counts how often each record was handled to its end.
#[derive(Clone, Default)]
struct Work(Arc<(Mutex<BTreeMap<usize, u32>>, Notify)>);

impl Work {
    fn note(&self, number: usize) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default() += 1;
        self.0.1.notify_one();
    }

    fn done(&self) -> BTreeMap<usize, u32> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn reaches(&self, records: usize) {
        while self.done().len() < records {
            self.0.1.notified().await;
        }
    }
}
