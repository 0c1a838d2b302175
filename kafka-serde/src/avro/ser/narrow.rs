//! Serializers for what may be one kind of thing only: the key of a map, a byte, a part of a duration.

use serde::Serialize;
use serde::ser::Serializer;

use crate::avro::fault::Fault;
use crate::avro::input::put_bytes;

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
pub(super) struct Key<'a>(pub(super) &'a mut Vec<u8>);

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
pub(super) struct Octet<'a>(pub(super) &'a mut Vec<u8>);

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
pub(super) struct Part;

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
