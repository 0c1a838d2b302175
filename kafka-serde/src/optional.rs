//! Null and not null: the serde that accepts both, and the refusal of all others.

use std::borrow::Borrow;

use crate::{Deserializer, Encoded, Error, ErrorKind, Serializer, Source, Stop, Target};

/// Accepts Kafka's null: `None` is null, `Some` is whatever the inner serde makes of the value.
///
/// A record with a null value is a tombstone: it deletes its key from a compacted topic. Null is not the same as no
/// bytes: an empty string stays `Some("")`.
///
/// An inner serde that writes null itself ([`NoKey`](crate::NoKey), another `Optional`) cannot be told from `None`
/// afterwards: its null comes back as `None`.
///
/// ```
/// use kafka_serde::{Deserializer, Encoded, Optional, Part, Serializer, Source, Target, Utf8};
///
/// let names = Optional::new(Utf8);
/// let mut bytes = Vec::new();
/// assert_eq!(names.serialize(&None, &mut Target::new("names", Part::Value), &mut bytes)?, Encoded::Null);
/// assert_eq!(names.deserialize(None, &Source::new("names", Part::Value))?, None);
/// assert_eq!(names.deserialize(Some(b""), &Source::new("names", Part::Value))?, Some(String::new()));
/// # Ok::<(), kafka_serde::Stop>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Optional<S> {
    inner: S,
}

impl<S> Optional<S> {
    /// Lets `inner` be null.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Serializer for Optional<S>
where
    S: Serializer + Deserializer,
    S::Output: Borrow<S::Input>,
{
    type Input = Option<S::Output>;

    fn serialize(&self, value: &Self::Input, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        match value {
            Some(value) => self.inner.serialize(value.borrow(), to, out),
            None => Ok(Encoded::Null),
        }
    }

    fn as_bytes<'a>(&self, value: &'a Self::Input) -> Option<&'a [u8]> {
        value.as_ref().and_then(|value| self.inner.as_bytes(value.borrow()))
    }
}

impl<S: Deserializer> Deserializer for Optional<S> {
    type Output = Option<S::Output>;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<Self::Output, Stop> {
        bytes.map(|bytes| self.inner.deserialize(Some(bytes), from)).transpose()
    }
}

/// The bytes of a field that must not be null; `what` names the expected value.
pub(crate) fn required<'a>(bytes: Option<&'a [u8]>, what: &str) -> Result<&'a [u8], Error> {
    bytes.ok_or_else(|| {
        Error::new(ErrorKind::UnexpectedNull, format!("null where {what} is expected; use Optional to accept null"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{decode, encode, refusal, survives_poison};
    use crate::{Bytes, I32, List, NoKey, Utf8};

    #[test]
    fn none_is_null_both_ways() {
        assert_eq!(encode(&Optional::new(I32), &None), None);
        assert_eq!(decode(&Optional::new(I32), None).unwrap(), None);
    }

    #[test]
    fn some_is_encoded_as_the_inner_serde_does() {
        assert_eq!(encode(&Optional::new(I32), &Some(7)), Some(vec![0, 0, 0, 7]));
        assert_eq!(decode(&Optional::new(I32), Some(&[0, 0, 0, 7])).unwrap(), Some(7));
    }

    #[test]
    fn an_empty_payload_is_not_null() {
        assert_eq!(encode(&Optional::new(Utf8), &Some(String::new())), Some(Vec::new()));
        assert_eq!(decode(&Optional::new(Utf8), Some(b"")).unwrap(), Some(String::new()));
    }

    #[test]
    fn the_bytes_of_a_present_value_need_no_copy() {
        let value = Some(b"raw".to_vec());
        assert_eq!(Optional::new(Bytes).as_bytes(&value).map(<[u8]>::as_ptr), value.as_deref().map(<[u8]>::as_ptr));
        assert_eq!(Optional::new(Bytes).as_bytes(&None), None);
    }

    #[test]
    fn malformed_bytes_stay_malformed() {
        assert_eq!(refusal(&Optional::new(I32), Some(&[1])).0, ErrorKind::Malformed);
    }

    #[test]
    fn a_null_that_the_inner_serde_writes_comes_back_as_none() {
        assert_eq!(encode(&Optional::new(NoKey), &Some(())), None);
        assert_eq!(encode(&Optional::new(Optional::new(I32)), &Some(None)), None);
        assert_eq!(decode(&Optional::new(Optional::new(I32)), None).unwrap(), None);
    }

    #[test]
    fn unsized_inputs_work_through_their_owned_form() {
        assert_eq!(encode(&Optional::new(List::new(Utf8)), &Some(vec![])), Some(vec![1, 0, 0, 0, 0]));
        assert_eq!(encode(&Optional::new(Bytes), &Some(vec![1])), Some(vec![1]));
    }

    #[test]
    fn poison_bytes_are_an_error_or_a_value_never_a_panic() {
        survives_poison(&Optional::new(I32));
        survives_poison(&Optional::new(Optional::new(Utf8)));
    }
}
