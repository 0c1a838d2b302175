//! A member of a group in a process of its own, which may be killed or stopped: this very binary again.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{
    Assigned, Concurrency, ConsumerInterceptor, Error, Incoming, Kafka, RebalanceListener, Received, Topic,
    TopicPartition, Utf8,
};
use tests::chaos::process::{Process, asked_to_end};
use tests::harness::Logs;

use crate::group::SOON;
use crate::harness::this_binary;
use crate::ledger::{Ledger, Pen, What};
use crate::naive;

pub(crate) use tests::chaos::Order;

const CHILD: &str = "MEMBER_CHILD";

/// A running child; killed when it is dropped.
pub(crate) struct MemberProcess(Process);

impl MemberProcess {
    /// Starts a member that writes to the ledger as `by`.
    pub(crate) fn start(order: &Order, by: char, ledger: &Ledger) -> Self {
        let order = order.clone().with("by", by).with("ledger", ledger.file().display());
        let mut command = Command::new(this_binary());
        command.args(["--exact", "member_process::child", "--ignored"]).env(CHILD, order.to_string());
        Self(Process::start(&mut command))
    }

    /// How much of its memory is in RAM.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_else(|| panic!("{status}"));
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// SIGSTOP.
    pub(crate) fn suspend(&self) {
        self.0.suspend();
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.0.resume();
    }

    /// Asks it to end in good order, and waits for that.
    pub(crate) async fn stop(self) {
        let ended = tokio::task::spawn_blocking(move || self.0.stop(SOON));
        ended.await.unwrap().unwrap_or_else(|problem| panic!("the child failed: {problem}"));
    }
}

#[test]
#[ignore = "runs as the child of other tests only"]
fn child() {
    let Ok(order) = env::var(CHILD) else { return };
    let order = Order::parse(&order);
    match order.text("kind") {
        "ours" => ours(&order),
        "late" => naive::commits_late(&order),
        "hoards" => naive::hoards(&order),
        other => panic!("no member {other}"),
    }
}

/// What the handlers of all kinds do.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) pen: Pen,
    order: Arc<Order>,
}

impl Work {
    pub(crate) fn of(order: &Order) -> Self {
        Self { pen: order.pen(), order: Arc::new(order.clone()) }
    }

    pub(crate) fn begin(&self, partition: i32, offset: i64, key: &str) {
        self.pen.record(What::Begin, partition, offset, key);
    }

    pub(crate) fn finish(&self, partition: i32, offset: i64, key: &str) {
        self.pen.record(What::Finish, partition, offset, key);
    }

    /// How long a record takes.
    pub(crate) fn takes(&self, offset: i64) -> Duration {
        let most = self.order.number("work").unwrap_or(0);
        // Not the same for neighbours.
        Duration::from_millis((offset as u64).wrapping_mul(2_654_435_761) % (most + 1))
    }

    /// Whether it has to wait still, for a sign.
    pub(crate) fn is_held(&self, partition: i32, offset: i64) -> bool {
        self.order.number("hold") == Some(offset as u64)
            && self.order.number("hold_partition").is_none_or(|held| held == partition as u64)
            && !Path::new(self.order.text("gate")).exists()
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn ours(order: &Order) {
    let logs = Logs::listen();
    let topic = Topic::new(order.text("topic"), Utf8, Utf8);
    let work = Work::of(order);
    let pen = work.pen.clone();
    let handler = move |record: Received<String, String>| {
        let work = work.clone();
        async move {
            let (partition, offset) = (record.partition(), record.offset());
            work.begin(partition, offset, record.key());
            tokio::time::sleep(work.takes(offset)).await;
            while work.is_held(partition, offset) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            work.finish(partition, offset, record.key());
            Ok::<_, Error>(())
        }
    };
    let protocol = order.protocol();
    let session = order.session();
    let kafka = Kafka::connect(order.text("bootstrap"));
    let mut member = protocol
        .member(&kafka, order.text("group"), session)
        .set("max.poll.interval.ms", order.number("max_poll").unwrap_or(30_000).to_string())
        .set("reconnect.backoff.max.ms", "500")
        .on_rebalance(Tells(pen.clone()))
        .interceptor(Tells(pen.clone()));
    if let Ok(facilities) = env::var("MEMBER_DEBUG") {
        member = member.set("debug", facilities);
    }
    if let Some(drain) = order.time("drain") {
        member = member.drain_timeout(drain);
    }
    if let Some(most) = order.number("exposure") {
        member = member.max_duplicate_exposure(most as usize);
    }
    if let Some(most) = order.number("buffered_bytes") {
        member = member.max_buffered_bytes(most as usize);
    }
    if let Some(name) = order.get("static") {
        member = member.static_member(name);
    }
    let concurrency = match order.number("width") {
        Some(width) => Concurrency::by_key(width as usize),
        None => Concurrency::by_partition(),
    };
    let consumer = member.route_concurrent(&topic, concurrency, handler).build().unwrap();
    // Not a task: the threads of the runtime may be blocked.
    std::thread::spawn(move || tell_drains(&logs, &pen));
    if order.get("block").is_some() {
        // More than there are threads.
        (0..4).for_each(|_| drop(tokio::spawn(block(order.clone()))));
    }
    let ended = consumer.run_until(tokio::task::spawn_blocking(asked_to_end)).await;
    if let Err(error) = ended {
        eprintln!("{:?}: {error:?}", order.text("by"));
        std::process::exit(1);
    }
}

/// Blocks a thread of the runtime between two signs, as code does that knows nothing of async.
async fn block(order: Order) {
    while !Path::new(order.text("block")).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while !Path::new(order.text("gate")).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn tell_drains(logs: &Logs, pen: &Pen) {
    let is_drain = |line: &&tests::harness::Line| line.message == "partitions revoked" && line.field("lost") == "false";
    let (mut told, mut shown) = (0, 0);
    loop {
        // For whoever looks into a child that does not do what it should.
        if env::var_os("MEMBER_LOGS").is_some() {
            // Not `eprintln`, which is captured here.
            let show = |line: &tests::harness::Line| drop(writeln!(std::io::stderr(), "{}: {line}", pen.by()));
            logs.lines()[shown..].iter().for_each(show);
            shown = logs.lines().len();
        }
        let drains = logs.lines().iter().filter(is_drain).count();
        (told..drains).for_each(|_| pen.partition(What::Draining, -1));
        told = drains;
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Tells the ledger what the listener and the interceptor hear.
pub(crate) struct Tells(pub(crate) Pen);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Tells {
    fn all(&self, what: What, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|partition| self.0.partition(what, partition.partition()));
    }
}

impl RebalanceListener for Tells {
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        self.all(What::Assigned, &assigned.partitions());
        Ok(())
    }

    async fn revoked(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        self.all(What::Revoked, partitions);
        Ok(())
    }

    async fn lost(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        self.all(What::Lost, partitions);
        Ok(())
    }
}

impl ConsumerInterceptor for Tells {
    fn on_receive(&self, _: &Incoming<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn on_commit(&self, partition: &TopicPartition, offset: i64) {
        self.0.record(What::Commit, partition.partition(), offset, "");
    }
}
