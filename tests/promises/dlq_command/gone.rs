//! A broker that is gone in the middle: said, with a code; and the same command goes on.

use std::process::Child;
use std::time::Duration;

use kafka_client::Kafka;
use tests::harness::oracle::{self, Isolation};
use tests::harness::{Breakable, eventually};

use super::*;
use crate::dead_letters::ids;

const LETTERS: i64 = 2_000;
/// A command that is told of no broker gives up long before this.
const PATIENCE: Duration = Duration::from_secs(180);

/// Dead letters on a broker that may be broken, and where they came from.
async fn letters(broker: &Breakable) -> Given {
    let given = Given {
        kafka: Kafka::connect(broker.bootstrap()),
        orders: given::topic_on(broker, "orders", 2),
        letters: given::topic_on(broker, "orders.dlq", 2),
    };
    given.write((0..LETTERS).map(|offset| given.letter(offset, "a"))).await;
    given
}

fn on(broker: &Breakable, arguments: &[&str]) -> Command {
    let mut command = command();
    command.env("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap()).args(arguments).stdin(Stdio::null());
    command
}

fn sent(broker: &Breakable, given: &Given) -> Vec<oracle::Stored> {
    oracle::read_all(broker.bootstrap(), given.orders.name(), Isolation::ReadCommitted)
}

/// A process that is killed, whatever becomes of the test.
struct Started(Option<Child>);

impl Started {
    fn new(mut command: Command) -> Self {
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// Waits for its end; the code, and what it has said.
    async fn ended(mut self) -> (Option<i32>, String) {
        let child = self.0.as_mut().unwrap();
        eventually("it has ended", PATIENCE, async || child.try_wait().unwrap().is_some()).await;
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        (output.status.code(), [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill().and_then(|()| child.wait().map(drop));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_says_so_and_the_same_command_finishes_with_each_record_once() {
    let broker = Cluster::breakable();
    let given = letters(&broker).await;
    let redrive = ["redrive", given.letters.name(), "--execute"];
    let slowly = Started::new(on(&broker, &[&redrive[..], &["--rate", "100"]].concat()));
    eventually("some are sent", PATIENCE, async || !sent(&broker, &given).is_empty()).await;
    broker.broker().kill();
    let (code, said) = slowly.ended().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Kafka has not answered for") && said.contains("the same job goes on"), "{said}");
    broker.broker().start();
    assert!(sent(&broker, &given).len() < LETTERS as usize, "nothing is left to go on with");
    done(&on(&broker, &redrive).output().unwrap());
    assert_eq!(ids(&sent(&broker, &given)), (0..LETTERS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_the_second_interrupt_ends_it_and_the_same_command_goes_on() {
    let broker = Cluster::breakable();
    let given = letters(&broker).await;
    let redrive = ["redrive", given.letters.name(), "--execute"];
    let mut slowly = Started::new(on(&broker, &[&redrive[..], &["--rate", "100"]].concat()));
    eventually("some are sent", PATIENCE, async || !sent(&broker, &given).is_empty()).await;
    broker.broker().stop();
    let interrupt = |started: &Started| {
        let pid = rustix::process::Pid::from_child(started.0.as_ref().unwrap());
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    };
    interrupt(&slowly);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(slowly.0.as_mut().unwrap().try_wait().unwrap(), None, "the first waits for an answer");
    interrupt(&slowly);
    let at_once = tokio::time::timeout(Duration::from_secs(20), slowly.ended()).await;
    let (code, said) = at_once.expect("the second does not");
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("once more to end at once") && said.contains("the same command goes on"), "{said}");
    broker.broker().cont();
    done(&on(&broker, &redrive).output().unwrap());
    assert_eq!(ids(&sent(&broker, &given)), (0..LETTERS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_soon_is_waited_for() {
    let broker = Cluster::breakable();
    let given = letters(&broker).await;
    let redrive = ["redrive", given.letters.name(), "--execute", "--rate", "500", "--json"];
    let slowly = Started::new(on(&broker, &redrive));
    eventually("some are sent", PATIENCE, async || !sent(&broker, &given).is_empty()).await;
    broker.broker().kill();
    broker.broker().start();
    let (code, said) = slowly.ended().await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ids(&sent(&broker, &given)), (0..LETTERS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_cut_off_has_written_nothing_and_the_same_command_writes_all() {
    let broker = Cluster::breakable();
    let given = letters(&broker).await;
    let copy = given::topic_on(&broker, "copy.dlq", 2);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("letters.jsonl");
    let path = file.to_str().unwrap();
    done(&on(&broker, &["export", given.letters.name(), "--file", path]).output().unwrap());
    // Many times as many, so that it takes a while.
    let text = std::fs::read_to_string(&file).unwrap().repeat(50);
    let lines = text.lines().count();
    std::fs::write(&file, text).unwrap();
    let import = ["import", path, "--to", copy.name(), "--execute"];
    let seen = |isolation| oracle::end_offsets_as(broker.bootstrap(), copy.name(), isolation).values().sum::<i64>();

    // Killed with some of it in the log.
    let mut started = Started::new(on(&broker, &import));
    eventually("some is in the log", PATIENCE, async || seen(Isolation::ReadUncommitted) > 0).await;
    started.0.as_mut().unwrap().kill().unwrap();
    started.0.as_mut().unwrap().wait().unwrap();
    assert_eq!(oracle::read_all(broker.bootstrap(), copy.name(), Isolation::ReadCommitted), []);

    // Without its broker, and the broker without it.
    let started = Started::new(on(&broker, &import));
    let before = seen(Isolation::ReadUncommitted);
    eventually("more is in the log", PATIENCE, async || seen(Isolation::ReadUncommitted) > before).await;
    broker.broker().kill();
    let (code, said) = started.ended().await;
    assert_eq!(code, Some(1), "{said}");
    broker.broker().start();
    assert_eq!(oracle::read_all(broker.bootstrap(), copy.name(), Isolation::ReadCommitted), []);

    // Once more, to its end: all of it, once.
    done(&on(&broker, &import).output().unwrap());
    // A commit is confirmed before its markers stand in the logs.
    let ends = || (seen(Isolation::ReadCommitted), seen(Isolation::ReadUncommitted));
    eventually("nothing is open", PATIENCE, async || ends().0 == ends().1).await;
    let written = oracle::read_all(broker.bootstrap(), copy.name(), Isolation::ReadCommitted);
    assert_eq!(written.len(), lines);
    let numbers = ids(&written);
    assert!((0..LETTERS).all(|id| numbers.iter().filter(|number| **number == id).count() == 50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_says_so_and_the_same_command_reads_all() {
    let broker = Cluster::breakable();
    let given = letters(&broker).await;
    broker.broker().stop();
    let (code, said) = Started::new(on(&broker, &["stats", given.letters.name()])).ended().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("kafka-dlq: could not look at the topic"), "{said}");
    broker.broker().cont();
    let counted = done(&on(&broker, &["stats", given.letters.name(), "--json"]).output().unwrap());
    assert_eq!(lines(&counted)[0]["count"], LETTERS, "{counted}");
}
