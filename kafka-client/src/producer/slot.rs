//! Slots: where the result of a record waits for whoever sent it.

use std::mem;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::callbacks::Callback;
use super::outcome::{Delivered, Outcome, SendError};

/// The state of one record in flight, 32 bytes, reused for the next record. No box, no channel.
pub(super) struct Slot {
    state: Mutex<State>,
}

enum State {
    /// Not in use, or nobody has asked yet.
    Pending,
    /// Somebody waits.
    Waiting(Waker),
    /// The sender does not want to know.
    Abandoned,
    /// A callback waits.
    Callback(Callback),
    // Its fields, not a `Delivered`: so the tag fits beside the partition.
    Delivered { partition: i32, offset: i64, timestamp: i64 },
    Failed(SendError),
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
    /// Prepares a fresh slot for a callback, before the record is handed over.
    pub(super) fn expect(&self, callback: Callback) {
        *self.state.lock() = State::Callback(callback);
    }

    /// Empties the slot of a record that was not taken, and gives the callback back.
    pub(super) fn clear(&self) -> Option<Callback> {
        match mem::replace(&mut *self.state.lock(), State::Pending) {
            State::Callback(callback) => Some(callback),
            _ => None,
        }
    }

    /// Stores a result.
    #[inline]
    pub(super) fn complete(&self, outcome: Outcome) -> Told {
        let mut state = self.state.lock();
        match &*state {
            State::Abandoned => {
                *state = State::Pending;
                Told::Nobody(outcome)
            }
            State::Callback(_) => match mem::replace(&mut *state, State::Pending) {
                State::Callback(callback) => Told::Callback(callback, outcome),
                _ => unreachable!("matched just now, under the lock"),
            },
            _ => {
                let result = match outcome {
                    Ok(delivered) => State::Delivered {
                        partition: delivered.partition(),
                        offset: delivered.offset(),
                        timestamp: delivered.timestamp_ms(),
                    },
                    Err(error) => State::Failed(error),
                };
                match mem::replace(&mut *state, result) {
                    State::Waiting(waker) => Told::Reader(Some(waker)),
                    _ => Told::Reader(None),
                }
            }
        }
    }

    /// Takes the result; the slot is free then.
    #[inline]
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.state.lock();
        match &*state {
            State::Delivered { partition, offset, timestamp } => {
                let delivered = Delivered::new(*partition, *offset, *timestamp);
                *state = State::Pending;
                Poll::Ready(Ok(delivered))
            }
            State::Failed(_) => match mem::replace(&mut *state, State::Pending) {
                State::Failed(error) => Poll::Ready(Err(error)),
                _ => unreachable!("matched just now, under the lock"),
            },
            State::Waiting(waker) if waker.will_wake(context.waker()) => Poll::Pending,
            _ => {
                *state = State::Waiting(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Gives up the result. `true`: it was there already, and the slot is free.
    pub(super) fn abandon(&self) -> bool {
        let mut state = self.state.lock();
        let there = matches!(*state, State::Delivered { .. } | State::Failed(_));
        *state = if there { State::Pending } else { State::Abandoned };
        there
    }
}

/// All slots of a producer: allocated by the thousand, never moved, found by index without a lock.
pub(super) struct Slots {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
}

const CHUNK: usize = 4096;
const CHUNKS: usize = 4096;

impl Slots {
    pub(super) fn new() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> &Slot {
        let (chunk, slot) = (index as usize / CHUNK, index as usize % CHUNK);
        match self.chunks.get(chunk).and_then(OnceLock::get).and_then(|slots| slots.get(slot)) {
            Some(slot) => slot,
            None => unreachable!("an index comes from `grow`, which has made its slot"),
        }
    }

    /// Makes the next chunk, and lists its indices. Called under the lock of the free list.
    ///
    /// # Panics
    /// When the application holds on to more than 16 million results that it never looks at.
    pub(super) fn grow(&self, free: &mut Vec<u32>) {
        let Some(chunk) = self.chunks.iter().position(|chunk| chunk.get().is_none()) else {
            panic!("more than {} unread deliveries are alive; drop or await them", CHUNK * CHUNKS);
        };
        let slots = (0..CHUNK).map(|_| Slot { state: Mutex::new(State::Pending) }).collect();
        if self.chunks[chunk].set(slots).is_err() {
            unreachable!("chunks are made one at a time, under the lock");
        }
        // Reversed, so that the lowest index is handed out first.
        free.extend((chunk * CHUNK..(chunk + 1) * CHUNK).rev().map(|index| index as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_32_bytes() {
        assert_eq!(size_of::<Slot>(), 32);
    }
}
