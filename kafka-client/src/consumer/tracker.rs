//! What is finished of a partition, record by record. Pure: no I/O, no clock.
//!
//! ```text
//!   committed, or      oldest
//!   to be committed    unfinished                     frontier
//!   ─────────────────┬─ ○ ── ● ● ── ○ ── ● ● ● ● ── ○ ┬──────────
//!     all finished   │  the map says which are ●       │ not begun
//!                watermark
//! ```

mod blocks;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::offset_map::{Bound, OffsetMap};
use blocks::Blocks;

/// Follows the records of one partition, through one life, from their start to their end in any order.
///
/// Offsets may have gaps: compaction removes records, and control records of transactions take offsets. What is not
/// there counts as finished.
///
/// Memory is in proportion to what is unfinished and to what was begun lately, however much is finished behind a record
/// that is stuck.
#[derive(Debug)]
pub struct Tracker {
    /// The unfinished records.
    blocks: Blocks,
    /// The first of them, while there are any.
    oldest: i64,
    unfinished: usize,
    /// Records of this life, finished or not.
    begun: u64,
    /// One past the last record that was begun; below it, what is not unfinished is finished.
    frontier: i64,
    /// What an earlier life has finished; of use from the frontier to its end.
    map: OffsetMap,
    map_end: i64,
    /// While there is a map, of what it leaves. Without one, of the unfinished records before the last block, and perhaps
    /// of some that have been finished meanwhile.
    bound: Bound,
    given_up: BTreeSet<i64>,
    positioned: bool,
}

/// What [`Tracker::begin`] says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "only a new record may be handed out"]
pub enum Begun {
    /// Hand it out, and finish it.
    New,
    /// An earlier life has finished it. Do not hand it out; it is finished here too.
    Finished,
    /// It is not above those that were begun already, and is ignored: it belongs to an earlier life.
    Old,
    /// It is not begun: together with it, what is unfinished could outgrow the metadata of a commit. Begin it again when
    /// something has been finished. Never said while nothing is unfinished.
    Full,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracker {
    /// Of a partition of which nothing is known.
    pub fn new() -> Self {
        Self::resume(0, OffsetMap::new())
    }

    /// Goes on after a restart, from the committed offset and what is finished beyond it.
    pub fn resume(committed: i64, map: OffsetMap) -> Self {
        let committed = committed.max(0);
        Self {
            blocks: Blocks::default(),
            oldest: 0,
            unfinished: 0,
            begun: 0,
            frontier: committed,
            map_end: map.end().unwrap_or(0),
            bound: map.bound(committed),
            map,
            given_up: BTreeSet::new(),
            positioned: false,
        }
    }

    /// A record was taken from the partition. Offsets rise, from 0 to `i64::MAX - 1`.
    #[inline]
    pub fn begin(&mut self, offset: i64) -> Begun {
        if offset < self.frontier || offset == i64::MAX {
            return Begun::Old;
        }
        if offset < self.map_end {
            return self.begin_in_map(offset);
        }
        if !self.blocks.insert_into_last(offset) {
            if !self.make_room(offset) {
                return Begun::Full;
            }
            self.blocks.push(offset, self.begun);
        }
        self.open(offset);
        Begun::New
    }

    /// What the map leaves is in the bound already.
    #[cold]
    fn begin_in_map(&mut self, offset: i64) -> Begun {
        if !self.map.contains(offset) {
            if !self.blocks.insert_into_last(offset) {
                self.blocks.push(offset, self.begun);
            }
            self.open(offset);
            return Begun::New;
        }
        self.blocks.insert_finished(offset);
        self.begun += 1;
        self.frontier = offset + 1;
        self.forget_when_done();
        Begun::Finished
    }

    /// Asked once a block. Whether there is room for one from this offset on, which lies beyond the map.
    fn make_room(&mut self, offset: i64) -> bool {
        let mut bound = self.bound_without_map();
        if !bound.with(offset).fits() {
            bound = self.blocks.bound();
            if !bound.with(offset).fits() {
                return false;
            }
        }
        self.bound = bound;
        // What it leaves and was not begun by now is not there any more.
        self.forget_map();
        true
    }

    /// The bound for the unfinished records.
    fn bound_without_map(&self) -> Bound {
        match self.map_end {
            0 => self.blocks.last_added_to(self.bound),
            _ => self.blocks.bound(),
        }
    }

    #[inline(always)]
    fn open(&mut self, offset: i64) {
        if self.unfinished == 0 {
            self.oldest = offset;
        }
        self.begun += 1;
        self.unfinished += 1;
        self.frontier = offset + 1;
    }

    /// A record is finished. Returns the new watermark where it moved. A record that was not begun, is finished already
    /// or was given up changes nothing.
    #[inline]
    pub fn finish(&mut self, offset: i64) -> Option<i64> {
        if !self.given_up.is_empty() && self.given_up.contains(&offset) || !self.blocks.remove(offset) {
            return None;
        }
        self.unfinished -= 1;
        if offset != self.oldest {
            return None;
        }
        if self.unfinished == 0 {
            self.blocks.keep_last();
            self.forget_when_done();
            return Some(self.lowest());
        }
        self.oldest = self.blocks.first();
        Some(self.oldest)
    }

    /// Where nothing is unfinished, and the map has no more to say, nothing is left to bound.
    fn forget_when_done(&mut self) {
        if self.unfinished == 0 && self.frontier >= self.map_end {
            self.bound = Bound::EMPTY;
            self.forget_map();
        }
    }

    fn forget_map(&mut self) {
        if self.map_end > 0 {
            self.map_end = 0;
            self.map = OffsetMap::new();
        }
    }

    /// A record will not be finished in this life: the watermark never passes it. What is finished beyond it still goes
    /// into the map. It counts as unfinished.
    pub fn give_up(&mut self, offset: i64) {
        if self.blocks.contains(offset) {
            self.given_up.insert(offset);
        }
    }

    /// Whether this record was begun, and is neither finished nor given up.
    pub fn is_unfinished(&mut self, offset: i64) -> bool {
        self.blocks.contains(offset) && !self.given_up.contains(&offset)
    }

    /// Everything before this was fetched, and begun where there was a record: the watermark may pass what follows the
    /// last record, such as the end of a transaction. Returns the new watermark where it moved, which takes that nothing
    /// is unfinished; otherwise it will move there when the last record is finished.
    pub fn position(&mut self, next_fetch_offset: i64) -> Option<i64> {
        if next_fetch_offset <= self.frontier {
            return None;
        }
        let before = self.lowest();
        self.frontier = next_fetch_offset;
        self.forget_when_done();
        self.positioned |= self.unfinished == 0;
        let now = self.lowest();
        (now > before).then_some(now)
    }

    /// The offset to commit: all before it is finished. `None` until something is.
    pub fn watermark(&self) -> Option<i64> {
        (self.positioned || self.finished() > 0).then(|| self.lowest())
    }

    /// The first offset that is not finished, as far as is known: also while nothing is finished in this life. Of no use
    /// for a tracker of which nothing is known, before its first record.
    pub fn standing(&self) -> i64 {
        self.lowest()
    }

    /// The first offset that is not finished, as far as is known.
    fn lowest(&self) -> i64 {
        match self.unfinished {
            0 if self.map_end == 0 => self.frontier,
            0 => self.behind_map(),
            _ => self.oldest,
        }
    }

    /// The first offset from the frontier on that the map leaves.
    fn behind_map(&self) -> i64 {
        let ranges = self.map.ranges();
        let next = ranges.partition_point(|range| range.end <= self.frontier);
        ranges.get(next).filter(|range| range.start <= self.frontier).map_or(self.frontier, |range| range.end)
    }

    /// One past the last record that was begun, or where the tracker goes on.
    pub fn frontier(&self) -> i64 {
        self.frontier
    }

    /// Records that were begun and are not finished.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// The first of them.
    #[cfg(test)]
    pub fn oldest_unfinished(&self) -> Option<i64> {
        (self.unfinished > 0).then_some(self.oldest)
    }

    /// Records that were begun and are finished. It rises with each of them, so that two equal answers mean that neither
    /// watermark nor map have changed in between, but for [`position`](Self::position).
    pub fn finished(&self) -> u64 {
        self.begun - self.unfinished as u64
    }

    /// Records that were begun and are finished, beyond the watermark.
    pub fn finished_beyond(&self) -> usize {
        match self.unfinished {
            0 => 0,
            unfinished => (self.begun - self.blocks.begun_before_first()) as usize - unfinished,
        }
    }

    /// Whether so many further records below `next_offset` could all be begun at once, whatever their offsets, and
    /// [`begin`](Self::begin) would call none of them [`Full`](Begun::Full). While this is false a caller takes no more.
    /// Always true when nothing is unfinished, since waiting would not help.
    ///
    /// Whatever this says, the map never outgrows the metadata of a commit: `begin` sees to that.
    pub fn leaves_room_for(&self, more: usize, next_offset: i64) -> bool {
        let from = self.frontier.max(self.map_end);
        if self.unfinished == 0 || more == 0 || next_offset <= from {
            return true;
        }
        let has_room = |bound: Bound| bound.with_any(more, from..next_offset).fits();
        match self.frontier < self.map_end {
            true => has_room(self.bound),
            // The first one may be about more than is there, but is there without counting.
            false => has_room(self.bound_without_map()) || has_room(self.blocks.bound()),
        }
    }

    /// Puts into `out`, in place of what it holds, the metadata to commit with where the partition
    /// [stands](Self::standing), and tells whether there is any: when nothing is finished beyond it, `out` is empty.
    pub fn encode_map(&self, out: &mut String) -> bool {
        out.clear();
        // Gaps alone are not worth telling.
        let earlier = self.frontier < self.map_end;
        if self.finished_beyond() == 0 && !earlier {
            return false;
        }
        let (map, lowest) = (self.finished_map(), self.lowest());
        let encoded = map.encode(lowest, out);
        debug_assert!(encoded || map.is_empty(), "`begin` takes no more than what fits");
        encoded
    }

    fn finished_map(&self) -> OffsetMap {
        let mut map = OffsetMap::new();
        let mut from = self.lowest();
        for unfinished in self.blocks.runs() {
            if from < unfinished.start {
                map.push(from..unfinished.start);
            }
            from = unfinished.end;
        }
        if from < self.frontier {
            map.push(from..self.frontier);
        }
        let beyond = self.frontier.max(from);
        for range in self.map.ranges() {
            if beyond < range.end {
                map.push(range.start.max(beyond)..range.end);
            }
        }
        map
    }
}
