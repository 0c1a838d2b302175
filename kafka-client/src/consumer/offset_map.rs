//! What is finished beyond the committed offset, and the text in which it rides with a commit. Pure: no I/O, no clock.
//!
//! ```text
//!   kt1.  base64url( code · what the code says · CRC-32 of the committed offset and all of it )
//!          │
//!          ├─ 0      runs   unfinished, finished, unfinished, .. as varints: best for few or long runs
//!          └─ 1..21  tree   a bitmap of that many levels whose empty bytes are left out: best for many scattered offsets
//! ```
//!
//! The shorter one is taken. Offsets without a record (compaction, control records) count as finished.

mod bound;
mod runs;
mod text;
mod tree;
pub(super) mod varint;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub(super) use bound::Bound;
pub use text::DecodeError;

/// The bytes of metadata that a broker stores with an offset: its `offset.metadata.max.bytes`, unless set otherwise.
pub const MAX_BYTES: usize = 4096;

/// What the map may take of it: the rest (56 bytes) is for what is told of suspects.
const MAX_MAP_BYTES: usize = MAX_BYTES - super::suspects::MAX_BYTES;

/// Offsets that are finished, beyond a committed one that is not.
#[derive(Clone, Debug, Default)]
pub struct OffsetMap {
    /// Rising, and apart from each other.
    ranges: Vec<Range<i64>>,
    /// The first range that does not end before the offset that was asked for last.
    at: usize,
}

impl OffsetMap {
    /// A map in which nothing is finished.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds finished offsets. Ranges rise: of one that does not, only what lies beyond the others is taken.
    pub fn push(&mut self, finished: Range<i64>) {
        match self.ranges.last_mut() {
            Some(last) if finished.start <= last.end => last.end = last.end.max(finished.end),
            _ if finished.is_empty() => (),
            _ => self.ranges.push(finished),
        }
    }

    /// Whether this offset is finished. Takes constant time a range for offsets that rise from call to call.
    pub fn contains(&mut self, offset: i64) -> bool {
        if self.at > 0 && self.ranges.get(self.at - 1).is_some_and(|before| offset < before.end) {
            self.at = self.ranges.partition_point(|range| range.end <= offset);
        }
        while self.ranges.get(self.at).is_some_and(|range| range.end <= offset) {
            self.at += 1;
        }
        self.ranges.get(self.at).is_some_and(|range| range.start <= offset)
    }

    /// The finished ranges, rising and apart from each other.
    pub fn ranges(&self) -> &[Range<i64>] {
        &self.ranges
    }

    /// Whether nothing is finished.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many offsets are finished, those without a record included.
    #[cfg(test)]
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| range.end.abs_diff(range.start)).sum()
    }

    /// One past the highest finished offset.
    pub fn end(&self) -> Option<i64> {
        self.ranges.last().map(|range| range.end)
    }

    /// Appends the text that goes with `committed`, and tells whether there is one. There is none for an empty map, for
    /// one that does not lie beyond `committed`, and where it would leave no room in [`MAX_BYTES`] for what else is told; `out` is then left as it is.
    pub fn encode(&self, committed: i64, out: &mut String) -> bool {
        text::encode(self, committed, out)
    }

    /// Reads the text that came with `committed`. `None` for metadata that somebody else wrote, or nobody.
    ///
    /// # Errors
    /// When the text is ours, and damaged, of another version, or of another offset. Going on without it is safe: what
    /// it says is handled again.
    pub fn decode(text: &str, committed: i64) -> Result<Option<Self>, DecodeError> {
        text::decode(text, committed)
    }

    /// What is not finished, from `committed` to the end, rising.
    fn holes(&self, committed: i64) -> impl Iterator<Item = Range<i64>> + Clone {
        let mut from = committed;
        let holes = self.ranges.iter().map(move |range| {
            let hole = from..range.start;
            from = from.max(range.end);
            hole
        });
        holes.filter(|hole| !hole.is_empty())
    }

    /// The bound for a tracker that goes on from here.
    pub(super) fn bound(&self, committed: i64) -> Bound {
        self.holes(committed).fold(Bound::EMPTY, Bound::with_run)
    }
}
