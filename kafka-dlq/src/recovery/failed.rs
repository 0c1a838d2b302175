//! What to do with a record that has failed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_client::{BoxError, Completion, GivenBack, RawReceived};

use super::core::Core;
use super::fault::{Fault, Stopped};
use super::outage::Pass;
use super::tries::Tries;
use crate::backoff::Tried;
use crate::inspect::Steer;
use crate::policy::{Decision, Means, Step, Why};
use crate::retry_topic::NEVER;
use crate::retry_topic::gate::Gate;

/// Where a record is being tried.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Source,
    Retry(&'a Arc<Gate>),
}

/// What follows a failure.
pub(crate) enum After {
    Again,
    Done(Completion),
}

impl Core {
    /// What to do with a record that has failed.
    pub(crate) async fn failed(
        &self,
        record: &RawReceived,
        tries: &mut Tries,
        decision: Decision,
        fault: Fault,
        pass: Pass<'_>,
        place: Place<'_>,
    ) -> Result<After, BoxError> {
        self.tally.failed(fault.class);
        let would_retry = matches!(decision, Decision::Retry(_));
        if !would_retry {
            // The other side has answered: this is the record's own fault.
            pass.probed(true);
        } else if self.is_outage(record, pass) {
            tries.set_back();
            return Ok(After::Again);
        }
        let tried = tries.failed(record);
        let step = decision.step(&tried, self.means(place));
        if would_retry
            && matches!(step, Step::DeadLetter(_) | Step::Stop(_))
            && self.is_first_of_an_outage(record).await?
        {
            tries.set_back();
            return Ok(After::Again);
        }
        tracing::debug!(?record, attempts = tries.attempts, ?step, error = %fault.error, "a record has failed");
        match step {
            Step::Again(delay) => {
                self.tally.retried("in_place");
                match self.pause(record, tries, delay, false).await? {
                    None | Some(Steer::RetryNow | Steer::Unpark) => Ok(After::Again),
                    Some(steer) => self.steered(record, tries, steer, &fault, place).await.map(After::Done),
                }
            }
            Step::Later(delay) => {
                self.tally.retried("retry_topic");
                let due = tried.now.checked_add(delay).and_then(|due| due.duration_since(UNIX_EPOCH).ok());
                // Rounded up: never early.
                let due = due.map_or(NEVER - 1, |due| i64::try_from(due.as_millis()).map_or(NEVER - 1, |ms| ms + 1));
                self.later(record, tries, &fault, place, due).await.map(After::Done)
            }
            Step::Park => self.later(record, tries, &fault, place, NEVER).await.map(After::Done),
            Step::DeadLetter(reason) => {
                self.dead_letter(record, Some(tries), reason, &fault, place).await.map(After::Done)
            }
            Step::Skip(reason) => {
                self.tally.skipped(&reason);
                tracing::warn!(?record, reason = &*reason, error = %fault.error, "a record is skipped");
                Ok(After::Done(Completion::done()))
            }
            Step::Stop(why) => Err(stopped(why, fault)),
        }
    }

    /// A batch has failed that would be retried: `None` when it is to be tried again, after the wait; else what it failed
    /// with.
    pub(crate) async fn again_in_place(
        &self,
        record: &RawReceived,
        tries: &mut Tries,
        decision: Decision,
        fault: Fault,
        pass: Pass<'_>,
    ) -> Result<Option<(Decision, Fault)>, BoxError> {
        if self.is_outage(record, pass) {
            self.tally.failed(fault.class);
            tries.set_back();
            return Ok(None);
        }
        let mut tried = *tries;
        match decision.clone().step(&tried.failed(record), self.means(Place::Source)) {
            Step::Again(delay) => {
                *tries = tried;
                self.tally.failed(fault.class);
                self.tally.retried("in_place");
                // A batch is not steered by one record of it: it is only tried sooner.
                let _ = self.pause(record, tries, delay, true).await?;
                Ok(None)
            }
            _ => Ok(Some((decision, fault))),
        }
    }

    /// A record that has ended its process too often is not handled any more.
    pub(crate) async fn quarantined(
        &self,
        record: &RawReceived,
        mut tries: Tries,
        place: Place<'_>,
    ) -> Result<Option<Completion>, BoxError> {
        let Some(limit) = self.settings.quarantine else { return Ok(None) };
        let deaths = record.deaths();
        if deaths < limit {
            return Ok(None);
        }
        tries.attempts = tries.attempts.saturating_add(deaths);
        let fault = Fault::deadly(deaths);
        self.tally.failed(fault.class);
        Box::pin(self.dead_letter(record, Some(&tries), Cow::Borrowed("quarantine"), &fault, place)).await.map(Some)
    }

    /// A record that cannot be decoded.
    pub(crate) async fn undecodable(
        &self,
        record: &RawReceived,
        fault: Fault,
        place: Place<'_>,
    ) -> Result<Completion, BoxError> {
        self.tally.failed(fault.class);
        let decision = match &self.settings.undecodable {
            Some(Decision::Retry(_)) | None => Decision::dead_letter("decode"),
            Some(decision) => decision.clone(),
        };
        let now = SystemTime::now();
        let tried = Tried { attempts: 1, first_failure: now, written: None, now, random: 0.0 };
        let mut tries = Tries::new(1, None);
        tries.first_failure = Some(now);
        match decision.step(&tried, self.means(place)) {
            Step::DeadLetter(reason) => self.dead_letter(record, None, reason, &fault, place).await,
            Step::Park | Step::Again(_) | Step::Later(_) => self.later(record, &tries, &fault, place, NEVER).await,
            Step::Skip(reason) => {
                self.tally.skipped(&reason);
                tracing::warn!(?record, reason = &*reason, error = %fault.error, "an undecodable record is skipped");
                Ok(Completion::done())
            }
            Step::Stop(why) => Err(stopped(why, fault)),
        }
    }

    fn means(&self, place: Place<'_>) -> Means {
        let in_place = match place {
            Place::Source => self.settings.in_place(),
            Place::Retry(_) => 0,
        };
        let dead_letters = self.settings.dead_letter.is_some();
        Means { in_place, retry_topic: self.settings.retry_topic.is_some(), dead_letters }
    }

    /// Waits for the next attempt in place, and for the budget to allow it; or until somebody wants something else.
    async fn pause(
        &self,
        record: &RawReceived,
        tries: &Tries,
        mut delay: Duration,
        is_batch: bool,
    ) -> Result<Option<Steer>, GivenBack> {
        let mut waits = self.in_place.wait(record, tries.attempts, delay, is_batch);
        loop {
            tokio::select! {
                () = tokio::time::sleep(delay) => (),
                steer = waits.steered() => return Ok(Some(steer)),
                () = record.stopping() => return Err(GivenBack),
            }
            match &self.budget {
                Some(budget) => match budget.lock().spend(Instant::now()) {
                    Ok(()) => return Ok(None),
                    Err(wait) => delay = wait,
                },
                None => return Ok(None),
            }
        }
    }

    /// Does with a record what somebody wants, in place of trying it again.
    async fn steered(
        &self,
        record: &RawReceived,
        tries: &Tries,
        steer: Steer,
        fault: &Fault,
        place: Place<'_>,
    ) -> Result<Completion, BoxError> {
        match steer {
            Steer::DeadLetter => self.dead_letter(record, Some(tries), Cow::Borrowed(ASKED), fault, place).await,
            Steer::Park => self.later(record, tries, fault, place, NEVER).await,
            Steer::Skip | Steer::RetryNow | Steer::Unpark => {
                self.tally.skipped(ASKED);
                tracing::warn!(?record, "a record is skipped, because somebody has asked for it");
                Ok(Completion::done())
            }
        }
    }

    /// A record of the retry topic of which somebody wants that it is not tried again: it is done with.
    pub(crate) async fn ordered_away(
        &self,
        record: &RawReceived,
        tries: &Tries,
        gate: &Arc<Gate>,
    ) -> Result<Option<Completion>, BoxError> {
        let Some(steer) = gate.take_order(record.offset()) else { return Ok(None) };
        self.steered(record, tries, steer, &Fault::asked(), Place::Retry(gate)).await.map(Some)
    }
}

/// The reason of what somebody has asked for.
const ASKED: &str = "asked";

fn stopped(why: Why, fault: Fault) -> BoxError {
    let why = match why {
        Why::Decided => return fault.error,
        Why::Exhausted(limit) => {
            format!("no attempts are left ({}), and there is no dead-letter topic", limit.as_str())
        }
        Why::NoDeadLetters => "the record is to be dead-lettered, and there is no dead-letter topic".to_owned(),
        Why::NoRetryTopic => "the record is to be parked, and there is no retry topic".to_owned(),
    };
    Stopped { why, source: fault.error }.into()
}
