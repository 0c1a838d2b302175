//! The event thread of a producer: it forwards reports to slots, batches and callbacks, and decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::batch::{BatchFailure, Progress};
use super::callbacks::{Job, Runners};
use super::core::{Core, Settled};
use super::outcome::{Delivered, Outcome, SendError};
use super::slot::{CHUNK, Chunk, Told};
use super::token::Token;
use crate::error::Error;
use crate::headers::Headers;
use crate::interceptor::Acknowledgement;
use crate::logging;
use crate::native::message::Status;
use crate::native::{Client, Event, EventKind, MessageRef, Queue, client};
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
    pub(super) local: Local,
}

/// Buffers for one event, reused.
#[derive(Default)]
pub(super) struct Local {
    settled: Settled,
    /// A copy of the list of chunks, brought up to date when a number is not in it.
    chunks: Vec<Arc<Chunk>>,
    wakers: Vec<Waker>,
    jobs: Vec<Job>,
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
        let (core, hooked, intercepted) = (&*self.core, self.runners.hooked(), self.intercepted);
        let headers_used = self.control.headers_used.load(Ordering::Relaxed);
        let local = &mut self.local;
        event.for_each_delivery(|message, token| {
            let (token, epoch) = Token::decode(token);
            local.settled.bytes += core.capped(message.size());
            if headers_used {
                local.settled.bytes += header_bytes(message);
            }
            local.settled.records += 1;
            if let (Token::Batch { batch, .. }, false, false) = (token, hooked, message.failed()) {
                // The hottest path: the batch wants to know how many, not where.
                local.settled.totals[epoch].delivered += 1;
                return local.delivered(core, batch);
            }
            let outcome = outcome(message, intercepted);
            let totals = &mut local.settled.totals[epoch];
            match &outcome {
                Ok(_) => totals.delivered += 1,
                Err(error) if error.maybe_written() => totals.unknown += 1,
                Err(_) => totals.failed += 1,
            }
            if hooked {
                local.jobs.push(Job::Acknowledged(acknowledgement(message, outcome.clone())));
            }
            match token {
                Token::Slot(slot) => local.slot(core, slot, outcome),
                Token::Batch { batch, index } => local.batch(core, batch, index, outcome),
            }
        });
        local.close_batch(core);
        core.settle(&mut local.settled);
        local.wakers.drain(..).for_each(Waker::wake);
        self.runners.push(&mut local.jobs);
        local.tell_unheard();
    }
}

impl Local {
    #[inline]
    fn slot(&mut self, core: &Core, number: u32, outcome: Outcome) {
        let (chunk, at) = (number as usize / CHUNK, number as usize % CHUNK);
        if chunk >= self.chunks.len() {
            core.chunks(&mut self.chunks);
        }
        match self.chunks[chunk][at].complete(outcome) {
            Told::Reader(None) => (),
            Told::Reader(Some(waker)) => self.wakers.push(waker),
            Told::Callback(callback, outcome) => self.jobs.push(Job::Callback(callback, outcome)),
            Told::Nobody(outcome) => {
                if let Err(error) = outcome {
                    self.unheard += 1;
                    self.first_unheard.get_or_insert(error);
                }
            }
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
    fn delivered(&mut self, core: &Core, batch: u32) {
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

#[inline]
fn outcome(message: MessageRef<'_>, intercepted: bool) -> Outcome {
    if message.failed() {
        return Err(failure(message, intercepted));
    }
    let timestamp = message.timestamp().map_or(-1, |(millis, _)| millis);
    tracing::trace!(
        topic = message.topic(),
        partition = message.partition(),
        offset = message.offset(),
        "acknowledged"
    );
    Ok(Delivered::new(message.partition(), message.offset().max(-1), timestamp))
}

#[cold]
fn failure(message: MessageRef<'_>, intercepted: bool) -> SendError {
    let error = match message.report_error() {
        Err(error) => Error::native(error),
        Ok(()) => Error::new(crate::ErrorKind::Broker, "failed without a reason"),
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
