//! Kafka Streams: `__streams.errors.*`, all text, appended at every hop. The class is the application's, without wrapper.
//!
//! A punctuator has neither record nor topic: null, with partition and offset -1. Behind a repartition the topic is the
//! internal one. The application id, and so the group, is not recorded.

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[
        ("__streams.errors.exception", Field::Class),
        ("__streams.errors.message", Field::Message),
        ("__streams.errors.stacktrace", Field::Trace),
        ("__streams.errors.topic", Field::Topic),
        ("__streams.errors.partition", Field::Partition),
        ("__streams.errors.offset", Field::Offset),
    ],
};
