//! Members that copy the input to the output in transactions.
//!
//! But for the first, they are one loop over librdkafka, which keeps the rules of exactly once, or all of them but one: what
//! the judge finds then is the work of that rule, and that it finds nothing otherwise shows that it accuses nobody falsely.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use kafka_client::{Batch, BoxError, Decision, Kafka, Received, SendError, Topic, Transaction, Utf8};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList};

use super::Kind;
use super::member::told;
use crate::chaos::dice::Dice;
use crate::chaos::judge::BATCH;
use crate::chaos::ledger::{Entry, Pen, What};
use crate::chaos::order::Order;
use crate::chaos::process::asked_to_end;

/// The runner of ours.
pub(in crate::chaos) const EXACTLY_ONCE: Kind =
    Kind { name: "exactly-once", about: "`kafka.exactly_once(..)`", lives: true, run: exactly_once };

/// The loop with all rules.
pub(in crate::chaos) const CAREFUL: Kind = Kind {
    name: "careful",
    about: "a loop over librdkafka that keeps all rules",
    lives: false,
    run: |order| copy(order, Rules::ALL),
};

/// Without the offsets in the transaction.
pub(in crate::chaos) const NO_OFFSETS: Kind = Kind {
    name: "no-offsets",
    about: "commits offsets beside its transactions",
    lives: false,
    run: |order| copy(order, Rules { offsets_in_the_transaction: false, ..Rules::ALL }),
};

/// Without the way back after a failure.
pub(in crate::chaos) const NO_REWIND: Kind = Kind {
    name: "no-rewind",
    about: "goes on where it was after an abort",
    lives: false,
    run: |order| copy(order, Rules { rewinds: false, ..Rules::ALL }),
};

/// With the group as it is when offsets are sent, not as it was when the records were read.
pub(in crate::chaos) const LATE_METADATA: Kind = Kind {
    name: "late-metadata",
    about: "reads the group's metadata when it commits",
    lives: false,
    run: |order| copy(order, Rules { metadata_with_the_batch: false, ..Rules::ALL }),
};

/// The rules of exactly once.
#[derive(Clone, Copy, Debug)]
struct Rules {
    offsets_in_the_transaction: bool,
    rewinds: bool,
    metadata_with_the_batch: bool,
}

impl Rules {
    const ALL: Self = Self { offsets_in_the_transaction: true, rewinds: true, metadata_with_the_batch: true };
}

/// How long a batch gathers, and how many records it has.
const GATHERS: Duration = Duration::from_millis(50);
const MOST_RECORDS: usize = 200;
/// How long the records of a batch take: so many times this. The one that polls meanwhile takes longer, so that it may well
/// be a member of another generation when it is done.
const SLICE: Duration = Duration::from_millis(5);
const SLICES: usize = 20;
const SLICES_POLLED: usize = 200;
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once(order: &Order) -> Result<(), String> {
    let output = Topic::new(order.text("output"), Utf8, Utf8);
    let pen = order.pen();
    let batches = Arc::new(Mutex::new(Batches::new(order)));
    let process = move |batch: Batch<Received<String, String>>, tx: Transaction| {
        let (output, pen, batches) = (output.clone(), pen.clone(), batches.clone());
        async move {
            let name = batches.lock().name();
            if let Some(first) = batch.first() {
                pen.write(begun(first.topic(), first.partition(), first.offset(), &name));
            }
            let (first, second) = batch.split_at(batch.len() / 2);
            send_all(&tx, &output, first, &name).await?;
            // Records are in the log by then: a transaction is open that is seen.
            tokio::time::sleep(SLICE * SLICES as u32).await;
            send_all(&tx, &output, second, &name).await?;
            let fails = batches.lock().fails();
            pen.write(ended(if fails { What::Abandoned } else { What::Finish }, &name));
            match (fails, batch.len() % 2) {
                (false, _) => Ok::<_, BoxError>(Decision::GoOn),
                (true, 0) => Ok(Decision::Abort),
                (true, _) => Err("the user's code fails".into()),
            }
        }
    };
    let (protocol, session) = (order.protocol(), order.session());
    let timeout = order.time("transaction_timeout").unwrap_or(Duration::from_secs(5));
    let lanes = order.number("lanes").and_then(|lanes| usize::try_from(lanes).ok()).unwrap_or(1);
    Kafka::connect(order.text("bootstrap"))
        .exactly_once(order.text("group"))
        .from(&Topic::new(order.text("input"), Utf8, Utf8))
        .transactional_id(transactional_id(order))
        .transaction_timeout(timeout)
        .lanes(lanes)
        .max_records(MOST_RECORDS)
        .consumer(move |consumer| {
            protocol
                .settle(consumer, session)
                .set("reconnect.backoff.max.ms", "500")
                .set("max.poll.interval.ms", "30000")
                .drain_timeout(Duration::from_secs(10))
        })
        .producer(|producer| producer.set("reconnect.backoff.max.ms", "500"))
        .process(process)
        .run_until(tokio::task::spawn_blocking(asked_to_end))
        .await
        .map(drop)
        .map_err(told)
}

async fn send_all(
    tx: &Transaction,
    output: &Topic<Utf8, Utf8>,
    records: &[Received<String, String>],
    batch: &str,
) -> Result<(), SendError> {
    for record in records {
        tx.send(output.record(record.key(), record.value()).header(BATCH, batch)).await?;
    }
    Ok(())
}

/// Names batches, and decides which of them fail by themselves.
struct Batches {
    by: String,
    count: usize,
    dice: Dice,
    /// One of so many.
    fails: usize,
}

impl Batches {
    fn new(order: &Order) -> Self {
        let by = order.text("by");
        let fails = order.number("fails").and_then(|fails| usize::try_from(fails).ok()).unwrap_or(usize::MAX);
        Self { by: by.to_owned(), count: 0, dice: Dice::of(by, 0), fails }
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.by, self.count)
    }

    fn fails(&mut self) -> bool {
        self.dice.number(0..self.fails) == 0
    }
}

/// A batch begins with this record.
fn begun<'e>(topic: &'e str, partition: i32, offset: i64, batch: &'e str) -> Entry<'e> {
    Entry { what: What::Begin, topic, partition, offset, key: "", value: batch }
}

/// A batch is written, or fails of its own accord.
fn ended(what: What, batch: &str) -> Entry<'_> {
    Entry { what, topic: "", partition: -1, offset: -1, key: "", value: batch }
}

/// Of the place among the members: who takes it over aborts what was left open.
pub(super) fn transactional_id(order: &Order) -> String {
    format!("{}-{}", order.text("output"), order.text("slot"))
}

/// What went wrong with a transaction.
enum Failure {
    /// It can be aborted.
    Abort(String),
    /// The producer is of no more use.
    Fatal(String),
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        match &error {
            KafkaError::Transaction(cause) if cause.is_fatal() => Self::Fatal(error.to_string()),
            _ if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => Self::Fatal(error.to_string()),
            _ => Self::Abort(error.to_string()),
        }
    }
}

/// Notes that partitions came or went.
#[derive(Default)]
struct Watch {
    rebalanced: AtomicBool,
}

impl ClientContext for Watch {}

impl ConsumerContext for Watch {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.rebalanced.store(true, SeqCst);
    }
}

struct Copier {
    consumer: BaseConsumer<Watch>,
    producer: BaseProducer,
    input: String,
    output: String,
    rules: Rules,
    pen: Pen,
    batches: Batches,
    /// What was polled while a batch was worked on.
    ahead: Vec<OwnedMessage>,
}

fn copy(order: &Order, rules: Rules) -> Result<(), String> {
    let mut copier = Copier::new(order, rules).map_err(|e| e.to_string())?;
    let ended = thread::spawn(asked_to_end);
    while !ended.is_finished() {
        copier.turn()?;
    }
    Ok(())
}

impl Copier {
    fn new(order: &Order, rules: Rules) -> Result<Self, KafkaError> {
        let consumer: BaseConsumer<Watch> = order
            .protocol()
            .foreign(order.text("bootstrap"), order.text("group"), order.session())
            .set("reconnect.backoff.max.ms", "500")
            .set("isolation.level", "read_committed")
            // For the one without offsets in the transaction: what it stores after each.
            .set("enable.auto.commit", (!rules.offsets_in_the_transaction).to_string())
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", "1000")
            .create_with_context(Watch::default())?;
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", order.text("bootstrap"))
            .set("reconnect.backoff.max.ms", "500")
            .set("retry.backoff.ms", "20")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            .set("transactional.id", transactional_id(order))
            .set("transaction.timeout.ms", order.text("transaction_timeout"))
            // It must be below the transaction's timeout.
            .set("message.timeout.ms", order.text("transaction_timeout"))
            .create()?;
        producer.init_transactions(PATIENCE)?;
        consumer.subscribe(&[order.text("input")])?;
        Ok(Self {
            consumer,
            producer,
            input: order.text("input").to_owned(),
            output: order.text("output").to_owned(),
            rules,
            pen: order.pen(),
            batches: Batches::new(order),
            ahead: Vec::new(),
        })
    }

    /// One batch: read, written, and committed or undone.
    fn turn(&mut self) -> Result<(), String> {
        self.consumer.context().rebalanced.store(false, SeqCst);
        let batch = self.gather();
        let metadata = self.consumer.group_metadata();
        if self.rules.metadata_with_the_batch && self.consumer.context().rebalanced.load(SeqCst) {
            // What was read before belongs to an earlier generation.
            return self.rewind();
        }
        let Some(first) = batch.first() else { return Ok(()) };
        let name = self.batches.name();
        self.pen.write(begun(first.topic(), first.partition(), first.offset(), &name));
        match self.transaction(&batch, &name, metadata) {
            Ok(()) => Ok(()),
            Err(Failure::Fatal(error)) => Err(error),
            Err(Failure::Abort(error)) => {
                eprintln!("aborts: {error}");
                // An abort soon after a record was sent may be fatal in librdkafka 2.12: wait for the records first.
                let _ = self.producer.flush(Duration::from_secs(5));
                self.producer.abort_transaction(PATIENCE).map_err(|e| format!("abort after {error}: {e}"))?;
                if self.rules.rewinds { self.rewind() } else { Ok(()) }
            }
        }
    }

    fn gather(&mut self) -> Vec<OwnedMessage> {
        let mut batch = std::mem::take(&mut self.ahead);
        let deadline = Instant::now() + GATHERS;
        while batch.len() < MOST_RECORDS && Instant::now() < deadline {
            match self.consumer.poll(Duration::from_millis(5)) {
                Some(Ok(record)) => batch.push(record.detach()),
                Some(Err(e)) => eprintln!("poll: {e}"),
                None => (),
            }
        }
        batch
    }

    fn transaction(
        &mut self,
        batch: &[OwnedMessage],
        name: &str,
        metadata: Option<ConsumerGroupMetadata>,
    ) -> Result<(), Failure> {
        self.producer.begin_transaction()?;
        let (first, second) = batch.split_at(batch.len() / 2);
        self.send(first, name)?;
        // With records in the log: a transaction is open that is seen.
        self.producer.flush(PATIENCE)?;
        self.work();
        self.send(second, name)?;
        self.producer.flush(PATIENCE)?;
        if self.batches.fails() {
            self.pen.write(ended(What::Abandoned, name));
            return Err(Failure::Abort("the user's code fails".to_owned()));
        }
        self.pen.write(ended(What::Finish, name));
        let mut next = TopicPartitionList::new();
        for record in batch {
            let offset = Offset::Offset(record.offset() + 1);
            match next.find_partition(record.topic(), record.partition()) {
                Some(mut entry) => entry.set_offset(offset)?,
                None => next.add_partition_offset(record.topic(), record.partition(), offset)?,
            }
        }
        if self.rules.offsets_in_the_transaction {
            let metadata = if self.rules.metadata_with_the_batch { metadata } else { self.consumer.group_metadata() };
            let metadata = metadata.ok_or_else(|| Failure::Abort("no metadata of the group".to_owned()))?;
            self.producer.send_offsets_to_transaction(&next, &metadata, PATIENCE)?;
        }
        self.producer.commit_transaction(PATIENCE)?;
        if !self.rules.offsets_in_the_transaction {
            // Refused for partitions that have gone.
            let _ = self.consumer.store_offsets(&next);
        }
        Ok(())
    }

    fn send(&self, records: &[OwnedMessage], name: &str) -> Result<(), Failure> {
        for record in records {
            let (key, value) = (record.key().unwrap_or_default(), record.payload().unwrap_or_default());
            let headers = OwnedHeaders::new().insert(Header { key: BATCH, value: Some(name) });
            let sent = self.producer.send(BaseRecord::to(&self.output).key(key).payload(value).headers(headers));
            sent.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// Takes its time, and polls meanwhile if it does not care what generation it is in.
    fn work(&mut self) {
        // Not by the clock, which goes on while the process is stopped.
        if self.rules.metadata_with_the_batch {
            (0..SLICES).for_each(|_| thread::sleep(SLICE));
            return;
        }
        for _ in 0..SLICES_POLLED {
            if let Some(Ok(record)) = self.consumer.poll(SLICE) {
                self.ahead.push(record.detach());
            }
        }
    }

    /// Goes back to what is committed, on all partitions that it has.
    fn rewind(&mut self) -> Result<(), String> {
        self.ahead.clear();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_rewind() {
                Ok(()) => return Ok(()),
                // A partition that has just come cannot be moved in yet.
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                Err(e) => return Err(format!("rewind: {e}")),
            }
        }
    }

    fn try_rewind(&self) -> Result<(), KafkaError> {
        let assigned = self.consumer.assignment()?;
        if assigned.count() == 0 {
            return Ok(());
        }
        let committed = self.consumer.committed_offsets(assigned, Duration::from_secs(5))?;
        for partition in committed.elements() {
            let partition = partition.partition();
            if let Some(mut entry) = committed.find_partition(&self.input, partition)
                && entry.offset() == Offset::Invalid
            {
                entry.set_offset(Offset::Beginning)?;
            }
        }
        let sought = self.consumer.seek_partitions(committed, Duration::from_secs(5))?;
        sought.elements().iter().try_for_each(|entry| entry.error())
    }
}
