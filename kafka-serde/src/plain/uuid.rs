//! UUIDs as text.

use ::uuid::Uuid as Value;

use super::exactly;
use crate::{Deserializer, Encoded, Error, ErrorKind, Serializer, Source, Stop, Target};

/// The 36 characters `67e55044-10b1-426f-9247-bb680e5fe0c8`, not 16 bytes; Java's `UUIDSerializer`.
///
/// Written in lower case, read in either. Java's `UUIDDeserializer` also reads groups with too few digits (`1-1-1-1-1`),
/// which its serializer never writes; here they are malformed.
///
/// ```
/// use kafka_serde::{Deserializer, Part, Source, Uuid};
///
/// let bytes = b"67e55044-10b1-426f-9247-bb680e5fe0c8";
/// let id: uuid::Uuid = Uuid.deserialize(Some(bytes), &Source::new("orders", Part::Key))?;
/// assert_eq!(id.get_version_num(), 4);
/// # Ok::<(), kafka_serde::Stop>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Uuid;

impl Serializer for Uuid {
    type Input = Value;

    fn serialize(&self, value: &Value, _to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        let mut text = [0; 36];
        out.extend_from_slice(value.hyphenated().encode_lower(&mut text).as_bytes());
        Ok(Encoded::Bytes)
    }
}

impl Deserializer for Uuid {
    type Output = Value;

    fn deserialize(&self, bytes: Option<&[u8]>, _from: &Source<'_>) -> Result<Value, Stop> {
        // Of the forms the parser knows, only the hyphenated one has 36 characters.
        let text: [u8; 36] = exactly(bytes, "the text of a UUID")?;
        Value::try_parse_ascii(&text)
            .map_err(|error| Error::new(ErrorKind::Malformed, "not the text of a UUID").with_source(error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{decode, encode, refusal, survives_poison};

    const ID: Value = Value::from_u128(0x67e55044_10b1_426f_9247_bb680e5fe0c8);
    const JAVA: &[u8] = b"67e55044-10b1-426f-9247-bb680e5fe0c8";

    #[test]
    fn a_uuid_is_what_java_writes() {
        assert_eq!(encode(&Uuid, &ID).as_deref(), Some(JAVA));
        assert_eq!(decode(&Uuid, Some(JAVA)).unwrap(), ID);
    }

    #[test]
    fn upper_case_is_read_and_lower_case_written() {
        assert_eq!(decode(&Uuid, Some(&JAVA.to_ascii_uppercase())).unwrap(), ID);
    }

    #[test]
    fn only_the_hyphenated_form_is_read() {
        for other in [
            &b"67e5504410b1426f9247bb680e5fe0c8"[..],
            b"{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            b"urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
            b"1-1-1-1-1",
            b"",
            ID.as_bytes(),
        ] {
            let (kind, message) = refusal(&Uuid, Some(other));
            assert_eq!(kind, ErrorKind::Malformed);
            assert_eq!(message, format!("wrong length for the text of a UUID: expected 36 bytes, got {}", other.len()));
        }
        for other in
            [&b"67e55044-10b1-426f-9247-bb680e5fe0cg"[..], b"67e55044010b1-426f-9247-bb680e5fe0c8", &[0xff; 36]]
        {
            assert_eq!(refusal(&Uuid, Some(other)), (ErrorKind::Malformed, "not the text of a UUID".to_owned()));
        }
    }

    #[test]
    fn null_and_poison_are_refused_not_a_panic() {
        assert_eq!(refusal(&Uuid, None).0, ErrorKind::UnexpectedNull);
        survives_poison(&Uuid);
    }
}
