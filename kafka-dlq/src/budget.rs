//! How much of the traffic retries may be. Pure: the clock is an argument.

use std::time::{Duration, Instant};

/// How many retries may be saved up.
const MOST_SAVED: f64 = 1_000.0;

/// A share of the traffic that retries may take, so that they cannot drown the live flow.
///
/// First attempts earn it, retries spend it; beside that a few a second are always allowed, or a quiet consumer could
/// never retry. A retry without budget is not dropped: it waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    share: f64,
    floor_per_second: f64,
}

impl Budget {
    /// Retries may be `percent` of the first attempts.
    pub const fn percent(percent: u32) -> Self {
        Self { share: percent as f64 / 100.0, floor_per_second: 10.0 }
    }

    /// Sets how many retries a second are allowed in any case, overriding the default of 10. Zero counts as one.
    #[must_use]
    pub const fn at_least_per_second(mut self, retries: u32) -> Self {
        self.floor_per_second = if retries == 0 { 1.0 } else { retries as f64 };
        self
    }
}

/// The account of a budget.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Budget,
    saved: f64,
    since: Instant,
}

impl Account {
    pub(crate) fn new(budget: Budget, now: Instant) -> Self {
        Self { budget, saved: budget.floor_per_second.min(MOST_SAVED), since: now }
    }

    /// A record was tried for the first time.
    pub(crate) fn earn(&mut self) {
        self.saved = (self.saved + self.budget.share).min(MOST_SAVED);
    }

    /// Takes a retry, or says how long to wait before asking again.
    pub(crate) fn spend(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = self.since.max(now);
        self.saved = (self.saved + passed * self.budget.floor_per_second).min(MOST_SAVED);
        if self.saved >= 1.0 {
            self.saved -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.saved) / self.budget.floor_per_second;
        Err(Duration::from_secs_f64(wait).max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_traffic_and_a_few_more() {
        let start = Instant::now();
        for (percent, floor) in [(0, 1), (10, 5), (20, 10), (100, 10)] {
            let budget = Budget::percent(percent).at_least_per_second(floor);
            let mut account = Account::new(budget, start);
            let (mut now, mut retries) = (start, 0);
            // 10 s of 1,000 records a second, of which all fail and want a retry at once.
            for record in 0..10_000 {
                now = start + Duration::from_millis(record);
                account.earn();
                retries += usize::from(account.spend(now).is_ok());
            }
            let allowed = 10_000 * percent as usize / 100 + 11 * floor as usize;
            assert!(retries <= allowed + 1, "{percent} %: {retries} of {allowed}");
            assert!(retries + 2 >= allowed.min(10_000), "{percent} %: {retries} of {allowed}");
            // What waits as long as it was told gets its turn, and never waits for longer than the floor says.
            let mut waited = Duration::ZERO;
            while let Err(wait) = account.spend(now + waited) {
                waited += wait;
                assert!(waited <= Duration::from_secs(1) / floor + Duration::from_millis(2), "{waited:?}");
            }
        }
    }

    #[test]
    fn a_long_pause_saves_up_no_more_than_a_thousand() {
        let start = Instant::now();
        let mut account = Account::new(Budget::percent(50), start);
        let later = start + Duration::from_secs(86_400);
        assert_eq!((0..10_000).filter(|_| account.spend(later).is_ok()).count(), 1_000);
        assert!(account.spend(start).is_err(), "a clock that goes back earns nothing");
    }
}
