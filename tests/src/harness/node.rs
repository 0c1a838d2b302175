//! `Node` is one broker of a cluster, to be killed, stopped and started again.

use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal};

use super::java::tail;
use super::oracle;
use super::port::Port;
use super::process::{self, runs, signal};
use super::properties::Member;
use super::proxy::Proxy;
use super::supervisor::Supervisor;

/// How long a broker may take until it answers; on an idle machine it takes three seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long to pause between two looks at a starting broker.
const PAUSE: Duration = Duration::from_millis(20);

/// One broker, which is also a controller, of a [`Cluster`](super::Cluster).
#[derive(Debug)]
pub struct Node {
    id: i32,
    dir: PathBuf,
    port: Port,
    controller_port: Port,
    /// The listener for clients that come through the proxy in front of it.
    proxied: Option<(Port, Proxy)>,
    supervisor: Arc<Supervisor>,
    /// None while the broker is killed.
    pid: Mutex<Option<Pid>>,
}

impl Node {
    /// Claims the ports of node `id` and makes its folder; the broker does not run yet.
    pub(crate) fn new(id: i32, supervisor: &Arc<Supervisor>, proxied: bool) -> Result<Self, String> {
        let dir = supervisor.dir().join(format!("node-{id}"));
        fs::create_dir(&dir).map_err(|e| format!("{} could not be made: {e}", dir.display()))?;
        let behind = || {
            let port = Port::claim()?;
            let proxy = Proxy::try_start(port.number())?;
            Ok::<_, String>((port, proxy))
        };
        Ok(Self {
            id,
            dir,
            port: Port::claim()?,
            controller_port: Port::claim()?,
            proxied: proxied.then(behind).transpose()?,
            supervisor: Arc::clone(supervisor),
            pid: Mutex::new(None),
        })
    }

    /// Returns the broker's id: 1, 2 or 3.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Returns the port that clients connect to, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the proxy in front of the broker.
    ///
    /// # Panics
    ///
    /// If the cluster was not started with proxies, by [`Cluster::start_proxied`](super::Cluster::start_proxied).
    pub fn proxy(&self) -> &Proxy {
        match &self.proxied {
            Some((_, proxy)) => proxy,
            None => panic!("node {} was started without a proxy", self.id),
        }
    }

    /// Returns the process id of the broker's Java, or None while it is killed.
    pub fn pid(&self) -> Option<i32> {
        self.pid.lock().map(Pid::as_raw_pid)
    }

    /// Returns the node's folder: `server.properties`, `data/` and `broker.log`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kills the broker with SIGKILL, stopped or not, and returns when it is gone. A killed one stays killed.
    ///
    /// Other brokers become leaders in its place when its session ends, after the 3 s that the harness sets as
    /// `broker.session.timeout.ms`. Started again earlier, it waits for that too.
    pub fn kill(&self) {
        let mut pid = self.pid.lock();
        if let Some(running) = pid.take() {
            signal(self, running, Signal::KILL);
            self.supervisor.reap(running).unwrap_or_else(|problem| panic!("{problem}"));
        }
    }

    /// Stops the broker with SIGSTOP, and returns when it has: its connections stay open and nothing answers on them.
    ///
    /// # Panics
    ///
    /// If the broker is killed.
    pub fn stop(&self) {
        process::stop(self, self.running());
    }

    /// Lets a stopped broker go on, with SIGCONT.
    ///
    /// # Panics
    ///
    /// If the broker is killed.
    pub fn cont(&self) {
        signal(self, self.running(), Signal::CONT);
    }

    /// Starts a killed broker again, with its data and its ports, and returns when it answers.
    ///
    /// # Panics
    ///
    /// If the broker runs, or does not answer within 60 s; the message holds the end of its log.
    pub fn start(&self) {
        assert!(self.pid().is_none(), "node {} runs already: kill it first", self.id);
        self.launch()
            .and_then(|()| self.wait_until(Instant::now() + PATIENCE, |seen| seen.contains(&self.id)))
            .unwrap_or_else(|problem| panic!("{problem}"));
    }

    pub(crate) fn member(&self) -> Member {
        Member {
            id: self.id,
            port: self.port.number(),
            controller_port: self.controller_port.number(),
            proxied: self.proxied.as_ref().map(|(port, proxy)| (port.number(), proxy.port())),
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// Waits until the storage that `formatting` formats is ready.
    pub(crate) fn wait_until_formatted(&self, formatting: Pid, deadline: Instant) -> Result<(), String> {
        while runs(formatting) == Some(true) {
            if Instant::now() >= deadline {
                return Err(self.with_log("was not formatted in time"));
            }
            thread::sleep(PAUSE);
        }
        match self.supervisor.reap(formatting)?.as_str() {
            "0" => Ok(()),
            _ => Err(self.with_log("could not be formatted")),
        }
    }

    /// Starts Java, and does not wait for it.
    pub(crate) fn launch(&self) -> Result<(), String> {
        *self.pid.lock() = Some(self.supervisor.start(self.id)?);
        Ok(())
    }

    /// Waits until the broker answers and the ids of the brokers it knows satisfy `enough`.
    pub(crate) fn wait_until(&self, deadline: Instant, enough: impl Fn(&[i32]) -> bool) -> Result<(), String> {
        while !oracle::brokers(&self.address()).is_ok_and(|seen| enough(&seen)) {
            if self.pid.lock().is_none_or(|pid| runs(pid) == Some(false)) {
                return Err(self.with_log("ended while starting"));
            }
            if Instant::now() >= deadline {
                return Err(self.with_log("did not answer in time"));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Says what is wrong with the node, and the end of its log: the files are gone by the time somebody reads it.
    fn with_log(&self, problem: &str) -> String {
        let log = fs::read(self.dir.join("broker.log")).unwrap_or_default();
        format!("node {} {problem}; its log ends:\n{}", self.id, tail(&String::from_utf8_lossy(&log), 40))
    }

    fn running(&self) -> Pid {
        self.pid.lock().unwrap_or_else(|| panic!("node {} is not running", self.id))
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.id)
    }
}
