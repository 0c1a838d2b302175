//! `kafka-dlq` as its user runs it: every verb, against a real broker, with the exit codes that it promises.

mod reading;
mod sending;
mod lines;
mod garbage;
mod teaching;
mod piped;
mod terminal;
mod many;
mod denied;
mod gone;
mod session;

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tests::harness::Cluster;

use crate::dead_letters::Given;
use crate::given;

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlq-command"));
    command.env_clear().env("KAFKA_BOOTSTRAP_SERVERS", Cluster::shared().bootstrap());
    command
}

/// Runs it to its end.
fn run(arguments: &[&str]) -> Output {
    command().args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(output), String::from_utf8_lossy(&output.stderr));
    stdout(output)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn thirty() -> Given {
    let given = Given::new(3);
    let reasons = ["timeout", "timeout", "decode"];
    given.write((0..30).map(|offset| given.letter(offset, reasons[offset as usize % 3]))).await;
    given
}
