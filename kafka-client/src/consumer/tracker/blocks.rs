//! Unfinished offsets, 64 to a block; blocks in which none is left go.

use std::collections::VecDeque;
use std::ops::Range;

use crate::consumer::offset_map::Bound;

#[derive(Clone, Copy, Debug)]
struct Block {
    /// Its offsets are those that this is a 64th of.
    number: i64,
    unfinished: u64,
    /// Records of this block that were begun since it is here, and all records that were begun before.
    begun: u64,
    begun_before: u64,
}

#[derive(Debug)]
pub(super) struct Blocks {
    /// Rising; the first one has an unfinished offset.
    blocks: VecDeque<Block>,
    /// So many blocks are the next reason to look for finished ones between others.
    tidy_at: usize,
}

/// Fewer are not worth the look.
const TIDY_AT_LEAST: usize = 64;

impl Default for Blocks {
    fn default() -> Self {
        Self { blocks: VecDeque::new(), tidy_at: TIDY_AT_LEAST }
    }
}

impl Blocks {
    /// Adds an offset above the others. `begun` records were begun before it.
    #[inline]
    pub(super) fn insert(&mut self, offset: i64, begun: u64) {
        let (number, bit) = place(offset);
        match self.blocks.back_mut() {
            Some(last) if last.number == number => {
                last.unfinished |= bit;
                last.begun |= bit;
            }
            _ => self.push(Block { number, unfinished: bit, begun: bit, begun_before: begun }),
        }
    }

    fn push(&mut self, block: Block) {
        if self.blocks.len() >= self.tidy_at {
            self.blocks.retain(|block| block.unfinished != 0);
            self.tidy_at = TIDY_AT_LEAST.max(2 * self.blocks.len());
        }
        self.blocks.push_back(block);
    }

    /// Takes note of a record that is finished from the beginning: it is passed when the others of its block are.
    pub(super) fn insert_finished(&mut self, offset: i64) {
        let (number, bit) = place(offset);
        if let Some(last) = self.blocks.back_mut()
            && last.number == number
        {
            last.begun |= bit;
        }
    }

    /// Removes an offset and tells whether it was there.
    #[inline]
    pub(super) fn remove(&mut self, offset: i64) -> bool {
        let (number, bit) = place(offset);
        let Some(at) = self.find(number) else { return false };
        let block = &mut self.blocks[at];
        let was_there = block.unfinished & bit != 0;
        block.unfinished &= !bit;
        was_there
    }

    pub(super) fn contains(&self, offset: i64) -> bool {
        let (number, bit) = place(offset);
        self.find(number).is_some_and(|at| self.blocks[at].unfinished & bit != 0)
    }

    /// The first offset. Blocks before it go.
    #[inline]
    pub(super) fn first(&mut self) -> Option<i64> {
        while let Some(block) = self.blocks.front() {
            if block.unfinished != 0 {
                return Some(block.start() + i64::from(block.unfinished.trailing_zeros()));
            }
            self.blocks.pop_front();
        }
        None
    }

    /// How many records were begun before the first offset.
    pub(super) fn begun_before_first(&self) -> Option<u64> {
        let block = self.blocks.front()?;
        let below = (1 << block.unfinished.trailing_zeros()) - 1;
        Some(block.begun_before + u64::from((block.begun & below).count_ones()))
    }

    /// The offsets as ranges, rising. Two may touch.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<i64>> {
        self.blocks.iter().flat_map(|block| {
            let mut bits = block.unfinished;
            std::iter::from_fn(move || {
                let start = (bits != 0).then(|| bits.trailing_zeros())?;
                let length = (bits >> start).trailing_ones();
                let end = start + length;
                bits &= u64::MAX.checked_shl(end).unwrap_or(0);
                Some(block.start() + i64::from(start)..block.start() + i64::from(end))
            })
        })
    }

    /// The bound for these offsets, counted anew.
    pub(super) fn bound(&self) -> Bound {
        let some = self.blocks.iter().filter(|block| block.unfinished != 0);
        some.fold(Bound::EMPTY, |bound, block| bound.with_block(block.start(), block.unfinished))
    }

    /// Where a block stands. Without gaps that is told by its distance to the last one, or to the first.
    #[inline]
    fn find(&self, number: i64) -> Option<usize> {
        let last = self.blocks.len().checked_sub(1)?;
        // Numbers rise by at least one: counted from the end, this is the lowest place there can be.
        let lowest = (last as i64).checked_sub(self.blocks[last].number - number).filter(|at| *at <= last as i64)?;
        let lowest = lowest.max(0) as usize;
        if self.blocks[lowest].number == number { Some(lowest) } else { self.search(number, lowest) }
    }

    #[cold]
    fn search(&self, number: i64, lowest: usize) -> Option<usize> {
        // And counted from the front, the highest.
        let highest = usize::try_from(number - self.blocks.front()?.number).ok()?;
        let (mut from, mut to) = (lowest, highest.saturating_add(1).min(self.blocks.len()));
        while from < to {
            let middle = usize::midpoint(from, to);
            match self.blocks[middle].number.cmp(&number) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        None
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }
}

impl Block {
    fn start(&self) -> i64 {
        self.number << 6
    }
}

/// The number of an offset's block, and its bit there.
#[inline]
fn place(offset: i64) -> (i64, u64) {
    (offset >> 6, 1 << (offset & 63))
}
