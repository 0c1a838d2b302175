//! What a dead letter says about its record: the door between those who write dead letters and the header dialects.

/// Why and where a record failed: what [`dialect::ours::write`](crate::dialect::ours::write) and its siblings put into
/// the headers of a dead letter.
///
/// Plain data, borrowed; writing reads no clock. Only the coordinates are required.
///
/// ```
/// use kafka_client::Headers;
/// use kafka_dlq::{Failure, dialect};
///
/// let mut headers = Headers::new();
/// let failure = Failure {
///     class: Some("CardDeclined"),
///     message: Some("card declined: insufficient funds"),
///     attempts: Some(4),
///     group: Some("billing"),
///     ..Failure::at("orders", 3, 4211)
/// };
/// dialect::ours::write(&failure, &mut headers);
/// assert_eq!(headers.last("dlq.topic"), Some(Some(&b"orders"[..])));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The topic the record was read from when it failed.
    pub topic: &'a str,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its timestamp there, in milliseconds since the epoch; `None` where it has none.
    pub timestamp_ms: Option<i64>,
    /// Who set that timestamp; `None` if not known.
    pub timestamp_type: Option<TimestampType>,
    /// The consumer group that failed.
    pub group: Option<&'a str>,
    /// The error's type.
    pub class: Option<&'a str>,
    /// The type of the error's innermost cause, where there is one and it is known.
    pub cause_class: Option<&'a str>,
    /// The error's text, without its causes.
    pub message: Option<&'a str>,
    /// The error and its causes, or a stack trace: the longest of the texts, and the first to be cut.
    pub trace: Option<&'a str>,
    /// How many deliveries have failed, this one included; `None` if not counted.
    pub attempts: Option<u32>,
    /// When the first of them failed, in milliseconds since the epoch.
    pub first_failure_ms: Option<i64>,
    /// When the last of them failed, in milliseconds since the epoch.
    pub failed_at_ms: Option<i64>,
    /// Why the record is a dead letter, as one word to select and count by: `decode`, `attempts`, a policy's own.
    pub reason: Option<&'a str>,
}

impl<'a> Failure<'a> {
    /// A failure of the record at these coordinates, of which nothing else is known yet.
    pub const fn at(topic: &'a str, partition: i32, offset: i64) -> Self {
        Self {
            topic,
            partition,
            offset,
            timestamp_ms: None,
            timestamp_type: None,
            group: None,
            class: None,
            cause_class: None,
            message: None,
            trace: None,
            attempts: None,
            first_failure_ms: None,
            failed_at_ms: None,
            reason: None,
        }
    }
}

/// Who set the timestamp of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The broker (`message.timestamp.type=LogAppendTime`).
    LogAppendTime,
}

impl TimestampType {
    /// Kafka's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        }
    }
}
