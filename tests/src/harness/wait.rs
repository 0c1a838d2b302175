//! Names that are nobody else's, and waiting for something to become true instead of sleeping.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long to pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Returns `name` with a suffix that no other call of any test run gets, for topics and groups.
///
/// A broker given by `KAFKA_BOOTSTRAP_SERVERS` outlives the process, so the suffix holds the time as well as the
/// process id.
pub fn unique(name: &str) -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("{name}-{millis:x}-{:x}-{call:x}", std::process::id())
}

/// Waits until `check` returns true, looking every 20 ms.
///
/// ```no_run
/// # use std::time::Duration;
/// # use tests::harness::eventually;
/// # async fn test(handled: impl Fn() -> usize) {
/// eventually("all ten records are handled", Duration::from_secs(10), async || handled() == 10).await;
/// # }
/// ```
///
/// # Panics
///
/// If that does not happen `within` the time, or a single check outlasts it; the message names `what`, and the
/// line of the test.
#[track_caller]
pub fn eventually(what: &str, within: Duration, mut check: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    // Not an async fn: that would lose the caller's line.
    let caller = Location::caller();
    async move {
        let checked = tokio::time::timeout(within, async {
            while !check().await {
                tokio::time::sleep(PAUSE).await;
            }
        });
        if checked.await.is_err() {
            too_late(what, within, caller);
        }
    }
}

/// Waits as [`eventually`] does, blocking the thread: for tests without a runtime.
///
/// # Panics
///
/// If `check` is not true `within` the time; the message names `what`.
#[track_caller]
pub fn eventually_blocking(what: &str, within: Duration, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        if start.elapsed() >= within {
            too_late(what, within, Location::caller());
        }
        std::thread::sleep(PAUSE);
    }
}

fn too_late(what: &str, within: Duration, caller: &Location<'_>) -> ! {
    panic!("not within {within:?}: {what} (awaited at {caller})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_names_differ_and_keep_their_stem() {
        let (one, other) = (unique("orders"), unique("orders"));
        assert_ne!(one, other);
        assert!(one.starts_with("orders-"), "{one}");
    }

    #[tokio::test(start_paused = true)]
    async fn eventually_looks_until_it_is_true() {
        let mut looks = 0;
        eventually("the tenth look", Duration::from_secs(1), async || {
            looks += 1;
            looks == 10
        })
        .await;
        assert_eq!(looks, 10);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 1s: pigs fly (awaited at tests/src/harness/wait.rs:")]
    async fn eventually_gives_up_with_the_line_that_waits() {
        eventually("pigs fly", Duration::from_secs(1), async || false).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 1s: an answer")]
    async fn a_check_that_never_ends_is_too_late_as_well() {
        eventually("an answer", Duration::from_secs(1), async || std::future::pending().await).await;
    }

    #[test]
    #[should_panic(expected = "not within 0ns: pigs fly (awaited at tests/src/harness/wait.rs:")]
    fn the_blocking_one_gives_up_too() {
        eventually_blocking("pigs fly", Duration::ZERO, || false);
    }
}
