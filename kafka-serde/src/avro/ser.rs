//! From any serde type to the bytes of a datum, straight into the caller's buffer.

use std::cell::RefCell;

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};

use super::decimal;
use super::fault::Fault;
use super::input::{put_bytes, put_long};
use super::model::{Kind, Logical, Model, Node, NodeId, Record, names};

/// Where the next value goes.
pub(crate) struct Ser<'a> {
    model: &'a Model,
    node: &'a Node,
    out: &'a mut Vec<u8>,
}

impl<'a> Ser<'a> {
    pub(crate) fn new(model: &'a Model, out: &'a mut Vec<u8>) -> Self {
        Self { model, node: model.root(), out }
    }

    /// The branch of a union that ranks lowest; the node itself where it is no union.
    #[inline]
    fn branch(self, what: &str, rank: impl Fn(&Node) -> Option<u8>) -> Result<Self, Fault> {
        match &self.node.kind {
            Kind::Union(branches) => {
                let rank = |(index, id): (usize, &NodeId)| Some((rank(self.model.node(*id))?, index, *id));
                match branches.iter().enumerate().filter_map(rank).min() {
                    Some((_, index, id)) => {
                        put_long(index as i64, self.out);
                        Ok(Self { node: self.model.node(id), ..self })
                    }
                    None => Err(self.unfit(what)),
                }
            }
            _ => Ok(self),
        }
    }

    /// The branch that a variant of a Rust enum names; `None` where none has that name.
    fn named(self, variant: &str) -> Result<Self, Self> {
        match &self.node.kind {
            Kind::Union(branches) => {
                let found = branches.iter().position(|id| names(self.model.node(*id).kind.label(), variant));
                match found {
                    Some(index) => {
                        put_long(index as i64, self.out);
                        Ok(Self { node: self.model.node(branches[index]), ..self })
                    }
                    None => Err(self),
                }
            }
            kind if names(kind.label(), variant) => Ok(self),
            _ => Err(self),
        }
    }

    #[cold]
    fn unfit(&self, what: &str) -> Fault {
        let label = match &self.node.kind {
            Kind::Union(branches) => {
                let labels: Vec<_> = branches.iter().map(|id| self.model.node(*id).kind.label()).collect();
                format!("a union of {}", labels.join(", "))
            }
            kind => kind.label().to_owned(),
        };
        Fault::new(format!("{what} does not fit {label}"))
    }

    fn integer(self, number: i128, small: bool) -> Result<(), Fault> {
        let ser = self.branch("a whole number", |node| match (&node.kind, node.logical) {
            (Kind::Int, _) if i32::try_from(number).is_ok() => Some(u8::from(!small)),
            (Kind::Long, _) => Some(u8::from(small)),
            (_, Some(Logical::Decimal { .. })) => Some(2),
            (Kind::Double, _) => Some(3),
            (Kind::Float, _) => Some(4),
            _ => None,
        })?;
        match (&ser.node.kind, ser.node.logical) {
            (Kind::Int, _) => match i32::try_from(number) {
                Ok(number) => put_long(number.into(), ser.out),
                Err(_) => return Err(Fault::new(format!("{number} is out of range for an int"))),
            },
            (Kind::Long, _) => match i64::try_from(number) {
                Ok(number) => put_long(number, ser.out),
                Err(_) => return Err(Fault::new(format!("{number} is out of range for a long"))),
            },
            (_, Some(Logical::Decimal { scale })) => {
                let number = decimal::scaled(number, scale).ok_or_else(|| {
                    Fault::new(format!("{number} has too many digits for a decimal of scale {scale}"))
                })?;
                return ser.decimal(number);
            }
            // Refused where the float would be another number.
            (Kind::Double, _) if number.unsigned_abs() <= 1 << 53 => {
                ser.out.extend_from_slice(&(number as f64).to_le_bytes());
            }
            (Kind::Float, _) if number.unsigned_abs() <= 1 << 24 => {
                ser.out.extend_from_slice(&(number as f32).to_le_bytes());
            }
            _ => return Err(ser.unfit(&format!("the number {number}"))),
        }
        Ok(())
    }

    /// A string that goes into something else than a string.
    fn text(self, value: &str) -> Result<(), Fault> {
        let ser = self.branch("a string", |node| match (&node.kind, node.logical) {
            (Kind::Enum(kind), _) => kind.symbols.iter().any(|symbol| **symbol == *value).then_some(1),
            (Kind::String, _) => Some(0),
            (Kind::Fixed(_), Some(Logical::Uuid)) => Some(2),
            (_, Some(Logical::Decimal { .. })) => Some(3),
            (Kind::Bytes, _) => Some(4),
            _ => None,
        })?;
        match (&ser.node.kind, ser.node.logical) {
            (Kind::String, _) => put_bytes(value.as_bytes(), ser.out),
            (Kind::Enum(kind), _) => match kind.symbols.iter().position(|symbol| **symbol == *value) {
                Some(index) => put_long(index as i64, ser.out),
                None => return Err(Fault::new(format!("enum {} has no symbol {value:?}", kind.name))),
            },
            (Kind::Fixed(_), Some(Logical::Uuid)) => match uuid::Uuid::try_parse(value) {
                Ok(id) => ser.out.extend_from_slice(id.as_bytes()),
                Err(_) => return Err(Fault::new("not the text of a UUID")),
            },
            (_, Some(Logical::Decimal { scale })) => return ser.decimal(decimal::from_text(value, scale)?),
            (Kind::Bytes, _) => put_bytes(value.as_bytes(), ser.out),
            _ => return Err(ser.unfit("a string")),
        }
        Ok(())
    }

    fn decimal(self, number: i128) -> Result<(), Fault> {
        let size = if let Kind::Fixed(fixed) = &self.node.kind { Some(fixed.size) } else { None };
        decimal::put(&number.to_be_bytes(), size, self.out)
    }

    /// Starts an array or a map of `length` items: nothing is left to write before the items.
    fn blocks(self, items: NodeId, length: Option<usize>) -> Blocks<'a> {
        let start = self.out.len();
        if let Some(length) = length.filter(|length| *length > 0) {
            put_long(length as i64, self.out);
        }
        Blocks { model: self.model, node: self.model.node(items), out: self.out, start, length, count: 0 }
    }

    fn record(self, record: &'a Record) -> Fields<'a> {
        Fields { model: self.model, record, start: self.out.len(), out: self.out, next: 0, spans: None, key: 0 }
    }
}

impl<'a> Serializer for Ser<'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Seq<'a>;
    type SerializeTuple = Seq<'a>;
    type SerializeTupleStruct = Seq<'a>;
    type SerializeTupleVariant = Seq<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Entries<'a>;
    type SerializeStructVariant = Entries<'a>;

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        if let Kind::Boolean = self.node.kind {
            self.out.push(u8::from(value));
            return Ok(());
        }
        let ser = self.branch("a boolean", |node| matches!(node.kind, Kind::Boolean).then_some(0))?;
        match ser.node.kind {
            Kind::Boolean => ser.out.push(u8::from(value)),
            _ => return Err(ser.unfit("a boolean")),
        }
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Fault> {
        self.serialize_i32(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Fault> {
        self.serialize_i32(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Fault> {
        match self.node.kind {
            Kind::Int | Kind::Long => {
                put_long(value.into(), self.out);
                Ok(())
            }
            _ => self.integer(value.into(), true),
        }
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Fault> {
        match self.node.kind {
            Kind::Long => {
                put_long(value, self.out);
                Ok(())
            }
            _ => self.integer(value.into(), false),
        }
    }

    fn serialize_i128(self, value: i128) -> Result<(), Fault> {
        self.integer(value, false)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Fault> {
        self.serialize_i32(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Fault> {
        self.serialize_i32(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Fault> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), Fault> {
        match i64::try_from(value) {
            Ok(value) => self.serialize_i64(value),
            Err(_) => self.integer(value.into(), false),
        }
    }

    fn serialize_u128(self, value: u128) -> Result<(), Fault> {
        let number = i128::try_from(value);
        self.integer(number.map_err(|_| Fault::new(format!("{value} is out of range")))?, false)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Fault> {
        let ser = self.branch("a float", |node| match node.kind {
            Kind::Float => Some(0),
            Kind::Double => Some(1),
            _ => None,
        })?;
        match ser.node.kind {
            Kind::Float => ser.out.extend_from_slice(&value.to_le_bytes()),
            Kind::Double => ser.out.extend_from_slice(&f64::from(value).to_le_bytes()),
            _ => return Err(ser.unfit("a float")),
        }
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Fault> {
        let ser = self.branch("a double", |node| match node.kind {
            Kind::Double => Some(0),
            Kind::Float => Some(1),
            _ => None,
        })?;
        match ser.node.kind {
            Kind::Double => ser.out.extend_from_slice(&value.to_le_bytes()),
            // Only what a float can tell.
            Kind::Float if value.is_nan() || f64::from(value as f32) == value => {
                ser.out.extend_from_slice(&(value as f32).to_le_bytes());
            }
            _ => return Err(ser.unfit(&format!("the double {value}"))),
        }
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Fault> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        match self.node.kind {
            Kind::String => {
                put_bytes(value.as_bytes(), self.out);
                Ok(())
            }
            _ => self.text(value),
        }
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        let ser = self.branch("a byte string", |node| match &node.kind {
            Kind::Fixed(fixed) if fixed.size == value.len() => Some(0),
            Kind::Bytes => Some(1),
            _ => None,
        })?;
        match (&ser.node.kind, ser.node.logical) {
            (Kind::Bytes | Kind::Fixed(_), Some(Logical::Decimal { .. })) => {
                let size = if let Kind::Fixed(fixed) = &ser.node.kind { Some(fixed.size) } else { None };
                return decimal::put(if value.is_empty() { &[0] } else { value }, size, ser.out);
            }
            (Kind::Bytes, _) => put_bytes(value, ser.out),
            (Kind::Fixed(fixed), _) if fixed.size == value.len() => ser.out.extend_from_slice(value),
            _ => return Err(ser.unfit(&format!("a byte string of {} bytes", value.len()))),
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Fault> {
        let ser = self.branch("None", |node| matches!(node.kind, Kind::Null).then_some(0))?;
        if let Kind::Null = ser.node.kind { Ok(()) } else { Err(ser.unfit("None")) }
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        match &self.node.kind {
            // The usual union: no branch to choose from, so also a type that is no branch by itself (a chain of
            // newtypes, an enum) finds its place.
            Kind::Union(branches) if branches.len() == 2 => {
                let null = branches.iter().position(|id| matches!(self.model.node(*id).kind, Kind::Null));
                match null {
                    Some(null) => {
                        put_long(1 - null as i64, self.out);
                        let node = self.model.node(branches[1 - null]);
                        value.serialize(Ser { node, ..self })
                    }
                    None => value.serialize(self),
                }
            }
            _ => value.serialize(self),
        }
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Fault> {
        match self.named(name) {
            Ok(ser) => match &ser.node.kind {
                Kind::Record(record) => ser.record(record).finish(),
                _ => ser.serialize_none(),
            },
            Err(ser) => ser.serialize_none(),
        }
    }

    fn serialize_unit_variant(self, _name: &'static str, index: u32, variant: &'static str) -> Result<(), Fault> {
        let ser = match &self.node.kind {
            Kind::Union(branches) => {
                let has = |id: &NodeId| match &self.model.node(*id).kind {
                    Kind::Enum(kind) => kind.symbols.iter().any(|symbol| **symbol == *variant),
                    _ => false,
                };
                match branches.iter().position(has) {
                    Some(at) => {
                        put_long(at as i64, self.out);
                        Ser { node: self.model.node(branches[at]), ..self }
                    }
                    None => match self.named(variant) {
                        Ok(branch) => branch,
                        Err(ser) => return ser.serialize_str(variant),
                    },
                }
            }
            _ => self,
        };
        match &ser.node.kind {
            Kind::Enum(kind) => {
                // Mostly in the same order on both sides.
                let same = kind.symbols.get(index as usize).is_some_and(|symbol| **symbol == *variant);
                if same {
                    put_long(index.into(), ser.out);
                    return Ok(());
                }
                ser.serialize_str(variant)
            }
            Kind::Null if names("null", variant) => Ok(()),
            Kind::Record(record) if names(&record.name, variant) => ser.record(record).finish(),
            _ => ser.serialize_str(variant),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        match self.named(variant) {
            Ok(branch) => value.serialize(branch),
            Err(ser) => Err(ser.unfit(&format!("the variant {variant}"))),
        }
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Seq<'a>, Fault> {
        if let Kind::Array(items) = self.node.kind {
            return Ok(Seq::Items(self.blocks(items, length)));
        }
        let ser = self.branch("a sequence", |node| match &node.kind {
            Kind::Array(_) => Some(0),
            Kind::Bytes => Some(1),
            Kind::Fixed(fixed) if length.is_none_or(|length| length == fixed.size) => Some(2),
            Kind::Record(record) if length == Some(record.fields.len()) => Some(3),
            _ => None,
        })?;
        match &ser.node.kind {
            Kind::Array(items) => {
                let items = *items;
                Ok(Seq::Items(ser.blocks(items, length)))
            }
            Kind::Record(record) => Ok(Seq::Fields(ser.record(record))),
            Kind::Bytes => Ok(Seq::Octets { start: ser.out.len(), size: None, out: ser.out }),
            Kind::Fixed(fixed) => Ok(Seq::Octets { start: ser.out.len(), size: Some(fixed.size), out: ser.out }),
            _ => Err(ser.unfit("a sequence")),
        }
    }

    fn serialize_tuple(self, length: usize) -> Result<Seq<'a>, Fault> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _name: &'static str, length: usize) -> Result<Seq<'a>, Fault> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Seq<'a>, Fault> {
        match self.named(variant) {
            Ok(branch) => branch.serialize_seq(Some(length)),
            Err(ser) => Err(ser.unfit(&format!("the variant {variant}"))),
        }
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Entries<'a>, Fault> {
        let ser = self.branch("a map", |node| match &node.kind {
            Kind::Map(_) => Some(0),
            Kind::Record(_) => Some(1),
            _ => None,
        })?;
        match &ser.node.kind {
            Kind::Map(values) => {
                let values = *values;
                Ok(Entries::Map(ser.blocks(values, length)))
            }
            Kind::Record(record) => Ok(Entries::Record(ser.record(record))),
            _ => Err(ser.unfit("a map")),
        }
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Entries<'a>, Fault> {
        let ser = match &self.node.kind {
            Kind::Union(_) => self.branch("a struct", |node| match &node.kind {
                Kind::Record(record) if names(&record.name, name) => Some(0),
                Kind::Record(_) => Some(1),
                Kind::Map(_) => Some(2),
                _ if node.logical == Some(Logical::Duration) => Some(3),
                _ => None,
            })?,
            _ => self,
        };
        match &ser.node.kind {
            Kind::Record(record) => Ok(Entries::Record(ser.record(record))),
            Kind::Map(values) => {
                let values = *values;
                // Fields that are left out make the length less.
                Ok(Entries::Map(ser.blocks(values, None)))
            }
            Kind::Fixed(_) if ser.node.logical == Some(Logical::Duration) && length == 3 => {
                Ok(Entries::Duration { out: ser.out, parts: [0; 3] })
            }
            _ => Err(ser.unfit(&format!("the struct {name}"))),
        }
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Entries<'a>, Fault> {
        match self.named(variant) {
            Ok(branch) => branch.serialize_struct(variant, length),
            Err(ser) => Err(ser.unfit(&format!("the variant {variant}"))),
        }
    }
}

/// The items of an array or the values of a map.
pub(crate) struct Blocks<'a> {
    model: &'a Model,
    node: &'a Node,
    out: &'a mut Vec<u8>,
    /// Where the count stands, or has to.
    start: usize,
    length: Option<usize>,
    count: usize,
}

impl Blocks<'_> {
    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count += 1;
        value.serialize(Ser { model: self.model, node: self.node, out: self.out })
    }

    fn finish(self) -> Result<(), Fault> {
        match self.length {
            Some(length) if length != self.count => {
                return Err(Fault::new(format!("{length} items were announced, and {} came", self.count)));
            }
            None if self.count > 0 => {
                // The count comes before the items: they make room for it.
                let end = self.out.len();
                put_long(self.count as i64, self.out);
                let width = self.out.len() - end;
                self.out[self.start..].rotate_right(width);
            }
            _ => {}
        }
        self.out.push(0);
        Ok(())
    }
}

/// Anything that serde calls a sequence or a tuple.
pub(crate) enum Seq<'a> {
    Items(Blocks<'a>),
    Fields(Fields<'a>),
    /// A `Vec<u8>` that knows nothing of `serde_bytes`.
    Octets {
        out: &'a mut Vec<u8>,
        start: usize,
        size: Option<usize>,
    },
}

impl Seq<'_> {
    #[inline]
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        match self {
            Self::Items(items) => {
                let index = items.count;
                items.item(value).map_err(|fault| fault.in_item(index))
            }
            Self::Fields(fields) => {
                let at = fields.next;
                match fields.record.fields.get(at) {
                    Some(_) => fields.write(at, value),
                    None => Err(Fault::new(format!("record {} has {at} fields", fields.record.name))),
                }
            }
            Self::Octets { out, .. } => value.serialize(Octet(out)),
        }
    }

    fn finish(self) -> Result<(), Fault> {
        match self {
            Self::Items(items) => items.finish(),
            Self::Fields(fields) => fields.finish(),
            Self::Octets { out, start, size } => {
                let length = out.len() - start;
                match size {
                    Some(size) if size != length => {
                        Err(Fault::new(format!("{length} bytes do not fit a fixed of {size}")))
                    }
                    Some(_) => Ok(()),
                    None => {
                        put_long(length as i64, out);
                        let width = out.len() - start - length;
                        out[start..].rotate_right(width);
                        Ok(())
                    }
                }
            }
        }
    }
}

macro_rules! sequence {
    ($($trait:ident $method:ident)*) => {$(
        impl $trait for Seq<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.put(value)
            }

            fn end(self) -> Result<(), Fault> {
                self.finish()
            }
        }
    )*};
}

sequence! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

/// Where a field's bytes are, while fields come in another order than the schema's.
#[derive(Clone, Copy, Default)]
struct Span {
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
    model: &'a Model,
    record: &'a Record,
    out: &'a mut Vec<u8>,
    start: usize,
    /// The field that the schema has next.
    next: usize,
    spans: Option<Vec<Span>>,
    /// The field that a map's last key named.
    key: usize,
}

impl Fields<'_> {
    #[inline]
    fn named<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
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
    fn write<T: Serialize + ?Sized>(&mut self, at: usize, value: &T) -> Result<(), Fault> {
        let field = &self.record.fields[at];
        if at != self.next || self.spans.is_some() {
            return self.write_apart(at, value);
        }
        self.next += 1;
        value
            .serialize(Ser { model: self.model, node: self.model.node(field.node), out: self.out })
            .map_err(|fault| fault.in_field(&field.name))
    }

    fn write_apart<T: Serialize + ?Sized>(&mut self, at: usize, value: &T) -> Result<(), Fault> {
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

    fn finish(mut self) -> Result<(), Fault> {
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
fn put_default(field: &super::model::Field, out: &mut Vec<u8>) -> Result<(), Fault> {
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
    fn finish(self) -> Result<(), Fault> {
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
                let mut input = super::input::Input::new(&fields.out[end..]);
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

/// Refuses all that is not what the one method below takes.
macro_rules! refuse {
    ($what:literal $ok:ty: $($method:ident($($type:ty),*))*) => {
        type Ok = $ok;
        type Error = Fault;
        type SerializeSeq = serde::ser::Impossible<$ok, Fault>;
        type SerializeTuple = serde::ser::Impossible<$ok, Fault>;
        type SerializeTupleStruct = serde::ser::Impossible<$ok, Fault>;
        type SerializeTupleVariant = serde::ser::Impossible<$ok, Fault>;
        type SerializeMap = serde::ser::Impossible<$ok, Fault>;
        type SerializeStruct = serde::ser::Impossible<$ok, Fault>;
        type SerializeStructVariant = serde::ser::Impossible<$ok, Fault>;

        $(fn $method(self, $(_: $type),*) -> Result<$ok, Fault> {
            Err(Fault::new($what))
        })*

        fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<$ok, Fault> {
            value.serialize(self)
        }

        fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<$ok, Fault> {
            value.serialize(self)
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<$ok, Fault> {
            Err(Fault::new($what))
        }

        fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Fault> {
            Err(Fault::new($what))
        }

        fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Fault> {
            Err(Fault::new($what))
        }

        fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Fault> {
            Err(Fault::new($what))
        }

        fn serialize_tuple_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleVariant, Fault> {
            Err(Fault::new($what))
        }

        fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Fault> {
            Err(Fault::new($what))
        }

        fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Fault> {
            Err(Fault::new($what))
        }

        fn serialize_struct_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStructVariant, Fault> {
            Err(Fault::new($what))
        }
    };
}

/// The key of a map: a string, or what has a text: a whole number, a boolean, a unit variant.
struct Key<'a>(&'a mut Vec<u8>);

macro_rules! keys_by_text {
    ($($method:ident($type:ty))*) => {
        $(fn $method(self, value: $type) -> Result<(), Fault> {
            put_bytes(value.to_string().as_bytes(), self.0);
            Ok(())
        })*
    };
}

impl Serializer for Key<'_> {
    refuse! { "the key of a map is not text" ():
        serialize_f32(f32) serialize_f64(f64) serialize_bytes(&[u8]) serialize_none() serialize_unit()
        serialize_unit_struct(&'static str)
    }

    keys_by_text! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_u8(u8)
        serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_char(char)
    }

    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        put_bytes(value.as_bytes(), self.0);
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Fault> {
        self.serialize_str(variant)
    }
}

/// One byte of a byte string.
struct Octet<'a>(&'a mut Vec<u8>);

impl Serializer for Octet<'_> {
    refuse! { "a byte string is made of u8" ():
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_f32(f32) serialize_f64(f64)
        serialize_char(char) serialize_str(&str) serialize_bytes(&[u8]) serialize_none() serialize_unit()
        serialize_unit_struct(&'static str) serialize_unit_variant(&'static str, u32, &'static str)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Fault> {
        self.0.push(value);
        Ok(())
    }
}

/// Months, days or milliseconds of a duration.
struct Part;

impl Serializer for Part {
    refuse! { "a part of a duration is a u32" u32:
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u64(u64) serialize_f32(f32) serialize_f64(f64)
        serialize_char(char) serialize_str(&str) serialize_bytes(&[u8]) serialize_none() serialize_unit()
        serialize_unit_struct(&'static str) serialize_unit_variant(&'static str, u32, &'static str)
    }

    fn serialize_u32(self, value: u32) -> Result<u32, Fault> {
        Ok(value)
    }
}
