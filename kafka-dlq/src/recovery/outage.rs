//! Outages: whether a record may be tried, and what its failure says of the others.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kafka_client::{GivenBack, RawReceived};

use super::core::Core;
use super::tries::Tries;
use crate::breaker::Permit;
use crate::retry_topic::gate::key_of;

/// Leave to try a record.
pub(crate) struct Pass<'a> {
    probe: Option<&'a Core>,
    /// Whether there was an outage to wait for.
    pub(crate) waited: bool,
}

impl Pass<'_> {
    pub(super) fn probed(mut self, reached: bool) {
        if let Some(core) = self.probe.take() {
            core.probed(reached);
        }
    }

    fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(circuit) = self.probe.take().and_then(|core| core.circuit.as_ref()) {
            circuit.lock().abandoned(Instant::now());
        }
    }
}

impl Core {
    /// Leave to try a record at once, which is counted where it is tried for the first time. `None` while there is an outage.
    #[inline]
    pub(crate) fn pass_now(&self, tries: &Tries) -> Option<Pass<'_>> {
        if let (Some(budget), 0) = (&self.budget, tries.attempts) {
            budget.lock().earn();
        }
        (!self.open.load(Ordering::Relaxed)).then_some(Pass { probe: None, waited: false })
    }

    /// As [`pass_now`](Self::pass_now); waits while there is an outage.
    pub(crate) async fn pass(&self, record: &RawReceived, tries: &Tries) -> Result<Pass<'_>, GivenBack> {
        match self.pass_now(tries) {
            Some(pass) => Ok(pass),
            None => self.pass_in_an_outage(record).await,
        }
    }

    /// Waits until a record may be tried in spite of an outage, or after it.
    pub(crate) async fn pass_in_an_outage(&self, record: &RawReceived) -> Result<Pass<'_>, GivenBack> {
        let mut pass = Pass { probe: None, waited: false };
        let Some(circuit) = &self.circuit else { return Ok(pass) };
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            let permit = circuit.lock().permit(fault_key(record), Instant::now());
            let wait = match permit {
                Permit::Go => return Ok(pass),
                Permit::Probe => {
                    (pass.probe, pass.waited) = (Some(self), true);
                    return Ok(pass);
                }
                Permit::Wait(wait) => wait,
            };
            pass.waited = true;
            tokio::select! {
                () = tokio::time::sleep(wait) => (),
                () = closed => (),
                () = record.stopping() => return Err(GivenBack),
            }
        }
    }

    fn probed(&self, reached: bool) {
        let Some(circuit) = &self.circuit else { return };
        if circuit.lock().probed(reached, Instant::now()) {
            self.open.store(false, Ordering::Relaxed);
            self.closed.notify_waiters();
            self.tally.breaker(false);
            tracing::warn!(group = self.group, topic = self.source, reached, "the outage is over; going on");
        }
    }

    /// So many records were handled.
    #[inline]
    pub(crate) fn succeeded(&self, pass: Pass<'_>, records: u64) {
        self.successes.fetch_add(records, Ordering::Relaxed);
        if let Some(processed) = self.processed.get() {
            processed.increment(records);
        }
        pass.probed(true);
    }

    /// A call that would be retried has failed. Whether there is an outage.
    pub(crate) fn is_outage(&self, record: &RawReceived, pass: Pass<'_>) -> bool {
        let Some(circuit) = &self.circuit else { return false };
        if pass.is_probe() {
            pass.probed(false);
            return true;
        }
        let mut circuit = circuit.lock();
        if circuit.failed(fault_key(record), self.successes.load(Ordering::Relaxed), Instant::now()) {
            self.open.store(true, Ordering::Relaxed);
            self.tally.breaker(true);
            tracing::error!(
                group = self.group,
                topic = self.source,
                "records of many keys fail: this is an outage, and no fault of theirs; trying one at a time until it is over"
            );
        }
        circuit.is_open()
    }

    /// A record has failed for the last time, and may be among the first that an outage makes fail. Whether the breaker opens
    /// before another record is handled; not waited for any longer than [`LAST_FAILURE`].
    pub(super) async fn is_first_of_an_outage(&self, record: &RawReceived) -> Result<bool, GivenBack> {
        if self.circuit.is_none() {
            return Ok(false);
        }
        let (until, before) = (Instant::now() + LAST_FAILURE, self.successes.load(Ordering::Relaxed));
        while !self.open.load(Ordering::Relaxed) {
            if self.successes.load(Ordering::Relaxed) != before || Instant::now() >= until {
                return Ok(false);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => (),
                () = record.stopping() => return Err(GivenBack),
            }
        }
        Ok(true)
    }
}

/// How long a record whose attempts are used up waits, with nothing else handled meanwhile, for the failures of others: they
/// may tell that this is an outage.
const LAST_FAILURE: Duration = Duration::from_secs(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a failure is counted by: the key, or the record where it has none.
fn fault_key(record: &RawReceived) -> u64 {
    match record.key_bytes() {
        Some(key) => key_of("", key),
        None => key_of("offset", format!("{}-{}", record.partition(), record.offset()).as_bytes()),
    }
}
