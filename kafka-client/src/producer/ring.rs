//! The ring of slots: every record in flight has one, and the next is found without a search.

use std::slice;

use parking_lot::Mutex;

use super::slot::Slot;

/// How many slots are made at once.
const CHUNK: usize = 4096;
/// How many chunks a producer may have: 16 million results in flight or unread.
const MOST_CHUNKS: usize = 4096;
/// How many slots in a row may be taken before the rest of the chunk is passed over.
const MOST_TAKEN: usize = 64;

/// Slots that were made together.
///
/// Chunks are never freed, only handed on to the next producer. So whoever waits for a result holds a plain reference,
/// and nobody counts owners for each record; the memory is bounded by the most results that were ever unread at once.
type Chunk = [Slot; CHUNK];

/// Chunks of producers that are gone, for those to come.
static SPARE: Mutex<Vec<&'static Chunk>> = Mutex::new(Vec::new());

fn spare_or_new() -> &'static Chunk {
    let spare = SPARE.lock().pop();
    spare.unwrap_or_else(fresh)
}

fn fresh() -> &'static Chunk {
    // In place: on the stack it would be large.
    let slots: Box<[Slot]> = (0..CHUNK).map(|_| Slot::default()).collect();
    let Ok(chunk) = <Box<Chunk>>::try_from(slots) else { unreachable!("there are as many as the chunk has") };
    Box::leak(chunk)
}

/// Slots in a row, to be claimed one after the other; somebody else may claim them too.
pub(super) struct Run {
    slots: slice::Iter<'static, Slot>,
}

impl Run {
    pub(super) fn empty() -> Self {
        Self { slots: [].iter() }
    }

    /// The next slot that is free.
    #[inline]
    pub(super) fn next(&mut self) -> Option<&'static Slot> {
        self.slots.find(|slot| slot.claim())
    }
}

/// All slots, handed out in a circle: results are read about in the order in which records were sent, so the next slot
/// is nearly always free, and there is no list of free ones to keep.
pub(super) struct Ring {
    chunks: Vec<&'static Chunk>,
    current: &'static Chunk,
    index: usize,
    at: usize,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self::of(spare_or_new())
    }

    fn of(first: &'static Chunk) -> Self {
        Self { chunks: vec![first], current: first, index: 0, at: 0 }
    }

    /// The next slot.
    ///
    /// # Panics
    /// When the application holds more than 16 million results that it never looks at.
    #[inline]
    pub(super) fn next(&mut self) -> &'static Slot {
        if self.at < CHUNK {
            let slot = &self.current[self.at];
            self.at += 1;
            if slot.claim() {
                return slot;
            }
        }
        self.search()
    }

    #[cold]
    fn search(&mut self) -> &'static Slot {
        let (mut taken, mut passed) = (0, 0);
        loop {
            if self.at == CHUNK {
                self.turn();
            }
            let slot = &self.current[self.at];
            self.at += 1;
            if slot.claim() {
                return slot;
            }
            taken += 1;
            if taken >= MOST_TAKEN {
                taken = 0;
                // Only when no chunk has room are there too few: else a few results that are kept unread would cost
                // another chunk each time round.
                passed += 1;
                if passed > self.chunks.len() { self.grow() } else { self.turn() }
            }
        }
    }

    /// Up to `most` slots that come next, for one who claims them later. They are not reserved: should the ring come
    /// round before, somebody else may have them.
    pub(super) fn run(&mut self, most: usize) -> Run {
        let from = self.at;
        self.at = CHUNK.min(from + most);
        Run { slots: self.current[from..self.at].iter() }
    }

    /// Goes on with the next chunk.
    fn turn(&mut self) {
        self.index = (self.index + 1) % self.chunks.len();
        self.current = self.chunks[self.index];
        self.at = 0;
    }

    /// Goes on with a new chunk.
    fn grow(&mut self) {
        assert!(self.chunks.len() < MOST_CHUNKS, "more than {} unread deliveries", CHUNK * MOST_CHUNKS);
        self.index = self.chunks.len();
        self.current = spare_or_new();
        self.chunks.push(self.current);
        self.at = 0;
    }
}

/// The event thread, the last to hold a ring, ends when every report has come. So what is not free in these chunks is a
/// result that somebody may still read, and the next owner passes it over.
impl Drop for Ring {
    fn drop(&mut self) {
        SPARE.lock().append(&mut self.chunks);
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    fn free(slots: &[&Slot]) {
        slots.iter().for_each(|slot| slot.clear());
    }

    #[test]
    fn results_that_are_kept_unread_do_not_make_the_ring_grow_for_ever() {
        let mut ring = Ring::of(fresh());
        let kept: Vec<_> = (0..3 * MOST_TAKEN).map(|_| ring.next()).collect();
        for _ in 0..20 * CHUNK {
            ring.next().clear();
        }
        assert!(ring.chunks.len() <= 2, "{} chunks for {} results", ring.chunks.len(), kept.len());
        free(&kept);
    }

    #[test]
    fn slots_are_used_again_and_unread_results_are_passed_over() {
        let mut ring = Ring::of(fresh());
        let kept = ring.next();
        for _ in 0..3 * CHUNK {
            let slot = ring.next();
            assert!(!ptr::eq(slot, kept));
            slot.clear();
        }
        assert_eq!(ring.chunks.len(), 1);
        let all: Vec<_> = (0..2 * CHUNK).map(|_| ring.next()).collect();
        let mut slots: Vec<_> = all.iter().chain([&kept]).map(|slot| ptr::from_ref(*slot)).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), 2 * CHUNK + 1);
        free(&all);
        free(&[kept]);
    }

    #[test]
    fn a_run_shares_its_slots_with_whoever_comes_round() {
        let mut ring = Ring::of(fresh());
        let mut run = ring.run(10);
        let Some(first) = run.next() else { panic!("all are free") };
        // Once round: the others of the run go to whoever comes first.
        let round: Vec<_> = (0..CHUNK - 1).map(|_| ring.next()).collect();
        assert_eq!(ring.chunks.len(), 1);
        assert!(round.iter().all(|slot| !ptr::eq(*slot, first)));
        assert!(run.next().is_none());
        free(&round);
        first.clear();
    }

    #[test]
    fn the_next_owner_of_a_chunk_passes_over_what_is_still_unread() {
        let mut ring = Ring::of(fresh());
        let (chunk, kept) = (ring.current, ring.next());
        // As `drop` does, but that no other test takes the chunk.
        ring.chunks.clear();
        let mut next = Ring::of(chunk);
        let taken: Vec<_> = (0..CHUNK - 1).map(|_| next.next()).collect();
        assert_eq!(next.chunks.len(), 1, "all the others are free");
        assert!(taken.iter().all(|slot| !ptr::eq(*slot, kept)));
        free(&taken);
        free(&[kept]);
    }
}
