//! Slots: where the result of a record waits for whoever sent it.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::callbacks::Callback;
use super::outcome::{Delivered, Outcome, SendError};

/// The state of one record in flight, 32 bytes, reused for other records. No box, no channel.
pub(super) struct Slot {
    state: Mutex<State>,
}

enum State {
    /// Nobody's.
    Free,
    /// In flight, and nobody has asked yet.
    Pending,
    /// Somebody waits.
    Waiting(Waker),
    /// The sender does not want to know.
    Abandoned,
    /// A callback waits.
    Callback(Callback),
    // Its fields, not a `Delivered`: so the tag fits beside the partition.
    Delivered {
        partition: i32,
        offset: i64,
        timestamp: i64,
    },
    Failed(SendError),
}

impl State {
    #[inline]
    fn delivered(delivered: Delivered) -> Self {
        State::Delivered {
            partition: delivered.partition(),
            offset: delivered.offset(),
            timestamp: delivered.timestamp_ms(),
        }
    }
}

/// Who has to be told about a result.
pub(super) enum Told {
    /// Whoever reads the slot later; wake them after the whole event.
    Reader(Option<Waker>),
    /// Nobody: the slot is free again, and the result comes back.
    Nobody(Outcome),
    /// This callback; the slot is free again.
    Callback(Callback, Outcome),
}

impl Slot {
    /// Takes the slot for a record; `false` where an older result still waits in it.
    #[inline]
    fn claim(&self) -> bool {
        let mut state = self.state.lock();
        let free = matches!(*state, State::Free);
        if free {
            mem::forget(mem::replace(&mut *state, State::Pending));
        }
        free
    }

    /// Prepares a claimed slot for a callback, before the record is handed over.
    pub(super) fn expect(&self, callback: Callback) {
        *self.state.lock() = State::Callback(callback);
    }

    /// Frees the slot of a record that was not taken, and gives the callback back.
    pub(super) fn clear(&self) -> Option<Callback> {
        match mem::replace(&mut *self.state.lock(), State::Free) {
            State::Callback(callback) => Some(callback),
            _ => None,
        }
    }

    /// Stores a result.
    #[inline]
    pub(super) fn complete(&self, outcome: Outcome) -> Told {
        let mut state = self.state.lock();
        // The common case first, and in place: nothing to drop, nobody to tell.
        if let (State::Pending, Ok(delivered)) = (&*state, &outcome) {
            mem::forget(mem::replace(&mut *state, State::delivered(*delivered)));
            return Told::Reader(None);
        }
        let old = mem::replace(&mut *state, State::Free);
        let waker = match old {
            State::Callback(callback) => return Told::Callback(callback, outcome),
            State::Abandoned | State::Free => return Told::Nobody(outcome),
            State::Waiting(waker) => Some(waker),
            State::Pending | State::Delivered { .. } | State::Failed(_) => None,
        };
        *state = match outcome {
            Ok(delivered) => State::delivered(delivered),
            Err(error) => State::Failed(error),
        };
        Told::Reader(waker)
    }

    /// Takes the result; the slot is free then.
    #[inline]
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.state.lock();
        if let State::Delivered { partition, offset, timestamp } = *state {
            mem::forget(mem::replace(&mut *state, State::Free));
            return Poll::Ready(Ok(Delivered::new(partition, offset, timestamp)));
        }
        match mem::replace(&mut *state, State::Free) {
            State::Failed(error) => Poll::Ready(Err(error)),
            State::Waiting(waker) if waker.will_wake(context.waker()) => {
                mem::forget(mem::replace(&mut *state, State::Waiting(waker)));
                Poll::Pending
            }
            _ => {
                mem::forget(mem::replace(&mut *state, State::Waiting(context.waker().clone())));
                Poll::Pending
            }
        }
    }

    /// Gives up the result, which may be there already.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        let there = matches!(*state, State::Delivered { .. } | State::Failed(_));
        *state = if there { State::Free } else { State::Abandoned };
    }
}

/// Slots are allocated by the chunk, and never move.
pub(super) type Chunk = [Slot; CHUNK];

pub(super) const CHUNK: usize = 4096;
/// How many chunks a producer may have: 16 million results in flight or unread.
const MOST_CHUNKS: usize = 4096;
/// How many slots in a row may be taken before the rest of the chunk is passed over.
const MOST_TAKEN: usize = 64;

/// A slot that belongs to a record.
pub(super) struct SlotRef {
    chunk: Arc<Chunk>,
    at: usize,
}

impl SlotRef {
    #[inline]
    pub(super) fn slot(&self) -> &Slot {
        &self.chunk[self.at % CHUNK]
    }
}

/// All slots, handed out in a circle: results are read about in the order in which records were sent, so the next slot
/// is nearly always free, and there is no list of free ones to keep.
pub(super) struct Ring {
    chunks: Vec<Arc<Chunk>>,
    current: Arc<Chunk>,
    index: usize,
    at: usize,
}

impl Ring {
    pub(super) fn new() -> Self {
        let first = chunk();
        Self { chunks: vec![first.clone()], current: first, index: 0, at: 0 }
    }

    /// The next slot, and its number.
    ///
    /// # Panics
    /// When the application holds more than 16 million results that it never looks at.
    #[inline]
    pub(super) fn next(&mut self) -> (SlotRef, u32) {
        let (mut taken, mut passed) = (0, 0);
        loop {
            if self.at == CHUNK {
                self.turn();
            }
            let at = self.at;
            self.at += 1;
            if self.current[at % CHUNK].claim() {
                return (SlotRef { chunk: self.current.clone(), at }, (self.index * CHUNK + at) as u32);
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

    /// Goes on with the next chunk.
    #[cold]
    fn turn(&mut self) {
        self.index = (self.index + 1) % self.chunks.len();
        self.current = self.chunks[self.index].clone();
        self.at = 0;
    }

    /// Goes on with a new chunk.
    #[cold]
    fn grow(&mut self) {
        assert!(self.chunks.len() < MOST_CHUNKS, "more than {} unread deliveries", CHUNK * MOST_CHUNKS);
        self.index = self.chunks.len();
        self.current = chunk();
        self.chunks.push(self.current.clone());
        self.at = 0;
    }

    /// Brings a copy of the list of chunks up to date.
    pub(super) fn copy_to(&self, copy: &mut Vec<Arc<Chunk>>) {
        copy.extend_from_slice(&self.chunks[copy.len()..]);
    }
}

fn chunk() -> Arc<Chunk> {
    let slots: Vec<Slot> = (0..CHUNK).map(|_| Slot { state: Mutex::new(State::Free) }).collect();
    match <Box<Chunk>>::try_from(slots) {
        Ok(slots) => Arc::from(slots),
        Err(_) => unreachable!("there are as many slots as the chunk has"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_32_bytes() {
        assert_eq!(size_of::<Slot>(), 32);
    }

    #[test]
    fn results_that_are_kept_unread_do_not_make_the_ring_grow_for_ever() {
        let mut ring = Ring::new();
        let kept: Vec<_> = (0..3 * MOST_TAKEN).map(|_| ring.next()).collect();
        for _ in 0..20 * CHUNK {
            ring.next().0.slot().clear();
        }
        assert!(ring.chunks.len() <= 2, "{} chunks for {} results", ring.chunks.len(), kept.len());
    }

    #[test]
    fn slots_are_used_again_and_unread_results_are_passed_over() {
        let mut ring = Ring::new();
        let kept = ring.next();
        for _ in 0..3 * CHUNK {
            let (slot, number) = ring.next();
            assert_ne!(number, kept.1);
            slot.slot().clear();
        }
        assert_eq!(ring.chunks.len(), 1);
        let all: Vec<_> = (0..2 * CHUNK).map(|_| ring.next()).collect();
        let mut numbers: Vec<u32> = all.iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 2 * CHUNK);
        let mut copy = Vec::new();
        ring.copy_to(&mut copy);
        let (slot, number) = &all[CHUNK + 7];
        assert!(std::ptr::eq(slot.slot(), &copy[*number as usize / CHUNK][*number as usize % CHUNK]));
    }
}
