//! How a payload names its schema: Confluent's wire format.
//!
//! ```text
//!   prefix   payload: 00 │ id, 4 bytes big-endian │ data            (the default)
//!                     01 │ GUID, 16 bytes         │ data
//!   header   header __key_schema_id or __value_schema_id: 01 │ GUID, 16 bytes      payload: data
//!                                                         00 │ id, 4 bytes
//! ```
//!
//! Protobuf puts the index of the message between the schema and the data, or behind the schema in the header.

use uuid::Uuid;

use crate::{Error, ErrorKind, Part, SchemaId, Source};

/// Where a serializer writes the name of the schema. A deserializer reads both, whatever is set here: the header where
/// there is one, else the prefix.
///
/// Of several headers of that name the last counts, as in Java: a record that was sent on has those of its way in order, and
/// the last is its latest writer's. Confluent's clients for Go and Python take the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Five bytes in front of the payload; what every client reads. The default.
    #[default]
    Prefix,
    /// The GUID in a header, `__key_schema_id` or `__value_schema_id`, and nothing in front of the payload, so that those
    /// who know no registry can read it. Needs a registry that gives GUIDs (Confluent Platform 8.0 or later).
    Header,
}

const ID: u8 = 0;
const GUID: u8 = 1;

/// The header's name for a key or a value.
pub(crate) const fn header(part: Part) -> &'static str {
    match part {
        Part::Key => "__key_schema_id",
        Part::Value => "__value_schema_id",
    }
}

/// A payload, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) id: SchemaId,
    /// What stands behind the schema in the header; `None` where the schema stands in the payload.
    pub(crate) header: Option<&'a [u8]>,
    pub(crate) data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Looks for the header first, then for the prefix.
    ///
    /// Of several headers of that name the last counts: see [`Framing`].
    #[inline]
    pub(crate) fn read(payload: &'a [u8], from: &Source<'a>) -> Result<Self, Error> {
        let name = header(from.part());
        match (from.last_header(name), payload) {
            // Nearly always.
            (None, [ID, a, b, c, d, data @ ..]) => {
                Ok(Self { id: SchemaId::Id(i32::from_be_bytes([*a, *b, *c, *d])), header: None, data })
            }
            (None, payload) => Self::prefixed(payload),
            (Some(value), payload) => Self::headed(name, value, payload),
        }
    }

    fn headed(name: &str, value: Option<&'a [u8]>, payload: &'a [u8]) -> Result<Self, Error> {
        let malformed = |why| Error::new(ErrorKind::Malformed, format!("the header {name} {why}"));
        let value = value.ok_or_else(|| malformed("is null"))?;
        let (id, rest) = schema(value).map_err(|_| malformed("names no schema"))?;
        Ok(Self { id, header: Some(rest), data: payload })
    }

    #[cold]
    fn prefixed(payload: &'a [u8]) -> Result<Self, Error> {
        match schema(payload) {
            Ok((id, data)) => Ok(Self { id, header: None, data }),
            Err(why) => Err(Error::new(ErrorKind::Malformed, why)),
        }
    }

    /// The data of a format that has nothing more to say in the header.
    #[cfg(any(feature = "avro", feature = "json-schema"))]
    #[inline]
    pub(crate) fn data(&self) -> Result<&'a [u8], Error> {
        match self.header {
            Some([_, ..]) => {
                let message = "the schema id header goes on after the schema";
                Err(Error::new(ErrorKind::Malformed, message).with_schema(self.id))
            }
            _ => Ok(self.data),
        }
    }
}

/// The schema at the start of `bytes`, and what follows it.
fn schema(bytes: &[u8]) -> Result<(SchemaId, &[u8]), String> {
    let short = |what: &str| format!("{} bytes are too few for {what}", bytes.len());
    match bytes {
        [] => Err("empty payload where a schema id is expected".into()),
        [ID, rest @ ..] => match rest.split_first_chunk() {
            Some((id, rest)) => Ok((SchemaId::Id(i32::from_be_bytes(*id)), rest)),
            None => Err(short("a schema id")),
        },
        [GUID, rest @ ..] => match rest.split_first_chunk() {
            Some((guid, rest)) => Ok((SchemaId::Guid(Uuid::from_bytes(*guid)), rest)),
            None => Err(short("a schema GUID")),
        },
        [3, 0 | 5, ..] => Err("the payload is in the format of AWS Glue, not of a Confluent schema registry".into()),
        [other, ..] => Err(format!("unknown magic byte {other:02x}: the payload does not start with a schema id")),
    }
}

/// The bytes that name a schema: in front of a payload, or in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    bytes: [u8; 17],
    length: usize,
}

impl Tag {
    pub(crate) fn id(id: i32) -> Self {
        let mut bytes = [0; 17];
        bytes[1..5].copy_from_slice(&id.to_be_bytes());
        Self { bytes, length: 5 }
    }

    pub(crate) fn guid(guid: Uuid) -> Self {
        let mut bytes = [GUID; 17];
        bytes[1..].copy_from_slice(guid.as_bytes());
        Self { bytes, length: 17 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FindHeader;

    const A_GUID: Uuid = Uuid::from_u128(0x89791762_2336_4186_9674_299b90a802e2);

    /// One record's headers.
    struct Headers(Vec<(&'static str, Option<Vec<u8>>)>);

    impl FindHeader for Headers {
        fn last(&self, name: &str) -> Option<Option<&[u8]>> {
            self.0.iter().rfind(|(known, _)| *known == name).map(|(_, value)| value.as_deref())
        }
    }

    fn why(payload: &[u8]) -> String {
        Frame::read(payload, &Source::new("t", Part::Value)).unwrap_err().to_string()
    }

    #[test]
    fn a_prefix_is_an_id_and_the_rest_is_data() {
        let frame = Frame::read(&[0, 0, 0, 1, 2, 7, 8], &Source::new("t", Part::Value)).unwrap();
        assert_eq!(frame, Frame { id: SchemaId::Id(258), header: None, data: &[7, 8] });
        let guid = [&[1][..], A_GUID.as_bytes(), &[9]].concat();
        let frame = Frame::read(&guid, &Source::new("t", Part::Value)).unwrap();
        assert_eq!(frame, Frame { id: SchemaId::Guid(A_GUID), header: None, data: &[9] });
    }

    #[test]
    fn the_header_of_the_right_half_counts_and_the_last_one_of_its_name() {
        let tag = |id| Some(Tag::id(id).as_bytes().to_vec());
        let headers =
            Headers(vec![("__value_schema_id", tag(1)), ("__value_schema_id", tag(2)), ("__key_schema_id", tag(3))]);
        let read = |part| Frame::read(b"data", &Source::new("t", part).with_headers(&headers)).unwrap().id;
        assert_eq!((read(Part::Value), read(Part::Key)), (SchemaId::Id(2), SchemaId::Id(3)));
    }

    #[test]
    fn a_header_that_is_broken_is_an_error_and_no_reason_to_try_the_prefix() {
        for value in [None, Some(vec![]), Some(vec![1, 2]), Some(vec![7; 17]), Some(vec![0, 0, 0])] {
            let headers = Headers(vec![("__value_schema_id", value)]);
            let from = Source::new("t", Part::Value).with_headers(&headers);
            let error = Frame::read(&[0, 0, 0, 0, 1, 2], &from).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.to_string().starts_with("the header __value_schema_id"), "{error}");
        }
    }

    #[test]
    fn short_payloads_and_other_formats_are_named() {
        assert_eq!(why(b""), "empty payload where a schema id is expected");
        for length in 1..5 {
            assert_eq!(why(&vec![0; length]), format!("{length} bytes are too few for a schema id"));
        }
        for length in 1..17 {
            assert_eq!(why(&vec![1; length]), format!("{length} bytes are too few for a schema GUID"));
        }
        assert!(why(b"{\"id\":1}").starts_with("unknown magic byte 7b"));
        assert!(why(&[3, 0, 1]).contains("AWS Glue"));
    }

    #[test]
    fn what_is_written_is_read() {
        for (tag, id) in [(Tag::id(-1), SchemaId::Id(-1)), (Tag::guid(A_GUID), SchemaId::Guid(A_GUID))] {
            assert_eq!(schema(tag.as_bytes()).unwrap(), (id, &[][..]));
        }
    }
}
