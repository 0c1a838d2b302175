//! What is refused before a client is made: unknown properties, malformed values, and pairs that contradict each other.

use std::fmt;

use super::{Line, Settings, property};
use crate::Error;
use crate::native::config::{PropertyError, check_property};

/// A deadline for records below this many milliseconds drops them in an ordinary outage of a broker.
const SHORTEST_MESSAGE_TIMEOUT_MS: i64 = 120_000;

/// Checks the settings of a producer. Idempotence counts as on unless it is switched off.
pub(crate) fn check_producer(settings: &Settings) -> Result<(), Error> {
    check_client(settings)?;
    refuse_flag(settings, "delivery.report.only.error", true, "this producer: every send waits for its report")?;
    if settings.flag("enable.idempotence")? == Some(false) {
        return check_plain_producer(settings);
    }
    let idempotence = settings.named("enable.idempotence", "true");
    let refuse = |line: &Line, why: &str| contradiction(line, &idempotence, why);
    if let Some(line) =
        settings.line("acks").filter(|line| !property::same("request.required.acks", &line.value, "all"))
    {
        return refuse(line, "only records that all in-sync replicas have are told apart from lost ones");
    }
    if let Some(line) = settings.line("retries").filter(|line| line.value.trim() == "0") {
        return refuse(line, "it works by sending again");
    }
    if let Some(line) = settings.line("max.in.flight")
        && settings.number::<i64>("max.in.flight")?.is_some_and(|requests| requests > 5)
    {
        return refuse(line, "brokers remember the last 5 requests");
    }
    if let Some(line) = settings.line("queuing.strategy").filter(|line| line.value.eq_ignore_ascii_case("lifo")) {
        return refuse(line, "it keeps the order");
    }
    // In a transaction a record that is late makes the transaction fail, which loses and duplicates nothing.
    if settings.line("transactional.id").is_none()
        && let Some(line) = short_message_timeout(settings)?
    {
        return refuse(
            line,
            "a short one loses and duplicates records even with idempotence; say at least 120000, or 0 for no limit \
             (a caller's own deadline may be shorter)",
        );
    }
    Ok(())
}

/// Refuses what makes a producer one of transactions.
pub(crate) fn check_plain(settings: &Settings) -> Result<(), Error> {
    match settings.line("transactional.id") {
        None => Ok(()),
        Some(line) => {
            let text = "this producer sends outside of transactions: use `Kafka::transactional_producer`";
            Err(Error::config(format!("{line}: {text}")))
        }
    }
}

/// What remains to be checked once idempotence is off.
fn check_plain_producer(settings: &Settings) -> Result<(), Error> {
    if let (Some(id), Some(idempotence)) = (settings.line("transactional.id"), settings.line("enable.idempotence")) {
        return contradiction(id, idempotence, "a transaction needs it");
    }
    if let Some(line) = short_message_timeout(settings)? {
        tracing::warn!("{line} is shorter than an ordinary outage of a broker: records will be lost in one");
    }
    Ok(())
}

fn short_message_timeout(settings: &Settings) -> Result<Option<&Line>, Error> {
    let wait_ms = settings.number::<i64>("message.timeout.ms")?;
    let short = wait_ms.is_some_and(|wait_ms| (1..SHORTEST_MESSAGE_TIMEOUT_MS).contains(&wait_ms));
    Ok(settings.line("message.timeout.ms").filter(|_| short))
}

/// Checks the settings of a consumer.
pub(crate) fn check_consumer(settings: &Settings) -> Result<(), Error> {
    check_client(settings)?;
    let commits = "`guarantee`: offsets are committed by the consumer itself, each when the guarantee says so";
    refuse_flag(settings, "enable.auto.commit", true, commits)?;
    refuse_flag(settings, "auto.commit.enable", true, commits)?;
    refuse_flag(settings, "enable.auto.offset.store", true, commits)?;
    // Worse: librdkafka counts the end as a record that was consumed, and goes on one further when it resumes a partition
    // after a rebalance. (The batch call sets the position to the offset of the end plus one.)
    refuse_flag(settings, "enable.partition.eof", true, "`guarantee`: the end of a partition is no record to finish")?;
    if let Some(line) = settings.line("offset.store.method").filter(|line| !line.value.eq_ignore_ascii_case("broker")) {
        return Err(Error::config(format!("{line} contradicts `guarantee`: offsets are kept by the broker")));
    }
    match settings.line("group.protocol").filter(|line| line.value.eq_ignore_ascii_case("consumer")) {
        Some(protocol) => check_consumer_protocol(settings, protocol),
        None => check_classic_protocol(settings),
    }
}

fn check_consumer_protocol(settings: &Settings, protocol: &Line) -> Result<(), Error> {
    for (key, instead) in [
        ("session.timeout.ms", "the broker decides it; see the group's `consumer.session.timeout.ms`"),
        ("heartbeat.interval.ms", "the broker decides it; see the group's `consumer.heartbeat.interval.ms`"),
        ("partition.assignment.strategy", "the broker assigns; see `group.remote.assignor`"),
        ("group.protocol.type", "it belongs to the classic protocol"),
    ] {
        if let Some(line) = settings.line(key) {
            return contradiction(line, protocol, instead);
        }
    }
    Ok(())
}

fn check_classic_protocol(settings: &Settings) -> Result<(), Error> {
    let millis = |key, otherwise: i64| Ok::<_, Error>(settings.number(key)?.unwrap_or(otherwise));
    let session = millis("session.timeout.ms", 45_000)?;
    if millis("max.poll.interval.ms", 300_000)? < session {
        return contradiction(
            settings.named("max.poll.interval.ms", "300000"),
            settings.named("session.timeout.ms", "45000"),
            "it must not be shorter than the session",
        );
    }
    if millis("heartbeat.interval.ms", 3_000)? >= session {
        return contradiction(
            settings.named("heartbeat.interval.ms", "3000"),
            settings.named("session.timeout.ms", "45000"),
            "it must be shorter than the session",
        );
    }
    Ok(())
}

/// Checks what is common to all clients: every property by itself, and how the cluster is reached.
pub(crate) fn check_client(settings: &Settings) -> Result<(), Error> {
    settings.lines.iter().try_for_each(|(name, line)| check_line(name, line))?;
    check_bootstrap(settings)?;
    check_security(settings)
}

/// Checks one property without regard to the others.
fn check_line(name: &str, line: &Line) -> Result<(), Error> {
    if property::is_ours(name) {
        return Err(Error::config(format!("{line} belongs to the client and cannot be set")));
    }
    if !cfg!(feature = "ssl") && is_of_ssl(name, line) {
        return Err(Error::config(format!(
            "{line} needs the cargo feature `ssl` of kafka-client, which is not enabled"
        )));
    }
    // To try this one is to load the library.
    if name == "plugin.library.paths" {
        return Ok(());
    }
    match check_property(&line.key, &line.value) {
        Ok(()) => Ok(()),
        Err(PropertyError::Unknown) => Err(Error::config(format!("{line}: no such property"))),
        Err(PropertyError::Invalid(_)) if property::is_secret(&line.key) => {
            Err(Error::config(format!("{line}: not a value that fits")))
        }
        Err(PropertyError::Invalid(text)) => Err(Error::config(format!("{line}: {text}"))),
    }
}

impl Settings {
    /// Checks one setting that was just made.
    pub(crate) fn check_one(&self, key: &str) -> Result<(), Error> {
        let name = property::canonical(key);
        self.line(key).map_or(Ok(()), |line| check_line(name, line))
    }

    /// A setting for a message, or the value that holds when nobody says anything.
    fn named(&self, key: &str, otherwise: &str) -> String {
        match self.line(key) {
            Some(line) => line.to_string(),
            None => format!("`{key}={otherwise}` (the default)"),
        }
    }
}

fn contradiction(one: impl fmt::Display, other: impl fmt::Display, why: &str) -> Result<(), Error> {
    Err(Error::config(format!("{one} contradicts {other}: {why}")))
}

fn refuse_flag(settings: &Settings, key: &str, refused: bool, because: &str) -> Result<(), Error> {
    match settings.line(key) {
        Some(line) if settings.flag(key)? == Some(refused) => {
            Err(Error::config(format!("{line} contradicts {because}")))
        }
        _ => Ok(()),
    }
}

/// Whether a setting asks for what only a build with TLS has.
fn is_of_ssl(name: &str, line: &Line) -> bool {
    match name {
        "security.protocol" => line.value.trim().to_ascii_lowercase().ends_with("ssl"),
        "sasl.mechanisms" => is_scram(line),
        _ => name.starts_with("ssl.") || name.starts_with("enable.ssl."),
    }
}

/// librdkafka takes an address that it cannot use, and then waits for ever.
fn check_bootstrap(settings: &Settings) -> Result<(), Error> {
    let Some(line) = settings.line("bootstrap.servers") else {
        return match settings.line("test.mock.num.brokers") {
            Some(_) => Ok(()),
            None => Err(Error::config("`bootstrap.servers` is not set")),
        };
    };
    let servers = line.value.split(',').map(str::trim).filter(|server| !server.is_empty());
    if servers.clone().next().is_none() {
        return Err(Error::config(format!("{line} names no server")));
    }
    for server in servers {
        let address = server.split_once("://").map_or(server, |(_, address)| address);
        let (host, port) = match address.rsplit_once(':') {
            // The colons of an address of version 6, outside of brackets, belong to the host.
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => (address, None),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        };
        let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if host.is_empty() || !port_fits {
            return Err(Error::config(format!("{line}: `{server}` is no address like `host:9092`")));
        }
    }
    Ok(())
}

/// Nothing may be asked for that the protocol then leaves out: who gives a certificate believes the traffic is
/// encrypted.
fn check_security(settings: &Settings) -> Result<(), Error> {
    let protocol = settings.line("security.protocol");
    let named = settings.named("security.protocol", "plaintext");
    let name = protocol.map_or_else(|| "plaintext".to_owned(), |line| line.value.trim().to_ascii_lowercase());
    let (encrypted, login) = (name.ends_with("ssl"), name.starts_with("sasl"));
    for (name, line) in &settings.lines {
        let unused = (name.starts_with("ssl.") && !encrypted) || (name.starts_with("sasl.") && !login);
        if unused && line.origin != super::Origin::Default {
            return contradiction(line, &named, "it would not be used");
        }
    }
    if login {
        check_login(settings, &named, settings.line("sasl.mechanism"))?;
    }
    check_certificates(settings)
}

fn check_login(settings: &Settings, protocol: &str, mechanism: Option<&Line>) -> Result<(), Error> {
    let Some(mechanism) = mechanism else {
        return Err(Error::config(format!("{protocol} needs `sasl.mechanism`")));
    };
    if mechanism.value.eq_ignore_ascii_case("PLAIN") || is_scram(mechanism) {
        for key in ["sasl.username", "sasl.password"] {
            if settings.get(key).is_none_or(str::is_empty) {
                return Err(Error::config(format!("{mechanism} needs `{key}`")));
            }
        }
    }
    Ok(())
}

fn is_scram(mechanism: &Line) -> bool {
    mechanism.value.trim().to_ascii_uppercase().starts_with("SCRAM-")
}

fn check_certificates(settings: &Settings) -> Result<(), Error> {
    for (file, text) in [
        ("ssl.ca.location", "ssl.ca.pem"),
        ("ssl.certificate.location", "ssl.certificate.pem"),
        ("ssl.key.location", "ssl.key.pem"),
    ] {
        if let (Some(file), Some(text)) = (settings.line(file), settings.line(text)) {
            return contradiction(file, text, "say it once");
        }
    }
    let either = |one, other| settings.line(one).or_else(|| settings.line(other));
    let certificate = either("ssl.certificate.location", "ssl.certificate.pem");
    let key = either("ssl.key.location", "ssl.key.pem");
    match (certificate, key, settings.line("ssl.key.password")) {
        (Some(certificate), None, _) => {
            Err(Error::config(format!("{certificate} needs `ssl.key.location` or `ssl.key.pem`")))
        }
        (None, Some(key), _) => {
            Err(Error::config(format!("{key} needs `ssl.certificate.location` or `ssl.certificate.pem`")))
        }
        (None, None, Some(password)) => {
            Err(Error::config(format!("{password} needs `ssl.key.location` or `ssl.key.pem`")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn settings(lines: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new();
        settings.typed("bootstrap.servers", "localhost:9092");
        for (key, value) in lines {
            settings.set(*key, *value);
        }
        settings
    }

    /// The message of a refusal, which has the right kind.
    fn refusal(answer: Result<(), Error>) -> String {
        let error = answer.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }

    fn producer(lines: &[(&str, &str)]) -> Result<(), Error> {
        check_producer(&settings(lines))
    }

    fn consumer(lines: &[(&str, &str)]) -> Result<(), Error> {
        check_consumer(&settings(lines))
    }

    #[test]
    fn ordinary_producers_pass() {
        for lines in [
            &[][..],
            &[("acks", "all")],
            &[("acks", "-1"), ("enable.idempotence", "true")],
            &[("request.required.acks", "ALL")],
            &[("retries", "10")],
            &[("max.in.flight", "5")],
            &[("queuing.strategy", "fifo")],
            &[("message.timeout.ms", "120000")],
            &[("message.timeout.ms", "0")],
            &[("delivery.report.only.error", "false")],
            &[("linger.ms", "0.5"), ("compression.type", "lz4")],
            &[("transactional.id", "t"), ("message.timeout.ms", "30000")],
        ] {
            producer(lines).unwrap_or_else(|error| panic!("{lines:?}: {error}"));
        }
    }

    #[test]
    fn what_contradicts_idempotence_is_refused_naming_both() {
        for (key, value) in [
            ("acks", "1"),
            ("acks", "0"),
            ("request.required.acks", "1"),
            ("topic.acks", "1"),
            ("retries", "0"),
            ("message.send.max.retries", "0"),
            ("max.in.flight", "6"),
            ("max.in.flight.requests.per.connection", "1000000"),
            ("queuing.strategy", "lifo"),
            ("queuing.strategy", "LIFO"),
            ("message.timeout.ms", "3000"),
            ("message.timeout.ms", "119999"),
            ("delivery.timeout.ms", "1"),
        ] {
            let implied = refusal(producer(&[(key, value)]));
            let expected = format!("`{key}={value}` contradicts `enable.idempotence=true` (the default): ");
            assert!(implied.starts_with(&expected), "{implied}");
            let mut with_default = settings(&[(key, value)]);
            with_default.default("enable.idempotence", true);
            assert_eq!(refusal(check_producer(&with_default)), implied);
            let stated = refusal(producer(&[(key, value), ("enable.idempotence", "1")]));
            let expected = format!("`{key}={value}` contradicts `enable.idempotence=1`: ");
            assert!(stated.starts_with(&expected), "{stated}");
            producer(&[(key, value), ("enable.idempotence", "false")])
                .unwrap_or_else(|error| panic!("without idempotence {key}={value}: {error}"));
        }
    }

    #[test]
    fn a_transaction_needs_idempotence() {
        let text = refusal(producer(&[("transactional.id", "t"), ("enable.idempotence", "false")]));
        assert_eq!(text, "`transactional.id=t` contradicts `enable.idempotence=false`: a transaction needs it");
    }

    #[test]
    fn reports_of_success_cannot_be_switched_off() {
        let text = refusal(producer(&[("delivery.report.only.error", "true")]));
        assert!(text.contains("`delivery.report.only.error=true` contradicts this producer"), "{text}");
    }

    #[test]
    fn ordinary_consumers_pass() {
        for lines in [
            &[][..],
            &[("enable.auto.commit", "false")],
            &[("enable.auto.offset.store", "0")],
            &[("enable.partition.eof", "false")],
            &[("auto.offset.reset", "earliest"), ("isolation.level", "read_uncommitted")],
            &[("max.poll.interval.ms", "45000")],
            &[("session.timeout.ms", "6000"), ("max.poll.interval.ms", "6000")],
            &[("group.protocol", "consumer")],
            &[("group.protocol", "consumer"), ("group.remote.assignor", "range"), ("max.poll.interval.ms", "6000")],
            &[("group.protocol", "classic"), ("partition.assignment.strategy", "range")],
            &[("offset.store.method", "broker")],
        ] {
            consumer(lines).unwrap_or_else(|error| panic!("{lines:?}: {error}"));
        }
    }

    #[test]
    fn what_contradicts_the_guarantee_is_refused_naming_both() {
        for (key, value) in [
            ("enable.auto.commit", "true"),
            ("enable.auto.commit", "T"),
            ("auto.commit.enable", "true"),
            ("enable.auto.offset.store", "true"),
            ("enable.partition.eof", "1"),
            ("offset.store.method", "file"),
            ("offset.store.method", "none"),
        ] {
            let text = refusal(consumer(&[(key, value)]));
            assert!(text.starts_with(&format!("`{key}={value}` contradicts `guarantee`: ")), "{text}");
        }
    }

    #[test]
    fn the_new_group_protocol_refuses_the_settings_of_the_old_one() {
        for (key, value) in [
            ("session.timeout.ms", "45000"),
            ("heartbeat.interval.ms", "3000"),
            ("partition.assignment.strategy", "range"),
            ("group.protocol.type", "consumer"),
        ] {
            let text = refusal(consumer(&[(key, value), ("group.protocol", "Consumer")]));
            assert!(text.starts_with(&format!("`{key}={value}` contradicts `group.protocol=Consumer`: ")), "{text}");
        }
    }

    #[test]
    fn the_session_fits_between_heartbeat_and_poll_interval() {
        for (lines, expected) in [
            (
                &[("max.poll.interval.ms", "30000")][..],
                "`max.poll.interval.ms=30000` contradicts `session.timeout.ms=45000` (the default)",
            ),
            (
                &[("session.timeout.ms", "400000")],
                "`max.poll.interval.ms=300000` (the default) contradicts `session.timeout.ms=400000`",
            ),
            (
                &[("session.timeout.ms", "3000")],
                "`heartbeat.interval.ms=3000` (the default) contradicts `session.timeout.ms=3000`",
            ),
            (
                &[("session.timeout.ms", "9000"), ("heartbeat.interval.ms", "10000")],
                "`heartbeat.interval.ms=10000` contradicts `session.timeout.ms=9000`",
            ),
        ] {
            let text = refusal(consumer(lines));
            assert!(text.starts_with(expected), "{text}");
        }
    }

    #[test]
    fn properties_of_the_client_itself_are_refused_by_name() {
        for key in [
            "log.queue",
            "opaque",
            "topic.opaque",
            "dr_msg_cb",
            "rebalance_cb",
            "ssl.certificate.verify_cb",
            "enabled_events",
            "default_topic_conf",
            "interceptors",
            "ut_handle_ProduceResponse",
        ] {
            for answer in [producer(&[(key, "true")]), consumer(&[(key, "true")])] {
                let text = refusal(answer);
                assert!(text.starts_with(&format!("`{key}")) && text.contains("belongs to the client"), "{text}");
            }
        }
    }

    #[test]
    fn unknown_properties_and_malformed_values_are_refused_by_name() {
        for (key, value, expected) in [
            ("liger.ms", "5", "`liger.ms`: no such property"),
            ("sasl.pasword", "hunter2", "`sasl.pasword`: no such property"),
            ("linger.ms", "soon", "`linger.ms=soon`: "),
            ("linger.ms", "5ms", "`linger.ms=5ms`: not a plain number: it would be read as 5"),
            ("compression.type", "rar", "`compression.type=rar`: "),
            ("enable.idempotence", "yes", "`enable.idempotence=yes`: "),
            ("max.in.flight", "many", "`max.in.flight=many`: "),
        ] {
            for answer in [producer(&[(key, value)]), consumer(&[(key, value)])] {
                let text = refusal(answer);
                assert!(text.starts_with(expected) && !text.contains("hunter2"), "{text}");
            }
        }
    }

    #[test]
    fn a_malformed_secret_is_named_but_not_shown() {
        let text = refusal(producer(&[("sasl.password", "hunter2\0")]));
        assert_eq!(text, "`sasl.password`: not a value that fits");
    }

    #[test]
    fn addresses_of_brokers_are_checked() {
        for servers in [
            "localhost",
            "localhost:9092",
            "a:1,b:2",
            " a:1 , b:2 ,",
            "PLAINTEXT://a:9092",
            "[::1]:9092",
            "::1",
            "[::1]",
            "broker-1.example.com:65535",
        ] {
            let mut settings = Settings::new();
            settings.set("bootstrap.servers", servers);
            check_client(&settings).unwrap_or_else(|error| panic!("{servers}: {error}"));
        }
        for servers in ["", " ", ",", "a:b", "a:", ":9092", "a:70000", "a:0", "a:1,b:x", "ssl://:9093", "[::1]:x"] {
            let mut settings = Settings::new();
            settings.set("metadata.broker.list", servers);
            let text = refusal(check_client(&settings));
            assert!(text.starts_with(&format!("`metadata.broker.list={servers}`")), "{text}");
        }
        assert_eq!(refusal(check_client(&Settings::new())), "`bootstrap.servers` is not set");
    }

    #[test]
    fn a_login_is_complete_and_used() {
        let login = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN")];
        let user = ("sasl.username", "u");
        let password = ("sasl.password", "hunter2");
        producer(&[login[0], login[1], user, password]).unwrap();
        for (lines, expected) in [
            (&[login[0]][..], "`security.protocol=sasl_plaintext` needs `sasl.mechanism`"),
            (&[login[0], login[1]], "`sasl.mechanism=PLAIN` needs `sasl.username`"),
            (&[login[0], login[1], user], "`sasl.mechanism=PLAIN` needs `sasl.password`"),
            (&[login[0], login[1], user, ("sasl.password", "")], "`sasl.mechanism=PLAIN` needs `sasl.password`"),
            (&[user], "`sasl.username` contradicts `security.protocol=plaintext` (the default): it would not be used"),
            (
                &[("security.protocol", "PLAINTEXT"), password],
                "`sasl.password` contradicts `security.protocol=PLAINTEXT`: it would not be used",
            ),
        ] {
            assert_eq!(refusal(producer(lines)), expected);
            assert_eq!(refusal(consumer(lines)), expected);
        }
    }

    #[cfg(not(feature = "ssl"))]
    #[test]
    fn tls_and_scram_need_the_feature() {
        let user = [("sasl.username", "u"), ("sasl.password", "p")];
        for lines in [
            &[("security.protocol", "ssl")][..],
            &[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), user[0], user[1]],
            &[("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "SCRAM-SHA-256"), user[0], user[1]],
            &[("ssl.ca.location", "/ca.pem")],
            &[("enable.ssl.certificate.verification", "true")],
        ] {
            let text = refusal(producer(lines));
            assert!(text.contains("needs the cargo feature `ssl`"), "{text}");
        }
    }

    #[cfg(feature = "ssl")]
    #[test]
    fn tls_settings_are_complete_and_used() {
        let tls = ("security.protocol", "ssl");
        let certificate = ("ssl.certificate.location", "/c");
        let key = ("ssl.key.location", "/k");
        producer(&[tls]).unwrap();
        producer(&[tls, ("ssl.ca.location", "/ca"), certificate, key, ("ssl.key.password", "x")]).unwrap();
        for (lines, expected) in [
            (&[certificate, key][..], "`ssl.certificate.location=/c` contradicts `security.protocol=plaintext`"),
            (&[("ssl.ca.pem", "hunter2")], "`ssl.ca.pem` contradicts `security.protocol=plaintext`"),
            (&[tls, certificate], "`ssl.certificate.location=/c` needs `ssl.key.location` or `ssl.key.pem`"),
            (&[tls, key], "`ssl.key.location=/k` needs `ssl.certificate.location`"),
            (&[tls, ("ssl.key.password", "x")], "`ssl.key.password` needs `ssl.key.location`"),
            (&[tls, key, ("ssl.key.pem", "x"), certificate], "`ssl.key.location=/k` contradicts `ssl.key.pem`"),
        ] {
            let text = refusal(producer(lines));
            assert!(text.starts_with(expected) && !text.contains("hunter2"), "{text}");
        }
    }
}
