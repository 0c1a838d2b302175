//! `doctor`: what works, and what is misconfigured, by name.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::serde::{Deleted, Registry};
use kafka_client::{AclOperation, Kafka};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::output::Output;
use super::settings::Settings;
use super::table::Table;
use super::{Ended, shown};
use crate::error::Error;
use crate::reader;

struct Finding {
    what: String,
    result: Result<String, String>,
}

impl Finding {
    fn new(what: impl Into<String>, result: Result<String, String>) -> Self {
        Self { what: what.into(), result }
    }
}

/// How long each question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many dead letters are asked where they came from.
const SAMPLE: usize = 1_000;
/// How many of these topics are looked at.
const MOST_ORIGINS: usize = 10;

pub(super) async fn doctor(settings: &Settings, output: &Output, topic: Option<&str>) -> Result<Ended, Error> {
    let kafka = &settings.kafka;
    let mut findings = vec![Finding::new("reach Kafka", reach(kafka).await)];
    if findings[0].result.is_ok() {
        findings.push(Finding::new("use transactions", transact(kafka).await));
        if let Some(topic) = topic {
            let origins = Arc::default();
            findings.push(Finding::new("read the topic", read(kafka, topic, &origins).await));
            findings.push(Finding::new("keep dead letters", keeps(kafka, topic).await));
            let origins = std::mem::take(&mut *origins.lock());
            for origin in origins {
                findings.push(Finding::new(format!("write to {}", shown::text(&origin)), write(kafka, &origin).await));
            }
        }
    }
    if let Some(registry) = &settings.registry {
        findings.push(Finding::new("reach the registry", reach_registry(registry).await));
    }
    let mut table = Table::new(&["CAN", "", "WHAT WAS FOUND"]);
    let mut json: Vec<Value> = Vec::new();
    for Finding { what, result } in &findings {
        let (sign, text) = match result {
            Ok(text) => ("yes", text),
            Err(text) => ("NO", text),
        };
        table.row([what.clone(), sign.to_owned(), shown::text(text)]);
        json.push(json!({ "can": what, "ok": result.is_ok(), "found": text }));
    }
    output.list(&table, &json);
    Ok(if findings.iter().all(|finding| finding.result.is_ok()) { Ended::Done } else { Ended::Ill })
}

async fn reach(kafka: &Kafka) -> Result<String, String> {
    let groups = kafka.admin().timeout(PATIENCE).list_groups().await.map_err(|error| shown::chain(&error))?;
    Ok(format!("{} consumer groups", groups.groups().len()))
}

async fn transact(kafka: &Kafka) -> Result<String, String> {
    let building = kafka.transactional_producer(reader::made_up_group()).timeout(PATIENCE).build();
    let producer = building.await.map_err(|error| shown::chain(&error))?;
    let _ = producer.close(PATIENCE).await;
    Ok("a transactional.id was accepted".to_owned())
}

/// Reads some dead letters, and notes where they came from.
async fn read(kafka: &Kafka, topic: &str, origins: &Arc<Mutex<BTreeSet<String>>>) -> Result<String, String> {
    let spans = reader::spans(kafka, topic).await.map_err(|error| shown::chain(&error))?;
    let depth: i64 = spans.iter().map(|span| span.to - span.from).sum();
    if depth == 0 {
        return Ok("it is empty".to_owned());
    }
    let (noted, mut left) = (Arc::clone(origins), SAMPLE);
    let each = move |letter: &crate::DeadLetter<'_>| {
        if let Some(origin) = letter.origin().topic.filter(|origin| !origin.is_empty()) {
            let mut noted = noted.lock();
            if noted.len() < MOST_ORIGINS && !noted.contains(origin) {
                noted.insert(origin.to_owned());
            }
        }
        left -= 1;
        if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    reader::read(kafka, topic, &spans, each).await.map_err(|error| shown::chain(&error))?;
    Ok(format!("{depth} records"))
}

/// Whether dead letters can go back to this topic. Nothing is written.
async fn write(kafka: &Kafka, topic: &str) -> Result<String, String> {
    let described = kafka.admin().timeout(PATIENCE).describe_topic(topic).await;
    let Some(described) = described.map_err(|error| shown::chain(&error))? else {
        return Err("there is no such topic".to_owned());
    };
    match described.authorized_operations() {
        Some(allowed) if !allowed.contains(&AclOperation::Write) => {
            Err(format!("the right WRITE on topic {} is missing", shown::text(topic)))
        }
        _ if described.leaderless() > 0 => Err(format!("{} partitions have no leader", described.leaderless())),
        Some(_) => Ok("dead letters that came from there can go back".to_owned()),
        None => Ok("the broker does not say who may".to_owned()),
    }
}

/// Whether the topic's settings make dead letters vanish.
async fn keeps(kafka: &Kafka, topic: &str) -> Result<String, String> {
    let described = kafka.admin().timeout(PATIENCE).describe_topic(topic).await;
    let Some(described) = described.map_err(|error| shown::chain(&error))? else {
        return Err("there is no such topic".to_owned());
    };
    let mut wrong = Vec::new();
    if described.config("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        wrong.push("cleanup.policy=compact drops all but the newest dead letter of a key".to_owned());
    }
    let retention = described.config("retention.ms").and_then(|text| text.parse::<i64>().ok());
    if let Some(millis) = retention.filter(|millis| (0..86_400_000).contains(millis)) {
        wrong.push(format!("retention.ms={millis} deletes dead letters after less than a day"));
    }
    if described.leaderless() > 0 {
        wrong.push(format!("{} partitions have no leader", described.leaderless()));
    }
    match wrong.is_empty() {
        true => Ok(retention.map_or("settings are fine".to_owned(), |millis| match millis {
            ..0 => "for ever".to_owned(),
            millis => format!("for {} days", millis / 86_400_000),
        })),
        false => Err(wrong.join("; ")),
    }
}

async fn reach_registry(registry: &Registry) -> Result<String, String> {
    let subjects = registry.subjects(Deleted::Without).await.map_err(|error| shown::chain(&error))?;
    Ok(format!("{} subjects", subjects.len()))
}
