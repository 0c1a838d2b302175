//! `SchemaRegistry` is a real registry with Confluent's API: Apicurio Registry, which keeps everything in memory.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::Pid;

use super::fetch;
use super::java::{self, tail};
use super::node::PATIENCE;
use super::port::Port;
use super::process::runs;
use super::supervisor::Supervisor;

/// Where Confluent's API is.
const API: &str = "/apis/ccompat/v7";

/// How long one look at a starting registry may take.
const LOOK: Duration = Duration::from_secs(2);

/// How long to pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A running registry of this process. Gone when it is dropped, or when the process ends, in whichever way.
///
/// It starts with compatibility NONE (Confluent: BACKWARD), and knows neither GUIDs nor contexts.
///
/// ```no_run
/// use tests::harness::SchemaRegistry;
///
/// let registry = SchemaRegistry::shared();
/// println!("SCHEMA_REGISTRY_URL={}", registry.url());
/// ```
#[derive(Debug)]
pub struct SchemaRegistry {
    port: Port,
    url: String,
    supervisor: Supervisor,
    /// None while it is killed.
    pid: Mutex<Option<Pid>>,
}

impl SchemaRegistry {
    /// Returns the registry of this process, started on first use. Tests that share it keep to subjects of their own,
    /// named by [`unique`](super::unique).
    ///
    /// # Panics
    ///
    /// If it does not start: every call says why, only the first one tries.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<SchemaRegistry, String>> = OnceLock::new();
        SHARED.get_or_init(Self::try_start).as_ref().unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Starts a registry of this test's own, and returns when it answers.
    ///
    /// # Panics
    ///
    /// If Java or Maven is missing, or it does not answer within 60 s; the message then holds the end of its log.
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Returns the URL that clients are given, the same after a restart.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the registry with SIGKILL, and returns when it is gone, with everything that was in it.
    pub fn kill(&self) {
        if let Some(running) = self.pid.lock().take() {
            super::process::signal(0, running, rustix::process::Signal::KILL);
            self.supervisor.reap(running).unwrap_or_else(|problem| panic!("{problem}"));
        }
    }

    /// Starts a killed registry again, empty, and returns when it answers.
    ///
    /// # Panics
    ///
    /// If it runs, or does not answer within 60 s.
    pub fn restart(&self) {
        assert!(self.pid.lock().is_none(), "the registry runs already: kill it first");
        self.launch().unwrap_or_else(|problem| panic!("{problem}"));
    }

    fn try_start() -> Result<Self, String> {
        java::check()?;
        let flags = ["-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
        let supervisor = Supervisor::spawn(&fetch::REGISTRY.jars()?, &flags)?;
        let port = Port::claim()?;
        let url = format!("http://127.0.0.1:{}{API}", port.number());
        let registry = Self { port, url, supervisor, pid: Mutex::new(None) };
        registry.launch()?;
        Ok(registry)
    }

    fn launch(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let pid = self.supervisor.registry(self.port.number())?;
        *self.pid.lock() = Some(pid);
        while !self.answers().unwrap_or(false) {
            if runs(pid) == Some(false) {
                return Err(self.with_log("ended while starting"));
            }
            if Instant::now() >= deadline {
                return Err(self.with_log("did not answer in time"));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Whether it lists its subjects; the harness needs no more of HTTP than this.
    fn answers(&self) -> io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number()))?;
        stream.set_read_timeout(Some(LOOK))?;
        write!(stream, "GET {API}/subjects HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    }

    fn with_log(&self, problem: &str) -> String {
        let log = fs::read(self.supervisor.dir().join("registry.log")).unwrap_or_default();
        format!("the schema registry {problem}; its log ends:\n{}", tail(&String::from_utf8_lossy(&log), 40))
    }
}
