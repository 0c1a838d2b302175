//! What is lost, and what is handled twice, when a consumer is killed in the middle?
//!
//! This program has payments written to Kafka, and starts itself again as the process that collects them. It kills
//! that process in the middle of a payment, starts another one, and compares: once for each guarantee.
//!
//! Run it with `cargo run --bin delivery_semantics`.

use std::convert::Infallible;
use std::error::Error;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{Guarantee, Json, Kafka, NoKey, Received, Topic, TopicSpec};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio::try_join;

const PAYMENTS: u32 = 20;
/// The process is killed while it collects this one.
const FATAL: u32 = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer in code: one switch.
async fn collect_payments(guarantee: Guarantee, topic: &str) -> Result<(), Box<dyn Error>> {
    let payments = payments(topic);
    let consumer = Kafka::from_env()?
        .consumer(topic)
        .guarantee(guarantee)
        // At least once, what is handled again is what was finished since the last commit; the default is 1 s.
        .commit_interval(Duration::from_millis(100))
        // At most once, what is lost is the rest of what was taken at once; the default is 500.
        .max_batch_records(4)
        .route(&payments, collect)
        .build()?;
    match timeout(PATIENCE, consumer.run_until(LAST_ONE.notified())).await {
        Ok(ended) => ended.map(drop).map_err(Into::into),
        Err(_) => Err("the last payment did not come".into()),
    }
}

static LAST_ONE: Notify = Notify::const_new();

/// Takes its time, so that there is a middle to be killed in.
async fn collect(payment: Received<(), u32>) -> Result<(), Infallible> {
    println!("begun {}", payment.value());
    sleep(Duration::from_millis(40)).await;
    println!("done {}", payment.value());
    if *payment.value() == PAYMENTS {
        LAST_ONE.notify_one();
    }
    Ok(())
}

fn payments(topic: &str) -> Topic<NoKey, Json<u32>> {
    Topic::new(topic, NoKey, Json::new())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["at-least-once", topic] => collect_payments(Guarantee::AtLeastOnce, topic).await,
        ["at-most-once", topic] => collect_payments(Guarantee::AtMostOnce, topic).await,
        _ => compare().await,
    }
}

/// Runs both guarantees through the same accident.
async fn compare() -> Result<(), Box<dyn Error>> {
    let stage = Stage::set()?;
    println!("{PAYMENTS} payments; the process is killed while it collects payment {FATAL}, and another one goes on");
    let (at_least_once, at_most_once) = try_join!(stage.accident("at-least-once"), stage.accident("at-most-once"))?;
    println!("               lost          begun twice");
    println!("at least once  {:<12}  {}", list(&at_least_once.lost()), list(&at_least_once.twice()));
    println!("at most once   {:<12}  {}", list(&at_most_once.lost()), list(&at_most_once.twice()));
    match at_least_once.lost().is_empty() && at_most_once.twice().is_empty() {
        true => Ok(()),
        false => Err("a guarantee was broken".into()),
    }
}

/// What was seen of each payment, from outside.
#[derive(Default)]
struct Seen {
    begun: Vec<u32>,
    done: Vec<u32>,
}

impl Seen {
    fn lost(&self) -> Vec<u32> {
        (1..=PAYMENTS).filter(|payment| !self.done.contains(payment)).collect()
    }

    /// Begun is enough: the money may have moved before the process died.
    fn twice(&self) -> Vec<u32> {
        let times = |payment| self.begun.iter().filter(|begun| **begun == payment).count();
        (1..=PAYMENTS).filter(|payment| times(*payment) > 1).collect()
    }
}

/// Where the accidents happen.
struct Stage {
    kafka: Kafka,
    servers: String,
    session_timeout_ms: &'static str,
}

impl Stage {
    fn set() -> Result<Self, Box<dyn Error>> {
        let kafka = Kafka::from_env_or_embedded()?;
        Ok(match kafka.embedded_broker().map(|broker| broker.bootstrap_servers().to_owned()) {
            // The broker is in this process, so it survives the one that is killed.
            Some(servers) => Self { kafka, servers, session_timeout_ms: "1000" },
            None => Self { kafka, servers: std::env::var("KAFKA_BOOTSTRAP_SERVERS")?, session_timeout_ms: "6000" },
        })
    }

    async fn accident(&self, guarantee: &str) -> Result<Seen, Box<dyn Error>> {
        let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let topic = format!("payments-{guarantee}-{run}");
        self.kafka.ensure_topics(&[TopicSpec::new(&topic, 1)]).await?;
        let producer = self.kafka.producer().build()?;
        let payments = payments(&topic);
        let numbers: Vec<u32> = (1..=PAYMENTS).collect();
        producer.send_batch(numbers.iter().map(|number| payments.record(&(), number))).await?;

        let mut seen = Seen::default();
        self.watch(&mut seen, guarantee, &topic, Some(FATAL)).await?;
        self.watch(&mut seen, guarantee, &topic, None).await?;
        if self.kafka.embedded_broker().is_none() {
            self.kafka.delete_topics(&[&topic]).await?;
        }
        Ok(seen)
    }

    /// Runs a process that collects payments, and notes what it does; kills it as soon as it has begun `fatal`.
    async fn watch(
        &self,
        seen: &mut Seen,
        guarantee: &str,
        topic: &str,
        fatal: Option<u32>,
    ) -> Result<(), Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([guarantee, topic])
            .env("KAFKA_BOOTSTRAP_SERVERS", &self.servers)
            // Who is killed does not say goodbye: the group waits this long for it, and then gives its partition away.
            .env("KAFKA_SESSION_TIMEOUT_MS", self.session_timeout_ms)
            .env("KAFKA_HEARTBEAT_INTERVAL_MS", "300")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        while let Some(line) = lines.next_line().await? {
            match line.split_once(' ') {
                Some(("begun", payment)) => seen.begun.push(payment.parse()?),
                Some(("done", payment)) => seen.done.push(payment.parse()?),
                _ => continue,
            }
            if fatal.is_some() && seen.begun.last() == fatal.as_ref() {
                // SIGKILL: nothing in the process gets a chance to finish, to commit or to leave the group.
                process.start_kill()?;
            }
        }
        let status = process.wait().await?;
        match status.success() || fatal.is_some() {
            true => Ok(()),
            false => Err(format!("the process that went on: {status}").into()),
        }
    }
}

fn list(payments: &[u32]) -> String {
    match payments {
        [] => "none".to_owned(),
        _ => payments.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    }
}
