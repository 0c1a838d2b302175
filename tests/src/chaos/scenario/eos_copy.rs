//! Copied exactly once, though the copiers are killed in the middle of their transactions.

use std::time::Duration;

use super::Scenario;
use crate::chaos::dice::Dice;
use crate::chaos::feed::Sort;
use crate::chaos::judge;
use crate::chaos::kind::copy::{CAREFUL, EXACTLY_ONCE, NO_OFFSETS, NO_REWIND};
use crate::chaos::order::Order;
use crate::chaos::plan::{Event, Plan, Steps, any_group, kill};
use crate::chaos::protocol::Protocol;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "eos-copy",
    about: "copiers are killed in the middle of transactions: the copy has every record once, in the order of its key",
    nodes: 1,
    workers: &[EXACTLY_ONCE, NO_OFFSETS, NO_REWIND, CAREFUL],
    plan,
    judge: judge::exactly_once,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(1));
    steps.then(Duration::from_secs(1), Event::Scale(2));
    steps.some(
        events,
        dice,
        &[
            (6, kill),
            (1, |_| Event::Cut),
            (1, |dice| Event::Delay { by: dice.millis(1..30), lasts: dice.millis(500..2_000) }),
        ],
    );
    let dies = dice.millis(500..1_500);
    steps.then(dies, kill(dice));
    of_copiers(dice, steps)
}

/// A plan for copiers; a tenth of their transactions fail by themselves.
pub(super) fn of_copiers(dice: &Dice, steps: Steps) -> Plan {
    let protocol = dice.in_turn(&Protocol::ALL);
    let lanes = dice.in_turn(&[1, 2]);
    let order = Order::default().with("transaction_timeout", 5_000).with("fails", 10).with("lanes", lanes);
    Plan {
        protocol,
        session: Duration::from_secs(3),
        partitions: 4,
        topics: &[judge::OUTPUT],
        keys: 50,
        records: Sort::Numbered,
        group: any_group,
        order,
        steps: steps.done(),
    }
}
