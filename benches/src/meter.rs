//! What a stretch of work used: wall time, CPU time of this process, allocations made by Rust code.

#![allow(unsafe_code, reason = "counting allocations means being the global allocator, which is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

#[cfg(feature = "jemalloc")]
mod chosen {
    pub(super) use tikv_jemallocator::Jemalloc as Allocator;
    pub(super) const ALLOCATOR: Allocator = Allocator;
    pub(super) const NAME: &str = "jemalloc";
}
#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
mod chosen {
    pub(super) use mimalloc::MiMalloc as Allocator;
    pub(super) const ALLOCATOR: Allocator = Allocator;
    pub(super) const NAME: &str = "mimalloc";
}
#[cfg(not(any(feature = "jemalloc", feature = "mimalloc")))]
mod chosen {
    pub(super) use std::alloc::System as Allocator;
    pub(super) const ALLOCATOR: Allocator = Allocator;
    pub(super) const NAME: &str = "system";
}

/// The name of the allocator that Rust and librdkafka's C code share in this binary.
pub(crate) const ALLOCATOR_NAME: &str = chosen::NAME;

#[global_allocator]
static COUNTING: Counting = Counting(chosen::ALLOCATOR);

/// Counts only what Rust code asks for: C code calls `malloc` and does not pass here.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes that Rust code holds, as it asked for them.
static LIVE: AtomicI64 = AtomicI64::new(0);

/// How many bytes Rust code holds on all threads, without what the allocator adds.
pub(crate) fn live_bytes() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

/// Bytes that Rust code asks for while [`bytes_asked`] watches; a branch at other times, so that nobody pays for it.
static ASKED: AtomicU64 = AtomicU64::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// How many bytes `work` asks the allocator for in all, whether it gives them back or not; of a vector that grows, what it
/// grows by.
pub(crate) fn bytes_asked<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = ASKED.load(Ordering::Relaxed);
    WATCHED.store(true, Ordering::Relaxed);
    let done = work();
    WATCHED.store(false, Ordering::Relaxed);
    (done, ASKED.load(Ordering::Relaxed) - before)
}

fn ask(bytes: usize) {
    if WATCHED.load(Ordering::Relaxed) {
        ASKED.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

struct Counting(chosen::Allocator);

// SAFETY: every call is handed to the chosen allocator unchanged, so its guarantees are ours; counting neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        ask(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        ask(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(new_size as i64 - layout.size() as i64, Ordering::Relaxed);
        ask(new_size.saturating_sub(layout.size()));
        // SAFETY: the caller keeps the contract of `realloc`; the block came from the same allocator.
        unsafe { self.0.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`; the block came from the same allocator.
        unsafe { self.0.dealloc(pointer, layout) }
    }
}

/// A stretch of work that is being measured.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    opened: Instant,
    cpu: Duration,
    allocations: u64,
}

/// What the work in a [`Window`] used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    /// User and system time of all threads of this process; the broker is another process and is not in it.
    pub(crate) cpu: Duration,
    /// Allocations and reallocations asked for by Rust code on any thread.
    pub(crate) allocations: u64,
}

impl Window {
    pub(crate) fn open() -> Self {
        Self { cpu: process_cpu(), allocations: ALLOCATIONS.load(Ordering::Relaxed), opened: Instant::now() }
    }

    pub(crate) fn close(self) -> Used {
        Used {
            wall: self.opened.elapsed(),
            cpu: process_cpu().saturating_sub(self.cpu),
            allocations: ALLOCATIONS.load(Ordering::Relaxed) - self.allocations,
        }
    }
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_that_are_asked_for_are_counted_though_they_are_given_back() {
        let asked = [
            bytes_asked(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(1_000_000)))).1,
            bytes_asked(|| drop(std::hint::black_box(vec![0_u8; 1_000_000]))).1,
            bytes_asked(|| std::hint::black_box(Vec::<u8>::new()).reserve_exact(1_000_000)).1,
        ];
        assert!(asked.iter().all(|asked| *asked >= 1_000_000), "{asked:?}");
        // Tests beside this one may allocate meanwhile, but not that much.
        assert!(bytes_asked(|| ()).1 < 1_000_000);
    }
}
