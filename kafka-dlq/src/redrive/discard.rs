//! Dead letters that nobody wants back: marked, never deleted.
//!
//! A mark is a record in `<topic>.discarded`, with the place as its key and who, why and when in its value. The dead letter
//! stays where it is until its topic's retention; jobs leave what is marked.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use kafka_client::{BoxError, Kafka, RawRecord, TopicSpec};
use parking_lot::Mutex;
use serde_json::json;

use super::run::now_ms;
use super::{Redrive, Target};
use crate::dead_letter::DeadLetter;
use crate::error::Error;
use crate::reader;
use crate::values::Values;

/// The topic of the marks.
pub(crate) fn topic_of_marks(source: &str) -> String {
    format!("{source}.discarded")
}

/// `3@42`
fn key(letter: &DeadLetter<'_>) -> Option<String> {
    let record = letter.record();
    Some(format!("{}@{}", record.partition?, record.offset?))
}

fn place(key: &[u8]) -> Option<(i32, i64)> {
    let (partition, offset) = std::str::from_utf8(key).ok()?.split_once('@')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

impl Redrive {
    /// Makes this a job that marks dead letters as discarded, instead of sending them back: `who` wants to be rid of them,
    /// and `why`. Other jobs leave what is marked. The topic of the marks, `<topic>.discarded`, is made if need be when the
    /// job runs.
    pub fn discarding(mut self, who: impl Into<String>, why: impl Into<String>) -> Self {
        let (who, why) = (who.into(), why.into());
        self.marks = true;
        self.orders.target = Target::Topic(topic_of_marks(&self.source));
        self.orders.shape.mark = false;
        (self.orders.shape.keep_partition, self.orders.shape.keep_timestamp) = (false, false);
        // Whatever has become of it, nobody wants it; and of the same record, no copy.
        (self.orders.accept_damage, self.orders.duplicates, self.orders.loop_cap) = (true, true, u32::MAX);
        self.orders.changes = Some(format!("discard: {why}"));
        self.orders.transform =
            Some(Arc::new(move |letter: &DeadLetter<'_>, record: RawRecord, _: Option<&Values>| {
                let key = key(letter).ok_or_else(|| BoxError::from("it stands nowhere"))?;
                let mark = json!({
                    "who": who,
                    "why": why,
                    "at_ms": now_ms(),
                    "topic": letter.record().topic,
                    "origin": letter.origin().to_string(),
                    "reason": letter.reason(),
                });
                Ok(Some(RawRecord::new(record.topic(), Some(key.into_bytes()), Some(mark.to_string().into_bytes()))))
            }));
        self
    }

    /// Makes the topic of the marks, where this job writes them.
    pub(super) async fn make_room_for_marks(&self) -> Result<(), Error> {
        if !self.marks {
            return Ok(());
        }
        let spec = TopicSpec::new(topic_of_marks(&self.source), 1).config("cleanup.policy", "compact");
        let made = self.kafka.ensure_topics(&[spec]).await;
        let topic = topic_of_marks(&self.source);
        made.map(drop).map_err(|error| Error::kafka("make the topic of the marks", error).lacking("CREATE", &topic, ""))
    }

    /// The places of the dead letters that are marked.
    pub(super) async fn discarded(&self) -> Result<HashSet<(i32, i64)>, Error> {
        discarded(&self.kafka, &self.source).await
    }
}

/// The places of the dead letters that are marked.
pub(crate) async fn discarded(kafka: &Kafka, source: &str) -> Result<HashSet<(i32, i64)>, Error> {
    let topic = topic_of_marks(source);
    let described = kafka.admin().describe_topic(&topic).await;
    if described.map_err(|error| Error::kafka("look for marks", error).lacking("DESCRIBE", &topic, ""))?.is_none() {
        return Ok(HashSet::new());
    }
    let marked: Arc<Mutex<HashSet<(i32, i64)>>> = Arc::default();
    let marking = marked.clone();
    reader::read(kafka, &topic, &reader::spans(kafka, &topic).await?, move |mark| {
        marking.lock().extend(mark.record().key.and_then(place));
        ControlFlow::Continue(())
    })
    .await?;
    Ok(std::mem::take(&mut *marked.lock()))
}
