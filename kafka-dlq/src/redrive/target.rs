//! Where dead letters go, and what is sent there.

use std::collections::HashMap;

use kafka_client::RawRecord;

use crate::dead_letter::DeadLetter;
use crate::dialect::ours;

/// Where dead letters go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The topic each one came from: its [origin](DeadLetter::origin).
    Origin,
    /// The topic it failed in last: the retry topic, where there was one.
    LastHop,
    /// This topic.
    Topic(String),
}

/// What is sent of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// To the partition it came from, instead of the one that its key says.
    pub(crate) keep_partition: bool,
    /// With the timestamp it had, instead of the time at which it is sent.
    pub(crate) keep_timestamp: bool,
    /// With all its headers, those of frameworks too.
    pub(crate) keep_headers: bool,
    /// With `dlq.redrives`, which counts how often it was sent back.
    pub(crate) mark: bool,
}

/// What a topic accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) partitions: i32,
    /// How far in the future a timestamp may be, in milliseconds (`message.timestamp.after.max.ms`).
    pub(crate) after_max_ms: i64,
    /// How long ago (`message.timestamp.before.max.ms`).
    pub(crate) before_max_ms: i64,
}

/// What is known of topics, by name; none stands for a topic that does not exist.
pub(crate) type Known = HashMap<String, Option<Facts>>;

impl Shape {
    /// The record that goes to `topic`.
    pub(crate) fn record(&self, letter: &DeadLetter<'_>, topic: &str) -> RawRecord {
        let record = letter.record();
        let mut raw = RawRecord::new(topic, record.key.map(Vec::from), record.value.map(Vec::from));
        raw.headers = match self.keep_headers {
            true => record.headers.filtered(|name, _| name != ours::REDRIVES.as_bytes()),
            false => letter.application_headers(),
        };
        if self.mark {
            raw.headers.push(ours::REDRIVES, letter.redrives().saturating_add(1).to_string());
        }
        if self.keep_partition {
            raw.partition = letter.origin().partition.filter(|partition| *partition >= 0);
        }
        if self.keep_timestamp {
            raw.timestamp = letter.original_timestamp_ms();
        }
        raw
    }
}

impl Facts {
    /// Why the broker would refuse the record, if it would.
    pub(crate) fn refuses(&self, record: &RawRecord, now_ms: i64) -> Option<String> {
        if let Some(partition) = record.partition.filter(|partition| *partition >= self.partitions) {
            let (topic, partitions) = (record.topic(), self.partitions);
            return Some(format!("{topic} has no partition {partition}: there are {partitions}"));
        }
        let ahead = record.timestamp?.saturating_sub(now_ms);
        if ahead > self.after_max_ms {
            return Some(format!(
                "its timestamp is {} s ahead: the broker accepts {} s (message.timestamp.after.max.ms)",
                ahead / 1000,
                self.after_max_ms / 1000
            ));
        }
        (ahead.saturating_neg() > self.before_max_ms).then(|| {
            format!(
                "its timestamp is {} s old: the broker accepts {} s (message.timestamp.before.max.ms)",
                ahead.saturating_neg() / 1000,
                self.before_max_ms / 1000
            )
        })
    }
}
