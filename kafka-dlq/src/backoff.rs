//! How long to wait before a record is tried again, and when to stop trying. Pure: no clock, no randomness of its own.

use std::time::{Duration, SystemTime};

/// How many attempts a backoff allows, unless set.
const DEFAULT_ATTEMPTS: u32 = 10;

/// How long to wait before the next attempt, and how many there may be. Copied into a decision, so it can be a constant.
///
/// ```
/// use std::time::Duration;
/// use kafka_dlq::Backoff;
///
/// const QUICK: Backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(60)).attempts(8);
/// // What the other side asked for: never earlier than that.
/// let polite = Backoff::after(Duration::from_secs(30)).jitter(10);
/// assert_ne!(QUICK, polite);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    delay: Delay,
    /// By how many percent of the delay attempts are spread.
    jitter: u8,
    most_attempts: Option<u32>,
    most_age: Option<Duration>,
    most_time: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delay {
    Fixed(Duration),
    Exponential { first: Duration, most: Duration },
    After(Duration),
    At(SystemTime),
}

/// What is known of a record that has failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// Attempts that were made, the one that has just failed included: at least 1.
    pub attempts: u32,
    /// When the first of them failed.
    pub first_failure: SystemTime,
    /// When the record was written; `None` where it does not say.
    pub written: Option<SystemTime>,
    /// The time now.
    pub now: SystemTime,
    /// A random number from 0 to 1, for the jitter.
    pub random: f64,
}

/// Which limit of a [`Backoff`] was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exhausted {
    /// As many attempts were made as [`Backoff::attempts`] allows.
    Attempts,
    /// The record would be older than [`Backoff::up_to_age`] allows.
    Age,
    /// The record would have been tried for longer than [`Backoff::for_at_most`] allows.
    Time,
}

impl Exhausted {
    /// The word for it in a dead letter's reason: `attempts`, `age` or `time`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Age => "age",
            Self::Time => "time",
        }
    }
}

impl Backoff {
    const fn new(delay: Delay, jitter: u8) -> Self {
        Self { delay, jitter, most_attempts: Some(DEFAULT_ATTEMPTS), most_age: None, most_time: None }
    }

    /// Waits for the same time before each attempt.
    pub const fn fixed(delay: Duration) -> Self {
        Self::new(Delay::Fixed(delay), 0)
    }

    /// Waits for `first`, then twice as long each time, up to `most`; spread by 50 percent.
    pub const fn exponential(first: Duration, most: Duration) -> Self {
        Self::new(Delay::Exponential { first, most }, 50)
    }

    /// Waits at least this long: what an error asks for (`Retry-After`). Jitter makes it longer, never shorter.
    pub const fn after(delay: Duration) -> Self {
        Self::new(Delay::After(delay), 0)
    }

    /// Waits until this time at least, as an error asks for. Jitter makes it later, never earlier.
    pub const fn at(time: SystemTime) -> Self {
        Self::new(Delay::At(time), 0)
    }

    /// Sets by how many percent of the delay attempts are spread (100 at most), so that what failed together does not come
    /// back together. The default is 50 for [`exponential`](Self::exponential), else 0.
    #[must_use]
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter = if percent > 100 { 100 } else { percent };
        self
    }

    /// Sets how many attempts are made in all, the first one included, overriding the default of 10.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.most_attempts = Some(attempts);
        self
    }

    /// Lifts the limit on attempts.
    #[must_use]
    pub const fn without_limit(mut self) -> Self {
        self.most_attempts = None;
        self
    }

    /// Tries no record that is older than this when its turn would come, by its timestamp. By default there is no such
    /// limit.
    #[must_use]
    pub const fn up_to_age(mut self, age: Duration) -> Self {
        self.most_age = Some(age);
        self
    }

    /// Tries no record for longer than this after its first failure. By default there is no such limit.
    #[must_use]
    pub const fn for_at_most(mut self, time: Duration) -> Self {
        self.most_time = Some(time);
        self
    }

    /// How long to wait before the next attempt.
    ///
    /// # Errors
    /// When a limit is reached, or would be before that attempt: which one.
    pub fn next(&self, tried: &Tried) -> Result<Duration, Exhausted> {
        if self.most_attempts.is_some_and(|most| tried.attempts >= most) {
            return Err(Exhausted::Attempts);
        }
        let delay = self.delay(tried);
        let passes = |since: SystemTime, limit: Duration| {
            tried.now.duration_since(since).unwrap_or_default().saturating_add(delay) > limit
        };
        if let (Some(limit), Some(written)) = (self.most_age, tried.written)
            && passes(written, limit)
        {
            return Err(Exhausted::Age);
        }
        if self.most_time.is_some_and(|limit| passes(tried.first_failure, limit)) {
            return Err(Exhausted::Time);
        }
        Ok(delay)
    }

    fn delay(&self, tried: &Tried) -> Duration {
        // What is no number counts as 0.
        let random = if tried.random.is_nan() { 0.0 } else { tried.random.clamp(0.0, 1.0) };
        let spread = f64::from(self.jitter) / 100.0 * random;
        match self.delay {
            Delay::Fixed(delay) => delay.mul_f64(1.0 - spread),
            Delay::Exponential { first, most } => {
                let doublings = tried.attempts.saturating_sub(1).min(31);
                first.saturating_mul(1 << doublings).min(most).mul_f64(1.0 - spread)
            }
            Delay::After(delay) => delay.saturating_add(scaled(delay, spread)),
            Delay::At(time) => {
                let delay = time.duration_since(tried.now).unwrap_or_default();
                delay.saturating_add(scaled(delay, spread))
            }
        }
    }
}

/// Saturating: an error may ask for any time.
fn scaled(delay: Duration, by: f64) -> Duration {
    Duration::try_from_secs_f64(delay.as_secs_f64() * by).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tried(attempts: u32, random: f64) -> Tried {
        let now = SystemTime::UNIX_EPOCH + 1_000_000 * SECOND;
        Tried { attempts, first_failure: now, written: Some(now), now, random }
    }

    #[test]
    fn exponential_delays_double_up_to_their_limit_and_jitter_only_shortens_them() {
        let backoff = Backoff::exponential(SECOND, 30 * SECOND).without_limit();
        let delays: Vec<_> = (1..8).map(|n| backoff.next(&tried(n, 0.0)).unwrap().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        for attempts in (1..2_000).chain([u32::MAX]) {
            for random in [0.0, 0.3, 1.0, 7.0, f64::NAN] {
                let delay = backoff.next(&tried(attempts, random)).unwrap();
                assert!(delay <= 30 * SECOND, "{attempts} {random} {delay:?}");
            }
            let (full, half) = (backoff.next(&tried(attempts, 0.0)), backoff.next(&tried(attempts, 1.0)));
            assert_eq!(full.unwrap(), half.unwrap() * 2);
        }
    }

    #[test]
    fn what_an_error_asks_for_is_never_cut_short() {
        let after = Backoff::after(SECOND).jitter(100);
        let at = Backoff::at(tried(1, 0.0).now + 5 * SECOND).jitter(20);
        for step in 0..=100 {
            let random = f64::from(step) / 100.0;
            let delay = after.next(&tried(1, random)).unwrap();
            assert!((SECOND..=2 * SECOND).contains(&delay));
            let delay = at.next(&tried(1, random)).unwrap();
            assert!((5 * SECOND..=6 * SECOND).contains(&delay));
        }
        assert_eq!(Backoff::at(SystemTime::UNIX_EPOCH).next(&tried(1, 1.0)), Ok(Duration::ZERO), "a time that is over");
        assert_eq!(Backoff::after(Duration::MAX).jitter(50).next(&tried(1, 1.0)), Ok(Duration::MAX));
    }

    #[test]
    fn each_limit_ends_the_attempts_and_says_which_it_was() {
        let backoff = Backoff::fixed(10 * SECOND).attempts(3);
        let at = |seconds: u32, attempts| {
            let mut tried = tried(attempts, 0.5);
            tried.now += seconds * SECOND;
            tried
        };
        assert_eq!(backoff.next(&at(0, 2)), Ok(10 * SECOND));
        assert_eq!(backoff.next(&at(0, 3)), Err(Exhausted::Attempts));
        let aged = backoff.up_to_age(60 * SECOND);
        assert_eq!((aged.next(&at(50, 1)), aged.next(&at(51, 1))), (Ok(10 * SECOND), Err(Exhausted::Age)));
        let timed = backoff.for_at_most(60 * SECOND);
        assert_eq!((timed.next(&at(50, 1)), timed.next(&at(51, 1))), (Ok(10 * SECOND), Err(Exhausted::Time)));
        let ageless = Tried { written: None, ..at(5_000, 1) };
        assert_eq!(aged.next(&ageless), Ok(10 * SECOND), "a record without a timestamp has no age");
        assert_eq!(Backoff::fixed(SECOND).attempts(0).next(&at(0, 1)), Err(Exhausted::Attempts));
    }
}
