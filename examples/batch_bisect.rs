//! What happens to a batch when one of its records is bad?
//!
//! A thousand rows are inserted by the batch, in a transaction that fails as a whole for one bad row. The batch is halved until
//! the row is found: that one is dead-lettered, and the others are inserted.
//!
//! Run it with `cargo run --bin batch_bisect`.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{Batching, Json, Kafka, Received, Topic, TopicSpec, Utf8};
use kafka_dlq::{Decision, Recovery};
use tokio::sync::Notify;
use tokio::time::timeout;

const ROWS: u32 = 1_000;
const BAD: u32 = 613;
const PATIENCE: Duration = Duration::from_secs(60);

/// It does not say which row.
#[derive(Debug)]
struct ConstraintViolated;

impl fmt::Display for ConstraintViolated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row violates the constraint `positive_amount`")
    }
}

impl Error for ConstraintViolated {}

/// A table, and who inserted how often.
#[derive(Default)]
struct Table {
    rows: Vec<u32>,
    transactions: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let kafka = Kafka::from_env_or_embedded()?;
    let name = format!("examples.rows-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let rows = Topic::new(name.as_str(), Utf8, Json::<u32>::new());
    kafka.ensure_topics(&[TopicSpec::new(&name, 1)]).await?;
    let producer = kafka.producer().build()?;
    let numbered: Vec<(String, u32)> = (0..ROWS).map(|n| (format!("row-{n}"), n)).collect();
    producer.send_batch(numbered.iter().map(|(key, n)| rows.record(key, n))).await?;

    let (table, last) = (Arc::new(Mutex::new(Table::default())), Arc::new(Notify::new()));
    let insert = {
        let (table, last) = (table.clone(), last.clone());
        move |batch: Vec<Received<String, u32>>| {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.transactions += 1;
            let numbers: Vec<u32> = batch.iter().map(|row| *row.value()).collect();
            let fails = numbers.contains(&BAD);
            println!(
                "transaction {:2}: {:4} rows, {}",
                table.transactions,
                numbers.len(),
                if fails { "rolled back" } else { "inserted" }
            );
            if !fails {
                table.rows.extend(numbers);
                if table.rows.len() as u32 == ROWS - 1 {
                    last.notify_one();
                }
            }
            async move { if fails { Err(ConstraintViolated) } else { Ok(()) } }
        }
    };
    let recovery =
        Recovery::by(|_: &ConstraintViolated| Decision::dead_letter("constraint")).dead_letter(format!("{name}.dlq"));
    let consumer = kafka
        .consumer(name.as_str())
        .max_batch_records(ROWS as usize)
        .route_batching(&rows, Batching::up_to(ROWS as usize).linger(Duration::from_secs(1)), recovery.wrap(insert))
        .build()?;
    timeout(PATIENCE, consumer.run_until(last.notified())).await??;

    let (rows, ordered, transactions) = {
        let table = table.lock().unwrap_or_else(PoisonError::into_inner);
        (table.rows.len(), table.rows.is_sorted(), table.transactions)
    };
    println!("{rows} of {ROWS} rows are in the table, after {transactions} transactions");
    if kafka.embedded_broker().is_none() {
        kafka.delete_topics(&[&name, &format!("{name}.dlq")]).await?;
    }
    // A few batches, of which one is searched.
    match ordered && transactions <= 30 {
        true => Ok(()),
        false => Err("the rows are out of order, or the search took too long".into()),
    }
}
