//! Settings: flags over the environment over a file.

use std::path::Path;

use kafka_client::Kafka;
use kafka_client::serde::Registry;

use super::arguments::Connection;
use crate::error::Error;
use crate::values::Values;

/// What every verb needs.
pub(super) struct Settings {
    pub(super) kafka: Kafka,
    /// One handle for all that a verb does: what it has learned of schemas is known to all.
    pub(super) registry: Option<Registry>,
    pub(super) values: Option<Values>,
}

/// Settings of the command itself that may stand in a file.
const REGISTRY: &str = "schema.registry.url";

impl Settings {
    pub(super) fn read(connection: &Connection) -> Result<Self, Error> {
        let mut file = match &connection.config {
            Some(path) => read_file(path)?,
            None => Vec::new(),
        };
        let from_file = |key: &str, file: &mut Vec<(String, String)>| {
            let at = file.iter().position(|(other, _)| other == key)?;
            Some(file.remove(at).1)
        };
        let registry_of_file = from_file(REGISTRY, &mut file);
        let bootstrap_of_file = from_file("bootstrap.servers", &mut file);
        let bootstrap = connection.bootstrap.clone().or(bootstrap_of_file);
        let Some(bootstrap) = bootstrap.filter(|bootstrap| !bootstrap.is_empty()) else {
            return Err(Error::config(
                "where is Kafka? Say --bootstrap host:port, KAFKA_BOOTSTRAP_SERVERS, or bootstrap.servers in --config",
            ));
        };
        let mut kafka = match std::env::var_os("KAFKA_BOOTSTRAP_SERVERS").is_some_and(|text| text == *bootstrap) {
            true => Kafka::from_env().map_err(|error| Error::kafka("read the environment", error))?,
            false => Kafka::connect_from_env(bootstrap).map_err(|error| Error::kafka("read the environment", error))?,
        };
        for (key, value) in file {
            let variable = format!("KAFKA_{}", key.to_uppercase().replace('.', "_"));
            if std::env::var_os(variable).is_none_or(|value| value.is_empty()) {
                kafka = kafka.set(key, value);
            }
        }
        for pair in &connection.set {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(Error::config(format!("-X {pair}: say key=value")));
            };
            kafka = kafka.set(key.trim(), value.trim());
        }
        // What librdkafka has to say is said by errors.
        let kafka = kafka.client_id("kafka-dlq");
        let url = connection.registry.clone().or(registry_of_file).filter(|url| !url.is_empty());
        let registry = url.map(Registry::connect).transpose();
        let registry = registry.map_err(|error| Error::config("--registry cannot be used").with_source(error))?;
        let values = registry.as_ref().map(Values::new);
        Ok(Self { kafka, registry, values })
    }
}

/// Lines of `key=value`; `#` begins a comment.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::config(format!("--config {}: cannot be read", path.display())).with_source(error))?;
    let mut settings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            // The line itself may hold a secret.
            let text = format!("--config {}: line {} is no key=value", path.display(), number + 1);
            return Err(Error::config(text));
        };
        settings.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(settings)
}
