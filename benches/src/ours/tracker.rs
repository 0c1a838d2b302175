//! What a record costs in a consumer's account of what is finished; and in the set of what is not, from which one would
//! otherwise take the lowest.

use std::collections::BTreeSet;
use std::hint::black_box;

use kafka_client::internals::{Begun, Tracker};

use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;

/// Records that a lane takes at once.
const BATCH: i64 = 500;

/// Records in flight when they finish at random.
const WINDOW: usize = 10_000;

pub(crate) fn in_order(load: &Load) -> Outcome<Sample> {
    batches_in_order::<Tracker>(load)
}

pub(crate) fn tree_in_order(load: &Load) -> Outcome<Sample> {
    batches_in_order::<Tree>(load)
}

pub(crate) fn at_random(load: &Load) -> Outcome<Sample> {
    windows_at_random::<Tracker>(load)
}

pub(crate) fn tree_at_random(load: &Load) -> Outcome<Sample> {
    windows_at_random::<Tree>(load)
}

trait Account: Default {
    fn begin(&mut self, offset: i64) -> bool;
    fn finish(&mut self, offset: i64) -> Option<i64>;
}

impl Account for Tracker {
    #[inline]
    fn begin(&mut self, offset: i64) -> bool {
        self.begin(offset) == Begun::New
    }

    #[inline]
    fn finish(&mut self, offset: i64) -> Option<i64> {
        self.finish(offset)
    }
}

/// The unfinished records, and one past the last that was begun.
#[derive(Default)]
struct Tree {
    unfinished: BTreeSet<i64>,
    next: i64,
}

impl Account for Tree {
    #[inline]
    fn begin(&mut self, offset: i64) -> bool {
        self.next = offset + 1;
        self.unfinished.insert(offset)
    }

    #[inline]
    fn finish(&mut self, offset: i64) -> Option<i64> {
        let was_lowest = self.unfinished.first() == Some(&offset);
        self.unfinished.remove(&offset);
        was_lowest.then(|| self.unfinished.first().copied().unwrap_or(self.next))
    }
}

fn batches_in_order<A: Account>(load: &Load) -> Outcome<Sample> {
    let end = load.messages as i64;
    let mut account = A::default();
    let mut watermark = None;
    let window = Window::open();
    for start in (0..end).step_by(BATCH as usize) {
        let batch = start..end.min(start + BATCH);
        for offset in batch.clone() {
            begin(&mut account, offset)?;
        }
        for offset in batch {
            watermark = account.finish(black_box(offset)).or(watermark);
        }
    }
    finished(watermark, end, window)
}

fn windows_at_random<A: Account>(load: &Load) -> Outcome<Sample> {
    let end = load.messages as i64;
    let mut order: Vec<i64> = (0..end).collect();
    order.chunks_mut(WINDOW).for_each(shuffle);
    let mut account = A::default();
    let mut watermark = None;
    let window = Window::open();
    for (start, finishes) in (0..end).step_by(WINDOW).zip(order.chunks(WINDOW)) {
        for offset in start..start + finishes.len() as i64 {
            begin(&mut account, offset)?;
        }
        for offset in finishes {
            watermark = account.finish(*offset).or(watermark);
        }
    }
    finished(watermark, end, window)
}

#[inline]
fn begin(account: &mut impl Account, offset: i64) -> Outcome<()> {
    if account.begin(black_box(offset)) { Ok(()) } else { Err("a record was not taken".into()) }
}

fn finished(watermark: Option<i64>, end: i64, window: Window) -> Outcome<Sample> {
    let used = window.close();
    match watermark == Some(end) {
        true => Ok(Sample::nanoseconds(end as u64, used)),
        false => Err(format!("the watermark is {watermark:?}, not {end}").into()),
    }
}

/// The same order for both sides in every round.
fn shuffle(offsets: &mut [i64]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for end in (1..offsets.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        offsets.swap(end, (state % (end as u64 + 1)) as usize);
    }
}
