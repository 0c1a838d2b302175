//! What handlers depend on is down for a while: no record is blamed for it.

use std::time::Duration;

use super::Scenario;
use crate::chaos::dice::Dice;
use crate::chaos::feed::Sort;
use crate::chaos::judge;
use crate::chaos::kind::recover::{BREAKER, DEAD, NO_BREAKER, RETRY};
use crate::chaos::order::Order;
use crate::chaos::plan::{Event, Plan, Steps, any_group, kill};
use crate::chaos::protocol::Protocol;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "outage",
    about: "what the handlers depend on is down for a while, and consumers are killed meanwhile: no dead letters, no attempts \
            lost, and everything goes on within 2 s",
    nodes: 1,
    workers: &[BREAKER, NO_BREAKER],
    plan,
    judge: judge::outage,
};

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(2));
    // One that nothing else disturbs: until all goes on it takes no longer than promised.
    let lasts = dice.millis(1_500..3_000);
    steps.then(Duration::from_secs(7), Event::Outage { lasts });
    // And one in the middle of which somebody dies.
    steps.then(lasts + Duration::from_secs(4), Event::Outage { lasts: dice.millis(1_500..4_000) });
    let dies = dice.millis(200..1_000);
    steps.then(dies, kill(dice));
    steps.some(
        events,
        dice,
        &[
            (3, |dice| Event::Outage { lasts: dice.millis(1_000..4_000) }),
            (3, kill),
            (1, |dice| Event::Scale(dice.number(1..4))),
        ],
    );
    Plan {
        protocol: dice.in_turn(&Protocol::ALL),
        session: Duration::from_secs(2),
        partitions: 6,
        topics: &[DEAD, RETRY],
        keys: 100,
        records: Sort::Numbered,
        group: any_group,
        order: Order::default(),
        steps: steps.done(),
    }
}
