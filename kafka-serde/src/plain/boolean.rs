//! True and false.

use super::exactly;
use crate::{Deserializer, Encoded, Error, ErrorKind, Serializer, Source, Stop, Target};

/// One byte, 00 or 01; Java's `BooleanSerializer`. Any other byte is malformed.
///
/// ```
/// use kafka_serde::{Bool, Deserializer, Part, Source};
///
/// let from = Source::new("switches", Part::Value);
/// assert!(Bool.deserialize(Some(&[1]), &from)?);
/// assert!(Bool.deserialize(Some(&[2]), &from).is_err());
/// # Ok::<(), kafka_serde::Stop>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Bool;

impl Serializer for Bool {
    type Input = bool;

    fn serialize(&self, value: &bool, _to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        out.push(u8::from(*value));
        Ok(Encoded::Bytes)
    }
}

impl Deserializer for Bool {
    type Output = bool;

    fn deserialize(&self, bytes: Option<&[u8]>, _from: &Source<'_>) -> Result<bool, Stop> {
        match exactly(bytes, "bool")? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Error::new(ErrorKind::Malformed, format!("bool is 00 or 01, got {other:02x}")).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{decode, encode, refusal, survives_poison};

    #[test]
    fn a_boolean_is_what_java_writes() {
        for (value, java) in [(true, [1]), (false, [0])] {
            assert_eq!(encode(&Bool, &value).unwrap(), java);
            assert_eq!(decode(&Bool, Some(&java)).unwrap(), value);
        }
    }

    #[test]
    fn every_other_byte_is_malformed_as_in_java() {
        for byte in 2..=u8::MAX {
            let (kind, message) = refusal(&Bool, Some(&[byte]));
            assert_eq!((kind, message), (ErrorKind::Malformed, format!("bool is 00 or 01, got {byte:02x}")));
        }
    }

    #[test]
    fn a_wrong_length_is_malformed_not_a_panic() {
        assert_eq!(refusal(&Bool, Some(&[0, 1])).1, "wrong length for bool: expected 1 byte, got 2");
        assert_eq!(refusal(&Bool, Some(&[])).1, "wrong length for bool: expected 1 byte, got 0");
        assert_eq!(refusal(&Bool, None).0, ErrorKind::UnexpectedNull);
        survives_poison(&Bool);
    }
}
