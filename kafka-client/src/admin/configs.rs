//! Configurations of topics, brokers and groups: read them, change some lines of them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::groups::{check_group, needs_real};
use super::session::Session;
use super::{Admin, is_topic_name, refusal};
use crate::Error;
use crate::native::admin::Requests;
use crate::native::admin::configs::{Change, Entry, Kind, PerResource};
use crate::native::{Event, NativeError};

const DESCRIBE: &str = "describe configurations";
const ALTER: &str = "alter configurations";

/// How many resources go into a request: librdkafka puts their names, of up to 32 kB each, on the caller's stack.
const PER_REQUEST: usize = 16;

impl Admin {
    /// Tells the configurations of topics, brokers and groups. One answer a resource, in the order of `resources`.
    ///
    /// What a resource has not been given is told with the value in force. The
    /// [embedded broker](crate::Kafka::embedded) has no configurations.
    ///
    /// # Errors
    ///
    /// For all: [`ErrorKind::Config`](crate::ErrorKind::Config) for a name that cannot be or is there twice;
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) and [`ErrorKind::Timeout`](crate::ErrorKind::Timeout),
    /// after which to call again. For one: it does not exist, or may not be seen. A group is never missing: it has the
    /// cluster's defaults. A broker older than Kafka 4.0 knows no configurations of groups, and says so.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
    ) -> Result<Vec<Result<ResourceConfig, Error>>, Error> {
        let named = |error: Error| error.with_operation(DESCRIBE);
        let submit = |requests: &Requests<'_>, at: &[usize]| {
            let names: Vec<(Kind, String)> = at.iter().map(|at| resources[*at].native()).collect();
            requests.describe_configs(&names.iter().map(|(kind, name)| (*kind, name.as_str())).collect::<Vec<_>>())
        };
        let of: Vec<&ConfigResource> = resources.iter().collect();
        let answers = self.ask_resources(&of, submit, Event::configs).await.map_err(named)?;
        let one = |(resource, answer): (&ConfigResource, Result<Vec<Entry>, Error>)| {
            let entries = answer.map_err(named)?.into_iter().map(ConfigEntry::from).collect();
            Ok(ResourceConfig { resource: resource.clone(), entries })
        };
        Ok(resources.iter().zip(answers).map(one).collect())
    }

    /// Changes some lines of configurations, and leaves the others as they are. One answer a resource, in the order of
    /// `alterations`; a resource is changed as a whole or not at all.
    ///
    /// A change is in force within moments, on every broker at its own time. Groups of the consumer protocol take
    /// theirs with the next heartbeat: `consumer.session.timeout.ms`, `consumer.heartbeat.interval.ms`.
    ///
    /// ```no_run
    /// use kafka_client::{ConfigAlteration, ConfigResource, Kafka};
    ///
    /// # async fn shorten(kafka: Kafka) -> Result<(), kafka_client::Error> {
    /// let orders = ConfigAlteration::new(ConfigResource::topic("orders"))
    ///     .set("retention.ms", "86400000")
    ///     .append("cleanup.policy", "compact")
    ///     .delete("segment.ms");
    /// let billing = ConfigAlteration::new(ConfigResource::group("billing"))
    ///     .set("consumer.session.timeout.ms", "30000");
    /// for altered in kafka.admin().alter_configs_incremental(&[orders, billing]).await? {
    ///     altered?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`describe_configs`](Self::describe_configs), and
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a key or value that the resource does not take (for that
    /// resource), and for an alteration without a change or with two of one key (for all, before anybody is asked).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting. Resources may have been changed, or may be still. Calling again is fine.
    pub async fn alter_configs_incremental(
        &self,
        alterations: &[ConfigAlteration],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let named = |error: Error| error.with_operation(ALTER);
        alterations.iter().try_for_each(ConfigAlteration::check).map_err(named)?;
        let submit = |requests: &Requests<'_>, at: &[usize]| {
            let names: Vec<(Kind, String)> = at.iter().map(|at| alterations[*at].resource.native()).collect();
            let changes = at.iter().zip(&names).map(|(at, (kind, name))| {
                let lines = alterations[*at].changes.iter().map(|(key, change)| (key.as_str(), change.native()));
                (*kind, name.as_str(), lines.collect())
            });
            requests.alter_configs(&changes.collect::<Vec<_>>())
        };
        let of: Vec<&ConfigResource> = alterations.iter().map(|alteration| &alteration.resource).collect();
        let answers = self.ask_resources(&of, submit, Event::altered_configs).await.map_err(named)?;
        Ok(answers.into_iter().map(|answer| answer.map_err(named)).collect())
    }

    /// Asks about resources, as many at once as may be: a broker is asked about itself, and one at a time.
    async fn ask_resources<T>(
        &self,
        of: &[&ConfigResource],
        submit: impl Fn(&Requests<'_>, &[usize]) -> Result<(), NativeError>,
        read: impl Fn(&Event) -> Option<PerResource<T>>,
    ) -> Result<Vec<Result<T, Error>>, Error> {
        check(of)?;
        if of.is_empty() {
            return Ok(Vec::new());
        }
        needs_real(&self.kafka, "do anything with configurations")?;
        let mut session = Session::open(&self.kafka, self.timeout).await?;
        let mut answers: BTreeMap<usize, Result<T, Error>> = BTreeMap::new();
        if of.iter().any(|resource| matches!(resource, ConfigResource::Broker(_))) {
            // librdkafka would wait for one that does not exist until time is up.
            let brokers = session.ask(|requests| requests.describe_cluster(), Event::brokers).await?;
            for (at, resource) in of.iter().enumerate() {
                if let ConfigResource::Broker(id) = resource
                    && !brokers.contains(id)
                {
                    answers
                        .insert(at, Err(Error::config(format!("{resource} is not in the cluster: {brokers:?} are"))));
                }
            }
        }
        let open: Vec<usize> = (0..of.len()).filter(|at| !answers.contains_key(at)).collect();
        let (brokers, others): (Vec<usize>, Vec<usize>) =
            open.into_iter().partition(|at| matches!(of[*at], ConfigResource::Broker(_)));
        for part in brokers.chunks(1).chain(others.chunks(PER_REQUEST)) {
            let keys: Vec<(Kind, String)> = part.iter().map(|at| of[*at].native()).collect();
            let submit = |requests: &Requests<'_>, open: &[usize]| {
                submit(requests, &open.iter().map(|at| part[*at]).collect::<Vec<_>>())
            };
            let explain = |at: usize, error| of[part[at]].error(error);
            match session.each(&keys, submit, &read, explain).await {
                Ok(results) => answers.extend(part.iter().copied().zip(results)),
                Err(error) if answers.is_empty() => return Err(error),
                Err(error) => answers.extend(part.iter().map(|at| (*at, Err(error.clone())))),
            }
        }
        Ok(answers.into_values().collect())
    }
}

/// Refuses resources that cannot be, and resources said twice.
fn check(of: &[&ConfigResource]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for resource in of {
        resource.check()?;
        if !seen.insert(resource) {
            return Err(Error::config(format!("{resource} is named twice")));
        }
    }
    Ok(())
}

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

    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Topic(name) if !is_topic_name(name) => Err(Error::config(format!("{name:?} is no name of a topic"))),
            Self::Broker(id @ ..0) => Err(Error::config(format!("a broker's number is not negative, as {id} is"))),
            Self::Group(id) => check_group(id),
            _ => Ok(()),
        }
    }

    fn native(&self) -> (Kind, String) {
        match self {
            Self::Topic(name) => (Kind::Topic, name.clone()),
            Self::Broker(id) => (Kind::Broker, id.to_string()),
            Self::Group(id) => (Kind::Group, id.clone()),
        }
    }

    /// What went wrong with it.
    fn error(&self, error: NativeError) -> Error {
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
    resource: ConfigResource,
    changes: Vec<(String, ConfigChange)>,
}

#[derive(Clone, PartialEq, Eq)]
enum ConfigChange {
    Set(String),
    Delete,
    Append(String),
    Subtract(String),
}

impl ConfigChange {
    fn native(&self) -> Change<'_> {
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

    fn check(&self) -> Result<(), Error> {
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
    resource: ConfigResource,
    entries: Vec<ConfigEntry>,
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
