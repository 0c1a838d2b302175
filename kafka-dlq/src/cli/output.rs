//! Where answers go: a table for people, JSON for programs.

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::bar::Bar;
use super::table::Table;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

pub(super) struct Output {
    json: bool,
}

/// Whoever read the standard output has gone (`| head`).
static GONE: AtomicBool = AtomicBool::new(false);

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// A list: a table, or a line of JSON for each.
    pub(super) fn list(&self, table: &Table, json: &[Value]) {
        if self.json {
            return json.iter().for_each(|value| print(&value.to_string()));
        }
        for (number, line) in table.lines(width()).iter().enumerate() {
            match number {
                0 => print(&strong(line)),
                _ => print(line),
            }
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

    /// A bar that tells how far a long work is, where somebody looks on.
    pub(super) fn bar(&self) -> Option<Bar> {
        (!self.json && stderr().is_terminal()).then(Bar::new)
    }

    /// Whether nobody reads the answers any more.
    pub(super) fn is_gone(&self) -> bool {
        GONE.load(Ordering::Relaxed)
    }
}

/// Writes a line; once the reader has gone, nothing.
pub(super) fn print(line: &str) {
    write(format!("{line}\n").as_bytes());
}

/// Writes bytes to the standard output, as they are; once the reader has gone, nothing.
pub(super) fn write(bytes: &[u8]) {
    if GONE.load(Ordering::Relaxed) {
        return;
    }
    let mut out = stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => (),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => GONE.store(true, Ordering::Relaxed),
        Err(error) => {
            tell(&format!("the answer cannot be written: {error}"));
            std::process::exit(1);
        }
    }
}

/// Writes a line to the standard error, where it can be written.
pub(super) fn tell(line: &str) {
    let name = if colours(&stderr()) { format!("{RED}kafka-dlq:{PLAIN}") } else { "kafka-dlq:".to_owned() };
    // Nobody is there to be told that this failed.
    let _ = writeln!(stderr(), "{name} {line}");
}

/// A heading, or what must not be overlooked.
pub(super) fn strong(line: &str) -> String {
    match colours(&stdout()) {
        true => format!("{BOLD}{line}{PLAIN}"),
        false => line.to_owned(),
    }
}

/// Colours on a terminal that has them, unless the user wants none (`NO_COLOR`).
fn colours(stream: &impl IsTerminal) -> bool {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|set| set == value);
    let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !wants_none && !is("TERM", "dumb")
}

/// The columns of the terminal, where there is one.
fn width() -> Option<usize> {
    let columns = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    stdout().is_terminal().then(|| columns().filter(|columns| *columns > 0).unwrap_or(100))
}
