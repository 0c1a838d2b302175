//! What a judge sees of a seed that has been run.

use std::collections::BTreeMap;

use crate::harness::oracle::{self, Isolation, Stored};

use super::kind::Kind;
use super::ledger::Lines;
use super::plan::Plan;

/// All that is known when it is over.
#[derive(Debug)]
pub struct Evidence<'e> {
    /// What the members were.
    pub worker: &'e Kind,
    /// What was to happen.
    pub plan: &'e Plan,
    /// The address of the cluster, past the proxies.
    pub bootstrap: &'e str,
    /// The members' group.
    pub group: String,
    /// The other topics, by role.
    pub topics: BTreeMap<&'static str, String>,
    /// The name of the input.
    pub input_name: String,
    /// What was produced.
    pub input: Vec<Stored>,
    /// What the members wrote down.
    pub lines: Lines,
    /// Each process that was a member.
    pub lives: Vec<Life>,
    /// Why it was not over in time, if so.
    pub unfinished: Option<String>,
}

/// A process that was a member.
#[derive(Clone, Debug)]
pub struct Life {
    /// The name that it writes under.
    pub by: char,
    /// How often it was cut off from what it held: killed, suspended, or without its broker.
    pub disruptions: usize,
    /// Whether another one ran in the same place: one of them had been suspended, and came back. Under one transactional id
    /// they fence each other, until one of them ends.
    pub contested: bool,
    /// How it ended.
    pub end: End,
}

/// How a life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Not yet.
    Running,
    /// It was asked to, and did.
    Stopped,
    /// It was killed.
    Killed,
    /// By itself, or it failed to end when it was asked to; and the last it said.
    Died(String),
}

impl Evidence<'_> {
    /// What was written to the topic of this role, as it is seen by one who reads so.
    ///
    /// # Panics
    ///
    /// If the plan has no such topic, or it cannot be read.
    pub fn written(&self, role: &str, isolation: Isolation) -> Vec<Stored> {
        let topic = self.topics.get(role).unwrap_or_else(|| panic!("the plan has no topic that is the {role}"));
        oracle::read_all(self.bootstrap, topic, isolation)
    }

    /// The lives that ended by themselves, and what they said last.
    pub fn deaths(&self) -> impl Iterator<Item = (&Life, &str)> {
        self.lives.iter().filter_map(|life| match &life.end {
            End::Died(said) => Some((life, said.as_str())),
            _ => None,
        })
    }

    /// Those of them that had promised not to.
    pub fn broken_lives(&self) -> Vec<(char, &str)> {
        let broken = self.deaths().filter(|(life, _)| self.worker.lives && !life.contested);
        broken.map(|(life, said)| (life.by, said)).collect()
    }
}
