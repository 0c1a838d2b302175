//! Chaos keeps its own promises: it leaves nothing behind, and a naive worker does not get past its judge.
//!
//! The scenarios themselves are run by `.ci/chaos`, and at length by hand.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use tests::harness::eventually_blocking;

const SOON: Duration = Duration::from_secs(60);

fn chaos(arguments: &[&str]) -> Command {
    let mut chaos = Command::new(env!("CARGO_BIN_EXE_chaos"));
    chaos.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    chaos
}

#[test]
#[cfg(target_os = "linux")]
fn killed_it_leaves_no_member_behind_not_even_a_suspended_one() {
    // It plans a suspension of half a second or more; the second member runs when the first one is stopped.
    let mut running = chaos(&["eos-zombie", "--worker", "careful", "--records", "2000"]).spawn().unwrap();
    let mut members = Vec::new();
    eventually_blocking("a member is suspended", SOON, || {
        members = members_of(&running);
        members.iter().any(|(_, state)| *state == 'T')
    });
    running.kill().and_then(|()| running.wait()).unwrap();
    eventually_blocking("its members are gone", SOON, || {
        members.iter().all(|(member, _)| test_kill_process(*member).is_err())
    });
}

/// The members that it has started, and their states.
fn members_of(chaos: &Child) -> Vec<(Pid, char)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stat = |process: fs::DirEntry| {
        let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let mut words = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (words.next()?.chars().next()?, words.next()?.parse::<u32>().ok()?);
        let program = fs::read(process.path().join("cmdline")).ok()?;
        let is_member = program.split(|byte| *byte == 0).any(|word| word == b"worker");
        (parent == chaos.id() && is_member).then_some((pid, state))
    };
    processes.filter_map(stat).collect()
}

#[test]
fn a_command_that_makes_no_sense_is_refused_and_starts_nothing() {
    for wrong in [
        &["no-such-scenario"][..],
        &["at-least-once", "--seeds", "0"],
        &["at-least-once", "--records", "0"],
        &["at-least-once", "--worker", "careful"],
        &["at-least-once", "--naive", "--worker", "by-key"],
    ] {
        let output = chaos(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty(), "{wrong:?}");
    }
}
