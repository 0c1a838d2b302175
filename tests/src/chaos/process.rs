//! A member of a group in a process of its own, seen from outside: to be killed, stopped and ended.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::harness::process;

/// How long to pause between two looks at a process that is to end.
const PAUSE: Duration = Duration::from_millis(5);

/// A running process; killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it. The end of its input asks it to end.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        Self { child: child.unwrap_or_else(|e| panic!("{command:?} did not start: {e}")) }
    }

    /// SIGKILL, and returns when it is gone.
    pub fn kill(mut self) {
        self.kill_and_reap();
    }

    /// SIGSTOP, and returns when none of its threads runs.
    pub fn suspend(&self) {
        process::stop("the member", self.pid());
    }

    /// SIGCONT.
    pub fn resume(&self) {
        process::signal("the member", self.pid(), Signal::CONT);
    }

    /// How it ended by itself, if it has.
    ///
    /// # Panics
    ///
    /// If the system does not say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|e| panic!("no word of a process: {e}"))
    }

    /// Asks it to end in good order. Nothing is waited for.
    pub fn ask_to_end(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Asks it to end in good order, and waits for that; kills it if that takes longer.
    ///
    /// # Errors
    ///
    /// If it fails, or does not end in time.
    pub fn stop(mut self, within: Duration) -> Result<(), String> {
        self.ask_to_end();
        let deadline = Instant::now() + within;
        loop {
            match self.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(status.to_string()),
                None if Instant::now() >= deadline => return Err(format!("did not end within {within:?}")),
                None => thread::sleep(PAUSE),
            }
        }
    }

    /// Its number, as the system has it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn kill_and_reap(&mut self) {
        // One that has been waited for is not there any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}

/// Waits until the parent closes our input, or is gone.
pub fn asked_to_end() {
    let _ = io::stdin().read(&mut [0]);
}

/// Dies when the parent does, stopped or not: with the thread that started this process, to be exact.
///
/// # Panics
///
/// If the parent, whose process id is given, is gone already.
pub fn die_with(parent: u64) {
    #[cfg(target_os = "linux")]
    {
        let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        set.unwrap_or_else(|e| panic!("no signal when the parent dies: {e}"));
    }
    // It may have died before that.
    let now = rustix::process::getppid().map(|pid| u64::from(pid.as_raw_pid().unsigned_abs()));
    assert_eq!(now, Some(parent), "the parent is gone");
}

/// This very program, to be started again as a child, even if it has been built anew since it was started.
///
/// # Panics
///
/// If the system does not say.
pub fn this_program() -> PathBuf {
    // The link leads to the file itself, whatever its name leads to by now.
    let link = Path::new("/proc/self/exe");
    if link.exists() { link.to_owned() } else { std::env::current_exe().unwrap_or_else(|e| panic!("{e}")) }
}
