//! The bytes of a datum, read front to back; no length is believed before it is compared with what is left.

use super::fault::Fault;

/// Containers within containers that a datum may have.
pub(crate) const DEEPEST: usize = 64;

/// Items of no size (`null`, empty records) that any payload may have on top of one for each of its bytes. They are
/// values in memory, and nothing in the payload stands for them.
const SPARE_ITEMS: usize = 16;

pub(crate) struct Input<'de> {
    rest: &'de [u8],
    /// Items of no size that may still come: a block's count is all that stands for them.
    spare: usize,
}

impl<'de> Input<'de> {
    pub(crate) fn new(bytes: &'de [u8]) -> Self {
        Self { rest: bytes, spare: bytes.len() + SPARE_ITEMS }
    }

    pub(crate) fn rest(&self) -> &'de [u8] {
        self.rest
    }

    /// Goes back to where it was.
    pub(crate) fn rewind(&mut self, rest: &'de [u8]) {
        self.rest = rest;
    }

    /// A datum ends where its payload ends.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Fault::new(format!("{left} bytes are left after the value"))),
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'de [u8], Fault> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(short(length, self.rest.len())),
        }
    }

    pub(crate) fn all(&mut self) -> &'de [u8] {
        std::mem::take(&mut self.rest)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(short(N, self.rest.len())),
        }
    }

    #[inline]
    pub(crate) fn boolean(&mut self) -> Result<bool, Fault> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(no_boolean(other)),
        }
    }

    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, Fault> {
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(zigzag(u64::from(*first)));
        }
        self.long_varint()
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<i64, Fault> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if index == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[index + 1..];
                return Ok(zigzag(value));
            }
        }
        Err(Fault::new(if self.rest.len() < 10 {
            "the bytes end within a number"
        } else {
            "a number is longer than 64 bits"
        }))
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Result<i32, Fault> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| too_long(long))
    }

    /// The bytes after their length.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'de [u8], Fault> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(negative(length)),
        }
    }

    /// The number of a branch or a symbol.
    #[inline]
    pub(crate) fn index(&mut self, of: usize, what: &str) -> Result<usize, Fault> {
        let index = self.long()?;
        let known = usize::try_from(index).ok().filter(|index| *index < of);
        known.ok_or_else(|| unknown(index, of, what))
    }

    /// How many items, of at least `least` bytes each, the next block has; 0 after the last.
    ///
    /// A block with a negative count carries its size in bytes as well; Go's clients write it so.
    #[inline]
    pub(crate) fn block(&mut self, least: usize) -> Result<usize, Fault> {
        let count = self.long()?;
        if count == 0 {
            return Ok(0);
        }
        self.items(count, least)
    }

    fn items(&mut self, count: i64, least: usize) -> Result<usize, Fault> {
        if count < 0 {
            self.block_size()?;
        }
        let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        let room = self.rest.len().checked_div(least).unwrap_or(self.spare);
        if count > room {
            return Err(Fault::new(format!("a block claims {count} items, and {} bytes are left", self.rest.len())));
        }
        if least == 0 {
            self.spare -= count;
        }
        Ok(count)
    }

    fn block_size(&mut self) -> Result<usize, Fault> {
        let size = self.long()?;
        usize::try_from(size)
            .ok()
            .filter(|size| *size <= self.rest.len())
            .ok_or_else(|| Fault::new(format!("a block claims {size} bytes, and {} are left", self.rest.len())))
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cold]
fn negative(length: i64) -> Fault {
    Fault::new(format!("a length is negative: {length}"))
}

#[cold]
fn too_long(number: i64) -> Fault {
    Fault::new(format!("{number} is out of range for an int"))
}

#[cold]
fn unknown(index: i64, of: usize, what: &str) -> Fault {
    Fault::new(format!("there is no {what} {index}, the schema has {of}"))
}

#[cold]
fn no_boolean(byte: u8) -> Fault {
    Fault::new(format!("a boolean is 00 or 01, got {byte:02x}"))
}

#[cold]
fn short(wanted: usize, left: usize) -> Fault {
    Fault::new(format!("{wanted} bytes are expected, and {left} are left"))
}

/// Appends a number as Avro and Protobuf's `sint64` write it.
#[inline]
pub(crate) fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    if rest < 0x80 {
        out.push(rest as u8);
        return;
    }
    let mut bytes = [0; 10];
    let mut length = 0;
    while rest >= 0x80 {
        bytes[length] = rest as u8 | 0x80;
        rest >>= 7;
        length += 1;
    }
    bytes[length] = rest as u8;
    out.extend_from_slice(&bytes[..=length]);
}

/// Appends bytes after their length.
#[inline]
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}
