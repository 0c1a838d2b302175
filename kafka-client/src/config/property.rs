//! Facts about properties: which names mean the same, which values do, which are secret.

/// Pairs of names for one property: an alias, and the name that librdkafka keeps it under.
const ALIASES: [(&str, &str); 11] = [
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// The one name of a property. librdkafka takes `topic.` before the properties of topics.
pub(super) fn canonical(key: &str) -> &str {
    let key = match key.strip_prefix("topic.") {
        Some(rest) if !rest.starts_with("metadata.") && rest != "blacklist" => rest,
        _ => key,
    };
    ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, name)| name)
}

/// Whether two values of a property mean the same.
pub(super) fn same(name: &str, one: &str, other: &str) -> bool {
    meaning(name, one) == meaning(name, other)
}

fn meaning(name: &str, value: &str) -> String {
    let value = value.trim();
    match (name, flag(value)) {
        ("request.required.acks", _) if value.eq_ignore_ascii_case("all") => "-1".to_owned(),
        // Elsewhere `1` and `t` may be something else than yes.
        (name, Some(flag)) if is_flag(name) => flag.to_string(),
        (name, _) if is_text(name) => value.to_owned(),
        _ => value.to_ascii_lowercase(),
    }
}

fn is_flag(name: &str) -> bool {
    ["enable.", "log.connection.close", "check.crcs", "delivery.report.only.error", "allow.auto.create.topics"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Whether upper and lower case differ in a value.
fn is_text(name: &str) -> bool {
    is_secret(name)
        || [".id", ".location", ".list", ".paths"].iter().any(|end| name.ends_with(end))
        || ["client.", "group.", "sasl.", "ssl."].iter().any(|start| name.starts_with(start))
}

/// A yes or no, as librdkafka reads it.
pub(super) fn flag(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}

/// Whether the value of a property is kept out of logs, messages and `Debug`. Of the logins all but what names the
/// method; of TLS whatever is not a path or a choice.
pub(crate) fn is_secret(key: &str) -> bool {
    const OPEN: [&str; 5] = [
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.grant.type",
        "sasl.kerberos.service.name",
    ];
    let key = key.to_ascii_lowercase();
    let hidden = ["password", "passphrase", "secret", ".pem", "ssl_key", "ssl_certificate", "ssl_ca"];
    (key.starts_with("sasl.") && !OPEN.contains(&key.as_str())) || hidden.iter().any(|part| key.contains(part))
}

/// Whether a property is about who the client is and how its traffic is protected.
pub(crate) fn is_security(name: &str) -> bool {
    ["security.", "ssl.", "sasl.", "enable.ssl.", "enable.sasl."].iter().any(|start| name.starts_with(start))
}

/// Whether a property is about reaching the cluster, whatever is done there.
pub(super) fn is_connection(name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["metadata.broker.list", "debug", "log_level", "message.max.bytes", "plugin.library.paths", "client.id"];
    const STARTS: [&str; 13] = [
        "api.version.",
        "broker.",
        "client.dns.",
        "client.software.",
        "connections.",
        "https.",
        "log.",
        "metadata.",
        "receive.",
        "reconnect.",
        "retry.",
        "socket.",
        "test.mock.",
    ];
    is_security(name) || NAMES.contains(&name) || STARTS.iter().any(|start| name.starts_with(start))
}

/// Whether the client sets the property itself, or it is no business of settings at all.
pub(super) fn is_ours(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "default_topic_conf",
        "enabled_events",
        "enable_sasl_queue",
        "interceptors",
        "log.queue",
        "msg_order_cmp",
        "opaque",
        "ssl_engine_callback_data",
    ];
    NAMES.contains(&name) || name.ends_with("_cb") || name.starts_with("ut_")
}

/// The variable of the environment that sets a property.
pub(crate) fn variable(key: &str) -> String {
    format!("KAFKA_{}", key.replace('.', "_").to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::config::is_property;

    #[test]
    fn both_names_of_every_pair_are_known_to_librdkafka() {
        for (alias, name) in ALIASES {
            for key in [alias, name] {
                // Without TLS, librdkafka is built without these.
                assert!(is_property(key) || key.contains("oauthbearer"), "{key}");
            }
            assert_eq!(canonical(alias), name);
            assert_eq!(canonical(name), name);
        }
    }

    #[test]
    fn the_prefix_of_topic_properties_is_no_part_of_the_name() {
        assert_eq!(canonical("topic.acks"), "request.required.acks");
        assert_eq!(canonical("topic.auto.offset.reset"), "auto.offset.reset");
        assert_eq!(canonical("topic.blacklist"), "topic.blacklist");
        assert_eq!(canonical("topic.metadata.refresh.sparse"), "topic.metadata.refresh.sparse");
        assert_eq!(canonical("unheard.of"), "unheard.of");
    }

    #[test]
    fn values_mean_the_same_where_librdkafka_reads_them_so() {
        for (name, one, other) in [
            ("request.required.acks", "all", "-1"),
            ("request.required.acks", "ALL", "all"),
            ("enable.idempotence", "true", "T"),
            ("enable.idempotence", "1", " true "),
            ("compression.codec", "GZIP", "gzip"),
            ("client.id", "a", "a"),
        ] {
            assert!(same(name, one, other), "{name}: {one} and {other}");
        }
        for (name, one, other) in [
            ("request.required.acks", "1", "-1"),
            ("enable.idempotence", "true", "false"),
            ("client.id", "a", "A"),
            ("sasl.password", "a", "A"),
            ("ssl.ca.location", "/CA", "/ca"),
            ("queue.buffering.max.ms", "1", "t"),
        ] {
            assert!(!same(name, one, other), "{name}: {one} and {other}");
        }
    }

    #[test]
    fn variables_are_named_after_properties() {
        assert_eq!(variable("bootstrap.servers"), "KAFKA_BOOTSTRAP_SERVERS");
        assert_eq!(variable("log_level"), "KAFKA_LOG_LEVEL");
    }

    #[test]
    fn what_names_the_method_is_no_secret() {
        for key in ["sasl.mechanism", "security.protocol", "ssl.ca.location", "bootstrap.servers", "client.id"] {
            assert!(!is_secret(key), "{key}");
        }
    }
}
