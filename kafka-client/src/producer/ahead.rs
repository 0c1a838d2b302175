//! Room taken ahead: what a sender with one owner may still send without asking.
//!
//! It is a loan. Whoever finds no room calls all loans in, and so do flush and close; so nobody ever waits for room that
//! a sender does not use, and the counts that a flush or a close sees are exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::ring::Run;
use super::slot::Slot;
use crate::native::Token;

/// How many records are lent at once, at most.
pub(super) const MOST_RECORDS: usize = 256;
/// What part of the free room may be lent: where little is left, everybody asks for each record.
pub(super) const SHARE: usize = 8;

const RECORD_BITS: u32 = 16;
const RECORDS: u64 = (1 << RECORD_BITS) - 1;

/// Records and bytes in one number, so that they change together: records below, bytes above.
#[inline]
fn packed(records: usize, bytes: usize) -> u64 {
    records as u64 | (bytes as u64) << RECORD_BITS
}

/// The room that is lent: the sender takes from it without a lock; the core, under its lock, takes all of it back.
#[derive(Default)]
pub(super) struct Loan {
    left: AtomicU64,
    /// Whether the core has it in its list; changed under the core's lock.
    pub(super) listed: AtomicBool,
}

impl Loan {
    /// Takes the room of one record, if there is so much.
    #[inline]
    fn take(&self, bytes: usize) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left & RECORDS == 0 || left >> RECORD_BITS < bytes as u64 {
            return false;
        }
        // Fails only when the loan was called in just now.
        let rest = left - packed(1, bytes);
        self.left.compare_exchange(left, rest, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Lends; nothing must be left.
    pub(super) fn lend(&self, records: usize, bytes: usize) {
        self.left.store(packed(records, bytes), Ordering::Relaxed);
    }

    /// Takes back what is left: records and bytes.
    pub(super) fn call_in(&self) -> (usize, usize) {
        let left = self.left.swap(0, Ordering::Relaxed);
        ((left & RECORDS) as usize, (left >> RECORD_BITS) as usize)
    }

    /// How many records are left.
    pub(super) fn records(&self) -> usize {
        (self.left.load(Ordering::Relaxed) & RECORDS) as usize
    }
}

/// A sender's loan, with the slots for its records.
pub(super) struct Ahead {
    pub(super) loan: Arc<Loan>,
    pub(super) slots: Run,
    /// The epoch for whose records it is good.
    pub(super) epoch: usize,
}

impl Ahead {
    /// Nothing yet.
    pub(super) fn none() -> Self {
        Self { loan: Arc::default(), slots: Run::empty(), epoch: 0 }
    }

    /// Takes room and a slot for one record, with the token that leads to it; `None`: the core must be asked.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Option<(&'static Slot, Token)> {
        let slot = self.slots.next()?;
        if self.loan.take(bytes) {
            return Some((slot, Token::of_slot(slot, self.epoch)));
        }
        slot.clear();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loan_is_taken_record_by_record_until_records_or_bytes_are_used_up() {
        let loan = Loan::default();
        assert!(!loan.take(0), "nothing is lent");
        loan.lend(2, 100);
        assert!(loan.take(0) && loan.take(100) && !loan.take(0));
        loan.lend(3, 100);
        assert!(!loan.take(101) && loan.take(60) && !loan.take(60));
        assert_eq!((loan.records(), loan.call_in()), (2, (2, 40)));
        assert_eq!((loan.records(), loan.call_in(), loan.take(0)), (0, (0, 0), false));
        let most = (MOST_RECORDS, 1 << 30);
        loan.lend(most.0, most.1);
        assert_eq!(loan.call_in(), most);
    }

    /// The sender takes while the core calls in: what both have got adds up to what was lent.
    #[test]
    fn what_is_called_in_while_it_is_taken_is_neither_lost_nor_counted_twice() {
        let loan = Loan::default();
        let done = AtomicBool::new(false);
        let (mut taken, mut lent) = (0, 0);
        let called_in = std::thread::scope(|scope| {
            let calling = scope.spawn(|| {
                let mut called_in = 0;
                while !done.load(Ordering::Acquire) {
                    called_in += loan.call_in().0;
                    std::thread::yield_now();
                }
                called_in + loan.call_in().0
            });
            for _ in 0..20_000 {
                // Only the core lends, and only what is used up: here, after calling in.
                taken += usize::from(loan.take(1));
                taken += usize::from(loan.take(1));
                if loan.records() == 0 {
                    loan.lend(10, 10);
                    lent += 10;
                }
            }
            done.store(true, Ordering::Release);
            calling.join().unwrap_or_default()
        });
        assert_eq!(taken + called_in, lent);
    }
}
