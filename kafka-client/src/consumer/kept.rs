//! A record that waits for long: its bytes in one piece, so that it holds neither librdkafka's message nor the fetch that
//! it came with.

use crate::headers::HeadersRef;
use crate::native::Message;

/// A copy of a record: key, value, headers, one after the other. Its partition is its life's.
pub(crate) struct Kept {
    /// Behind key and value stands four times the number of headers, plus the kind of timestamp; then the headers.
    bytes: Box<[u8]>,
    offset: i64,
    timestamp: i64,
    /// -1 is null.
    key: i32,
    /// -1 is null.
    value: i32,
}

const NO_TIMESTAMP: usize = 0;
const OF_PRODUCER: usize = 1;
const OF_BROKER: usize = 2;

impl Kept {
    pub(crate) fn copy(message: &Message) -> Self {
        let (view, headers) = (message.view(), HeadersRef::new(message.headers()));
        let (timestamp, kind) = match view.timestamp() {
            None => (0, NO_TIMESTAMP),
            Some((millis, false)) => (millis, OF_PRODUCER),
            Some((millis, true)) => (millis, OF_BROKER),
        };
        let mut bytes = Vec::with_capacity(view.size());
        bytes.extend_from_slice(view.key().unwrap_or_default());
        bytes.extend_from_slice(view.payload().unwrap_or_default());
        put_number(&mut bytes, headers.len() * 4 + kind);
        for header in headers.iter() {
            put(&mut bytes, Some(header.name_bytes()));
            put(&mut bytes, header.value());
        }
        let (key, value) = (length(view.key()), length(view.payload()));
        Self { bytes: bytes.into(), offset: view.offset(), timestamp, key, value }
    }

    pub(crate) fn offset(&self) -> i64 {
        self.offset
    }

    /// In milliseconds, and whether it is the broker's.
    pub(crate) fn timestamp(&self) -> Option<(i64, bool)> {
        match take_number(&mut self.behind_value()) % 4 {
            NO_TIMESTAMP => None,
            kind => Some((self.timestamp, kind == OF_BROKER)),
        }
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        (self.key >= 0).then(|| &self.bytes[..self.key as usize])
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        let from = self.key.max(0) as usize;
        (self.value >= 0).then(|| &self.bytes[from..from + self.value as usize])
    }

    fn behind_value(&self) -> &[u8] {
        &self.bytes[self.key.max(0) as usize + self.value.max(0) as usize..]
    }

    /// How many headers there are.
    pub(crate) fn headers(&self) -> usize {
        take_number(&mut self.behind_value()) / 4
    }

    /// The header at `index`: its name, and its value.
    pub(crate) fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let mut rest = self.behind_value();
        if index >= take_number(&mut rest) / 4 {
            return None;
        }
        for _ in 0..index {
            take(&mut rest);
            take(&mut rest);
        }
        Some((take(&mut rest).unwrap_or_default(), take(&mut rest)))
    }
}

/// librdkafka holds no record of 2 GiB.
fn length(bytes: Option<&[u8]>) -> i32 {
    bytes.map_or(-1, |bytes| bytes.len() as i32)
}

/// One more than the length, and the bytes; 0 is null.
fn put(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_number(out, bytes.map_or(0, |bytes| bytes.len() + 1));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn take<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = take_number(rest).checked_sub(1)?;
    let (bytes, after) = rest.split_at(length);
    *rest = after;
    Some(bytes)
}

/// Seven bits to a byte, the lowest first; the last has no eighth.
fn put_number(out: &mut Vec<u8>, number: usize) {
    let mut left = number;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn take_number(rest: &mut &[u8]) -> usize {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, after)) = rest.split_first() {
        *rest = after;
        number |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_any_size_and_null_come_back() {
        let lengths = [0, 1, 126, 127, 128, 16_382, 16_383, 16_384, 2_097_151];
        let mut packed = Vec::new();
        for length in lengths {
            put(&mut packed, Some(&vec![7; length]));
            put(&mut packed, None);
        }
        let mut rest = &packed[..];
        for length in lengths {
            assert_eq!(take(&mut rest).map(<[u8]>::len), Some(length));
            assert_eq!(take(&mut rest), None);
        }
        assert!(rest.is_empty());
    }
}
