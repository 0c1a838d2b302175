//! The end-to-end rounds: records that carry the time of their departure, and what their arrivals tell.

use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::frame::{self, Load, Outcome, Sample, VALUE};
use crate::meter::Window;

/// Messages of a round that travel before any is measured.
pub(crate) const UNMEASURED: u64 = 100;

/// Between two departures: a modest rate of a thousand records a second.
const PACE: Duration = Duration::from_millis(1);

/// A round that takes this much longer than its records at their pace has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One round: a sender takes [`departures`](Trip::departures), a receiver reports each [`arrival`](Trip::arrive).
pub(crate) struct Trip {
    /// Tells this round's records from those of rounds before it on the same topic.
    id: u64,
    messages: u64,
    /// When the first record arrived. Those that departed before had to wait for the receiver to join.
    joined: OnceLock<Duration>,
    arrived: AtomicU64,
    measured: Mutex<Measured>,
}

struct Measured {
    latencies: Vec<Duration>,
    window: Window,
}

/// What a record carries.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    id: u64,
    departed: Duration,
}

impl Trip {
    pub(crate) fn new(load: &Load) -> Self {
        Self {
            id: frame::random(),
            messages: load.messages,
            joined: OnceLock::new(),
            arrived: AtomicU64::new(0),
            measured: Mutex::new(Measured {
                latencies: Vec::with_capacity(load.messages as usize),
                window: Window::open(),
            }),
        }
    }

    /// A stamp at a time, each when it is due, until enough records have arrived. It waits for no receiver to join.
    pub(crate) fn departures(&self) -> impl Iterator<Item = Stamp> {
        let mut due = Instant::now();
        let last = due + PACE * (self.messages + UNMEASURED) as u32 + PATIENCE;
        iter::from_fn(move || {
            due += PACE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if due > last {
                self.cancel();
            }
            (!self.is_over()).then(|| Stamp { id: self.id, departed: epoch().elapsed() })
        })
    }

    /// Takes note of a received value; those of other rounds, and the first of this one, do not count.
    pub(crate) fn arrive(&self, value: &[u8]) {
        let Some(stamp) = Stamp::read(value).filter(|stamp| stamp.id == self.id) else { return };
        let now = epoch().elapsed();
        if stamp.departed < *self.joined.get_or_init(|| now) {
            return;
        }
        let number = self.arrived.fetch_add(1, Ordering::Relaxed);
        if number == UNMEASURED {
            self.measured().window = Window::open();
        }
        if (UNMEASURED..UNMEASURED + self.messages).contains(&number) {
            self.measured().latencies.push(now.saturating_sub(stamp.departed));
        }
    }

    /// All have arrived, or somebody gave up.
    pub(crate) fn is_over(&self) -> bool {
        self.arrived.load(Ordering::Relaxed) >= UNMEASURED + self.messages
    }

    /// Ends the round for the other side when this one has failed.
    pub(crate) fn cancelled_on_error(&self, outcome: Outcome<()>) -> Outcome<()> {
        if outcome.is_err() {
            self.cancel();
        }
        outcome
    }

    fn cancel(&self) {
        self.arrived.store(u64::MAX / 2, Ordering::Relaxed);
    }

    pub(crate) fn sample(&self) -> Outcome<Sample> {
        let mut measured = self.measured();
        let used = measured.window.close();
        let arrived = measured.latencies.len();
        if (arrived as u64) < self.messages {
            return Err(format!("{arrived} of {} records arrived", self.messages).into());
        }
        Sample::median_latency(&mut measured.latencies, used)
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        // Numbers stay numbers when a thread that held them panicked.
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stamp {
    /// A value of a hundred bytes.
    pub(crate) fn value(self) -> [u8; VALUE.len()] {
        let mut value = *VALUE;
        value[..8].copy_from_slice(&self.id.to_le_bytes());
        value[8..16].copy_from_slice(&(self.departed.as_nanos() as u64).to_le_bytes());
        value
    }

    fn read(value: &[u8]) -> Option<Self> {
        let field = |at: usize| Some(u64::from_le_bytes(value.get(at..at + 8)?.try_into().ok()?));
        Some(Self { id: field(0)?, departed: Duration::from_nanos(field(8)?) })
    }
}

/// The instant that stamps count from.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}
