//! The scenarios, each a file: what the members are, what happens to them, who judges.

mod at_least_once;
mod crash_loop;
mod dlq_nothing_lost;
mod eos_brokers;
mod eos_copy;
mod eos_rebalance;
mod eos_retry;
mod eos_zombie;
mod outage;
mod redrive_kill;
mod retry_order;

use super::dice::Dice;
use super::evidence::Evidence;
use super::judge::Findings;
use super::kind::Kind;
use super::plan::Plan;

/// A promise, and what is done to break it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Brokers of the cluster: 1 or 3.
    pub nodes: usize,
    /// What the members may be. The first is the one that makes the promise; each of the others is naive in one way, and the
    /// judge must find fault with it. `--naive` runs the second.
    pub workers: &'static [Kind],
    /// What a seed decides: with so many events, beside those that start and end it.
    pub plan: fn(&mut Dice, usize) -> Plan,
    /// Who judges.
    pub judge: fn(&Evidence<'_>) -> Findings,
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    at_least_once::SCENARIO,
    eos_copy::SCENARIO,
    eos_rebalance::SCENARIO,
    eos_brokers::SCENARIO,
    eos_zombie::SCENARIO,
    retry_order::SCENARIO,
    dlq_nothing_lost::SCENARIO,
    outage::SCENARIO,
    eos_retry::SCENARIO,
    redrive_kill::SCENARIO,
    crash_loop::SCENARIO,
];

impl Scenario {
    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|one| one.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chaos::plan::Event;

    #[test]
    fn a_seed_plans_the_same_again_and_the_next_one_something_else() {
        for scenario in SCENARIOS {
            let plan = |seed| format!("{:?}", (scenario.plan)(&mut Dice::of(scenario.name, seed), 5));
            assert_eq!(plan(7), plan(7), "{}", scenario.name);
            assert_ne!(plan(7), plan(8), "{}", scenario.name);
        }
    }

    #[test]
    fn a_plan_is_in_order_of_time_and_has_as_many_events_as_it_was_asked_for() {
        for scenario in SCENARIOS {
            for seed in 1..=50 {
                let few = (scenario.plan)(&mut Dice::of(scenario.name, seed), 3).steps;
                let many = (scenario.plan)(&mut Dice::of(scenario.name, seed), 9).steps;
                assert_eq!(many.len() - few.len(), 6, "{} {seed}", scenario.name);
                assert!(many.is_sorted_by_key(|step| step.at), "{} {seed}: {many:?}", scenario.name);
                // It starts with somebody there.
                assert!(matches!(many[0].event, Event::Scale(1..)), "{} {seed}: {many:?}", scenario.name);
            }
        }
    }

    #[test]
    fn each_scenario_has_a_name_and_a_naive_worker_of_its_own_and_kinds_have_one_name() {
        let names: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        assert!(SCENARIOS.iter().all(|scenario| scenario.workers.len() > 1));
        let mut kinds: Vec<_> =
            SCENARIOS.iter().flat_map(|one| one.workers).map(|kind| (kind.name, kind.about)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert!(kinds.windows(2).all(|two| two[0].0 != two[1].0), "{kinds:?}");
    }
}
