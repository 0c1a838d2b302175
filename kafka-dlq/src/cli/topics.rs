//! `ls`: the topics that hold dead letters.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Assigned, BoxError, Kafka, NoKey, RebalanceListener, Received, Topic};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;

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
/// Names that [`TopicKind`] may know, as a pattern that brokers' clients understand.
const LIKELY: &str = "^.*([dD][lL][tTqQ]|[dD][eE][aA][dD]|[pP][oO][iI][sS][oO][nN]|[pP][aA][rR][kK]).*";
/// How long a list may stay empty before it is believed.
const QUIET: Duration = Duration::from_secs(4);

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
///
/// The client lists no topics; so this joins a group of its own by a pattern, and looks at what is assigned.
async fn likely(kafka: &Kafka) -> Result<Vec<String>, Error> {
    let group = reader::made_up_group();
    let found: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::new(Notify::new());
    let nothing = |_: Received<(), ()>| std::future::pending::<Result<(), BoxError>>();
    let consumer = kafka
        .consumer(&group)
        .route(&Topic::new(LIKELY, NoKey, NoKey), nothing)
        .on_rebalance(Listed { found: found.clone(), told: told.clone() })
        .drain_timeout(Duration::from_millis(100))
        .build()
        .map_err(|error| Error::kafka("list topics", error))?;
    let end = async {
        // Whoever has no such topic is assigned nothing.
        let _ = tokio::time::timeout(QUIET, told.notified()).await;
    };
    consumer.run_until(end).await.map_err(|error| Error::kafka("list topics", error))?;
    let _ = kafka.admin().delete_groups(&[&group]).await;
    let mut topics = std::mem::take(&mut *found.lock());
    topics.sort();
    topics.dedup();
    // Marks of what was discarded are no dead letters.
    topics.retain(|topic| TopicKind::of(topic) == TopicKind::DeadLetters && !topic.ends_with(".discarded"));
    Ok(topics)
}

struct Listed {
    found: Arc<Mutex<Vec<String>>>,
    told: Arc<Notify>,
}

impl RebalanceListener for Listed {
    async fn assigned(&self, assigned: &mut Assigned) -> Result<(), BoxError> {
        let topics = assigned.partitions();
        self.found.lock().extend(topics.iter().map(|partition| partition.topic().to_owned()));
        if !topics.is_empty() {
            self.told.notify_one();
        }
        Ok(())
    }
}
