//! What topics should be like, and are.

use crate::Error;
use crate::admin::AclOperation;
use crate::native::admin::NewTopic;

/// The configuration of a topic: names, and values where the broker tells them.
pub(in crate::admin) type TopicConfig = Vec<(String, Option<String>)>;

/// What a topic should be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) replication: Option<i16>,
    pub(super) config: Vec<(String, String)>,
}

impl TopicSpec {
    /// A topic with this many partitions at least.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication: None, config: Vec::new() }
    }

    /// Sets on how many brokers each partition lies, overriding the cluster's default.
    ///
    /// Stated, it is checked on an existing topic; left out, any number is fine.
    pub fn replication(mut self, factor: i16) -> Self {
        self.replication = Some(factor);
        self
    }

    /// Sets a configuration of the topic, overriding the cluster's default: `retention.ms`, `cleanup.policy`.
    ///
    /// Stated, it is checked on an existing topic; left out, any value is fine.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let key = key.into();
        self.config.retain(|(other, _)| *other != key);
        self.config.push((key, value.into()));
        self
    }

    /// The name of the topic.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::admin) fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Whether nothing is stated but name and partitions.
    pub(in crate::admin) fn is_bare(&self) -> bool {
        self.config.is_empty() && self.replication.is_none()
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::config(text).with_topic(&self.name));
        match (self.partitions, self.replication) {
            (..1, _) => refuse(format!("a topic has at least 1 partition, not {}", self.partitions)),
            (_, Some(factor @ ..1)) => refuse(format!("a partition lies on at least 1 broker, not on {factor}")),
            _ => Ok(()),
        }
    }

    pub(super) fn as_new(&self) -> NewTopic<'_> {
        let Self { name, partitions, replication, config } = self;
        NewTopic { name, partitions: *partitions, replication: *replication, config }
    }
}

/// A topic that is now as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) change: TopicChange,
}

impl Ensured {
    /// The name of the topic.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many partitions it has: as many as asked for, or more.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// What it took.
    pub fn change(&self) -> TopicChange {
        self.change
    }
}

/// What it took to make a topic be as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicChange {
    /// It was missing, and this call has created it.
    Created,
    /// It had fewer partitions, and this call has added some.
    Grown {
        /// How many partitions it had before.
        from: i32,
    },
    /// It was as it should be.
    Unchanged,
}

/// A topic that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub(super) name: String,
    pub(super) existed: bool,
}

impl Deleted {
    /// The name of the topic.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there was one, which this call has deleted.
    pub fn existed(&self) -> bool {
        self.existed
    }
}

/// A topic of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTopic {
    pub(super) name: String,
    pub(super) partitions: i32,
}

impl ListedTopic {
    /// The name of the topic.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }
}

/// What a topic is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) replication: i16,
    pub(super) leaderless: i32,
    /// `None` without the right to see it.
    pub(super) config: Option<TopicConfig>,
    /// `None` if the broker does not say.
    pub(super) operations: Option<Vec<AclOperation>>,
}

impl TopicDescription {
    /// The name of the topic.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// On how many brokers each partition lies, at least.
    pub fn replication(&self) -> i16 {
        self.replication
    }

    /// How many partitions have no leader, so that nobody can write to them or read from them.
    pub fn leaderless(&self) -> i32 {
        self.leaderless
    }

    /// The value in force of a configuration, whether set on the topic or the cluster's default. The embedded broker
    /// has none.
    pub fn config(&self, key: &str) -> Option<&str> {
        let (_, value) = self.config.iter().flatten().find(|(name, _)| name == key)?;
        value.as_deref()
    }

    /// What the caller may do with it (KIP-430): all there is where nothing is guarded. `None` where the cluster does not
    /// say, as the embedded broker.
    pub fn authorized_operations(&self) -> Option<&[AclOperation]> {
        self.operations.as_deref()
    }

    /// Whether its configuration could be seen.
    pub fn is_config_known(&self) -> bool {
        self.config.is_some()
    }
}
