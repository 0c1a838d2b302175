//! Dead letters go back exactly once, though copies of the job are killed in the middle of it.

use std::time::Duration;

use super::Scenario;
use crate::chaos::dice::Dice;
use crate::chaos::feed::Sort;
use crate::chaos::judge::{self, OUTPUT};
use crate::chaos::kind::redrive::{REDRIVE, RESENDS, group};
use crate::chaos::order::Order;
use crate::chaos::plan::{Event, Plan, Steps, kill};
use crate::chaos::protocol::Protocol;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "redrive-kill",
    about: "two copies of a redrive are started at once and killed again and again: every dead letter goes back once, in the order \
            of its key",
    nodes: 1,
    workers: &[REDRIVE, RESENDS],
    plan,
    judge: judge::redriven,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(2));
    let dies = dice.millis(500..3_000);
    steps.then(dies, kill(dice));
    steps.some(
        events,
        dice,
        &[
            (6, kill),
            (2, |dice| Event::Scale(dice.number(1..4))),
            (1, |_| Event::Cut),
            (1, |dice| Event::Delay { by: dice.millis(1..30), lasts: dice.millis(500..2_000) }),
        ],
    );
    Plan {
        protocol: dice.in_turn(&Protocol::ALL),
        session: Duration::from_secs(3),
        partitions: 4,
        topics: &[OUTPUT],
        keys: 50,
        records: Sort::DeadLetters,
        group,
        order: Order::default(),
        steps: steps.done(),
    }
}
