//! A bar that tells how far a long work is: on the standard error, and only where that is a terminal.

use std::io::{Write, stderr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often it is drawn.
const EACH: Duration = Duration::from_millis(200);
/// Work that takes no longer shows no bar.
const PATIENCE: Duration = Duration::from_millis(400);
const CELLS: u64 = 20;
/// Clears what is left of a line.
const REST: &str = "\x1b[K";

/// Drawn over itself, and wiped away at the end.
pub(super) struct Bar {
    begun: Instant,
    drawn: Mutex<Option<Instant>>,
}

impl Bar {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), drawn: Mutex::new(None) }
    }

    /// Tells that `done` of `of` are; `note` is added where there is room for it.
    pub(super) fn at(&self, done: u64, of: u64, note: &str) {
        let elapsed = self.begun.elapsed();
        let mut drawn = self.drawn.lock();
        if elapsed < PATIENCE || drawn.is_some_and(|at| at.elapsed() < EACH) {
            return;
        }
        *drawn = Some(Instant::now());
        let width = terminal_size::terminal_size_of(stderr()).map_or(80, |(width, _)| usize::from(width.0));
        let _ = write!(stderr(), "\r{}{REST}", line(done, of, elapsed, note, width));
    }

    /// Wipes it away.
    pub(super) fn end(&self) {
        if self.drawn.lock().take().is_some() {
            let _ = write!(stderr(), "\r{REST}");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
}

/// The bar as a line of less than `width` columns: a full one would be drawn on the next line, too.
fn line(done: u64, of: u64, elapsed: Duration, note: &str, width: usize) -> String {
    let filled = done.min(of) * CELLS / of.max(1);
    let bar: String = (0..CELLS).map(|at| if at < filled { '#' } else { '.' }).collect();
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let left = match done {
        0 => "?".to_owned(),
        _ => time(of.saturating_sub(done) as f64 / rate),
    };
    let line = format!("[{bar}] {done}/{of} {rate:.0}/s, {left} left{note}");
    line.chars().take(width.saturating_sub(1)).collect()
}

/// `42 s`, `3 min 20 s`, `2 h 5 min`
fn time(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_how_far_how_fast_and_how_long_and_fits() {
        let half = line(500, 1_000, Duration::from_secs(5), ", 400 sent", 80);
        assert_eq!(half, "[##########..........] 500/1000 100/s, 5 s left, 400 sent");
        assert!(line(0, 10, Duration::ZERO, "", 80).ends_with("0/10 0/s, ? left"));
        // More than there were when it began, and a narrow terminal.
        let late = line(u64::MAX / 100, 10, Duration::from_secs(1), &"x".repeat(200), 40);
        assert_eq!(late.chars().count(), 39);
        assert_eq!(line(1, 2, Duration::from_secs(1), "", 0), "");
    }

    #[test]
    fn long_times_are_told_in_larger_units() {
        assert_eq!([time(59.0), time(61.0), time(7_500.0)], ["59 s", "1 min 1 s", "2 h 5 min"]);
    }
}
