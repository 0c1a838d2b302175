//! The tracker against an account that keeps every record and looks at all of them each time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Unfinished,
    GivenUp,
    Finished,
}

#[derive(Default)]
struct Model {
    begun: BTreeMap<i64, State>,
    frontier: i64,
    /// Offsets that an earlier life has finished, those without a record included.
    earlier: BTreeSet<i64>,
    positioned: bool,
}

impl Model {
    fn unfinished(&self) -> impl Iterator<Item = i64> {
        self.begun.iter().filter(|(_, state)| **state != State::Finished).map(|(offset, _)| *offset)
    }

    fn lowest(&self) -> i64 {
        let behind = || (self.frontier..).find(|offset| !self.earlier.contains(offset)).unwrap();
        self.unfinished().next().unwrap_or_else(behind)
    }

    fn finished(&self) -> usize {
        self.begun.len() - self.unfinished().count()
    }

    fn watermark(&self) -> Option<i64> {
        (self.positioned || self.finished() > 0).then(|| self.lowest())
    }

    fn finished_beyond(&self) -> usize {
        self.begun.range(self.lowest()..).filter(|(_, state)| **state == State::Finished).count()
    }

    /// All finished offsets beyond the watermark; none where none of them has a record.
    fn offsets_beyond(&self) -> BTreeSet<i64> {
        let lowest = self.lowest();
        if self.finished_beyond() == 0 && self.earlier.range(self.frontier..).next().is_none() {
            return BTreeSet::new();
        }
        let passed = lowest..self.frontier;
        let later = self.earlier.range(self.frontier.max(lowest)..).copied();
        passed.filter(|offset| !self.unfinished().any(|unfinished| unfinished == *offset)).chain(later).collect()
    }

    fn begin(&mut self, offset: i64) -> Begun {
        let finished = self.earlier.contains(&offset);
        self.begun.insert(offset, if finished { State::Finished } else { State::Unfinished });
        self.frontier = offset + 1;
        if finished { Begun::Finished } else { Begun::New }
    }

    fn finish(&mut self, offset: i64) -> Option<i64> {
        let before = self.lowest();
        match self.begun.get_mut(&offset) {
            Some(state) if *state == State::Unfinished => *state = State::Finished,
            _ => return None,
        }
        (self.lowest() != before).then(|| self.lowest())
    }
}

/// What is held against the model.
trait Account {
    fn resumed(committed: i64, map: &str) -> Self;
    fn begin(&mut self, offset: i64) -> Begun;
    fn finish(&mut self, offset: i64) -> Option<i64>;
    fn watermark(&self) -> Option<i64>;
    fn map(&self) -> String;
    /// What only the real one can.
    fn agrees(&self, _: &Model) -> Result<(), TestCaseError> {
        Ok(())
    }
    fn give_up(&mut self, offset: i64);
    fn position(&mut self, next: i64) -> Option<i64>;
}

impl Account for Tracker {
    fn resumed(committed: i64, map: &str) -> Self {
        Tracker::resume(committed, OffsetMap::decode(map, committed).unwrap().unwrap_or_default())
    }

    fn begin(&mut self, offset: i64) -> Begun {
        self.begin(offset)
    }

    fn finish(&mut self, offset: i64) -> Option<i64> {
        self.finish(offset)
    }

    fn watermark(&self) -> Option<i64> {
        self.watermark()
    }

    fn map(&self) -> String {
        let mut text = String::new();
        assert_eq!(self.encode_map(&mut text), !text.is_empty());
        text
    }

    fn agrees(&self, model: &Model) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.unfinished(), model.unfinished().count());
        prop_assert_eq!(self.oldest_unfinished(), model.unfinished().next());
        prop_assert_eq!(self.finished(), model.finished() as u64);
        prop_assert_eq!(self.finished_beyond(), model.finished_beyond());
        Ok(())
    }

    fn give_up(&mut self, offset: i64) {
        self.give_up(offset);
    }

    fn position(&mut self, next: i64) -> Option<i64> {
        self.position(next)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    /// One of those that are begun and not finished.
    Finish(prop::sample::Index),
    FinishAny(i64),
    GiveUp(prop::sample::Index),
    Position(i64),
    Commit,
    /// Goes on from the last commit; some records have been compacted away.
    Restart(u8),
}

fn scripts() -> impl Strategy<Value = (Vec<i64>, Vec<Step>)> {
    let gap = prop_oneof![12 => Just(1i64), 2 => 2..5i64, 1 => 60..200i64];
    let step = prop_oneof![
        10 => (1..20usize).prop_map(Step::Begin),
        40 => any::<prop::sample::Index>().prop_map(Step::Finish),
        2 => (0..1_000i64).prop_map(Step::FinishAny),
        1 => any::<prop::sample::Index>().prop_map(Step::GiveUp),
        2 => (1..10i64).prop_map(Step::Position),
        3 => Just(Step::Commit),
        2 => (0..4u8).prop_map(Step::Restart),
    ];
    (prop::collection::vec(gap, 300), prop::collection::vec(step, 0..200)).prop_map(|(gaps, steps)| {
        let log = gaps.into_iter().scan(0, |at, gap| {
            *at += gap;
            Some(*at)
        });
        (log.collect(), steps)
    })
}

fn follows_the_model<A: Account>(mut log: Vec<i64>, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut account, mut model) = (A::resumed(0, ""), Model::default());
    let mut committed = (0, String::new(), BTreeSet::new());
    for step in steps {
        match step {
            Step::Begin(count) => {
                let from = log.partition_point(|offset| *offset < model.frontier);
                for offset in log[from..].iter().take(count) {
                    prop_assert_eq!(account.begin(*offset), model.begin(*offset));
                    prop_assert_eq!(account.watermark(), model.watermark());
                }
            }
            Step::Finish(which) => {
                let unfinished: Vec<i64> = model.unfinished().collect();
                if !unfinished.is_empty() {
                    let offset = *which.get(&unfinished);
                    prop_assert_eq!(account.finish(offset), model.finish(offset));
                }
            }
            Step::FinishAny(offset) => prop_assert_eq!(account.finish(offset), model.finish(offset)),
            Step::GiveUp(which) => {
                if !model.begun.is_empty() {
                    let offset = *model.begun.keys().nth(which.index(model.begun.len())).unwrap();
                    account.give_up(offset);
                    let state = model.begun.get_mut(&offset).unwrap();
                    *state = if *state == State::Finished { State::Finished } else { State::GivenUp };
                }
            }
            Step::Position(further) => {
                let from = log.partition_point(|offset| *offset < model.frontier);
                let next = log.get(from).map_or(i64::MAX, |next| *next).min(model.frontier + further);
                let before = model.lowest();
                model.positioned |= next > model.frontier && model.unfinished().next().is_none();
                model.frontier = next;
                let moved = (model.lowest() != before).then(|| model.lowest());
                prop_assert_eq!(account.position(next), moved);
            }
            Step::Commit => {
                if let Some(watermark) = account.watermark() {
                    committed = (watermark, account.map(), model.offsets_beyond());
                }
            }
            Step::Restart(compacted) => {
                let (offset, map, finished) = committed.clone();
                account = A::resumed(offset, &map);
                model = Model { frontier: offset, earlier: finished, ..Model::default() };
                log.retain(|at| *at < offset || at % 7 >= i64::from(compacted));
            }
        }
        prop_assert_eq!(account.watermark(), model.watermark());
        account.agrees(&model)?;
    }
    Ok(())
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::with_cases(256) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_tracker_is_the_model_through_finishes_gaps_restarts_and_compaction((log, steps) in scripts()) {
        follows_the_model::<Tracker>(log, steps)?;
    }
}

/// Commits the highest finished offset, as code does that has not met a slow record.
struct Highest(Option<i64>);

impl Account for Highest {
    fn resumed(_: i64, _: &str) -> Self {
        Self(None)
    }

    fn begin(&mut self, _: i64) -> Begun {
        Begun::New
    }

    fn finish(&mut self, offset: i64) -> Option<i64> {
        let before = self.0;
        self.0 = before.max(Some(offset + 1));
        self.0.filter(|_| self.0 != before)
    }

    fn watermark(&self) -> Option<i64> {
        self.0
    }

    fn map(&self) -> String {
        String::new()
    }

    fn give_up(&mut self, _: i64) {}

    fn position(&mut self, _: i64) -> Option<i64> {
        None
    }
}

/// A tracker that forgets its map when it restarts.
struct Forgetful(Tracker);

impl Account for Forgetful {
    fn resumed(committed: i64, _: &str) -> Self {
        Self(Tracker::resume(committed, OffsetMap::new()))
    }

    fn begin(&mut self, offset: i64) -> Begun {
        self.0.begin(offset)
    }

    fn finish(&mut self, offset: i64) -> Option<i64> {
        self.0.finish(offset)
    }

    fn watermark(&self) -> Option<i64> {
        self.0.watermark()
    }

    fn map(&self) -> String {
        String::new()
    }

    fn give_up(&mut self, offset: i64) {
        self.0.give_up(offset);
    }

    fn position(&mut self, next: i64) -> Option<i64> {
        self.0.position(next)
    }
}

#[test]
fn naive_accounts_do_not_pass_for_the_model() {
    let fails = |result| matches!(result, Err(TestError::Fail(..)));
    let simple = scripts().prop_map(|(log, steps)| {
        let plain = |step: &Step| matches!(step, Step::Begin(_) | Step::Finish(_));
        (log, steps.into_iter().filter(plain).collect::<Vec<_>>())
    });
    let mut runner = TestRunner::new(config());
    assert!(fails(runner.run(&simple, |(log, steps)| follows_the_model::<Highest>(log, steps)).map_err(erased)));
    assert!(fails(runner.run(&scripts(), |(log, steps)| follows_the_model::<Forgetful>(log, steps)).map_err(erased)));
}

fn erased<T>(error: TestError<T>) -> TestError<()> {
    match error {
        TestError::Fail(reason, _) => TestError::Fail(reason, ()),
        TestError::Abort(reason) => TestError::Abort(reason),
    }
}
