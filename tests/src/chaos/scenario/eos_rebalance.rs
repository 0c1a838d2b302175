//! Copied exactly once, though copiers come and go while others commit.

use std::time::Duration;

use super::Scenario;
use super::eos_copy::of_copiers;
use crate::chaos::dice::Dice;
use crate::chaos::judge;
use crate::chaos::kind::copy::{CAREFUL, EXACTLY_ONCE, NO_OFFSETS, NO_REWIND};
use crate::chaos::plan::{Event, Plan, Steps, kill};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "eos-rebalance",
    about: "copiers come and go, and are killed, while others commit: the copy has every record once, in the order of its key",
    nodes: 1,
    workers: &[EXACTLY_ONCE, NO_REWIND, NO_OFFSETS, CAREFUL],
    plan,
    judge: judge::exactly_once,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(1));
    let mut members = 1;
    for _ in 0..events {
        let after = dice.millis(200..1_500);
        if dice.number(0..4) == 0 {
            steps.then(after, kill(dice));
        } else {
            // To another number each time, and soon: some of it falls into the rebalance before.
            members = 1 + (members + dice.number(0..2)) % 3;
            steps.then(after, Event::Scale(members));
        }
    }
    // A run counts when a transaction was hit.
    let dies = dice.millis(300..1_000);
    steps.then(dies, kill(dice));
    of_copiers(dice, steps)
}
