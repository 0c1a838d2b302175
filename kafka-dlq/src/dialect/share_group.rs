//! Kafka's share groups: `__dlq.errors.*`, written by the broker. Read from KIP-1191, not observed.

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[
        ("__dlq.errors.topic", Field::Topic),
        ("__dlq.errors.partition", Field::Partition),
        ("__dlq.errors.offset", Field::Offset),
        ("__dlq.errors.group", Field::Group),
        ("__dlq.errors.message", Field::Message),
        ("__dlq.errors.delivery.count", Field::Attempts),
    ],
};
