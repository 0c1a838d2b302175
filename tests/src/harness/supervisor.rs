//! `Supervisor` is the shell that runs a cluster's brokers and cleans up when the test process is gone.
//!
//! ```text
//!   test process ──stdin──▶ sh supervise.sh ──▶ java (node 1)
//!                ◀─stdout──                └──▶ java (node 3)
//! ```
//!
//! The pipe is the leash: the kernel closes it however the test process ends, SIGKILL included, and the shell
//! then kills the brokers and removes their directory. A parent-death signal would fire when the *thread* that
//! started the broker ends, which under libtest is the first test that asked for it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use parking_lot::Mutex;
use rustix::process::Pid;

const SCRIPT: &str = include_str!("supervise.sh");

/// The shell that runs the brokers of one cluster; dropped, it stops them and removes their directory.
#[derive(Debug)]
pub(crate) struct Supervisor {
    dir: PathBuf,
    shell: Mutex<Shell>,
}

#[derive(Debug)]
struct Shell {
    process: Child,
    /// Taken when dropped: the end of its input tells the shell to clean up.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// Starts the shell, which makes the cluster's directory; no broker runs yet.
    pub(crate) fn spawn(libs: &Path, jvm_flags: &[&str]) -> Result<Self, String> {
        let temporary =
            std::path::absolute(std::env::temp_dir()).map_err(|e| format!("no temporary directory: {e}"))?;
        let mut process = Command::new("sh")
            .args(["-c", SCRIPT, "supervise.sh"])
            .args([temporary.as_path(), libs])
            .args(jvm_flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not ours to share: whoever reads the test's stderr to its end would wait for the clean-up.
            .stderr(Stdio::null())
            // Its own group, so that Ctrl-C reaches the tests only.
            .process_group(0)
            .spawn()
            .map_err(|e| format!("`sh`, which runs the brokers, did not start: {e}"))?;
        let (Some(commands), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("`sh` was started without pipes".to_owned());
        };
        let mut shell = Shell { process, commands: Some(commands), answers: BufReader::new(stdout) };
        let dir = shell.answer().map_err(|_| format!("no directory could be made in {}", temporary.display()))?;
        Ok(Self { dir: PathBuf::from(dir), shell: Mutex::new(shell) })
    }

    /// Returns the cluster's directory, which goes with the supervisor.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts to format the storage of node `id`; `standalone` for a quorum of one.
    pub(crate) fn format(&self, id: i32, standalone: bool) -> Result<Pid, String> {
        self.run(&format!("format {id} {}", if standalone { "--standalone" } else { "" }))
    }

    /// Starts the broker of node `id`.
    pub(crate) fn start(&self, id: i32) -> Result<Pid, String> {
        self.run(&format!("start {id}"))
    }

    /// Starts a schema registry on this port; the supervisor's jars must be its.
    pub(crate) fn registry(&self, port: u16) -> Result<Pid, String> {
        self.run(&format!("registry {port}"))
    }

    /// Waits until a process that ends is gone, its ports and files with it, and returns its exit status.
    ///
    /// Nobody else is served meanwhile, and the death of the test process is not noticed.
    pub(crate) fn reap(&self, pid: Pid) -> Result<String, String> {
        self.ask(&format!("reap {}", pid.as_raw_pid()))
    }

    fn run(&self, command: &str) -> Result<Pid, String> {
        let answer = self.ask(command)?;
        let pid = answer.parse().ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| format!("`sh` answered {answer:?} where a process id belongs"))
    }

    fn ask(&self, command: &str) -> Result<String, String> {
        let mut shell = self.shell.lock();
        if let Some(commands) = &mut shell.commands {
            writeln!(commands, "{command}").map_err(|e| format!("the shell that runs the brokers is gone: {e}"))?;
        }
        shell.answer()
    }
}

impl Shell {
    fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) => Err("the shell that runs the brokers is gone".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(e) => Err(format!("the shell that runs the brokers does not answer: {e}")),
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.commands.take());
        // An error means that it is gone already.
        let _ = self.process.wait();
    }
}
