//! `Logs` hears what the whole test process logs through `tracing`, on whichever thread.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Once;
use std::thread;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// What is logged from now on.
///
/// Other tests log too, at the same time: look for what only this one says.
#[derive(Clone, Copy, Debug)]
pub struct Logs {
    from: usize,
}

/// One event that was logged.
#[derive(Clone, Debug)]
pub struct Line {
    /// How bad it is.
    pub level: Level,
    /// The module it comes from, unless it names another target.
    pub target: &'static str,
    /// Its text.
    pub message: String,
    /// Its other fields, as text.
    pub fields: BTreeMap<&'static str, String>,
    /// The thread that logged it.
    pub thread: String,
}

impl Logs {
    /// Starts to listen, to everything down to TRACE.
    ///
    /// # Panics
    ///
    /// If another subscriber has been installed in this process.
    pub fn listen() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            tracing::subscriber::set_global_default(Listener)
                .unwrap_or_else(|e| panic!("somebody else listens to the logs of this process: {e}"));
        });
        Self { from: LINES.lock().len() }
    }

    /// What was logged since.
    pub fn lines(&self) -> Vec<Line> {
        LINES.lock()[self.from..].to_vec()
    }

    /// Whether something was logged since that satisfies `is`.
    pub fn any(&self, is: impl FnMut(&Line) -> bool) -> bool {
        LINES.lock()[self.from..].iter().any(is)
    }
}

impl Line {
    /// A field's value; empty without such a field.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// The subscriber of the process. Spans have no part in what is told here.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line {
            level: *metadata.level(),
            target: metadata.target(),
            message: String::new(),
            fields: BTreeMap::new(),
            thread: thread::current().name().unwrap_or_default().to_owned(),
        };
        event.record(&mut line);
        LINES.lock().push(line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => drop(self.fields.insert(name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_threads_event_is_heard_with_its_fields() {
        let logs = Logs::listen();
        let spoken = thread::Builder::new().name("speaker".into()).spawn(|| tracing::warn!(count = 7, "cold {}", 1));
        spoken.map(thread::JoinHandle::join).unwrap_or_else(|e| panic!("{e}")).unwrap_or_else(|_| panic!("panicked"));
        let lines = logs.lines();
        let line = lines.iter().find(|line| line.thread == "speaker").unwrap_or_else(|| panic!("{lines:?}"));
        assert_eq!((line.level, line.message.as_str(), line.field("count")), (Level::WARN, "cold 1", "7"));
        assert_eq!(line.to_string(), "WARN tests::harness::logs::tests: cold 1 count=7");
    }
}
