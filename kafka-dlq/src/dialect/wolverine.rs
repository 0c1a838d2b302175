//! Wolverine (.NET): `original-*`, text; the destination is an address whose last part is the topic. Read from its
//! documents, not observed.

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[
        ("original-destination", Field::Topic),
        ("original-partition", Field::Partition),
        ("original-offset", Field::Offset),
        ("exception-type", Field::Class),
        ("exception-message", Field::Message),
        ("exception-stack", Field::Trace),
        ("attempts", Field::Attempts),
        ("failed-at", Field::FailedAt),
    ],
};

/// `orders` of `kafka://topic/orders`.
pub(crate) fn topic(destination: &str) -> &str {
    destination.rsplit('/').next().unwrap_or(destination)
}
