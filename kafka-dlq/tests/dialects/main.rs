//! What the frameworks write, byte by byte, and what is read from it. One file a dialect; `rules` are the ten rules that
//! hold for all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod ours;
mod spring;
mod spring_retry;
mod streams;
mod connect;
mod smallrye;
mod watermill;
mod arroyo;
mod ruststream;
mod documented;
mod rules;
mod hostile;

use kafka_client::{Headers, RawRecord};

/// A record with a key and a value that nothing has touched, standing in `topic`.
fn standing_in(topic: &str) -> RawRecord {
    RawRecord::new(topic, Some(b"o-1".to_vec()), Some(b"{\"id\":1}".to_vec()))
}

/// Names and values in order; `None` is null.
type Lines<'a> = &'a [(&'a str, Option<&'a [u8]>)];

fn headers(lines: Lines<'_>) -> Headers {
    let mut headers = Headers::new();
    push(&mut headers, lines);
    headers
}

fn push(headers: &mut Headers, lines: Lines<'_>) {
    for (name, value) in lines {
        match value {
            Some(value) => headers.push(name, value),
            None => headers.push_null(name),
        }
    }
}

fn with(topic: &str, lines: Lines<'_>) -> RawRecord {
    let mut record = standing_in(topic);
    record.headers = headers(lines);
    record
}

/// The application's headers of every test that checks what goes back: a duplicate, a null and an empty one.
const APPLICATION: Lines<'static> = &[
    ("trace-id", Some(b"7")),
    ("tag", Some(b"a")),
    ("tag", Some(b"b")),
    ("empty", Some(b"")),
    ("null", None),
    ("kafka_correlationId", Some(&[0, 159, 146, 150])),
];
