//! Slots: where the result of a record waits for whoever sent it.
//!
//! ```text
//!        claim            report                       read
//!   FREE ─────▶ PENDING ─────────▶ DELIVERED, FAILED ──────▶ FREE
//!                  ├─ polled ──▶ WAITING ── report, wakes ──▶ DELIVERED, FAILED
//!                  ├─ expect ──▶ CALLBACK ─ report, calls ──▶ DELIVERED, FAILED
//!                  └─ dropped ─▶ ABANDONED ─ report ────────▶ FREE
//! ```
//!
//! The common way (claimed, delivered, read) is three atomic steps, and takes no lock. Whatever has more to say than
//! three numbers, a waker or an error, goes through the mutex: the state enters and leaves WAITING under it only.

use std::mem;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::callbacks::Callback;
use super::outcome::{Delivered, Outcome, SendError};

/// Nobody's.
const FREE: u8 = 0;
/// In flight, and nobody has asked yet.
const PENDING: u8 = 1;
/// Somebody waits; the waker is aside.
const WAITING: u8 = 2;
/// The sender does not want to know.
const ABANDONED: u8 = 3;
/// A callback waits.
const CALLBACK: u8 = 4;
/// The answer is in the fields.
const DELIVERED: u8 = 5;
/// The error is aside.
const FAILED: u8 = 6;

/// The state of one record in flight: a cache line, reused for other records. No box, no channel.
#[repr(align(64))]
pub(crate) struct Slot {
    state: AtomicU8,
    partition: AtomicI32,
    offset: AtomicI64,
    timestamp: AtomicI64,
    aside: Mutex<Aside>,
    /// Where the callback waits, once the slot has had one.
    callback: OnceLock<&'static CallbackRoom>,
}

/// Room for the callback of one record; it belongs to a slot for ever.
type CallbackRoom = Mutex<Option<Callback>>;

/// What a slot holds that is no number.
enum Aside {
    Waker(Waker),
    Error(Option<SendError>),
}

const NOTHING: Aside = Aside::Error(None);

/// Who has to be told about a result.
pub(super) enum Told {
    /// Whoever reads the slot later; wake them after the whole event.
    Reader(Option<Waker>),
    /// Nobody: the slot is free again.
    Nobody,
    /// The callback that belongs to the slot; whoever calls it reads the slot.
    Callback,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            state: AtomicU8::new(FREE),
            partition: AtomicI32::new(0),
            offset: AtomicI64::new(0),
            timestamp: AtomicI64::new(0),
            aside: Mutex::new(NOTHING),
            callback: OnceLock::new(),
        }
    }
}

impl Slot {
    /// Takes the slot for a record; `false` where an older result still waits in it.
    #[inline]
    pub(super) fn claim(&self) -> bool {
        self.state.compare_exchange(FREE, PENDING, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Has the result of a claimed slot told to a callback, before the record is handed over.
    #[inline]
    pub(super) fn expect(&self, callback: Callback) {
        *self.callback.get_or_init(callback_room).lock() = Some(callback);
        self.state.store(CALLBACK, Ordering::Release);
    }

    /// As [`expect`](Self::expect), with what is there.
    #[inline]
    pub(super) fn expect_from(&self, callback: &mut Option<impl FnOnce(Outcome) + Send + 'static>) {
        if let Some(callback) = callback.take() {
            self.expect(Callback::new(callback));
        }
    }

    /// Frees the slot of a record that was not taken; its callback will not be called.
    #[inline]
    pub(super) fn clear(&self) {
        let callback = self.callback.get().and_then(|room| room.lock().take());
        self.state.store(FREE, Ordering::Release);
        drop(callback);
    }

    /// Takes the callback and the result that it waits for; the slot is free then.
    #[inline]
    pub(super) fn take_callback(&self) -> (Option<Callback>, Outcome) {
        let callback = self.callback.get().and_then(|room| room.lock().take());
        (callback, self.take())
    }

    /// Stores the answer of the broker; `None` where nobody has to be told.
    #[inline]
    pub(super) fn deliver(&self, delivered: Delivered) -> Option<Told> {
        self.partition.store(delivered.partition(), Ordering::Relaxed);
        self.offset.store(delivered.raw_offset(), Ordering::Relaxed);
        self.timestamp.store(delivered.timestamp_ms(), Ordering::Relaxed);
        match self.state.compare_exchange(PENDING, DELIVERED, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => None,
            Err(CALLBACK) => {
                self.state.store(DELIVERED, Ordering::Release);
                Some(Told::Callback)
            }
            Err(_) => Some(self.answer(DELIVERED, &mut None)),
        }
    }

    /// Stores an error, and leaves it where nobody wants to know.
    pub(super) fn fail(&self, error: &mut Option<SendError>) -> Told {
        self.answer(FAILED, error)
    }

    #[inline(never)]
    fn answer(&self, answer: u8, error: &mut Option<SendError>) -> Told {
        let mut aside = self.aside.lock();
        let state = self.state.load(Ordering::Acquire);
        if state == PENDING {
            *aside = Aside::Error(error.take());
            // While we hold the lock it can only be abandoned.
            if self.state.compare_exchange(PENDING, answer, Ordering::Release, Ordering::Acquire).is_ok() {
                return Told::Reader(None);
            }
            if let Aside::Error(unread) = mem::replace(&mut *aside, NOTHING) {
                *error = unread;
            }
            self.state.store(FREE, Ordering::Release);
            return Told::Nobody;
        }
        match state {
            WAITING | CALLBACK => {
                let before = mem::replace(&mut *aside, Aside::Error(error.take()));
                self.state.store(answer, Ordering::Release);
                match before {
                    Aside::Waker(waker) => Told::Reader(Some(waker)),
                    Aside::Error(_) if state == CALLBACK => Told::Callback,
                    Aside::Error(_) => Told::Reader(None),
                }
            }
            // A record has one report.
            DELIVERED | FAILED => Told::Nobody,
            _ => {
                self.state.store(FREE, Ordering::Release);
                Told::Nobody
            }
        }
    }

    /// Takes the result; the slot is free then.
    #[inline]
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        match self.state.load(Ordering::Acquire) {
            DELIVERED => Poll::Ready(Ok(self.delivered())),
            _ => self.poll_slowly(context),
        }
    }

    #[inline(never)]
    fn poll_slowly(&self, context: &Context<'_>) -> Poll<Outcome> {
        let mut aside = self.aside.lock();
        if matches!(self.state.load(Ordering::Acquire), PENDING | WAITING) {
            match &*aside {
                Aside::Waker(waker) if waker.will_wake(context.waker()) => (),
                _ => *aside = Aside::Waker(context.waker().clone()),
            }
            // The waker is there before the state says so, and we hold the lock: a report that comes now waits for it.
            match self.state.compare_exchange(PENDING, WAITING, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) | Err(WAITING) => return Poll::Pending,
                // The report came in between, and has seen no waker.
                Err(_) => *aside = NOTHING,
            }
        }
        drop(aside);
        Poll::Ready(self.take())
    }

    /// Takes a result that is there.
    #[inline]
    fn take(&self) -> Outcome {
        match self.state.load(Ordering::Acquire) {
            DELIVERED => Ok(self.delivered()),
            _ => self.failed(),
        }
    }

    #[inline]
    fn delivered(&self) -> Delivered {
        let delivered = Delivered::new(
            self.partition.load(Ordering::Relaxed),
            self.offset.load(Ordering::Relaxed),
            self.timestamp.load(Ordering::Relaxed),
        );
        self.state.store(FREE, Ordering::Release);
        delivered
    }

    #[cold]
    fn failed(&self) -> Outcome {
        let error = mem::replace(&mut *self.aside.lock(), NOTHING);
        self.state.store(FREE, Ordering::Release);
        match error {
            Aside::Error(Some(error)) => Err(error),
            _ => unreachable!("a slot whose record has failed has the error aside"),
        }
    }

    /// Gives up the result, which may be there already.
    #[inline(never)]
    pub(super) fn abandon(&self) {
        if self.state.compare_exchange(PENDING, ABANDONED, Ordering::Release, Ordering::Relaxed).is_ok() {
            return;
        }
        let mut aside = self.aside.lock();
        let forgotten = mem::replace(&mut *aside, NOTHING);
        let state = if self.state.load(Ordering::Acquire) == WAITING { ABANDONED } else { FREE };
        self.state.store(state, Ordering::Release);
        // A waker or a record's bytes may take long to drop, or look at this very slot.
        drop(aside);
        drop(forgotten);
    }
}

/// A room for a slot that has its first callback.
#[cold]
fn callback_room() -> &'static CallbackRoom {
    /// How many are made at once.
    const ROOMS: usize = 1024;
    static EMPTY: Mutex<&[CallbackRoom]> = Mutex::new(&[]);
    let mut empty = EMPTY.lock();
    if empty.is_empty() {
        *empty = Box::leak((0..ROOMS).map(|_| Mutex::default()).collect());
    }
    let (room, rest) = empty.split_first().unwrap_or_else(|| unreachable!("there are some by now"));
    *empty = rest;
    room
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;
    use crate::error::{Error, ErrorKind};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answer() -> Delivered {
        Delivered::new(3, 5, 7)
    }

    fn error() -> SendError {
        SendError::new(Error::new(ErrorKind::Broker, "no"), false, None)
    }

    fn claimed() -> Slot {
        let slot = Slot::default();
        assert!(slot.claim() && !slot.claim());
        slot
    }

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!((size_of::<Slot>(), size_of::<Aside>()), (64, 16));
    }

    #[test]
    fn an_answer_is_read_once_whenever_it_comes() {
        let slot = claimed();
        assert!(slot.deliver(answer()).is_none());
        assert!(!slot.claim());
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        let mut context = Context::from_waker(&waker);
        assert!(matches!(slot.poll(&mut context), Poll::Ready(Ok(delivered)) if delivered == answer()));

        assert!(slot.claim());
        assert!(slot.poll(&mut context).is_pending() && slot.poll(&mut context).is_pending());
        let Some(Told::Reader(Some(waker))) = slot.deliver(answer()) else { panic!("somebody waits") };
        waker.wake();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(matches!(slot.poll(&mut context), Poll::Ready(Ok(delivered)) if delivered == answer()));

        assert!(slot.claim());
        assert!(slot.poll(&mut context).is_pending());
        assert!(matches!(slot.fail(&mut Some(error())), Told::Reader(Some(_))));
        assert!(matches!(slot.poll(&mut context), Poll::Ready(Err(_))));
        assert!(slot.claim());
        // Neither the waker nor the slot is held any more, once it has been read.
        assert_eq!(Arc::strong_count(&woken), 2);
    }

    #[test]
    fn an_abandoned_slot_is_free_after_its_report_and_not_before() {
        let waker = Waker::noop();
        for polled in [false, true] {
            for failed in [false, true] {
                for reported_before in [false, true] {
                    let slot = claimed();
                    if polled {
                        assert!(slot.poll(&mut Context::from_waker(waker)).is_pending());
                    }
                    let mut unread = Some(error());
                    let mut report = |slot: &Slot| match failed {
                        true => Some(slot.fail(&mut unread)),
                        false => slot.deliver(answer()),
                    };
                    if reported_before {
                        report(&slot);
                        slot.abandon();
                    } else {
                        slot.abandon();
                        assert!(!slot.claim(), "its report is on its way");
                        assert!(matches!(report(&slot), Some(Told::Nobody)));
                        assert!(unread.is_some(), "an error that nobody hears comes back");
                    }
                    assert!(slot.claim());
                }
            }
        }
    }

    #[test]
    fn a_callback_is_told_and_reads_the_result() {
        let slot = claimed();
        let (called, calls) = std::sync::mpsc::channel();
        let expect = |n: i32| {
            let called = called.clone();
            slot.expect(Callback::new(move |outcome: Outcome| called.send((n, outcome.is_ok())).unwrap_or_default()));
        };
        expect(1);
        assert!(matches!(slot.deliver(answer()), Some(Told::Callback)));
        assert!(!slot.claim(), "its callback has not been called");
        let (Some(callback), outcome) = slot.take_callback() else { panic!("it waits") };
        assert!(slot.claim());
        expect(2);
        assert!(matches!(slot.fail(&mut Some(error())), Told::Callback));
        callback.call(outcome);
        let (Some(callback), outcome) = slot.take_callback() else { panic!("it waits") };
        callback.call(outcome);
        assert!(slot.claim());
        expect(3);
        slot.clear();
        assert!(slot.claim());
        assert_eq!(calls.try_iter().collect::<Vec<_>>(), [(1, true), (2, false)]);
    }

    /// Reader and report at the same time: whoever comes first, the answer is read, and a pending reader is woken.
    #[test]
    fn no_wakeup_is_lost_between_a_poll_and_a_report() {
        const ROUNDS: usize = 20_000;
        let slots: Arc<Vec<Slot>> = Arc::new((0..ROUNDS).map(|_| claimed()).collect());
        let reported = slots.clone();
        let at = Arc::new(AtomicUsize::new(0));
        let reader_at = at.clone();
        let reports = std::thread::spawn(move || {
            for (number, slot) in reported.iter().enumerate() {
                // In step with the reader, as far as threads can be.
                while reader_at.load(Ordering::Acquire) < number {
                    std::thread::yield_now();
                }
                if let Some(Told::Reader(Some(waker))) = slot.deliver(Delivered::new(0, number as i64, 0)) {
                    waker.wake();
                }
            }
        });
        for (number, slot) in slots.iter().enumerate() {
            at.store(number, Ordering::Release);
            let read = std::future::poll_fn(|context| slot.poll(context));
            let delivered = futures::executor::block_on(read).map(|delivered| delivered.offset());
            assert_eq!(delivered.ok(), Some(number as i64));
        }
        reports.join().ok();
        assert!(slots.iter().all(Slot::claim));
    }
}
