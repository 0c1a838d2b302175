//! What is shown, and asked, as JSON. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{RunningHandler, TopicPartition};
use serde_json::{Map, Value, json};

use super::{PartitionView, Steer, Waiting};
use crate::error::Error;

/// Partitions, as an array.
pub(super) fn partitions(views: &[PartitionView]) -> Value {
    views.iter().map(partition).collect()
}

fn partition(view: &PartitionView) -> Value {
    json!({
        "topic": view.partition.topic(),
        "partition": view.partition.partition(),
        "head": view.head,
        "committed": view.committed,
        "position": view.position,
        "in_flight": view.in_flight,
        "exposure": view.exposure,
        "paused": view.paused,
        "running": view.running.iter().map(running).collect::<Value>(),
        "blocked_keys": view.blocked_keys,
        "pending": view.pending,
        "next_due_ms": view.next_due.map(millis),
        "waiting": view.waiting.iter().map(waiting).collect::<Value>(),
    })
}

fn running(one: &RunningHandler) -> Value {
    json!({ "offset": one.offset, "key": text(one.key.as_deref()), "running_for_ms": whole(one.running_for) })
}

fn waiting(record: &Waiting) -> Value {
    let origin = record.origin.as_ref().map(|(topic, offset)| json!({ "topic": topic, "offset": offset }));
    json!({
        "offset": record.offset,
        "key": text(record.key.as_deref()),
        "attempts": record.attempts,
        "due_ms": record.due.map(millis),
        "parked": record.due.is_none(),
        "behind": record.behind,
        "origin": origin,
    })
}

/// For people to read: what is no text is replaced.
fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn millis(time: SystemTime) -> u64 {
    whole(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn whole(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What somebody asks to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    pub(super) steer: Steer,
}

impl Order {
    /// Reads `{"action": .., "topic": .., "partition": .., "offset": ..}`.
    ///
    /// # Errors
    /// What is wrong; the text begins with the name of the field.
    pub(super) fn read(body: &[u8]) -> Result<Self, Error> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| Error::config(format!("body: no JSON: {error}")))?;
        let Value::Object(fields) = value else { return Err(Error::config("body: no JSON object")) };
        const KNOWN: [&str; 4] = ["action", "topic", "partition", "offset"];
        if let Some(unknown) = fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Error::config(format!("{unknown}: unknown; there are {}", KNOWN.join(", "))));
        }
        let steer = string(&fields, "action")?.parse()?;
        let topic = string(&fields, "topic")?;
        let partition = number(&fields, "partition")?;
        let partition =
            i32::try_from(partition).map_err(|_| Error::config(format!("partition: {partition} is too large")))?;
        Ok(Self { partition: TopicPartition::new(topic, partition), offset: number(&fields, "offset")?, steer })
    }
}

fn field<'f>(fields: &'f Map<String, Value>, name: &str) -> Result<&'f Value, Error> {
    fields.get(name).ok_or_else(|| Error::config(format!("{name}: missing")))
}

fn string<'f>(fields: &'f Map<String, Value>, name: &str) -> Result<&'f str, Error> {
    field(fields, name)?.as_str().ok_or_else(|| Error::config(format!("{name}: must be a string")))
}

fn number(fields: &Map<String, Value>, name: &str) -> Result<i64, Error> {
    let number = field(fields, name)?.as_i64().filter(|number| *number >= 0);
    number.ok_or_else(|| Error::config(format!("{name}: must be a whole number, 0 or more")))
}

/// The number of records to show, from the query of a URL.
///
/// # Errors
/// What is wrong; the text begins with the name of the parameter.
pub(super) fn limit(query: &str, default: usize, most: usize) -> Result<usize, Error> {
    let mut limit = default;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "waiting" {
            return Err(Error::config(format!("{name}: unknown; there is `waiting`")));
        }
        let number = value.parse().ok().filter(|number| *number <= most);
        limit = number.ok_or_else(|| Error::config(format!("waiting: must be a whole number, {most} at most")))?;
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_and_a_wrong_one_is_refused_by_the_name_of_its_field() {
        let order = Order::read(br#"{"action":"park","topic":"orders","partition":3,"offset":42}"#).unwrap();
        assert_eq!(order, Order { partition: TopicPartition::new("orders", 3), offset: 42, steer: Steer::Park });
        for (body, field) in [
            (&br#""#[..], "body: no JSON"),
            (b"[]", "body: no JSON object"),
            (b"\xff", "body: no JSON"),
            (br#"{}"#, "action: missing"),
            (br#"{"action":1}"#, "action: must be a string"),
            (br#"{"action":"drop","topic":"a","partition":0,"offset":0}"#, "action: `drop` is none of"),
            (br#"{"action":"skip","partition":0,"offset":0}"#, "topic: missing"),
            (br#"{"action":"skip","topic":"a","partition":"0","offset":0}"#, "partition: must be a whole number"),
            (
                br#"{"action":"skip","topic":"a","partition":4294967296,"offset":0}"#,
                "partition: 4294967296 is too large",
            ),
            (br#"{"action":"skip","topic":"a","partition":0,"offset":-1}"#, "offset: must be a whole number"),
            (br#"{"action":"skip","topic":"a","partition":0,"offset":1.5}"#, "offset: must be a whole number"),
            (br#"{"action":"skip","topic":"a","partition":0,"offset":1,"key":"x"}"#, "key: unknown"),
        ] {
            let error = Order::read(body).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }

    #[test]
    fn a_limit_is_a_number_up_to_the_most() {
        assert_eq!(
            (limit("", 7, 9).unwrap(), limit("waiting=9", 7, 9).unwrap(), limit("waiting=0", 7, 9).unwrap()),
            (7, 9, 0)
        );
        for (query, field) in
            [("waiting=10", "waiting:"), ("waiting=x", "waiting:"), ("waiting", "waiting:"), ("all=1", "all:")]
        {
            assert!(limit(query, 7, 9).unwrap_err().to_string().starts_with(field));
        }
    }
}
