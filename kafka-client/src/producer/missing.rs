//! What a record has to wait for before it can be sent: room, a schema, the partition count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka_serde::{Error as SerdeError, Miss};
use parking_lot::Mutex;

use super::Shared;
use super::attempt::{Attempt, closed};
use super::core::Permit;
use super::handles::Handle;
use crate::error::{Error, ErrorKind, Retry};
use crate::outage::{Fetched, LONGEST_PAUSE, Outage};

/// How often a record may miss something before that is an error: each miss is another schema, or a registry that
/// forgets.
const MOST_MISSES: usize = 8;

/// What a send, or a batch, has waited for so far.
pub(super) struct Waiting {
    pub(super) permit: Option<Permit>,
    misses: usize,
    outage: Outage,
    /// When it first waited for a fetch that has not succeeded yet.
    since: Option<tokio::time::Instant>,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { permit: None, misses: 0, outage: Outage::none(), since: None }
    }

    /// A record of a batch is done with; the next one has misses of its own.
    pub(super) fn next_record(&mut self) {
        self.misses = 0;
    }

    /// Why a caller's deadline passed before the record was accepted.
    pub(super) fn too_late(self, wait: Duration) -> Error {
        if self.since.is_none() {
            let text = format!("no room in the queue within {wait:?}; the record was not accepted");
            return Error::new(ErrorKind::Timeout, text).with_retry(Retry::Temporary);
        }
        let text = format!("what encodes the record was not to be had within {wait:?}; it was not accepted");
        let error = Error::new(ErrorKind::Timeout, text).with_retry(Retry::Temporary);
        match self.outage.into_why() {
            Some(why) => error.with_source(why),
            None => error,
        }
    }
}

/// Keeps a producer from telling of one outage once a record.
#[derive(Default)]
pub(super) struct Told(Mutex<Option<Instant>>);

impl Told {
    fn outage(&self, topic: &str, error: &SerdeError) {
        let now = Instant::now();
        let mut last = self.0.lock();
        if last.is_none_or(|last| now.duration_since(last) >= LONGEST_PAUSE) {
            *last = Some(now);
            drop(last);
            tracing::warn!(topic, %error, "waiting to encode");
        }
    }
}

/// Lets the next one be fetched, however this fetch ends.
struct Fetching(Arc<AtomicBool>);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Shared {
    /// Awaits what an attempt lacked.
    pub(super) async fn meet(&self, need: Attempt, topic: &str, waiting: &mut Waiting) -> Result<(), Error> {
        let met = match need {
            Attempt::Full(bytes) => {
                self.wait_for_room(1, bytes, waiting).await;
                Ok(())
            }
            Attempt::Miss(miss) => self.fetch(miss, topic, waiting).await,
            Attempt::Uncounted(handle) => self.ask_partitions(&handle, waiting).await,
            Attempt::Placed(_) | Attempt::Failed(_) => Ok(()),
        };
        met.map_err(|error| error.with_topic(topic))
    }

    pub(super) async fn wait_for_room(&self, records: usize, bytes: usize, waiting: &mut Waiting) {
        // Without a permit the producer is closed: the next try is refused, with the record.
        waiting.permit = self.core.acquire(records, bytes).await.ok();
    }

    pub(super) async fn ask_partitions(&self, handle: &Arc<Handle>, waiting: &mut Waiting) -> Result<(), Error> {
        waiting.misses += 1;
        if waiting.misses > MOST_MISSES {
            return Err(forgetful());
        }
        handle.ask_partitions().await
    }

    /// Fetches what a record misses. An outage is waited out for as long as a broker's would be.
    pub(super) async fn fetch(&self, miss: Miss, topic: &str, waiting: &mut Waiting) -> Result<(), Error> {
        // Others, which lack nothing, have the room meanwhile.
        waiting.permit = None;
        if waiting.misses >= MOST_MISSES {
            return Err(forgetful());
        }
        let since = *waiting.since.get_or_insert_with(tokio::time::Instant::now);
        let fetching = waiting.outage.fetch(miss, |error| self.told.outage(topic, error));
        let fetched = tokio::select! {
            biased;
            fetched = fetching => fetched,
            () = self.control.over() => return Err(closed()),
            () = past(since, self.delivery_timeout) => return Err(self.given_up(waiting)),
        };
        match fetched {
            Ok(Fetched::NotNow) => (),
            Ok(Fetched::Found) => {
                waiting.misses += 1;
                (waiting.outage, waiting.since) = (Outage::none(), None);
            }
            Err(error) => {
                waiting.since = None;
                return Err(Error::unencodable(error));
            }
        }
        Ok(())
    }

    /// Fetches in the background what a record misses that cannot wait, unless something is being fetched already.
    pub(super) fn fetch_beside(&self, miss: Miss) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.fetching.swap(true, Ordering::AcqRel) {
            return;
        }
        let done = Fetching(self.fetching.clone());
        runtime.spawn(async move {
            let _done = done;
            // Whoever tries again hears of it.
            let _ = miss.resolve().await;
        });
    }

    /// The error of a record whose schema, say, was not to be had for the whole delivery timeout.
    fn given_up(&self, waiting: &mut Waiting) -> Error {
        let waited = self.delivery_timeout.unwrap_or_default();
        let text = format!("what encodes the record was not to be had for {waited:?} (`message.timeout.ms`)");
        let error = Error::new(ErrorKind::Timeout, text).with_retry(Retry::Persistent);
        match std::mem::replace(&mut waiting.outage, Outage::none()).into_why() {
            Some(why) => error.with_source(why),
            None => error,
        }
    }
}

/// Waits until so long after `since`; for ever, without a limit.
async fn past(since: tokio::time::Instant, limit: Option<Duration>) {
    match limit.and_then(|limit| since.checked_add(limit)) {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn forgetful() -> Error {
    Error::new(ErrorKind::Encode, format!("something was missing again after {MOST_MISSES} fetches"))
}
