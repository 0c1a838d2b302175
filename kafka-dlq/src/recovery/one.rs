//! A recovery around a handler of single records.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_client::serde::Deserializer;
use kafka_client::{BoxError, Completion, GivenBack, Handler, RawReceived, Received, Topic, Undecoded};

use super::core::{Core, watched};
use super::failed::{After, Place};
use super::fault::Fault;
use super::tries::Tries;
use crate::policy::{Decision, Policy};
use crate::retry_topic::Retried;
use crate::retry_topic::gate::Gate;
use crate::retry_topic::hop::Hop;

pub(super) struct One<K, V, P, H> {
    pub(super) core: Arc<Core>,
    pub(super) topic: Topic<K, V>,
    pub(super) policy: P,
    pub(super) handler: H,
}

impl<K, V, P, H> One<K, V, P, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Received<K::Output, V::Output>>,
    P: Policy<H::Error>,
{
    /// Tries a record until it is handled, or somebody else's.
    ///
    /// Each record of the source has this future. What few of them need is in boxes and behind a look at a flag, so that it
    /// costs the others neither size nor time.
    async fn attempt(&self, record: &RawReceived, mut tries: Tries, place: Place<'_>) -> Result<Completion, BoxError> {
        if self.core.quarantines()
            && let Some(done) = self.core.quarantined(record, tries, place).await?
        {
            return Ok(done);
        }
        loop {
            let pass = match self.core.pass_now(&tries) {
                Some(pass) => pass,
                None => Box::pin(self.core.pass_in_an_outage(record)).await?,
            };
            if pass.waited {
                tries.set_back();
            }
            // Nothing is waited for meanwhile but the record's own schema and handler.
            let risk = match self.core.quarantines() {
                true => self.core.at_risk(record).await?,
                false => None,
            };
            let received = match record.decode(&self.topic).await {
                Ok(received) => received,
                Err(Undecoded::Stopping) => return Err(GivenBack.into()),
                Err(Undecoded::Failed(failed)) => {
                    drop(risk);
                    return Box::pin(self.core.undecodable(record, Fault::undecodable(failed), place)).await;
                }
            };
            // In a block, so that a handler that panics before it returns its future is caught as well.
            let called = AssertUnwindSafe(async { self.handler.handle(received).await }).catch_unwind().await;
            let (decision, fault) = match called {
                Ok(Ok(completion)) => {
                    self.core.succeeded(pass, 1);
                    return match risk {
                        Some(risk) => watched(record, completion, risk).await,
                        None => Ok(completion),
                    };
                }
                Ok(Err(error)) => {
                    let decision = self.policy.decide(&error);
                    (decision, Fault::of::<H::Error>(error.into()))
                }
                Err(panic) => (Decision::dead_letter("panic"), Fault::panicked(&*panic)),
            };
            drop(risk);
            // Exactly once: what it has sent does not count.
            record.undo();
            if fault.error.is::<GivenBack>() || record.is_undone() {
                return Err(GivenBack.into());
            }
            match Box::pin(self.core.failed(record, &mut tries, decision, fault, pass, place)).await? {
                After::Again => (),
                After::Done(completion) => return Ok(completion),
            }
        }
    }
}

/// The route of the source.
pub(super) struct Source<K, V, P, H>(pub(super) Arc<One<K, V, P, H>>);

impl<K, V, P, H> Handler<RawReceived> for Source<K, V, P, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Received<K::Output, V::Output>>,
    P: Policy<H::Error>,
{
    type Error = BoxError;

    async fn handle(&self, record: RawReceived) -> Result<Completion, BoxError> {
        if self.0.core.orders_keys()
            && let Some(behind) = self.0.core.turn_of_key(&record).await?
        {
            return Ok(behind);
        }
        self.0.attempt(&record, Tries::new(0, None), Place::Source).await
    }
}

impl<K, V, P, H> Retried for One<K, V, P, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Received<K::Output, V::Output>>,
    P: Policy<H::Error>,
{
    fn retry(&self, record: RawReceived, gate: Arc<Gate>) -> BoxFuture<'_, Result<Completion, BoxError>> {
        Box::pin(async move {
            let tries = waited(&record, &gate);
            let done = match self.core.ordered_away(&record, &tries, &gate).await.transpose() {
                Some(done) => done,
                None => self.attempt(&record, tries, Place::Retry(&gate)).await,
            };
            finished(&record, &gate, &done);
            done
        })
    }
}

/// How often a record of the retry topic was tried.
pub(super) fn waited(record: &RawReceived, gate: &Gate) -> Tries {
    let hop = Hop::read(record);
    let attempts = gate.attempts(record.offset()).or(hop.map(|hop| hop.attempts)).unwrap_or(0);
    Tries::new(attempts, hop.and_then(|hop| hop.first_failure_ms))
}

/// Forgets a record, unless it waits again.
pub(super) fn finished(record: &RawReceived, gate: &Gate, done: &Result<Completion, BoxError>) {
    if !matches!(done, Ok(completion) if completion.is_unfinished()) {
        gate.forget(record.offset());
    }
}
