//! `Cluster` starts a real Apache Kafka and stops it, whatever happens to the test.
//!
//! ```text
//!   fetch ──jars──▶ Supervisor ──▶ Node 1..n ──ports, folder──▶ server.properties
//!                       │              │
//!                       ├─ format ─────┤
//!                       └─ start ──────┴──▶ wait until every node answers and knows all the others
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use std::{env, fs};

use super::node::{Node, PATIENCE};
use super::properties::server_properties;
use super::supervisor::Supervisor;
use super::{fetch, java};

const LOGGING: &str = include_str!("log4j2.properties");

/// A running Apache Kafka: one that this process started, or the one that `KAFKA_BOOTSTRAP_SERVERS` names.
///
/// Dropped, its brokers are killed and its directory is removed. The same happens when the process ends in any
/// other way, SIGKILL included.
///
/// ```no_run
/// use tests::harness::Cluster;
///
/// let kafka = Cluster::start(3);
/// kafka.node(0).kill();
/// // .. what must still work ..
/// kafka.node(0).start();
/// ```
#[derive(Debug)]
pub struct Cluster {
    bootstrap: String,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Returns the single-node cluster of this process, started on first use.
    ///
    /// If `KAFKA_BOOTSTRAP_SERVERS` is set, that broker is used and none is started. Tests that share it keep to
    /// topics and groups of their own, named by [`unique`](super::unique), and leave its nodes alone.
    ///
    /// # Panics
    ///
    /// If it does not start: every call says why, only the first one tries.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match env::var("KAFKA_BOOTSTRAP_SERVERS") {
            Ok(bootstrap) if !bootstrap.is_empty() => Ok(Self { bootstrap, nodes: Vec::new() }),
            _ => Self::try_start(1, &[], false),
        });
        shared.as_ref().unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Starts a cluster of 1 or 3 nodes of this test's own, and returns when all of them answer.
    ///
    /// On 3 nodes topics have three replicas of which two must be in sync, unless created otherwise.
    ///
    /// # Panics
    ///
    /// If `nodes` is neither 1 nor 3, if Java or Maven is missing, or if a node does not answer within 60 s; the
    /// message then holds the end of its log.
    pub fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[])
    }

    /// Starts a cluster as [`start`](Self::start) does, with `properties` added to each `server.properties`,
    /// where they override the harness's own.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start) does. A broker that refuses a property ends at once and says so.
    pub fn start_with(nodes: usize, properties: &[(&str, &str)]) -> Self {
        Self::try_start(nodes, properties, false).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Starts a cluster as [`start_with`](Self::start_with) does, with a [`Proxy`](super::Proxy) in front of each node:
    /// clients that are told [`proxied_bootstrap`](Self::proxied_bootstrap) go through it for everything, those that are
    /// told [`bootstrap`](Self::bootstrap) never.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start) does.
    pub fn start_proxied(nodes: usize, properties: &[(&str, &str)]) -> Self {
        Self::try_start(nodes, properties, true).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Returns the addresses of all proxies, as `bootstrap.servers` wants them.
    ///
    /// # Panics
    ///
    /// If the cluster was not started by [`start_proxied`](Self::start_proxied).
    pub fn proxied_bootstrap(&self) -> String {
        self.nodes.iter().map(|node| node.proxy().address()).collect::<Vec<_>>().join(",")
    }

    /// Returns the addresses of all nodes, as `bootstrap.servers` wants them.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns the nodes; none if the broker is not ours but that of `KAFKA_BOOTSTRAP_SERVERS`.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns node `index`, counted from 0; its broker's id is one more.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    pub fn node(&self, index: usize) -> &Node {
        self.nodes.get(index).unwrap_or_else(|| panic!("node {index} of a cluster of {} nodes", self.nodes.len()))
    }

    /// Returns the directory of Apache Kafka's jars, fetching them if this machine does not have them yet.
    ///
    /// # Panics
    ///
    /// If they cannot be fetched.
    pub fn libs() -> &'static Path {
        libs().unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn try_start(nodes: usize, properties: &[(&str, &str)], proxied: bool) -> Result<Self, String> {
        if nodes != 1 && nodes != 3 {
            return Err(format!("a cluster has 1 or 3 nodes, not {nodes}"));
        }
        java::check()?;
        let supervisor = Arc::new(Supervisor::spawn(libs()?, jvm_flags(nodes))?);
        let nodes: Vec<_> =
            (1..).take(nodes).map(|id| Node::new(id, &supervisor, proxied)).collect::<Result<_, _>>()?;
        let bootstrap = nodes.iter().map(Node::address).collect::<Vec<_>>().join(",");
        let cluster = Self { bootstrap, nodes };
        cluster.write_configuration(supervisor.dir(), properties)?;
        cluster.format(&supervisor)?;
        cluster.launch()?;
        Ok(cluster)
    }

    fn write_configuration(&self, dir: &Path, properties: &[(&str, &str)]) -> Result<(), String> {
        let write = |path: PathBuf, text: &str| {
            fs::write(&path, text).map_err(|e| format!("{} could not be written: {e}", path.display()))
        };
        let members: Vec<_> = self.nodes.iter().map(Node::member).collect();
        for node in &self.nodes {
            let text = server_properties(node.member(), &members, properties);
            write(node.dir().join("server.properties"), &text)?;
        }
        write(dir.join("log4j2.properties"), LOGGING)
    }

    /// Formats the storage of all nodes at once.
    fn format(&self, supervisor: &Supervisor) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let standalone = self.nodes.len() == 1;
        let formatting = self.nodes.iter().map(|node| Ok((node, supervisor.format(node.id(), standalone)?)));
        let formatting: Vec<_> = formatting.collect::<Result<_, String>>()?;
        formatting.into_iter().try_for_each(|(node, pid)| node.wait_until_formatted(pid, deadline))
    }

    /// Starts all nodes at once, since none gets far without a majority, and waits until each knows all.
    fn launch(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        self.nodes.iter().try_for_each(Node::launch)?;
        self.nodes.iter().try_for_each(|node| node.wait_until(deadline, |seen| seen.len() == self.nodes.len()))
    }
}

/// The jars' directory, looked for once a process.
fn libs() -> Result<&'static Path, String> {
    static LIBS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    LIBS.get_or_init(|| fetch::KAFKA.jars()).as_deref().map_err(Clone::clone)
}

/// A start is mostly class loading and code that runs once: C1 alone starts faster.
fn jvm_flags(nodes: usize) -> &'static [&'static str] {
    if nodes == 1 {
        &["-Xmx512m", "-XX:+UseG1GC", "-XX:TieredStopAtLevel=1"]
    } else {
        // Three of them share the machine.
        &["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    }
}
