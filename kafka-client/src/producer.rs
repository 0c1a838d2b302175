//! Producing: records go out, and every one of them gets an answer.
//!
//! ```text
//!   send / enqueue / send_with / send_batch / Sender
//!      │  encode into a reused buffer            (a missing schema is awaited, an outage waited out, then again)
//!      │  partitioner, permit (records, bytes)   (no room: wait in line, first come first served)
//!      ▼  interceptors
//!   librdkafka ──▶ broker
//!      │
//!      ▼  event thread: reports
//!   slot ──▶ Delivery      batch ──▶ one answer      callback threads ──▶ callbacks, hooks, interceptors
//! ```

mod ahead;
mod attempt;
mod batch;
mod builder;
mod callbacks;
mod core;
mod delivery;
mod events;
mod handles;
mod many;
mod missing;
mod outcome;
mod poison;
mod ring;
mod sender;
mod slot;
mod soon;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(crate) use attempt::as_bytes;
pub use batch::{BatchError, BatchFailure};
pub use builder::{Acks, Compression, ProducerBuilder};
pub(crate) use callbacks::panic_text;
pub use delivery::Delivery;
pub(crate) use handles::Handle;
pub use outcome::{Delivered, Outcome, SendError, TrySendError};
pub(crate) use poison::Poison;
pub use sender::Sender;
pub(crate) use slot::Slot;

use self::attempt::{Attempt, Refused, full};
use self::callbacks::{Callback, Runners};
use self::core::{Core, Count};
use self::events::{Control, Ending};
use self::handles::Handles;
use self::missing::{Told, Waiting};
use self::soon::Soon;
use crate::error::{Error, ErrorKind};
use crate::interceptor::ProducerInterceptor;
use crate::native::{Client, Queue};
use crate::partitioner::Partitioner;
use crate::record::{Sendable, sealed};

/// Sends records to any topic. Cheap to clone; all clones share one queue and one connection a broker.
///
/// | you want | use |
/// |---|---|
/// | the broker's answer, one record after the other | [`send`](Self::send) |
/// | many records in flight, each answer later | [`enqueue`](Self::enqueue), then the [`Delivery`] |
/// | not to wait at all | [`try_enqueue`](Self::try_enqueue) |
/// | a function called with the answer | [`send_with`](Self::send_with) |
/// | many records, one answer | [`send_batch`](Self::send_batch) |
/// | one topic, one task, the least work a record | [`sender`](Self::sender) |
///
/// A record is acknowledged when all in-sync replicas have it (`acks=all`), and retries neither duplicate nor reorder
/// it (`enable.idempotence=true`).
///
/// ```
/// # use kafka_client::{Json, Kafka, Topic, Utf8};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kafka = Kafka::embedded()?;
/// let producer = kafka.producer().build()?;
/// let greetings = Topic::new("greetings", Utf8, Json::<String>::new());
///
/// let delivered = producer.send(greetings.record("en", &"hello".to_owned())).await?;
/// assert_eq!(delivered.offset(), 0);
/// producer.close(std::time::Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
///
/// Dropping the last clone without [`close`](Self::close) gives the records in flight another 30 s in the background,
/// and logs how many were left; a process that ends before that loses them.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<OwnedProducer>,
}

/// The producer proper; dropped with its last clone.
struct OwnedProducer {
    shared: Arc<Shared>,
}

/// What sends need.
struct Shared {
    core: Arc<Core>,
    client: Arc<Client>,
    handles: Handles,
    runners: Arc<Runners>,
    control: Arc<Control>,
    /// To wake the event thread.
    queue: Queue,
    partitioner: Option<Box<dyn Partitioner>>,
    interceptors: Vec<Arc<dyn ProducerInterceptor>>,
    /// Neither partitioner nor interceptors.
    simple: bool,
    /// How long an outage is waited out that keeps a record from being encoded (`message.timeout.ms`).
    delivery_timeout: Option<Duration>,
    told: Told,
    /// Whether something is being fetched that nobody waits for.
    fetching: Arc<AtomicBool>,
    #[cfg(feature = "embedded")]
    _embedded: Option<Arc<crate::embedded::Embedded>>,
}

/// How long a producer that was dropped goes on.
const DROP_GRACE: Duration = Duration::from_secs(30);
/// One step of a native flush, after which it looks whether anybody still waits.
const FLUSH_STEP: Duration = Duration::from_millis(50);

impl Producer {
    /// Sends a record and waits for the broker's answer.
    ///
    /// For many records, waiting for each in turn costs a round trip a record: see [`enqueue`](Self::enqueue).
    ///
    /// # Errors
    /// The [`SendError`] says what went wrong, whether the record may be in the log, and gives it back. Retries have
    /// been made already (for `message.timeout.ms`, 5 minutes by default), those of a schema registry that is down
    /// included; then its kind is [`ErrorKind::Timeout`], and the registry's error is its source.
    ///
    /// # Cancel safety
    /// Dropping the future before the record has its place in the queue: it is not sent. After that: it is sent, and
    /// nobody hears of the answer.
    pub async fn send<R: Sendable>(&self, record: R) -> Outcome {
        self.enqueue(record).await?.await
    }

    /// Sends a record and waits for the broker's answer, but not longer than `wait`.
    ///
    /// # Errors
    /// As [`send`](Self::send); and [`ErrorKind::Timeout`] when the time is over. The record may then be on its way
    /// all the same ([`SendError::maybe_written`]); a deadline ends the waiting, not the record.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn send_within<R: Sendable>(&self, record: R, wait: Duration) -> Outcome {
        let start = Instant::now();
        let shared = self.shared();
        let slot = match shared.attempt(&record, &mut None, &mut None) {
            Attempt::Placed(slot) => slot,
            Attempt::Failed(error) => return Err(error),
            need => {
                let mut waiting = Waiting::new();
                let mut no_callback = None;
                let admitting = shared.admit_slowly(&record, need, &mut no_callback, &mut waiting);
                match tokio::time::timeout(wait, admitting).await {
                    Ok(admitted) => admitted?,
                    Err(_) => return Err(shared.unaccepted(&record, waiting.too_late(wait))),
                }
            }
        };
        Delivery::new(slot).within(wait.saturating_sub(start.elapsed())).await
    }

    /// Puts a record in the queue, waiting for room and for a schema if need be, and returns its [`Delivery`].
    ///
    /// A record whose schema cannot be fetched now waits for the registry (for `message.timeout.ms`); others, whose
    /// schemas are known, do not wait for it.
    ///
    /// Order is call order: where there is room, the record has its place when this function returns its future,
    /// before that is polled. Else it stands in line from the first poll on: first come, first served.
    ///
    /// # Errors
    /// When the record cannot be encoded, is too large, or the producer is closed or has failed for good.
    ///
    /// # Cancel safety
    /// Where there was room, the record is accepted already, and dropping the future drops its [`Delivery`]. Else
    /// dropping it gives up the place in line, and the record is not sent.
    #[inline]
    pub fn enqueue<R: Sendable>(&self, record: R) -> impl Future<Output = Result<Delivery, SendError>> + use<'_, R> {
        match self.shared().at_once(&record, |_| ()) {
            Ok(slot) => Soon::now(Delivery::new(slot)),
            Err(refused) => self.enqueue_otherwise(record, refused),
        }
    }

    #[inline(never)]
    fn enqueue_otherwise<R: Sendable>(
        &self,
        record: R,
        refused: Option<Refused>,
    ) -> Soon<Delivery, impl Future<Output = Result<Delivery, SendError>> + use<'_, R>> {
        match self.shared().otherwise(&record, refused, &mut None) {
            Attempt::Placed(slot) => Soon::now(Delivery::new(slot)),
            need => {
                let shared = self.shared();
                Soon::later(async move {
                    let mut waiting = Waiting::new();
                    shared.admit_slowly(record, need, &mut None, &mut waiting).await.map(Delivery::new)
                })
            }
        }
    }

    /// Puts a record in the queue if there is room now.
    ///
    /// # Errors
    /// Gives the record back: [`ErrorKind::Full`] where there is no room, or where something has to be fetched first
    /// (a schema, the partition count), which is then fetched in the background, in an async runtime; and as
    /// [`enqueue`](Self::enqueue).
    pub fn try_enqueue<R: Sendable>(&self, record: R) -> Result<Delivery, TrySendError<R>> {
        match self.shared().attempt(&record, &mut None, &mut None) {
            Attempt::Placed(slot) => Ok(Delivery::new(slot)),
            Attempt::Full(_) => Err(TrySendError::new(full(), record)),
            Attempt::Miss(miss) => {
                self.shared().fetch_beside(miss);
                Err(TrySendError::new(not_ready("a schema"), record))
            }
            Attempt::Uncounted(_) => Err(TrySendError::new(not_ready("the partition count"), record)),
            Attempt::Failed(error) => Err(TrySendError::new(error.into_parts().0, record)),
        }
    }

    /// Puts a record in the queue, waiting for room if need be; `callback` gets the answer.
    ///
    /// Callbacks begin in the order of the answers, one after the other, on a thread of their own. One that panics or
    /// takes long delays no delivery, and other callbacks by 10 ms at most: then those go on without it (up to 16 may
    /// hang at once).
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue); the callback is not called then.
    ///
    /// # Cancel safety
    /// As [`enqueue`](Self::enqueue).
    #[inline]
    pub fn send_with<R: Sendable>(
        &self,
        record: R,
        callback: impl FnOnce(Outcome) + Send + 'static,
    ) -> impl Future<Output = Result<(), SendError>> {
        let mut callback = Some(callback);
        let expect = |slot: &'static Slot| slot.expect_from(&mut callback);
        match self.shared().at_once(&record, expect) {
            Ok(_) => Soon::now(()),
            Err(refused) => self.send_otherwise(record, refused, callback.map(Callback::new)),
        }
    }

    #[inline(never)]
    fn send_otherwise<R: Sendable>(
        &self,
        record: R,
        refused: Option<Refused>,
        mut callback: Option<Callback>,
    ) -> Soon<(), impl Future<Output = Result<(), SendError>> + use<'_, R>> {
        match self.shared().otherwise(&record, refused, &mut callback) {
            Attempt::Placed(_) => Soon::now(()),
            need => {
                let shared = self.shared();
                Soon::later(async move {
                    let mut waiting = Waiting::new();
                    shared.admit_slowly(record, need, &mut callback, &mut waiting).await.map(drop)
                })
            }
        }
    }

    /// How many records are in flight: accepted, and not answered yet.
    pub fn in_flight(&self) -> usize {
        self.shared().core.in_flight()
    }

    /// Waits until every record that was accepted before this call has its answer, `deadline` at most. What lingers
    /// is sent now.
    ///
    /// # Cancel safety
    /// Dropping the future ends the waiting only.
    pub async fn flush(&self, deadline: Duration) -> FlushReport {
        let shared = self.shared();
        let count = shared.core.count();
        let _pump = Pump::start(shared.client.clone());
        let _ = tokio::time::timeout(deadline, shared.core.drained()).await;
        shared.report(&count)
    }

    /// Refuses further records, waits for those in flight, `deadline` at most, and ends the client. Holds for all
    /// clones.
    ///
    /// Records that are still waiting at the deadline are given up: their deliveries and callbacks get an error that
    /// says whether they may have been written, and the report counts them.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the producer closed; the rest happens in the background.
    pub async fn close(&self, deadline: Duration) -> FlushReport {
        let start = Instant::now();
        let shared = self.shared();
        let count = shared.core.count();
        shared.core.close();
        // A part of the time is for giving up what is left, and for the last callbacks.
        let drain = deadline.saturating_sub((deadline / 5).min(Duration::from_millis(500)));
        shared.end(after(start, drain), after(start, deadline));
        // Not a pump that stops with this future: what lingers is sent also when it is dropped.
        shared.pump_to_the_end();
        let _ = tokio::time::timeout(deadline, shared.control.over()).await;
        let report = shared.report(&count);
        tracing::info!(
            delivered = report.delivered,
            failed = report.failed,
            unknown = report.unknown,
            "producer closed"
        );
        report
    }

    /// For the transactions of this producer.
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.shared().client
    }

    /// What has failed since it was last taken; `None` outside transactions.
    pub(crate) fn poison(&self) -> Option<&Poison> {
        self.shared().control.poison.as_ref()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl Shared {
    /// Hands a record over, awaiting whatever it needs: room, a schema, the partition count.
    async fn admit_slowly<R: sealed::Sendable>(
        &self,
        record: R,
        mut need: Attempt,
        callback: &mut Option<Callback>,
        waiting: &mut Waiting,
    ) -> Result<&'static Slot, SendError> {
        loop {
            if let Attempt::Failed(error) = need {
                return Err(error);
            }
            let met = self.meet(need, record.topic_text(), waiting).await;
            met.map_err(|error| self.unaccepted(&record, error))?;
            need = match self.attempt(&record, &mut waiting.permit, callback) {
                Attempt::Placed(slot) => return Ok(slot),
                need => need,
            };
        }
    }

    fn report(&self, count: &Count) -> FlushReport {
        let totals = self.core.counted(count);
        FlushReport { delivered: totals.delivered, failed: totals.failed, unknown: totals.unknown }
    }

    /// Lets the event thread end.
    fn end(&self, drain: Instant, callbacks: Instant) {
        self.control.end(Ending { drain, callbacks });
        self.queue.interrupt();
    }

    /// Tells librdkafka not to let records linger, until the event thread has ended.
    fn pump_to_the_end(&self) {
        let (client, control) = (self.client.clone(), self.control.clone());
        let pump = move || {
            crate::native::client::this_thread_may_block();
            loop {
                // Blocks for a while, unless nothing is left.
                if control.ended.load(Ordering::Acquire) || client.flush(FLUSH_STEP) {
                    break;
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("kafka-close".into()).spawn(pump) {
            tracing::error!(%error, "no thread to flush on; records linger until the deadline");
        }
    }
}

fn not_ready(missing: &str) -> Error {
    let text = format!("not ready yet: {missing} is being fetched");
    Error::new(ErrorKind::Full, text).with_retry(crate::Retry::Temporary)
}

/// A moment so far away, or the end of time as far as clocks go.
fn after(start: Instant, wait: Duration) -> Instant {
    start.checked_add(wait).unwrap_or_else(|| start + Duration::from_secs(60 * 60 * 24 * 365))
}

impl Drop for OwnedProducer {
    fn drop(&mut self) {
        if !self.shared.core.close() {
            return;
        }
        let in_flight = self.shared.core.in_flight();
        let shared = self.shared.clone();
        let until = Instant::now() + DROP_GRACE;
        shared.end(until, until);
        if in_flight == 0 {
            return;
        }
        tracing::warn!(in_flight, "producer dropped without close; sending what is left for up to {DROP_GRACE:?}");
        let wait = move || {
            crate::native::client::this_thread_may_block();
            let count = shared.core.count();
            shared.client.flush(DROP_GRACE);
            let report = shared.report(&count);
            tracing::warn!(
                delivered = report.delivered,
                failed = report.failed,
                unknown = report.unknown,
                "what a dropped producer had left"
            );
        };
        if let Err(error) = std::thread::Builder::new().name("kafka-drop".into()).spawn(wait) {
            tracing::error!(%error, in_flight, "no thread to send on; the records may be lost");
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// How the records that a flush or close waited for have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "records may have failed"]
pub struct FlushReport {
    /// Acknowledged by the broker.
    pub delivered: u64,
    /// Failed, and certainly not in the log.
    pub failed: u64,
    /// Not known: still on their way, or given up while a request was under way.
    pub unknown: u64,
}

impl FlushReport {
    /// Whether every record was delivered.
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.unknown == 0
    }
}

/// Tells librdkafka not to let records linger, as long as it lives.
struct Pump {
    stop: Arc<AtomicBool>,
}

impl Pump {
    fn start(client: Arc<Client>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        // Blocks in steps, so that it ends soon after the flush does.
        tokio::task::spawn_blocking(move || {
            loop {
                if stopped.load(Ordering::Acquire) || client.flush(FLUSH_STEP) {
                    break;
                }
            }
        });
        Self { stop }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
