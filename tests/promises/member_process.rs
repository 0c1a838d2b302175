//! A member of a group in a process of its own, which may be killed or stopped: this very binary again.

use std::collections::BTreeMap;
use std::env;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{
    Assigned, Concurrency, ConsumerInterceptor, Error, Incoming, Kafka, RebalanceListener, Received, Topic,
    TopicPartition, Utf8,
};
use rustix::process::{Pid, Signal, kill_process};
use tests::harness::Logs;

use crate::harness::this_binary;
use crate::ledger::{Ledger, Pen, What};
use crate::naive;
use crate::protocol::Protocol;

const CHILD: &str = "MEMBER_CHILD";

/// What a child is to do: names and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order(BTreeMap<String, String>);

impl Order {
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        assert!(!value.contains([' ', '=']), "{value}");
        self.0.insert(name.to_owned(), value);
        self
    }

    fn parse(text: &str) -> Self {
        Self(
            text.split(' ')
                .filter_map(|word| word.split_once('='))
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
        )
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("the order does not say {name}: {self:?}"))
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).map(|text| text.parse().unwrap())
    }

    pub(crate) fn time(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }

    pub(crate) fn protocol(&self) -> Protocol {
        Protocol::named(self.text("protocol"))
    }

    pub(crate) fn pen(&self) -> Pen {
        Pen::open(Path::new(self.text("ledger")), self.text("by").chars().next().unwrap())
    }
}

/// A running child; killed when it is dropped.
pub(crate) struct MemberProcess {
    child: Child,
}

impl MemberProcess {
    /// Starts a member that writes to the ledger as `by`.
    pub(crate) fn start(order: &Order, by: char, ledger: &Ledger) -> Self {
        let order = order.clone().with("by", by).with("ledger", ledger.file().display());
        let words: Vec<String> = order.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let child = Command::new(this_binary())
            .args(["--exact", "member_process::child", "--ignored"])
            .env(CHILD, words.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    #[allow(dead_code, reason = "the proof with kills is not written yet")]
    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().and_then(|()| self.child.wait()).unwrap();
    }

    /// How much of its memory is in RAM.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_else(|| panic!("{status}"));
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// SIGSTOP.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Asks it to end in good order, and waits for that.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        let status = tokio::task::spawn_blocking(move || self.child.wait());
        assert!(status.await.unwrap().unwrap().success(), "the child failed");
    }
}

impl Drop for MemberProcess {
    fn drop(&mut self) {
        // One that has been waited for is not there any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "runs as the child of other tests only"]
fn child() {
    let Ok(order) = env::var(CHILD) else { return };
    let order = Order::parse(&order);
    match order.text("kind") {
        "ours" => ours(&order),
        "polled" => naive::commits_what_was_polled(&order),
        "late" => naive::commits_late(&order),
        "hoards" => naive::hoards(&order),
        other => panic!("no member {other}"),
    }
}

/// Ends when the parent closes our input, or is gone.
pub(crate) fn asked_to_end() {
    let _ = std::io::stdin().read(&mut [0]);
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
    let session = order.time("session").unwrap();
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
    if let Some(name) = order.0.get("static") {
        member = member.static_member(name);
    }
    let concurrency = match order.number("width") {
        Some(width) => Concurrency::by_key(width as usize),
        None => Concurrency::by_partition(),
    };
    let consumer = member.route_concurrent(&topic, concurrency, handler).build().unwrap();
    // Not a task: the threads of the runtime may be blocked.
    std::thread::spawn(move || tell_drains(&logs, &pen));
    if order.0.contains_key("block") {
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
