//! Going past what is not wanted.

use super::{branch, bytes};
use crate::avro::fault::Fault;
use crate::avro::input::{DEEPEST, Input};
use crate::avro::plan::{Act, Items, Move, Number, Plan, Step};

/// Goes past a value.
pub(crate) fn skip(plan: &Plan, step: &Step, input: &mut Input<'_>, deeper: usize) -> Result<(), Fault> {
    match &step.act {
        Act::Null => Ok(()),
        Act::Boolean => input.boolean().map(|_| ()),
        Act::Int => input.int().map(|_| ()),
        Act::Long | Act::Float(Number::Varint) | Act::Double(Number::Varint) => input.long().map(|_| ()),
        Act::Float(_) | Act::Double(Number::Single) => input.take(4).map(|_| ()),
        Act::Double(Number::Double) => input.take(8).map(|_| ()),
        Act::Bytes { whole } | Act::String { whole } => bytes(*whole, input).map(|_| ()),
        Act::Array(items) => skip_blocks(plan, *items, false, input, deeper),
        Act::Map(items) => skip_blocks(plan, *items, true, input, deeper),
        Act::Union(branches) => {
            let step = branch(branches, input)?;
            skip(plan, plan.step(step), input, deeper)
        }
        Act::Record(record) => {
            let deeper = one_deeper(deeper)?;
            for Move::Read(step) | Move::Skip(step) in &record.moves {
                skip(plan, plan.step(*step), input, deeper)?;
            }
            Ok(())
        }
        Act::Enum(symbols) => input.index(symbols.len(), "symbol").map(|_| ()),
        Act::Fixed(size) | Act::Decimal { size: Some(size), .. } => input.take(*size).map(|_| ()),
        Act::Decimal { size: None, .. } => input.bytes().map(|_| ()),
        Act::UuidFixed => input.take(16).map(|_| ()),
        Act::Duration => input.take(12).map(|_| ()),
        Act::Unreadable(why) => Err(Fault::new(&**why)),
    }
}

fn skip_blocks(plan: &Plan, items: Items, keys: bool, input: &mut Input<'_>, deeper: usize) -> Result<(), Fault> {
    let deeper = one_deeper(deeper)?;
    loop {
        match input.block(items.least)? {
            0 => return Ok(()),
            count => {
                for _ in 0..count {
                    if keys {
                        input.bytes()?;
                    }
                    skip(plan, plan.step(items.step), input, deeper)?;
                }
            }
        }
    }
}

#[inline]
pub(crate) fn one_deeper(deeper: usize) -> Result<usize, Fault> {
    deeper.checked_sub(1).ok_or_else(|| Fault::new(format!("the value is nested deeper than {DEEPEST} levels")))
}
