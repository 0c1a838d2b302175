//! Telling an outage from poison: failures spread over many keys. Pure: the clock is an argument.
//!
//! ```text
//!   closed ──failures of many keys, few successes──▶ open ──pause──▶ one probe ──succeeds──▶ closed
//!                                                     ▲                 │ fails
//!                                                     └─────────────────┘
//! ```

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// When a recovery takes failures for an outage, during which records wait and nothing counts against them.
///
/// Only failures that would be retried count; what is dead-lettered or skipped at once is the record's own fault. One key
/// that fails for ever opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    keys: usize,
    window: Duration,
    percent: u32,
    pause: Duration,
    patience: Duration,
}

impl Breaker {
    /// Opens when this many different keys have failed within 10 s, and no more records were handled since the first of them.
    /// (Records without a key count one by one.)
    pub const fn over_keys(keys: usize) -> Self {
        let keys = if keys == 0 { 1 } else { keys };
        Self {
            keys,
            window: Duration::from_secs(10),
            percent: 50,
            pause: Duration::from_millis(500),
            patience: Duration::from_secs(600),
        }
    }

    /// Sets within which time, overriding the default of 10 s.
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets which share of the records must have failed, in percent, overriding the default of 50.
    #[must_use]
    pub const fn percent(mut self, percent: u32) -> Self {
        self.percent = percent;
        self
    }

    /// Sets how long to wait between two probes, overriding the default of 500 ms. After a recovery it takes this long, and
    /// one call, until everything goes on.
    #[must_use]
    pub const fn probe_every(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sets after how long failures count as the records' own again where fewer different keys could be tried than it takes to
    /// open (because no more are handled at the same time), overriding the default of 10 minutes. Else a few records that are
    /// bad for good could hold up a consumer for ever.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// A breaker at work.
#[derive(Debug)]
pub(crate) struct Circuit {
    breaker: Breaker,
    /// Keys that have failed within the window, each with its first failure: no more than it takes to open.
    failing: VecDeque<Failing>,
    /// The keys that were tried since it opened, no more than that either.
    probed: HashSet<u64>,
    last_probed: Option<u64>,
    /// Since when too few different keys were tried.
    since: Instant,
    state: State,
}

#[derive(Debug)]
struct Failing {
    key: u64,
    at: Instant,
    /// How many records had been handled before.
    successes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { next_probe: Instant, probing: bool },
}

/// Whether a record may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    Go,
    /// It is the one that is tried, to see whether the outage is over.
    Probe,
    /// Not before this has passed.
    Wait(Duration),
}

impl Circuit {
    pub(crate) fn new(breaker: Breaker, now: Instant) -> Self {
        Self {
            breaker,
            failing: VecDeque::new(),
            probed: HashSet::new(),
            last_probed: None,
            since: now,
            state: State::Closed,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// A call that would be retried has failed; so many have succeeded until now. Whether this opened the breaker.
    pub(crate) fn failed(&mut self, key: u64, successes: u64, now: Instant) -> bool {
        if self.is_open() {
            return false;
        }
        let window = self.breaker.window;
        self.failing.retain(|failing| now.saturating_duration_since(failing.at) <= window);
        if self.failing.iter().any(|failing| failing.key == key) {
            // Tried again and again, it says nothing new.
            return false;
        }
        self.failing.push_back(Failing { key, at: now, successes });
        if self.failing.len() > self.breaker.keys {
            self.failing.pop_front();
        }
        let keys = self.failing.len();
        let Some(first) = self.failing.front().filter(|_| keys >= self.breaker.keys) else { return false };
        let handled = successes.saturating_sub(first.successes);
        let opens = keys as u64 * 100 >= (keys as u64 + handled) * u64::from(self.breaker.percent);
        if opens {
            self.open(now);
        }
        opens
    }

    fn open(&mut self, now: Instant) {
        self.state = State::Open { next_probe: now + self.breaker.pause, probing: false };
        self.probed.clear();
        (self.last_probed, self.since) = (None, now);
    }

    /// Whether a record of this key may be tried now.
    pub(crate) fn permit(&mut self, key: u64, now: Instant) -> Permit {
        let pause = self.breaker.pause;
        match &mut self.state {
            State::Closed => Permit::Go,
            State::Open { probing: true, .. } => Permit::Wait(pause),
            State::Open { next_probe, .. } => {
                // Another record's turn first, where there is one: this one may be bad for good.
                let turn = if self.last_probed == Some(key) { *next_probe + pause / 2 } else { *next_probe };
                if now < turn {
                    return Permit::Wait(turn - now);
                }
                self.state = State::Open { next_probe: now, probing: true };
                self.last_probed = Some(key);
                Permit::Probe
            }
        }
    }

    /// The probe has ended: with a success, or a failure that is the record's own; or with one more failure. Whether
    /// everything goes on.
    pub(crate) fn probed(&mut self, reached: bool, now: Instant) -> bool {
        if !reached {
            self.state = State::Open { next_probe: now + self.breaker.pause, probing: false };
            self.probed.extend(self.last_probed);
            if self.probed.len() >= self.breaker.keys {
                // As many as it takes to open: it is an outage still.
                self.probed.clear();
                self.since = now;
            } else if now.saturating_duration_since(self.since) > self.breaker.patience {
                self.state = State::Closed;
            }
        } else {
            self.state = State::Closed;
        }
        if !self.is_open() {
            self.failing.clear();
        }
        !self.is_open()
    }

    /// The probe was given up without an answer.
    pub(crate) fn abandoned(&mut self, now: Instant) {
        if let State::Open { probing: true, .. } = self.state {
            self.state = State::Open { next_probe: now, probing: false };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn failures_of_many_keys_open_it_and_those_of_one_never_do() {
        let start = Instant::now();
        let mut circuit = Circuit::new(Breaker::over_keys(5), start);
        for n in 0..10_000 {
            assert!(!circuit.failed(7, 0, start + n * MS), "one key");
        }
        let mut opened = Vec::new();
        let mut circuit = Circuit::new(Breaker::over_keys(5), start);
        for key in 0..5 {
            opened.push(circuit.failed(key, 0, start + key as u32 * MS));
        }
        assert_eq!(opened, [false, false, false, false, true]);
        assert!(!circuit.failed(9, 0, start), "it is open already");
    }

    #[test]
    fn failures_among_enough_successes_or_over_a_long_time_do_not_open_it() {
        let start = Instant::now();
        let mut circuit = Circuit::new(Breaker::over_keys(5), start);
        for n in 0..1_000u32 {
            // Every third record fails, each with a key of its own, and each is tried twice.
            assert!(!circuit.failed(n.into(), u64::from(n) * 2, start + n * MS));
            assert!(!circuit.failed(n.into(), u64::from(n) * 2, start + n * MS));
        }
        let mut circuit = Circuit::new(Breaker::over_keys(5), start);
        for n in 0..1_000u32 {
            assert!(!circuit.failed(n.into(), 0, start + n * 4_000 * MS), "a key every 4 s");
        }
        // However much went well before, an outage is seen by its first failures.
        let mut circuit = Circuit::new(Breaker::over_keys(5), start);
        let opened: Vec<bool> = (0..5).map(|key| circuit.failed(key, 1_000_000, start)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
    }

    #[test]
    fn one_probe_at_a_time_goes_through_and_a_success_lets_everything_go_on() {
        let start = Instant::now();
        let mut circuit = Circuit::new(Breaker::over_keys(1), start);
        assert_eq!(circuit.permit(1, start), Permit::Go);
        assert!(circuit.failed(1, 0, start));
        assert_eq!(circuit.permit(1, start), Permit::Wait(500 * MS));
        let mut now = start;
        // An outage of an hour.
        for key in 0..7_200 {
            now += 500 * MS;
            assert_eq!((circuit.permit(key, now), circuit.permit(1, now)), (Permit::Probe, Permit::Wait(500 * MS)));
            assert!(!circuit.probed(false, now));
        }
        // It is over now: full rate after one pause, whatever the length of the outage.
        now += 500 * MS;
        assert_eq!(circuit.permit(1, now), Permit::Probe);
        circuit.abandoned(now);
        assert_eq!(circuit.permit(2, now), Permit::Probe, "a probe that was given up is nobody's answer");
        assert!(circuit.probed(true, now));
        assert_eq!((circuit.permit(1, now), circuit.permit(2, now)), (Permit::Go, Permit::Go));
        assert!(circuit.failed(1, 1, now), "and it opens again");
    }

    #[test]
    fn records_take_turns_and_a_few_bad_ones_cannot_hold_up_everything_for_ever() {
        let start = Instant::now();
        let mut circuit = Circuit::new(Breaker::over_keys(3).patience(Duration::from_secs(60)), start);
        for key in 0..3 {
            circuit.failed(key, 0, start);
        }
        let (mut now, mut turns) = (start, Vec::new());
        // Two records wait, both bad for good.
        while circuit.is_open() {
            now += 10 * MS;
            for key in [1, 2] {
                if circuit.permit(key, now) == Permit::Probe {
                    turns.push(key);
                    circuit.probed(false, now);
                }
            }
            assert!(now - start < Duration::from_secs(70));
        }
        assert!(now - start > Duration::from_secs(60));
        assert!(turns.windows(2).all(|pair| pair[0] != pair[1]), "{turns:?}");
        // Three, and it is an outage still.
        let mut circuit = Circuit::new(Breaker::over_keys(3).patience(Duration::from_secs(60)), start);
        for key in 0..3 {
            circuit.failed(key, 0, start);
        }
        for turn in 0..1_000u32 {
            let now = start + turn * 1_000 * MS + 500 * MS;
            assert_eq!(circuit.permit(u64::from(turn % 3), now), Permit::Probe);
            assert!(!circuit.probed(false, now));
        }
    }
}
