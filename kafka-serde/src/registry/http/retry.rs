//! Whether a registry is asked again, and when.

use std::time::Duration;

use super::exchange::Broken;
use crate::registry::request::{Answer, Request};

#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// How often one request is sent again after the first time.
    pub(super) retries: u32,
    /// The longest pause before the first of them; it doubles with each.
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { retries: 3, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(20) }
    }
}

impl Policy {
    /// How long to wait before the registry is asked again, after `attempt` repetitions; `None` when it is not.
    /// `jitter`, from 0 to 1, spreads those who failed together.
    pub(super) fn pause(
        &self,
        request: &Request,
        outcome: &Result<Answer, Broken>,
        attempt: u32,
        jitter: f64,
    ) -> Option<Duration> {
        if attempt >= self.retries || !can_repeat(request, outcome) {
            return None;
        }
        let longest = self.first_pause.saturating_mul(2_u32.saturating_pow(attempt)).min(self.longest_pause);
        let spread = longest.mul_f64(jitter);
        match outcome.as_ref().ok().and_then(|answer| answer.retry_after) {
            // Asking sooner is what the registry asked not to do; waiting longer is for the caller to decide.
            Some(asked) => (asked <= self.longest_pause).then(|| asked.max(spread)),
            None => Some(spread),
        }
    }
}

/// Whether the same request may have another outcome, here or at another registry.
pub(super) fn is_outage(outcome: &Result<Answer, Broken>) -> bool {
    match outcome {
        Ok(answer) => matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504),
        Err(Broken::Lost { .. }) => true,
        Err(Broken::Settled(_)) => false,
    }
}

/// Whether the request may be sent again: a deletion only where the registry cannot have begun it.
pub(super) fn can_repeat(request: &Request, outcome: &Result<Answer, Broken>) -> bool {
    let untouched = match outcome {
        Ok(answer) => answer.status == 429,
        Err(Broken::Lost { sent, .. }) => !sent,
        Err(Broken::Settled(_)) => false,
    };
    is_outage(outcome) && (request.is_repeatable() || untouched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::request::Method;

    const POLICY: Policy =
        Policy { retries: 3, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(3) };

    fn answered(status: u16, retry_after: Option<u64>) -> Result<Answer, Broken> {
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body: Vec::new() })
    }

    fn pause(status: u16, retry_after: Option<u64>, attempt: u32, jitter: f64) -> Option<f64> {
        let pause = POLICY.pause(&Request::get(&[]), &answered(status, retry_after), attempt, jitter);
        pause.map(|pause| pause.as_secs_f64())
    }

    #[test]
    fn the_pause_doubles_up_to_a_bound_and_is_spread() {
        assert_eq!(pause(503, None, 0, 1.0), Some(1.0));
        assert_eq!(pause(503, None, 1, 1.0), Some(2.0));
        assert_eq!(pause(503, None, 2, 1.0), Some(3.0));
        assert_eq!(pause(503, None, 2, 0.5), Some(1.5));
        assert_eq!(pause(503, None, 3, 1.0), None, "as often as configured");
    }

    #[test]
    fn only_an_outage_is_asked_again() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(pause(status, None, 0, 0.0).is_some(), "{status}");
        }
        for status in [200, 301, 400, 401, 403, 404, 409, 422, 501] {
            assert!(pause(status, None, 0, 0.0).is_none(), "{status}");
        }
    }

    #[test]
    fn the_registry_is_not_asked_sooner_than_it_wishes() {
        assert_eq!(pause(429, Some(2), 0, 0.0), Some(2.0));
        assert_eq!(pause(429, Some(4), 0, 0.0), None, "longer than the longest pause: the caller decides");
    }

    #[test]
    fn a_deletion_is_not_sent_twice_when_it_may_be_done() {
        let delete = Request::new(Method::Delete, &["subjects", "a"]);
        assert!(POLICY.pause(&delete, &answered(500, None), 0, 0.0).is_none());
        assert!(POLICY.pause(&delete, &answered(429, None), 0, 0.0).is_some());
    }
}
