//! The index of a message: a path of numbers from the file to the message.

use std::fmt;

use crate::{Error, ErrorKind};

/// Messages within messages that an index may name; Protobuf itself allows little more.
const DEEPEST: usize = 32;

/// A path; kept in place, since one is read for every payload.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Index {
    path: [i32; DEEPEST],
    length: usize,
}

impl Index {
    pub(crate) fn new(path: &[i32]) -> Option<Self> {
        let mut index = Self { path: [0; DEEPEST], length: path.len() };
        index.path.get_mut(..path.len())?.copy_from_slice(path);
        Some(index)
    }

    pub(crate) fn path(&self) -> &[i32] {
        &self.path[..self.length]
    }

    /// The index at the start of `bytes`, and what follows it.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        // Nearly always the first message of the file, which is one byte.
        if let [0, rest @ ..] = bytes {
            return Ok((Self { path: [0; DEEPEST], length: 1 }, rest));
        }
        let mut rest = bytes;
        let count = number(&mut rest)?;
        let length = usize::try_from(count).ok().filter(|length| *length <= DEEPEST);
        let Some(length) = length else {
            let message = format!("the index of the message claims {count} numbers, and {DEEPEST} is the most");
            return Err(Error::new(ErrorKind::Malformed, message));
        };
        let mut index = Self { path: [0; DEEPEST], length };
        for place in &mut index.path[..length] {
            *place = number(&mut rest)?;
        }
        Ok((index, rest))
    }

    /// As it is written; `[0]` has a short form.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.path() {
            [0] => out.push(0),
            path => {
                put(path.len() as i32, &mut out);
                path.iter().for_each(|place| put(*place, &mut out));
            }
        }
        out
    }
}

/// One zigzag number of 32 bits.
fn number(rest: &mut &[u8]) -> Result<i32, Error> {
    let malformed = |message: &str| Error::new(ErrorKind::Malformed, message);
    let mut value = 0_u64;
    for (at, byte) in rest.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            let value =
                u32::try_from(value).map_err(|_| malformed("the index of the message has a number out of range"))?;
            return Ok((value >> 1) as i32 ^ -((value & 1) as i32));
        }
    }
    Err(malformed(match rest.len() {
        0..5 => "the payload ends within the index of the message",
        _ => "the index of the message has a number out of range",
    }))
}

fn put(number: i32, out: &mut Vec<u8>) {
    let mut rest = (number << 1 ^ number >> 31) as u32;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.path()).finish()
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_written_as_confluent_does_and_read_back() {
        for (path, bytes) in [
            (&[0][..], &[0][..]),
            (&[1], &[2, 2]),
            (&[0, 1], &[4, 0, 2]),
            (&[1, 2, 3], &[6, 2, 4, 6]),
            (&[128], &[2, 0x80, 2]),
        ] {
            let index = Index::new(path).unwrap();
            assert_eq!(index.to_bytes(), bytes);
            let (read, rest) =
                Index::read(&[bytes, &[7]].concat()).map(|(index, rest)| (index, rest.to_vec())).unwrap();
            assert_eq!((read, rest), (index, vec![7]));
        }
        // The long form of the first message.
        assert_eq!(Index::read(&[2, 0]).unwrap().0.path(), [0]);
    }

    #[test]
    fn an_index_is_bounded_whatever_it_claims() {
        for bytes in [&[][..], &[2], &[0x80], &[4, 0], &[2, 0x80, 0x80]] {
            let error = Index::read(bytes).unwrap_err();
            assert_eq!(error.to_string(), "the payload ends within the index of the message", "{bytes:?}");
        }
        for bytes in [&[66][..], &[1], &[0xfe, 0xff, 0xff, 0xff, 0x0f]] {
            assert!(Index::read(bytes).unwrap_err().to_string().contains("and 32 is the most"), "{bytes:?}");
        }
        for bytes in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0x80; 11]] {
            assert!(Index::read(bytes).unwrap_err().to_string().contains("out of range"), "{bytes:?}");
        }
    }
}
