//! A machine without Java or Maven is told so, in one sentence; nothing is skipped in silence.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus};

use tests::harness::Cluster;

#[test]
fn without_java_every_test_says_what_to_install() {
    let empty = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let said = start_with_path(OsStr::new(""), empty.path());
    assert_eq!(
        said,
        "`java` is not on PATH: to start a real Apache Kafka, install a JDK 17 or newer and Maven, or set \
         KAFKA_BOOTSTRAP_SERVERS to the address of an existing broker"
    );
}

#[test]
fn an_old_java_is_named() {
    let bin = programs(&[("java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")]);
    let said = start_with_path(bin.path().as_os_str(), bin.path());
    assert!(said.starts_with("the `java` on PATH is version 11: "), "{said}");
}

#[test]
fn without_maven_every_test_says_what_to_install() {
    let bin = programs(&[("java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")]);
    let said = start_with_path(bin.path().as_os_str(), bin.path());
    assert!(said.starts_with("`mvn` is not on PATH: "), "{said}");
}

#[test]
fn an_existing_broker_needs_neither() {
    let empty = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let output = child(OsStr::new(""), empty.path()).env("KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092").output();
    let output = output.unwrap_or_else(|e| panic!("the child did not start: {e}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("SHARED kafka.example:9092 of 0 nodes"), "{said}");
}

#[test]
#[ignore = "runs as the child of other tests only"]
fn share() {
    let kafka = Cluster::shared();
    println!("SHARED {} of {} nodes", kafka.bootstrap(), kafka.nodes().len());
}

/// A directory that, as PATH, has these programs and no others: each a shell script.
fn programs(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let bin = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    for (name, script) in scripts {
        // Written by another process: a file that a process forked meanwhile still holds open for writing cannot
        // be run ("text file busy").
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod +x "$1""#;
        let written = Command::new("sh").args(["-c", write, "sh"]).arg(bin.path().join(name)).arg(script).status();
        assert!(written.as_ref().is_ok_and(ExitStatus::success), "{written:?}");
    }
    bin
}

/// Runs the test `share` with this PATH and cache, and returns the message of its panic.
fn start_with_path(path: &OsStr, cache: &Path) -> String {
    let output = child(path, cache).output().unwrap_or_else(|e| panic!("the child did not start: {e}"));
    assert!(!output.status.success(), "the child passed without a broker");
    // thread '..' panicked at file:line:column:
    // the message
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let message = said.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    message.unwrap_or_else(|| panic!("the child did not panic but said: {said}")).to_owned()
}

fn child(path: &OsStr, cache: &Path) -> Command {
    let mut child = Command::new(super::this_binary());
    child
        .args(["--exact", "harness::missing::share", "--ignored", "--nocapture"])
        .env("PATH", path)
        .env("KAFKA_TOOLKIT_CACHE", cache)
        .env_remove("KAFKA_BOOTSTRAP_SERVERS");
    child
}
