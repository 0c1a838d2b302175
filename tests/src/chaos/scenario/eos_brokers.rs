//! Copied exactly once, though brokers die, stand still and come back.

use std::time::Duration;

use super::Scenario;
use super::eos_copy::of_copiers;
use crate::chaos::dice::Dice;
use crate::chaos::judge;
use crate::chaos::kind::copy::{CAREFUL, EXACTLY_ONCE, NO_OFFSETS, NO_REWIND};
use crate::chaos::plan::{Event, Plan, Steps, kill};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "eos-brokers",
    about: "one of three brokers is killed, stopped or cut off, leaders move and move back: the copy has every record once, in \
            the order of its key",
    nodes: 3,
    workers: &[EXACTLY_ONCE, NO_OFFSETS, NO_REWIND, CAREFUL],
    plan,
    judge: judge::exactly_once,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(2));
    let dies = dice.millis(1_000..2_000);
    // In the middle of transactions, so that the run counts.
    steps.then(dies, Event::KillBroker { whom: dice.number(0..3), away: dice.millis(0..4_000) });
    steps.some(
        events.saturating_sub(1),
        dice,
        &[
            (3, |dice| Event::KillBroker { whom: dice.number(0..3), away: dice.millis(0..4_000) }),
            (2, |dice| Event::SuspendBroker { whom: dice.number(0..3), away: dice.millis(500..5_000) }),
            (1, |dice| Event::Unreachable { whom: dice.number(0..3), away: dice.millis(500..3_000) }),
            (1, |_| Event::Cut),
            (2, kill),
        ],
    );
    let dies = dice.millis(500..1_500);
    steps.then(dies, kill(dice));
    // Nothing fails of its own accord: whatever was undone, the brokers' trouble has undone.
    let plan = of_copiers(dice, steps);
    Plan { order: plan.order.with("fails", u32::MAX), ..plan }
}
