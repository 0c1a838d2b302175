//! Copied exactly once, though copiers stand still until they are given up, and go on then as if nothing had happened.

use std::time::Duration;

use super::Scenario;
use super::eos_copy::of_copiers;
use crate::chaos::dice::Dice;
use crate::chaos::judge;
use crate::chaos::kind::copy::{CAREFUL, EXACTLY_ONCE, LATE_METADATA, NO_OFFSETS};
use crate::chaos::plan::{Event, Happening, Plan, Steps, kill, suspend};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "eos-zombie",
    about: "copiers are suspended past eviction, and past their transaction's timeout, and go on: the copy has every record \
            once, in the order of its key",
    nodes: 1,
    workers: &[EXACTLY_ONCE, LATE_METADATA, NO_OFFSETS, CAREFUL],
    plan,
    judge: judge::exactly_once,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(2));
    steps.then(Duration::from_secs(1), Event::Scale(3));
    for _ in 0..events {
        let after = dice.millis(500..2_000);
        // Past the session of 2 s, and past the transaction's timeout of 5 s too, or not.
        let event = dice.weighted::<Happening>(&[
            (2, |dice| suspend(dice, 2_500..3_200)),
            (2, |dice| suspend(dice, 6_000..8_000)),
            // Another process with its transactional id is there before it goes on.
            (1, |dice| Event::Suspend {
                whom: dice.number(0..6),
                late: dice.millis(0..100),
                away: dice.millis(2_000..6_000),
                replaced: true,
            }),
            (1, kill),
        ]);
        steps.then(after, event(dice));
    }
    let dies = dice.millis(500..1_500);
    steps.then(dies, kill(dice));
    Plan { session: Duration::from_secs(2), ..of_copiers(dice, steps) }
}
