//! How the traffic is protected, and who the client says it is.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Settings, is_security};

/// How the traffic is protected, and who the client says it is.
///
/// TLS and the SCRAM logins need the cargo feature `ssl`; without it, building a client with them fails and says so.
/// What the protocol would leave out (a client certificate over plain text) is refused when a client is built, naming
/// both settings. Nothing here is ever printed: `Debug` shows the method only.
///
/// ```no_run
/// use kafka_client::{Kafka, Security};
///
/// # fn password() -> String { String::new() }
/// let kafka = Kafka::connect("broker:9093")
///     .security(Security::scram_sha_512("orders", password()).over_tls().ca_file("/etc/kafka/ca.pem"));
/// ```
#[derive(Clone)]
pub struct Security {
    login: Option<Login>,
    encrypted: bool,
    ca: Option<Pem>,
    client: Option<(Pem, Pem)>,
    key_password: Option<String>,
    check_hostname: bool,
}

#[derive(Clone)]
struct Login {
    mechanism: &'static str,
    user: String,
    password: String,
}

/// Where a certificate or key is.
#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Text(String),
}

impl Security {
    /// No login, no encryption. This is what holds when nothing is said.
    pub fn plaintext() -> Self {
        Self { login: None, encrypted: false, ca: None, client: None, key_password: None, check_hostname: true }
    }

    /// Encrypts the traffic, checks the broker's certificate and that it is made out to the broker's host name.
    ///
    /// Trusts the system's certificate authorities unless [`ca_file`](Self::ca_file) or [`ca_pem`](Self::ca_pem) names
    /// others. Corresponds to `security.protocol=ssl`.
    pub fn tls() -> Self {
        Self::plaintext().over_tls()
    }

    /// Logs in with a user name and a password, which is sent as it is: combine it with [`over_tls`](Self::over_tls).
    pub fn sasl_plain(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::login("PLAIN", user.into(), password.into())
    }

    /// Logs in with a user name and proof of a password, salted and hashed with SHA-256.
    pub fn scram_sha_256(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::login("SCRAM-SHA-256", user.into(), password.into())
    }

    /// Logs in with a user name and proof of a password, salted and hashed with SHA-512.
    pub fn scram_sha_512(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::login("SCRAM-SHA-512", user.into(), password.into())
    }

    fn login(mechanism: &'static str, user: String, password: String) -> Self {
        Self { login: Some(Login { mechanism, user, password }), ..Self::plaintext() }
    }

    /// Encrypts the traffic of a login.
    pub fn over_tls(mut self) -> Self {
        self.encrypted = true;
        self
    }

    /// Trusts the certificate authorities in a PEM file, instead of the system's. Corresponds to `ssl.ca.location`.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.ca = Some(Pem::File(path.as_ref().to_owned()));
        self
    }

    /// Trusts the certificate authorities in a PEM text, instead of the system's. Corresponds to `ssl.ca.pem`.
    pub fn ca_pem(mut self, text: impl Into<String>) -> Self {
        self.ca = Some(Pem::Text(text.into()));
        self
    }

    /// Shows the broker a certificate of the client, from PEM files. Corresponds to `ssl.certificate.location` and
    /// `ssl.key.location`.
    pub fn client_certificate_files(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.client = Some((Pem::File(certificate.as_ref().to_owned()), Pem::File(key.as_ref().to_owned())));
        self
    }

    /// Shows the broker a certificate of the client, from PEM texts. Corresponds to `ssl.certificate.pem` and
    /// `ssl.key.pem`.
    pub fn client_certificate_pem(mut self, certificate: impl Into<String>, key: impl Into<String>) -> Self {
        self.client = Some((Pem::Text(certificate.into()), Pem::Text(key.into())));
        self
    }

    /// Opens the client's key with a password. Corresponds to `ssl.key.password`.
    pub fn key_password(mut self, password: impl Into<String>) -> Self {
        self.key_password = Some(password.into());
        self
    }

    /// Takes a certificate that is made out to another host.
    ///
    /// **Dangerous:** whoever holds any certificate of a trusted authority can then pose as the broker, read
    /// everything, and take a plain password. For test clusters with made-up names only. Corresponds to
    /// `ssl.endpoint.identification.algorithm=none`.
    pub fn without_hostname_check(mut self) -> Self {
        self.check_hostname = false;
        self
    }

    /// Writes it all into settings, in place of what an earlier `Security` wrote. Nothing is judged here: what
    /// contradicts is found when a client is built, together with what `set` and the environment say.
    pub(crate) fn apply(&self, settings: &mut Settings) {
        settings.forget_typed(is_security);
        settings.typed("security.protocol", self.protocol());
        if let Some(Login { mechanism, user, password }) = &self.login {
            settings.typed("sasl.mechanism", mechanism);
            settings.typed("sasl.username", user);
            settings.typed("sasl.password", password);
        }
        if let Some(ca) = &self.ca {
            ca.apply(settings, "ssl.ca");
        }
        if let Some((certificate, key)) = &self.client {
            certificate.apply(settings, "ssl.certificate");
            key.apply(settings, "ssl.key");
        }
        if let Some(password) = &self.key_password {
            settings.typed("ssl.key.password", password);
        }
        if !self.check_hostname {
            settings.typed("ssl.endpoint.identification.algorithm", "none");
        }
    }

    fn protocol(&self) -> &'static str {
        match (&self.login, self.encrypted) {
            (None, false) => "plaintext",
            (None, true) => "ssl",
            (Some(_), false) => "sasl_plaintext",
            (Some(_), true) => "sasl_ssl",
        }
    }
}

impl Pem {
    fn apply(&self, settings: &mut Settings, prefix: &str) {
        match self {
            Self::File(path) => settings.typed(&format!("{prefix}.location"), path.display()),
            Self::Text(text) => settings.typed(&format!("{prefix}.pem"), text),
        }
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security")
            .field("protocol", &self.protocol())
            .field("mechanism", &self.login.as_ref().map(|login| login.mechanism))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check_producer;
    use crate::native::{Client, Role};

    fn applied(security: &Security) -> Settings {
        let mut settings = Settings::new();
        settings.typed("bootstrap.servers", "localhost:9092");
        security.apply(&mut settings);
        settings
    }

    #[test]
    fn each_constructor_names_its_protocol() {
        for (security, protocol, mechanism) in [
            (Security::plaintext(), "plaintext", None),
            (Security::tls(), "ssl", None),
            (Security::sasl_plain("u", "p"), "sasl_plaintext", Some("PLAIN")),
            (Security::sasl_plain("u", "p").over_tls(), "sasl_ssl", Some("PLAIN")),
            (Security::scram_sha_256("u", "p"), "sasl_plaintext", Some("SCRAM-SHA-256")),
            (Security::scram_sha_512("u", "p").over_tls(), "sasl_ssl", Some("SCRAM-SHA-512")),
        ] {
            let settings = applied(&security);
            assert_eq!(settings.get("security.protocol"), Some(protocol));
            assert_eq!(settings.get("sasl.mechanism"), mechanism);
            assert_eq!(settings.get("sasl.username"), mechanism.map(|_| "u"));
            assert_eq!(settings.get("sasl.password"), mechanism.map(|_| "p"));
        }
    }

    #[test]
    fn tls_options_become_properties() {
        let files = Security::tls().ca_file("/ca").client_certificate_files("/cert", "/key").key_password("x");
        let settings = applied(&files.without_hostname_check());
        for (key, value) in [
            ("ssl.ca.location", "/ca"),
            ("ssl.certificate.location", "/cert"),
            ("ssl.key.location", "/key"),
            ("ssl.key.password", "x"),
            ("ssl.endpoint.identification.algorithm", "none"),
        ] {
            assert_eq!(settings.get(key), Some(value), "{key}");
        }
        let settings = applied(&Security::tls().ca_pem("CA").client_certificate_pem("CERT", "KEY"));
        for (key, value) in [("ssl.ca.pem", "CA"), ("ssl.certificate.pem", "CERT"), ("ssl.key.pem", "KEY")] {
            assert_eq!(settings.get(key), Some(value), "{key}");
        }
    }

    #[test]
    fn the_last_security_replaces_the_one_before() {
        let mut settings = applied(&Security::sasl_plain("u", "p").over_tls().ca_file("/ca"));
        Security::plaintext().apply(&mut settings);
        let left: Vec<_> = settings.iter().filter(|(key, _)| *key != "bootstrap.servers").collect();
        assert_eq!(left, [("security.protocol", "plaintext")]);
    }

    #[test]
    fn debug_shows_the_method_only() {
        let security = Security::sasl_plain("hunter2", "hunter2")
            .ca_pem("hunter2")
            .client_certificate_pem("hunter2", "hunter2")
            .key_password("hunter2");
        for printed in [format!("{security:?}"), format!("{:?}", applied(&security))] {
            assert!(!printed.contains("hunter2") && printed.contains("PLAIN"), "{printed}");
        }
    }

    #[test]
    fn a_login_over_plain_text_passes_without_tls() {
        check_producer(&applied(&Security::plaintext())).unwrap();
        check_producer(&applied(&Security::sasl_plain("u", "p"))).unwrap();
    }

    #[test]
    fn a_login_over_plain_text_makes_a_client() {
        let settings = applied(&Security::sasl_plain("u", "p"));
        assert!(Client::new(Role::Producer, settings.iter()).is_ok());
    }

    #[cfg(feature = "ssl")]
    #[test]
    fn every_protocol_makes_a_client() {
        for security in [
            Security::tls().without_hostname_check(),
            Security::sasl_plain("u", "p").over_tls(),
            Security::scram_sha_256("u", "p"),
            Security::scram_sha_512("u", "p").over_tls(),
        ] {
            let settings = applied(&security);
            check_producer(&settings).unwrap();
            Client::new(Role::Producer, settings.iter()).unwrap_or_else(|error| panic!("{security:?}: {error}"));
        }
    }

    #[cfg(feature = "ssl")]
    #[test]
    fn what_is_no_certificate_or_key_is_refused_without_showing_it() {
        for security in [
            Security::tls().ca_pem("hunter2"),
            Security::tls().client_certificate_pem("hunter2", "hunter2"),
            Security::tls().ca_file("/nowhere/ca.pem"),
        ] {
            let Err(error) = Client::new(Role::Producer, applied(&security).iter()) else {
                panic!("{security:?} was accepted")
            };
            assert!(error.text.contains("ssl.") && !error.text.contains("hunter2"), "{error}");
        }
    }

    #[cfg(not(feature = "ssl"))]
    #[test]
    fn tls_and_scram_name_the_feature_they_need() {
        for security in [Security::tls(), Security::sasl_plain("u", "p").over_tls(), Security::scram_sha_256("u", "p")]
        {
            let error = check_producer(&applied(&security)).unwrap_err().to_string();
            assert!(error.contains("the cargo feature `ssl`"), "{error}");
        }
    }

    #[cfg(feature = "ssl")]
    #[test]
    fn tls_options_on_plain_text_are_refused_by_name() {
        for (security, key) in [
            (Security::plaintext().client_certificate_files("/c", "/k"), "ssl.certificate.location"),
            (Security::sasl_plain("u", "p").ca_file("/ca"), "ssl.ca.location"),
            (Security::plaintext().without_hostname_check(), "ssl.endpoint.identification.algorithm"),
        ] {
            let error = check_producer(&applied(&security)).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("security.protocol"), "{error}");
        }
    }
}
