//! Exactly once: what handlers send goes into the transaction that commits the offsets of their records, and waits for it.
//!
//! ```text
//!   record.transaction().send ──▶ draft of the record ──▶ its record is finished ──▶ ready ──▶ taken with the offsets
//!                                     └─ tried again, given up, undone, lost: dropped
//! ```
//!
//! No transaction is open while handlers work, so that none has to be fast.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind};
use crate::record::RawRecord;

/// What is to be done once a record's transaction is committed.
pub(crate) type OnCommit = Box<dyn FnOnce() + Send>;

/// What the lives of a consumer share.
pub(crate) struct Outbox {
    /// How many bytes may be ready, about; beyond it nothing more is sent before a commit.
    most_bytes: usize,
    /// How large a record may be.
    most_record_bytes: usize,
    ready: AtomicUsize,
    room: Notify,
    /// Counts records that are finished: results go out in this order, whichever partitions they were made of.
    finished: AtomicU64,
    /// Told when a commit should not wait for its timer.
    commit_soon: Arc<Notify>,
    /// Records are finished on one side, transactions take what is finished on the other: so that a transaction has, of all
    /// partitions, what was finished before one moment. What was begun after something else was finished (the next record of
    /// a key, which waited on another topic) never counts without it.
    moment: RwLock<()>,
}

/// What was sent for one record, in one attempt.
pub(crate) struct Draft {
    outbox: Arc<Outbox>,
    /// `None` once nothing more is taken.
    results: Mutex<Option<Results>>,
}

/// What was made of a record, and what is to be done when it is committed.
#[derive(Default)]
pub(crate) struct Results {
    /// When the record was finished, among others.
    pub(super) at: u64,
    pub(crate) records: Vec<RawRecord>,
    pub(crate) on_commit: Vec<OnCommit>,
    bytes: usize,
}

/// The drafts of one life of a partition, and the results of what is finished.
#[derive(Default)]
pub(super) struct Drafts {
    open: BTreeMap<i64, Arc<Draft>>,
    ready: Vec<Results>,
}

impl Outbox {
    pub(super) fn new(most_bytes: usize, most_record_bytes: usize, commit_soon: Arc<Notify>) -> Arc<Self> {
        let (ready, room, finished) = (AtomicUsize::new(0), Notify::new(), AtomicU64::new(0));
        Arc::new(Self { most_bytes, most_record_bytes, ready, room, finished, commit_soon, moment: RwLock::new(()) })
    }

    /// While it is held no transaction takes what is finished.
    pub(super) fn finishing(&self) -> RwLockReadGuard<'_, ()> {
        self.moment.read()
    }

    /// Takes what is finished at one moment.
    pub(super) fn at_one_moment<T>(&self, take: impl FnOnce() -> T) -> T {
        let _moment = self.moment.write();
        take()
    }

    /// Results are ready for a transaction.
    fn add(&self, bytes: usize) {
        if bytes > 0 && self.ready.fetch_add(bytes, Ordering::SeqCst) + bytes >= self.most_bytes {
            self.commit_soon.notify_one();
        }
    }

    /// They were committed, or dropped.
    pub(super) fn remove(&self, bytes: usize) {
        if bytes > 0 {
            self.ready.fetch_sub(bytes, Ordering::SeqCst);
            self.room.notify_waiters();
        }
    }

    /// Waits until there is room. What is ready does not wait for what is being handled, so this ends.
    async fn room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.ready.load(Ordering::SeqCst) < self.most_bytes {
                return;
            }
            self.commit_soon.notify_one();
            room.await;
        }
    }
}

impl Draft {
    /// Adds a record, waiting for room if need be.
    ///
    /// # Errors
    /// When it is too large, or nothing more is taken for the record that it was made of.
    pub(crate) async fn send(&self, record: RawRecord) -> Result<(), (Error, RawRecord)> {
        let bytes = record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len);
        let bytes = bytes + record.headers.bytes();
        if bytes > self.outbox.most_record_bytes {
            let most = self.outbox.most_record_bytes;
            let text = format!("a record of {bytes} bytes; `message.max.bytes={most}` of the transactional producer");
            return Err((Error::new(ErrorKind::TooLarge, text), record));
        }
        self.outbox.room().await;
        match &mut *self.results.lock() {
            Some(results) => {
                results.bytes += bytes + RECORD_BYTES;
                results.records.push(record);
                Ok(())
            }
            None => Err((over(), record)),
        }
    }

    /// Calls `then` once the transaction is committed.
    ///
    /// # Errors
    /// When nothing more is taken for the record.
    pub(crate) fn on_commit(&self, then: OnCommit) -> Result<(), Error> {
        match &mut *self.results.lock() {
            Some(results) => {
                results.on_commit.push(then);
                Ok(())
            }
            None => Err(over()),
        }
    }

    fn close(&self) -> Results {
        self.results.lock().take().unwrap_or_default()
    }
}

/// What a record takes beside its bytes, about.
const RECORD_BYTES: usize = 150;

fn over() -> Error {
    let text = "the record is finished, or will be handled again: nothing more can be sent for this attempt";
    Error::new(ErrorKind::Closed, text)
}

impl Results {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drafts {
    /// The draft of a record that is being handled.
    pub(super) fn of(&mut self, offset: i64, outbox: &Arc<Outbox>) -> Arc<Draft> {
        let new = || Arc::new(Draft { outbox: outbox.clone(), results: Mutex::new(Some(Results::default())) });
        self.open.entry(offset).or_insert_with(new).clone()
    }

    /// The draft of a record for which nothing more is taken.
    pub(super) fn over(outbox: &Arc<Outbox>) -> Arc<Draft> {
        Arc::new(Draft { outbox: outbox.clone(), results: Mutex::new(None) })
    }

    /// The record is finished: what was sent for it is ready.
    pub(super) fn finish(&mut self, offset: i64, outbox: &Outbox) {
        if let Some(draft) = self.open.remove(&offset) {
            let mut results = draft.close();
            results.at = outbox.finished.fetch_add(1, Ordering::SeqCst);
            outbox.add(results.bytes);
            self.ready.push(results);
        }
    }

    /// What was sent for the record does not count.
    pub(super) fn undo(&mut self, offset: i64) {
        if let Some(draft) = self.open.remove(&offset) {
            draft.close();
        }
    }

    /// What is ready, for a transaction.
    pub(super) fn take(&mut self) -> Vec<Results> {
        mem::take(&mut self.ready)
    }

    /// The life is over: nothing more is taken, and what is ready is dropped.
    pub(super) fn end(&mut self, outbox: &Outbox) {
        for draft in mem::take(&mut self.open).into_values() {
            draft.close();
        }
        outbox.remove(self.take().iter().map(Results::bytes).sum());
    }
}
