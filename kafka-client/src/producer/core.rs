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

use super::batch::Batches;
use super::slot::{Chunk, Ring, SlotRef};
use super::token::Token;

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
    /// Signed: headers are counted after the permit was taken, and may overdraw it for a moment.
    free_bytes: i64,
    ring: Ring,
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
        let state = State {
            free_records: limits.records,
            free_bytes: i64::try_from(limits.bytes).unwrap_or(i64::MAX),
            ring: Ring::new(),
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
    pub(super) fn take(&self, bytes: usize) -> Result<(SlotRef, usize), Refusal> {
        let bytes = self.capped(bytes);
        let mut state = self.state.lock();
        state.take(1, bytes)?;
        Ok(state.start())
    }

    /// Takes a permit for many records, without slots.
    pub(super) fn take_many(&self, records: usize, bytes: usize) -> Result<usize, Refusal> {
        let bytes = self.capped(bytes);
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
        let (records, bytes) = (records.min(self.limits.records), self.capped(bytes));
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
    pub(super) fn start(&self, permit: Permit, bytes: usize) -> Result<(SlotRef, usize), Refusal> {
        let mut state = self.state.lock();
        if state.closed {
            // The lock goes before the permit does, which takes it again to give itself back.
            return Err(Refusal::Closed);
        }
        state.free_bytes += permit.bytes as i64 - self.capped(bytes) as i64;
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
        state.free_bytes += permit.bytes as i64 - self.capped(bytes) as i64;
        permit.used();
        let epoch = state.epoch;
        state.in_flight[epoch] += records;
        Ok(epoch)
    }

    /// Counts bytes that were added to a record after its permit was taken.
    pub(super) fn overdraw(&self, bytes: usize) {
        self.state.lock().free_bytes -= bytes as i64;
    }

    /// Brings the event thread's list of chunks up to date.
    pub(super) fn chunks(&self, copy: &mut Vec<Arc<Chunk>>) {
        self.state.lock().ring.copy_to(copy);
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

    /// How many bytes of the limit a record takes. One larger than the limit may go alone.
    pub(super) fn capped(&self, bytes: usize) -> usize {
        bytes.min(self.limits.bytes)
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// How many records are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().in_flight.iter().sum()
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
        if !self.line.is_empty() || !self.fits(records, bytes) {
            return Err(Refusal::Full);
        }
        self.free_records -= records;
        self.free_bytes -= bytes as i64;
        Ok(())
    }

    #[inline]
    fn fits(&self, records: usize, bytes: usize) -> bool {
        self.free_records >= records && self.free_bytes >= bytes as i64
    }

    /// How many records of a round are in flight; none where its epoch has begun another one.
    fn left_of(&self, round: &Arc<Round>) -> usize {
        let epoch = self.rounds.iter().position(|current| Arc::ptr_eq(current, round));
        epoch.map_or(0, |epoch| self.in_flight[epoch])
    }

    #[inline]
    fn start(&mut self) -> (SlotRef, usize) {
        self.in_flight[self.epoch] += 1;
        let (slot, number) = self.ring.next();
        (slot, Token::Slot(number).encode(self.epoch))
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
