//! From any serde type to the bytes of a datum, straight into the caller's buffer.

mod fields;
mod narrow;
mod seq;

use serde::Serialize;
use serde::ser::Serializer;

use self::fields::{Entries, Fields};
use self::seq::{Blocks, Seq};

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
