//! The first pass: what stands there, what the job has dealt with, and what the targets accept.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use kafka_client::{Admin, Kafka};
use parking_lot::Mutex;

use super::Redrive;
use super::plan::{Orders, Survey, Verdict};
use super::target::{Facts, Known};
use crate::dead_letter::DeadLetter;
use crate::error::Error;
use crate::reader::{self, Span};

/// What a job knows before it decides about its first record.
pub(super) struct Surveyed {
    /// What is left to read, a span a partition.
    pub(super) spans: Vec<Span>,
    /// Behind the last record of each span that has any.
    pub(super) ends: BTreeMap<i32, i64>,
    pub(super) known: Known,
    pub(super) duplicates: HashSet<(i32, i64)>,
    /// The places that are marked as discarded.
    pub(super) discarded: HashSet<(i32, i64)>,
    /// How many records earlier runs have passed.
    pub(super) before: u64,
    pub(super) to_read: u64,
}

struct Pass {
    survey: Survey,
    ends: BTreeMap<i32, i64>,
    before: u64,
    to_read: u64,
}

impl Surveyed {
    /// Takes a topic for one that is there.
    pub(super) fn make_believe(&mut self, topic: String) {
        let facts = Facts { partitions: 1, after_max_ms: i64::MAX, before_max_ms: i64::MAX };
        self.known.insert(topic, Some(facts));
    }

    /// What becomes of a dead letter.
    pub(super) fn verdict(&self, orders: &Orders, letter: &DeadLetter<'_>, now_ms: i64) -> Verdict {
        let record = letter.record();
        let place = record.partition.zip(record.offset);
        if place.is_some_and(|place| self.discarded.contains(&place)) {
            return Verdict::Left("discarded".into());
        }
        orders.verdict(letter, &self.known, &self.duplicates, now_ms)
    }
}

impl Redrive {
    pub(super) async fn survey(&self) -> Result<Surveyed, Error> {
        self.checked()?;
        let whole = reader::spans(&self.kafka, &self.source).await?;
        let committed = self.committed(&whole).await?;
        let from = |span: &Span| committed.get(&span.partition).map_or(span.from, |offset| span.from.max(*offset));
        let spans: Vec<Span> = whole.iter().map(|span| Span { from: from(span), ..*span }).collect();
        self.warm(&whole).await?;
        let starts: HashMap<i32, i64> = spans.iter().map(|span| (span.partition, span.from)).collect();

        let pass = Pass { survey: Survey::new(), ends: BTreeMap::new(), before: 0, to_read: 0 };
        let pass = Arc::new(Mutex::new(pass));
        let (noted, orders) = (pass.clone(), self.orders.clone());
        let each = move |letter: &DeadLetter<'_>| {
            let (Some(partition), Some(offset)) = (letter.record().partition, letter.record().offset) else {
                return ControlFlow::Continue(());
            };
            let mut pass = noted.lock();
            let is_dealt_with = starts.get(&partition).is_some_and(|start| offset < *start);
            match is_dealt_with {
                true => pass.before += 1,
                false => {
                    pass.to_read += 1;
                    pass.ends.insert(partition, offset + 1);
                }
            }
            pass.survey.note(&orders, letter, is_dealt_with);
            ControlFlow::Continue(())
        };
        reader::read(&self.kafka, &self.source, &whole, each).await?;
        let empty = Pass { survey: Survey::new(), ends: BTreeMap::new(), before: 0, to_read: 0 };
        let Pass { survey, ends, before, to_read } = std::mem::replace(&mut *pass.lock(), empty);
        if survey.is_full {
            tracing::warn!(topic = self.source, "more records than are remembered: some duplicates may be sent");
        }
        let (mut topics, duplicates) = survey.found();
        topics.extend(self.orders.parking.clone());
        let known = facts(&self.kafka, topics).await?;
        let discarded = self.discarded().await?;
        Ok(Surveyed { spans, ends, known, duplicates, discarded, before, to_read })
    }

    /// A pass for what a selection by values has to know of them.
    async fn warm(&self, spans: &[Span]) -> Result<(), Error> {
        match &self.orders.values {
            Some(values) => reader::warm(&self.kafka, &self.source, spans, &self.orders.selection, values).await,
            None => Ok(()),
        }
    }

    /// What the job's group has committed.
    pub(super) async fn committed(&self, spans: &[Span]) -> Result<BTreeMap<i32, i64>, Error> {
        let of: Vec<(&str, i32)> = spans.iter().map(|span| (self.source.as_str(), span.partition)).collect();
        let group = self.group();
        let denied = |error| Error::kafka("read the job's progress", error).lacking("DESCRIBE", &self.source, &group);
        let answers = self.kafka.admin().group_offsets_of(&group, &of).await;
        let answers = answers.map_err(denied)?;
        let mut committed = BTreeMap::new();
        for answer in answers {
            let answer = answer.map_err(denied)?;
            committed.extend(answer.offset().map(|offset| (answer.partition(), offset)));
        }
        Ok(committed)
    }
}

/// What these topics accept.
async fn facts(kafka: &Kafka, topics: BTreeSet<String>) -> Result<Known, Error> {
    let admin = kafka.admin();
    let mut known = Known::new();
    for topic in topics {
        let facts = one(&admin, &topic).await?;
        known.insert(topic, facts);
    }
    Ok(known)
}

async fn one(admin: &Admin, topic: &str) -> Result<Option<Facts>, Error> {
    let described = match admin.describe_topic(topic).await {
        Ok(described) => described,
        // A name that cannot be, from a hostile header.
        Err(error) if error.kind() == kafka_client::ErrorKind::Config => None,
        Err(error) => return Err(Error::kafka("look at a target", error).lacking("DESCRIBE", topic, "")),
    };
    Ok(described.map(|described| {
        let millis = |key: &str, default| described.config(key).and_then(|text| text.parse().ok()).unwrap_or(default);
        Facts {
            partitions: described.partitions(),
            after_max_ms: millis("message.timestamp.after.max.ms", 3_600_000),
            before_max_ms: millis("message.timestamp.before.max.ms", i64::MAX),
        }
    }))
}
