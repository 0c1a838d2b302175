//! What a lane and the control task share about one life of a partition.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::at_risk::Floor;
use super::control::Key;
use super::exposure::Exposure;
use super::outbox::{Draft, Drafts, Outbox, Results};
use super::running::Running;
use super::suspects::{Mark, Suspects};
use super::tracker::{Begun, Tracker};
use crate::native::Signal;

/// A partition's present life with this member. A later life has its own; whatever an earlier one still does counts for
/// nothing. (The broker does not check who owns a partition: a late commit would move its offset back.)
pub(super) struct LaneState {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) running: Running,
    exposure: Arc<Exposure>,
    /// Told when a commit should not wait for its timer.
    commit_soon: Arc<Notify>,
    /// After how many finished records that is.
    commit_every: u64,
    stopping: AtomicBool,
    stopped: Notify,
    /// Whether the partition has gone before what was read of it could be finished.
    lost: AtomicBool,
    paused: AtomicBool,
    /// Whether the lane waits until something is finished.
    starved: AtomicBool,
    /// Told when the lane should look around: to stop, to pause or go on, to cancel a handler.
    bell: Notify,
    /// What wakes the lane while it waits for records.
    signal: Mutex<Option<Arc<Signal>>>,
    account: Mutex<Account>,
    /// Records that may end the process, where handlers say so.
    suspects: Mutex<Suspects>,
    /// Told when a commit was confirmed, to those who wait for what it says of suspects.
    told: Notify,
    floor: Floor,
    at_most_once: bool,
    /// Where results go, exactly once.
    outbox: Option<Arc<Outbox>>,
    /// Handlers to cancel, by offset.
    cancelled: Mutex<Vec<i64>>,
    /// Records and bytes that were taken from the queue and are not finished.
    pub(super) held: Held,
    /// Records of a stream that somebody holds.
    open: AtomicUsize,
    settled: Notify,
}

/// What all lives of a consumer have in common.
pub(super) struct Shared {
    pub(super) exposure: Arc<Exposure>,
    pub(super) commit_soon: Arc<Notify>,
    pub(super) commit_every: u64,
    pub(super) at_most_once: bool,
    pub(super) outbox: Option<Arc<Outbox>>,
    /// Where a suspect is alone.
    pub(super) floor: Floor,
}

/// What became of a record that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is to be handed out.
    New,
    /// An earlier life has finished it.
    Finished,
    /// It cannot be taken before something is finished.
    NotYet,
}

/// Gauges.
#[derive(Debug, Default)]
pub(super) struct Held {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

/// What was begun and finished.
struct Account {
    tracker: Tracker,
    /// Exactly once: what handlers have sent.
    drafts: Drafts,
    /// The first offset that was taken.
    first: Option<i64>,
    /// What follows the last record that was taken.
    next: Option<i64>,
    /// Records that count as exposed, or did: handed out, or about to be.
    exposed: u64,
    begun: u64,
    handled: u64,
    failed: u64,
    /// How many finished records a confirmed commit covers.
    covered: u64,
    /// How many were finished when a commit was asked for.
    asked: u64,
    /// At most once: a record counts as finished for the log when it is handed out.
    at_most_once: bool,
    /// Whether exposure is counted still: not after the life has ended.
    counts: bool,
}

impl Account {
    fn finished(&self) -> u64 {
        self.handled + self.failed
    }

    fn totals(&self) -> Totals {
        let unfinished = self.begun.saturating_sub(self.finished());
        Totals { handled: self.handled, failed: self.failed, unfinished }
    }
}

/// What a commit would say about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommitPoint {
    pub(super) offset: i64,
    /// What is finished beyond the offset.
    pub(super) map: Option<String>,
    /// Which records may end the process.
    pub(super) mark: Option<Mark>,
    /// How many records are finished with it.
    pub(super) finished: u64,
}

impl CommitPoint {
    /// An offset, and nothing else to tell.
    pub(super) fn at(offset: i64) -> Self {
        Self { offset, map: None, mark: None, finished: 0 }
    }

    /// The text that goes with the offset.
    pub(super) fn metadata(&self) -> Option<String> {
        let mut text = self.map.clone().unwrap_or_default();
        if let Some(mark) = &self.mark {
            mark.encode(self.offset, &mut text);
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Records at the end of a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) handled: u64,
    /// Undecodable ones that their handler has handled.
    pub(super) failed: u64,
    /// Handed out and not finished.
    pub(super) unfinished: u64,
}

impl LaneState {
    pub(super) fn new(key: &Key, tracker: Tracker, suspects: Suspects, width: usize, shared: &Shared) -> Self {
        let (topic, partition) = key.clone();
        let account = Account {
            tracker,
            drafts: Drafts::default(),
            first: None,
            next: None,
            exposed: 0,
            begun: 0,
            handled: 0,
            failed: 0,
            covered: 0,
            asked: 0,
            at_most_once: shared.at_most_once,
            counts: true,
        };
        Self {
            topic,
            partition,
            running: Running::new(width),
            exposure: shared.exposure.clone(),
            commit_soon: shared.commit_soon.clone(),
            commit_every: shared.commit_every,
            stopping: AtomicBool::new(false),
            stopped: Notify::new(),
            lost: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            starved: AtomicBool::new(false),
            bell: Notify::new(),
            signal: Mutex::default(),
            account: Mutex::new(account),
            suspects: Mutex::new(suspects),
            told: Notify::new(),
            floor: shared.floor.clone(),
            at_most_once: shared.at_most_once,
            outbox: shared.outbox.clone(),
            cancelled: Mutex::default(),
            held: Held::default(),
            open: AtomicUsize::new(0),
            settled: Notify::new(),
        }
    }

    /// Tells the lane to take no more records.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ring();
        self.stopped.notify_waiters();
    }

    /// The life has ended before what was read could be finished, and committed: what was sent for it does not count.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
        if let Some(outbox) = &self.outbox {
            self.account.lock().drafts.end(outbox);
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Lets the lane begin no more records for now, or go on.
    pub(super) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
        self.ring();
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Whether no record may be begun now.
    pub(super) fn is_held_up(&self) -> bool {
        self.is_stopping() || self.is_paused()
    }

    /// Asks the lane to cancel the handler of a record.
    pub(super) fn cancel(&self, offset: i64) {
        self.cancelled.lock().push(offset);
        self.ring();
    }

    pub(super) fn take_cancelled(&self) -> Vec<i64> {
        mem::take(&mut self.cancelled.lock())
    }

    /// The lane looks around, now or when it would wait the next time.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
        // A lane that begins to listen after this looks around after it has had the lock.
        if let Some(signal) = &*self.signal.lock() {
            signal.wake();
        }
    }

    /// Waits until the lane is to look around. For the lane only.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The lane waits for records with this.
    pub(super) fn listen(&self, signal: Option<Arc<Signal>>) {
        *self.signal.lock() = signal;
    }

    /// Waits until the lane is to stop.
    pub(super) async fn until_stopping(&self) {
        let stopped = self.stopped.notified();
        tokio::pin!(stopped);
        stopped.as_mut().enable();
        if !self.is_stopping() {
            stopped.await;
        }
    }

    /// Records from this offset on will be handed out: without any finished, it is the offset to go on at.
    pub(super) fn expect(&self, first: i64) {
        self.account.lock().first.get_or_insert(first);
    }

    /// A record is taken from the partition.
    pub(super) fn take(&self, offset: i64) -> Taken {
        let mut account = self.account.lock();
        account.first.get_or_insert(offset);
        let begun = match account.tracker.begin(offset) {
            // Kafka has gone back: the partition was cut short or made anew, and `start_from` said where to go on. To
            // ignore what comes would be to lose it.
            Begun::Old if account.tracker.unfinished() == 0 => {
                tracing::warn!(topic = %self.topic, partition = self.partition, offset, "the partition goes on before where it was");
                account.tracker = Tracker::new();
                account.tracker.begin(offset)
            }
            begun => begun,
        };
        if begun != Begun::Full && begun != Begun::Old {
            account.next = Some(offset + 1);
        }
        match begun {
            Begun::New => Taken::New,
            Begun::Finished => Taken::Finished,
            Begun::Full | Begun::Old => Taken::NotYet,
        }
    }

    /// The lane is about to wait until something is finished, whoever finishes it. To be said before the last look.
    pub(super) fn wait_for_finished(&self, waits: bool) {
        self.starved.store(waits, Ordering::SeqCst);
    }

    /// Wakes a lane that waits until something is finished.
    #[inline]
    fn relieve(&self) {
        if self.starved.load(Ordering::SeqCst) && self.starved.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// Everything before `next` was taken: what is missing does not exist.
    pub(super) fn taken_to(&self, next: i64) {
        let mut account = self.account.lock();
        if account.next.is_none_or(|now| now < next) {
            account.next = Some(next);
            account.tracker.position(next);
        }
    }

    /// Everything before this was taken, or is finished.
    pub(super) fn frontier(&self) -> i64 {
        self.account.lock().tracker.frontier()
    }

    /// How many of the records that are ready may be taken, so that what is finished beyond the lowest unfinished one can
    /// always be told in a commit.
    pub(super) fn has_room_for(&self, records: usize) -> bool {
        let account = self.account.lock();
        account.at_most_once || account.tracker.leaves_room_for(records, account.next.unwrap_or(0) + records as i64)
    }

    /// Whether records may be handed out under the bound on exposure, which counts them then.
    pub(super) fn may_start(&self, records: usize) -> bool {
        let added = self.exposure.try_add(records);
        if added {
            self.account.lock().exposed += records as u64;
        } else {
            self.commit_soon.notify_one();
        }
        added
    }

    /// Records that might have been started were not.
    pub(super) fn not_started(&self, records: usize) {
        let mut account = self.account.lock();
        account.exposed -= records as u64;
        if account.counts {
            self.exposure.remove(records);
        }
    }

    /// Waits until so many records may be handed out.
    pub(super) async fn has_exposure_room(&self, records: usize) {
        self.exposure.room(records).await;
    }

    /// A record that was taken is handed to user code.
    pub(super) fn start(&self, offset: i64) {
        let mut account = self.account.lock();
        account.begun += 1;
        if account.at_most_once {
            account.tracker.finish(offset);
        }
    }

    /// Records that were handed out wait again.
    pub(super) fn take_back(&self, records: usize) {
        self.account.lock().begun -= records as u64;
        self.not_started(records);
    }

    pub(super) fn finish(&self, offset: i64) {
        let _finishing = self.outbox.as_ref().map(|outbox| outbox.finishing());
        let mut account = self.account.lock();
        account.handled += 1;
        self.finished(account, offset);
    }

    /// Of a record that could not be decoded.
    pub(super) fn finish_failed(&self, offset: i64) {
        let _finishing = self.outbox.as_ref().map(|outbox| outbox.finishing());
        let mut account = self.account.lock();
        account.failed += 1;
        self.finished(account, offset);
    }

    #[inline]
    fn finished(&self, mut account: MutexGuard<'_, Account>, offset: i64) {
        if account.at_most_once {
            return;
        }
        account.tracker.finish(offset);
        if let Some(outbox) = &self.outbox {
            // Where the life is over it was closed, and there is nothing.
            account.drafts.finish(offset, outbox);
        }
        let commits = account.finished() - account.asked >= self.commit_every;
        if commits {
            account.asked = account.finished();
        }
        drop(account);
        if commits {
            self.commit_soon.notify_one();
        }
        self.relieve();
    }

    /// Records that are told apart by nobody are handed out together: those up to `last`.
    pub(super) fn start_all(&self, last: i64, count: u64) {
        // Nothing is ever unfinished beside it, so it is never refused.
        let _ = self.take(last);
        let mut account = self.account.lock();
        account.begun += count;
        if account.at_most_once {
            account.tracker.finish(last);
        }
    }

    /// They are finished together.
    pub(super) fn finish_all(&self, last: i64, count: u64) {
        let mut account = self.account.lock();
        account.handled += count;
        self.finished(account, last);
    }

    /// A record will not be finished: nothing from it on can be committed in this life of the partition.
    pub(super) fn give_up(&self, offset: i64) {
        let mut account = self.account.lock();
        account.tracker.give_up(offset);
        account.drafts.undo(offset);
    }

    /// Exactly once: where a record that is being handled puts its results; closed where it is not.
    pub(super) fn draft(&self, offset: i64) -> Option<Arc<Draft>> {
        let outbox = self.outbox.as_ref()?;
        let mut account = self.account.lock();
        let draft = match !self.is_lost() && account.tracker.is_unfinished(offset) {
            true => account.drafts.of(offset, outbox),
            false => Drafts::over(outbox),
        };
        Some(draft)
    }

    /// Whether results go into transactions.
    pub(super) fn is_transactional(&self) -> bool {
        self.outbox.is_some()
    }

    /// What was sent for a record that is being handled does not count.
    pub(super) fn undo(&self, offset: i64) {
        if self.outbox.is_some() {
            self.account.lock().drafts.undo(offset);
        }
    }

    /// Exactly once: what may be committed, with the results that were made of it. `None` where there is nothing new.
    pub(super) fn take_finished(&self, before: Option<&CommitPoint>) -> Option<(CommitPoint, Vec<Results>)> {
        let mut account = self.account.lock();
        if self.is_lost() {
            return None;
        }
        let point = self.point(&account).filter(|point| before != Some(point))?;
        Some((point, account.drafts.take()))
    }

    /// What may be committed; `None` where nothing is finished.
    pub(super) fn commit_point(&self) -> Option<CommitPoint> {
        self.point(&self.account.lock())
    }

    fn point(&self, account: &Account) -> Option<CommitPoint> {
        let mut suspects = self.suspects.lock();
        let tracker = &account.tracker;
        let offset = tracker.watermark().or_else(|| suspects.must_tell().then(|| tracker.standing()))?;
        let mut text = String::new();
        let map = tracker.encode_map(&mut text).then_some(text);
        let mark = suspects.mark(offset, self.is_stopping());
        Some(CommitPoint { offset, map, mark, finished: account.finished() })
    }

    /// The offset that would be committed, or that from which on nothing was handed out.
    pub(super) fn reached(&self) -> Option<i64> {
        let account = self.account.lock();
        account.tracker.watermark().or(account.first)
    }

    /// The first offset that was taken in this life.
    pub(super) fn began(&self) -> Option<i64> {
        self.account.lock().first
    }

    /// At most once, more is committed than was handed out: the offset from which on nothing was.
    pub(super) fn not_handed_out(&self) -> Option<CommitPoint> {
        let account = self.account.lock();
        let offset = account.tracker.watermark().or(account.first)?;
        Some(CommitPoint { finished: account.finished(), ..CommitPoint::at(offset) })
    }

    /// The account of records that may end the process.
    pub(super) fn suspects(&self) -> &Mutex<Suspects> {
        &self.suspects
    }

    /// Waits until a commit is confirmed.
    pub(super) fn told(&self) -> Notified<'_> {
        self.told.notified()
    }

    pub(super) fn floor(&self) -> &Floor {
        &self.floor
    }

    pub(super) fn is_at_most_once(&self) -> bool {
        self.at_most_once
    }

    /// A commit should not wait for its timer.
    pub(super) fn commit_soon(&self) {
        self.commit_soon.notify_one();
    }

    /// A commit was confirmed.
    pub(super) fn confirmed(&self, point: &CommitPoint) {
        self.suspects.lock().confirmed(point.mark.as_ref());
        self.told.notify_waiters();
        self.covered(point.finished);
    }

    /// A commit that covers so many finished records was confirmed.
    fn covered(&self, finished: u64) {
        let mut account = self.account.lock();
        let newly = finished.saturating_sub(account.covered);
        account.covered += newly;
        account.asked = account.asked.max(finished);
        if account.counts {
            self.exposure.remove(newly as usize);
        }
    }

    /// How many records a kill would repeat.
    pub(super) fn exposed(&self) -> u64 {
        let account = self.account.lock();
        account.exposed - account.covered
    }

    /// The life has ended: its records count no longer as exposed. They are another member's, or begin anew.
    pub(super) fn end(&self) -> Totals {
        let mut account = self.account.lock();
        if mem::take(&mut account.counts) {
            self.exposure.remove((account.exposed - account.covered) as usize);
        }
        account.totals()
    }

    /// What was done so far.
    pub(super) fn totals(&self) -> Totals {
        self.account.lock().totals()
    }

    /// The offset of the record that is taken next.
    pub(super) fn position(&self) -> Option<i64> {
        self.account.lock().next
    }

    /// Waits until nobody holds a record of a stream any more. The lane is stopping, so no more are handed out.
    pub(super) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.open.load(Ordering::SeqCst) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// A record of a stream is about to be handed out. `false` once the lane is stopping: then it must not be.
    pub(super) fn open_one(&self) -> bool {
        // In this order, as `settled` looks in the other: either it sees the record, or this sees that it is too late.
        self.open.fetch_add(1, Ordering::SeqCst);
        let goes_on = !self.is_stopping();
        if !goes_on {
            self.close_one();
        }
        goes_on
    }

    /// A record of a stream is acknowledged, or was dropped.
    pub(super) fn close_one(&self) {
        if self.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.settled.notify_waiters();
        }
        self.relieve();
    }
}

impl Held {
    pub(super) fn add(&self, records: usize, bytes: usize) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, records: usize, bytes: usize) {
        self.records.fetch_sub(records, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn records(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}
