//! Signals to the brokers' processes, and whether they still run.

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the threads of a process may take to stop; on an idle machine it is a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends `signal` to the process of `who`.
pub(crate) fn signal(who: impl Display, pid: Pid, signal: Signal) {
    // The process cannot be somebody else's by now: until it is reaped, its id is not given out again.
    kill_process(pid, signal).unwrap_or_else(|e| panic!("sending {signal:?} to {who} failed: {e}"));
}

/// Stops the process of `who` with SIGSTOP, and returns when none of its threads runs any more: each stops when it
/// is next looked at, and may answer a client until then. Without a /proc to ask, that is left open.
pub(crate) fn stop(who: impl Display, pid: Pid) {
    signal(&who, pid, Signal::STOP);
    let threads = Path::new("/proc").join(pid.as_raw_pid().to_string()).join("task");
    let deadline = Instant::now() + PATIENCE;
    let stopped = |thread: std::io::Result<std::fs::DirEntry>| {
        // One that has ended in between runs as little as one that has stopped.
        thread.ok().and_then(|thread| state(&thread.path().join("stat"))).is_none_or(|state| state == 'T')
    };
    while std::fs::read_dir(&threads).is_ok_and(|mut threads| !threads.all(stopped)) {
        assert!(Instant::now() < deadline, "{who} did not stop within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The state in a `stat` file: `R`unning, `S`leeping, s`T`opped, `Z` for ended.
fn state(stat: &Path) -> Option<char> {
    // It follows the program's name, which stands in parentheses and may hold anything.
    std::fs::read_to_string(stat).ok()?.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Tells whether the process runs; a process that has ended but is not reaped does not. None if the system has
/// no /proc to ask.
pub(crate) fn runs(pid: Pid) -> Option<bool> {
    let proc = Path::new("/proc");
    match state(&proc.join(pid.as_raw_pid().to_string()).join("stat")) {
        Some(state) => Some(state != 'Z'),
        None => proc.join("self").exists().then_some(false),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::harness::eventually_blocking;

    #[test]
    fn a_process_runs_until_it_ends_not_until_it_is_reaped() {
        let sleeping = Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn();
        let mut sleeping = sleeping.unwrap_or_else(|e| panic!("{e}"));
        let pid = Pid::from_child(&sleeping);
        assert_ne!(runs(pid), Some(false));
        signal("it", pid, Signal::KILL);
        eventually_blocking("the process has ended", Duration::from_secs(5), || runs(pid) != Some(true));
        sleeping.wait().unwrap_or_else(|e| panic!("{e}"));
        assert_ne!(runs(pid), Some(true));
    }

    #[test]
    fn a_process_is_stopped_when_stop_returns() {
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap_or_else(|e| panic!("{e}"));
        let pid = Pid::from_child(&busy);
        for _ in 0..20 {
            stop("it", pid);
            let found = state(&Path::new("/proc").join(pid.as_raw_pid().to_string()).join("stat"));
            // None without a /proc.
            assert!(found.is_none_or(|state| state == 'T'), "{found:?}");
            signal("it", pid, Signal::CONT);
        }
        busy.kill().and_then(|()| busy.wait()).unwrap_or_else(|e| panic!("{e}"));
    }
}
