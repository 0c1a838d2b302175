//! How many records a kill would repeat, and the bound on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// Counts records that were handed to a handler and are not covered by a commit that Kafka has confirmed, over all
/// partitions of a consumer.
#[derive(Debug)]
pub(super) struct Exposure {
    now: AtomicUsize,
    /// A permit for each record that may still be handed out; `None`: as many as one likes.
    room: Option<Semaphore>,
}

impl Exposure {
    pub(super) fn new(most: Option<usize>) -> Arc<Self> {
        Arc::new(Self { now: AtomicUsize::new(0), room: most.map(Semaphore::new) })
    }

    /// How many there are.
    pub(super) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// Adds records, if the bound allows it.
    pub(super) fn try_add(&self, records: usize) -> bool {
        if let Some(room) = &self.room {
            let Ok(permits) = room.try_acquire_many(u32::try_from(records).unwrap_or(u32::MAX)) else {
                return false;
            };
            permits.forget();
        }
        self.now.fetch_add(records, Ordering::Relaxed);
        true
    }

    /// Waits until so many records may be added; fair among partitions.
    ///
    /// Cancel safe: nothing is added.
    pub(super) async fn room(&self, records: usize) {
        if let Some(room) = &self.room {
            // Given back at once, for whoever waited to take.
            drop(room.acquire_many(u32::try_from(records).unwrap_or(u32::MAX)).await);
        }
    }

    /// Takes records out: they are committed, or belong to another member now.
    pub(super) fn remove(&self, records: usize) {
        self.now.fetch_sub(records, Ordering::Relaxed);
        if let Some(room) = &self.room {
            room.add_permits(records);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn without_a_bound_it_only_counts() {
        let exposure = Exposure::new(None);
        assert!(exposure.try_add(1_000_000));
        assert_eq!(exposure.now(), 1_000_000);
        exposure.remove(1_000_000);
        assert_eq!(exposure.now(), 0);
    }

    #[test]
    fn no_more_than_the_bound_are_out_at_once() {
        let exposure = Exposure::new(Some(4));
        assert!(exposure.try_add(3) && !exposure.try_add(2) && exposure.try_add(1));
        assert!(exposure.room(1).now_or_never().is_none());
        exposure.remove(1);
        assert!(exposure.room(1).now_or_never().is_some() && exposure.try_add(1));
        assert_eq!(exposure.now(), 4);
    }
}
