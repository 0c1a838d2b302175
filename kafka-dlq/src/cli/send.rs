//! `redrive`.

use std::sync::Arc;

use serde_json::json;

use super::arguments::{Redrive as Asked, Which};
use super::output::{self, Output, strong};
use super::settings::Settings;
use super::{Ended, shown};
use crate::error::Error;
use crate::redrive::{End, Redrive, Target};

pub(super) async fn redrive(settings: &Settings, output: &Output, asked: Asked) -> Result<Ended, Error> {
    let mut redrive = Redrive::new(&settings.kafka, &asked.topic)
        .select(asked.which.selection()?)
        .keep_partition(asked.keep_partition)
        .keep_timestamp(asked.keep_timestamp)
        .keep_headers(asked.keep_headers)
        .mark(!asked.no_mark)
        .accept_damage(asked.accept_damage)
        .duplicates(asked.duplicates)
        .stop_on_repeat(asked.stop_on_repeat)
        .loop_cap(asked.loop_cap);
    redrive = match asked.to.as_deref() {
        None => redrive,
        Some("last-hop") => redrive.to(Target::LastHop),
        Some(topic) => redrive.to(Target::Topic(topic.to_owned())),
    };
    if let Some(rate) = asked.rate {
        redrive = redrive.rate(rate);
    }
    if let Some(limit) = asked.limit {
        redrive = redrive.limit(limit);
    }
    if let Some(topic) = asked.parking_lot {
        redrive = redrive.parking_lot(topic);
    }
    if let Some(job) = asked.job {
        redrive = redrive.job(job);
    }
    if let Some(topic) = asked.audit {
        redrive = redrive.audit(topic, user());
    }
    if let Some(expression) = &asked.transform {
        redrive = redrive.transform_jq(expression)?;
    }
    if let Some(expression) = &asked.transform_text {
        redrive = redrive.transform_text_jq(expression)?;
    }
    if let Some(registry) = &settings.registry {
        redrive = redrive.registry(registry).validate(!asked.no_validate);
    }
    run(output, redrive, asked.execute).await
}

fn user() -> String {
    ["USER", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}

pub(super) async fn discard(
    settings: &Settings,
    output: &Output,
    topic: &str,
    why: String,
    execute: bool,
    which: &Which,
) -> Result<Ended, Error> {
    let redrive = Redrive::new(&settings.kafka, topic).select(which.selection()?).discarding(user(), why);
    run(output, redrive, execute).await
}

/// Runs a job, or tells what it would do.
async fn run(output: &Output, mut redrive: Redrive, execute: bool) -> Result<Ended, Error> {
    let report = match execute {
        false => redrive.dry_run().await?,
        true => {
            let bar = output.bar().map(Arc::new);
            if let Some(bar) = bar.clone() {
                redrive = redrive.on_progress(move |at| bar.at(at.read, at.of, &format!(", {} sent", at.sent)));
            }
            let report = redrive.run_until(interrupted()).await;
            if let Some(bar) = bar {
                bar.end();
            }
            report?
        }
    };
    let mut text = shown::lines(&report.to_string());
    if report.is_dry_run() {
        text.push_str(&strong("nothing was sent: this was a dry run; say --execute to do it"));
        text.push('\n');
    }
    let json = json!({
        "job": report.job(),
        "group": redrive.group(),
        "source": report.source(),
        "dry_run": report.is_dry_run(),
        "read": report.read(),
        "sent": report.sent(),
        "bytes": report.sent_bytes(),
        "parked": report.parked(),
        "targets": report.targets(),
        "left": report.left(),
        "dealt_with_before": report.dealt_with_before(),
        "elapsed_ms": report.elapsed().as_millis() as u64,
        "end": match report.end() {
            End::Done => "done".to_owned(),
            End::Limit => "limit".to_owned(),
            End::Stopped => "stopped".to_owned(),
            End::Repeated(place) => format!("repeated at {place}"),
        },
    });
    output.one(&text, &json);
    Ok(if *report.end() == End::Done || report.is_dry_run() { Ended::Done } else { Ended::Early })
}

/// Ctrl-C, or the signal that a supervisor sends. What is begun is finished then; at once more of them it is not: whoever
/// runs the command again undoes it, and goes on.
pub(super) async fn interrupted() {
    signalled().await;
    output::tell("stopping: what has begun is finished first (once more to end at once)");
    tokio::spawn(async {
        signalled().await;
        output::tell("ended at once; the same command goes on");
        // Nothing is lost with the destructors: what is not committed does not count.
        std::process::exit(Ended::Early.code().into());
    });
}

pub(super) async fn signalled() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = interrupt => (),
                    _ = terminate.recv() => (),
                }
            }
            Err(_) => drop(interrupt.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupt.await);
}
