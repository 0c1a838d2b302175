//! The lane of a partition of the retry topic: its schedule, and the handler of what is due.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{Bell, BoxError, Completion, Handler, RawReceived, Schedule, Turn};

use super::RetryTopic;
use super::gate::{Gate, key_of, size_of_record};
use super::hop::Hop;
use super::line::{Item, Next};

/// One life of a partition.
pub(super) struct Waiting {
    topic: RetryTopic,
    group: Arc<str>,
    gate: Arc<Gate>,
}

impl Waiting {
    pub(super) fn begin(topic: &RetryTopic, group: &Arc<str>, gate: Arc<Gate>, bell: Bell) -> Self {
        gate.renew(Some(bell));
        Self { topic: topic.clone(), group: group.clone(), gate }
    }
}

impl Schedule for Waiting {
    fn arrived(&mut self, record: RawReceived) {
        let (offset, bytes) = (record.offset(), size_of_record(&record));
        // One that is no record of ours is handed out at once, and its handler says so.
        let (key, source, due) = match Hop::read(&record) {
            Some(hop) => (record.key_bytes().map_or(0, |key| key_of(hop.topic, key)), hop.offset, hop.due),
            None => (0, offset, 0),
        };
        self.gate.line.lock().arrived(Item { record, offset, key, source, due, bytes });
        self.gate.changed();
    }

    fn caught_up(&mut self) {
        self.gate.load();
    }

    fn next(&mut self, now: SystemTime) -> Turn {
        self.topic.gauges(&self.group, now);
        match self.gate.line.lock().next(millis(now)) {
            Next::Handle(item) => Turn::Handle(item.record),
            Next::Finish(offset) => {
                self.gate.forget(offset);
                self.gate.changed();
                Turn::Finish(offset)
            }
            Next::Until(due) => Turn::WaitUntil(UNIX_EPOCH + Duration::from_millis(due.max(0) as u64)),
            Next::Nothing => Turn::Wait,
        }
    }

    fn ended(&mut self, offset: i64) {
        self.gate.line.lock().ended(offset);
        self.gate.changed();
    }

    fn has_room(&self) -> bool {
        self.gate.line.lock().bytes() < self.topic.max_bytes
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gate.renew(None);
    }
}

/// Milliseconds since the epoch, rounded down: nothing is due early.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Hands what is due to the recovery of the topic it came from.
pub(super) struct Retries(pub(super) RetryTopic);

impl Handler<RawReceived> for Retries {
    type Error = BoxError;

    async fn handle(&self, record: RawReceived) -> Result<Completion, BoxError> {
        let Some(hop) = Hop::read(&record) else { return Err(Foreign::new(&record, None).into()) };
        let Some(recovery) = self.0.recovery_of(hop.topic) else {
            return Err(Foreign::new(&record, Some(hop.topic)).into());
        };
        let gate = self.0.gate(record.partition());
        recovery.retry(record, gate).await
    }
}

/// A record of the retry topic that nobody here can try again.
#[derive(Debug)]
struct Foreign {
    at: String,
    topic: Option<String>,
}

impl Foreign {
    fn new(record: &RawReceived, topic: Option<&str>) -> Self {
        let at = format!("{}-{} at {}", record.topic(), record.partition(), record.offset());
        Self { at, topic: topic.map(str::to_owned) }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topic {
            Some(topic) => {
                write!(f, "the record {} waits for a retry of topic {topic}, which has no recovery here", self.at)
            }
            None => write!(
                f,
                "the record {} was not written by a recovery: it has no header `{}`",
                self.at,
                super::hop::WAIT
            ),
        }
    }
}

impl std::error::Error for Foreign {}
