//! A member that is taken for dead while it drains, for its session or for `max.poll.interval.ms`, commits nothing any
//! more: what it finishes late moves no offset back, whether the partitions have another owner by then or none. Others
//! repeat no more of its work than its bound on exposure.

use std::sync::Arc;
use std::time::Duration;

use tests::harness::{Cluster, eventually, oracle};

use crate::commit_watch::{CommitWatch, Seen};
use crate::given::{self, Lines as Topic};
use crate::group::{Member, SOON, commits, fill};
use crate::ledger::{Ledger, Lines, What};
use crate::member_process::{MemberProcess, Order, Tells};
use crate::protocol::{Protocol, SHORT_SESSION, millis};

/// What a member is in the middle of when it is stopped.
const HELD: i64 = 5;
const RECORDS: i64 = 10;
/// The bound on what the stopped member may have handed out and not committed: what others repeat of it.
const EXPOSURE: usize = 4;

/// Why the broker takes the stopped member for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Because {
    /// It was not heard of for a session: the whole process stood still.
    OfItsSession,
    /// Its heartbeats went on, and it has not answered the rebalance within `max.poll.interval.ms`: all threads of
    /// its runtime are blocked, so that nobody there could keep a deadline.
    OfMaxPoll,
}

impl Because {
    fn session(self) -> Duration {
        match self {
            Self::OfItsSession => SHORT_SESSION,
            Self::OfMaxPoll => Duration::from_secs(6),
        }
    }

    fn max_poll(self, protocol: Protocol) -> Duration {
        match self {
            Self::OfItsSession => Duration::from_secs(30),
            // With KIP-848 the heartbeat is the broker's: the builder reckons with 5 s.
            Self::OfMaxPoll if protocol == Protocol::Consumer => Duration::from_secs(10),
            Self::OfMaxPoll => Duration::from_secs(6),
        }
    }

    fn drain(self) -> Duration {
        match self {
            Self::OfItsSession => Duration::from_secs(20),
            Self::OfMaxPoll => Duration::from_secs(4),
        }
    }
}

/// When the stopped member's handlers finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finishes {
    /// As soon as it goes on.
    AtOnce,
    /// When it has been told that it is no member any more.
    Later,
}

/// Who has the partitions then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Another,
    /// The other member has left: the broker takes commits for an empty group from anybody.
    Nobody,
}

macro_rules! promises {
    ($because:ident: $($name:ident: $protocol:ident, $finishes:ident, $owner:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            commits_nothing(Protocol::$protocol, Because::$because, Finishes::$finishes, Owner::$owner).await;
        }
    )*};
}

promises! { OfItsSession:
    with_range_what_is_finished_at_once_moves_no_offset_back: Range, AtOnce, Another;
    with_range_what_is_finished_later_moves_no_offset_back: Range, Later, Another;
    with_range_what_is_finished_at_once_moves_no_offset_of_an_empty_group_back: Range, AtOnce, Nobody;
    with_range_what_is_finished_later_moves_no_offset_of_an_empty_group_back: Range, Later, Nobody;
    with_cooperative_sticky_what_is_finished_at_once_moves_no_offset_back: Cooperative, AtOnce, Another;
    with_cooperative_sticky_what_is_finished_later_moves_no_offset_of_an_empty_group_back: Cooperative, Later, Nobody;
    with_the_consumer_protocol_what_is_finished_at_once_moves_no_offset_back: Consumer, AtOnce, Another;
    with_the_consumer_protocol_what_is_finished_later_moves_no_offset_back: Consumer, Later, Another;
    with_the_consumer_protocol_what_is_finished_later_moves_no_offset_of_an_empty_group_back: Consumer, Later, Nobody;
}

promises! { OfMaxPoll:
    with_range_past_max_poll_what_is_finished_moves_no_offset_back: Range, AtOnce, Another;
    with_range_past_max_poll_what_is_finished_moves_no_offset_of_an_empty_group_back: Range, AtOnce, Nobody;
    with_cooperative_sticky_past_max_poll_what_is_finished_moves_no_offset_back: Cooperative, AtOnce, Another;
    with_cooperative_sticky_past_max_poll_what_is_finished_moves_no_offset_of_an_empty_group_back:
        Cooperative, AtOnce, Nobody;
    with_the_consumer_protocol_past_max_poll_what_is_finished_moves_no_offset_back: Consumer, AtOnce, Another;
    with_the_consumer_protocol_past_max_poll_what_is_finished_moves_no_offset_of_an_empty_group_back:
        Consumer, AtOnce, Nobody;
}

async fn commits_nothing(protocol: Protocol, because: Because, finishes: Finishes, owner: Owner) {
    let (seen, lines) = evicted("ours", protocol, because, finishes, owner).await;
    let what = format!("{protocol:?}, {because:?}, {finishes:?}, {owner:?}");
    assert!(lines.count('a', What::Lost) > 0, "{what}: it was taken for dead");
    assert_eq!(seen.back, [], "{what}: offsets moved back");
    assert_eq!(seen.ahead, [], "{what}: commits were ahead of what was finished");
    // Of a partition that was being taken away, all that may be repeated is what was in the middle. One that it was to
    // keep it reads on, until the group says that it is no member: no further than the bound on exposure lets it.
    let twice = lines.begun_twice();
    let moved = |partition: &i32| twice.iter().all(|(of, offset)| of != partition || *offset == HELD);
    let moved = (0..2).filter(moved).count();
    assert!(moved >= if protocol == Protocol::Range { 2 } else { 1 }, "{what}: {twice:?}");
    assert!(twice.len() <= EXPOSURE, "{what}: {twice:?}");
}

/// The same checks find what a consumer does that knows no epoch, and no bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_epoch_what_is_finished_late_moves_offsets_back() {
    let late = evicted("late", Protocol::Range, Because::OfItsSession, Finishes::Later, Owner::Another);
    let (seen, lines) = late.await;
    assert!(!seen.back.is_empty(), "the check finds offsets that moved back: {seen:?}");
    let twice = lines.begun_twice();
    assert!(twice.len() > EXPOSURE, "the check finds more than the bound allows: {twice:?}");
}

async fn evicted(kind: &str, protocol: Protocol, because: Because, finishes: Finishes, owner: Owner) -> (Seen, Lines) {
    let bootstrap = Cluster::shared().bootstrap();
    let (topic, group) = (given::topic("orders", 2), protocol.group(because.session()));
    let ledger = Arc::new(Ledger::new());
    let gate = ledger.sign("gate");
    for partition in [0, 1] {
        fill(&topic, partition, RECORDS as usize);
    }
    let order = Order::default()
        .with("kind", kind)
        .with("protocol", protocol.name())
        .with("bootstrap", bootstrap)
        .with("topic", topic.name())
        .with("group", &group)
        .with("session", millis(because.session()))
        .with("max_poll", millis(because.max_poll(protocol)))
        .with("drain", millis(because.drain()))
        .with("exposure", EXPOSURE)
        .with("work", 20)
        .with("block", ledger.sign("block").display())
        .with("hold", HELD)
        .with("gate", gate.display());
    let a = MemberProcess::start(&order, 'a', &ledger);
    eventually("a is in the middle of both partitions", SOON, async || {
        let lines = ledger.lines();
        (0..2).all(|at| lines.of(What::Begin).any(|line| (line.partition, line.offset) == (at, HELD)))
    })
    .await;
    commits(&group, &topic, &[(0, HELD), (1, HELD)]).await;
    let watch = CommitWatch::start(bootstrap, &group, topic.name(), 2, &ledger).await;

    if because == Because::OfMaxPoll {
        std::fs::write(ledger.sign("block"), "").unwrap();
    }
    let b = member_b(protocol, &group, &topic, &ledger);
    if kind == "ours" {
        eventually("a drains", SOON, async || ledger.lines().count('a', What::Draining) > 0).await;
    }
    if because == Because::OfItsSession {
        a.suspend();
    }
    // It is taken for dead, and the other one does all the work.
    commits(&group, &topic, &[(0, RECORDS), (1, RECORDS)]).await;
    let b = match owner {
        Owner::Another => Some(b),
        Owner::Nobody => {
            b.stop().await;
            None
        }
    };
    if finishes == Finishes::AtOnce {
        std::fs::write(&gate, "").unwrap();
    }
    let before = ledger.lines().count('a', What::Assigned);
    a.resume();
    match kind {
        // Longer than the heartbeat that tells it. (Where it was never suspended, it may be back already.)
        "ours" => tokio::time::sleep(Duration::from_millis(1_500)).await,
        _ => eventually("a is back", SOON, async || ledger.lines().count('a', What::Assigned) > before).await,
    }
    std::fs::write(&gate, "").unwrap();
    // It comes back, and all goes on where the other one has left off.
    eventually("a is back", SOON, async || ledger.lines().count('a', What::Assigned) > before).await;
    if kind == "ours" {
        for partition in [0, 1] {
            fill(&topic, partition, 5);
        }
        commits(&group, &topic, &[(0, RECORDS + 5), (1, RECORDS + 5)]).await;
    } else {
        eventually("a has done what it held", SOON, async || {
            ledger.lines().0.iter().any(|line| line.is('a', What::Finish) && line.offset == RECORDS - 1)
        })
        .await;
    }
    if let Some(b) = b {
        b.stop().await;
    }
    let seen = watch.stop().await;
    a.stop().await;
    let lines = ledger.lines();
    if kind == "ours" {
        assert_eq!(lines.lost(&oracle::end_offsets(bootstrap, topic.name())), []);
    }
    (seen, lines)
}

fn member_b(protocol: Protocol, group: &str, topic: &Topic, ledger: &Ledger) -> Member {
    let pen = ledger.pen('b');
    let tells = Tells(pen.clone());
    let handler = move |record: kafka_client::Received<String, String>| {
        pen.record(What::Begin, record.partition(), record.offset(), "");
        pen.record(What::Finish, record.partition(), record.offset(), "");
        std::future::ready(Ok::<_, kafka_client::Error>(()))
    };
    let member = protocol.member(&given::kafka(), group, Duration::from_secs(6));
    Member::start(member.on_rebalance(tells).route(topic, handler))
}
