//! Handled at least once: whatever happens to members and broker, nothing is lost, keys keep their order, and a kill repeats
//! no more than `max_duplicate_exposure` allows.

use std::time::Duration;

use super::Scenario;
use crate::chaos::dice::Dice;
use crate::chaos::feed::Sort;
use crate::chaos::judge;
use crate::chaos::kind::handler::{BY_KEY, COMMITS_WHAT_IS_POLLED, NO_BOUND};
use crate::chaos::order::Order;
use crate::chaos::plan::{Event, Plan, Steps, any_group, kill, suspend};
use crate::chaos::protocol::Protocol;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "at-least-once",
    about: "consumers are killed, suspended, scaled and cut off, their broker restarted: nothing lost, order per key kept, \
            duplicates within the stated exposure",
    nodes: 1,
    workers: &[BY_KEY, COMMITS_WHAT_IS_POLLED, NO_BOUND],
    plan,
    judge: |evidence| judge::at_least_once(evidence, EXPOSURE),
};

/// What a kill may repeat.
const EXPOSURE: usize = 100;
const SESSION: Duration = Duration::from_secs(3);

fn plan(dice: &mut Dice, events: usize) -> Plan {
    let mut steps = Steps::default();
    steps.then(Duration::ZERO, Event::Scale(1));
    let grows = dice.millis(1_000..2_000);
    steps.then(grows, Event::Scale(3));
    steps.some(
        events.saturating_sub(2),
        dice,
        &[
            (4, kill),
            // Past the session: it comes back to a group that has given its partitions away.
            (3, |dice| suspend(dice, 3_500..5_000)),
            // Within it: nothing of it shows but the time.
            (1, |dice| suspend(dice, 100..1_500)),
            (3, |dice| Event::Scale(dice.number(1..4))),
            (1, |dice| Event::KillBroker { whom: 0, away: dice.millis(0..1_000) }),
            (1, |_| Event::Cut),
            (1, |dice| Event::Unreachable { whom: 0, away: dice.millis(100..2_000) }),
            (1, |dice| Event::Delay { by: dice.millis(1..50), lasts: dice.millis(500..3_000) }),
        ],
    );
    // The one event that a seed must have: without it the bound means nothing.
    let dies = dice.millis(500..1_500);
    steps.then(dies, kill(dice));
    let shrinks = dice.millis(500..1_500);
    steps.then(shrinks, Event::Scale(2));
    let protocol = dice.in_turn(&Protocol::ALL);
    let order = Order::default().with("exposure", EXPOSURE);
    Plan {
        protocol,
        session: SESSION,
        partitions: 6,
        topics: &[],
        keys: 100,
        records: Sort::Numbered,
        group: any_group,
        order,
        steps: steps.done(),
    }
}
