//! Handlers, the last commit and the listener have one deadline when partitions move: within it a slow listener keeps
//! its member, and past it the partitions are lost in good order, before the broker gives them away.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use futures::StreamExt;
use kafka_client::{Assigned, BoxError, ConsumerBuilder, Error, RebalanceListener, Received, TopicPartition};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tests::harness::{Cluster, eventually, oracle};
use tokio::task::spawn_blocking;

use crate::commit_watch::CommitWatch;
use crate::given::{self, Lines as Topic};
use crate::group::{Member, SOON, commits, committed, fill};
use crate::ledger::{Ledger, Lines, Pen, What};
use crate::member_process::Tells;
use crate::naive::Patient;
use crate::protocol::{Protocol, SESSION, millis};

const LISTENS_FOR: Duration = Duration::from_secs(9);
const RECORDS: i64 = 10;
/// The record that nobody finishes in time.
const HELD: i64 = 8;

macro_rules! promises {
    ($promise:ident: $($name:ident $protocol:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $promise(Protocol::$protocol).await;
        }
    )*};
}

promises! { keeps_its_member:
    with_range_a_slow_listener_keeps_its_member Range;
    with_cooperative_sticky_a_slow_listener_keeps_its_member Cooperative;
    with_the_consumer_protocol_a_slow_listener_keeps_its_member Consumer;
}

promises! { loses_in_good_order:
    with_range_a_listener_that_is_too_slow_loses_its_partitions_in_good_order Range;
    with_cooperative_sticky_a_listener_that_is_too_slow_loses_its_partitions_in_good_order Cooperative;
    with_the_consumer_protocol_a_listener_that_is_too_slow_loses_its_partitions_in_good_order Consumer;
}

async fn keeps_its_member(protocol: Protocol) {
    let scene = Scene::new(protocol);
    let a = scene
        .member()
        .set("max.poll.interval.ms", "30000")
        .drain_timeout(Duration::from_secs(20))
        .on_rebalance(SlowOnce::of(scene.ledger.pen('a')));
    let a = Member::start(a.route(&scene.topic, scene.handler('a')));
    commits(&scene.group, &scene.topic, &[(0, RECORDS), (1, RECORDS)]).await;
    let watch = scene.watch().await;
    let b = scene.b();
    eventually("b has a partition", SOON, async || scene.ledger.lines().count('b', What::Assigned) > 0).await;
    scene.goes_on().await;
    a.stop().await;
    b.stop().await;
    let (seen, lines) = (watch.stop().await, scene.ledger.lines());
    assert_eq!((seen.back, seen.ahead), (vec![], vec![]), "{protocol:?}");
    assert_eq!(lines.owned_twice(), [], "{protocol:?}");
    assert_eq!(lines.count('a', What::Lost), 0, "{protocol:?}: it stays a member");
    assert!(waited(&lines) >= LISTENS_FOR, "b waited for the listener: {:?}", waited(&lines));
    assert_eq!(lines.begun_twice(), [], "{protocol:?}");
}

/// A listener of 9 s under a `max.poll.interval.ms` of 6 s, with a deadline of 3 s.
async fn loses_in_good_order(protocol: Protocol) {
    let scene = Scene::new(protocol);
    // With KIP-848 the heartbeat is the broker's: the builder reckons with 5 s.
    let max_poll = Duration::from_secs(if protocol == Protocol::Consumer { 10 } else { 6 });
    let a = scene.member().set("max.poll.interval.ms", millis(max_poll)).drain_timeout(Duration::from_secs(3));
    let mut records =
        a.on_rebalance(SlowOnce::of(scene.ledger.pen('a'))).stream(&scene.topic).unwrap_or_else(|e| panic!("{e}"));
    let held = RefCell::new(Vec::new());
    let pen = scene.ledger.pen('a');
    // It goes on reading what it keeps, and does not finish one record of each partition.
    let mut read = async |until: &mut dyn FnMut(&Lines) -> bool| {
        let read = tokio::time::timeout(SOON, async {
            loop {
                let next = tokio::time::timeout(Duration::from_millis(50), records.next()).await;
                if let Ok(next) = next {
                    let record = next.expect("the stream goes on").unwrap_or_else(|e| panic!("{e}"));
                    let (partition, offset) = (record.partition(), record.offset());
                    pen.record(What::Begin, partition, offset, "");
                    if offset == HELD && held.borrow().len() < 2 {
                        held.borrow_mut().push(record);
                    } else {
                        record.ack();
                        pen.record(What::Finish, partition, offset, "");
                    }
                }
                if until(&scene.ledger.lines()) {
                    break;
                }
            }
        });
        read.await.expect("it reads on");
    };
    read(&mut |lines| lines.count('a', What::Begin) as i64 == 2 * RECORDS).await;
    commits(&scene.group, &scene.topic, &[(0, HELD), (1, HELD)]).await;
    let watch = scene.watch().await;
    let b = scene.b();
    let start = std::time::Instant::now();
    read(&mut |lines| lines.count('b', What::Assigned) > 0).await;
    let took = start.elapsed();
    assert!(
        took < max_poll - Duration::from_millis(200),
        "{protocol:?}: before the broker would have given them away: {took:?}"
    );
    // The next owner repeats what was not finished, and only that: the rest rode along with the commit.
    read(&mut |lines| lines.of(What::Finish).any(|line| line.by == 'b' && line.offset == HELD)).await;
    let moved = scene.ledger.lines().of(What::Assigned).find(|line| line.by == 'b').unwrap().partition;
    eventually("b commits", SOON, async || committed(&scene.group, &scene.topic).get(&moved) == Some(&RECORDS)).await;
    // What comes late does not count.
    let late = std::mem::take(&mut *held.borrow_mut());
    for record in late {
        let (partition, offset) = (record.partition(), record.offset());
        record.ack();
        scene.ledger.pen('a').record(What::Finish, partition, offset, "");
    }
    (0..2).for_each(|partition| fill(&scene.topic, partition, 10));
    let all = [(0, RECORDS + 10), (1, RECORDS + 10)].into();
    read(&mut |_| committed(&scene.group, &scene.topic) == all).await;
    records.close().await.unwrap_or_else(|e| panic!("{e}"));
    b.stop().await;
    let (seen, lines) = (watch.stop().await, scene.ledger.lines());
    assert_eq!((seen.back, seen.ahead), (vec![], vec![]), "{protocol:?}");
    assert_eq!(lines.owned_twice(), [], "{protocol:?}");
    assert!(lines.0.iter().any(|line| line.is('a', What::Lost) && line.partition == moved), "{protocol:?}");
    assert_eq!(commits_of_others(&lines), [], "{protocol:?}");
    assert_eq!(lines.lost(&scene.written()), []);
}

/// librdkafka with a listener that nobody sets a deadline: the same check finds that the partition is owned twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_deadline_partitions_are_owned_twice() {
    let scene = Scene::new(Protocol::Range);
    let (pen, topic) = (scene.ledger.pen('a'), scene.topic.name().to_owned());
    let mut config = Protocol::Range.foreign(Cluster::shared().bootstrap(), &scene.group, SESSION);
    config.set("max.poll.interval.ms", "6000").set("auto.commit.interval.ms", "10");
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    let a = spawn_blocking(move || {
        let consumer: BaseConsumer<Patient> =
            config.create_with_context(Patient { pen: pen.clone(), listens_for: LISTENS_FOR }).unwrap();
        consumer.subscribe(&[&topic]).unwrap();
        while !end.load(SeqCst) {
            let Some(Ok(record)) = consumer.poll(Duration::from_millis(10)) else { continue };
            pen.record(What::Begin, record.partition(), record.offset(), "");
        }
        // Its last rebalance would take as long again; nobody waits for that.
        std::mem::forget(consumer);
    });
    commits(&scene.group, &scene.topic, &[(0, RECORDS), (1, RECORDS)]).await;
    let b = scene.b();
    eventually("a has listened", SOON, async || scene.ledger.lines().count('a', What::Revoked) > 0).await;
    let twice = scene.ledger.lines().owned_twice();
    assert!(!twice.is_empty(), "the check finds what is owned twice");
    ended.store(true, SeqCst);
    b.stop().await;
    a.await.unwrap();
}

struct Scene {
    protocol: Protocol,
    topic: Topic,
    group: String,
    ledger: Arc<Ledger>,
}

impl Scene {
    fn new(protocol: Protocol) -> Self {
        let topic = given::topic("orders", 2);
        (0..2).for_each(|partition| fill(&topic, partition, RECORDS as usize));
        Self { protocol, topic, group: protocol.group(SESSION), ledger: Arc::new(Ledger::new()) }
    }

    fn member(&self) -> ConsumerBuilder {
        let commits = Tells(self.ledger.pen('a'));
        self.protocol.member(&given::kafka(), &self.group, SESSION).interceptor(commits)
    }

    fn b(&self) -> Member {
        let tells = || Tells(self.ledger.pen('b'));
        let b = self.protocol.member(&given::kafka(), &self.group, SESSION).interceptor(tells());
        Member::start(b.on_rebalance(tells()).route(&self.topic, self.handler('b')))
    }

    fn handler(&self, by: char) -> impl kafka_client::Handler<Received<String, String>> + use<> {
        let pen = self.ledger.pen(by);
        move |record: Received<String, String>| {
            pen.record(What::Begin, record.partition(), record.offset(), "");
            pen.record(What::Finish, record.partition(), record.offset(), "");
            async { Ok::<_, Error>(()) }
        }
    }

    async fn watch(&self) -> CommitWatch {
        CommitWatch::start(Cluster::shared().bootstrap(), &self.group, self.topic.name(), 2, &self.ledger).await
    }

    fn written(&self) -> BTreeMap<i32, i64> {
        oracle::end_offsets(Cluster::shared().bootstrap(), self.topic.name())
    }

    /// Both partitions are read on and committed.
    async fn goes_on(&self) {
        (0..2).for_each(|partition| fill(&self.topic, partition, 10));
        commits(&self.group, &self.topic, &[(0, RECORDS + 10), (1, RECORDS + 10)]).await;
        assert_eq!(self.ledger.lines().lost(&self.written()), []);
    }
}

/// Slow the first time that partitions go.
struct SlowOnce {
    pen: Pen,
    was_slow: AtomicBool,
}

impl SlowOnce {
    fn of(pen: Pen) -> Self {
        Self { pen, was_slow: AtomicBool::new(false) }
    }
}

/// Says that partitions are given up, also where nobody waits for the listener any more.
struct GivesUp<'l>(&'l Pen, &'l [TopicPartition], What);

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        self.1.iter().for_each(|one| self.0.partition(self.2, one.partition()));
    }
}

impl RebalanceListener for SlowOnce {
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        assigned.partitions().iter().for_each(|one| self.pen.partition(What::Assigned, one.partition()));
        Ok(())
    }

    async fn revoked(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        let mut gives_up = GivesUp(&self.pen, partitions, What::Lost);
        partitions.iter().for_each(|one| self.pen.partition(What::Revoking, one.partition()));
        if !self.was_slow.swap(true, SeqCst) {
            tokio::time::sleep(LISTENS_FOR).await;
        }
        gives_up.2 = What::Revoked;
        Ok(())
    }

    async fn lost(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        drop(GivesUp(&self.pen, partitions, What::Lost));
        Ok(())
    }
}

/// How long b waited for its first partition since a began to give it away.
fn waited(lines: &Lines) -> Duration {
    let at = |by, what| lines.0.iter().find(|line| line.is(by, what)).unwrap().at;
    Duration::from_micros(at('b', What::Assigned).saturating_sub(at('a', What::Revoking)))
}

/// Commits that were confirmed to a member that did not own the partition.
fn commits_of_others(lines: &Lines) -> Vec<(char, i32, i64)> {
    let mut owner = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in &lines.0 {
        match line.what {
            What::Assigned => drop(owner.insert(line.partition, line.by)),
            What::Commit if owner.get(&line.partition) != Some(&line.by) => {
                wrong.push((line.by, line.partition, line.offset));
            }
            _ => (),
        }
    }
    wrong
}
