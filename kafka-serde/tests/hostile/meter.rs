//! What a thread asks of the allocator.

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The counters are the process's: whoever measures is alone.
static ALONE: Mutex<()> = Mutex::new(());

/// Keeps the other tests of this binary quiet as long as it lives.
pub(crate) struct Meter {
    _alone: MutexGuard<'static, ()>,
}

impl Meter {
    pub(crate) fn take() -> Self {
        Self { _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// How many bytes `work` asks for, all in all, whether it gives them back or not.
    ///
    /// The test harness's own threads allocate a little now and then; who finds too much asks again.
    pub(crate) fn bytes(&self, most: usize, mut work: impl FnMut()) -> usize {
        let mut once = || {
            let region = Region::new(ALLOCATOR);
            work();
            let change = region.change();
            // What a vector grows by is counted as bytes of its reallocation.
            change.bytes_allocated + usize::try_from(change.bytes_reallocated).unwrap_or(0)
        };
        let mut least = once();
        for _ in 0..20 {
            if least <= most {
                break;
            }
            least = least.min(once());
        }
        least
    }
}

#[test]
fn the_meter_counts_what_is_allocated() {
    let meter = Meter::take();
    assert!(meter.bytes(0, || drop(std::hint::black_box(vec![0_u8; 10_000]))) >= 10_000);
    assert_eq!(meter.bytes(0, || ()), 0);
}
