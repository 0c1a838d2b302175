//! Batches: many records, one answer.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::outcome::SendError;
use crate::error::{Error, ErrorKind};

/// The batches in flight, found by the index in their records' tokens.
#[derive(Default)]
pub(super) struct Batches {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    entries: Vec<Option<Arc<Progress>>>,
    free: Vec<u32>,
}

impl Batches {
    pub(super) fn insert(&self, progress: Arc<Progress>) -> u32 {
        let mut list = self.list.lock();
        match list.free.pop() {
            Some(index) => {
                list.entries[index as usize] = Some(progress);
                index
            }
            None => {
                list.entries.push(Some(progress));
                (list.entries.len() - 1) as u32
            }
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<Arc<Progress>> {
        self.list.lock().entries.get(index as usize).cloned().flatten()
    }

    pub(super) fn remove(&self, index: u32) {
        let mut list = self.list.lock();
        list.entries[index as usize] = None;
        list.free.push(index);
    }
}

/// How far a batch has come.
#[derive(Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    /// Records handed over; known only when the last one was.
    total: Option<usize>,
    delivered: usize,
    failures: Vec<BatchFailure>,
    /// Where the entry stands, to be removed by whoever finishes it.
    abandoned: bool,
}

impl Progress {
    /// Counts reports; `true` when they were the last, and nobody waits for the batch.
    pub(super) fn add(&self, delivered: usize, failures: &mut Vec<BatchFailure>) -> bool {
        let mut state = self.state.lock();
        state.delivered += delivered;
        state.failures.append(failures);
        let finished = state.finished();
        let abandoned = state.abandoned;
        drop(state);
        if finished {
            self.waker.wake();
        }
        finished && abandoned
    }

    /// Says how many records there are; reports may have come before.
    pub(super) fn handed_over(&self, total: usize) {
        self.state.lock().total = Some(total);
    }

    /// Waits for the last report.
    pub(super) async fn finished(&self) -> Result<usize, BatchError> {
        poll_fn(|context| {
            self.waker.register(context.waker());
            let mut state = self.state.lock();
            if !state.finished() {
                return Poll::Pending;
            }
            let delivered = state.delivered;
            let mut failures = std::mem::take(&mut state.failures);
            if failures.is_empty() {
                return Poll::Ready(Ok(delivered));
            }
            failures.sort_by_key(|failure| failure.index);
            Poll::Ready(Err(BatchError { delivered, failures }))
        })
        .await
    }

    /// The first failure so far.
    pub(super) fn refused(&self) -> Option<SendError> {
        self.state.lock().failures.first().map(|failure| failure.error.clone())
    }

    /// Says that nobody waits any more, and how many records were handed over. `true` when all reports are in.
    pub(super) fn abandon(&self, total: usize) -> bool {
        let mut state = self.state.lock();
        state.abandoned = true;
        state.total = Some(total);
        state.finished()
    }
}

impl State {
    fn finished(&self) -> bool {
        self.total.is_some_and(|total| self.delivered + self.failures.len() >= total)
    }
}

/// One record of a batch that was not delivered.
#[derive(Clone, Debug)]
pub struct BatchFailure {
    pub(super) index: usize,
    pub(super) error: SendError,
}

impl BatchFailure {
    /// Which record of the batch, counted from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What happened to it, with the record.
    pub fn error(&self) -> &SendError {
        &self.error
    }
}

/// A batch of which not every record was delivered.
#[derive(Clone, Debug)]
pub struct BatchError {
    pub(super) delivered: usize,
    pub(super) failures: Vec<BatchFailure>,
}

impl BatchError {
    /// How many records were delivered.
    pub fn delivered(&self) -> usize {
        self.delivered
    }

    /// Those that were not, in the order of the batch.
    pub fn failures(&self) -> &[BatchFailure] {
        &self.failures
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} records were not delivered", self.failures.len(), self.delivered + self.failures.len())?;
        match self.failures.first() {
            Some(first) => write!(f, "; the first was record {} of the batch", first.index),
            None => Ok(()),
        }
    }
}

/// The first failure stands for all.
impl From<BatchError> for Error {
    fn from(mut error: BatchError) -> Self {
        let text = error.to_string();
        match error.failures.is_empty() {
            true => Error::new(ErrorKind::Broker, text),
            false => error.failures.swap_remove(0).error.into(),
        }
    }
}

impl StdError for BatchError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failures.first().map(|failure| &failure.error as _)
    }
}
