//! What a job did.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a job did, or, of a dry run, what it would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedriveReport {
    pub(crate) job: String,
    pub(crate) source: String,
    pub(crate) dry: bool,
    pub(crate) read: u64,
    pub(crate) sent: u64,
    pub(crate) bytes: u64,
    pub(crate) parked: u64,
    pub(crate) targets: BTreeMap<String, u64>,
    pub(crate) left: BTreeMap<String, u64>,
    pub(crate) before: u64,
    pub(crate) elapsed: Duration,
    pub(crate) end: End,
}

/// Why a job ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It has seen every dead letter that was there when it began.
    #[default]
    Done,
    /// It has sent as many as it may.
    Limit,
    /// It was asked to stop.
    Stopped,
    /// A record came back: `topic-partition@offset` in the dead-letter topic.
    Repeated(String),
}

impl RedriveReport {
    /// The name of the job: the same command goes on under it where it stopped.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// The dead-letter topic.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether nothing was sent, because it was a dry run.
    pub fn is_dry_run(&self) -> bool {
        self.dry
    }

    /// How many dead letters were read.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// How many were sent to their targets.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The bytes of their keys and values.
    pub fn sent_bytes(&self) -> u64 {
        self.bytes
    }

    /// How many had come back too often, and went to the parking lot.
    pub fn parked(&self) -> u64 {
        self.parked
    }

    /// How many were sent to which topic; those that were parked too.
    pub fn targets(&self) -> &BTreeMap<String, u64> {
        &self.targets
    }

    /// How many were left where they are, by the reason.
    pub fn left(&self) -> &BTreeMap<String, u64> {
        &self.left
    }

    /// How many an earlier run of the same job had dealt with.
    pub fn dealt_with_before(&self) -> u64 {
        self.before
    }

    /// How long it took.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Why it ended.
    pub fn end(&self) -> &End {
        &self.end
    }

    /// The audit record.
    pub(crate) fn audit(&self, who: &str, what: String, at_ms: i64) -> String {
        let audit = serde_json::json!({
            "job": self.job,
            "source": self.source,
            "who": who,
            "what": what,
            "at_ms": at_ms,
            "elapsed_ms": self.elapsed.as_millis() as u64,
            "end": format!("{:?}", self.end),
            "read": self.read,
            "sent": self.sent,
            "bytes": self.bytes,
            "parked": self.parked,
            "targets": self.targets,
            "left": self.left,
        });
        audit.to_string()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.sent += other.sent;
        self.bytes += other.bytes;
        self.parked += other.parked;
        for (from, to) in [(&other.targets, &mut self.targets), (&other.left, &mut self.left)] {
            for (name, count) in from {
                *to.entry(name.clone()).or_default() += count;
            }
        }
    }
}

impl fmt::Display for RedriveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = if self.dry { "would send" } else { "sent" };
        writeln!(f, "job {} over {}", self.job, self.source)?;
        writeln!(f, "  read {}, {sent} {} ({} bytes)", self.read, self.sent, self.bytes)?;
        for (topic, count) in &self.targets {
            writeln!(f, "  to {topic}: {count}")?;
        }
        if self.parked > 0 {
            writeln!(f, "  of these parked, as they came back too often: {}", self.parked)?;
        }
        for (reason, count) in &self.left {
            writeln!(f, "  left: {count} ({reason})")?;
        }
        if self.before > 0 {
            writeln!(f, "  dealt with by earlier runs: {}", self.before)?;
        }
        match &self.end {
            End::Done => Ok(()),
            End::Limit => writeln!(f, "  ended at its limit; the same command goes on from here"),
            End::Stopped => writeln!(f, "  stopped; the same command goes on from here"),
            End::Repeated(place) => writeln!(f, "  stopped: {place} came back"),
        }
    }
}
