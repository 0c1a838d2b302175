//! `ls`: the topics that hold dead letters.

use std::ops::ControlFlow;
use std::sync::Arc;

use kafka_client::Kafka;
use parking_lot::Mutex;
use serde_json::json;

use super::arguments::By;
use super::look::{Counted, word};
use super::output::Output;
use super::settings::Settings;
use super::table::Table;
use super::{Ended, shown, time};
use crate::dead_letter::TopicKind;
use crate::error::Error;
use crate::reader;

/// How many records of a topic are looked at for its reasons.
const SAMPLE: u64 = 1_000;

pub(super) async fn ls(settings: &Settings, output: &Output, topics: Vec<String>) -> Result<Ended, Error> {
    let topics = if topics.is_empty() { likely(&settings.kafka).await? } else { topics };
    let mut table = Table::new(&["TOPIC", "DEPTH", "OLDEST", "REASONS"]);
    let mut json = Vec::new();
    for topic in topics {
        let spans = reader::spans(&settings.kafka, &topic).await?;
        let depth: i64 = spans.iter().map(|span| span.to - span.from).sum();
        let seen = Arc::new(Mutex::new((Counted::default(), None)));
        let seeing = seen.clone();
        reader::read(&settings.kafka, &topic, &spans, move |letter| {
            let (counted, oldest) = &mut *seeing.lock();
            let at = letter.record().timestamp_ms;
            *oldest = [*oldest, at].into_iter().flatten().min();
            counted.add(word(By::Reason, letter), at);
            if counted.all < SAMPLE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
        let (counted, oldest) = &*seen.lock();
        let top: Vec<(&str, u64)> =
            counted.sorted().into_iter().take(3).map(|(word, count)| (word, count.records)).collect();
        let reasons: Vec<String> = top.iter().map(|(word, count)| format!("{} ({count})", shown::text(word))).collect();
        table.row([shown::text(&topic), depth.to_string(), time::shown(*oldest), reasons.join(", ")]);
        json.push(json!({
            "topic": topic,
            "depth": depth,
            "oldest_ms": oldest,
            "sampled": counted.all,
            "reasons": top.iter().map(|(word, count)| json!({ "reason": word, "count": count })).collect::<Vec<_>>(),
        }));
    }
    output.list(&table, &json);
    Ok(Ended::Done)
}

/// The topics whose names say that they hold dead letters.
async fn likely(kafka: &Kafka) -> Result<Vec<String>, Error> {
    let listed = kafka.admin().list_topics().await.map_err(|error| Error::kafka("list topics", error))?;
    let names = listed.iter().map(|topic| topic.name().to_owned());
    // Marks of what was discarded are no dead letters.
    Ok(names.filter(|name| TopicKind::of(name) == TopicKind::DeadLetters && !name.ends_with(".discarded")).collect())
}
