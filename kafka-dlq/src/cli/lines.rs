//! `export`, and the lines that `import` reads: records as JSON that lose nothing.
//!
//! ```json
//! {"topic":"orders.dlq","partition":0,"offset":42,"timestamp_ms":1700000000000,"key":"o-1","value":{"base64":"/w=="},
//!  "headers":[["tag","a"],["tag",null]]}
//! ```
//!
//! Bytes that are UTF-8 are a string, others an object with `base64`, null is null.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kafka_client::Headers;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::arguments::Which;
use super::output::{Output, tell};
use super::settings::Settings;
use super::stored::Stored;
use super::{Ended, look};
use crate::error::{Error, ErrorKind};

fn bytes(of: Option<&[u8]>) -> Value {
    match of.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => text.into(),
        Some((bytes, Err(_))) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// A record as a line.
fn line(stored: &Stored) -> String {
    let header = |header: kafka_client::Header<'_>| json!([bytes(Some(header.name_bytes())), bytes(header.value())]);
    json!({
        "topic": stored.topic,
        "partition": stored.partition,
        "offset": stored.offset,
        "timestamp_ms": stored.timestamp_ms,
        "key": bytes(stored.key.as_deref()),
        "value": bytes(stored.value.as_deref()),
        "headers": stored.headers.iter().map(header).collect::<Vec<_>>(),
    })
    .to_string()
}

/// A line as a record; the error names the field.
pub(super) fn parse(line: &str) -> Result<Stored, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("is no JSON: {error}"))?;
    let object = value.as_object().ok_or("is no object")?;
    let optional = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(number) => number.as_i64().map(Some).ok_or(format!("{name}: is no number")),
    };
    let field = |name: &str| -> Result<Option<Vec<u8>>, String> {
        let value = object.get(name).ok_or(format!("{name}: is missing"))?;
        read_bytes(value).map_err(|what| format!("{name}: {what}"))
    };
    let mut headers = Headers::new();
    let list = object.get("headers").and_then(Value::as_array).ok_or("headers: is no list")?;
    for (at, header) in list.iter().enumerate() {
        let wrong = |what: &str| format!("headers[{at}]: {what}");
        let [name, value] = header.as_array().map_or(&[][..], Vec::as_slice) else {
            return Err(wrong("is no pair of name and value"));
        };
        let name = read_bytes(name).map_err(&wrong)?.ok_or_else(|| wrong("the name is null"))?;
        match read_bytes(value).map_err(&wrong)? {
            Some(value) => headers.push(name, value),
            None => headers.push_null(name),
        }
    }
    let partition = optional("partition")?.unwrap_or(-1);
    Ok(Stored {
        topic: object.get("topic").and_then(Value::as_str).ok_or("topic: is no text")?.to_owned(),
        partition: i32::try_from(partition).map_err(|_| "partition: is out of range")?,
        offset: optional("offset")?.unwrap_or(-1),
        timestamp_ms: optional("timestamp_ms")?,
        key: field("key")?,
        value: field("value")?,
        headers,
    })
}

fn read_bytes(value: &Value) -> Result<Option<Vec<u8>>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone().into_bytes())),
        Value::Object(object) if object.len() == 1 => {
            let text = object.get("base64").and_then(Value::as_str).ok_or("is no base64")?;
            STANDARD.decode(text).map(Some).map_err(|_| "is no base64")
        }
        _ => Err("is neither null, nor text, nor base64"),
    }
}

pub(super) async fn export(
    settings: &Settings,
    output: &Output,
    topic: &str,
    file: Option<&Path>,
    which: &Which,
) -> Result<Ended, Error> {
    let failed =
        |error: std::io::Error| Error::new(ErrorKind::Import, "the export cannot be written").with_source(error);
    let out: Box<dyn Write + Send> = match file {
        Some(path) => Box::new(File::create(path).map_err(failed)?),
        None => Box::new(stdout()),
    };
    let out = Arc::new(Mutex::new((BufWriter::new(out), None, 0_u64)));
    let writing = out.clone();
    look::letters(settings, output, topic, which, move |letter| {
        let (out, failure, count) = &mut *writing.lock();
        *count += 1;
        match writeln!(out, "{}", line(&Stored::of(letter))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                *failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })
    .await?;
    let (out, failure, count) = &mut *out.lock();
    match failure.take().map_or_else(|| out.flush(), Err) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Ended::Done),
        Err(error) => Err(failed(error)),
        Ok(()) => {
            match output.is_json() && file.is_some() {
                // What was written is the answer, where the file is not.
                true => output.one("", &json!({ "records": *count })),
                false => tell(&format!("{count} records")),
            }
            Ok(Ended::Done)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_record_comes_back_bit_for_bit(
            key in option::of(vec(any::<u8>(), 0..40)),
            value in option::of(prop_oneof![vec(any::<u8>(), 0..40), ".*".prop_map(String::into_bytes)]),
            headers in vec((vec(any::<u8>(), 0..10), option::of(vec(any::<u8>(), 0..10))), 0..6),
            partition in 0..i32::MAX,
            offset in 0..i64::MAX,
            timestamp_ms in option::of(any::<i64>()),
        ) {
            let mut stored = Stored { topic: "orders.dlq".into(), partition, offset, timestamp_ms, key, value, ..Stored::default() };
            for (name, value) in &headers {
                match value {
                    Some(value) => stored.headers.push(name, value),
                    None => stored.headers.push_null(name),
                }
            }
            let line = line(&stored);
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(parse(&line).unwrap(), stored);
        }
    }

    #[test]
    fn a_line_that_is_wrong_names_its_field() {
        let wrong = |line: &str| parse(line).unwrap_err();
        assert!(wrong("{").starts_with("is no JSON"));
        assert_eq!(wrong("[]"), "is no object");
        assert_eq!(wrong(r#"{"headers":[],"topic":"t"}"#), "key: is missing");
        assert_eq!(
            wrong(r#"{"headers":[["a"]],"topic":"t","key":null,"value":null}"#),
            "headers[0]: is no pair of name and value"
        );
        let base64 = r#"{"headers":[],"topic":"t","key":{"base64":"!"},"value":null}"#;
        assert_eq!(wrong(base64), "key: is no base64");
        assert_eq!(
            wrong(r#"{"headers":[],"topic":"t","key":5,"value":null}"#),
            "key: is neither null, nor text, nor base64"
        );
    }
}
