//! Silverback (.NET): `x-source-*`, text; many a home-grown dead letter uses the same names. Read from its documents, not
//! observed.

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[
        ("x-source-topic", Field::Topic),
        ("x-source-partition", Field::Partition),
        ("x-source-offset", Field::Offset),
        ("x-source-timestamp", Field::Timestamp),
        ("x-source-consumer-group-id", Field::Group),
        ("x-failure-reason", Field::Message),
        ("x-failed-attempts", Field::Attempts),
    ],
};
