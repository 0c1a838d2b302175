//! What to do with a record that failed: the user's decision, and what it comes to. Pure.

use std::borrow::Cow;
use std::time::Duration;

use crate::backoff::{Backoff, Exhausted, Tried};

/// What to do with a record whose handler failed; see [`Recovery::by`](crate::Recovery::by).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try it again; and when the backoff's limits are reached, dead-letter it.
    Retry(Backoff),
    /// Dead-letter it for this reason: a word or two, which become a label of a metric.
    DeadLetter(Cow<'static, str>),
    /// Put it aside on the retry topic, without a time: it waits until somebody decides.
    Park,
    /// Leave it out for this reason. It is counted and logged.
    Skip(Cow<'static, str>),
    /// End the consumer, with the offset uncommitted.
    Stop,
}

impl Decision {
    /// Dead-letters the record for this reason.
    pub fn dead_letter(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::DeadLetter(reason.into())
    }

    /// Leaves the record out for this reason.
    pub fn skip(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Skip(reason.into())
    }
}

/// Decides what to do with a record by the handler's own error. A function of the error is one.
pub trait Policy<E>: Send + Sync + 'static {
    /// What to do with a record whose handler has failed with this.
    fn decide(&self, error: &E) -> Decision;

    /// Of a batch: the index of the record that the error is about, where it says so.
    fn index(&self, error: &E) -> Option<usize> {
        let _ = error;
        None
    }
}

impl<E, F: Fn(&E) -> Decision + Send + Sync + 'static> Policy<E> for F {
    fn decide(&self, error: &E) -> Decision {
        self(error)
    }
}

/// A policy whose errors name records of a batch; made by [`Recovery::index`](crate::Recovery::index).
#[derive(Clone, Debug)]
pub struct Named<P, I> {
    pub(crate) policy: P,
    pub(crate) index: I,
}

impl<E, P: Policy<E>, I: Fn(&E) -> Option<usize> + Send + Sync + 'static> Policy<E> for Named<P, I> {
    fn decide(&self, error: &E) -> Decision {
        self.policy.decide(error)
    }

    fn index(&self, error: &E) -> Option<usize> {
        (self.index)(error)
    }
}

/// The same for every error.
#[derive(Clone, Debug)]
pub struct Always(pub(crate) Decision);

impl<E> Policy<E> for Always {
    fn decide(&self, _: &E) -> Decision {
        self.0.clone()
    }
}

/// What a recovery has to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Means {
    /// How many retries are made in place before the retry topic is used.
    pub(crate) in_place: u32,
    pub(crate) retry_topic: bool,
    pub(crate) dead_letters: bool,
}

/// What is done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait, and try again here.
    Again(Duration),
    /// To the retry topic, due after this.
    Later(Duration),
    /// To the retry topic, without a time.
    Park,
    DeadLetter(Cow<'static, str>),
    Skip(Cow<'static, str>),
    Stop(Why),
}

/// Why a consumer has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Decided,
    /// A limit was reached, and there is no dead-letter topic.
    Exhausted(Exhausted),
    NoDeadLetters,
    NoRetryTopic,
}

impl Decision {
    pub(crate) fn step(self, tried: &Tried, means: Means) -> Step {
        match self {
            Self::Retry(backoff) => match backoff.next(tried) {
                Ok(delay) if means.retry_topic && tried.attempts > means.in_place => Step::Later(delay),
                Ok(delay) => Step::Again(delay),
                Err(limit) if means.dead_letters => Step::DeadLetter(Cow::Borrowed(limit.as_str())),
                Err(limit) => Step::Stop(Why::Exhausted(limit)),
            },
            Self::DeadLetter(reason) if means.dead_letters => Step::DeadLetter(reason),
            Self::DeadLetter(_) => Step::Stop(Why::NoDeadLetters),
            Self::Park if means.retry_topic => Step::Park,
            Self::Park => Step::Stop(Why::NoRetryTopic),
            Self::Skip(reason) => Step::Skip(reason),
            Self::Stop => Step::Stop(Why::Decided),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const ALL: Means = Means { in_place: 3, retry_topic: true, dead_letters: true };
    const NONE: Means = Means { in_place: 3, retry_topic: false, dead_letters: false };

    fn tried(attempts: u32) -> Tried {
        let now = SystemTime::UNIX_EPOCH;
        Tried { attempts, first_failure: now, written: None, now, random: 0.0 }
    }

    #[test]
    fn the_first_retries_are_made_in_place_the_next_on_the_retry_topic_and_then_it_is_a_dead_letter() {
        let (second, limit) = (Duration::from_secs(1), 6);
        let steps: Vec<_> =
            (1..=limit).map(|n| Decision::Retry(Backoff::fixed(second).attempts(limit)).step(&tried(n), ALL)).collect();
        let (again, later) = (Step::Again(second), Step::Later(second));
        let dead = Step::DeadLetter("attempts".into());
        assert_eq!(steps, [again.clone(), again.clone(), again.clone(), later.clone(), later, dead]);
        let means = Means { retry_topic: false, ..ALL };
        assert_eq!(Decision::Retry(Backoff::fixed(second).attempts(limit)).step(&tried(5), means), again);
    }

    #[test]
    fn without_the_means_the_consumer_ends_and_nothing_is_skipped() {
        let backoff = Backoff::fixed(Duration::ZERO).attempts(1);
        assert_eq!(Decision::Retry(backoff).step(&tried(1), NONE), Step::Stop(Why::Exhausted(Exhausted::Attempts)));
        assert_eq!(Decision::dead_letter("x").step(&tried(1), NONE), Step::Stop(Why::NoDeadLetters));
        assert_eq!(Decision::Park.step(&tried(1), NONE), Step::Stop(Why::NoRetryTopic));
        assert_eq!(Decision::Stop.step(&tried(1), ALL), Step::Stop(Why::Decided));
        assert_eq!(Decision::skip("x").step(&tried(1), NONE), Step::Skip("x".into()));
        assert_eq!(Decision::Park.step(&tried(1), ALL), Step::Park);
    }
}
