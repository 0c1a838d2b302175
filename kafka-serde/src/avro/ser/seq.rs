//! Arrays, the values of maps, tuples, and bytes that come one by one.

use serde::Serialize;
use serde::ser::{SerializeSeq, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant};

use super::Ser;
use super::fields::Fields;
use super::narrow::Octet;
use crate::avro::fault::Fault;
use crate::avro::input::put_long;
use crate::avro::model::{Model, Node};

/// The items of an array or the values of a map.
pub(crate) struct Blocks<'a> {
    pub(super) model: &'a Model,
    pub(super) node: &'a Node,
    pub(super) out: &'a mut Vec<u8>,
    /// Where the count stands, or has to.
    pub(super) start: usize,
    pub(super) length: Option<usize>,
    pub(super) count: usize,
}

impl Blocks<'_> {
    #[inline]
    pub(super) fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count += 1;
        value.serialize(Ser { model: self.model, node: self.node, out: self.out })
    }

    pub(super) fn finish(self) -> Result<(), Fault> {
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
    pub(super) fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
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

    pub(super) fn finish(self) -> Result<(), Fault> {
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
