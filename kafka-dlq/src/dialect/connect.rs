//! Kafka Connect: the headers of a sink connector's dead-letter queue.

use kafka_client::Headers;

use crate::failure::Failure;

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[
        ("__connect.errors.topic", Field::Topic),
        ("__connect.errors.partition", Field::Partition),
        ("__connect.errors.offset", Field::Offset),
        ("__connect.errors.connector.name", Field::Group),
        ("__connect.errors.stage", Field::Reason),
        ("__connect.errors.exception.class.name", Field::Class),
        ("__connect.errors.exception.message", Field::Message),
        ("__connect.errors.exception.stacktrace", Field::Trace),
    ],
};

/// What the group of a sink connector begins with; the connector's name is the rest.
pub(crate) const GROUP: &str = "connect-";

/// Writes `failure` as a Connect sink with `errors.deadletterqueue.context.headers.enable=true` does: text, appended at
/// every hop.
///
/// A group that is not a connector's has no header there, nor have attempts and times. The reason stands as the stage.
pub fn write(failure: &Failure<'_>, headers: &mut Headers) {
    headers.push("__connect.errors.topic", failure.topic);
    headers.push("__connect.errors.partition", failure.partition.to_string());
    headers.push("__connect.errors.offset", failure.offset.to_string());
    if let Some(connector) = failure.group.and_then(|group| group.strip_prefix(GROUP)) {
        headers.push("__connect.errors.connector.name", connector);
    }
    if let Some(stage) = failure.reason {
        headers.push("__connect.errors.stage", stage);
    }
    // Connect writes these three always, as null where there is nothing to say.
    let exception = [("class.name", failure.class), ("message", failure.message), ("stacktrace", failure.trace)];
    for (name, text) in exception {
        let name = format!("__connect.errors.exception.{name}");
        match text {
            Some(text) => headers.push(name, text),
            None => headers.push_null(name),
        }
    }
}
