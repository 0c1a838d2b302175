//! Records end the processes that handle them, and are put away before long.

use std::time::Duration;

use super::Scenario;
use crate::chaos::dice::Dice;
use crate::chaos::feed::Sort;
use crate::chaos::judge;
use crate::chaos::kind::recover::{DEAD, NO_QUARANTINE, QUARANTINE};
use crate::chaos::order::Order;
use crate::chaos::plan::{Event, Plan, Steps, any_group, kill};
use crate::chaos::protocol::Protocol;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "crash-loop",
    about: "two records abort the process that handles them, and consumers are killed besides: the two are dead letters after \
            three processes each, and nothing else is",
    nodes: 1,
    workers: &[QUARANTINE, NO_QUARANTINE],
    plan,
    judge: judge::crash_loop,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(2));
    steps.some(
        events,
        dice,
        &[
            (2, kill),
            (2, |dice| Event::Scale(dice.number(1..4))),
            (1, |_| Event::Cut),
            (1, |dice| Event::Delay { by: dice.millis(1..50), lasts: dice.millis(500..3_000) }),
        ],
    );
    let shrinks = dice.millis(500..1_500);
    steps.then(shrinks, Event::Scale(2));
    Plan {
        protocol: dice.in_turn(&Protocol::ALL),
        session: Duration::from_secs(2),
        partitions: 6,
        topics: &[DEAD],
        keys: 100,
        records: Sort::Numbered,
        group: any_group,
        order: Order::default(),
        steps: steps.done(),
    }
}
