//! `stats` and `peek`: many dead letters at once.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use kafka_client::serde::Part;
use parking_lot::Mutex;
use serde_json::json;

use super::arguments::{By, View, Which};
use super::decode::Decoder;
use super::output::Output;
use super::settings::Settings;
use super::stored::Stored;
use super::table::Table;
use super::{Ended, shown, time};
use crate::dead_letter::DeadLetter;
use crate::error::Error;
use crate::reader;

/// How many records are read between two looks at the clock.
const LOOK: u64 = 256;
/// How many different words are counted; the rest is one line.
const MOST_WORDS: usize = 10_000;

/// Reads the dead letters that are meant, until `each` breaks.
pub(super) async fn letters(
    settings: &Settings,
    output: &Output,
    topic: &str,
    which: &Which,
    mut each: impl FnMut(&DeadLetter<'_>) -> ControlFlow<()> + Send + 'static,
) -> Result<(), Error> {
    let selection = which.selection()?;
    let mut spans = reader::spans(&settings.kafka, topic).await?;
    if !which.partition.is_empty() {
        spans.retain(|span| which.partition.contains(&span.partition));
    }
    let values = settings.values.clone();
    if let Some(values) = &values {
        reader::warm(&settings.kafka, topic, &spans, &selection, values).await?;
    }
    let (bar, mut read) = (output.bar(), 0);
    let all = spans.iter().map(|span| span.to.abs_diff(span.from)).sum();
    let each = move |letter: &DeadLetter<'_>| {
        read += 1;
        if let Some(bar) = bar.as_ref().filter(|_| read % LOOK == 0) {
            bar.at(read, all, "");
        }
        match selection.matches_by(letter, values.as_ref()) {
            true => each(letter),
            false => ControlFlow::Continue(()),
        }
    };
    reader::read(&settings.kafka, topic, &spans, each).await
}

/// What a dead letter is counted under.
pub(super) fn word(by: By, letter: &DeadLetter<'_>) -> String {
    let told = |text: Option<std::borrow::Cow<'_, str>>| text.map_or_else(|| "-".to_owned(), |text| text.into_owned());
    match by {
        By::Reason => told(letter.reason()),
        By::Class => told(letter.class()),
        By::Group => told(letter.group()),
        By::Source => letter.origin().topic.unwrap_or("-").to_owned(),
        By::Hour => time::hour(letter.failed_at_ms().or(letter.record().timestamp_ms)),
        By::Key => shown::bytes(letter.record().key),
        By::Dialect => letter.dialect().map_or("-", |dialect| dialect.name()).to_owned(),
    }
}

#[derive(Default)]
pub(super) struct Counted {
    pub(super) words: BTreeMap<String, Count>,
    pub(super) all: u64,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) records: u64,
    oldest: Option<i64>,
    newest: Option<i64>,
}

impl Counted {
    pub(super) fn add(&mut self, word: String, at: Option<i64>) {
        self.all += 1;
        let is_new = !self.words.contains_key(&word);
        let word = if is_new && self.words.len() >= MOST_WORDS { "(others)".to_owned() } else { word };
        let count = self.words.entry(word).or_default();
        count.records += 1;
        count.oldest = [count.oldest, at].into_iter().flatten().min();
        count.newest = [count.newest, at].into_iter().flatten().max();
    }

    /// The most frequent first.
    pub(super) fn sorted(&self) -> Vec<(&str, Count)> {
        let mut words: Vec<(&str, Count)> = self.words.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        words.sort_by_key(|(_, count)| std::cmp::Reverse(count.records));
        words
    }
}

pub(super) async fn stats(
    settings: &Settings,
    output: &Output,
    topic: &str,
    by: By,
    which: &Which,
) -> Result<Ended, Error> {
    let counted = Arc::new(Mutex::new(Counted::default()));
    let counting = counted.clone();
    letters(settings, output, topic, which, move |letter| {
        let at = letter.failed_at_ms().or(letter.record().timestamp_ms);
        counting.lock().add(word(by, letter), at);
        ControlFlow::Continue(())
    })
    .await?;
    let counted = counted.lock();
    let mut table = Table::new(&["COUNT", "SHARE", "OLDEST", "NEWEST", name(by)]);
    let mut json = Vec::new();
    for (word, count) in counted.sorted() {
        let share = count.records as f64 * 100.0 / counted.all as f64;
        table.row([
            count.records.to_string(),
            format!("{share:.1}%"),
            time::shown(count.oldest),
            time::shown(count.newest),
            shown::text(word),
        ]);
        json.push(json!({
            "by": name(by).to_lowercase(),
            "is": word,
            "count": count.records,
            "oldest_ms": count.oldest,
            "newest_ms": count.newest,
        }));
    }
    output.list(&table, &json);
    Ok(Ended::Done)
}

fn name(by: By) -> &'static str {
    match by {
        By::Reason => "REASON",
        By::Source => "SOURCE",
        By::Hour => "HOUR",
        By::Key => "KEY",
        By::Dialect => "DIALECT",
        By::Class => "CLASS",
        By::Group => "GROUP",
    }
}

pub(super) async fn peek(
    settings: &Settings,
    output: &Output,
    topic: &str,
    last: bool,
    count: usize,
    which: &Which,
    view: &View,
) -> Result<Ended, Error> {
    let decoder = Decoder::new(settings, view);
    let kept = Arc::new(Mutex::new(VecDeque::new()));
    let keeping = kept.clone();
    if count > 0 {
        letters(settings, output, topic, which, move |letter| {
            let mut kept = keeping.lock();
            if kept.len() == count {
                if !last {
                    return ControlFlow::Break(());
                }
                kept.pop_front();
            }
            kept.push_back(Stored::of(letter));
            ControlFlow::Continue(())
        })
        .await?;
    }
    let kept = std::mem::take(&mut *kept.lock());
    let mut table = Table::new(&["PLACE", "TIME", "SOURCE", "REASON", "KEY", "VALUE"]);
    let mut json = Vec::new();
    for stored in &kept {
        let letter = stored.letter();
        let key = decoder.text(stored.key.as_deref(), topic, Part::Key).await;
        let value = decoder.text(stored.value.as_deref(), topic, Part::Value).await;
        table.row([
            format!("{}@{}", stored.partition, stored.offset),
            time::shown(letter.failed_at_ms().or(stored.timestamp_ms)),
            shown::text(&letter.origin().to_string()),
            shown::text(&letter.reason().unwrap_or_default()),
            key,
            value,
        ]);
        json.push(super::explain::document(&decoder, stored).await);
    }
    output.list(&table, &json);
    Ok(Ended::Done)
}
