//! What a registry handle counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Counters of a [`Registry`](crate::Registry) since it was made; its clones count together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistryStats {
    /// Schemas that were known when asked for.
    pub hits: u64,
    /// Schemas that had to be fetched, or waited for while somebody else fetched them.
    pub misses: u64,
    /// Times a "latest" older than its lifetime was used because the registry did not give a newer answer.
    pub stale_served: u64,
    /// Failures that were answered from memory, without asking the registry again.
    pub failures_served: u64,
    /// Requests that were answered or failed, not counting retries.
    pub requests: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Requests that got no answer, or a refusal.
    pub failed: u64,
    /// The time requests took together, with their retries.
    pub latency_total: Duration,
    /// The longest time one request took, with its retries.
    pub latency_max: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: Spread,
    pub(crate) misses: AtomicU64,
    pub(crate) stale_served: AtomicU64,
    pub(crate) failures_served: AtomicU64,
    requests: AtomicU64,
    failed: AtomicU64,
    latency_total_us: AtomicU64,
    latency_max_us: AtomicU64,
}

impl Counters {
    pub(crate) fn request(&self, took: Duration, ok: bool) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Relaxed);
        self.failed.fetch_add(u64::from(!ok), Relaxed);
        self.latency_total_us.fetch_add(us, Relaxed);
        self.latency_max_us.fetch_max(us, Relaxed);
    }

    pub(crate) fn read(&self, retries: u64) -> RegistryStats {
        RegistryStats {
            hits: self.hits.sum(),
            misses: self.misses.load(Relaxed),
            stale_served: self.stale_served.load(Relaxed),
            failures_served: self.failures_served.load(Relaxed),
            requests: self.requests.load(Relaxed),
            retries,
            failed: self.failed.load(Relaxed),
            latency_total: Duration::from_micros(self.latency_total_us.load(Relaxed)),
            latency_max: Duration::from_micros(self.latency_max_us.load(Relaxed)),
        }
    }
}

const LANES: usize = 16;

/// A counter on the warm path: each thread has a lane, so that threads do not fight for one cache line.
#[derive(Debug, Default)]
pub(crate) struct Spread([Lane; LANES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(AtomicU64);

impl Spread {
    pub(crate) fn add(&self) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static LANE: usize = NEXT.fetch_add(1, Relaxed) % LANES);
        // A thread that is ending has no lane any more.
        let lane = LANE.try_with(|lane| *lane).unwrap_or(0);
        self.0[lane].0.fetch_add(1, Relaxed);
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|lane| lane.0.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_are_counted() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1_000).for_each(|_| counters.hits.add()));
            }
        });
        assert_eq!(counters.read(0).hits, 20_000);
    }

    #[test]
    fn the_longest_request_is_kept() {
        let counters = Counters::default();
        counters.request(Duration::from_millis(3), true);
        counters.request(Duration::from_millis(1), false);
        let read = counters.read(7);
        assert_eq!((read.requests, read.failed, read.retries), (2, 1, 7));
        assert_eq!((read.latency_total, read.latency_max), (Duration::from_millis(4), Duration::from_millis(3)));
    }
}
