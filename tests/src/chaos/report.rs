//! `Report` is a seed's line of JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::judge::Findings;
use super::plan::Plan;

/// What is told of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether all promises held.
    pub ok: bool,
    /// Whether it proves something.
    pub counts: bool,
    /// In the order in which it is told.
    line: Vec<(String, Value)>,
}

/// What was run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ran<'r> {
    pub(super) scenario: &'r str,
    pub(super) worker: &'r str,
    pub(super) seed: u64,
    pub(super) plan: &'r Plan,
    pub(super) records: usize,
    pub(super) events: usize,
    pub(super) lives: usize,
    pub(super) took: Duration,
}

impl Report {
    pub(super) fn new(ran: Ran<'_>, findings: Findings) -> Self {
        let ok = findings.broken.is_empty();
        let counts = findings.counts.unwrap_or(true);
        let mut line = Vec::new();
        let mut tell = |name: &str, value: Value| line.push((name.to_owned(), value));
        tell("scenario", json!(ran.scenario));
        tell("worker", json!(ran.worker));
        tell("protocol", json!(ran.plan.protocol.name()));
        tell("seed", json!(ran.seed));
        tell("records", json!(ran.records));
        tell("events", json!(ran.events));
        tell("lives", json!(ran.lives));
        tell("lost", json!(findings.lost));
        tell("duplicated", json!(findings.duplicated));
        tell("reordered", json!(findings.reordered));
        for (name, value) in findings.more {
            tell(&name, value);
        }
        tell("seconds", json!((ran.took.as_secs_f64() * 10.0).round() / 10.0));
        tell("counts", json!(counts));
        tell("ok", json!(ok));
        if !ok {
            tell("broken", json!(findings.broken));
        }
        Self { ok, counts, line }
    }

    /// A figure, if there is one of that name.
    pub fn figure(&self, name: &str) -> Option<u64> {
        self.told(name).and_then(Value::as_u64)
    }

    /// The sentences about promises that were broken.
    pub fn broken(&self) -> Vec<&str> {
        let broken = self.told("broken").and_then(Value::as_array);
        broken.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn told(&self, name: &str) -> Option<&Value> {
        self.line.iter().find(|(told, _)| told == name).map(|(_, value)| value)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> =
            self.line.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
        write!(f, "{{{}}}", pairs.join(","))
    }
}
