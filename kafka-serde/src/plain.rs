//! Serdes that need no schema: raw bytes, text, numbers, lists; byte for byte what Kafka's Java serializers write.

mod boolean;
mod list;
mod number;
#[cfg(feature = "uuid")]
mod uuid;

pub use self::boolean::Bool;
pub use self::list::List;
pub use self::number::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
#[cfg(feature = "uuid")]
pub use self::uuid::Uuid;

use crate::optional::required;
use crate::{Deserializer, Encoded, Error, ErrorKind, Serializer, Source, Stop, Target};

/// The bytes as they are; Java's `ByteArraySerializer`.
///
/// ```
/// use kafka_serde::{Bytes, Deserializer, Part, Source};
///
/// assert_eq!(Bytes.deserialize(Some(&[1, 2]), &Source::new("frames", Part::Value))?, [1, 2]);
/// # Ok::<(), kafka_serde::Stop>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

impl Serializer for Bytes {
    type Input = [u8];

    fn serialize(&self, value: &[u8], _to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        out.extend_from_slice(value);
        Ok(Encoded::Bytes)
    }

    fn as_bytes<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        Some(value)
    }
}

impl Deserializer for Bytes {
    type Output = Vec<u8>;

    fn deserialize(&self, bytes: Option<&[u8]>, _from: &Source<'_>) -> Result<Vec<u8>, Stop> {
        Ok(required(bytes, "a byte string")?.to_vec())
    }
}

/// Text in UTF-8; Java's `StringSerializer` with its default encoding.
///
/// Bytes that are not UTF-8 are malformed. Java's `StringDeserializer` replaces them with `U+FFFD` and says nothing.
///
/// ```
/// use kafka_serde::{Deserializer, ErrorKind, Part, Source, Stop, Utf8};
///
/// let from = Source::new("orders", Part::Key);
/// assert_eq!(Utf8.deserialize(Some(b"o-1"), &from)?, "o-1");
/// assert!(matches!(Utf8.deserialize(Some(b"o-\xff"), &from), Err(Stop::Error(e)) if e.kind() == ErrorKind::Malformed));
/// # Ok::<(), Stop>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8;

impl Serializer for Utf8 {
    type Input = str;

    fn serialize(&self, value: &str, _to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        out.extend_from_slice(value.as_bytes());
        Ok(Encoded::Bytes)
    }

    fn as_bytes<'a>(&self, value: &'a str) -> Option<&'a [u8]> {
        Some(value.as_bytes())
    }
}

impl Deserializer for Utf8 {
    type Output = String;

    fn deserialize(&self, bytes: Option<&[u8]>, _from: &Source<'_>) -> Result<String, Stop> {
        let bytes = required(bytes, "UTF-8 text")?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let message = format!("not UTF-8 at byte {} of {}", error.valid_up_to(), bytes.len());
                Err(Error::new(ErrorKind::Malformed, message).with_source(error).into())
            }
        }
    }
}

/// No key, or a key nobody looks at: writes null, and reads null and any bytes alike as `()`.
///
/// Use it to read a topic whose keys are of no interest. A record written with it has no key, so the partitioner
/// spreads such records over all partitions.
///
/// ```
/// use kafka_serde::{Deserializer, Encoded, NoKey, Part, Serializer, Source, Target};
///
/// let mut bytes = Vec::new();
/// assert_eq!(NoKey.serialize(&(), &mut Target::new("clicks", Part::Key), &mut bytes)?, Encoded::Null);
/// assert_eq!(NoKey.deserialize(Some(b"whatever"), &Source::new("clicks", Part::Key))?, ());
/// # Ok::<(), kafka_serde::Stop>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKey;

impl Serializer for NoKey {
    type Input = ();

    fn serialize(&self, _value: &(), _to: &mut Target<'_>, _out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        Ok(Encoded::Null)
    }
}

impl Deserializer for NoKey {
    type Output = ();

    fn deserialize(&self, _bytes: Option<&[u8]>, _from: &Source<'_>) -> Result<(), Stop> {
        Ok(())
    }
}

/// The bytes as an array of exactly `N`; `what` names the type in the error.
fn exactly<const N: usize>(bytes: Option<&[u8]>, what: &str) -> Result<[u8; N], Error> {
    let bytes = required(bytes, what)?;
    bytes.try_into().map_err(|_| {
        let plural = if N == 1 { "" } else { "s" };
        Error::new(
            ErrorKind::Malformed,
            format!("wrong length for {what}: expected {N} byte{plural}, got {}", bytes.len()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{decode, encode, refusal, survives_poison};

    #[test]
    fn bytes_stay_as_they_are() {
        for bytes in [&b""[..], b"\0", b"\xff\xfe", b"any bytes"] {
            assert_eq!(encode(&Bytes, bytes).as_deref(), Some(bytes));
            assert_eq!(decode(&Bytes, Some(bytes)).unwrap(), bytes);
        }
    }

    #[test]
    fn bytes_and_text_are_encoded_in_place() {
        let (bytes, text) = ([1u8, 2], "text");
        assert_eq!(Bytes.as_bytes(&bytes).map(<[u8]>::as_ptr), Some(bytes.as_ptr()));
        assert_eq!(Utf8.as_bytes(text).map(<[u8]>::as_ptr), Some(text.as_ptr()));
    }

    #[test]
    fn text_is_what_java_writes() {
        let java = [0x68, 0xc3, 0xa9, 0xe4, 0xb8, 0x96, 0xf0, 0x9f, 0xa6, 0x80];
        assert_eq!(encode(&Utf8, "h\u{e9}\u{4e16}\u{1f980}").unwrap(), java);
        assert_eq!(decode(&Utf8, Some(&java)).unwrap(), "h\u{e9}\u{4e16}\u{1f980}");
        assert_eq!(encode(&Utf8, ""), Some(Vec::new()));
    }

    #[test]
    fn text_that_is_not_utf8_is_malformed_and_says_where() {
        let (kind, message) = refusal(&Utf8, Some(b"a\xffb"));
        assert_eq!((kind, message.as_str()), (ErrorKind::Malformed, "not UTF-8 at byte 1 of 3"));
        // An overlong slash, a surrogate half, and a character cut short: UTF-8 in appearance only.
        for bytes in [&b"\xc0\xaf"[..], b"\xed\xa0\x80", b"\xe4\xb8"] {
            assert_eq!(refusal(&Utf8, Some(bytes)).0, ErrorKind::Malformed);
        }
    }

    #[test]
    fn the_cause_of_a_text_error_is_its_source() {
        let Err(Stop::Error(error)) = Utf8.deserialize(Some(b"\xff"), &Source::new("t", crate::Part::Key)) else {
            panic!("decoded")
        };
        assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<std::str::Utf8Error>()));
    }

    #[test]
    fn null_is_refused_and_the_remedy_named() {
        for (kind, message) in [refusal(&Bytes, None), refusal(&Utf8, None)] {
            assert_eq!(kind, ErrorKind::UnexpectedNull);
            assert!(message.ends_with("use Optional to accept null"), "{message}");
        }
    }

    #[test]
    fn no_key_writes_null_and_reads_anything() {
        assert_eq!(encode(&NoKey, &()), None);
        for bytes in [None, Some(&b""[..]), Some(b"\xff\xff")] {
            assert!(decode(&NoKey, bytes).is_ok());
        }
    }

    #[test]
    fn poison_bytes_are_an_error_or_a_value_never_a_panic() {
        survives_poison(&Bytes);
        survives_poison(&Utf8);
        survives_poison(&NoKey);
    }
}
