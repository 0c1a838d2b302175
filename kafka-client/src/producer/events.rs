//! The event thread of a producer: it forwards reports to slots, batches and callbacks, and decides nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::batch::{BatchFailure, Progress};
use super::callbacks::{Called, Job, Runners};
use super::core::{Core, Settled};
use super::outcome::{Delivered, Outcome, SendError};
use super::poison::Poison;
use super::slot::{Slot, Told};
use crate::error::Error;
use crate::headers::Headers;
use crate::interceptor::Acknowledgement;
use crate::logging;
use crate::native::message::Status;
use crate::native::{Client, Event, EventKind, MessageRef, Owner, Queue, client};
use crate::record::RawRecord;

/// How long the thread sleeps when nothing happens; everything that matters wakes it.
const IDLE: Duration = Duration::from_millis(200);
/// How often it looks after the callbacks while some wait.
const WATCHING: Duration = Duration::from_millis(5);
/// How long the thread stays for the reports of purged records, which take milliseconds. Nobody waits for it that
/// long: `close` has its own deadline.
const PURGE_WAIT: Duration = Duration::from_secs(30);

/// What the producer tells its event thread.
#[derive(Default)]
pub(super) struct Control {
    ending: Mutex<Option<Ending>>,
    pub(super) ended: AtomicBool,
    pub(super) over: Notify,
    /// Whether any record had headers, whose bytes are part of what comes back.
    pub(super) headers_used: AtomicBool,
    /// Of a transactional producer: what failed.
    pub(super) poison: Option<Poison>,
}

/// How the producer is to end.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    /// Until then records in flight may finish.
    pub(super) drain: Instant,
    /// Until then callbacks may run.
    pub(super) callbacks: Instant,
}

impl Control {
    /// Of a producer whose records are in transactions.
    pub(super) fn transactional() -> Self {
        Self { poison: Some(Poison::default()), ..Self::default() }
    }

    pub(super) fn end(&self, ending: Ending) {
        *self.ending.lock() = Some(ending);
    }

    /// Waits until the thread has done its last work.
    pub(super) async fn over(&self) {
        let over = self.over.notified();
        tokio::pin!(over);
        over.as_mut().enable();
        if !self.ended.load(Ordering::Acquire) {
            over.await;
        }
    }
}

/// The thread's state.
pub(super) struct Events {
    pub(super) queue: Queue,
    pub(super) client: Arc<Client>,
    pub(super) core: Arc<Core>,
    pub(super) runners: Arc<Runners>,
    pub(super) control: Arc<Control>,
    /// Whether interceptors have seen the records.
    pub(super) intercepted: bool,
    /// Below which an offset is none; with `acks=0` there is none to be told.
    pub(super) first_offset: i64,
    pub(super) local: Local,
}

/// Buffers for one event, reused.
#[derive(Default)]
pub(super) struct Local {
    settled: Settled,
    wakers: Vec<Waker>,
    jobs: VecDeque<Job>,
    batch: Option<OpenBatch>,
    unheard: usize,
    first_unheard: Option<SendError>,
}

/// The batch whose reports are being counted.
struct OpenBatch {
    index: u32,
    progress: Arc<Progress>,
    delivered: usize,
    failures: Vec<BatchFailure>,
}

impl Events {
    /// Runs until the producer ends.
    pub(super) fn run(mut self) {
        client::this_thread_may_block();
        let mut purged = None;
        let ending = loop {
            let busy = self.runners.busy();
            let ending = *self.control.ending.lock();
            let wait = if busy || ending.is_some() { WATCHING } else { IDLE };
            if let Some(event) = self.queue.poll(wait) {
                self.forward(&event);
            }
            if busy {
                self.runners.watch();
            }
            let Some(ending) = ending else { continue };
            let now = Instant::now();
            match purged {
                _ if self.core.in_flight() == 0 => break ending,
                None if now >= ending.drain => {
                    self.client.purge();
                    purged = Some(now + PURGE_WAIT);
                }
                Some(until) if now >= until => break ending,
                _ => (),
            }
        };
        let left = self.core.in_flight();
        if left > 0 {
            tracing::error!(left, "records were given up, and librdkafka has not reported them yet");
        }
        self.runners.close(ending.callbacks);
        self.control.ended.store(true, Ordering::Release);
        self.control.over.notify_waiters();
        // `close` has returned; but who awaits a delivery still gets its answer, as soon as there is one.
        while self.core.in_flight() > 0 {
            if let Some(event) = self.queue.poll(IDLE) {
                self.forward(&event);
            }
            self.runners.watch();
        }
    }

    fn forward(&mut self, event: &Event) {
        match event.kind() {
            EventKind::Delivery => self.reports(event),
            EventKind::Error => logging::client_error(event, "producer"),
            EventKind::Log => logging::client_log(event),
            _ => (),
        }
    }

    /// Forwards the reports of one event: results first, then permits, then everybody is woken at once.
    fn reports(&mut self, event: &Event) {
        let core = &*self.core;
        let unusual = Unusual {
            hooked: self.runners.hooked(),
            intercepted: self.intercepted,
            headers_used: self.control.headers_used.load(Ordering::Relaxed),
            first_offset: self.first_offset,
            poison: self.control.poison.as_ref(),
        };
        let plain = !unusual.hooked && !unusual.headers_used && !tracing::enabled!(tracing::Level::TRACE);
        let local = &mut self.local;
        // In locals, so that they stay in registers from one record to the next.
        let (mut delivered, mut of_epoch_1, mut bytes) = (0, 0, 0);
        event.for_each_delivery(|message, token| {
            if !plain || message.failed() || message.offset() < unusual.first_offset {
                return local.unusual(core, message, token.owner(), token.epoch(), &unusual);
            }
            delivered += 1;
            of_epoch_1 += token.epoch();
            bytes += message.size();
            match token.owner() {
                Owner::Slot(slot) => local.delivered(slot, delivered_as(message)),
                // A batch wants to know how many, not where.
                Owner::Batch { batch, .. } => local.counted(core, batch),
            }
        });
        local.settled.records += delivered;
        local.settled.bytes += bytes;
        local.settled.totals[0].delivered += (delivered - of_epoch_1) as u64;
        local.settled.totals[1].delivered += of_epoch_1 as u64;
        local.close_batch(core);
        core.settle(&mut local.settled);
        local.wakers.drain(..).for_each(Waker::wake);
        self.runners.push(&mut local.jobs);
        local.tell_unheard();
    }
}

/// Whatever may make a report cost more than its numbers.
struct Unusual<'a> {
    /// Somebody wants to hear of every acknowledgement.
    hooked: bool,
    /// Interceptors have seen the records.
    intercepted: bool,
    /// Some records have headers.
    headers_used: bool,
    /// Below which an offset is none.
    first_offset: i64,
    /// The records belong to a transaction.
    poison: Option<&'a Poison>,
}

impl Local {
    #[inline(always)]
    fn delivered(&mut self, slot: &'static Slot, delivered: Delivered) {
        if let Some(told) = slot.deliver(delivered) {
            self.tell(slot, told);
        }
    }

    #[inline(never)]
    fn tell(&mut self, slot: &'static Slot, told: Told) {
        match told {
            Told::Reader(None) | Told::Nobody => (),
            Told::Reader(Some(waker)) => self.wakers.push(waker),
            Told::Callback => self.jobs.push_back(Job::Callback(Called::new(slot))),
        }
    }

    /// A report that failed, or of which somebody wants to know more.
    #[cold]
    fn unusual(&mut self, core: &Core, message: MessageRef<'_>, owner: Owner, epoch: usize, unusual: &Unusual<'_>) {
        self.settled.records += 1;
        self.settled.bytes += message.size();
        if unusual.headers_used {
            self.settled.bytes += header_bytes(message);
        }
        let outcome = outcome(message, unusual);
        let totals = &mut self.settled.totals[epoch];
        if let (Some(poison), Err(error)) = (unusual.poison, &outcome) {
            poison.taint(error);
        }
        match &outcome {
            Ok(_) => totals.delivered += 1,
            Err(error) if error.maybe_written() => totals.unknown += 1,
            Err(_) => totals.failed += 1,
        }
        if unusual.hooked {
            let acknowledgement = Box::new(acknowledgement(message, outcome.clone()));
            self.jobs.push_back(Job::Acknowledged(acknowledgement));
        }
        match (owner, outcome) {
            (Owner::Slot(slot), Ok(delivered)) => self.delivered(slot, delivered),
            (Owner::Slot(slot), Err(error)) => self.failed(slot, error, unusual),
            (Owner::Batch { batch, index }, outcome) => self.batch(core, batch, index, outcome),
        }
    }

    fn failed(&mut self, slot: &'static Slot, error: SendError, unusual: &Unusual<'_>) {
        let mut error = Some(error);
        let told = slot.fail(&mut error);
        self.tell(slot, told);
        // The end of a transaction tells of it.
        if let Some(unheard) = error.filter(|_| unusual.poison.is_none()) {
            self.unheard += 1;
            self.first_unheard.get_or_insert(unheard);
        }
    }

    /// Reports of a batch come in runs; each run is counted here, and told to the batch once.
    #[inline]
    fn open_batch(&mut self, core: &Core, batch: u32) -> Option<&mut OpenBatch> {
        if self.batch.as_ref().is_none_or(|open| open.index != batch) {
            self.next_batch(core, batch);
        }
        self.batch.as_mut()
    }

    #[cold]
    fn next_batch(&mut self, core: &Core, batch: u32) {
        self.close_batch(core);
        self.batch = core.batches.get(batch).map(|progress| OpenBatch {
            index: batch,
            progress,
            delivered: 0,
            failures: Vec::new(),
        });
    }

    #[inline]
    fn counted(&mut self, core: &Core, batch: u32) {
        if let Some(open) = self.open_batch(core, batch) {
            open.delivered += 1;
        }
    }

    fn batch(&mut self, core: &Core, batch: u32, index: u32, outcome: Outcome) {
        let Some(open) = self.open_batch(core, batch) else { return };
        match outcome {
            Ok(_) => open.delivered += 1,
            Err(error) => open.failures.push(BatchFailure { index: index as usize, error }),
        }
    }

    fn close_batch(&mut self, core: &Core) {
        if let Some(mut open) = self.batch.take()
            && open.progress.add(open.delivered, &mut open.failures)
        {
            core.batches.remove(open.index);
        }
    }

    fn tell_unheard(&mut self) {
        if let Some(error) = self.first_unheard.take() {
            let count = std::mem::take(&mut self.unheard);
            tracing::error!(count, first = %error, "records failed whose deliveries had been dropped");
        }
    }
}

fn outcome(message: MessageRef<'_>, unusual: &Unusual<'_>) -> Outcome {
    if message.failed() || message.offset() < unusual.first_offset {
        return Err(failure(message, unusual.intercepted));
    }
    tracing::trace!(
        topic = message.topic(),
        partition = message.partition(),
        offset = message.offset(),
        "acknowledged"
    );
    Ok(delivered_as(message))
}

#[inline]
fn delivered_as(message: MessageRef<'_>) -> Delivered {
    Delivered::new(message.partition(), message.offset(), message.delivered_timestamp())
}

#[cold]
fn failure(message: MessageRef<'_>, intercepted: bool) -> SendError {
    let error = match message.report_error() {
        Err(error) => Error::native(error),
        // librdkafka takes a batch for written once a later one of its partition is acknowledged, whatever the answer to the
        // batch itself was (`rd_kafka_dr_implicit_ack`). But a broker that has just started knows nothing of a producer, and
        // takes its second batch without the first, which it has refused. It was seen to lose records.
        Ok(()) => {
            let text =
                "acknowledged without an offset: a later record of the partition was, and this one may be missing";
            Error::new(crate::ErrorKind::Broker, text).with_retry(crate::Retry::Temporary)
        }
    };
    let error = error.with_topic(message.topic()).with_partition(Some(message.partition()));
    let maybe_written = message.status() != Status::NotPersisted;
    let mut record = RawRecord::new(message.topic(), message.key().map(Vec::from), message.payload().map(Vec::from));
    record.partition = (message.partition() >= 0).then_some(message.partition());
    record.headers = Headers::copy_of(message.report_headers().as_ref());
    record.timestamp = message.report_timestamp();
    record.set_intercepted(intercepted);
    SendError::new(error, maybe_written, Some(record))
}

fn acknowledgement(message: MessageRef<'_>, outcome: Outcome) -> Acknowledgement {
    Acknowledgement {
        topic: message.topic().to_owned(),
        key: message.key().map(Vec::from),
        headers: Headers::copy_of(message.report_headers().as_ref()),
        outcome,
    }
}

fn header_bytes(message: MessageRef<'_>) -> usize {
    let Some(headers) = message.report_headers() else { return 0 };
    let size = |(name, value): (&[u8], Option<&[u8]>)| name.len() + value.map_or(0, <[u8]>::len);
    (0..headers.len()).filter_map(|index| headers.get(index)).map(size).sum()
}
