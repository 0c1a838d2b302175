//! From the bytes of a datum into any serde type.

use std::sync::atomic::Ordering;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::decimal;
use super::fault::Fault;
use super::input::{DEEPEST, Input};
use super::model::names;
use super::plan::{Act, Items, Move, Number, Plan, RecordPlan, Step, StepId};

/// One value that comes next.
pub(crate) struct De<'a, 'de> {
    plan: &'de Plan,
    step: &'de Step,
    input: &'a mut Input<'de>,
    deeper: usize,
    mode: Mode,
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
    pub(crate) fn new(plan: &'de Plan, input: &'a mut Input<'de>, mode: Mode) -> Self {
        Self { plan, step: plan.step(plan.root), input, deeper: DEEPEST, mode }
    }

    fn at(self, step: StepId) -> Self {
        Self { step: self.plan.step(step), ..self }
    }

    /// The value inside a union.
    #[inline]
    fn inside(self) -> Result<Self, Fault> {
        match &self.step.act {
            Act::Union(branches) => {
                let step = branch(branches, self.input)?;
                Ok(self.at(step))
            }
            _ => Ok(self),
        }
    }

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

    fn record<V: Visitor<'de>>(self, record: &'de RecordPlan, positions: bool, visitor: V) -> Result<V::Value, Fault> {
        let mut access = Fields::new(self, record)?;
        let value = if positions { visitor.visit_seq(&mut access)? } else { visitor.visit_map(&mut access)? };
        access.finish()?;
        Ok(value)
    }

    fn decimal(self, size: Option<usize>) -> Result<&'de [u8], Fault> {
        match size {
            Some(size) => self.input.take(size),
            None => self.input.bytes(),
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

pub(crate) fn bytes<'de>(whole: bool, input: &mut Input<'de>) -> Result<&'de [u8], Fault> {
    if whole { Ok(input.all()) } else { input.bytes() }
}

pub(crate) fn text<'de>(whole: bool, input: &mut Input<'de>) -> Result<&'de str, Fault> {
    let bytes = bytes(whole, input)?;
    str::from_utf8(bytes).map_err(|error| Fault::new(format!("not UTF-8 at byte {}", error.valid_up_to())))
}

impl<'de> Deserializer<'de> for De<'_, 'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.step.act {
            Act::Null => visitor.visit_unit(),
            Act::Boolean => visitor.visit_bool(self.input.boolean()?),
            Act::Int => visitor.visit_i32(self.input.int()?),
            Act::Long => visitor.visit_i64(self.input.long()?),
            Act::Float(number) => visitor.visit_f32(float(*number, self.input)?),
            Act::Double(number) => visitor.visit_f64(double(*number, self.input)?),
            Act::Bytes { whole } => visitor.visit_borrowed_bytes(bytes(*whole, self.input)?),
            Act::String { whole } => visitor.visit_borrowed_str(text(*whole, self.input)?),
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
            Act::Enum(symbols) => visitor.visit_borrowed_str(symbol(symbols, self.input)?),
            Act::Fixed(size) => visitor.visit_borrowed_bytes(self.input.take(*size)?),
            Act::Decimal { size, scale } => visitor.visit_string(decimal::to_text(self.decimal(*size)?, *scale)?),
            Act::UuidFixed => {
                let id = uuid::Uuid::from_bytes(self.input.array()?);
                visitor.visit_str(id.hyphenated().encode_lower(&mut [0; 36]))
            }
            Act::Duration => {
                let parts = duration(self.input.array()?);
                let names = ["months", "days", "milliseconds"];
                visitor.visit_map(serde::de::value::MapDeserializer::new(names.into_iter().zip(parts)))
            }
            Act::Unreadable(why) => Err(Fault::new(&**why)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match inside.step.act {
            Act::Null => visitor.visit_none(),
            _ => visitor.visit_some(inside),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match &inside.step.act {
            Act::Record(record) => {
                let positions = inside.mode == Mode::Positions && fits(record, fields);
                inside.record(record, positions, visitor)
            }
            _ => inside.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let inside = self.inside()?;
        match &inside.step.act {
            Act::Bytes { whole } => octets(bytes(*whole, inside.input)?, visitor),
            Act::Fixed(size) => octets(inside.input.take(*size)?, visitor),
            Act::Decimal { size, .. } => {
                let size = *size;
                octets(inside.decimal(size)?, visitor)
            }
            Act::Duration => {
                let parts = duration(inside.input.array()?);
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
            Act::String { whole } => visitor.visit_borrowed_bytes(bytes(*whole, inside.input)?),
            Act::UuidFixed => visitor.visit_borrowed_bytes(inside.input.take(16)?),
            Act::Duration => visitor.visit_borrowed_bytes(inside.input.take(12)?),
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
            Act::Double(number) => visitor.visit_f64(double(*number, inside.input)?),
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
                let start = inside.input.rest();
                let symbol = symbol(symbols, inside.input)?;
                match variant().filter(|_| !variants.contains(&symbol)) {
                    // A variant for the enum as a whole, as a branch of a union.
                    Some(variant) => {
                        inside.input.rewind(start);
                        visitor.visit_enum(Variant { variant, value: inside })
                    }
                    None => visitor.visit_enum(BorrowedStrDeserializer::new(symbol)),
                }
            }
            act => match (variant(), act) {
                (Some(variant), _) => visitor.visit_enum(Variant { variant, value: inside }),
                (None, Act::String { whole }) => {
                    visitor.visit_enum(BorrowedStrDeserializer::new(text(*whole, inside.input)?))
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
        skip(self.plan, self.step, self.input, self.deeper)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 char str string unit map identifier
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

/// The items of an array or the entries of a map.
struct Blocks<'a, 'de> {
    plan: &'de Plan,
    step: &'de Step,
    input: &'a mut Input<'de>,
    deeper: usize,
    mode: Mode,
    least: usize,
    left: usize,
    index: usize,
    ended: bool,
    key: &'de str,
}

impl<'a, 'de> Blocks<'a, 'de> {
    fn new(de: De<'a, 'de>, items: Items) -> Result<Self, Fault> {
        let mut blocks = Self {
            plan: de.plan,
            step: de.plan.step(items.step),
            input: de.input,
            deeper: one_deeper(de.deeper)?,
            mode: de.mode,
            least: items.least,
            left: 0,
            index: 0,
            ended: false,
            key: "",
        };
        blocks.next_block()?;
        Ok(blocks)
    }

    fn next_block(&mut self) -> Result<(), Fault> {
        self.left = self.input.block(self.least)?;
        self.ended = self.left == 0;
        Ok(())
    }

    /// Whether there is one more.
    fn advance(&mut self) -> Result<bool, Fault> {
        if self.ended {
            return Ok(false);
        }
        if self.left == 0 {
            self.next_block()?;
            if self.ended {
                return Ok(false);
            }
        }
        self.left -= 1;
        Ok(true)
    }

    fn value<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(De {
            plan: self.plan,
            step: self.step,
            input: self.input,
            deeper: self.deeper,
            mode: self.mode,
        })
    }

    /// A type of fixed length stops at its last item; then nothing may follow.
    fn finish(mut self) -> Result<(), Fault> {
        if self.advance()? { Err(Fault::new(format!("there are more than {} items", self.index))) } else { Ok(()) }
    }
}

impl<'de> SeqAccess<'de> for &mut Blocks<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if !self.advance()? {
            return Ok(None);
        }
        let index = self.index;
        self.index += 1;
        self.value(seed).map(Some).map_err(|fault| fault.in_item(index))
    }

    // A block's count is checked against the bytes that are left, so it is no more than the payload can hold.
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for &mut Blocks<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if !self.advance()? {
            return Ok(None);
        }
        self.index += 1;
        self.key = text(false, self.input)?;
        seed.deserialize(BorrowedStrDeserializer::new(self.key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let key = self.key;
        self.value(seed).map_err(|fault| fault.in_field(key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The fields of a record: those in the bytes, then those that only the reader has.
struct Fields<'a, 'de> {
    plan: &'de Plan,
    record: &'de RecordPlan,
    input: &'a mut Input<'de>,
    deeper: usize,
    mode: Mode,
    /// Of the moves.
    next: usize,
    /// Of the names.
    named: usize,
    pending: Option<StepId>,
}

impl<'a, 'de> Fields<'a, 'de> {
    fn new(de: De<'a, 'de>, record: &'de RecordPlan) -> Result<Self, Fault> {
        let deeper = one_deeper(de.deeper)?;
        Ok(Self { plan: de.plan, record, input: de.input, deeper, mode: de.mode, next: 0, named: 0, pending: None })
    }

    /// Goes past what is not wanted, up to the next field that is.
    #[inline]
    fn advance(&mut self) -> Result<Option<StepId>, Fault> {
        while let Some(next) = self.record.moves.get(self.next) {
            self.next += 1;
            match next {
                Move::Read(step) => return Ok(Some(*step)),
                Move::Skip(step) => skip(self.plan, self.plan.step(*step), self.input, self.deeper)?,
            }
        }
        Ok(None)
    }

    #[inline]
    fn value<S: DeserializeSeed<'de>>(&mut self, step: Option<StepId>, seed: S) -> Result<S::Value, Fault> {
        let (plan, deeper, mode, named) = (self.plan, self.deeper, self.mode, self.named);
        self.named += 1;
        let value = match step {
            Some(step) => seed.deserialize(De { plan, step: plan.step(step), input: self.input, deeper, mode }),
            None => {
                let reads = self.record.names.len() - self.record.defaults.len();
                let default = &self.record.defaults[named - reads];
                let mut input = Input::new(&default.bytes);
                seed.deserialize(De { plan, step: plan.step(default.step), input: &mut input, deeper, mode })
            }
        };
        value.map_err(|fault| fault.in_field(&self.record.names[named]))
    }

    fn finish(mut self) -> Result<(), Fault> {
        while let Some(step) = self.advance()? {
            skip(self.plan, self.plan.step(step), self.input, self.deeper)?;
        }
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Fields<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.named == self.record.names.len() {
            return Ok(None);
        }
        let step = self.advance()?;
        self.value(step, seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.record.names.len() - self.named)
    }
}

impl<'de> MapAccess<'de> for &mut Fields<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(name) = self.record.names.get(self.named) else { return Ok(None) };
        self.pending = self.advance()?;
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        self.value(self.pending, seed)
    }
}

/// A variant of a Rust enum that stands for a type.
struct Variant<'a, 'de> {
    variant: &'static str,
    value: De<'a, 'de>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = Fault;
    type Variant = De<'a, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, De<'a, 'de>), Fault> {
        let variant: StrDeserializer<'_, Fault> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, self.value))
    }
}

impl<'de> VariantAccess<'de> for De<'_, 'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        skip(self.plan, self.step, self.input, self.deeper)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_struct("", fields, visitor)
    }
}
