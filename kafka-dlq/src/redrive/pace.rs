//! How many a second.

use std::time::Duration;

/// Spreads records evenly over time, without a clock of its own: a debt that time pays back.
///
/// What was not used is kept for at most [`SLACK`](Self::SLACK), which is longer than a commit takes, so that a pause is not
/// followed by a flood. Before the first record nothing was left unused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Records a second.
    rate: f64,
    /// When the next record is due, since the start; the first one is due whenever it comes.
    due: Option<Duration>,
}

impl Pace {
    const SLACK: Duration = Duration::from_millis(250);

    pub(crate) fn new(rate: f64) -> Self {
        Self { rate, due: None }
    }

    /// How long to wait before the next record may be sent, at `now` since the start.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        self.due.map_or(Duration::ZERO, |due| due.saturating_sub(now))
    }

    /// Counts a record that is sent when it is due.
    pub(crate) fn sent(&mut self, now: Duration) {
        let due = self.due.map_or(now, |due| due.max(now.saturating_sub(Self::SLACK)));
        self.due = Some(due + Duration::from_secs_f64(1.0 / self.rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_as_many_as_asked_for() {
        for rate in [1.0, 100.0, 3333.0, 10_000.0] {
            let (mut pace, mut now, mut sent) = (Pace::new(rate), Duration::ZERO, 0);
            while now < Duration::from_secs(10) {
                now += pace.wait(now);
                pace.sent(now);
                sent += 1;
            }
            let asked = rate * 10.0;
            assert!((f64::from(sent) - asked).abs() <= asked * 0.02 + 1.0, "{sent} instead of {asked}");
        }
    }

    #[test]
    fn a_pause_is_not_followed_by_a_flood() {
        let mut pace = Pace::new(100.0);
        let hour = Duration::from_secs(3600);
        let mut at_once = 0;
        while pace.wait(hour).is_zero() {
            pace.sent(hour);
            at_once += 1;
        }
        assert_eq!(at_once, 1, "the first one was never late");
        while pace.wait(hour * 2).is_zero() {
            pace.sent(hour * 2);
            at_once += 1;
        }
        assert!(at_once <= 28, "{at_once}");
    }

    #[test]
    fn what_a_commit_takes_is_made_up_for() {
        let (mut pace, mut now, mut sent) = (Pace::new(1_000.0), Duration::from_secs(7), 0);
        while now < Duration::from_secs(17) {
            now += pace.wait(now);
            pace.sent(now);
            sent += 1;
            if sent % 500 == 0 {
                now += Duration::from_millis(200);
            }
        }
        assert!((9_800..=10_200).contains(&sent), "{sent}");
    }
}
