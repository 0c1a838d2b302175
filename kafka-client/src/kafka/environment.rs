//! `KAFKA_*` variables as settings.

use std::ffi::OsString;

use crate::Error;
use crate::config::Settings;
use crate::native::config::is_property;

/// Variables of Kafka's own scripts and images, and of the command `kafka-dlq`, which many machines have and nobody means for a client.
const SCRIPTS: [&str; 13] = [
    "CLUSTER_ID",
    "CONFIG",
    "DATA",
    "DLQ_CONFIG",
    "GC_LOG_OPTS",
    "HEAP_OPTS",
    "HOME",
    "JMX_OPTS",
    "JVM_PERFORMANCE_OPTS",
    "LOG4J_OPTS",
    "OPTS",
    "USER",
    "VERSION",
];

/// Reads the variables that start with `KAFKA_`; each has the name of a property with underscores for dots. One of them
/// says where the cluster is.
pub(super) fn settings(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Settings, Error> {
    let settings = properties(variables)?;
    match settings.get("bootstrap.servers") {
        Some(_) => Ok(settings),
        None => {
            Err(Error::config("`KAFKA_BOOTSTRAP_SERVERS` is not set: it holds the addresses of brokers, `host:port`"))
        }
    }
}

/// The same, wherever the cluster is.
pub(super) fn properties(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Settings, Error> {
    let mut settings = Settings::new();
    let mut ignored = Vec::new();
    for (variable, value) in variables {
        let Some(name) = variable.to_str().and_then(|name| name.strip_prefix("KAFKA_")) else { continue };
        if value.is_empty() {
            continue;
        }
        let Some(key) = property(name) else {
            match SCRIPTS.contains(&name) {
                true => tracing::debug!("`KAFKA_{name}` is no property of a client and is ignored"),
                false => ignored.push(format!("KAFKA_{name}")),
            }
            continue;
        };
        let Ok(value) = value.into_string() else {
            return Err(Error::config(format!("`KAFKA_{name}` is not UTF-8")));
        };
        if settings.get(&key).is_some_and(|other| other != value) {
            return Err(Error::config(format!("`KAFKA_{name}` contradicts another variable for `{key}`")));
        }
        settings.environment(&key, value);
        settings.check_one(&key)?;
    }
    if !ignored.is_empty() {
        ignored.sort_unstable();
        tracing::warn!(variables = %ignored.join(", "), "variables that no property answers to are ignored");
    }
    Ok(settings)
}

/// The property that a variable (without `KAFKA_`) stands for.
fn property(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let dotted = name.replace('_', ".");
    [dotted, name].into_iter().find(|key| is_property(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const SERVERS: (&str, &str) = ("KAFKA_BOOTSTRAP_SERVERS", "a:1");

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        settings(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        let error = read(variables).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }

    #[test]
    fn variables_become_properties() {
        let settings = read(&[
            SERVERS,
            ("KAFKA_CLIENT_ID", "orders"),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
            ("KAFKA_SASL_MECHANISM", "PLAIN"),
            ("KAFKA_SASL_USERNAME", "u"),
            ("KAFKA_SASL_PASSWORD", "p=w;d"),
            ("KAFKA_LINGER_MS", "5"),
            ("KAFKA_LOG_LEVEL", "7"),
            ("KAFKA_ACKS", "all"),
            ("PATH", "/bin"),
            ("MY_KAFKA_ACKS", "0"),
        ])
        .unwrap();
        let mut found: Vec<_> = settings.iter().collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("acks", "all"),
                ("bootstrap.servers", "a:1"),
                ("client.id", "orders"),
                ("linger.ms", "5"),
                ("log_level", "7"),
                ("sasl.mechanism", "PLAIN"),
                ("sasl.password", "p=w;d"),
                ("sasl.username", "u"),
                ("security.protocol", "SASL_PLAINTEXT"),
            ]
        );
    }

    #[test]
    fn the_servers_are_required_by_name() {
        for variables in [&[][..], &[("KAFKA_CLIENT_ID", "x")], &[("KAFKA_BOOTSTRAP_SERVERS", "")]] {
            let text = refusal(variables);
            assert!(text.contains("`KAFKA_BOOTSTRAP_SERVERS` is not set"), "{text}");
        }
        assert!(read(&[("KAFKA_METADATA_BROKER_LIST", "a:1")]).is_ok());
    }

    #[test]
    fn what_is_no_property_is_ignored() {
        let settings = read(&[
            SERVERS,
            ("KAFKA_HOME", "/opt/kafka"),
            ("KAFKA_HEAP_OPTS", "-Xmx1G"),
            ("KAFKA_OPTS", ""),
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_LIGER_MS", "5"),
            ("KAFKA_", "x"),
        ])
        .unwrap();
        assert_eq!(settings.iter().count(), 1);
    }

    #[test]
    fn an_empty_variable_counts_as_not_given() {
        assert_eq!(read(&[SERVERS, ("KAFKA_LINGER_MS", "")]).unwrap().get("linger.ms"), None);
    }

    #[test]
    fn a_malformed_value_names_the_variable() {
        for (variable, value) in [
            ("KAFKA_LINGER_MS", "soon"),
            ("KAFKA_LINGER_MS", "5ms"),
            ("KAFKA_ENABLE_IDEMPOTENCE", "yes"),
            ("KAFKA_COMPRESSION_TYPE", "rar"),
            ("KAFKA_LOG_QUEUE", "true"),
            ("KAFKA_DEBUG", "y"),
        ] {
            let text = refusal(&[SERVERS, (variable, value)]);
            assert!(text.contains(variable), "{text}");
        }
    }

    #[test]
    fn a_malformed_secret_is_not_shown() {
        let text = refusal(&[SERVERS, ("KAFKA_SASL_JAAS_CONFIG", "password=hunter2")]);
        assert!(text.contains("KAFKA_SASL_JAAS_CONFIG") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn two_variables_for_one_property_agree_or_are_refused() {
        let text = refusal(&[("KAFKA_ACKS", "1"), SERVERS, ("KAFKA_REQUEST_REQUIRED_ACKS", "all")]);
        assert_eq!(text, "`KAFKA_REQUEST_REQUIRED_ACKS` contradicts another variable for `request.required.acks`");
        assert!(read(&[("KAFKA_ACKS", "all"), SERVERS, ("KAFKA_REQUEST_REQUIRED_ACKS", "all")]).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_name_the_variable() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = OsString::from_vec(vec![0xff]);
        let variables = [("KAFKA_BOOTSTRAP_SERVERS".into(), OsString::from("a:1")), ("KAFKA_CLIENT_ID".into(), bytes)];
        assert_eq!(settings(variables).unwrap_err().to_string(), "`KAFKA_CLIENT_ID` is not UTF-8");
    }
}
