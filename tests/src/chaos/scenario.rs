//! The scenarios, each a file: what the members are, what happens to them, who judges.

mod at_least_once;
mod eos_brokers;
mod eos_copy;
mod eos_rebalance;
mod eos_zombie;

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
];

impl Scenario {
    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|one| one.name == name)
    }
}
