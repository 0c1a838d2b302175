//! `Guarded` is a broker with users, who may do what they were allowed to and nothing else.
//!
//! ```text
//!   user, by name and password ──SASL/PLAIN──▶ listener with the proxy ──▶ StandardAuthorizer: what was `allow`ed
//!   tests and oracles ─────────no login──────▶ plain listener ──────────▶ everything
//! ```

use std::process::Command;

use super::{Cluster, java};

/// A cluster of one node with users; see [`Cluster::guarded`].
#[derive(Debug)]
pub struct Guarded {
    cluster: Cluster,
}

impl Cluster {
    /// Starts a broker that knows these users, none of whom may do anything yet. Whoever comes without a login, at
    /// [`bootstrap`](Guarded::bootstrap), may do everything.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start) does.
    pub fn guarded(users: &[&str]) -> Guarded {
        let login: String = users.iter().map(|user| format!(" user_{user}=\"{}\"", password(user))).collect();
        let login = format!("org.apache.kafka.common.security.plain.PlainLoginModule required{login};");
        let properties = [
            ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:SASL_PLAINTEXT"),
            ("listener.name.proxied.sasl.enabled.mechanisms", "PLAIN"),
            ("listener.name.proxied.plain.sasl.jaas.config", &login),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", "User:ANONYMOUS"),
        ];
        Guarded { cluster: Self::start_proxied(1, &properties) }
    }
}

fn password(user: &str) -> String {
    format!("secret-of-{user}")
}

impl Guarded {
    /// Where whoever comes may do everything.
    pub fn bootstrap(&self) -> &str {
        self.cluster.bootstrap()
    }

    /// The settings with which a user comes.
    pub fn settings(&self, user: &str) -> [(&'static str, String); 5] {
        [
            ("bootstrap.servers", self.cluster.proxied_bootstrap()),
            ("security.protocol", "sasl_plaintext".to_owned()),
            ("sasl.mechanism", "PLAIN".to_owned()),
            ("sasl.username", user.to_owned()),
            ("sasl.password", password(user)),
        ]
    }

    /// Allows a user something, as Kafka's own `kafka-acls` is told: `["--operation", "Read", "--topic", "orders"]`.
    ///
    /// # Panics
    ///
    /// If Java is missing or the program fails; the message holds what it printed.
    pub fn allow(&self, user: &str, what: &[&str]) {
        let ran = Command::new("java")
            .arg("-cp")
            .arg(Cluster::libs().join("*"))
            .args(["-XX:TieredStopAtLevel=1", "org.apache.kafka.tools.AclCommand"])
            .args(["--bootstrap-server", self.bootstrap(), "--add", "--force"])
            .args(["--allow-principal", &format!("User:{user}")])
            .args(what)
            .output()
            .unwrap_or_else(|e| panic!("{}", java::not_started("java", &e)));
        let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(ran.status.success(), "kafka-acls ended with {}:\n{}", ran.status, java::tail(&said, 20));
    }
}
