//! What records of the input look like.

use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::chaos::Dice;

/// What the records of an input are. All have a key of so many, but for those that say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The value is the record's number within its key, from 0.
    Numbered,
    /// As they come: nulls, empty ones, bytes that are no text, headers twice, headers without a value, old timestamps.
    Odd,
    /// Dead letters, of records whose value is their number within their key.
    DeadLetters,
}

/// A record to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Produced {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(&'static str, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
}

impl Produced {
    pub(super) fn for_topic<'r>(&'r self, topic: &'r str) -> BaseRecord<'r, [u8], [u8]> {
        let mut record = BaseRecord::to(topic);
        (record.key, record.payload, record.timestamp) = (self.key.as_deref(), self.value.as_deref(), self.timestamp);
        if !self.headers.is_empty() {
            let add = |headers: OwnedHeaders, (key, value): &(&'static str, Option<Vec<u8>>)| {
                headers.insert(Header { key, value: value.as_deref() })
            };
            record.headers = Some(self.headers.iter().fold(OwnedHeaders::new(), add));
        }
        record
    }
}

impl Sort {
    /// The record of this number within its key, and in all.
    pub(super) fn record(self, dice: &mut Dice, key: usize, number: u64, of_all: usize, origin: &str) -> Produced {
        let numbered = Produced {
            key: Some(format!("key-{key}").into_bytes()),
            value: Some(number.to_string().into_bytes()),
            ..Produced::default()
        };
        match self {
            Self::Numbered => numbered,
            Self::Odd => odd(dice, key, of_all),
            Self::DeadLetters => Produced { headers: dead_letter(key, of_all, origin), ..numbered },
        }
    }
}

fn odd(dice: &mut Dice, key: usize, of_all: usize) -> Produced {
    let names = ["trace", "tag", "tag", "ä"];
    let header = |dice: &mut Dice| {
        let value = match dice.number(0..4) {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(bytes(dice, 9)),
        };
        (names[dice.number(0..names.len())], value)
    };
    let key = match dice.number(0..10) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(bytes(dice, 12)),
        _ => Some(format!("key-{key}").into_bytes()),
    };
    let value = match dice.number(0..20) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(bytes(dice, 300)),
        _ => Some(format!("{of_all} {}", "x".repeat(dice.number(0..200))).into_bytes()),
    };
    let headers = (0..dice.number(0..5)).map(|_| header(dice)).collect();
    // A day ago: not so old that Kafka would delete it for its age.
    let timestamp =
        (dice.number(0..2) == 0).then(|| now_ms() - 24 * 60 * 60 * 1_000 - dice.number(0..1_000_000) as i64);
    Produced { key, value, headers, timestamp }
}

fn bytes(dice: &mut Dice, most: usize) -> Vec<u8> {
    (0..dice.number(1..most)).map(|_| dice.number(0..256) as u8).collect()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The headers of a dead letter in our dialect, with two of its application's in front.
fn dead_letter(key: usize, of_all: usize, origin: &str) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let text = |text: String| Some(text.into_bytes());
    vec![
        (APPLICATION[0], text(format!("t-{of_all}"))),
        (APPLICATION[1], None),
        ("dlq.topic", text(origin.to_owned())),
        ("dlq.partition", text((key % 4).to_string())),
        ("dlq.offset", text(of_all.to_string())),
        ("dlq.attempts", text("3".to_owned())),
        ("dlq.reason", text("timeout".to_owned())),
        ("dlq.group", text("billing".to_owned())),
    ]
}

/// The names of the headers that a dead letter had before it became one.
pub(in crate::chaos) const APPLICATION: [&str; 2] = ["trace", "nothing"];
