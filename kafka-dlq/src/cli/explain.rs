//! `show` and `explain`: one dead letter.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use kafka_client::serde::Part;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::arguments::View;
use super::decode::Decoder;
use super::output::Output;
use super::redact::length;
use super::settings::Settings;
use super::stored::{Stored, place};
use super::{Ended, shown, time};
use crate::dead_letter::{DeadLetter, TopicKind};
use crate::error::Error;
use crate::reader::{self, Span};

/// The record at a place; `None` where there is none.
async fn fetch(settings: &Settings, text: &str) -> Result<Option<Stored>, Error> {
    let (topic, partition, offset) = place(text)?;
    let spans = reader::spans(&settings.kafka, &topic).await?;
    let Some(span) = spans.into_iter().find(|span| span.partition == partition) else { return Ok(None) };
    if !(span.from..span.to).contains(&offset) {
        return Ok(None);
    }
    let found = Arc::new(Mutex::new(None));
    let slot = found.clone();
    let one = Span { partition, from: offset, to: offset + 1 };
    reader::read(&settings.kafka, &topic, &[one], move |letter| {
        *slot.lock() = Some(Stored::of(letter));
        ControlFlow::Break(())
    })
    .await?;
    Ok(found.lock().take())
}

fn missing(text: &str) -> Result<Ended, Error> {
    super::output::tell(&format!("there is no record at {}", shown::text(text)));
    Ok(Ended::Missing)
}

pub(super) async fn show(settings: &Settings, output: &Output, at: &str, view: &View) -> Result<Ended, Error> {
    let decoder = Decoder::new(settings, view);
    let Some(stored) = fetch(settings, at).await? else { return missing(at) };
    let json = document(&decoder, &stored).await;
    let mut text = about(&stored.letter(), view);
    let key = decoder.text(stored.key.as_deref(), &stored.topic, Part::Key).await;
    let value = decoder.text(stored.value.as_deref(), &stored.topic, Part::Value).await;
    let _ = writeln!(text, "key         {key}\nvalue       {value}\nheaders");
    for header in stored.headers.iter() {
        let value = decoder.header(&header.name(), header.value());
        let _ = writeln!(text, "  {} = {value}", shown::text(&header.name()));
    }
    output.one(&text, &json);
    Ok(Ended::Done)
}

/// Text, or hex: numbers of Spring are bytes.
pub(super) fn header_value(value: Option<&[u8]>) -> String {
    match value.map(|value| (value, std::str::from_utf8(value))) {
        Some((value, Ok(text))) if text.chars().any(|letter| letter.is_control() && !"\n\r\t".contains(letter)) => {
            shown::hex(value)
        }
        Some((_, Ok(text))) => shown::text(text),
        Some((value, Err(_))) => shown::hex(value),
        None => "null".to_owned(),
    }
}

/// What is known of it, a line each.
fn about(letter: &DeadLetter<'_>, view: &View) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = writeln!(text, "{name:<11} {}", shown::text(&value));
        }
    };
    let owned = |value: Option<std::borrow::Cow<'_, str>>| value.map(|value| value.into_owned());
    let record = letter.record();
    let here = crate::Place { topic: Some(record.topic), partition: record.partition, offset: record.offset };
    line("record", Some(here.to_string()));
    let dialects: Vec<&str> = letter.dialects().map(|dialect| dialect.name()).collect();
    line(
        "dialect",
        Some(if dialects.is_empty() { "none that is known".to_owned() } else { dialects.join(", behind ") }),
    );
    if !dialects.is_empty() {
        line("origin", Some(letter.origin().to_string()));
        line("last hop", (letter.last_hop() != letter.origin()).then(|| letter.last_hop().to_string()));
    }
    line("group", owned(letter.group()));
    line("reason", owned(letter.reason()));
    line("class", owned(letter.class()));
    line("cause", owned(letter.cause_class()));
    line(
        "message",
        owned(letter.message()).map(|message| if view.redact { length(Some(message.as_bytes())) } else { message }),
    );
    line("attempts", letter.attempts().map(|attempts| attempts.to_string()));
    line("sent back", (letter.redrives() > 0).then(|| format!("{} times", letter.redrives())));
    line("timestamp", Some(time::shown(record.timestamp_ms)));
    line("original", letter.original_timestamp_ms().map(|millis| time::shown(Some(millis))));
    line("failed", letter.failed_at_ms().map(|millis| time::shown(Some(millis))));
    let missing: Vec<String> = letter.missing().iter().map(ToString::to_string).collect();
    line("not told", Some(missing.join(", ")));
    for damage in letter.damage() {
        line("damage", Some(damage.to_string()));
    }
    text
}

pub(super) async fn document(decoder: &Decoder, stored: &Stored) -> Value {
    let letter = stored.letter();
    let (origin, last) = (letter.origin(), letter.last_hop());
    let place =
        |place: crate::Place<'_>| json!({ "topic": place.topic, "partition": place.partition, "offset": place.offset });
    let headers: Vec<Value> = (stored.headers.iter())
        .map(|header| {
            let value = decoder.header(&header.name(), header.value());
            json!([header.name(), header.value().map(|_| value)])
        })
        .collect();
    let key = decoder.json(stored.key.as_deref(), &stored.topic, Part::Key).await;
    let value = decoder.json(stored.value.as_deref(), &stored.topic, Part::Value).await;
    let message = letter.message().map(|message| decoder.message(&message));
    json!({
        "place": stored.place(),
        "topic": stored.topic,
        "partition": stored.partition,
        "offset": stored.offset,
        "timestamp_ms": stored.timestamp_ms,
        "dialects": letter.dialects().map(|dialect| dialect.name()).collect::<Vec<_>>(),
        "origin": place(origin),
        "last_hop": place(last),
        "group": letter.group(),
        "reason": letter.reason(),
        "class": letter.class(),
        "cause_class": letter.cause_class(),
        "message": message,
        "attempts": letter.attempts(),
        "redrives": letter.redrives(),
        "original_timestamp_ms": letter.original_timestamp_ms(),
        "failed_at_ms": letter.failed_at_ms(),
        "missing": letter.missing().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "damage": letter.damage().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "pending": letter.is_pending(),
        "key": key,
        "value": value,
        "headers": headers,
    })
}

pub(super) async fn explain(settings: &Settings, output: &Output, at: &str, view: &View) -> Result<Ended, Error> {
    let Some(stored) = fetch(settings, at).await? else { return missing(at) };
    let letter = stored.letter();
    let mut text = about(&letter, view);
    let mut hops: Vec<Value> = Vec::new();
    let _ = writeln!(text, "\nhistory");
    for (number, (dialect, place)) in letter.hops().iter().enumerate() {
        let kind = place.topic.map(TopicKind::of);
        let _ = writeln!(text, "  {}. failed at {} ({dialect})", number + 1, shown::text(&place.to_string()));
        hops.push(json!({
            "dialect": dialect.name(),
            "place": place.to_string(),
            "retry": kind == Some(TopicKind::Retries),
        }));
    }
    let _ = writeln!(text, "  {}. stands at {}", letter.hops().len() + 1, shown::text(&stored.place()));
    let lives = letter.life() != letter.origin();
    let is_loop = letter.redrives() > 0 || lives;
    let verdict = match (letter.refusal(), letter.way_back()) {
        (Some(refusal), _) => format!("stays: {refusal}"),
        (None, Err(refusal)) => format!("stays, without a target: {refusal}"),
        (None, Ok(place)) => format!("goes to {}", place.topic.unwrap_or("?")),
    };
    let looped = match (letter.redrives(), lives) {
        (0, false) => "no: it was not sent back before".to_owned(),
        (0, true) => "yes: it was sent back with its headers, and failed again".to_owned(),
        (times, _) => format!("yes: it was sent back {times} times, and failed again"),
    };
    let _ = writeln!(text, "a loop      {looped}\nredrive     {}", shown::text(&verdict));
    if letter.is_undecodable() {
        let _ =
            writeln!(text, "note        its bytes could not be decoded: without a --transform they will fail again");
    }
    let trace = letter.trace().map(|trace| match view.redact {
        true => length(Some(trace.as_bytes())),
        false => trace.into_owned(),
    });
    if let Some(trace) = &trace {
        let _ = writeln!(text, "\ntrace\n{}", shown::lines(trace));
    }
    let json = json!({
        "place": stored.place(),
        "hops": hops,
        "origin": letter.origin().to_string(),
        "life": letter.life().to_string(),
        "loop": is_loop,
        "redrives": letter.redrives(),
        "undecodable": letter.is_undecodable(),
        "redrive": verdict,
        "trace": trace,
    });
    output.one(&text, &json);
    Ok(Ended::Done)
}
