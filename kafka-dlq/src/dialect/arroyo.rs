//! arroyo (Python): partition and offset as text, appended at every hop; no topic and no reason. A null value becomes an
//! empty one.

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[("original_partition", Field::Partition), ("original_offset", Field::Offset)],
};
