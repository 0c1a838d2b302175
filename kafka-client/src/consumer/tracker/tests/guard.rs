//! The map never outgrows the metadata of a commit, whatever is taken and in whatever order it finishes.

use proptest::prelude::*;

use super::*;
use crate::consumer::offset_map::MAX_BYTES;

/// How far a record lies behind the one before it.
#[derive(Clone, Copy, Debug)]
enum Gaps {
    None,
    Few,
    UpTo(u64),
    /// By turns, a stretch each.
    Mixed,
}

/// Which of the unfinished records finishes next.
#[derive(Clone, Copy, Debug)]
enum Order {
    Random,
    NewestFirst,
    OldestFirst,
    /// All but each n-th, in some order: what is left is as scattered as it can be.
    LeaveEach(u64),
    /// At random, but none of the oldest hundred.
    StuckHundred,
}

#[derive(Debug)]
struct History {
    gaps: Gaps,
    order: Order,
    /// How many records are taken before some finish, and how many of those do.
    intake: usize,
    finishes: usize,
    rounds: usize,
    seed: u64,
}

fn histories() -> impl Strategy<Value = History> {
    let gaps = prop_oneof![Just(Gaps::None), Just(Gaps::Few), (10..1u64 << 40).prop_map(Gaps::UpTo), Just(Gaps::Mixed)];
    let order = prop_oneof![
        Just(Order::Random),
        Just(Order::NewestFirst),
        Just(Order::OldestFirst),
        (2..70u64).prop_map(Order::LeaveEach),
        Just(Order::StuckHundred),
    ];
    (gaps, order, 1..4_000usize, 1..4_000usize, 5..40usize, 1..u64::MAX).prop_map(
        |(gaps, order, intake, finishes, rounds, seed)| History { gaps, order, intake, finishes, rounds, seed },
    )
}

struct Run {
    tracker: Tracker,
    /// In no particular order.
    unfinished: Vec<i64>,
    next: i64,
    taken: u64,
    seed: u64,
    text: String,
    longest: usize,
    refused: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let tracker = Tracker::new();
        Self { tracker, unfinished: Vec::new(), next: 0, taken: 0, seed, text: String::new(), longest: 0, refused: 0 }
    }

    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    fn offset(&mut self, gaps: Gaps) -> i64 {
        let random = self.random();
        let gap = match gaps {
            Gaps::None => 0,
            Gaps::Few if !random.is_multiple_of(10) => 0,
            Gaps::Few => random % 7,
            Gaps::UpTo(most) => random % most,
            Gaps::Mixed => [0, random % 3, random % 500, random % (1 << 20)][(self.taken / 300 % 4) as usize],
        };
        self.next + gap as i64
    }

    /// Takes records while there is room for them. Where it was said that there is, all of them find it.
    fn take(&mut self, gaps: Gaps, count: usize) -> Result<(), TestCaseError> {
        let mut further = self.next;
        let offsets: Vec<i64> = (0..count)
            .map(|_| {
                (self.next, self.taken) = (self.offset(gaps) + 1, self.taken + 1);
                self.next - 1
            })
            .collect();
        for some in offsets.chunks(200) {
            let room =
                self.tracker.unfinished() > 0 && self.tracker.leaves_room_for(some.len(), some[some.len() - 1] + 1);
            for offset in some {
                match self.tracker.begin(*offset) {
                    Begun::New => self.unfinished.push(*offset),
                    Begun::Full => {
                        prop_assert!(!room, "there was to be room");
                        prop_assert!(self.tracker.unfinished() > 0);
                        self.refused += 1;
                        // It comes again, with what follows.
                        self.next = further;
                        return Ok(());
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                further = offset + 1;
            }
        }
        Ok(())
    }

    fn finish(&mut self, order: Order, count: usize) {
        match order {
            Order::NewestFirst => self.unfinished.sort_unstable(),
            Order::OldestFirst => self.unfinished.sort_unstable_by(|a, b| b.cmp(a)),
            Order::StuckHundred => self.unfinished.sort_unstable(),
            _ => (),
        }
        for _ in 0..count.min(self.unfinished.len()) {
            let random = self.random() as usize;
            let at = match order {
                Order::Random => random % self.unfinished.len(),
                Order::NewestFirst | Order::OldestFirst => self.unfinished.len() - 1,
                Order::StuckHundred if self.unfinished.len() <= 100 => return,
                Order::StuckHundred => 100 + random % (self.unfinished.len() - 100),
                Order::LeaveEach(each) => match random % self.unfinished.len() {
                    at if (self.unfinished[at] as u64).is_multiple_of(each) => continue,
                    at => at,
                },
            };
            let offset = self.unfinished.swap_remove(at);
            self.tracker.finish(offset);
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let encoded = self.tracker.encode_map(&mut self.text);
        prop_assert!(self.text.len() <= MAX_BYTES);
        prop_assert!(encoded || self.tracker.finished_beyond() == 0);
        self.longest = self.longest.max(self.text.len());
        Ok(())
    }

    /// Goes on in a next life, which is told what this one knows, and has room for its unfinished records. One in
    /// `compacted` of them is not there any more.
    fn restart(&mut self, compacted: u64) -> Result<(), TestCaseError> {
        let Some(committed) = self.tracker.watermark() else { return Ok(()) };
        let map = OffsetMap::decode(&self.text, committed).unwrap().unwrap_or_default();
        self.tracker = Tracker::resume(committed, map);
        self.unfinished.sort_unstable();
        for offset in std::mem::take(&mut self.unfinished) {
            if !self.random().is_multiple_of(compacted) {
                prop_assert_eq!(self.tracker.begin(offset), Begun::New);
                self.unfinished.push(offset);
            }
        }
        prop_assert_eq!(self.tracker.unfinished(), self.unfinished.len());
        Ok(())
    }

    fn history(&mut self, history: &History) -> Result<(), TestCaseError> {
        for _ in 0..history.rounds {
            self.take(history.gaps, history.intake)?;
            for _ in 0..4 {
                self.finish(history.order, history.finishes.div_ceil(4));
                self.check()?;
            }
            if self.random().is_multiple_of(5) {
                self.restart(100)?;
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn the_map_never_outgrows_the_metadata(history in histories()) {
        Run::new(history.seed).history(&history)?;
    }
}

/// Fills a tracker until it refuses, finishes most of it little by little, and so on.
fn filled(gaps: Gaps, order: Order) -> Run {
    let mut run = Run::new(77);
    for _ in 0..3 {
        run.take(gaps, 30_000).unwrap();
        run.check().unwrap();
        for _ in 0..60 {
            run.finish(order, run.unfinished.len() / 50 + 1);
            run.check().unwrap();
        }
    }
    run.restart(u64::MAX).unwrap();
    run
}

/// The guard is no stricter than it has to be: worst cases come close to the limit.
#[test]
fn the_room_there_is_gets_used() {
    for (gaps, order) in [
        (Gaps::None, Order::LeaveEach(8)),
        (Gaps::None, Order::LeaveEach(7)),
        (Gaps::UpTo(1_000), Order::Random),
        (Gaps::Mixed, Order::Random),
    ] {
        let run = filled(gaps, order);
        assert!(run.refused > 0 && run.longest > 3_350, "{gaps:?} {order:?}: {} bytes", run.longest);
    }
}

/// Key concurrency with thousands of records in flight, and some keys that are stuck.
#[test]
fn twenty_thousand_dense_records_and_a_thousand_sparse_ones_have_room() {
    let mut dense = begun([0]);
    assert!((2_000_000..2_019_500).all(|offset| dense.begin(offset) == Begun::New));
    assert!(dense.leaves_room_for(100, 2_019_600));
    assert!((2_019_500..2_020_000).all(|offset| dense.begin(offset) == Begun::New));
    assert!(!dense.leaves_room_for(5_000, 2_025_000));
    let mut sparse = begun([0]);
    assert!((1..1_001).all(|at| sparse.begin(at * 8_000) == Begun::New));
}

/// The naive code: takes what comes.
#[test]
fn without_the_guard_the_map_outgrows_the_metadata() {
    let mut tracker = Tracker::new();
    let taken = (0..30_000).filter(|offset| tracker.begin(*offset) == Begun::New).count();
    assert!(taken < 30_000);
    let mut map = OffsetMap::new();
    (0..15_000).for_each(|at| map.push(2 * at + 1..2 * at + 2));
    assert!(!map.encode(0, &mut String::new()));
}
