//! A cluster: where it is and how to talk to it. Everything else is made of one.

mod environment;

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "embedded")]
use crate::Embedded;
use crate::config::Settings;
use crate::{Admin, Error, Security};

/// A Kafka cluster: its address and how to talk to it.
///
/// Holds no connection. Producers, consumers and the [`admin`](Self::admin) are made of it; each connects by itself,
/// and starts with the settings made here. Cheap to clone.
///
/// ```no_run
/// use kafka_client::{Kafka, Security};
///
/// # fn main() -> Result<(), kafka_client::Error> {
/// let from_environment = Kafka::from_env()?;
/// let by_hand = Kafka::connect("broker-1:9092,broker-2:9092")
///     .security(Security::plaintext())
///     .client_id("orders")
///     .set("socket.keepalive.enable", "true");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Kafka {
    settings: Arc<Settings>,
    #[cfg(feature = "embedded")]
    embedded: Option<Arc<Embedded>>,
}

impl Kafka {
    /// A cluster by the addresses of some of its brokers, `host:port`, separated by commas.
    ///
    /// Nothing is connected yet. An address that cannot be one is refused when a client is built. Corresponds to
    /// `bootstrap.servers`.
    pub fn connect(bootstrap_servers: impl Into<String>) -> Self {
        let mut settings = Settings::new();
        settings.typed("bootstrap.servers", bootstrap_servers.into());
        Self::new(settings)
    }

    /// A cluster by the variables of the environment.
    ///
    /// | variable | property | |
    /// |---|---|---|
    /// | `KAFKA_BOOTSTRAP_SERVERS` | `bootstrap.servers` | required |
    /// | `KAFKA_SECURITY_PROTOCOL` | `security.protocol` | `plaintext` if not given |
    /// | `KAFKA_SASL_MECHANISM`, `KAFKA_SASL_USERNAME`, `KAFKA_SASL_PASSWORD` | `sasl.mechanism`, .. | |
    /// | `KAFKA_SSL_CA_LOCATION` | `ssl.ca.location` | |
    /// | `KAFKA_CLIENT_ID` | `client.id` | |
    /// | `KAFKA_LOG_LEVEL` | `log_level` | the one name with an underscore |
    /// | `KAFKA_X_Y` | `x.y` | every other property |
    ///
    /// A variable that is empty counts as not given. One that no property answers to (`KAFKA_HOME`,
    /// `KAFKA_HEAP_OPTS`) is ignored, with a line in the log that names it. What the program says with
    /// [`set`](Self::set) or a typed option wins over the environment, and says so in the log.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) names the variable: `KAFKA_BOOTSTRAP_SERVERS` is missing, or a
    /// value does not fit its property.
    pub fn from_env() -> Result<Self, Error> {
        environment::settings(std::env::vars_os()).map(Self::new)
    }

    /// As [`connect`](Self::connect), with all other properties by the variables of the environment, as
    /// [`from_env`](Self::from_env) reads them: for programs whose users name another cluster.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) names a variable whose value does not fit its property.
    pub fn connect_from_env(bootstrap_servers: impl Into<String>) -> Result<Self, Error> {
        let elsewhere = |(name, _): &(std::ffi::OsString, std::ffi::OsString)| name != "KAFKA_BOOTSTRAP_SERVERS";
        let mut settings = environment::properties(std::env::vars_os().filter(elsewhere))?;
        settings.typed("bootstrap.servers", bootstrap_servers.into());
        Ok(Self::new(settings))
    }

    /// As [`from_env`](Self::from_env) where `KAFKA_BOOTSTRAP_SERVERS` is set, else [`embedded`](Self::embedded): for
    /// examples and demonstrations that run anywhere. A service should say which one it means.
    ///
    /// # Errors
    ///
    /// As those two.
    #[cfg(feature = "embedded")]
    pub fn from_env_or_embedded() -> Result<Self, Error> {
        match std::env::var_os("KAFKA_BOOTSTRAP_SERVERS").is_some_and(|servers| !servers.is_empty()) {
            true => Self::from_env(),
            false => Self::embedded(),
        }
    }

    /// A broker inside this process: nothing to install, gone with the last handle.
    ///
    /// For trying out and for tests of your own code. It is not Kafka; [`Embedded`] tells what it cannot do.
    ///
    /// # Errors
    ///
    /// When no port can be opened.
    #[cfg(feature = "embedded")]
    pub fn embedded() -> Result<Self, Error> {
        let embedded = Embedded::start()?;
        let mut kafka = Self::connect(embedded.bootstrap_servers());
        kafka.embedded = Some(Arc::new(embedded));
        Ok(kafka)
    }

    fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            #[cfg(feature = "embedded")]
            embedded: None,
        }
    }

    /// Sets how the traffic is protected and who the client says it is.
    pub fn security(mut self, security: Security) -> Self {
        security.apply(Arc::make_mut(&mut self.settings));
        self
    }

    /// Sets the name that the brokers' logs and quotas know this application by, overriding the default of `rdkafka`.
    /// Corresponds to `client.id`.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.settings).typed("client.id", id.into());
        self
    }

    /// Sets any property of librdkafka, for every client made of this cluster.
    ///
    /// The escape hatch. A typed option for the same property wins, and says so in the log; a property that does not
    /// exist or does not fit is refused when a client is built.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.settings).set(key, value);
        self
    }

    /// Who looks after topics, groups and configurations.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// The broker inside this process, to make it fail; `None` for a real cluster.
    #[cfg(feature = "embedded")]
    pub fn embedded_broker(&self) -> Option<&Embedded> {
        self.embedded.as_deref()
    }

    /// The broker inside this process, for a client to keep alive.
    #[cfg(feature = "embedded")]
    pub(crate) fn embedded_handle(&self) -> Option<&Arc<Embedded>> {
        self.embedded.as_ref()
    }

    /// What every client made of this cluster starts with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Names and values of the settings, without secrets.
impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("settings", &self.settings).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setters_leave_other_handles_alone() {
        let one = Kafka::connect("a:1");
        let other = one.clone().client_id("x").set("linger.ms", "5").security(Security::sasl_plain("u", "p"));
        assert_eq!(one.settings().iter().count(), 1);
        assert_eq!(other.settings().get("client.id"), Some("x"));
        assert_eq!(other.settings().get("linger.ms"), Some("5"));
        assert_eq!(other.settings().get("sasl.username"), Some("u"));
    }

    #[test]
    fn the_address_given_to_connect_wins_over_the_escape_hatch() {
        let kafka = Kafka::connect("a:1").set("metadata.broker.list", "b:2");
        assert_eq!(kafka.settings().get("bootstrap.servers"), Some("a:1"));
    }

    #[test]
    fn debug_shows_settings_without_secrets() {
        let kafka =
            Kafka::connect("a:1").security(Security::sasl_plain("hunter2", "hunter2")).set("ssl.key.pem", "hunter2");
        let printed = format!("{kafka:?}");
        assert!(!printed.contains("hunter2") && printed.contains("a:1"), "{printed}");
    }
}
