//! What the two lanes of a partition share, that of the source and that of the retry topic: which keys are blocked.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use kafka_client::{Bell, GivenBack, RawReceived};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Order;
use super::hop::Hop;
use super::line::{Item, Line, NEVER};
use super::waiting::millis;
use crate::inspect::Steer;

/// How long it may take to read what waits, before that is told.
const LOADING: Duration = Duration::from_secs(30);

/// One partition of the retry topic, as both lanes see it.
pub(crate) struct Gate {
    pub(crate) line: Mutex<Line<RawReceived>>,
    /// Whether it is known what waits: looked at for each record of the source.
    loaded: AtomicBool,
    changed: Notify,
    bell: Mutex<Option<Bell>>,
    /// Attempts of records that wait again without having been written again, by their offset in the retry topic.
    attempts: Mutex<HashMap<i64, u32>>,
    /// What somebody wants done with records that wait, by their offset in the retry topic.
    orders: Mutex<HashMap<i64, Steer>>,
}

/// A key, with the topic that it belongs to; never 0. Two keys of one hash wait for each other, which costs time and no
/// order.
pub(crate) fn key_of(topic: &str, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, key).hash(&mut hasher);
    hasher.finish().max(1)
}

impl Gate {
    pub(crate) fn new(order: Order) -> Self {
        let line = Mutex::new(Line::new(order));
        Self {
            line,
            loaded: AtomicBool::new(false),
            changed: Notify::new(),
            bell: Mutex::default(),
            attempts: Mutex::default(),
            orders: Mutex::default(),
        }
    }

    /// A life of the retry topic's partition begins or ends.
    pub(crate) fn renew(&self, bell: Option<Bell>) {
        let mut line = self.line.lock();
        line.clear();
        self.loaded.store(false, Ordering::SeqCst);
        *self.bell.lock() = bell;
        self.attempts.lock().clear();
        self.orders.lock().clear();
    }

    pub(crate) fn load(&self) {
        self.line.lock().loaded();
        self.loaded.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Something was finished, or has arrived.
    pub(crate) fn changed(&self) {
        self.changed.notify_waiters();
    }

    pub(crate) fn ring(&self) {
        if let Some(bell) = &*self.bell.lock() {
            bell.ring();
        }
    }

    /// Waits until it is known what waits here.
    pub(crate) async fn loaded(&self, record: &RawReceived) -> Result<(), GivenBack> {
        match self.loaded.load(Ordering::SeqCst) {
            true => Ok(()),
            false => {
                let loaded = self.until(record, |gate| gate.loaded.load(Ordering::SeqCst));
                tokio::pin!(loaded);
                loop {
                    tokio::select! {
                        loaded = &mut loaded => return loaded,
                        () = tokio::time::sleep(LOADING) => tracing::warn!(
                            ?record,
                            "waiting to hear what waits on the retry topic: is the partition of this number there assigned \
                             to this member?"
                        ),
                    }
                }
            }
        }
    }

    /// Waits until no older record of this key is left: those that wait are finished unhandled, the one that is being
    /// handled comes to its end.
    pub(crate) async fn supersede(&self, record: &RawReceived, key: u64) -> Result<(), GivenBack> {
        let free = |gate: &Self| {
            let mut line = gate.line.lock();
            line.supersede(key, record.offset());
            !line.is_blocked(key)
        };
        if !self.line.lock().is_blocked(key) {
            return Ok(());
        }
        let freed = self.until(record, |gate| {
            let free = free(gate);
            gate.ring();
            free
        });
        freed.await
    }

    /// The attempts that were made with a record since it was written.
    pub(crate) fn attempts(&self, offset: i64) -> Option<u32> {
        self.attempts.lock().get(&offset).copied()
    }

    /// A record is finished.
    pub(crate) fn forget(&self, offset: i64) {
        self.attempts.lock().remove(&offset);
    }

    /// Does with a record that waits what somebody wants. `false` where it does not wait here.
    pub(crate) fn steer(&self, offset: i64, steer: Steer) -> bool {
        let due = if steer == Steer::Park { NEVER } else { 0 };
        let mut line = self.line.lock();
        if !line.set_due(offset, due) {
            return false;
        }
        // Under the lock, so that it is not handed out before.
        match steer {
            Steer::Skip | Steer::DeadLetter => self.orders.lock().insert(offset, steer),
            Steer::RetryNow | Steer::Park | Steer::Unpark => self.orders.lock().remove(&offset),
        };
        drop(line);
        self.ring();
        true
    }

    /// How long ago the record that was written first of those that wait has failed first.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let line = self.line.lock();
        let (oldest, _) = line.items().min_by_key(|(item, _)| item.offset)?;
        let failed = Hop::read(&oldest.record).and_then(|hop| hop.first_failure_ms);
        let since = failed.or_else(|| oldest.record.timestamp_ms())?;
        let age = millis(SystemTime::now()).saturating_sub(since);
        Some(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }

    /// What somebody wants done with a record that was handed out.
    pub(crate) fn take_order(&self, offset: i64) -> Option<Steer> {
        self.orders.lock().remove(&offset)
    }

    async fn until(&self, record: &RawReceived, done: impl Fn(&Self) -> bool) -> Result<(), GivenBack> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done(self) {
                return Ok(());
            }
            tokio::select! {
                () = changed => (),
                () = record.stopping() => return Err(GivenBack),
            }
        }
    }

    /// The record that is being handled waits again, until `due`.
    pub(crate) fn again(&self, record: RawReceived, key: u64, source: i64, due: i64, attempts: u32) {
        self.attempts.lock().insert(record.offset(), attempts);
        let (offset, bytes) = (record.offset(), size_of_record(&record));
        self.line.lock().again(Item { record, offset, key, source, due, bytes });
    }
}

/// A record of the source on its way to the retry topic: its key is blocked.
pub(crate) struct InTransit {
    gate: Arc<Gate>,
    key: u64,
    source: i64,
    written: bool,
}

impl InTransit {
    pub(crate) fn begin(gate: &Arc<Gate>, key: u64, source: i64) -> Self {
        gate.line.lock().sent(key, source);
        Self { gate: gate.clone(), key, source, written: false }
    }

    /// It is in the log, and will arrive.
    pub(crate) fn written(mut self) {
        self.written = true;
        self.gate.line.lock().written(self.key, self.source);
    }
}

impl Drop for InTransit {
    fn drop(&mut self) {
        if !self.written {
            // Nobody knows whether it is in the log; the source reads it again in any case.
            self.gate.line.lock().not_in_transit(self.key, self.source);
            self.gate.changed();
        }
    }
}

/// What a waiting record takes of memory, about.
pub(crate) fn size_of_record(record: &RawReceived) -> u32 {
    let headers: usize =
        record.headers().iter().map(|one| 8 + one.name_bytes().len() + one.value().map_or(0, <[u8]>::len)).sum();
    u32::try_from(record.size() + headers + 200).unwrap_or(u32::MAX)
}
