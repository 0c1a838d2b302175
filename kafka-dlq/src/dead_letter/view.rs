//! A record as the dialects see it: borrowed, whatever it was read with.

use kafka_client::{FailedRecord, Header, Headers, HeadersRef, RawRecord, RawRef, Received};

use crate::failure::TimestampType;

/// A record, borrowed: bytes, headers, and where it stands.
///
/// Made `From` a [`Received`], a [`FailedRecord`] or a [`RawRecord`], or of its parts. Cheap to copy.
///
/// ```
/// use kafka_dlq::RecordView;
///
/// let headers: [(&[u8], Option<&[u8]>); 1] = [(b"original_offset", Some(b"12"))];
/// let record = RecordView { value: Some(b"{}"), offset: Some(3), ..RecordView::new("events.dlq", &headers[..]) };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// The topic it stands in; for a [`RawRecord`], the one it is for.
    pub topic: &'a str,
    /// The partition; `None` where it has none yet.
    pub partition: Option<i32>,
    /// The offset; `None` where it has none yet.
    pub offset: Option<i64>,
    /// The timestamp in milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Who set the timestamp; `None` if not known.
    pub timestamp_type: Option<TimestampType>,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: HeadersView<'a>,
}

impl<'a> RecordView<'a> {
    /// A record with these headers, of which nothing else is known.
    pub fn new(topic: &'a str, headers: impl Into<HeadersView<'a>>) -> Self {
        let headers = headers.into();
        Self {
            topic,
            partition: None,
            offset: None,
            timestamp_ms: None,
            timestamp_type: None,
            key: None,
            value: None,
            headers,
        }
    }

    /// A record of a raw batch, whose topic and partition the batch knows; `headers` are those of `record`.
    pub fn of_raw(topic: &'a str, partition: i32, record: &RawRef<'a>, headers: &'a Headers) -> Self {
        Self {
            partition: Some(partition),
            offset: Some(record.offset()),
            timestamp_ms: record.timestamp_ms(),
            key: record.key(),
            value: record.value(),
            ..Self::new(topic, headers)
        }
    }
}

macro_rules! of_a_read_record {
    ($record:ident) => {
        Self {
            partition: Some($record.partition()),
            offset: Some($record.offset()),
            timestamp_ms: $record.timestamp_ms(),
            key: $record.key_bytes(),
            value: $record.value_bytes(),
            ..Self::new($record.topic(), $record.headers())
        }
    };
}

impl<'a, K, V> From<&'a Received<K, V>> for RecordView<'a> {
    fn from(record: &'a Received<K, V>) -> Self {
        of_a_read_record!(record)
    }
}

impl<'a> From<&'a FailedRecord> for RecordView<'a> {
    fn from(record: &'a FailedRecord) -> Self {
        of_a_read_record!(record)
    }
}

impl<'a> From<&'a RawRecord> for RecordView<'a> {
    fn from(record: &'a RawRecord) -> Self {
        Self {
            partition: record.partition,
            timestamp_ms: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            ..Self::new(record.topic(), &record.headers)
        }
    }
}

/// Headers, borrowed from wherever they are. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct HeadersView<'a> {
    place: Held<'a>,
}

type NameAndValue<'a> = (&'a [u8], Option<&'a [u8]>);

#[derive(Clone, Copy, Debug)]
enum Held<'a> {
    Read(HeadersRef<'a>),
    Owned(&'a Headers),
    Parts(&'a [NameAndValue<'a>]),
}

impl<'a> From<HeadersRef<'a>> for HeadersView<'a> {
    fn from(headers: HeadersRef<'a>) -> Self {
        Self { place: Held::Read(headers) }
    }
}

impl<'a> From<&'a Headers> for HeadersView<'a> {
    fn from(headers: &'a Headers) -> Self {
        Self { place: Held::Owned(headers) }
    }
}

impl<'a> From<&'a [NameAndValue<'a>]> for HeadersView<'a> {
    fn from(headers: &'a [NameAndValue<'a>]) -> Self {
        Self { place: Held::Parts(headers) }
    }
}

impl<'a> HeadersView<'a> {
    /// How many headers there are.
    pub fn len(&self) -> usize {
        match self.place {
            Held::Read(headers) => headers.len(),
            Held::Owned(headers) => headers.len(),
            Held::Parts(headers) => headers.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `with` on every name and value, in order.
    #[inline]
    pub fn for_each(&self, mut with: impl FnMut(&'a [u8], Option<&'a [u8]>)) {
        let header = |header: Header<'a>| (header.name_bytes(), header.value());
        match self.place {
            Held::Read(headers) => headers.iter().map(header).for_each(|(name, value)| with(name, value)),
            Held::Owned(headers) => headers.iter().map(header).for_each(|(name, value)| with(name, value)),
            Held::Parts(headers) => headers.iter().for_each(|(name, value)| with(name, *value)),
        }
    }

    /// The value of the last header of that name: `None` without one, `Some(None)` where it is null.
    pub fn last(&self, name: &str) -> Option<Option<&'a [u8]>> {
        let mut found = None;
        self.for_each(|other, value| {
            if other == name.as_bytes() {
                found = Some(value);
            }
        });
        found
    }

    /// A copy of those that `keep` says yes to, in order, bit for bit.
    pub(crate) fn filtered(&self, mut keep: impl FnMut(&[u8], Option<&[u8]>) -> bool) -> Headers {
        let mut kept = Headers::new();
        self.for_each(|name, value| {
            if keep(name, value) {
                match value {
                    Some(value) => kept.push(name, value),
                    None => kept.push_null(name),
                }
            }
        });
        kept
    }

    /// A copy.
    pub fn to_owned(&self) -> Headers {
        self.filtered(|_, _| true)
    }
}
