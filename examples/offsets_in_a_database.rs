//! How does every record count exactly once in a database? Its offset is stored there, in the transaction of its effect.
//!
//! This program has payments written to Kafka, and starts itself again as the process that books them in a database. It
//! kills that process in the middle of a transaction, starts another one, and looks at the balance: once with the offset
//! in the database, and once with the offsets that Kafka keeps.
//!
//! Run it with `cargo run --bin offsets_in_a_database`.

use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{
    Assigned, Completion, Handler, Json, Kafka, NoKey, RebalanceListener, Received, StartAt, Topic, TopicPartition,
    TopicSpec,
};
use redb::{Database, ReadableTable, TableDefinition};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio::try_join;

const PAYMENTS: u64 = 40;
/// A transaction books up to so many payments.
const BATCH: usize = 4;
/// The process is killed while it books the batch with this one.
const FATAL: u64 = 22;
const PATIENCE: Duration = Duration::from_secs(60);

const BALANCES: TableDefinition<&str, u64> = TableDefinition::new("balances");
/// By partition, the offset of the payment that is booked next.
const OFFSETS: TableDefinition<&str, i64> = TableDefinition::new("offsets");

type BoxError = Box<dyn Error + Send + Sync>;
type Batch = Vec<Received<(), u64>>;

#[derive(Clone)]
struct Books {
    database: Arc<Database>,
    /// The wrong way, to compare.
    offsets_in_kafka: bool,
}

impl RebalanceListener for Books {
    /// Kafka may not know yet what was booked last: the database does.
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        if self.offsets_in_kafka {
            return Ok(());
        }
        let transaction = self.database.begin_read()?;
        let offsets = transaction.open_table(OFFSETS)?;
        for partition in assigned.partitions() {
            if let Some(next) = offsets.get(&*partition.to_string())? {
                assigned.start_at(&partition, StartAt::Offset(next.value()));
            }
        }
        Ok(())
    }
}

impl Books {
    /// The effect and the offset, in one transaction: both happen, or neither.
    fn book(&self, payments: &Batch) -> Result<(), BoxError> {
        let transaction = self.database.begin_write()?;
        {
            let mut balances = transaction.open_table(BALANCES)?;
            let mut offsets = transaction.open_table(OFFSETS)?;
            for payment in payments {
                let partition = TopicPartition::new(payment.topic(), payment.partition()).to_string();
                let next = offsets.get(&*partition)?.map_or(0, |next| next.value());
                // This member was put out of its group and has not noticed, so that another one was faster; or the topic
                // was made anew. Whoever starts again asks the database where to start.
                if payment.offset() < next && !self.offsets_in_kafka {
                    return Err(format!("{partition}: {next} is next in the database, not {}", payment.offset()).into());
                }
                offsets.insert(&*partition, payment.offset() + 1)?;
                let balance = balances.get("shop")?.map_or(0, |balance| balance.value());
                balances.insert("shop", balance + payment.value())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// A batch is a transaction, since each waits for the disk.
impl Handler<Batch> for Books {
    type Error = BoxError;

    async fn handle(&self, payments: Batch) -> Result<Completion, BoxError> {
        println!("begun {}", payments.last().map_or(0, |payment| *payment.value()));
        let books = self.clone();
        // Not on a thread that others need.
        let booked = spawn_blocking(move || {
            books.book(&payments)?;
            Ok::<_, BoxError>(payments.iter().any(|payment| *payment.value() == PAYMENTS))
        });
        if booked.await?? {
            LAST_ONE.notify_one();
        }
        Ok(Completion::done())
    }
}

async fn book_payments(books: Books, topic: &str) -> Result<(), BoxError> {
    let consumer = Kafka::from_env()?
        .consumer(topic)
        .on_rebalance(books.clone())
        .route_batch(&payments(topic), books)
        .max_batch_records(BATCH)
        // Kafka's offsets are for whoever looks at the lag; those that count are in the database.
        .commit_interval(Duration::from_secs(5))
        .build()?;
    match timeout(PATIENCE, consumer.run_until(LAST_ONE.notified())).await {
        Ok(ended) => ended.map(drop).map_err(Into::into),
        Err(_) => Err("the last payment did not come".into()),
    }
}

static LAST_ONE: Notify = Notify::const_new();

fn payments(topic: &str) -> Topic<NoKey, Json<u64>> {
    Topic::new(topic, NoKey, Json::new())
}

fn database(file: &Path) -> Result<Arc<Database>, BoxError> {
    let database = Database::create(file)?;
    // A table that was never written cannot be read.
    let transaction = database.begin_write()?;
    transaction.open_table(BALANCES)?;
    transaction.open_table(OFFSETS)?;
    transaction.commit()?;
    Ok(Arc::new(database))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [kept, topic, file] => {
            let books = Books { database: database(Path::new(file))?, offsets_in_kafka: kept == "kafka" };
            book_payments(books, topic).await
        }
        _ => compare().await,
    }
}

/// Takes both through the same accident.
async fn compare() -> Result<(), BoxError> {
    let stage = Stage::set()?;
    println!(
        "payments of 1 to {PAYMENTS}; the process is killed while it books number {FATAL}, and another one goes on"
    );
    let (in_database, in_kafka) = try_join!(stage.accident("database"), stage.accident("kafka"))?;
    let right = PAYMENTS * (PAYMENTS + 1) / 2;
    println!("balance with the offsets in the database: {in_database}, which is right");
    println!("balance with the offsets in Kafka:        {in_kafka}, which is {} too much", in_kafka - right);
    match in_database == right && in_kafka > right {
        true => Ok(()),
        false => Err(format!("{right} is right, and what was not stored with its effect counts twice").into()),
    }
}

/// Where the accidents happen.
struct Stage {
    kafka: Kafka,
    servers: String,
    session_timeout_ms: &'static str,
}

impl Stage {
    fn set() -> Result<Self, BoxError> {
        let kafka = Kafka::from_env_or_embedded()?;
        Ok(match kafka.embedded_broker().map(|broker| broker.bootstrap_servers().to_owned()) {
            // The broker is in this process, so it survives the one that is killed.
            Some(servers) => Self { kafka, servers, session_timeout_ms: "1000" },
            None => Self { kafka, servers: std::env::var("KAFKA_BOOTSTRAP_SERVERS")?, session_timeout_ms: "6000" },
        })
    }

    /// Returns what is in the database at the end.
    async fn accident(&self, kept: &str) -> Result<u64, BoxError> {
        let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let topic = format!("examples.offsets_in_a_database.{kept}-{run}");
        let file = std::env::temp_dir().join(format!("{topic}.redb"));
        self.kafka.ensure_topics(&[TopicSpec::new(&topic, 1)]).await?;
        let producer = self.kafka.producer().build()?;
        let payments = payments(&topic);
        let cents: Vec<u64> = (1..=PAYMENTS).collect();
        producer.send_batch(cents.iter().map(|cents| payments.record(&(), cents))).await?;

        let ended = match self.process(kept, &topic, &file, Some(FATAL)).await {
            Ok(()) => self.process(kept, &topic, &file, None).await,
            failed => failed,
        };
        let balance = ended.and_then(|()| balance(&file));
        std::fs::remove_file(&file)?;
        if self.kafka.embedded_broker().is_none() {
            self.kafka.delete_topics(&[&topic]).await?;
        }
        balance
    }

    /// Runs a process that books payments; kills it as soon as it has begun to book `fatal`.
    async fn process(&self, kept: &str, topic: &str, file: &Path, fatal: Option<u64>) -> Result<(), BoxError> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([kept, topic])
            .arg(file)
            .env("KAFKA_BOOTSTRAP_SERVERS", &self.servers)
            // Who is killed does not say goodbye: the group waits this long for it, and then gives its partition away.
            .env("KAFKA_SESSION_TIMEOUT_MS", self.session_timeout_ms)
            .env("KAFKA_HEARTBEAT_INTERVAL_MS", "300")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        while let Some(line) = lines.next_line().await? {
            let Some(last) = line.strip_prefix("begun ") else { continue };
            if fatal.is_some_and(|fatal| last.parse().is_ok_and(|last: u64| fatal <= last)) {
                // SIGKILL, while the transaction is open or has just been committed: that makes no difference.
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

fn balance(file: &Path) -> Result<u64, BoxError> {
    let transaction = Database::open(file)?.begin_read()?;
    let balance = transaction.open_table(BALANCES)?.get("shop")?.map(|balance| balance.value());
    balance.ok_or_else(|| "nothing was booked".into())
}
