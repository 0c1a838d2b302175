//! What a lane's handlers are working at, for whoever looks from outside: the watchdog.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// No more of a key is noted: it is for people to read.
const MOST_KEY_BYTES: usize = 64;

/// A clock that is read for each record, and so costs a load: whoever looks after the lanes sets it.
#[derive(Debug)]
pub(super) struct CoarseClock {
    start: Instant,
    millis: AtomicU64,
}

impl CoarseClock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), millis: AtomicU64::new(0) }
    }

    /// Reads the real clock.
    pub(super) fn set(&self) {
        self.millis.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.millis.load(Ordering::Relaxed)
    }
}

/// The handlers of one lane, a slot each.
#[derive(Debug)]
pub(super) struct Running {
    slots: Box<[Slot]>,
}

#[derive(Debug)]
struct Slot {
    /// -1: idle.
    offset: AtomicI64,
    since: AtomicU64,
    key: Mutex<Option<Vec<u8>>>,
}

/// A handler that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LongRunning {
    pub(super) offset: i64,
    /// The beginning of the record's key; `None` where it is null, or was not noted.
    pub(super) key: Option<Vec<u8>>,
    pub(super) running_for: Duration,
}

impl Running {
    pub(super) fn new(width: usize) -> Self {
        let slot = |_| Slot { offset: AtomicI64::new(-1), since: AtomicU64::new(0), key: Mutex::default() };
        Self { slots: (0..width).map(slot).collect() }
    }

    /// A handler begins.
    #[inline]
    pub(super) fn begin(&self, slot: usize, offset: i64, key: Option<&[u8]>, clock: &CoarseClock) {
        let Some(slot) = self.slots.get(slot) else { return };
        {
            let mut noted = slot.key.lock();
            match (key, &mut *noted) {
                (Some(key), Some(noted)) => {
                    noted.clear();
                    noted.extend_from_slice(&key[..key.len().min(MOST_KEY_BYTES)]);
                }
                (Some(key), None) => *noted = Some(key[..key.len().min(MOST_KEY_BYTES)].to_vec()),
                (None, _) => *noted = None,
            }
        }
        slot.since.store(clock.now(), Ordering::Relaxed);
        slot.offset.store(offset, Ordering::Release);
    }

    /// It has ended.
    #[inline]
    pub(super) fn end(&self, slot: usize) {
        if let Some(slot) = self.slots.get(slot) {
            slot.offset.store(-1, Ordering::Release);
        }
    }

    /// The handlers that have been running for longer than `limit`.
    pub(super) fn longer_than(&self, limit: Duration, clock: &CoarseClock) -> Vec<LongRunning> {
        self.those(clock, |running_for| running_for > limit)
    }

    /// All handlers that run.
    pub(super) fn all(&self, clock: &CoarseClock) -> Vec<LongRunning> {
        self.those(clock, |_| true)
    }

    fn those(&self, clock: &CoarseClock, wanted: impl Fn(Duration) -> bool) -> Vec<LongRunning> {
        let now = clock.now();
        let shown = |slot: &Slot| {
            let offset = slot.offset.load(Ordering::Acquire);
            let running_for = Duration::from_millis(now.saturating_sub(slot.since.load(Ordering::Relaxed)));
            (offset >= 0 && wanted(running_for)).then(|| LongRunning {
                offset,
                key: slot.key.lock().clone(),
                running_for,
            })
        };
        self.slots.iter().filter_map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_still_runs_and_for_long_is_named() {
        let (clock, running) = (CoarseClock::new(), Running::new(3));
        running.begin(0, 10, Some(b"a"), &clock);
        running.begin(1, 11, Some(&[7; 100]), &clock);
        running.begin(2, 12, None, &clock);
        running.begin(9, 13, None, &clock);
        running.end(2);
        assert_eq!(running.longer_than(Duration::from_millis(5), &clock), []);
        clock.millis.store(7, Ordering::Relaxed);
        running.begin(2, 14, None, &clock);
        let named = running.longer_than(Duration::from_millis(5), &clock);
        assert_eq!(named.iter().map(|one| one.offset).collect::<Vec<_>>(), [10, 11]);
        assert_eq!(named[0].key.as_deref(), Some(&b"a"[..]));
        assert_eq!((named[1].key.as_ref().map(Vec::len), named[1].running_for), (Some(64), Duration::from_millis(7)));
    }
}
