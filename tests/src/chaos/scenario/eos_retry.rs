//! Records fail, wait and become dead letters, exactly once.

use std::time::Duration;

use super::Scenario;
use crate::chaos::dice::Dice;
use crate::chaos::feed::Sort;
use crate::chaos::judge;
use crate::chaos::kind::recover::{DEAD, IN_TRANSACTIONS, NO_TRANSACTIONS, RETRY};
use crate::chaos::order::Order;
use crate::chaos::plan::{Event, Plan, Steps, any_group, kill, suspend};
use crate::chaos::protocol::Protocol;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "eos-retry",
    about: "records fail, wait on a retry topic and become dead letters, while consumers are killed, suspended and scaled: \
            outputs and dead letters are there once, in the order of their keys",
    nodes: 1,
    workers: &[IN_TRANSACTIONS, NO_TRANSACTIONS],
    plan,
    judge: judge::exactly_once_retries,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(1));
    let grows = dice.millis(1_000..2_000);
    steps.then(grows, Event::Scale(2));
    steps.some(
        events,
        dice,
        &[
            (6, kill),
            (2, |dice| Event::Scale(dice.number(1..4))),
            // Past the session: others have its partitions when it goes on.
            (2, |dice| suspend(dice, 3_500..5_000)),
            (1, |_| Event::Cut),
            (1, |dice| Event::Delay { by: dice.millis(1..30), lasts: dice.millis(500..2_000) }),
        ],
    );
    let dies = dice.millis(500..1_500);
    steps.then(dies, kill(dice));
    let shrinks = dice.millis(500..1_500);
    steps.then(shrinks, Event::Scale(2));
    Plan {
        protocol: dice.in_turn(&Protocol::TOGETHER),
        session: Duration::from_secs(3),
        partitions: 6,
        topics: &[judge::OUTPUT, DEAD, RETRY],
        keys: 100,
        records: Sort::Numbered,
        group: any_group,
        order: Order::default(),
        steps: steps.done(),
    }
}
