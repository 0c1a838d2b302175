//! The settings of one client: what was asked for, by whom, and who wins.
//!
//! ```text
//!   a default of ours  <  the environment  <  set("linger.ms", ..)  <  a typed option
//! ```
//!
//! The later column wins, and says so. A client starts with a copy of what its [`Kafka`](crate::Kafka) says. Properties
//! with two names are one setting; messages use the name that was written.

mod check;
mod property;

pub(crate) use check::{check_client, check_consumer, check_plain, check_producer};
use property::is_secret;
pub(crate) use property::is_security;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::native;

/// The settings of one client.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    /// By the canonical name of the property.
    lines: BTreeMap<String, Line>,
}

/// One setting: its name as it was written, its value, and who asked for it.
#[derive(Clone)]
struct Line {
    key: String,
    value: String,
    origin: Origin,
}

/// Who asked for a setting. The later variant wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Default,
    Environment,
    Set,
    Typed,
}

impl Settings {
    pub(crate) fn new() -> Self {
        Default::default()
    }

    /// Sets what a typed option says.
    pub(crate) fn typed(&mut self, key: &str, value: impl fmt::Display) {
        self.put(key, value.to_string(), Origin::Typed);
    }

    /// Sets what the escape hatch says.
    pub(crate) fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.put(&key.into(), value.into(), Origin::Set);
    }

    /// Sets what the environment says.
    pub(crate) fn environment(&mut self, key: &str, value: impl Into<String>) {
        self.put(key, value.into(), Origin::Environment);
    }

    /// Sets what holds where nobody else says anything.
    pub(crate) fn default(&mut self, key: &str, value: impl fmt::Display) {
        self.put(key, value.to_string(), Origin::Default);
    }

    fn put(&mut self, key: &str, value: String, origin: Origin) {
        let line = Line { key: key.to_owned(), value, origin };
        let name = property::canonical(key);
        if let Some(old) = self.lines.get(name) {
            let (loser, winner) = if old.origin > origin { (&line, old) } else { (old, &line) };
            if loser.origin != Origin::Default
                && loser.origin != winner.origin
                && !property::same(name, &loser.value, &winner.value)
            {
                tracing::warn!(property = %winner.key, "{} wins over {}", winner.source(), loser.source());
            }
            if old.origin > origin {
                return;
            }
        }
        self.lines.insert(name.to_owned(), line);
    }

    /// What a property is set to, by whichever of its names.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.line(key).map(|line| line.value.as_str())
    }

    fn line(&self, key: &str) -> Option<&Line> {
        self.lines.get(property::canonical(key))
    }

    /// Takes a setting out, for a client that sees to it itself.
    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        self.lines.remove(property::canonical(key)).map(|line| line.value)
    }

    /// Takes out what typed options said about properties that `forget` names.
    pub(crate) fn forget_typed(&mut self, forget: impl Fn(&str) -> bool) {
        self.lines.retain(|name, line| line.origin != Origin::Typed || !forget(name));
    }

    /// A setting as a number. The error names it.
    pub(crate) fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>, Error> {
        self.parse(key, "not a number that fits", |value| value.parse().ok())
    }

    /// A setting as a yes or no. The error names it.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.parse(key, "neither true nor false", property::flag)
    }

    fn parse<T>(&self, key: &str, otherwise: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let Some(line) = self.line(key) else { return Ok(None) };
        match parse(line.value.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::config(format!("{line}: {otherwise}"))),
        }
    }

    /// Sets what this client cannot do without, and refuses a wish for something else. `because` continues
    /// "`enable.auto.commit=true` contradicts": it names the other setting, and says why.
    pub(crate) fn force(&mut self, key: &str, value: impl fmt::Display, because: &str) -> Result<(), Error> {
        let name = property::canonical(key);
        let value = value.to_string();
        if let Some(line) = self.lines.get(name).filter(|line| line.origin != Origin::Default)
            && !property::same(name, &line.value, &value)
        {
            return Err(Error::config(format!("{line} contradicts {because}")));
        }
        self.lines.insert(name.to_owned(), Line { key: key.to_owned(), value, origin: Origin::Typed });
        Ok(())
    }

    /// Keys and values as librdkafka takes them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.values().map(|line| (line.key.as_str(), line.value.as_str()))
    }

    /// What says how to reach the cluster, without what says how to produce or consume.
    pub(crate) fn connection(&self) -> Settings {
        let lines = self.lines.iter().filter(|(name, _)| property::is_connection(name));
        Settings { lines: lines.map(|(name, line)| (name.clone(), line.clone())).collect() }
    }
}

impl Line {
    /// How this setting was made, without its value.
    fn source(&self) -> String {
        let Self { key, origin, .. } = self;
        match origin {
            Origin::Default => format!("the default of `{key}`"),
            Origin::Environment => format!("`{}` of the environment", property::variable(key)),
            Origin::Set => format!("`set(\"{key}\", ..)`"),
            Origin::Typed => format!("the option for `{key}`"),
        }
    }
}

/// "`linger.ms=5`", for a message; of a secret the name only.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin } = self;
        match printable(key) {
            true => write!(f, "`{key}={value}`")?,
            false => write!(f, "`{key}`")?,
        }
        match origin {
            Origin::Default => f.write_str(" (the default)"),
            Origin::Environment => write!(f, " (from `{}`)", property::variable(key)),
            Origin::Set | Origin::Typed => Ok(()),
        }
    }
}

/// Names and values, without the values of secrets and of properties that nobody knows: a mistyped
/// `sasl.pasword` is a secret too.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |key, value| if printable(key) { value } else { "***" };
        f.debug_map().entries(self.iter().map(|(key, value)| (key, shown(key, value)))).finish()
    }
}

/// Whether the value of a property may be printed.
fn printable(key: &str) -> bool {
    !is_secret(key) && native::config::is_property(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings as the escape hatch makes them.
    fn set(lines: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new();
        for (key, value) in lines {
            settings.set(*key, *value);
        }
        settings
    }

    #[test]
    fn the_escape_hatch_sets_and_its_last_word_holds() {
        let settings = set(&[("linger.ms", "5"), ("client.id", "a"), ("linger.ms", "7")]);
        assert_eq!(settings.get("linger.ms"), Some("7"));
        assert_eq!(settings.get("client.id"), Some("a"));
        assert_eq!(settings.get("acks"), None);
    }

    #[test]
    fn a_typed_option_wins_in_either_order() {
        let mut typed_last = set(&[("linger.ms", "5")]);
        typed_last.typed("linger.ms", 9);
        let mut typed_first = Settings::new();
        typed_first.typed("linger.ms", 9);
        typed_first.set("linger.ms", "5");
        assert_eq!(typed_last.get("linger.ms"), Some("9"));
        assert_eq!(typed_first.get("linger.ms"), Some("9"));
    }

    #[test]
    fn a_default_yields_to_everything() {
        let mut settings = set(&[("linger.ms", "5")]);
        settings.default("linger.ms", 1);
        assert_eq!(settings.get("linger.ms"), Some("5"));
        let mut settings = Settings::new();
        settings.default("linger.ms", 1);
        settings.environment("linger.ms", "5");
        assert_eq!(settings.get("linger.ms"), Some("5"));
        settings.default("linger.ms", 2);
        assert_eq!(settings.get("linger.ms"), Some("5"));
    }

    #[test]
    fn the_environment_yields_to_the_program() {
        let mut settings = Settings::new();
        settings.environment("linger.ms", "5");
        settings.set("linger.ms", "6");
        settings.environment("linger.ms", "7");
        assert_eq!(settings.get("linger.ms"), Some("6"));
    }

    #[test]
    fn two_names_of_a_property_are_one_setting() {
        for (one, other) in [
            ("acks", "request.required.acks"),
            ("linger.ms", "queue.buffering.max.ms"),
            ("delivery.timeout.ms", "message.timeout.ms"),
            ("retries", "message.send.max.retries"),
            ("max.in.flight", "max.in.flight.requests.per.connection"),
            ("compression.type", "compression.codec"),
            ("bootstrap.servers", "metadata.broker.list"),
            ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
            ("sasl.mechanism", "sasl.mechanisms"),
            ("topic.acks", "acks"),
        ] {
            let mut settings = set(&[(one, "1")]);
            assert_eq!(settings.get(other), Some("1"), "{one}");
            settings.set(other, "2");
            assert_eq!(settings.iter().collect::<Vec<_>>(), [(other, "2")], "{one}");
            assert_eq!(settings.take(one).as_deref(), Some("2"), "{one}");
            assert_eq!(settings.iter().count(), 0, "{one}");
        }
    }

    #[test]
    fn numbers_and_flags_are_read_or_named() {
        let settings = set(&[("linger.ms", "5"), ("acks", "all"), ("enable.idempotence", "T"), ("check.crcs", "yes")]);
        assert_eq!(settings.number::<u32>("queue.buffering.max.ms").ok(), Some(Some(5)));
        assert_eq!(settings.number::<u32>("retries").ok(), Some(None));
        assert_eq!(settings.flag("enable.idempotence").ok(), Some(Some(true)));
        let error = settings.number::<i32>("request.required.acks").unwrap_err();
        assert_eq!(error.to_string(), "`acks=all`: not a number that fits");
        let error = settings.flag("check.crcs").unwrap_err();
        assert_eq!(error.to_string(), "`check.crcs=yes`: neither true nor false");
    }

    #[test]
    fn force_sets_what_nobody_asked_for() {
        let mut settings = Settings::new();
        settings.default("enable.auto.commit", true);
        settings.force("enable.auto.commit", false, "x").unwrap();
        settings.set("enable.auto.commit", "true");
        assert_eq!(settings.get("enable.auto.commit"), Some("false"));
    }

    #[test]
    fn force_takes_the_same_value_in_other_words() {
        for (key, asked, needed) in [
            ("enable.auto.commit", "F", "false"),
            ("enable.auto.commit", " 0", "false"),
            ("request.required.acks", "-1", "all"),
            ("isolation.level", "READ_COMMITTED", "read_committed"),
            ("max.in.flight", "5", "5"),
        ] {
            let mut settings = set(&[(key, asked)]);
            settings.force(key, needed, "x").unwrap();
            assert_eq!(settings.get(key), Some(needed), "{key}={asked}");
        }
    }

    #[test]
    fn force_refuses_another_value_and_names_both_settings() {
        let because = "`guarantee=at-least-once`: offsets are committed when records are finished";
        let mut settings = set(&[("enable.auto.commit", "true")]);
        let error = settings.force("enable.auto.commit", false, because).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        assert_eq!(error.to_string(), format!("`enable.auto.commit=true` contradicts {because}"));
        let mut settings = Settings::new();
        settings.environment("delivery.timeout.ms", "5");
        let error = settings.force("message.timeout.ms", 10, "`x`").unwrap_err();
        assert_eq!(error.to_string(), "`delivery.timeout.ms=5` (from `KAFKA_DELIVERY_TIMEOUT_MS`) contradicts `x`");
    }

    #[test]
    fn debug_shows_no_secret() {
        let secrets = [
            ("sasl.password", "hunter2"),
            ("sasl.username", "hunter2"),
            ("ssl.key.password", "hunter2"),
            ("ssl.key.pem", "hunter2"),
            ("ssl.certificate.pem", "hunter2"),
            ("ssl.keystore.password", "hunter2"),
            ("sasl.oauthbearer.config", "hunter2"),
            ("sasl.oauthbearer.client.credentials.client.secret", "hunter2"),
            ("sasl.oauthbearer.assertion.private.key.passphrase", "hunter2"),
            ("sasl.pasword", "hunter2"),
            ("SASL.PASSWORD", "hunter2"),
            ("sasl.jaas.config", "hunter2"),
        ];
        let mut settings = set(&secrets);
        settings.set("linger.ms", "5");
        let printed = format!("{settings:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains(r#""linger.ms": "5""#), "{printed}");
        for (key, _) in secrets {
            assert!(printed.contains(key), "{key} in {printed}");
            let error = settings.number::<i32>(key).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
            let error = settings.force(key, "other", "`x`").unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_connection_is_what_every_client_needs() {
        let settings = set(&[
            ("bootstrap.servers", "a:1"),
            ("client.id", "x"),
            ("security.protocol", "ssl"),
            ("ssl.ca.location", "/ca"),
            ("enable.ssl.certificate.verification", "true"),
            ("sasl.username", "u"),
            ("socket.timeout.ms", "1000"),
            ("reconnect.backoff.ms", "10"),
            ("debug", "admin"),
            ("acks", "0"),
            ("transactional.id", "t"),
            ("group.id", "g"),
            ("enable.idempotence", "true"),
            ("statistics.interval.ms", "1000"),
        ]);
        let connection = settings.connection();
        let mut found: Vec<_> = connection.iter().map(|(key, _)| key).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "bootstrap.servers",
                "client.id",
                "debug",
                "enable.ssl.certificate.verification",
                "reconnect.backoff.ms",
                "sasl.username",
                "security.protocol",
                "socket.timeout.ms",
                "ssl.ca.location",
            ]
        );
    }

    #[test]
    fn security_is_forgotten_where_typed_options_said_it() {
        let mut settings = set(&[("sasl.username", "set")]);
        settings.typed("security.protocol", "ssl");
        settings.typed("client.id", "x");
        settings.forget_typed(is_security);
        assert_eq!(settings.get("security.protocol"), None);
        assert_eq!(settings.get("client.id"), Some("x"));
        assert_eq!(settings.get("sasl.username"), Some("set"));
    }
}
