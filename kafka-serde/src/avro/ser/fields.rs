//! Records, and all that serde calls a map or a struct.

use std::cell::RefCell;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeStruct, SerializeStructVariant};

use super::Ser;
use super::narrow::{Key, Part};
use super::seq::Blocks;
use crate::avro::fault::Fault;
use crate::avro::input::{Input, put_bytes};
use crate::avro::model::{Field, Model, Record};

/// Where a field's bytes are, while fields come in another order than the schema's.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    field: usize,
    start: usize,
    end: usize,
}

thread_local! {
    /// Emptied lists of spans, so that a warm thread allocates none.
    static SPARE: RefCell<Vec<Vec<Span>>> = const { RefCell::new(Vec::new()) };
}

/// As many as records within records are likely to need.
const MOST_SPARE: usize = 8;

/// The fields of a record. They are written where they come; if the order is not the schema's, they are moved at the end.
pub(crate) struct Fields<'a> {
    pub(super) model: &'a Model,
    pub(super) record: &'a Record,
    pub(super) out: &'a mut Vec<u8>,
    pub(super) start: usize,
    /// The field that the schema has next.
    pub(super) next: usize,
    pub(super) spans: Option<Vec<Span>>,
    /// The field that a map's last key named.
    pub(super) key: usize,
}

impl Fields<'_> {
    #[inline]
    pub(super) fn named<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        let at = match self.record.fields.get(self.next) {
            Some(field) if field.is(name) => self.next,
            _ => self.find(name)?,
        };
        self.write(at, value)
    }

    fn find(&self, name: &str) -> Result<usize, Fault> {
        self.record
            .fields
            .iter()
            .position(|field| *field.name == *name)
            .ok_or_else(|| Fault::new(format!("record {} has no such field", self.record.name)).in_field(name))
    }

    #[inline]
    pub(super) fn write<T: Serialize + ?Sized>(&mut self, at: usize, value: &T) -> Result<(), Fault> {
        let field = &self.record.fields[at];
        if at != self.next || self.spans.is_some() {
            return self.write_apart(at, value);
        }
        self.next += 1;
        value
            .serialize(Ser { model: self.model, node: self.model.node(field.node), out: self.out })
            .map_err(|fault| fault.in_field(&field.name))
    }

    pub(super) fn write_apart<T: Serialize + ?Sized>(&mut self, at: usize, value: &T) -> Result<(), Fault> {
        let field = &self.record.fields[at];
        let end = self.out.len();
        let next = self.next;
        let spans = self.spans.get_or_insert_with(|| {
            let mut spans = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
            spans.clear();
            spans
        });
        if at < next || spans.iter().any(|span| span.field == at) {
            return Err(Fault::new("the field comes twice").in_field(&field.name));
        }
        let written = value.serialize(Ser { model: self.model, node: self.model.node(field.node), out: self.out });
        written.map_err(|fault| fault.in_field(&field.name))?;
        spans.push(Span { field: at, start: end, end: self.out.len() });
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), Fault> {
        let Some(mut spans) = self.spans.take() else { return self.defaults() };
        let start = spans.first().map_or(self.start, |span| span.start);
        let end = self.out.len();
        spans.sort_unstable_by_key(|span| span.field);
        let mut spans_left = spans.iter().peekable();
        for (at, field) in self.record.fields.iter().enumerate().skip(self.next) {
            match spans_left.next_if(|span| span.field == at) {
                Some(span) => self.out.extend_from_within(span.start..span.end),
                None => put_default(field, self.out)?,
            }
        }
        let ordered = self.out.len() - end;
        self.out.copy_within(end.., start);
        self.out.truncate(start + ordered);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MOST_SPARE {
                spare.push(spans);
            }
        });
        Ok(())
    }

    /// The fields that did not come.
    #[inline]
    fn defaults(self) -> Result<(), Fault> {
        self.record.fields[self.next..].iter().try_for_each(|field| put_default(field, self.out))
    }
}

#[cold]
fn put_default(field: &Field, out: &mut Vec<u8>) -> Result<(), Fault> {
    match &field.default_bytes {
        Some(default) => out.extend_from_slice(default),
        None => return Err(Fault::new("the field is missing and has no default").in_field(&field.name)),
    }
    Ok(())
}

/// Anything that serde calls a map or a struct.
pub(crate) enum Entries<'a> {
    Map(Blocks<'a>),
    Record(Fields<'a>),
    Duration { out: &'a mut Vec<u8>, parts: [u32; 3] },
}

impl Entries<'_> {
    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        match self {
            Self::Record(fields) => fields.named(name, value),
            Self::Map(map) => {
                put_bytes(name.as_bytes(), map.out);
                map.item(value).map_err(|fault| fault.in_field(name))
            }
            Self::Duration { parts, .. } => {
                let at = match name {
                    "months" => 0,
                    "days" => 1,
                    "milliseconds" | "millis" => 2,
                    _ => return Err(Fault::new("a duration has months, days and milliseconds").in_field(name)),
                };
                parts[at] = value.serialize(Part).map_err(|fault| fault.in_field(name))?;
                Ok(())
            }
        }
    }

    #[inline]
    pub(super) fn finish(self) -> Result<(), Fault> {
        match self {
            Self::Map(map) => map.finish(),
            Self::Record(fields) => fields.finish(),
            Self::Duration { out, parts } => {
                parts.iter().for_each(|part| out.extend_from_slice(&part.to_le_bytes()));
                Ok(())
            }
        }
    }
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        match self {
            Self::Map(map) => key.serialize(Key(map.out)),
            Self::Record(fields) => {
                // The key is written behind the fields for as long as it takes to find it.
                let end = fields.out.len();
                key.serialize(Key(fields.out))?;
                let mut input = Input::new(&fields.out[end..]);
                let name = str::from_utf8(input.bytes()?).map_err(|_| Fault::new("a field's name is not text"))?;
                let found = fields.find(name);
                fields.out.truncate(end);
                fields.key = found?;
                Ok(())
            }
            Self::Duration { .. } => Err(Fault::new("a duration is a struct, not a map")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        match self {
            Self::Map(map) => map.item(value),
            Self::Record(fields) => fields.write(fields.key, value),
            Self::Duration { .. } => Err(Fault::new("a duration is a struct, not a map")),
        }
    }

    fn end(self) -> Result<(), Fault> {
        self.finish()
    }
}

macro_rules! structure {
    ($($trait:ident)*) => {$(
        impl $trait for Entries<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Fault> {
                self.field(key, value)
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                self.finish()
            }
        }
    )*};
}

structure! { SerializeStruct SerializeStructVariant }
