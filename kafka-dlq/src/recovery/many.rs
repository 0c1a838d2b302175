//! A recovery around a handler of batches: a batch that fails is searched for the records that make it fail.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_client::serde::Deserializer;
use kafka_client::{BoxError, Completion, GivenBack, Handler, RawReceived, Received, Topic, Undecoded};

use super::core::{Core, watched};
use super::failed::{After, Place};
use super::fault::Fault;
use super::one::{finished, waited};
use super::outage::Pass;
use super::tries::Tries;
use crate::bisect::{Bisection, Search};
use crate::policy::{Decision, Policy};
use crate::retry_topic::Retried;
use crate::retry_topic::gate::Gate;

pub(super) struct Many<K, V, P, H> {
    pub(super) core: Arc<Core>,
    pub(super) topic: Topic<K, V>,
    pub(super) policy: P,
    pub(super) handler: H,
}

/// A batch at work.
struct Batch<'b> {
    records: &'b [RawReceived],
    /// Those that are somebody else's by now: undecodable, or sent behind another one of their key.
    gone: Vec<bool>,
    completions: Vec<Completion>,
}

/// A call that failed.
struct Failed<'c> {
    decision: Decision,
    fault: Fault,
    pass: Pass<'c>,
    /// The record that the error names, counted from the start of the range.
    named: Option<usize>,
    /// A record of the call.
    first: usize,
}

impl<K, V, P, H> Many<K, V, P, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Vec<Received<K::Output, V::Output>>>,
    P: Policy<H::Error>,
{
    async fn batch(&self, records: &[RawReceived]) -> Result<Completion, BoxError> {
        if self.core.has_suspects(records) {
            let mut completions = Vec::with_capacity(records.len());
            for record in records {
                completions.push(self.alone(record, Tries::new(0, None), Place::Source).await?);
            }
            return Ok(Completion::all(completions));
        }
        let mut batch = Batch { records, gone: vec![false; records.len()], completions: Vec::new() };
        let mut tries = Tries::new(0, None);
        let failed = loop {
            let Some(failed) = self.call(&mut batch, 0..records.len(), &tries, Place::Source).await? else {
                return Ok(Completion::all(batch.completions));
            };
            match &failed.decision {
                // The whole batch again, while that may be done in place; then it is searched.
                Decision::Retry(_) => {
                    let record = &records[failed.first];
                    match self
                        .core
                        .again_in_place(record, &mut tries, failed.decision, failed.fault, failed.pass)
                        .await?
                    {
                        None => continue,
                        Some((decision, fault)) => break (decision, fault, failed.named),
                    }
                }
                _ => {
                    drop(failed.pass);
                    break (failed.decision, failed.fault, failed.named);
                }
            }
        };
        let (decision, fault, named) = failed;
        if decision == Decision::Stop {
            return Err(fault.error);
        }
        let mut search = Bisection::new(records.len(), named);
        let mut why = Some((decision, fault));
        while let Some(next) = search.next() {
            match next {
                Search::Call(range) => {
                    if let Some(failed) = self.call(&mut batch, range.clone(), &tries, Place::Source).await? {
                        drop(failed.pass);
                        search.failed(range, failed.named);
                        why = Some((failed.decision, failed.fault));
                    }
                }
                Search::Found(at) => {
                    let done = self.found(&mut batch, at, why.take(), tries).await?;
                    batch.completions.push(done);
                }
            }
        }
        Ok(Completion::all(batch.completions))
    }

    /// The record at `at` has failed, alone or by name.
    async fn found(
        &self,
        batch: &mut Batch<'_>,
        at: usize,
        why: Option<(Decision, Fault)>,
        mut tries: Tries,
    ) -> Result<Completion, BoxError> {
        let record = &batch.records[at];
        batch.gone[at] = true;
        match why {
            Some((decision, fault)) => {
                let pass = self.core.pass(record, &tries).await?;
                match self.core.failed(record, &mut tries, decision, fault, pass, Place::Source).await? {
                    After::Done(completion) => Ok(completion),
                    After::Again => self.alone(record, tries, Place::Source).await,
                }
            }
            None => self.alone(record, tries, Place::Source).await,
        }
    }

    /// Tries one record until it is handled, or somebody else's.
    async fn alone(&self, record: &RawReceived, mut tries: Tries, place: Place<'_>) -> Result<Completion, BoxError> {
        if let Some(done) = self.core.quarantined(record, tries, place).await? {
            return Ok(done);
        }
        loop {
            let mut batch = Batch { records: std::slice::from_ref(record), gone: vec![false], completions: Vec::new() };
            let Some(failed) = self.call(&mut batch, 0..1, &tries, place).await? else {
                return Ok(Completion::all(batch.completions));
            };
            match self.core.failed(record, &mut tries, failed.decision, failed.fault, failed.pass, place).await? {
                After::Again => (),
                After::Done(completion) => return Ok(completion),
            }
        }
    }

    /// Calls the handler with these records, without those that are gone.
    async fn call(
        &self,
        batch: &mut Batch<'_>,
        range: Range<usize>,
        tries: &Tries,
        place: Place<'_>,
    ) -> Result<Option<Failed<'_>>, BoxError> {
        let (mut inputs, mut which) = (Vec::with_capacity(range.len()), Vec::with_capacity(range.len()));
        let there: Vec<usize> = range.clone().filter(|at| !batch.gone[*at]).collect();
        // A suspect, which is tried alone, is named once for decoding and handling.
        let is_alone = there.len() == 1;
        let (mut pass, mut risk) = (None, None);
        for at in there {
            let record = &batch.records[at];
            // Not held while other records are waited for.
            drop(risk.take());
            if matches!(place, Place::Source)
                && let Some(behind) = self.core.turn_of_key(record).await?
            {
                batch.gone[at] = true;
                batch.completions.push(behind);
                continue;
            }
            if is_alone {
                pass = Some(self.core.pass(record, tries).await?);
            }
            risk = self.core.at_risk(record).await?;
            match record.decode(&self.topic).await {
                Ok(input) => {
                    inputs.push(input);
                    which.push(at);
                }
                Err(Undecoded::Stopping) => return Err(GivenBack.into()),
                Err(Undecoded::Failed(failed)) => {
                    drop(risk.take());
                    batch.gone[at] = true;
                    batch.completions.push(self.core.undecodable(record, Fault::undecodable(failed), place).await?);
                }
            }
        }
        let (Some(&first), Some(&last)) = (which.first(), which.last()) else { return Ok(None) };
        let pass = match pass {
            Some(pass) => pass,
            None => {
                drop(risk.take());
                self.core.pass(&batch.records[first], tries).await?
            }
        };
        if risk.is_none() {
            // With the last one, those before it are told, too.
            risk = self.core.at_risk(&batch.records[last]).await?;
        }
        let count = inputs.len() as u64;
        let called = AssertUnwindSafe(async { self.handler.handle(inputs).await }).catch_unwind().await;
        let (decision, fault, named) = match called {
            Ok(Ok(completion)) => {
                self.core.succeeded(pass, count);
                let done = match risk {
                    Some(risk) => watched(&batch.records[last], completion, risk).await?,
                    None => completion,
                };
                batch.completions.push(done);
                return Ok(None);
            }
            Ok(Err(error)) => {
                let (decision, named) = (self.policy.decide(&error), self.policy.index(&error));
                (decision, Fault::of::<H::Error>(error.into()), named)
            }
            Err(panic) => (Decision::dead_letter("panic"), Fault::panicked(&*panic), None),
        };
        drop(risk);
        // Exactly once: what they have sent does not count.
        which.iter().for_each(|at| batch.records[*at].undo());
        if fault.error.is::<GivenBack>() || batch.records[last].is_undone() {
            return Err(GivenBack.into());
        }
        let named = named.and_then(|named| which.get(named)).map(|at| at - range.start);
        Ok(Some(Failed { decision, fault, pass, named, first }))
    }
}

/// The route of the source.
pub(super) struct Source<K, V, P, H>(pub(super) Arc<Many<K, V, P, H>>);

impl<K, V, P, H> Handler<Vec<RawReceived>> for Source<K, V, P, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Vec<Received<K::Output, V::Output>>>,
    P: Policy<H::Error>,
{
    type Error = BoxError;

    async fn handle(&self, records: Vec<RawReceived>) -> Result<Completion, BoxError> {
        self.0.batch(&records).await
    }
}

impl<K, V, P, H> Retried for Many<K, V, P, H>
where
    K: Deserializer,
    V: Deserializer,
    H: Handler<Vec<Received<K::Output, V::Output>>>,
    P: Policy<H::Error>,
{
    fn retry(&self, record: RawReceived, gate: Arc<Gate>) -> BoxFuture<'_, Result<Completion, BoxError>> {
        Box::pin(async move {
            let tries = waited(&record, &gate);
            let done = match self.core.ordered_away(&record, &tries, &gate).await.transpose() {
                Some(done) => done,
                None => self.alone(&record, tries, Place::Retry(&gate)).await,
            };
            finished(&record, &gate, &done);
            done
        })
    }
}
