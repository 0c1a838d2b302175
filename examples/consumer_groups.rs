//! How do the members of a group share partitions, and who has to stop when another member joins?
//!
//! In each of the protocols member `b` joins while `a` reads everything, and leaves again. Then a member with a name of
//! its own is restarted, and the others hear nothing of it.
//!
//! Run it with `cargo run --bin consumer_groups`.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{
    Assigned, Assignor, Consumer, ConsumerReport, GroupProtocol, Kafka, RebalanceListener, Received, Topic,
    TopicPartition, TopicSpec, Utf8,
};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio::try_join;

const PARTITIONS: i32 = 6;
const ALL: usize = PARTITIONS as usize;
/// Members that come and go take a heartbeat or two; a broker that was never asked for a group takes a moment more.
const PATIENCE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn Error + Send + Sync>;
type Orders = Topic<Utf8, Utf8>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let kafka = Kafka::from_env_or_embedded()?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let orders = Topic::new(format!("examples.consumer_groups-{run}"), Utf8, Utf8);
    kafka.ensure_topics(&[TopicSpec::new(orders.name(), PARTITIONS)]).await?;

    // Members of a group agree on a protocol. `range` is the old way: everything stops and is given out anew. The other
    // two stop only what moves: in `cooperative-sticky` a member decides what that is, in `consumer` the broker.
    let range = GroupProtocol::Classic(Assignor::Range);
    let cooperative = GroupProtocol::Classic(Assignor::CooperativeSticky);
    let consumer = GroupProtocol::Consumer { remote_assignor: None };
    let shared = try_join!(
        share(&kafka, &orders, "range", &range),
        share(&kafka, &orders, "cooperative-sticky", &cooperative),
        share(&kafka, &orders, "consumer", &consumer),
    );
    println!("protocol            a alone  b joins: a stops, a has, b has  b leaves: a has");
    let (range, cooperative, consumer) = shared?;
    print!("{range}{cooperative}{consumer}");

    match kafka.embedded_broker() {
        Some(_) => println!("static member       the embedded broker does not know them: run this with your own Kafka"),
        None => {
            restart_a_static_member(&kafka, &orders).await?;
            kafka.delete_topics(&[orders.name()]).await?;
        }
    }
    Ok(())
}

/// Nothing is ordered today: this is about partitions.
async fn charge(_: Received<String, String>) -> Result<(), Infallible> {
    Ok(())
}

/// Runs two members of a group, and tells how they shared the partitions.
async fn share(kafka: &Kafka, orders: &Orders, name: &str, protocol: &GroupProtocol) -> Result<String, BoxError> {
    let group = format!("{}-{name}", orders.name());
    let join = |held: &Held| -> Result<Member, BoxError> {
        let member = kafka.consumer(&group).group_protocol(protocol.clone());
        Ok(Member::start(member.route(orders, charge).on_rebalance(held.clone()).build()?))
    };
    let (held_by_a, held_by_b) = (Held::default(), Held::default());
    let a = join(&held_by_a)?;
    let alone = held_by_a.reaches(ALL).await?;
    let b = join(&held_by_b)?;
    let (a_has, b_has) = try_join!(held_by_a.reaches(ALL / 2), held_by_b.reaches(ALL / 2))?;
    // Leaves in good order, so that nobody has to wait for the end of its session.
    b.stop().await?;
    let again = held_by_a.reaches(ALL).await?;
    a.stop().await?;
    Ok(format!(
        "{name:<18}  {:>7}  {:>16}  {:>5}  {:>5}  {:>15}\n",
        alone.now, a_has.stopped, a_has.now, b_has.now, again.now
    ))
}

/// A static member that comes back within its session gets its partitions back.
async fn restart_a_static_member(kafka: &Kafka, orders: &Orders) -> Result<(), BoxError> {
    let group = format!("{}-static", orders.name());
    let join = |name: &str, held: &Held| -> Result<Member, BoxError> {
        // The name of the pod, say: each member needs its own. The session should be longer than a restart takes.
        let member = kafka.consumer(&group).static_member(name).set("session.timeout.ms", "30000");
        Ok(Member::start(member.route(orders, charge).on_rebalance(held.clone()).build()?))
    };
    let (held_by_a, held_by_b) = (Held::default(), Held::default());
    let a = join("billing-0", &held_by_a)?;
    held_by_a.reaches(ALL).await?;
    let b = join("billing-1", &held_by_b)?;
    let (before, _) = try_join!(held_by_a.reaches(ALL / 2), held_by_b.reaches(ALL / 2))?;
    b.stop().await?;

    let held_by_b = Held::default();
    let b = join("billing-1", &held_by_b)?;
    let back = held_by_b.reaches(ALL / 2).await?;
    let after = held_by_a.tally();
    a.stop().await?;
    b.stop().await?;
    let disturbed = after.stopped - before.stopped;
    println!("static member       is back with its {} partitions; a had to stop {disturbed}", back.now);
    match disturbed {
        0 => Ok(()),
        _ => Err("the restart of a static member has moved partitions".into()),
    }
}

/// Counts the partitions of a member, now, and how many it had to stop so far.
#[derive(Clone, Default)]
struct Held(Arc<watch::Sender<Tally>>);

#[derive(Clone, Copy, Default)]
struct Tally {
    now: usize,
    stopped: usize,
}

impl RebalanceListener for Held {
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        self.0.send_modify(|tally| tally.now += assigned.partitions().len());
        Ok(())
    }

    async fn revoked(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        self.0.send_modify(|tally| {
            tally.now -= partitions.len();
            tally.stopped += partitions.len();
        });
        Ok(())
    }

    async fn lost(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        self.revoked(partitions).await
    }
}

impl Held {
    fn tally(&self) -> Tally {
        *self.0.borrow()
    }

    /// Waits until the member has so many partitions.
    async fn reaches(&self, partitions: usize) -> Result<Tally, BoxError> {
        let mut changes = self.0.subscribe();
        let reached = timeout(PATIENCE, changes.wait_for(|tally| tally.now == partitions)).await;
        let has = self.tally().now;
        reached
            .map_err(|_| format!("the member has {has} partitions, not {partitions}"))?
            .map_err(Into::into)
            .map(|now| *now)
    }
}

/// A member that runs in a task of its own.
struct Member {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<ConsumerReport, kafka_client::Error>>,
}

impl Member {
    fn start(consumer: Consumer) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, running: tokio::spawn(consumer.run_until(stopped)) }
    }

    async fn stop(self) -> Result<ConsumerReport, BoxError> {
        // One that has ended by itself tells why.
        let _ = self.stop.send(());
        Ok(self.running.await??)
    }
}
