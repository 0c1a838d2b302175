//! What every serde's tests need: one call in each direction, and bytes from hell.

use crate::{Deserializer, Encoded, Error, ErrorKind, Part, Serializer, Source, Stop, Target};

/// The bytes of `value`, `None` for null. Checks what each serializer promises on the way.
pub(crate) fn encode<S: Serializer>(serde: &S, value: &S::Input) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let encoded = serde.serialize(value, &mut Target::new("orders", Part::Value), &mut out).unwrap();
    let bytes = out.split_off(6);
    assert_eq!(out, b"before", "what the buffer already held is kept");
    match encoded {
        Encoded::Bytes => {
            assert!(serde.as_bytes(value).is_none_or(|view| view == bytes), "both ways give the same bytes");
            Some(bytes)
        }
        Encoded::Null => {
            assert!(bytes.is_empty() && serde.as_bytes(value).is_none(), "null has no bytes");
            None
        }
    }
}

/// The value of `bytes`; panics on a miss, which no serde that is tested with this has.
pub(crate) fn decode<D: Deserializer>(serde: &D, bytes: Option<&[u8]>) -> Result<D::Output, Error> {
    serde.deserialize(bytes, &Source::new("orders", Part::Value)).map_err(|stop| match stop {
        Stop::Error(error) => error,
        Stop::Miss(miss) => panic!("{miss:?}"),
    })
}

/// How `bytes` are refused.
pub(crate) fn refusal<D: Deserializer>(serde: &D, bytes: Option<&[u8]>) -> (ErrorKind, String) {
    let error = decode(serde, bytes).err().expect("the bytes are refused");
    (error.kind(), error.to_string())
}

/// Decodes null, and bytes of every length from 0 to 64 that look like nothing or like a start of something.
pub(crate) fn survives_poison<D: Deserializer>(serde: &D) {
    let _ = decode(serde, None);
    let counting: Vec<u8> = (0..64).collect();
    let random = random_bytes(64 * 65);
    for length in 0..=64 {
        for byte in [0, 1, 0x7f, 0x80, 0xff, b'"', b'[', b'{', b'-', b'9'] {
            let _ = decode(serde, Some(&vec![byte; length]));
            for start in [0, 1] {
                let mut bytes = vec![byte; length];
                bytes.iter_mut().take(1).for_each(|first| *first = start);
                let _ = decode(serde, Some(&bytes));
            }
        }
        let _ = decode(serde, Some(&counting[..length]));
        for at in 0..64 {
            let _ = decode(serde, Some(&random[at * 64..][..length]));
        }
    }
}

/// The same `length` bytes in each run.
pub(crate) fn random_bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

/// The payload of `value` for `orders`, after whatever it misses.
#[cfg(feature = "_registered")]
pub(crate) fn encode_resolved<S: Serializer>(serde: &S, value: &S::Input, part: Part) -> Result<Vec<u8>, Error> {
    encode_with_headers(serde, value, &mut Target::new("orders", part))
}

/// The payload of `value` for a target of any kind, after whatever it misses.
#[cfg(feature = "_registered")]
pub(crate) fn encode_with_headers<S: Serializer>(
    serde: &S,
    value: &S::Input,
    to: &mut Target<'_>,
) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for _ in 0..3 {
        out.clear();
        match serde.serialize(value, to, &mut out) {
            Ok(encoded) => {
                assert_eq!(encoded, Encoded::Bytes);
                return Ok(out);
            }
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Miss(miss)) => futures::executor::block_on(miss.resolve())?,
        }
    }
    panic!("a miss that was resolved is missed again")
}

/// The value of a payload of `orders`, after whatever it misses.
#[cfg(feature = "_registered")]
pub(crate) fn decode_resolved<D: Deserializer>(serde: &D, bytes: &[u8]) -> Result<D::Output, Error> {
    decode_from(serde, bytes, &Source::new("orders", Part::Value))
}

/// The value of a payload from anywhere, after whatever it misses.
#[cfg(feature = "_registered")]
pub(crate) fn decode_from<D: Deserializer>(serde: &D, bytes: &[u8], from: &Source<'_>) -> Result<D::Output, Error> {
    for _ in 0..4 {
        match serde.deserialize(Some(bytes), from) {
            Ok(value) => return Ok(value),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Miss(miss)) => futures::executor::block_on(miss.resolve())?,
        }
    }
    panic!("a miss that was resolved is missed again")
}

/// Headers in the order they were added.
#[cfg(feature = "_registered")]
#[derive(Default)]
pub(crate) struct Headers(pub(crate) Vec<(String, Option<Vec<u8>>)>);

#[cfg(feature = "_registered")]
impl crate::AddHeader for Headers {
    fn add(&mut self, name: &str, value: Option<&[u8]>) {
        self.0.push((name.to_owned(), value.map(<[u8]>::to_vec)));
    }
}

#[cfg(feature = "_registered")]
impl crate::FindHeader for Headers {
    fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.as_deref())
    }
}
