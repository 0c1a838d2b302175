//! `import`: the lines of an export as records again, all of them or none.
//!
//! ```text
//! line ─▶ record ─▶ is its topic there? ─▶ one transaction ─▶ commit, behind the last line
//!   └ wrong, Ctrl-C, kill ──────────────────────┴─▶ abort: nobody with read_committed sees any of it
//! ```
//!
//! A file is read once, and no more of it is held than the producer has room for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kafka_client::{BoxError, Kafka, RawRecord, Transaction, TransactionalProducer};
use serde_json::json;
use tokio::sync::mpsc;

use super::bar::Bar;
use super::lines::parse;
use super::output::{Output, tell};
use super::send::interrupted;
use super::settings::Settings;
use super::{Ended, shown};
use crate::error::{Error, ErrorKind};
use crate::reader;
use crate::redrive::fnv;

/// What was asked for.
pub(super) struct Asked {
    pub(super) file: PathBuf,
    pub(super) to: Option<String>,
    pub(super) keep_partition: bool,
    pub(super) execute: bool,
}

/// A line is no longer than this: more than the largest record that Kafka takes by default, as base64, many times.
const LONGEST_LINE: u64 = 256 << 20;
/// How many records, and how many bytes of lines, are handed over at once.
const CHUNK: usize = 1_000;
const CHUNK_BYTES: u64 = 4 << 20;
/// How many of those are read before they are needed.
const AHEAD: usize = 4;
/// How many topics one file may name.
const MOST_TOPICS: usize = 10_000;
/// How long the transaction may take: brokers allow no more, unless they are told to (`transaction.max.timeout.ms`).
const LONGEST: Duration = Duration::from_secs(900);
/// How long a coordinator may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn import(settings: &Settings, output: &Output, asked: &Asked) -> Result<Ended, Error> {
    let chunks = Lines::open(asked, output)?.read();
    let count = match asked.execute {
        false => tokio::select! {
            counted = count(chunks) => Some(counted?),
            () = interrupted() => None,
        },
        true => execute(&settings.kafka, asked, chunks).await?,
    };
    let Some(count) = count else {
        tell("stopped: nothing was written; the same command begins anew");
        return Ok(Ended::Early);
    };
    let verb = if asked.execute { "wrote" } else { "would write" };
    let note = if asked.execute { "" } else { "; say --execute to do it" };
    output.one(&format!("{verb} {count} records{note}"), &json!({ "records": count, "executed": asked.execute }));
    Ok(Ended::Done)
}

async fn count(mut chunks: Chunks) -> Result<u64, Error> {
    let mut count = 0;
    while let Some(chunk) = chunks.recv().await {
        count += chunk?.len() as u64;
    }
    Ok(count)
}

/// Writes them in one transaction; how many, unless it was interrupted.
async fn execute(kafka: &Kafka, asked: &Asked, chunks: Chunks) -> Result<Option<u64>, Error> {
    let mut producer = producer(kafka, asked).await?;
    let mut own = None;
    let own_error = &mut own;
    let work = |transaction: Transaction| async move {
        let mut topics = Topics { kafka, known: HashMap::new() };
        write(chunks, &transaction, &mut topics).await.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => {
                *own_error = Some(*error);
                BoxError::from("a line is wrong")
            }
            Err(error) => error,
        })
    };
    let ended = tokio::select! {
        ended = producer.transaction(work) => Some(ended),
        () = interrupted() => None,
    };
    // An aborted transaction is at its end then, and hides nothing from anybody.
    let _ = producer.close(PATIENCE).await;
    match (ended, own) {
        (None, _) => Ok(None),
        (Some(Ok(count)), _) => Ok(Some(count)),
        (Some(Err(_)), Some(own)) => Err(own),
        (Some(Err(error)), None) if error.kind() == kafka_client::ErrorKind::Aborted => Err(Error::kafka(
            "import, and wrote nothing",
            error,
        )
        .lacking("WRITE", asked.to.as_deref().unwrap_or("?"), "")),
        (Some(Err(error)), None) => Err(Error::kafka("learn whether all was written, or nothing", error)),
    }
}

async fn write(mut chunks: Chunks, transaction: &Transaction, topics: &mut Topics<'_>) -> Result<u64, BoxError> {
    let mut count = 0;
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk?;
        for record in &chunk {
            topics.check(record).await?;
        }
        count += transaction.send_batch(chunk).await? as u64;
    }
    Ok(count)
}

/// The same command has the same id: what one that was killed has left open is aborted by the next.
async fn producer(kafka: &Kafka, asked: &Asked) -> Result<TransactionalProducer, Error> {
    let id = match asked.file == Path::new("-") {
        true => reader::made_up_group(),
        false => {
            let file = std::path::absolute(&asked.file).unwrap_or_else(|_| asked.file.clone());
            format!("kafka-dlq.import.{:016x}", fnv(format!("{}|{:?}", file.display(), asked.to).as_bytes()))
        }
    };
    let building = kafka.transactional_producer(id.as_str()).timeout(LONGEST).build();
    let built = tokio::time::timeout(PATIENCE, building).await;
    let late = || Error::new(ErrorKind::Kafka, format!("no coordinator of transactions answers within {PATIENCE:?}"));
    built.map_err(|_| late())?.map_err(|error| Error::kafka("begin a transaction", error).lacking("WRITE", "", ""))
}

/// The topics that records go to, looked at once each: without that, one that is missing is an answer after minutes.
struct Topics<'a> {
    kafka: &'a Kafka,
    /// How many partitions each has.
    known: HashMap<String, i32>,
}

impl Topics<'_> {
    async fn check(&mut self, record: &RawRecord) -> Result<(), Error> {
        let topic = record.topic();
        let partitions = match self.known.get(topic) {
            Some(partitions) => *partitions,
            None if self.known.len() >= MOST_TOPICS => {
                return Err(Error::new(ErrorKind::Import, format!("more than {MOST_TOPICS} topics: say --to")));
            }
            None => {
                let partitions = reader::spans(self.kafka, topic).await?.len() as i32;
                self.known.insert(topic.to_owned(), partitions);
                partitions
            }
        };
        match record.partition.filter(|partition| *partition >= partitions) {
            None => Ok(()),
            Some(partition) => {
                let text = format!("{topic} has no partition {partition}: there are {partitions}");
                Err(Error::new(ErrorKind::Import, text))
            }
        }
    }
}

/// The records of a file, some at a time; the last may be what is wrong with a line.
type Chunks = mpsc::Receiver<Result<Vec<RawRecord>, Error>>;

/// The lines of a file, as records.
struct Lines {
    name: String,
    input: BufReader<Box<dyn Read + Send>>,
    to: Option<String>,
    keep_partition: bool,
    number: u64,
    records: u64,
    bytes: u64,
    /// Of the file, and what shows it.
    size: u64,
    bar: Option<Bar>,
}

impl Lines {
    fn open(asked: &Asked, output: &Output) -> Result<Self, Error> {
        let name = shown::text(&asked.file.display().to_string());
        let (input, size): (Box<dyn Read + Send>, _) = match asked.file == Path::new("-") {
            true => (Box::new(stdin()), 0),
            false => {
                let file = File::open(&asked.file).map_err(|error| unreadable(&name, error))?;
                let size = file.metadata().map_or(0, |about| about.len());
                (Box::new(file), size)
            }
        };
        Ok(Self {
            name,
            input: BufReader::with_capacity(1 << 16, input),
            to: asked.to.clone(),
            keep_partition: asked.keep_partition,
            number: 0,
            records: 0,
            bytes: 0,
            size,
            bar: output.bar(),
        })
    }

    /// Reads on a thread of its own, which may wait for what somebody types; a few chunks ahead.
    fn read(mut self) -> Chunks {
        let (send, chunks) = mpsc::channel(AHEAD);
        // Nobody waits for it: it ends with the file, with its reader, or with the process.
        drop(tokio::task::spawn_blocking(move || {
            loop {
                let chunk = self.next_chunk();
                let is_last = chunk.as_ref().map_or(true, Vec::is_empty);
                if chunk.as_ref().is_ok_and(Vec::is_empty) || send.blocking_send(chunk).is_err() || is_last {
                    return;
                }
            }
        }));
        chunks
    }

    /// The next records; none at the end.
    fn next_chunk(&mut self) -> Result<Vec<RawRecord>, Error> {
        let (mut chunk, mut text, from) = (Vec::new(), Vec::new(), self.bytes);
        while chunk.len() < CHUNK && self.bytes - from < CHUNK_BYTES {
            text.clear();
            self.number += 1;
            let read = (&mut self.input).take(LONGEST_LINE).read_until(b'\n', &mut text);
            let read = read.map_err(|error| unreadable(&self.name, error))? as u64;
            if read == 0 {
                break;
            }
            self.bytes += read;
            let wrong =
                |what: String| Error::new(ErrorKind::Import, format!("{}: line {} {what}", self.name, self.number));
            if read == LONGEST_LINE && text.last() != Some(&b'\n') {
                return Err(wrong(format!("is longer than {LONGEST_LINE} bytes")));
            }
            let line = std::str::from_utf8(&text).map_err(|_| wrong("is no UTF-8".into()))?;
            if !line.trim().is_empty() {
                let stored = parse(line).map_err(wrong)?;
                let topic = self.to.clone().unwrap_or(stored.topic);
                let mut record = RawRecord::new(topic, stored.key, stored.value);
                record.headers = stored.headers;
                record.timestamp = stored.timestamp_ms;
                record.partition = Some(stored.partition).filter(|at| self.keep_partition && *at >= 0);
                chunk.push(record);
            }
        }
        self.records += chunk.len() as u64;
        if let Some(bar) = &self.bar {
            bar.at(self.bytes, self.size.max(self.bytes), &format!(" of bytes, {} records", self.records));
        }
        Ok(chunk)
    }
}

fn unreadable(name: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Import, format!("{name}: cannot be read")).with_source(error)
}
