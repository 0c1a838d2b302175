//! What is told about the offsets of groups, and where they are taken.

use crate::Error;
use crate::admin::offsets::OffsetSpec;
use crate::native::admin::offsets::Spec;

/// Where the offset of a group is to go.
///
/// An [`OffsetSpec`] is one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetTarget {
    /// To the start, the end, or a time.
    At(OffsetSpec),
    /// To this offset.
    Exact(i64),
    /// So many offsets forwards, or backwards if negative, from what is committed.
    ShiftBy(i64),
}

impl OffsetTarget {
    /// What has to be looked for, and whether the target can be at all.
    pub(super) fn by_time(self) -> Result<Option<Spec>, Error> {
        match self {
            Self::At(OffsetSpec::Earliest | OffsetSpec::Latest) | Self::Exact(0..) | Self::ShiftBy(_) => Ok(None),
            Self::At(spec) => spec.native().map(Some),
            Self::Exact(offset) => Err(Error::config(format!("an offset is not negative, as {offset} is"))),
        }
    }
}

impl From<OffsetSpec> for OffsetTarget {
    fn from(spec: OffsetSpec) -> Self {
        Self::At(spec)
    }
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: Option<i64>,
    pub(super) metadata: Vec<u8>,
    pub(super) leader_epoch: Option<i32>,
}

impl CommittedOffset {
    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset of the record that the group reads next; `None` if it has committed none.
    pub fn offset(&self) -> Option<i64> {
        self.offset
    }

    /// What was committed along with it: any bytes, often none.
    pub fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    /// The epoch of the leader that the record before was read from; `None` if it was not told.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }
}

/// How far a group is behind on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) committed: i64,
    pub(super) end: i64,
}

impl PartitionLag {
    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset that the group has committed.
    pub fn committed(&self) -> i64 {
        self.committed
    }

    /// Where the partition ends.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// How many offsets lie between; none if the group is past the end, as it is when the end is that of committed
    /// transactions only. Not every offset has a record.
    pub fn lag(&self) -> i64 {
        self.end.saturating_sub(self.committed).max(0)
    }
}

/// What is done, or would be, to the offset of a group on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetChange {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) from: Option<i64>,
    pub(super) to: i64,
    pub(super) wanted: Option<i64>,
}

impl OffsetChange {
    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// What was committed before; `None` if nothing was.
    pub fn from(&self) -> Option<i64> {
        self.from
    }

    /// What is committed now, or would be.
    pub fn to(&self) -> i64 {
        self.to
    }

    /// What was asked for, where that is outside the log; [`to`](Self::to) is then the log's start or end.
    pub fn wanted(&self) -> Option<i64> {
        self.wanted
    }
}
