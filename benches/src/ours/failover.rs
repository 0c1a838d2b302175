//! How long the partitions of a member that was killed stand still.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use kafka_client::{ConsumerBuilder, ConsumerHandle, ConsumerInterceptor, GroupProtocol, Incoming, TopicPartition};
use tests::harness::oracle;

use super::group::{Feed, Member, nothing};
use super::pipeline::group;
use super::runtime;
use super::ticker::caught_up;
use super::work::{Half, Halves};
use crate::audit::{Audit, Found, Stamp};
use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;

/// The command with which this program starts itself as the member that is killed.
pub(crate) const MEMBER_COMMAND: &str = "eos-member";

/// `consumer.session.timeout.ms` of the group.
const SESSION: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the member that is killed works on a batch, its copies sent; and when it is killed in that time.
const WORK: Duration = Duration::from_millis(30);
const KILLED_AFTER: Duration = Duration::from_millis(12);
/// Batches of it before that.
const BATCHES: usize = 10;

static RUN: Halves = Halves::new();

/// From SIGKILL to the first commit of the other member on a partition of the killed one.
pub(crate) fn from_a_kill(load: &Load) -> Outcome<Sample> {
    RUN.ask(Half::Ours, || kill(load))
}

/// After so long the broker gives the partitions away.
pub(crate) fn session(load: &Load) -> Outcome<Sample> {
    RUN.ask(Half::Ideal, || kill(load))
}

fn kill(load: &Load) -> Outcome<[Sample; 2]> {
    let group = group(load);
    oracle::configure_group(
        &load.bootstrap,
        &group,
        &[("consumer.session.timeout.ms", &SESSION.as_millis().to_string()), ("consumer.heartbeat.interval.ms", "200")],
    );
    let (audit, feed) = (Audit::open(&load.bootstrap, &load.output), Feed::start(load));
    let (from, to) = (feed.stamp(), audit.stamp());
    let commits = Arc::new(Commits::default());
    let window = Window::open();
    let took = runtime()?.block_on(async {
        let noting = Noting(commits.clone());
        let here = |builder: ConsumerBuilder| of_the_broker(builder).interceptor(noting);
        let survivor = Member::with(load, &group, (from, to), here, Arc::new(nothing))?;
        let handle = survivor.handle();
        let survivor = survivor.spawn();
        let took = {
            let (load, group, commits, handle) = (load.clone(), group.clone(), commits.clone(), handle.clone());
            tokio::task::spawn_blocking(move || taken_over(&load, &group, (from, to), &commits, &handle)).await??
        };
        let fed = tokio::task::spawn_blocking(|| feed.stop()).await??;
        caught_up(&handle).await?;
        survivor.stop().await?;
        Outcome::Ok((took, fed))
    });
    let (took, fed) = took?;
    let Found { hidden, .. } = audit.close(fed)?;
    if hidden == 0 {
        return Err("the kill hit no open transaction".into());
    }
    let used = window.close();
    let ours = Sample::median_latency(&mut [took], used)?;
    let ours = Sample { figures: [Some(("hidden_records", hidden as f64)), None, None], ..ours };
    Ok([ours, Sample::median_latency(&mut [SESSION], used)?])
}

/// Lets another member join, kills it, and waits until its partitions go on.
fn taken_over(
    load: &Load,
    group: &str,
    stamps: (Stamp, Stamp),
    commits: &Commits,
    survivor: &ConsumerHandle,
) -> Outcome<Duration> {
    let start = Instant::now();
    while survivor.health().assigned != 8 {
        if start.elapsed() > PATIENCE {
            return Err("the first member was not assigned all".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let mut victim = Victim::start(load, group, stamps)?;
    let mut lines = BufReader::new(victim.0.stdout.take().ok_or("no output")?).lines();
    let mut partitions = BTreeSet::new();
    let mut batches = 0;
    while batches < BATCHES || survivor.health().assigned + partitions.len() != 8 {
        let line = lines.next().ok_or("the member that was to be killed has ended")??;
        partitions = line
            .split(' ')
            .map(str::parse)
            .collect::<Result<BTreeSet<i32>, _>>()?
            .union(&partitions)
            .copied()
            .collect();
        batches += 1;
        if batches > 1_000 {
            return Err(format!("the members have {partitions:?} and {} partitions", survivor.health().assigned).into());
        }
    }
    thread::sleep(KILLED_AFTER);
    let killed = Instant::now();
    victim.0.kill()?;
    commits.first_of(&partitions, killed)
}

/// KIP-848.
fn of_the_broker(builder: ConsumerBuilder) -> ConsumerBuilder {
    builder.group_protocol(GroupProtocol::Consumer { remote_assignor: None })
}

/// When which partition was committed.
#[derive(Default)]
struct Commits(Mutex<Vec<(i32, Instant)>>);

impl Commits {
    fn first_of(&self, partitions: &BTreeSet<i32>, after: Instant) -> Outcome<Duration> {
        loop {
            let first = {
                let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                seen.iter().find(|(partition, at)| partitions.contains(partition) && *at > after).map(|(_, at)| *at)
            };
            match first {
                Some(at) => return Ok(at - after),
                None if after.elapsed() > PATIENCE => return Err("nobody went on with its partitions".into()),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

struct Noting(Arc<Commits>);

impl ConsumerInterceptor for Noting {
    fn on_receive(&self, _: &Incoming<'_>) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(())
    }

    fn on_commit(&self, partition: &TopicPartition, _: i64) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).push((partition.partition(), Instant::now()));
    }
}

/// A process that ends when it is killed, or this one ends.
struct Victim(Child);

impl Victim {
    fn start(load: &Load, group: &str, (from, to): (Stamp, Stamp)) -> Outcome<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args([MEMBER_COMMAND, &serde_json::to_string(load)?, group, &from.to_string(), &to.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is the member that is killed: tells the partitions of each batch, with copies of it in an open transaction.
pub(crate) fn be_member(mut arguments: impl Iterator<Item = String>) -> Outcome<()> {
    let mut next = || arguments.next().ok_or("benches eos-member LOAD GROUP FROM TO");
    let load: Load = serde_json::from_str(&next()?)?;
    let group = next()?;
    let stamps = (next()?.parse()?, next()?.parse()?);
    runtime()?.block_on(async {
        let slow = Arc::new(|partitions: Vec<i32>| -> BoxFuture<'static, ()> {
            Box::pin(async move {
                let names: Vec<String> = partitions.iter().map(i32::to_string).collect();
                println!("{}", names.join(" "));
                tokio::time::sleep(WORK).await;
            })
        });
        let member = Member::with(&load, &group, stamps, of_the_broker, slow)?.spawn();
        // Its input ends with the process that has started it.
        tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
        member.stop().await
    })
}
