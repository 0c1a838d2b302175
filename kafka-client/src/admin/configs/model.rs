//! What has a configuration, what is told about it, and how it is changed.

use std::collections::HashSet;
use std::fmt;

use crate::Error;
use crate::admin::groups::check_group;
use crate::admin::{is_topic_name, refusal};
use crate::native::NativeError;
use crate::native::admin::configs::{Change, Entry, Kind};

/// Something that has a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigResource {
    /// A topic, by its name.
    Topic(String),
    /// A broker, by its number (`node.id`).
    Broker(i32),
    /// A group of the consumer protocol (KIP-848), by its id. It need not exist yet.
    Group(String),
}

impl ConfigResource {
    /// A topic.
    pub fn topic(name: impl Into<String>) -> Self {
        Self::Topic(name.into())
    }

    /// A broker.
    pub fn broker(id: i32) -> Self {
        Self::Broker(id)
    }

    /// A group of the consumer protocol.
    pub fn group(id: impl Into<String>) -> Self {
        Self::Group(id.into())
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Topic(name) if !is_topic_name(name) => Err(Error::config(format!("{name:?} is no name of a topic"))),
            Self::Broker(id @ ..0) => Err(Error::config(format!("a broker's number is not negative, as {id} is"))),
            Self::Group(id) => check_group(id),
            _ => Ok(()),
        }
    }

    pub(super) fn native(&self) -> (Kind, String) {
        match self {
            Self::Topic(name) => (Kind::Topic, name.clone()),
            Self::Broker(id) => (Kind::Broker, id.to_string()),
            Self::Group(id) => (Kind::Group, id.clone()),
        }
    }

    /// What went wrong with it.
    pub(super) fn error(&self, error: NativeError) -> Error {
        match self {
            Self::Topic(name) => refusal(error).with_topic(name),
            _ => {
                let text = format!("{self}: {}", error.text);
                refusal(error.with_text(text))
            }
        }
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::Group(id) => write!(f, "group {id}"),
        }
    }
}

/// Changes to the configuration of one resource.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "nothing is changed before `Admin::alter_configs_incremental`"]
pub struct ConfigAlteration {
    pub(super) resource: ConfigResource,
    pub(super) changes: Vec<(String, ConfigChange)>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum ConfigChange {
    Set(String),
    Delete,
    Append(String),
    Subtract(String),
}

impl ConfigChange {
    pub(super) fn native(&self) -> Change<'_> {
        match self {
            Self::Set(value) => Change::Set(value),
            Self::Delete => Change::Delete,
            Self::Append(value) => Change::Append(value),
            Self::Subtract(value) => Change::Subtract(value),
        }
    }

    fn value(&self) -> Option<&str> {
        match self {
            Self::Set(value) | Self::Append(value) | Self::Subtract(value) => Some(value),
            Self::Delete => None,
        }
    }
}

impl ConfigAlteration {
    /// No change yet. Each key may be changed once.
    pub fn new(resource: ConfigResource) -> Self {
        Self { resource, changes: Vec::new() }
    }

    /// Gives a key a value.
    pub fn set(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(key, ConfigChange::Set(value.into()))
    }

    /// Takes away what a key was given, so that the default is in force again.
    pub fn delete(self, key: impl Into<String>) -> Self {
        self.change(key, ConfigChange::Delete)
    }

    /// Adds to a key that takes a list (`cleanup.policy`), one or several with commas between.
    pub fn append(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(key, ConfigChange::Append(value.into()))
    }

    /// Takes out of a key that takes a list, one or several with commas between.
    pub fn subtract(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(key, ConfigChange::Subtract(value.into()))
    }

    /// What is changed.
    pub fn resource(&self) -> &ConfigResource {
        &self.resource
    }

    fn change(mut self, key: impl Into<String>, change: ConfigChange) -> Self {
        self.changes.push((key.into(), change));
        self
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let resource = &self.resource;
        if self.changes.is_empty() {
            return Err(Error::config(format!("the alteration of {resource} changes nothing")));
        }
        let mut seen = HashSet::new();
        for (key, change) in &self.changes {
            if key.is_empty() || key.contains('\0') {
                return Err(Error::config(format!("{key:?} is no key of {resource}'s configuration")));
            }
            if change.value().is_some_and(|value| value.contains('\0')) {
                return Err(Error::config(format!("the value of `{key}` for {resource} contains a NUL")));
            }
            if !seen.insert(key) {
                return Err(Error::config(format!("`{key}` of {resource} is changed twice")));
            }
        }
        Ok(())
    }
}

/// Resource and keys; a value may be a password.
impl fmt::Debug for ConfigAlteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.changes.iter().map(|(key, _)| key.as_str()).collect();
        f.debug_struct("ConfigAlteration").field("resource", &self.resource).field("keys", &keys).finish()
    }
}

/// The configuration of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceConfig {
    pub(super) resource: ConfigResource,
    pub(super) entries: Vec<ConfigEntry>,
}

impl ResourceConfig {
    /// Whose it is.
    pub fn resource(&self) -> &ConfigResource {
        &self.resource
    }

    /// The line of a key; `None` if the resource has no such key.
    pub fn get(&self, key: &str) -> Option<&ConfigEntry> {
        self.entries.iter().find(|entry| entry.name == key)
    }

    /// All lines.
    pub fn entries(&self) -> &[ConfigEntry] {
        &self.entries
    }
}

/// A line of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    name: String,
    value: Option<String>,
    source: ConfigSource,
    read_only: bool,
    sensitive: bool,
}

impl ConfigEntry {
    /// The key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value in force; `None` if there is none, or if it is a [secret](Self::is_sensitive).
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Who has given it.
    pub fn source(&self) -> ConfigSource {
        self.source
    }

    /// Whether nobody has given it.
    pub fn is_default(&self) -> bool {
        self.source == ConfigSource::Default
    }

    /// Whether only a restart of the broker can change it.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether it is a password or the like, which the broker tells nobody.
    pub fn is_sensitive(&self) -> bool {
        self.sensitive
    }
}

impl From<Entry> for ConfigEntry {
    fn from(entry: Entry) -> Self {
        let Entry { name, value, source, read_only, sensitive } = entry;
        Self { name, value, source: ConfigSource::numbered(source), read_only, sensitive }
    }
}

/// Who has given a configuration its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic,
    /// Set on the broker while it was running.
    DynamicBroker,
    /// Set on all brokers while they were running.
    DynamicDefaultBroker,
    /// Stated in the broker's `server.properties`.
    StaticBroker,
    /// Nobody: it is Kafka's default.
    Default,
    /// Set on the group.
    Group,
    /// Something that has no name here.
    Unknown,
}

impl ConfigSource {
    fn numbered(source: i32) -> Self {
        match source {
            1 => Self::DynamicTopic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            8 => Self::Group,
            _ => Self::Unknown,
        }
    }
}
