//! From the bytes of a datum into any serde type.

mod blocks;
mod fields;
mod skip;
mod variant;

use std::sync::atomic::Ordering;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use self::blocks::Blocks;
use self::fields::Fields;
pub(crate) use self::skip::{one_deeper, skip};
use self::variant::Variant;
use super::decimal;
use super::fault::Fault;
use super::input::{DEEPEST, Input};
use super::model::names;
use super::plan::{Act, Items, Number, Plan, RecordPlan, Step, StepId};

/// What is the same for all values of a datum.
pub(crate) struct Walk<'de> {
    plan: &'de Plan,
    pub(crate) input: Input<'de>,
    /// Containers within containers that may still come.
    deeper: usize,
    mode: Mode,
}

impl<'de> Walk<'de> {
    pub(crate) fn new(plan: &'de Plan, data: &'de [u8], mode: Mode) -> Self {
        Self { plan, input: Input::new(data), deeper: DEEPEST, mode }
    }

    /// The value at the root.
    pub(crate) fn root(&mut self) -> De<'_, 'de> {
        De { step: self.plan.step(self.plan.root), walk: self }
    }

    #[inline]
    fn descend(&mut self) -> Result<(), Fault> {
        self.deeper = one_deeper(self.deeper)?;
        Ok(())
    }

    fn skip(&mut self, step: StepId) -> Result<(), Fault> {
        skip(self.plan, self.plan.step(step), &mut self.input, self.deeper)
    }
}

/// One value that comes next: two words, since it is handed through every function of serde.
pub(crate) struct De<'a, 'de> {
    step: &'de Step,
    walk: &'a mut Walk<'de>,
}

/// How a record comes to a struct.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As a sequence where the struct has the same fields in the same order, which saves looking for their names.
    Positions,
    /// By name, always: some hand-written types read nothing else.
    Names,
}

impl<'a, 'de> De<'a, 'de> {
    fn at(self, step: StepId) -> Self {
        Self { step: self.walk.plan.step(step), ..self }
    }

    /// The value inside a union.
    #[inline]
    fn inside(self) -> Result<Self, Fault> {
        match &self.step.act {
            Act::Union(branches) => {
                let step = branch(branches, &mut self.walk.input)?;
                Ok(self.at(step))
            }
            _ => Ok(self),
        }
    }

    #[inline]
    fn seq<V: Visitor<'de>>(self, items: Items, visitor: V) -> Result<V::Value, Fault> {
        let mut access = Blocks::new(self, items)?;
        let value = visitor.visit_seq(&mut access)?;
        access.finish()?;
        Ok(value)
    }

    fn map<V: Visitor<'de>>(self, items: Items, visitor: V) -> Result<V::Value, Fault> {
        let mut access = Blocks::new(self, items)?;
        let value = visitor.visit_map(&mut access)?;
        access.finish()?;
        Ok(value)
    }

    #[inline]
    fn record<V: Visitor<'de>>(self, record: &'de RecordPlan, positions: bool, visitor: V) -> Result<V::Value, Fault> {
        let mut access = Fields::new(self, record)?;
        let value = if positions { visitor.visit_seq(&mut access)? } else { visitor.visit_map(&mut access)? };
        access.finish()?;
        Ok(value)
    }

    fn decimal(self, size: Option<usize>) -> Result<&'de [u8], Fault> {
        match size {
            Some(size) => self.walk.input.take(size),
            None => self.walk.input.bytes(),
        }
    }
}

/// The step of the branch that comes next.
#[inline]
pub(crate) fn branch(branches: &[Result<StepId, std::sync::Arc<str>>], input: &mut Input<'_>) -> Result<StepId, Fault> {
    let index = input.index(branches.len(), "branch")?;
    branches[index].as_ref().copied().map_err(|why| Fault::new(&**why))
}

pub(crate) fn symbol<'p>(
    symbols: &'p [Result<std::sync::Arc<str>, std::sync::Arc<str>>],
    input: &mut Input<'_>,
) -> Result<&'p str, Fault> {
    let index = input.index(symbols.len(), "symbol")?;
    symbols[index].as_deref().map_err(|why| Fault::new(&**why))
}

pub(crate) fn float(number: Number, input: &mut Input<'_>) -> Result<f32, Fault> {
    Ok(match number {
        Number::Varint => input.long()? as f32,
        Number::Single | Number::Double => f32::from_le_bytes(input.array()?),
    })
}

pub(crate) fn double(number: Number, input: &mut Input<'_>) -> Result<f64, Fault> {
    Ok(match number {
        Number::Varint => input.long()? as f64,
        Number::Single => f64::from(f32::from_le_bytes(input.array()?)),
        Number::Double => f64::from_le_bytes(input.array()?),
    })
}

#[inline]
pub(crate) fn bytes<'de>(whole: bool, input: &mut Input<'de>) -> Result<&'de [u8], Fault> {
    if whole { Ok(input.all()) } else { input.bytes() }
}

#[inline]
pub(crate) fn text<'de>(whole: bool, input: &mut Input<'de>) -> Result<&'de str, Fault> {
    match str::from_utf8(bytes(whole, input)?) {
        Ok(text) => Ok(text),
        Err(error) => Err(not_text(error)),
    }
}

#[cold]
fn not_text(error: std::str::Utf8Error) -> Fault {
    Fault::new(format!("not UTF-8 at byte {}", error.valid_up_to()))
}

impl<'de> Deserializer<'de> for De<'_, 'de> {
    type Error = Fault;

    // Out of line: what a type asks for by name is looked for first, below.
    #[inline(never)]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.step.act {
            Act::Null => visitor.visit_unit(),
            Act::Boolean => visitor.visit_bool(self.walk.input.boolean()?),
            Act::Int => visitor.visit_i32(self.walk.input.int()?),
            Act::Long => visitor.visit_i64(self.walk.input.long()?),
            Act::Float(number) => visitor.visit_f32(float(*number, &mut self.walk.input)?),
            Act::Double(number) => visitor.visit_f64(double(*number, &mut self.walk.input)?),
            Act::Bytes { whole } => visitor.visit_borrowed_bytes(bytes(*whole, &mut self.walk.input)?),
            Act::String { whole } => visitor.visit_borrowed_str(text(*whole, &mut self.walk.input)?),
            Act::Array(items) => {
                let items = *items;
                self.seq(items, visitor)
            }
            Act::Map(items) => {
                let items = *items;
                self.map(items, visitor)
            }
            Act::Union(_) => self.inside()?.deserialize_any(visitor),
            Act::Record(record) => self.record(record, false, visitor),
            Act::Enum(symbols) => visitor.visit_borrowed_str(symbol(symbols, &mut self.walk.input)?),
            Act::Fixed(size) => visitor.visit_borrowed_bytes(self.walk.input.take(*size)?),
            Act::Decimal { size, scale } => visitor.visit_string(decimal::to_text(self.decimal(*size)?, *scale)?),
            Act::UuidFixed => {
                let id = uuid::Uuid::from_bytes(self.walk.input.array()?);
                visitor.visit_str(id.hyphenated().encode_lower(&mut [0; 36]))
            }
            Act::Duration => {
                let parts = duration(self.walk.input.array()?);
                let names = ["months", "days", "milliseconds"];
                visitor.visit_map(serde::de::value::MapDeserializer::new(names.into_iter().zip(parts)))
            }
            Act::Unreadable(why) => Err(Fault::new(&**why)),
        }
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.step.act {
            Act::Boolean => visitor.visit_bool(self.walk.input.boolean()?),
            _ => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.step.act {
            Act::Int => visitor.visit_i32(self.walk.input.int()?),
            _ => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.step.act {
            Act::Long => visitor.visit_i64(self.walk.input.long()?),
            _ => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.step.act {
            Act::String { whole: false } => visitor.visit_borrowed_str(text(false, &mut self.walk.input)?),
            _ => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match inside.step.act {
            Act::Null => visitor.visit_none(),
            _ => visitor.visit_some(inside),
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match &inside.step.act {
            Act::Record(record) => {
                let positions = inside.walk.mode == Mode::Positions && fits(record, fields);
                inside.record(record, positions, visitor)
            }
            _ => inside.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match &inside.step.act {
            Act::Array(items) => {
                let items = *items;
                inside.seq(items, visitor)
            }
            Act::Bytes { whole } => octets(bytes(*whole, &mut inside.walk.input)?, visitor),
            Act::Fixed(size) => octets(inside.walk.input.take(*size)?, visitor),
            Act::Decimal { size, .. } => {
                let size = *size;
                octets(inside.decimal(size)?, visitor)
            }
            Act::Duration => {
                let parts = duration(inside.walk.input.array()?);
                visitor.visit_seq(serde::de::value::SeqDeserializer::new(parts.into_iter()))
            }
            _ => inside.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match &inside.step.act {
            Act::Record(record) => inside.record(record, true, visitor),
            _ => inside.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match &inside.step.act {
            Act::String { whole } => visitor.visit_borrowed_bytes(bytes(*whole, &mut inside.walk.input)?),
            Act::UuidFixed => visitor.visit_borrowed_bytes(inside.walk.input.take(16)?),
            Act::Duration => visitor.visit_borrowed_bytes(inside.walk.input.take(12)?),
            Act::Decimal { size, .. } => {
                let size = *size;
                visitor.visit_borrowed_bytes(inside.decimal(size)?)
            }
            _ => inside.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match &inside.step.act {
            Act::Double(number) => visitor.visit_f64(double(*number, &mut inside.walk.input)?),
            Act::Decimal { size, scale } => {
                let (size, scale) = (*size, *scale);
                let text = decimal::to_text(inside.decimal(size)?, scale)?;
                visitor.visit_f64(text.parse().map_err(|_| Fault::new(format!("{text} is not a number")))?)
            }
            _ => inside.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match &inside.step.act {
            // A record without fields.
            Act::Record(_) => inside.deserialize_ignored_any(serde::de::IgnoredAny).and_then(|_| visitor.visit_unit()),
            _ => inside.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        let variant = || variants.iter().copied().find(|variant| names(&inside.step.label, variant));
        match &inside.step.act {
            Act::Enum(symbols) => {
                let start = inside.walk.input.rest();
                let symbol = symbol(symbols, &mut inside.walk.input)?;
                match variant().filter(|_| !variants.contains(&symbol)) {
                    // A variant for the enum as a whole, as a branch of a union.
                    Some(variant) => {
                        inside.walk.input.rewind(start);
                        visitor.visit_enum(Variant { variant, value: inside })
                    }
                    None => visitor.visit_enum(BorrowedStrDeserializer::new(symbol)),
                }
            }
            act => match (variant(), act) {
                (Some(variant), _) => visitor.visit_enum(Variant { variant, value: inside }),
                (None, Act::String { whole }) => {
                    visitor.visit_enum(BorrowedStrDeserializer::new(text(*whole, &mut inside.walk.input)?))
                }
                (None, Act::Unreadable(why)) => Err(Fault::new(&**why)),
                (None, _) => Err(Fault::new(format!(
                    "no variant stands for {}: there are {}",
                    inside.step.label,
                    variants.join(", ")
                ))),
            },
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        skip(self.walk.plan, self.step, &mut self.walk.input, self.walk.deeper)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 char unit map identifier
    }
}

/// Whether `fields` of a struct are the fields of a record, in this order. The answer is kept by the address of the
/// list, which is the struct's alone as long as the program runs.
#[inline]
fn fits(record: &RecordPlan, fields: &'static [&'static str]) -> bool {
    // Lists of other lengths may begin at the same address.
    if record.names.len() != fields.len() {
        return false;
    }
    let at = fields.as_ptr().addr();
    if record.fits.load(Ordering::Relaxed) == at {
        return true;
    }
    let fits = record.names.iter().zip(fields).all(|(name, field)| **name == **field);
    if fits {
        record.fits.store(at, Ordering::Relaxed);
    }
    fits
}

/// Bytes one by one, for a `Vec<u8>` or a `[u8; N]` that knows nothing of `serde_bytes`.
fn octets<'de, V: Visitor<'de>>(bytes: &[u8], visitor: V) -> Result<V::Value, Fault> {
    let mut octets = serde::de::value::SeqDeserializer::new(bytes.iter().copied());
    let value = visitor.visit_seq(&mut octets)?;
    octets.end()?;
    Ok(value)
}

/// Months, days, milliseconds: three little-endian numbers.
pub(crate) fn duration(bytes: [u8; 12]) -> [u32; 3] {
    [0, 4, 8].map(|at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}
