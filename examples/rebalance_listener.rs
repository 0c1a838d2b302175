//! What can I do when partitions come and go? Keep state in memory for exactly those that are here.
//!
//! Members keep balances in memory, and read a partition from its beginning when it comes. Another member joins and
//! leaves, and one is put out of its group; the balances are right throughout.
//!
//! Run it with `cargo run --bin rebalance_listener`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{
    Assigned, Assignor, Completion, ConsumerReport, Embedded, Fault, GroupProtocol, Handler, Json, Kafka, NoKey,
    RebalanceListener, Received, Request, StartAt, Topic, TopicPartition, TopicSpec,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const PARTITIONS: i32 = 4;
const RECORDS: i64 = 25;
const PATIENCE: Duration = Duration::from_secs(30);

type BoxError = Box<dyn Error + Send + Sync>;
type Movements = Topic<NoKey, Json<i64>>;
/// What each partition adds up to, for the partitions of one member.
type Balances = BTreeMap<i32, i64>;

#[derive(Clone)]
struct Ledger {
    member: &'static str,
    balances: Arc<Mutex<Balances>>,
}

impl RebalanceListener for Ledger {
    /// No record of these partitions is handled before this returns.
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        self.say("assigned", &assigned.partitions());
        for partition in assigned.partitions() {
            self.balances().insert(partition.partition(), 0);
            // State in memory has to be built again. The group's committed offset would be too late for that.
            assigned.start_at(&partition, StartAt::Beginning);
        }
        Ok(())
    }

    /// Their handlers have finished, and their offsets are committed: the next member can take over.
    async fn revoked(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        self.say("revoked ", partitions);
        self.balances().retain(|mine, _| partitions.iter().all(|gone| gone.partition() != *mine));
        Ok(())
    }

    /// They are with another member already, and what was not committed is handled again there: nothing of it may be
    /// published from here any more.
    async fn lost(&self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        self.say("lost    ", partitions);
        self.balances().retain(|mine, _| partitions.iter().all(|gone| gone.partition() != *mine));
        Ok(())
    }
}

/// One thing may be listener and handler.
impl Handler<Received<(), i64>> for Ledger {
    type Error = Infallible;

    async fn handle(&self, movement: Received<(), i64>) -> Result<Completion, Infallible> {
        if let Some(balance) = self.balances().get_mut(&movement.partition()) {
            *balance += movement.value();
        }
        Ok(Completion::done())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let kafka = Kafka::from_env_or_embedded()?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let movements = Topic::new(format!("examples.rebalance_listener-{run}"), NoKey, Json::<i64>::new());
    kafka.ensure_topics(&[TopicSpec::new(movements.name(), PARTITIONS)]).await?;
    let producer = kafka.producer().build()?;
    let amounts: Vec<(i32, i64)> = (0..PARTITIONS).flat_map(|to| (1..=RECORDS).map(move |cents| (to, cents))).collect();
    producer.send_batch(amounts.iter().map(|(to, cents)| movements.record(&(), cents).partition(*to))).await?;

    let a = Member::join(&kafka, &movements, "a")?;
    right(&[&a]).await?;
    let b = Member::join(&kafka, &movements, "b")?;
    right(&[&a, &b]).await?;
    b.leave().await?;
    right(&[&a]).await?;
    if let Some(broker) = kafka.embedded_broker() {
        put_out(broker)?;
        a.loses().await?;
        right(&[&a]).await?;
    }
    a.leave().await?;
    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[movements.name()]).await?;
    }
    Ok(())
}

/// What happens to a member whose heartbeats did not arrive for a session.
fn put_out(broker: &Embedded) -> Result<(), kafka_client::Error> {
    broker.fail_requests(Request::Heartbeat, Fault::UnknownMember, 1)
}

/// Waits until every partition is with one of the members, read to its end; then nothing was counted twice.
async fn right(members: &[&Member]) -> Result<(), BoxError> {
    let expected: Balances = (0..PARTITIONS).map(|partition| (partition, RECORDS * (RECORDS + 1) / 2)).collect();
    let start = Instant::now();
    loop {
        let held: Vec<Balances> = members.iter().map(|member| member.ledger.balances().clone()).collect();
        let shares: usize = held.iter().map(Balances::len).sum();
        let mut all = Balances::new();
        held.iter().for_each(|balances| all.extend(balances));
        if all == expected && shares == all.len() && held.iter().all(|balances| !balances.is_empty()) {
            let names: Vec<&str> = members.iter().map(|member| member.ledger.member).collect();
            println!("   all balances are right, shared by {}", names.join(" and "));
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("the balances are {held:?}").into());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

impl Ledger {
    fn balances(&self) -> MutexGuard<'_, Balances> {
        self.balances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, what: &str, partitions: &[TopicPartition]) {
        let mut numbers: Vec<String> = partitions.iter().map(|one| one.partition().to_string()).collect();
        numbers.sort();
        println!("{}  {what}  {}", self.member, numbers.join(" "));
    }
}

/// A member that runs in a task of its own.
struct Member {
    ledger: Ledger,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<ConsumerReport, kafka_client::Error>>,
}

impl Member {
    fn join(kafka: &Kafka, movements: &Movements, member: &'static str) -> Result<Self, BoxError> {
        let ledger = Ledger { member, balances: Arc::default() };
        let consumer = kafka
            .consumer(movements.name())
            .group_protocol(GroupProtocol::Classic(Assignor::CooperativeSticky))
            .on_rebalance(ledger.clone())
            .route(movements, ledger.clone())
            .build()?;
        let (stop, stopped) = oneshot::channel();
        Ok(Self { ledger, stop, running: tokio::spawn(consumer.run_until(stopped)) })
    }

    /// Waits until its listener was told.
    async fn loses(&self) -> Result<(), BoxError> {
        let start = Instant::now();
        while !self.ledger.balances().is_empty() {
            if start.elapsed() > PATIENCE {
                return Err("nothing was lost".into());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn leave(self) -> Result<(), BoxError> {
        // One that has ended by itself tells why.
        let _ = self.stop.send(());
        self.running.await??;
        Ok(())
    }
}
