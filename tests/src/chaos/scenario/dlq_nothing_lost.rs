//! Produced = handled + dead-lettered + pending, bit for bit, though dead letters cannot be written for a while.

use std::time::Duration;

use super::Scenario;
use crate::chaos::dice::Dice;
use crate::chaos::feed::Sort;
use crate::chaos::judge;
use crate::chaos::kind::recover::{DEAD, RECOVERY, SENDS_AND_GOES_ON, WAITING};
use crate::chaos::order::Order;
use crate::chaos::plan::{Event, Plan, Steps, any_group, kill, suspend};
use crate::chaos::protocol::Protocol;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dlq-nothing-lost",
    about: "dead letters and retries cannot be written for a while, consumers are killed, suspended and scaled: every record is \
            handled, dead-lettered or waits, bit for bit",
    nodes: 1,
    workers: &[RECOVERY, SENDS_AND_GOES_ON],
    plan,
    judge: judge::nothing_lost,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(1));
    let grows = dice.millis(1_000..2_000);
    steps.then(grows, Event::Scale(3));
    // The one that a seed must have, with a kill in the middle of it.
    let soon = dice.millis(300..1_000);
    steps.then(soon, Event::Unwritable { role: DEAD.name, lasts: dice.millis(2_500..5_000) });
    let dies = dice.millis(500..2_000);
    steps.then(dies, kill(dice));
    steps.some(
        events,
        dice,
        &[
            (4, kill),
            (2, |dice| Event::Scale(dice.number(1..4))),
            (2, |dice| Event::Unwritable { role: DEAD.name, lasts: dice.millis(500..4_000) }),
            (2, |dice| Event::Unwritable { role: WAITING.name, lasts: dice.millis(500..4_000) }),
            (1, |dice| suspend(dice, 3_500..5_000)),
            (1, |dice| Event::KillBroker { whom: 0, away: dice.millis(0..1_000) }),
            (1, |_| Event::Cut),
        ],
    );
    let shrinks = dice.millis(500..1_500);
    steps.then(shrinks, Event::Scale(2));
    Plan {
        protocol: dice.in_turn(&Protocol::ALL),
        session: Duration::from_secs(3),
        partitions: 6,
        topics: &[DEAD, WAITING],
        keys: 100,
        records: Sort::Odd,
        group: any_group,
        order: Order::default(),
        steps: steps.done(),
    }
}
