//! Numbers, most significant byte first, as Java writes them.

use super::exactly;
use crate::{Deserializer, Encoded, Serializer, Source, Stop, Target};

macro_rules! number {
    ($name:ident: $type:ident, $doc:literal, $example:literal, $bytes:literal) => {
        #[doc = $doc]
        ///
        /// Any other length is malformed.
        ///
        /// ```
        #[doc = concat!("use kafka_serde::{Deserializer, Part, Serializer, Source, Target, ", stringify!($name), "};")]
        ///
        /// let mut bytes = Vec::new();
        #[doc = concat!(stringify!($name), ".serialize(&", $example, ", &mut Target::new(\"t\", Part::Value), &mut bytes)?;")]
        #[doc = concat!("assert_eq!(bytes, ", $bytes, ");")]
        #[doc = concat!(
            "assert_eq!(", stringify!($name), ".deserialize(Some(&bytes), &Source::new(\"t\", Part::Value))?, ", $example, ");"
        )]
        /// # Ok::<(), kafka_serde::Stop>(())
        /// ```
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Serializer for $name {
            type Input = $type;

            fn serialize(&self, value: &$type, _to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(Encoded::Bytes)
            }
        }

        impl Deserializer for $name {
            type Output = $type;

            fn deserialize(&self, bytes: Option<&[u8]>, _from: &Source<'_>) -> Result<$type, Stop> {
                Ok($type::from_be_bytes(exactly(bytes, stringify!($type))?))
            }
        }
    };
}

number!(I8: i8, "One signed byte. Java's clients have no serializer for it.", "-2", "[0xfe]");
number!(I16: i16, "Two bytes, big-endian; Java's `ShortSerializer`.", "258", "[1, 2]");
number!(I32: i32, "Four bytes, big-endian; Java's `IntegerSerializer`.", "-2", "[0xff, 0xff, 0xff, 0xfe]");
number!(I64: i64, "Eight bytes, big-endian; Java's `LongSerializer`.", "258", "[0, 0, 0, 0, 0, 0, 1, 2]");
number!(U8: u8, "One unsigned byte. Java has no unsigned numbers.", "254", "[0xfe]");
number!(
    U16: u16,
    "Two bytes, big-endian. Java has no unsigned numbers: its `ShortDeserializer` reads values above `i16::MAX` as negative.",
    "258",
    "[1, 2]"
);
number!(
    U32: u32,
    "Four bytes, big-endian. Java has no unsigned numbers: its `IntegerDeserializer` reads values above `i32::MAX` as negative.",
    "258",
    "[0, 0, 1, 2]"
);
number!(
    U64: u64,
    "Eight bytes, big-endian. Java has no unsigned numbers: its `LongDeserializer` reads values above `i64::MAX` as negative.",
    "258",
    "[0, 0, 0, 0, 0, 0, 1, 2]"
);
number!(
    F32: f32,
    "Four bytes, IEEE 754, big-endian; Java's `FloatSerializer`. The bits of a NaN are kept.",
    "1.5",
    "[0x3f, 0xc0, 0, 0]"
);
number!(
    F64: f64,
    "Eight bytes, IEEE 754, big-endian; Java's `DoubleSerializer`. The bits of a NaN are kept.",
    "1.5",
    "[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]"
);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::ErrorKind;
    use crate::fixture::{decode, encode, refusal, survives_poison};

    /// `java` is what the Java serializer of kafka-clients 4.3.1 wrote for `value`.
    fn agrees<S, T: PartialEq + Debug>(serde: S, value: T, java: &[u8])
    where
        S: Serializer<Input = T> + Deserializer<Output = T>,
    {
        assert_eq!(encode(&serde, &value).as_deref(), Some(java), "encoding {value:?}");
        assert_eq!(decode(&serde, Some(java)).unwrap(), value, "decoding {java:02x?}");
    }

    #[test]
    fn a_short_is_what_java_writes() {
        agrees(I16, 0, &[0, 0]);
        agrees(I16, 1, &[0, 1]);
        agrees(I16, -1, &[0xff, 0xff]);
        agrees(I16, 258, &[1, 2]);
        agrees(I16, i16::MIN, &[0x80, 0]);
        agrees(I16, i16::MAX, &[0x7f, 0xff]);
    }

    #[test]
    fn an_integer_is_what_java_writes() {
        agrees(I32, 0, &[0, 0, 0, 0]);
        agrees(I32, 1, &[0, 0, 0, 1]);
        agrees(I32, -1, &[0xff, 0xff, 0xff, 0xff]);
        agrees(I32, 16_909_060, &[1, 2, 3, 4]);
        agrees(I32, i32::MIN, &[0x80, 0, 0, 0]);
        agrees(I32, i32::MAX, &[0x7f, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn a_long_is_what_java_writes() {
        agrees(I64, 0, &[0, 0, 0, 0, 0, 0, 0, 0]);
        agrees(I64, 1, &[0, 0, 0, 0, 0, 0, 0, 1]);
        agrees(I64, -1, &[0xff; 8]);
        agrees(I64, 72_623_859_790_382_856, &[1, 2, 3, 4, 5, 6, 7, 8]);
        agrees(I64, i64::MIN, &[0x80, 0, 0, 0, 0, 0, 0, 0]);
        agrees(I64, i64::MAX, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn a_float_is_what_java_writes() {
        agrees(F32, 0.0, &[0, 0, 0, 0]);
        agrees(F32, 1.0, &[0x3f, 0x80, 0, 0]);
        agrees(F32, -1.5, &[0xbf, 0xc0, 0, 0]);
        agrees(F32, std::f32::consts::PI, &[0x40, 0x49, 0x0f, 0xdb]);
        agrees(F32, f32::INFINITY, &[0x7f, 0x80, 0, 0]);
        agrees(F32, f32::from_bits(1), &[0, 0, 0, 1]);
        agrees(F32, f32::MAX, &[0x7f, 0x7f, 0xff, 0xff]);
    }

    #[test]
    fn a_double_is_what_java_writes() {
        agrees(F64, 0.0, &[0, 0, 0, 0, 0, 0, 0, 0]);
        agrees(F64, 1.0, &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
        agrees(F64, -1.5, &[0xbf, 0xf8, 0, 0, 0, 0, 0, 0]);
        agrees(F64, std::f64::consts::PI, &[0x40, 0x09, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18]);
        agrees(F64, f64::NEG_INFINITY, &[0xff, 0xf0, 0, 0, 0, 0, 0, 0]);
        agrees(F64, f64::from_bits(1), &[0, 0, 0, 0, 0, 0, 0, 1]);
        agrees(F64, f64::MAX, &[0x7f, 0xef, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn negative_zero_and_the_bits_of_a_nan_are_kept() {
        assert_eq!(encode(&F32, &-0.0).unwrap(), [0x80, 0, 0, 0]);
        assert_eq!(encode(&F64, &-0.0).unwrap(), [0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode(&F32, &f32::NAN).unwrap(), [0x7f, 0xc0, 0, 0]);
        assert_eq!(encode(&F64, &f64::NAN).unwrap(), [0x7f, 0xf8, 0, 0, 0, 0, 0, 0]);
        for bits in [0x7fc0_0000u32, 0xffc0_1234] {
            assert_eq!(decode(&F32, Some(&bits.to_be_bytes())).unwrap().to_bits(), bits);
        }
        for bits in [0x7ff8_0000_0000_0000u64, 0xfff8_0000_0000_1234] {
            assert_eq!(decode(&F64, Some(&bits.to_be_bytes())).unwrap().to_bits(), bits);
        }
    }

    #[test]
    fn single_bytes_and_unsigned_numbers_are_big_endian_too() {
        agrees(I8, -128, &[0x80]);
        agrees(I8, 127, &[0x7f]);
        agrees(U8, 255, &[0xff]);
        agrees(U16, 0xfedc, &[0xfe, 0xdc]);
        agrees(U32, 0xfedc_ba98, &[0xfe, 0xdc, 0xba, 0x98]);
        agrees(U64, 0xfedc_ba98_7654_3210, &[0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10]);
    }

    /// Refuses every length from 0 to 64 except its own, and null.
    fn has_one_length<D: Deserializer>(serde: D, name: &str, length: usize) {
        for got in 0..=64 {
            let bytes = vec![0x5a; got];
            if got == length {
                assert!(decode(&serde, Some(&bytes)).is_ok());
                continue;
            }
            let (kind, message) = refusal(&serde, Some(&bytes));
            let plural = if length == 1 { "" } else { "s" };
            assert_eq!(kind, ErrorKind::Malformed);
            assert_eq!(message, format!("wrong length for {name}: expected {length} byte{plural}, got {got}"));
        }
        let (kind, message) = refusal(&serde, None);
        assert_eq!(kind, ErrorKind::UnexpectedNull);
        assert_eq!(message, format!("null where {name} is expected; use Optional to accept null"));
    }

    #[test]
    fn a_wrong_length_is_malformed_not_a_panic() {
        has_one_length(I8, "i8", 1);
        has_one_length(I16, "i16", 2);
        has_one_length(I32, "i32", 4);
        has_one_length(I64, "i64", 8);
        has_one_length(U8, "u8", 1);
        has_one_length(U16, "u16", 2);
        has_one_length(U32, "u32", 4);
        has_one_length(U64, "u64", 8);
        has_one_length(F32, "f32", 4);
        has_one_length(F64, "f64", 8);
    }

    #[test]
    fn poison_bytes_are_an_error_or_a_value_never_a_panic() {
        survives_poison(&I8);
        survives_poison(&I16);
        survives_poison(&I32);
        survives_poison(&I64);
        survives_poison(&U8);
        survives_poison(&U16);
        survives_poison(&U32);
        survives_poison(&U64);
        survives_poison(&F32);
        survives_poison(&F64);
    }
}
