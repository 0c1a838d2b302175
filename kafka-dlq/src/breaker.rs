//! Telling an outage from poison: failures spread over many keys. Pure: the clock is an argument.
//!
//! ```text
//!   closed ──failures of many keys, few successes──▶ open ──pause──▶ one probe ──succeeds──▶ closed
//!                                                     ▲                 │ fails
//!                                                     └─────────────────┘
//! ```

use std::collections::HashSet;
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
}

impl Breaker {
    /// Opens when this many different keys have failed within 10 s, and half of the calls. (Records without a key count
    /// one by one.)
    pub const fn over_keys(keys: usize) -> Self {
        let keys = if keys == 0 { 1 } else { keys };
        Self { keys, window: Duration::from_secs(10), percent: 50, pause: Duration::from_millis(500) }
    }

    /// Sets within which time, overriding the default of 10 s.
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets which share of the calls must have failed, in percent, overriding the default of 50.
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
}

/// A breaker at work.
#[derive(Debug)]
pub(crate) struct Circuit {
    breaker: Breaker,
    /// This half of the window, and the one before.
    halves: [Half; 2],
    since: Instant,
    state: State,
}

#[derive(Debug, Default)]
struct Half {
    /// No more are remembered than it takes to open.
    keys: HashSet<u64>,
    failures: u64,
    /// The count of successes when it began.
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
        Self { breaker, halves: Default::default(), since: now, state: State::Closed }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// A call that would be retried has failed; so many have succeeded until now. Whether this opened the breaker.
    pub(crate) fn failed(&mut self, key: u64, successes: u64, now: Instant) -> bool {
        if self.is_open() {
            return false;
        }
        self.turn(successes, now);
        let half = &mut self.halves[0];
        half.failures += 1;
        if half.keys.len() < self.breaker.keys {
            half.keys.insert(key);
        }
        let keys = self.halves[0].keys.union(&self.halves[1].keys).count();
        let failures = self.halves[0].failures + self.halves[1].failures;
        let calls = failures + successes.saturating_sub(self.halves[1].successes);
        let opens = keys >= self.breaker.keys && failures * 100 >= calls * u64::from(self.breaker.percent);
        if opens {
            self.state = State::Open { next_probe: now + self.breaker.pause, probing: false };
        }
        opens
    }

    fn turn(&mut self, successes: u64, now: Instant) {
        let half = self.breaker.window / 2;
        let passed = now.saturating_duration_since(self.since);
        if passed < half {
            return;
        }
        let fresh = || Half { successes, ..Half::default() };
        let before = if passed < half * 2 { std::mem::take(&mut self.halves[0]) } else { fresh() };
        self.halves = [fresh(), before];
        self.since = now;
    }

    /// Whether a record may be tried now.
    pub(crate) fn permit(&mut self, now: Instant) -> Permit {
        match &mut self.state {
            State::Closed => Permit::Go,
            State::Open { probing: true, .. } => Permit::Wait(self.breaker.pause),
            State::Open { next_probe, .. } if now < *next_probe => Permit::Wait(*next_probe - now),
            State::Open { probing, .. } => {
                *probing = true;
                Permit::Probe
            }
        }
    }

    /// The probe has ended: with a success, or a failure that is the record's own; or with one more failure.
    pub(crate) fn probed(&mut self, reached: bool, successes: u64, now: Instant) {
        self.state = match reached {
            true => State::Closed,
            false => State::Open { next_probe: now + self.breaker.pause, probing: false },
        };
        if reached {
            let fresh = || Half { successes, ..Half::default() };
            self.halves = [fresh(), fresh()];
            self.since = now;
        }
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
            // Every third call fails, each with a key of its own.
            assert!(!circuit.failed(n.into(), u64::from(n) * 2 + 2, start + n * MS));
        }
        let mut circuit = Circuit::new(Breaker::over_keys(5), start);
        for n in 0..1_000u32 {
            assert!(!circuit.failed(n.into(), 0, start + n * 4_000 * MS), "a key every 4 s");
        }
    }

    #[test]
    fn one_probe_at_a_time_goes_through_and_a_success_lets_everything_go_on() {
        let start = Instant::now();
        let mut circuit = Circuit::new(Breaker::over_keys(1), start);
        assert_eq!(circuit.permit(start), Permit::Go);
        assert!(circuit.failed(1, 0, start));
        assert_eq!(circuit.permit(start), Permit::Wait(500 * MS));
        let mut now = start;
        // An outage of a minute.
        for _ in 0..120 {
            now += 500 * MS;
            assert_eq!((circuit.permit(now), circuit.permit(now)), (Permit::Probe, Permit::Wait(500 * MS)));
            circuit.probed(false, 0, now);
        }
        // It is over now: full rate after one pause, whatever the length of the outage.
        now += 500 * MS;
        assert_eq!(circuit.permit(now), Permit::Probe);
        circuit.abandoned(now);
        assert_eq!(circuit.permit(now), Permit::Probe, "a probe that was given up is nobody's answer");
        circuit.probed(true, 1, now);
        assert_eq!((circuit.permit(now), circuit.permit(now)), (Permit::Go, Permit::Go));
        assert!(circuit.failed(1, 1, now), "and it opens again");
    }
}
