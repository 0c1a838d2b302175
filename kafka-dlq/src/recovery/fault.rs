//! What went wrong with a record, as far as its headers, a metric and a log line want to know.

use std::any::{Any, type_name};
use std::error::Error;
use std::fmt;

use kafka_client::{BoxError, FailedRecord};

/// An error, and the name of its type.
pub(crate) struct Fault {
    pub(crate) class: &'static str,
    pub(crate) error: BoxError,
}

impl Fault {
    /// Of a handler, whose error was a `T`.
    pub(crate) fn of<T>(error: BoxError) -> Self {
        Self { class: type_name::<T>(), error }
    }

    pub(crate) fn undecodable(record: FailedRecord) -> Self {
        Self { class: "kafka_client::Error", error: record.into_error().into() }
    }

    /// Of a record that was never handled to an end, because the process died.
    pub(crate) fn deadly(deaths: u32) -> Self {
        Self { class: "process death", error: format!("crashed its process {deaths} times").into() }
    }

    /// Of a record that somebody has decided on while it waited.
    pub(crate) fn asked() -> Self {
        Self { class: "asked", error: "somebody has asked for it while the record waited".into() }
    }

    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("the panic has no text");
        Self { class: "panic", error: format!("the handler panicked: {text}").into() }
    }

    /// The error's text, and where it has causes, that of all in one line.
    pub(crate) fn texts(&self) -> (String, Option<String>) {
        let text = self.error.to_string();
        let chain = self.error.source().map(|cause| {
            let mut chain = format!("{text}: {cause}");
            let mut cause = cause.source();
            while let Some(error) = cause {
                chain = format!("{chain}: {error}");
                cause = error.source();
            }
            chain
        });
        (text, chain)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fault").field(&self.class).field(&self.error).finish()
    }
}

/// Why a recovery ended the consumer; its source is the handler's error.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) why: String,
    pub(crate) source: BoxError,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for Stopped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
