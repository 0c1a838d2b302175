//! A record that waits for long: its bytes in one piece, so that it holds neither librdkafka's message nor the fetch that
//! it came with.

use crate::headers::HeadersRef;
use crate::native::Message;

/// A copy of a record: key, value and headers one after the other.
pub(crate) struct Kept {
    bytes: Box<[u8]>,
    /// -1 is null.
    key: i32,
    /// -1 is null.
    value: i32,
    headers: u32,
    partition: i32,
    offset: i64,
    timestamp: Option<(i64, bool)>,
}

impl Kept {
    pub(crate) fn copy(message: &Message) -> Self {
        let (view, headers) = (message.view(), HeadersRef::new(message.headers()));
        let packed: usize =
            headers.iter().map(|one| 8 + one.name_bytes().len() + one.value().map_or(0, <[u8]>::len)).sum();
        let mut bytes = Vec::with_capacity(view.size() + packed);
        bytes.extend_from_slice(view.key().unwrap_or_default());
        bytes.extend_from_slice(view.payload().unwrap_or_default());
        for header in headers.iter() {
            put(&mut bytes, Some(header.name_bytes()));
            put(&mut bytes, header.value());
        }
        Self {
            bytes: bytes.into(),
            key: length(view.key()),
            value: length(view.payload()),
            headers: headers.len() as u32,
            partition: view.partition(),
            offset: view.offset(),
            timestamp: view.timestamp(),
        }
    }

    pub(crate) fn partition(&self) -> i32 {
        self.partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.offset
    }

    pub(crate) fn timestamp(&self) -> Option<(i64, bool)> {
        self.timestamp
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        (self.key >= 0).then(|| &self.bytes[..self.key as usize])
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        let from = self.key.max(0) as usize;
        (self.value >= 0).then(|| &self.bytes[from..from + self.value as usize])
    }

    /// How many headers there are.
    pub(crate) fn headers(&self) -> usize {
        self.headers as usize
    }

    /// The header at `index`: its name, and its value.
    pub(crate) fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        if index >= self.headers() {
            return None;
        }
        let mut rest = &self.bytes[self.key.max(0) as usize + self.value.max(0) as usize..];
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

fn put(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.extend_from_slice(&length(bytes).to_le_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn take<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = i32::from_le_bytes(*length);
    let (bytes, after) = after.split_at(length.max(0) as usize);
    *rest = after;
    (length >= 0).then_some(bytes)
}
