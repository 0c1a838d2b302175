//! `Clock` is the time of a plan: it stands still while something takes longer than planned, and so does the feed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time since a plan began, as the plan has it.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// How late the plan is.
    late: Duration,
    /// When the next step is due: the time goes no further before it has begun.
    next: Duration,
}

impl Clock {
    /// Starts it; the first step is due at once.
    pub(super) fn start() -> Self {
        let state = State { late: Duration::ZERO, next: Duration::ZERO };
        Self { start: Instant::now(), state: Mutex::new(state) }
    }

    /// The time.
    pub(super) fn now(&self) -> Duration {
        let State { late, next } = *self.state.lock();
        self.start.elapsed().saturating_sub(late).min(next)
    }

    /// Whether this time has come, to take the next step.
    pub(super) fn is_due(&self, at: Duration) -> bool {
        self.start.elapsed().saturating_sub(self.state.lock().late) >= at
    }

    /// The step that was due at this time begins; the next one is due then, if there is one.
    pub(super) fn begins(&self, at: Duration, next: Option<Duration>) {
        let late = self.start.elapsed().saturating_sub(at);
        *self.state.lock() = State { late, next: next.unwrap_or(Duration::MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_until_a_late_step_begins_and_goes_on_from_there() {
        let clock = Clock::start();
        clock.begins(Duration::ZERO, Some(Duration::from_millis(1)));
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(clock.now(), Duration::from_millis(1));
        assert!(clock.is_due(Duration::from_millis(1)) && clock.is_due(Duration::from_millis(20)));
        clock.begins(Duration::from_millis(1), Some(Duration::from_secs(600)));
        assert!(!clock.is_due(Duration::from_secs(300)));
        std::thread::sleep(Duration::from_millis(5));
        let now = clock.now();
        assert!(now >= Duration::from_millis(6) && now < Duration::from_secs(300), "{now:?}");
    }
}
