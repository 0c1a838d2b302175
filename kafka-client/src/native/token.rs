//! What travels with a record through librdkafka, and says who waits for its report.

use std::ffi::c_void;
use std::ptr;

use crate::producer::Slot;

/// The opaque of a record: its owner, and the epoch that it is counted in. One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    // The address of a slot, or two fields of 30 bits; the lowest bits tell which, and the epoch.
    raw: *mut c_void,
}

/// Whose report it is.
#[derive(Clone, Copy)]
pub(crate) enum Owner {
    /// Whoever reads this slot.
    Slot(&'static Slot),
    /// The record at `index` of this batch.
    Batch { batch: u32, index: u32 },
}

const BATCH: usize = 1;
const EPOCH: usize = 2;
const FIELD_BITS: u32 = 30;
const FIELD: usize = (1 << FIELD_BITS) - 1;

const _: () = assert!(usize::BITS == 64, "a token has two fields of 30 bits; librdkafka's opaque holds it");
const _: () = assert!(align_of::<Slot>() > (BATCH | EPOCH), "an address leaves the lowest bits to us");

impl Token {
    #[inline]
    pub(crate) fn of_slot(slot: &'static Slot, epoch: usize) -> Self {
        Self { raw: ptr::from_ref(slot).cast_mut().cast::<c_void>().map_addr(|slot| slot | (epoch * EPOCH)) }
    }

    /// # Panics
    /// In debug builds, where there are more batches, or more records in one, than 30 bits can number.
    #[inline]
    pub(crate) fn of_batch(batch: u32, index: u32, epoch: usize) -> Self {
        debug_assert!(batch as usize <= FIELD && index as usize <= FIELD);
        let fields = (batch as usize) << 2 | (index as usize) << (2 + FIELD_BITS);
        Self { raw: ptr::without_provenance_mut(fields | BATCH | (epoch * EPOCH)) }
    }

    #[inline]
    pub(super) fn into_raw(self) -> *mut c_void {
        self.raw
    }

    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw).
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut c_void) -> Self {
        Self { raw }
    }

    #[inline]
    pub(crate) fn epoch(self) -> usize {
        (self.raw.addr() / EPOCH) & 1
    }

    #[inline]
    pub(crate) fn owner(self) -> Owner {
        let fields = self.raw.addr();
        if fields & BATCH == 0 {
            let slot = self.raw.map_addr(|slot| slot & !EPOCH).cast::<Slot>();
            // SAFETY: not a batch, so made by `of_slot` from a reference that lives for ever.
            return Owner::Slot(unsafe { &*slot });
        }
        Owner::Batch { batch: (fields >> 2 & FIELD) as u32, index: (fields >> (2 + FIELD_BITS) & FIELD) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let top = FIELD as u32;
        for epoch in [0, 1] {
            let slot: &'static Slot = Box::leak(Box::default());
            let token = Token::of_slot(slot, epoch);
            assert!(matches!(token.owner(), Owner::Slot(same) if ptr::eq(same, slot)));
            assert_eq!(token.epoch(), epoch);
            for (batch, index) in [(0, 0), (1, 0), (0, 1), (top, 7), (top, top)] {
                let token = Token::of_batch(batch, index, epoch);
                let Owner::Batch { batch: same_batch, index: same_index } = token.owner() else { panic!("a batch") };
                assert_eq!((same_batch, same_index, token.epoch()), (batch, index, epoch));
            }
        }
    }
}
