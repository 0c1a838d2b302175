//! How long the text may become, whatever finishes next.
//!
//! Both codes have a measure that can only shrink when a record finishes, in any order: the bytes of a tree whose leaves
//! are the unfinished offsets (a byte goes when its last leaf goes), and the bytes of the distances between neighbours
//! (where two join, their sum takes no more bytes than both did). Neither code is ever longer than its measure. So while
//! one of the two fits with all records in flight unfinished, the text fits in every state that can follow.

use std::ops::Range;

use super::MAX_MAP_BYTES;
use super::text::{MAGIC, OVERHEAD};
use super::varint;

/// What base64 leaves of [`MAX_MAP_BYTES`] for the code, which says by one more number where the map ends.
const ROOM: usize = (MAX_MAP_BYTES - MAGIC.len()) / 4 * 3 - OVERHEAD - varint::MAX_LEN;

/// What the other offsets of a block may come to: a tracker asks for the first one only.
const REST_OF_BLOCK: usize = 63;

/// Levels of a tree over all offsets.
pub(super) const LEVELS: u32 = 21;

/// More than any room, and far from overflow.
const TOO_MUCH: usize = 1 << 24;

/// The two measures for a rising row of offsets that are unfinished, or may be when the map is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Bound {
    /// The highest of them; -1 before the first, which then pays for a whole path to the root.
    last: i64,
    nodes: usize,
    gaps: usize,
}

impl Bound {
    pub(in crate::consumer) const EMPTY: Self = Self { last: -1, nodes: 0, gaps: 0 };

    /// With one more offset, above the others.
    #[inline]
    pub(in crate::consumer) fn with(self, offset: i64) -> Self {
        Self {
            last: offset,
            nodes: self.nodes + new_nodes(self.last, offset) as usize,
            gaps: self.gaps + gap_len(offset - self.last),
        }
    }

    /// With each offset of a range above the others.
    pub(in crate::consumer) fn with_run(self, run: Range<i64>) -> Self {
        let first = self.with(run.start);
        let last = run.end - 1;
        let levels = (1..=LEVELS).map(|level| nodes_beyond(run.start, last, level));
        let more_nodes = levels.take_while(|more| *more > 0).fold(0, usize::saturating_add);
        let more_gaps = usize::try_from(last - run.start).unwrap_or(TOO_MUCH);
        Self {
            last,
            nodes: first.nodes.saturating_add(more_nodes).min(TOO_MUCH),
            gaps: first.gaps.saturating_add(more_gaps).min(TOO_MUCH),
        }
    }

    /// With up to 64 offsets of one block: `bits` from `start` on, which is a multiple of 64 and above the others.
    pub(in crate::consumer) fn with_block(self, start: i64, bits: u64) -> Self {
        if bits == 0 {
            return self;
        }
        let first = self.with(start + i64::from(bits.trailing_zeros()));
        let last = start + i64::from(63 - bits.leading_zeros());
        // Within a block a distance takes one byte.
        let (more_nodes, more_gaps) = (nonzero_bytes(bits) - 1, bits.count_ones() as usize - 1);
        Self { last, nodes: first.nodes + more_nodes, gaps: first.gaps + more_gaps }
    }

    /// With at most so many offsets of a range above the others, wherever they lie.
    pub(in crate::consumer) fn with_any(self, count: usize, range: Range<i64>) -> Self {
        let (first, last) = (range.start, range.end - 1);
        let count = count.min(usize::try_from(range.end - range.start).unwrap_or(usize::MAX)).min(TOO_MUCH);
        let nodes: usize =
            (1..=LEVELS).map(|level| count.min(nodes_beyond(first, last, level).saturating_add(1))).sum();
        // A distance takes more than n bytes from half of 128^n on, and all of them together are no longer than this.
        let distance = (last - self.last).unsigned_abs();
        let longer = |bytes: u32| usize::try_from(distance >> (7 * bytes - 1)).unwrap_or(usize::MAX).min(count);
        let gaps = count + (1..varint::MAX_LEN as u32).map(longer).sum::<usize>();
        Self {
            last,
            nodes: self.nodes.saturating_add(nodes).min(TOO_MUCH),
            gaps: self.gaps.saturating_add(gaps).min(TOO_MUCH),
        }
    }

    /// Whether there is room for the last offset with its whole block, and it is left where a tracker goes on from a map.
    pub(in crate::consumer) fn fits(self) -> bool {
        self.fits_into(ROOM - 2 * REST_OF_BLOCK)
    }

    /// Whether a tracker that asked for room may have come to this.
    pub(super) fn is_possible(self) -> bool {
        self.fits_into(ROOM - REST_OF_BLOCK)
    }

    fn fits_into(self, room: usize) -> bool {
        self.nodes <= room || self.gaps <= room
    }

    /// The highest offset.
    pub(in crate::consumer) fn last(self) -> i64 {
        self.last
    }

    /// The bytes of a tree of all [`LEVELS`].
    pub(super) fn nodes(self) -> usize {
        self.nodes
    }

    #[cfg(test)]
    pub(super) fn gaps(self) -> usize {
        self.gaps
    }
}

/// How many bytes a leaf adds to a tree whose last leaf is `before`: one a level, below where their paths part.
#[inline]
pub(super) fn new_nodes(before: i64, offset: i64) -> u32 {
    (63 - (before ^ offset).leading_zeros()) / 3
}

/// How many bytes the leaves up to `last` have on this level beside that of `first`.
fn nodes_beyond(first: i64, last: i64, level: u32) -> usize {
    let node = |offset: i64| (offset as u64) >> (3 * level);
    usize::try_from(node(last) - node(first)).unwrap_or(TOO_MUCH).min(TOO_MUCH)
}

/// The bytes for the distance to the next unfinished offset; at least what a token of the runs takes for it.
#[inline]
fn gap_len(distance: i64) -> usize {
    varint::len((distance as u64 - 1) << 1)
}

fn nonzero_bytes(bits: u64) -> usize {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    ((((bits & LOW) + LOW) | bits) & !LOW).count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_blocks_cost_what_their_offsets_cost_one_by_one() {
        for (start, bits) in [(64, 1), (64, u64::MAX), (1 << 40, 0x8000_0000_0000_0001), (640, 0xf0f0_0001_0000_ff10)] {
            let offsets = (0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| start + bit);
            let one_by_one = offsets.fold(Bound::EMPTY.with(3), Bound::with);
            assert_eq!(Bound::EMPTY.with(3).with_block(start, bits), one_by_one);
        }
        for run in [5..6, 5..9, 60..70, 500..5_000, 32_700..33_000] {
            assert_eq!(Bound::EMPTY.with(3).with_run(run.clone()), run.fold(Bound::EMPTY.with(3), Bound::with));
        }
    }

    #[test]
    fn a_distance_costs_no_less_than_its_token() {
        for distance in [2, 64, 65, 66, 8_192, 8_193, 8_194, 1 << 40, i64::MAX] {
            let token = ((distance as u64 - 2) << 1) | 1;
            assert!(gap_len(distance) >= varint::len(token), "{distance}");
        }
    }

    #[test]
    fn endless_ranges_are_too_much_and_do_not_overflow() {
        let bound = Bound::EMPTY.with_run(0..i64::MAX - 2).with(i64::MAX - 1);
        assert!(!bound.fits() && !Bound::EMPTY.with_any(usize::MAX, 0..i64::MAX).fits());
        assert!(Bound::EMPTY.with_any(200, 0..i64::MAX).fits());
    }
}
