//! Keys keep their order, though records fail, wait on a retry topic and become dead letters, and whoever knows what waits dies.

use std::time::Duration;

use super::Scenario;
use crate::chaos::dice::Dice;
use crate::chaos::feed::Sort;
use crate::chaos::judge;
use crate::chaos::kind::recover::{DEAD, KEEPS_ORDER, RETRY, UNORDERED};
use crate::chaos::order::Order;
use crate::chaos::plan::{Event, Plan, Steps, any_group, kill, suspend};
use crate::chaos::protocol::Protocol;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "retry-order",
    about: "records fail, wait on a retry topic and become dead letters, while consumers are killed, suspended and scaled: of \
            each key they are handled for the first time in their order",
    nodes: 1,
    workers: &[KEEPS_ORDER, UNORDERED],
    plan,
    judge: judge::retry_order,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(1));
    let grows = dice.millis(1_000..2_000);
    steps.then(grows, Event::Scale(3));
    steps.some(
        events,
        dice,
        &[
            (5, kill),
            (2, |dice| Event::Scale(dice.number(1..4))),
            // Past the session: it goes on with what it holds, and another one has it too.
            (2, |dice| suspend(dice, 3_500..5_000)),
            (1, |dice| Event::KillBroker { whom: 0, away: dice.millis(0..1_000) }),
            (1, |_| Event::Cut),
            (1, |dice| Event::Delay { by: dice.millis(1..50), lasts: dice.millis(500..3_000) }),
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
        topics: &[DEAD, RETRY],
        keys: 100,
        records: Sort::Numbered,
        group: any_group,
        order: Order::default(),
        steps: steps.done(),
    }
}
