//! `watch`: dead letters as they come.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::arguments::{View, Which};
use super::decode::Decoder;
use super::output::{Output, tell};
use super::send::signalled;
use super::settings::Settings;
use super::stored::Stored;
use super::{Ended, explain, shown, time};
use crate::error::Error;
use crate::reader::{self, Span};

/// How often it is looked whether there are more.
const LOOK: Duration = Duration::from_secs(1);
/// How many of those that came since the last look are shown; the others are counted.
const MOST: usize = 1_000;

pub(super) async fn watch(
    settings: &Settings,
    output: &Output,
    topic: &str,
    which: &Which,
    view: &View,
) -> Result<Ended, Error> {
    let decoder = Decoder::new(settings, view);
    let selection = which.selection()?;
    let now = reader::spans(&settings.kafka, topic).await?;
    let mut seen: HashMap<i32, i64> = now.iter().map(|span| (span.partition, span.to)).collect();
    let mut interrupted = std::pin::pin!(signalled());
    loop {
        tokio::select! {
            () = &mut interrupted => return Ok(Ended::Done),
            () = tokio::time::sleep(LOOK) => (),
        }
        let now = reader::spans(&settings.kafka, topic).await?;
        // A partition that is new is seen from its beginning.
        let from = |span: &Span| seen.get(&span.partition).map_or(span.from, |seen| span.from.max(*seen));
        let tails: Vec<Span> = now.iter().map(|span| Span { from: from(span), ..*span }).collect();
        let kept: Arc<Mutex<(VecDeque<Stored>, u64)>> = Arc::default();
        if let Some(values) = decoder.values() {
            reader::warm(&settings.kafka, topic, &tails, &selection, values).await?;
        }
        let (keeping, selection, values) = (kept.clone(), selection.clone(), decoder.values().cloned());
        let each = move |letter: &crate::DeadLetter<'_>| {
            if selection.matches_by(letter, values.as_ref()) {
                let (kept, dropped) = &mut *keeping.lock();
                match kept.len() < MOST {
                    true => kept.push_back(Stored::of(letter)),
                    false => *dropped += 1,
                }
            }
            ControlFlow::Continue(())
        };
        reader::read(&settings.kafka, topic, &tails, each).await?;
        seen.extend(tails.iter().map(|span| (span.partition, span.to)));
        let (kept, dropped) = std::mem::take(&mut *kept.lock());
        for stored in &kept {
            let letter = stored.letter();
            let text = format!(
                "{}  {}  {}  {}",
                time::shown(letter.failed_at_ms().or(stored.timestamp_ms)),
                shown::text(&stored.place()),
                shown::text(&letter.origin().to_string()),
                shown::text(&letter.reason().unwrap_or_default())
            );
            output.line(&text, &explain::document(&decoder, stored).await);
        }
        if output.is_gone() {
            return Ok(Ended::Done);
        }
        if dropped > 0 {
            tell(&format!("{dropped} more came meanwhile"));
        }
    }
}
