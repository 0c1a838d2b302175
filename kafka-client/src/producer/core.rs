//! What bounds a producer, and what remembers its records: permits, slots, counts.
//!
//! ```text
//!   send ── take() ──▶ [permit + slot] ── produce ──▶ librdkafka ── report ──▶ settle() ──▶ [slot: result] ──▶ Delivery
//!             │ no room                                                │
//!             └──▶ waits in line (fair, first come first served) ◀── permits come back
//! ```
//!
//! One lock guards permits, slots and counts; a send takes it once, a whole event of reports takes it once.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ahead::{self, Ahead, Loan};
use super::batch::Batches;
use super::ring::Ring;
use super::slot::Slot;
use crate::native::Token;

/// The state that producers, deliveries and the event thread share.
pub(crate) struct Core {
    limits: Limits,
    state: Mutex<State>,
    pub(super) batches: Batches,
    /// Told whenever no record of an epoch is in flight any more.
    idle: Notify,
}

/// How much may be in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

struct State {
    free_records: usize,
    /// Signed: a record larger than the limit, which goes alone, overdraws it; and so may headers, which are counted
    /// after the permit was taken.
    free_bytes: i64,
    /// The limit: what a record larger than that needs to be free.
    most_bytes: i64,
    ring: Ring,
    /// What senders were lent, and may not have used. Counted as in flight, in the current epoch.
    loans: Vec<Arc<Loan>>,
    line: VecDeque<Arc<Waiter>>,
    closed: bool,
    /// Flushes wait for the records of an epoch, so that they do not wait for what is sent after them.
    epoch: usize,
    in_flight: [usize; 2],
    /// An epoch's records since it was last empty; it is another round with each flush.
    rounds: [Arc<Round>; 2],
}

/// How the records ended that joined an epoch between two flushes. Changed and read under the lock of the state.
#[derive(Default)]
struct Round {
    ended: Mutex<Totals>,
}

/// How records ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) delivered: u64,
    /// Failed, and not in the log.
    pub(crate) failed: u64,
    /// Failed, but possibly in the log.
    pub(crate) unknown: u64,
}

impl Totals {
    fn count(self) -> u64 {
        self.delivered + self.failed + self.unknown
    }

    fn plus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            failed: self.failed + other.failed,
            unknown: self.unknown + other.unknown,
        }
    }

    fn minus(self, before: Self) -> Self {
        Self {
            delivered: self.delivered - before.delivered,
            failed: self.failed - before.failed,
            unknown: self.unknown - before.unknown,
        }
    }
}

/// A count of how the records end that are in flight at a moment.
pub(crate) struct Count {
    /// The rounds that they belong to, and how others of the round had ended before.
    rounds: [(Arc<Round>, Totals); 2],
}

/// Why a permit was not to be had at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
}

/// A permit for some records and bytes, given back unless it was used.
pub(crate) struct Permit {
    core: Arc<Core>,
    records: usize,
    bytes: usize,
}

struct Waiter {
    records: usize,
    bytes: usize,
    fate: AtomicU8,
    waker: AtomicWaker,
}

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const REFUSED: u8 = 2;

/// What the reports of one event add up to.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// By epoch.
    pub(super) totals: [Totals; 2],
}

impl Core {
    pub(crate) fn new(limits: Limits) -> Self {
        let most_bytes = i64::try_from(limits.bytes).unwrap_or(i64::MAX);
        let state = State {
            free_records: limits.records,
            free_bytes: most_bytes,
            most_bytes,
            ring: Ring::new(),
            loans: Vec::new(),
            line: VecDeque::new(),
            closed: false,
            epoch: 0,
            in_flight: [0; 2],
            rounds: Default::default(),
        };
        Self { limits, state: Mutex::new(state), batches: Batches::default(), idle: Notify::new() }
    }

    /// Takes a permit for one record and a slot for its result, with the token that leads to it, if there is room and nobody waits in line.
    #[inline]
    pub(super) fn take(&self, bytes: usize) -> Result<(&'static Slot, Token), Refusal> {
        let mut state = self.state.lock();
        state.take(1, bytes)?;
        Ok(state.start())
    }

    /// As [`take`](Self::take) for a sender with one owner, which gets room for further records of this size with it.
    #[cold]
    pub(super) fn take_ahead(&self, bytes: usize, ahead: &mut Ahead) -> Result<(&'static Slot, Token), Refusal> {
        let mut state = self.state.lock();
        state.call_in(&ahead.loan);
        state.take(1, bytes)?;
        let place = state.start();
        state.lend(bytes, ahead);
        Ok(place)
    }

    /// Takes back what a sender was lent, for good.
    pub(super) fn give_back(&self, ahead: &Ahead) {
        let mut state = self.state.lock();
        state.call_in(&ahead.loan);
        state.loans.retain(|loan| !Arc::ptr_eq(loan, &ahead.loan));
    }

    /// Takes a permit for many records, without slots.
    pub(super) fn take_many(&self, records: usize, bytes: usize) -> Result<usize, Refusal> {
        let mut state = self.state.lock();
        state.take(records.min(self.limits.records), bytes)?;
        let epoch = state.epoch;
        state.in_flight[epoch] += records;
        Ok(epoch)
    }

    /// Waits in line for a permit.
    ///
    /// Cancel safe: what was granted to a future that is dropped goes to the next in line.
    pub(super) async fn acquire(self: &Arc<Self>, records: usize, bytes: usize) -> Result<Permit, Refusal> {
        let records = records.min(self.limits.records);
        let waiter = {
            let mut state = self.state.lock();
            match state.take(records, bytes) {
                Ok(()) => return Ok(Permit { core: self.clone(), records, bytes }),
                Err(Refusal::Closed) => return Err(Refusal::Closed),
                Err(Refusal::Full) => {
                    let waiter =
                        Arc::new(Waiter { records, bytes, fate: AtomicU8::new(WAITING), waker: AtomicWaker::new() });
                    state.line.push_back(waiter.clone());
                    waiter
                }
            }
        };
        let place = Place { core: self, waiter: &waiter };
        let fate = poll_fn(|context| {
            place.waiter.waker.register(context.waker());
            match place.waiter.fate.load(Ordering::Acquire) {
                WAITING => Poll::Pending,
                fate => Poll::Ready(fate),
            }
        })
        .await;
        std::mem::forget(place);
        match fate {
            GRANTED => Ok(Permit { core: self.clone(), records, bytes }),
            _ => Err(Refusal::Closed),
        }
    }

    /// Turns a permit into a record in flight; its size may have changed since (`bytes`).
    ///
    /// Refused where the producer was closed after the permit was granted: the event thread may have seen that nothing
    /// is in flight any more, and have ended.
    pub(super) fn start(&self, permit: Permit, bytes: usize) -> Result<(&'static Slot, Token), Refusal> {
        let mut state = self.state.lock();
        if state.closed {
            // The lock goes before the permit does, which takes it again to give itself back.
            return Err(Refusal::Closed);
        }
        state.free_bytes += permit.bytes as i64 - bytes as i64;
        permit.used();
        Ok(state.start())
    }

    /// Turns a permit into `records` records in flight, without slots; their number and size may have changed.
    pub(super) fn start_many(&self, permit: Permit, records: usize, bytes: usize) -> Result<usize, Refusal> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        state.free_records = state.free_records + permit.records - records.min(permit.records);
        state.free_bytes += permit.bytes as i64 - bytes as i64;
        permit.used();
        let epoch = state.epoch;
        state.in_flight[epoch] += records;
        Ok(epoch)
    }

    /// Counts bytes that were added to a record after its permit was taken.
    pub(super) fn overdraw(&self, bytes: usize) {
        self.state.lock().free_bytes -= bytes as i64;
    }

    /// Accounts for an event's reports: permits go to those who wait in line, flushes learn that they are done.
    pub(super) fn settle(&self, settled: &mut Settled) {
        if settled.records == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.free_records = (state.free_records + settled.records).min(self.limits.records);
        state.free_bytes += settled.bytes as i64;
        let mut idle = false;
        for (epoch, ended) in settled.totals.iter().enumerate() {
            let count = ended.count() as usize;
            state.in_flight[epoch] = state.in_flight[epoch].saturating_sub(count);
            idle |= count > 0 && state.in_flight[epoch] == 0;
            let mut round = state.rounds[epoch].ended.lock();
            *round = round.plus(*ended);
        }
        let granted = state.grant();
        drop(state);
        *settled = Settled::default();
        if idle {
            self.idle.notify_waiters();
        }
        granted.into_iter().for_each(|waiter| waiter.waker.wake());
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// How many records are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        let state = self.state.lock();
        (0..state.in_flight.len()).map(|epoch| state.in_flight(epoch)).sum()
    }

    /// Begins to count how the records end that are in flight now.
    pub(crate) fn count(&self) -> Count {
        let state = self.state.lock();
        Count { rounds: state.rounds.each_ref().map(|round| (round.clone(), *round.ended.lock())) }
    }

    /// How they have ended so far.
    pub(crate) fn counted(&self, count: &Count) -> Totals {
        let state = self.state.lock();
        count.rounds.iter().fold(Totals::default(), |sum, (round, before)| {
            let left = Totals { unknown: state.left_of(round) as u64, ..Totals::default() };
            sum.plus(round.ended.lock().minus(*before)).plus(left)
        })
    }

    /// Refuses every further record, those in line included. `false` where that was done before.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state.lock();
        let first = !std::mem::replace(&mut state.closed, true);
        state.call_in_all();
        let line = std::mem::take(&mut state.line);
        drop(state);
        for waiter in line {
            waiter.fate.store(REFUSED, Ordering::Release);
            waiter.waker.wake();
        }
        first
    }

    /// Waits until every record that is counted is finished: those that were accepted before this call, and where
    /// another flush waits already, those that are accepted until it is done.
    ///
    /// Cancel safe: only the waiting ends.
    pub(crate) async fn drained(&self) {
        // An epoch may be closed only when the other one is empty; a flush that finds another one waiting waits with
        // it first. Each round ends, because nothing joins a closed epoch but sends that had begun before.
        let old = loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            {
                let mut state = self.state.lock();
                let (now, other) = (state.epoch, 1 - state.epoch);
                if state.in_flight[other] == 0 {
                    // Loans are of the epoch that ends here.
                    state.call_in_all();
                    state.epoch = other;
                    // What joins from here on came after this call, and is not counted.
                    state.rounds[other] = Arc::default();
                    break state.rounds[now].clone();
                }
            }
            idle.await;
        };
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.state.lock().left_of(&old) == 0 {
                return;
            }
            idle.await;
        }
    }

    fn release(&self, records: usize, bytes: usize) {
        let mut state = self.state.lock();
        state.free_records = (state.free_records + records).min(self.limits.records);
        state.free_bytes += bytes as i64;
        let granted = state.grant();
        drop(state);
        granted.into_iter().for_each(|waiter| waiter.waker.wake());
    }
}

impl State {
    #[inline]
    fn take(&mut self, records: usize, bytes: usize) -> Result<(), Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        // Whoever waits in line goes first, also where this one would fit: a large record must not starve.
        if !self.line.is_empty() || !(self.fits(records, bytes) || self.fits_without_loans(records, bytes)) {
            return Err(Refusal::Full);
        }
        self.free_records -= records;
        self.free_bytes -= bytes as i64;
        Ok(())
    }

    #[inline]
    fn fits(&self, records: usize, bytes: usize) -> bool {
        self.free_records >= records && self.free_bytes >= (bytes as i64).min(self.most_bytes)
    }

    #[cold]
    fn fits_without_loans(&mut self, records: usize, bytes: usize) -> bool {
        self.call_in_all();
        self.fits(records, bytes)
    }

    /// Lends a sender a part of what is free, for records of this size.
    fn lend(&mut self, bytes: usize, ahead: &mut Ahead) {
        let free_bytes = usize::try_from(self.free_bytes).unwrap_or(0);
        let records = (self.free_records / ahead::SHARE).min(free_bytes / ahead::SHARE / bytes.max(1));
        let records = records.min(ahead::MOST_RECORDS);
        if records == 0 {
            return;
        }
        self.free_records -= records;
        self.free_bytes -= (records * bytes) as i64;
        self.in_flight[self.epoch] += records;
        ahead.epoch = self.epoch;
        ahead.slots = self.ring.run(records);
        ahead.loan.lend(records, records * bytes);
        if !ahead.loan.listed.swap(true, Ordering::Relaxed) {
            self.loans.push(ahead.loan.clone());
        }
    }

    /// Takes back what is left of a loan.
    fn call_in(&mut self, loan: &Loan) {
        let (records, bytes) = loan.call_in();
        self.free_records += records;
        self.free_bytes += bytes as i64;
        self.in_flight[self.epoch] -= records;
    }

    /// Takes back what is left of all loans. The list is empty then, so that nobody walks it twice for nothing.
    fn call_in_all(&mut self) {
        while let Some(loan) = self.loans.pop() {
            loan.listed.store(false, Ordering::Relaxed);
            self.call_in(&loan);
        }
    }

    /// How many records of an epoch are in flight.
    fn in_flight(&self, epoch: usize) -> usize {
        let unused = if epoch == self.epoch { self.loans.iter().map(|loan| loan.records()).sum() } else { 0 };
        self.in_flight[epoch] - unused
    }

    /// How many records of a round are in flight; none where its epoch has begun another one.
    fn left_of(&self, round: &Arc<Round>) -> usize {
        let epoch = self.rounds.iter().position(|current| Arc::ptr_eq(current, round));
        epoch.map_or(0, |epoch| self.in_flight(epoch))
    }

    #[inline]
    fn start(&mut self) -> (&'static Slot, Token) {
        self.in_flight[self.epoch] += 1;
        let slot = self.ring.next();
        (slot, Token::of_slot(slot, self.epoch))
    }

    /// Serves the line while what is free lasts.
    #[must_use]
    fn grant(&mut self) -> Vec<Arc<Waiter>> {
        let mut granted = Vec::new();
        while let Some(first) = self.line.front() {
            if !self.fits(first.records, first.bytes) {
                break;
            }
            self.free_records -= first.records;
            self.free_bytes -= first.bytes as i64;
            first.fate.store(GRANTED, Ordering::Release);
            granted.extend(self.line.pop_front());
        }
        granted
    }
}

impl Permit {
    pub(super) fn records(&self) -> usize {
        self.records
    }

    fn used(mut self) {
        self.records = 0;
        self.bytes = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.records > 0 || self.bytes > 0 {
            self.core.release(self.records, self.bytes);
        }
    }
}

/// A place in line, given up when the future that holds it is dropped.
struct Place<'a> {
    core: &'a Core,
    waiter: &'a Arc<Waiter>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.core.state.lock();
        if self.waiter.fate.load(Ordering::Acquire) == GRANTED {
            // Granted, but nobody is there to use it.
            drop(state);
            return self.core.release(self.waiter.records, self.waiter.bytes);
        }
        state.line.retain(|waiter| !Arc::ptr_eq(waiter, self.waiter));
        // It may have been what held up the line.
        let granted = state.grant();
        drop(state);
        granted.into_iter().for_each(|waiter| waiter.waker.wake());
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LIMITS: Limits = Limits { records: 1_000, bytes: 100_000 };

    /// A core of which a sender has taken one record, and has room for more.
    fn lent() -> (Core, Ahead) {
        let (core, mut ahead) = (Core::new(LIMITS), Ahead::none());
        assert!(core.take_ahead(10, &mut ahead).is_ok());
        assert!(ahead.loan.records() > 0 && ahead.loan.records() <= LIMITS.records / ahead::SHARE);
        (core, ahead)
    }

    #[test]
    fn room_taken_ahead_counts_as_in_flight_only_when_it_is_used() {
        let (core, mut ahead) = lent();
        assert_eq!(core.in_flight(), 1);
        assert!(ahead.take(10).is_some());
        assert_eq!(core.in_flight(), 2);
        core.give_back(&ahead);
        assert_eq!((core.in_flight(), ahead.take(10).is_none()), (2, true));
        assert!(core.take_many(LIMITS.records - 2, 0).is_ok(), "all the rest is there for others");
    }

    #[test]
    fn whoever_finds_no_room_gets_what_a_sender_has_not_used() {
        let (core, mut ahead) = lent();
        assert!(core.take_many(LIMITS.records - 1, 0).is_ok(), "the loan is called in");
        assert!(ahead.take(10).is_none());
        assert!(matches!(core.take_ahead(10, &mut ahead), Err(Refusal::Full)));
        assert_eq!(core.in_flight(), LIMITS.records);
    }

    #[test]
    fn after_close_a_sender_has_no_room_left() {
        let (core, mut ahead) = lent();
        assert!(core.close());
        assert!(ahead.take(10).is_none());
        assert!(matches!(core.take_ahead(10, &mut ahead), Err(Refusal::Closed)));
        assert_eq!(core.in_flight(), 1);
    }

    #[test]
    fn a_flush_waits_for_what_a_sender_has_sent_and_not_for_what_it_might_send() {
        let (core, mut ahead) = lent();
        let mut drained = Box::pin(core.drained());
        assert!(drained.as_mut().now_or_never().is_none());
        assert!(ahead.take(10).is_none(), "what is sent from here on belongs to the next flush");
        assert!(core.take_ahead(10, &mut ahead).is_ok());
        let mut settled = Settled { records: 1, bytes: 10, ..Settled::default() };
        settled.totals[0].delivered = 1;
        core.settle(&mut settled);
        assert!(drained.as_mut().now_or_never().is_some());
        assert_eq!(core.in_flight(), 1);
    }
}
