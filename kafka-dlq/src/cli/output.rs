//! Where answers go: a table for people, JSON for programs.

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

use serde_json::Value;

use super::table::Table;
use crate::redrive::Progress;

pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A list: a table, or a line of JSON for each.
    pub(super) fn list(&self, table: &Table, json: &[Value]) {
        match self.json {
            true => json.iter().for_each(|value| print(&value.to_string())),
            false => table.lines(width()).iter().for_each(|line| print(line)),
        }
    }

    /// One of many that come by and by.
    pub(super) fn line(&self, text: &str, json: &Value) {
        match self.json {
            true => print(&json.to_string()),
            false => print(text),
        }
    }

    /// One answer.
    pub(super) fn one(&self, text: &str, json: &Value) {
        match self.json {
            true => print(&format!("{json:#}")),
            false => print(text.trim_end()),
        }
    }

    /// A line that tells how far a job is, where somebody looks on.
    pub(super) fn progress(&self) -> Option<impl Fn(&Progress) + Send + Sync + use<>> {
        if self.json || !stderr().is_terminal() {
            return None;
        }
        Some(|progress: &Progress| {
            let seconds = progress.elapsed.as_secs_f64().max(0.001);
            let rate = progress.read as f64 / seconds;
            let left = (progress.of.saturating_sub(progress.read)) as f64 / rate.max(0.001);
            let share = progress.read * 20 / progress.of.max(1);
            let bar: String = (0..20).map(|at| if at < share { '#' } else { '.' }).collect();
            eprint!(
                "\r[{bar}] {}/{} read, {} sent, {rate:.0}/s, {} left \x1b[K",
                progress.read,
                progress.of,
                progress.sent,
                if progress.read == 0 { "?".to_owned() } else { format!("{left:.0} s") }
            );
            if progress.read >= progress.of {
                eprintln!();
            }
        })
    }
}

/// Writes a line; a reader that has gone (`| head`) ends the process quietly, as pipes do.
pub(super) fn print(line: &str) {
    if let Err(error) = writeln!(stdout().lock(), "{line}") {
        let code = if error.kind() == ErrorKind::BrokenPipe { 0 } else { 1 };
        std::process::exit(code);
    }
}

/// The columns of the terminal, where there is one.
fn width() -> Option<usize> {
    let columns = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    stdout().is_terminal().then(|| columns().unwrap_or(100))
}
