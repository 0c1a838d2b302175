//! Records that are kept for a while, and places as people write them.

use kafka_client::Headers;

use super::arguments::Which;
use super::time;
use crate::dead_letter::{DeadLetter, RecordView};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::redrive::Selection;

/// A record, owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Headers,
}

impl Stored {
    pub(super) fn of(letter: &DeadLetter<'_>) -> Self {
        let record = letter.record();
        Self {
            topic: record.topic.to_owned(),
            partition: record.partition.unwrap_or(-1),
            offset: record.offset.unwrap_or(-1),
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(Vec::from),
            value: record.value.map(Vec::from),
            headers: record.headers.to_owned(),
        }
    }

    pub(super) fn letter(&self) -> DeadLetter<'_> {
        DeadLetter::of(RecordView {
            partition: Some(self.partition),
            offset: Some(self.offset),
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            ..RecordView::new(&self.topic, &self.headers)
        })
    }

    pub(super) fn place(&self) -> String {
        format!("{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

/// `orders-dlt-0@42` as topic, partition and offset.
pub(super) fn place(text: &str) -> Result<(String, i32, i64), Error> {
    let read = || {
        let (partition, offset) = text.rsplit_once('@')?;
        let (topic, partition) = partition.rsplit_once('-')?;
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        (!topic.is_empty()).then(|| (topic.to_owned(), partition, offset))
    };
    read().ok_or_else(|| Error::config(format!("{text}: say topic-partition@offset, like orders-dlt-0@42")))
}

fn range(flag: &str, text: &str) -> Result<std::ops::Range<i64>, Error> {
    let wrong = || Error::config(format!("{flag} {text}: say 100..200, 100.. or ..200"));
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str, default| match text.trim() {
        "" => Ok(default),
        text => text.parse().map_err(|_| wrong()),
    };
    Ok(number(from, 0)?..number(to, i64::MAX)?)
}

impl Which {
    pub(super) fn selection(&self) -> Result<Selection, Error> {
        let mut selection = Selection::all();
        for text in &self.reason {
            selection = selection.reason(text);
        }
        for source in &self.source {
            selection = selection.source(source);
        }
        for partition in &self.source_partition {
            selection = selection.source_partition(*partition);
        }
        if let Some(text) = &self.source_offsets {
            selection = selection.source_offsets(range("--source-offsets", text)?);
        }
        for partition in &self.partition {
            selection = selection.partition(*partition);
        }
        if let Some(text) = &self.offsets {
            selection = selection.offsets(range("--offsets", text)?);
        }
        if self.since.is_some() || self.until.is_some() {
            let now = time::now_ms();
            let read = |flag, text: &Option<String>, default| {
                text.as_ref().map_or(Ok(default), |text| time::parse(flag, text, now))
            };
            let times = read("--since", &self.since, 0)?..read("--until", &self.until, i64::MAX)?;
            selection = selection.times_told(times, format!("{:?}..{:?}", self.since, self.until));
        }
        for key in &self.key {
            selection = selection.key(key.as_bytes());
        }
        for header in &self.header {
            selection = match header.split_once('=') {
                Some((name, value)) => selection.header(name, Some(value.as_bytes())),
                None => selection.header(header, None),
            };
        }
        for name in &self.dialect {
            let Some(dialect) = Dialect::by_name(name) else {
                let names = Dialect::ALL.map(Dialect::name).join(", ");
                return Err(Error::config(format!("--dialect {name}: there are {names}")));
            };
            selection = selection.dialect(dialect);
        }
        for group in &self.group {
            selection = selection.group(group);
        }
        if let Some(text) = &self.r#where {
            selection = selection.jq(text)?;
        }
        Ok(selection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_shown() {
        assert_eq!(place("orders-dlt-0@42").unwrap(), ("orders-dlt".into(), 0, 42));
        for wrong in ["", "orders", "orders@1", "-0@1", "orders-x@1", "orders-1@", "orders-0"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_same_words_are_the_same_job_whenever_they_are_said() {
        let said = |since: &str| Which { since: Some(since.into()), ..Which::default() };
        let told = |which: Which| format!("{:?}", which.selection().unwrap());
        let first = told(said("2h"));
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(told(said("2h")), first);
        assert_ne!(told(said("3h")), first);
    }

    #[test]
    fn ranges_may_be_open() {
        assert_eq!(range("x", "1..5").unwrap(), 1..5);
        assert_eq!(range("x", "..5").unwrap(), 0..5);
        assert_eq!(range("x", "7..").unwrap(), 7..i64::MAX);
        assert!(range("x", "7").is_err() && range("x", "a..b").is_err());
    }
}
