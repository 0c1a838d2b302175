//! Karafka (Ruby): `original_*`, and `source_*` of other versions, text. Read from its documents, not observed.

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[
        ("original_topic", Field::Topic),
        ("original_partition", Field::Partition),
        ("original_offset", Field::Offset),
        ("original_consumer_group", Field::Group),
        ("source_topic", Field::Topic),
        ("source_partition", Field::Partition),
        ("source_offset", Field::Offset),
        ("source_consumer_group", Field::Group),
        ("source_attempts", Field::Attempts),
        ("source_trace_id", Field::Other),
    ],
};
