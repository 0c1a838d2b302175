//! Where a record stood: topic, partition, offset, each as far as it is known.

use std::fmt;

/// Where a record stood, as its headers say.
///
/// Numbers are as they were written: -1 stands for "none" in some frameworks. See
/// [`is_complete`](Self::is_complete).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place<'a> {
    /// The topic; `None` where it is not written, null, or no text.
    pub topic: Option<&'a str>,
    /// The partition.
    pub partition: Option<i32>,
    /// The offset.
    pub offset: Option<i64>,
}

impl Place<'_> {
    /// Whether it names one record: a topic, a partition and an offset that can be.
    pub fn is_complete(&self) -> bool {
        self.topic.is_some_and(|topic| !topic.is_empty())
            && self.partition.is_some_and(|partition| partition >= 0)
            && self.offset.is_some_and(|offset| offset >= 0)
    }
}

/// `orders-3@4211`, with `?` for what is not known.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.topic.unwrap_or("?"))?;
        match self.partition {
            Some(partition) => write!(f, "-{partition}")?,
            None => f.write_str("-?")?,
        }
        match self.offset {
            Some(offset) => write!(f, "@{offset}"),
            None => f.write_str("@?"),
        }
    }
}
