//! Watermill's poison queue: `*_poisoned`, text, among the application's headers in random order; a later hop overwrites
//! them. No partition, offset, time, attempts or class. The key is lost, unless its marshaler derives one; duplicate
//! headers collapse and null ones become empty.

use super::shape::{Field, Numbers, Order, Shape};

pub(crate) const SHAPE: Shape = Shape {
    order: Order::OldestFirst,
    numbers: Numbers::Text,
    names: &[
        ("reason_poisoned", Field::Message),
        ("topic_poisoned", Field::Topic),
        ("handler_poisoned", Field::Other),
        ("subscriber_poisoned", Field::Other),
    ],
};

pub(crate) fn owns(name: &[u8], value: Option<&[u8]>) -> bool {
    match name {
        // Added empty where the source had none; one with a value is the source's.
        b"_watermill_message_uuid" => value.is_none_or(<[u8]>::is_empty),
        _ => SHAPE.field(name).is_some(),
    }
}
