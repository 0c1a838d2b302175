//! ruststream: how many deliveries have failed, and nothing else. Its retry copies go to the source topic; duplicate
//! headers collapse and null ones become empty.

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[("x-ruststream-retry-count", Field::Attempts)],
};
