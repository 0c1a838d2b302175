//! The command `kafka-dlq`: dead letters at the terminal and in scripts.
//!
//! ```text
//! arguments, KAFKA_*, file ─▶ Settings ─▶ verb ─▶ library ─▶ table or JSON ─▶ exit code
//! ```

mod arguments;
mod settings;
mod shown;
mod time;
mod table;
mod bar;
mod stored;
mod decode;
mod output;
mod redact;
mod topics;
mod look;
mod explain;
mod send;
mod lines;
mod import;
mod watch;
mod doctor;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::error::{Error, ErrorKind};

use arguments::{Arguments, Verb};
use output::Output;
use settings::Settings;

/// What the process ends with. Part of the command's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// 0: it is done.
    Done,
    /// 1: Kafka, the registry or a file failed.
    Failed,
    /// 2: the arguments or settings are wrong.
    Usage,
    /// 3: there is no such topic or record.
    Missing,
    /// 4: a job ended before its end: at its limit, by a signal, or because a record came back.
    Early,
    /// 5: `doctor` has found something.
    Ill,
}

impl Ended {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Missing => 3,
            Self::Early => 4,
            Self::Ill => 5,
        }
    }
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        Self::from(ended.code())
    }
}

/// Runs the command with the arguments of the process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // To a pipe that is closed: nobody is there to be told.
            let _ = error.print();
            return if error.use_stderr() { Ended::Usage.into() } else { Ended::Done.into() };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::tell(&format!("no runtime: {error}"));
            return Ended::Failed.into();
        }
    };
    let ended = match runtime.block_on(run(arguments)) {
        Ok(ended) => ended,
        Err(error) => {
            output::tell(&shown::chain(&error));
            match error.kind() {
                ErrorKind::Config | ErrorKind::Expression => Ended::Usage,
                ErrorKind::UnknownTopic => Ended::Missing,
                ErrorKind::Kafka
                | ErrorKind::Registry
                | ErrorKind::Import
                | ErrorKind::NotWaiting
                | ErrorKind::Unsupported => Ended::Failed,
            }
        }
    };
    // Native clients may still be closing; nobody waits for them.
    runtime.shutdown_background();
    ended.into()
}

async fn run(arguments: Arguments) -> Result<Ended, Error> {
    let Arguments { connection, json, verb } = arguments;
    let output = Output::new(json);
    match verb {
        Verb::Completions { shell } => {
            // Not to the standard output itself: a reader that has gone would be a panic.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "kafka-dlq", &mut script);
            output::write(&script);
            return Ok(Ended::Done);
        }
        Verb::Man { ref verb } => return manual(verb.as_deref()),
        _ => (),
    }
    let settings = Settings::read(&connection)?;
    match verb {
        Verb::Ls { topics } => topics::ls(&settings, &output, topics).await,
        Verb::Stats { topic, by, which } => look::stats(&settings, &output, &topic, by, &which).await,
        Verb::Peek { topic, last, count, which, view } => {
            look::peek(&settings, &output, &topic, last, count, &which, &view).await
        }
        Verb::Show { place, view } => explain::show(&settings, &output, &place, &view).await,
        Verb::Explain { place, view } => explain::explain(&settings, &output, &place, &view).await,
        Verb::Redrive(redrive) => send::redrive(&settings, &output, *redrive).await,
        Verb::Discard { topic, why, execute, which } => {
            send::discard(&settings, &output, &topic, why, execute, &which).await
        }
        Verb::Export { topic, file, which } => lines::export(&settings, &output, &topic, file.as_deref(), &which).await,
        Verb::Import { file, to, keep_partition, execute } => {
            import::import(&settings, &output, &import::Asked { file, to, keep_partition, execute }).await
        }
        Verb::Watch { topic, which, view } => watch::watch(&settings, &output, &topic, &which, &view).await,
        Verb::Doctor { topic } => doctor::doctor(&settings, &output, topic.as_deref()).await,
        Verb::Completions { .. } | Verb::Man { .. } => Ok(Ended::Done),
    }
}

/// The manual page of the command, or of one of its verbs.
fn manual(verb: Option<&str>) -> Result<Ended, Error> {
    let mut command = Arguments::command();
    command.build();
    let command = match verb {
        None => command,
        Some(verb) => {
            let found = command.find_subcommand(verb).cloned();
            found.ok_or_else(|| Error::config(format!("man {verb}: there is no such verb")))?
        }
    };
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|error| Error::config("the manual page cannot be made").with_source(error))?;
    output::write(&page);
    Ok(Ended::Done)
}
