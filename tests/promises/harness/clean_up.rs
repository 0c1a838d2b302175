//! No broker outlives its test, however the test ends.
//!
//! The tests run this very binary again as a child that starts a cluster and hangs, and kill it.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use tests::harness::{Cluster, eventually_blocking};

/// Tells a child what to do before it hangs.
const CHILD: &str = "HARNESS_CHILD";
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_dropped_cluster_is_gone_at_once() {
    let kafka = Cluster::start(1);
    let broker = Broker::of(&kafka);
    drop(kafka);
    assert!(broker.is_gone());
}

#[test]
fn a_killed_test_process_leaves_no_broker_and_no_directory() {
    killing_a_child_takes_the_broker_along("start");
}

#[test]
fn a_killed_test_process_takes_its_shared_broker_along() {
    killing_a_child_takes_the_broker_along("share");
}

#[test]
fn a_stopped_broker_dies_with_its_test_process_too() {
    killing_a_child_takes_the_broker_along("stop");
}

#[test]
fn a_test_process_that_ends_takes_its_shared_broker_along() {
    let (mut child, broker) = child_that_will("share and end");
    let ended = child.wait().unwrap_or_else(|e| panic!("{e}"));
    assert!(ended.success(), "the child {ended}");
    eventually_blocking("the shared broker is gone", SOON, || broker.is_gone());
}

#[test]
fn a_test_process_killed_while_kafka_starts_leaves_nothing() {
    // As the directory appears, while the storage is formatted, while the broker starts.
    for moment in [0, 300, 1500].map(Duration::from_millis) {
        let temporary = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let entries = || std::fs::read_dir(temporary.path()).map_or(0, Iterator::count);
        let mut child =
            child_told_to("start").env("TMPDIR", temporary.path()).spawn().unwrap_or_else(|e| panic!("{e}"));
        eventually_blocking("the child makes its directory", SOON, || entries() == 1);
        std::thread::sleep(moment);
        kill(&mut child);
        // The directory goes last, when Java is gone.
        eventually_blocking("the directory is gone", SOON, || entries() == 0);
    }
}

#[test]
#[ignore = "runs as the child of other tests only"]
fn hang() {
    let Ok(order) = env::var(CHILD) else { return };
    let own;
    let kafka = if order.starts_with("share") {
        Cluster::shared()
    } else {
        own = Cluster::start(1);
        &own
    };
    let broker = Broker::of(kafka);
    if order == "stop" {
        kafka.node(0).stop();
    }
    println!("\nBROKER {} {}", broker.pid.as_raw_pid(), broker.dir.display());
    if order != "share and end" {
        // To be killed long before; not for ever, lest a failing test leaves it behind.
        std::thread::sleep(Duration::from_secs(60));
    }
}

fn killing_a_child_takes_the_broker_along(order: &str) {
    let (mut child, broker) = child_that_will(order);
    assert!(!broker.is_gone(), "the broker runs before its test process is killed");
    kill(&mut child);
    eventually_blocking("broker and directory are gone", SOON, || broker.is_gone());
}

/// A broker that somebody started, seen from outside.
struct Broker {
    pid: Pid,
    dir: PathBuf,
}

impl Broker {
    fn of(kafka: &Cluster) -> Self {
        let node = kafka.node(0);
        let pid = node.pid().and_then(Pid::from_raw).unwrap_or_else(|| panic!("the broker does not run"));
        let dir = node.dir().parent().unwrap_or_else(|| panic!("a node's folder is in the cluster's"));
        Self { pid, dir: dir.to_owned() }
    }

    fn is_gone(&self) -> bool {
        test_kill_process(self.pid).is_err() && !self.dir.exists()
    }
}

/// Kills with SIGKILL: no destructor runs, no exit handler.
fn kill(child: &mut Child) {
    child.kill().and_then(|()| child.wait()).unwrap_or_else(|e| panic!("the child could not be killed: {e}"));
}

/// Runs the test `hang` in a process of its own, and returns when its broker answers.
fn child_that_will(order: &str) -> (Child, Broker) {
    let mut child = child_told_to(order).spawn().unwrap_or_else(|e| panic!("the child did not start: {e}"));
    // Borrowed, not taken: the child goes on printing after the line that is looked for.
    let stdout = child.stdout.as_mut().unwrap_or_else(|| panic!("the child's stdout is piped"));
    let broker = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .find_map(|line| {
            let (pid, dir) = line.strip_prefix("BROKER ")?.split_once(' ')?;
            Some(Broker { pid: Pid::from_raw(pid.parse().ok()?)?, dir: Path::new(dir).to_owned() })
        })
        .unwrap_or_else(|| panic!("the child started no broker"));
    (child, broker)
}

fn child_told_to(order: &str) -> Command {
    let mut child = Command::new(super::this_binary());
    child
        .args(["--exact", "harness::clean_up::hang", "--ignored", "--nocapture"])
        .env(CHILD, order)
        // The child must start its own broker to be a test.
        .env_remove("KAFKA_BOOTSTRAP_SERVERS")
        .stdout(Stdio::piped());
    child
}
