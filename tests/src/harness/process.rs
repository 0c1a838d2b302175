//! Signals to the brokers' processes, and whether they still run.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Sends `signal` to the process of node `id`.
pub(crate) fn signal(id: i32, pid: Pid, signal: Signal) {
    // The process cannot be somebody else's by now: until it is reaped, its id is not given out again.
    kill_process(pid, signal).unwrap_or_else(|e| panic!("sending {signal:?} to node {id} failed: {e}"));
}

/// Tells whether the process runs; a process that has ended but is not reaped does not. None if the system has
/// no /proc to ask.
pub(crate) fn runs(pid: Pid) -> Option<bool> {
    let proc = Path::new("/proc");
    let stat = std::fs::read_to_string(proc.join(pid.as_raw_pid().to_string()).join("stat"));
    match stat {
        // The state follows the program's name, which stands in parentheses and may hold anything.
        Ok(stat) => stat.rsplit_once(')').map(|(_, rest)| !rest.trim_start().starts_with('Z')),
        Err(_) => proc.join("self").exists().then_some(false),
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
        signal(0, pid, Signal::KILL);
        eventually_blocking("the process has ended", Duration::from_secs(5), || runs(pid) != Some(true));
        sleeping.wait().unwrap_or_else(|e| panic!("{e}"));
        assert_ne!(runs(pid), Some(true));
    }
}
