//! Configurations of topics, brokers and groups: read them, change some lines of them.

mod model;

use std::collections::{BTreeMap, HashSet};

use super::Admin;
use super::groups::needs_real;
use super::session::Session;
use crate::Error;
use crate::native::admin::Requests;
use crate::native::admin::configs::{Entry, Kind, PerResource};
use crate::native::{Event, NativeError};

pub use model::{ConfigAlteration, ConfigEntry, ConfigResource, ConfigSource, ResourceConfig};

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
