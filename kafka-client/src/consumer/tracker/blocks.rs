//! Unfinished offsets, 64 to a block; blocks in which none is left go.

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

/// A queue of blocks. It has no ring, since every record looks for its block twice.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Those from `head` on count. Rising; the first one has an unfinished offset, where there is any; the last one stays.
    blocks: Vec<Block>,
    head: usize,
    /// So many blocks are the next reason to look for finished ones between others.
    tidy_at: usize,
}

/// Fewer are not worth the look.
const TIDY_AT_LEAST: usize = 64;

impl Default for Blocks {
    fn default() -> Self {
        Self { blocks: Vec::new(), head: 0, tidy_at: TIDY_AT_LEAST }
    }
}

impl Blocks {
    #[inline(always)]
    fn live(&self) -> &[Block] {
        &self.blocks[self.head..]
    }

    /// Adds an offset above the others, where its block is there already.
    #[inline(always)]
    pub(super) fn insert_into_last(&mut self, offset: i64) -> bool {
        let (number, bit) = place(offset);
        match self.blocks.last_mut() {
            Some(last) if last.number == number => {
                last.unfinished |= bit;
                last.begun |= bit;
                true
            }
            _ => false,
        }
    }

    /// Adds an offset above the others, with a block. `begun` records were begun before it.
    pub(super) fn push(&mut self, offset: i64, begun: u64) {
        if self.blocks.len() >= self.tidy_at {
            // Those that were passed, and those in between of which nothing is left.
            self.blocks.drain(..self.head);
            self.blocks.retain(|block| block.unfinished != 0);
            self.head = 0;
            self.tidy_at = TIDY_AT_LEAST.max(2 * self.blocks.len());
        } else if self.blocks.last().is_some_and(|last| last.unfinished == 0) && self.live().len() == 1 {
            // It stayed for offsets of its own.
            self.head += 1;
        }
        let (number, bit) = place(offset);
        self.blocks.push(Block { number, unfinished: bit, begun: bit, begun_before: begun });
    }

    /// Takes note of a record that is finished from the beginning: it is passed when the others of its block are.
    pub(super) fn insert_finished(&mut self, offset: i64) {
        let (number, bit) = place(offset);
        if let Some(last) = self.blocks.last_mut()
            && last.number == number
        {
            last.begun |= bit;
        }
    }

    /// Removes an offset and tells whether it was there.
    #[inline(always)]
    pub(super) fn remove(&mut self, offset: i64) -> bool {
        let (number, bit) = place(offset);
        let Some(block) = self.find(number) else { return false };
        let was_there = block.unfinished & bit != 0;
        block.unfinished &= !bit;
        was_there
    }

    pub(super) fn contains(&mut self, offset: i64) -> bool {
        let (number, bit) = place(offset);
        self.find(number).is_some_and(|block| block.unfinished & bit != 0)
    }

    /// The first offset, where there is any. Blocks before it go.
    #[inline(always)]
    pub(super) fn first(&mut self) -> i64 {
        while self.blocks[self.head].unfinished == 0 && self.head + 1 < self.blocks.len() {
            self.head += 1;
        }
        let first = &self.blocks[self.head];
        first.start() + i64::from(first.unfinished.trailing_zeros())
    }

    /// Where no offset is left: all blocks but the last go.
    pub(super) fn keep_last(&mut self) {
        self.head = self.blocks.len().saturating_sub(1);
    }

    /// How many records were begun before the first offset, where there is any.
    pub(super) fn begun_before_first(&self) -> u64 {
        self.live().first().map_or(0, |block| {
            let below = (block.unfinished & block.unfinished.wrapping_neg()).wrapping_sub(1);
            block.begun_before + u64::from((block.begun & below).count_ones())
        })
    }

    /// The offsets as ranges, rising. Two may touch.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<i64>> {
        self.live().iter().flat_map(|block| {
            let mut bits = block.unfinished;
            std::iter::from_fn(move || {
                let start = (bits != 0).then(|| bits.trailing_zeros())?;
                let end = start + (bits >> start).trailing_ones();
                bits &= u64::MAX.checked_shl(end).unwrap_or(0);
                Some(block.start() + i64::from(start)..block.start() + i64::from(end))
            })
        })
    }

    /// The bound for these offsets, counted anew.
    pub(super) fn bound(&self) -> Bound {
        self.live().iter().fold(Bound::EMPTY, |bound, block| bound.with_block(block.start(), block.unfinished))
    }

    /// With those of the last block.
    pub(super) fn last_added_to(&self, bound: Bound) -> Bound {
        self.blocks.last().map_or(bound, |block| bound.with_block(block.start(), block.unfinished))
    }

    /// The block of that number. As long as none is missing in between, its distance to the first tells where it is.
    #[inline(always)]
    fn find(&mut self, number: i64) -> Option<&mut Block> {
        let live = &mut self.blocks[self.head..];
        let highest = (number - live.first()?.number) as usize;
        let at = match live.get(highest) {
            Some(block) if block.number == number => highest,
            _ => search(live, number, highest)?,
        };
        live.get_mut(at)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }
}

/// Numbers rise by at least one, so that the distance to the first block is the highest place there can be, and that to
/// the last one tells the lowest: as a rule it is there, since those that are missing belong to old records.
fn search(blocks: &[Block], number: i64, highest: usize) -> Option<usize> {
    let last = blocks.len() - 1;
    let behind = usize::try_from(blocks[last].number - number).ok()?;
    let lowest = last.saturating_sub(behind);
    if blocks[lowest].number == number {
        return Some(lowest);
    }
    let highest = highest.min(last);
    if highest < lowest {
        return None;
    }
    let between = &blocks[lowest..=highest];
    between.binary_search_by_key(&number, |block| block.number).ok().map(|at| lowest + at)
}

impl Block {
    fn start(&self) -> i64 {
        self.number << 6
    }
}

/// The number of an offset's block, and its bit there.
#[inline(always)]
fn place(offset: i64) -> (i64, u64) {
    (offset >> 6, 1 << (offset & 63))
}
