//! Runs seeds of a scenario, one after the other, against one cluster.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::evidence::Evidence;
use super::feed::{Feed, Flow};
use super::kind::Kind;
use super::ledger::Ledger;
use super::order::Order;
use super::plan::Plan;
use super::process;
use super::report::{Ran, Report};
use super::scenario::{SCENARIOS, Scenario};
use super::stage::Stage;
use crate::harness::oracle::{self, Isolation};
use crate::harness::{Cluster, unique};

/// How long members may take to finish the input, when nothing happens to them any more.
const SETTLES: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// What a broker does sooner than it would by itself. Leaderships go back to where they were within a second or two.
const PROPERTIES: &[(&str, &str)] =
    &[("leader.imbalance.check.interval.seconds", "1"), ("leader.imbalance.per.broker.percentage", "0")];

/// How to run a scenario.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that knows [`worker`]s: this one, as a rule.
    pub program: PathBuf,
    /// Records of the input.
    pub records: usize,
    /// Events of the schedule, beside those that start and end it.
    pub events: usize,
    /// Which of the scenario's workers.
    pub worker: &'static Kind,
}

/// A cluster, to run seeds of a scenario against.
#[derive(Debug)]
pub struct Runner {
    scenario: &'static Scenario,
    options: Options,
    cluster: Cluster,
}

/// The names that a seed has for itself.
struct Names {
    input: String,
    output: String,
    group: String,
}

impl Runner {
    /// Starts the cluster.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(scenario: &'static Scenario, options: Options) -> Self {
        Self { scenario, options, cluster: Cluster::start_proxied(scenario.nodes, PROPERTIES) }
    }

    /// Runs a seed, and returns what the judge says.
    ///
    /// # Panics
    ///
    /// If the harness itself is at its end: a cluster that does not come back, an input that cannot be written.
    pub fn run(&self, seed: u64) -> Report {
        let start = Instant::now();
        let mut dice = Dice::of(self.scenario.name, seed);
        let plan = (self.scenario.plan)(&mut dice, self.options.events);
        let names = self.names(&plan);
        eprintln!("{} with {}, seed {seed}: {}", self.scenario.name, self.options.worker.name, plan.protocol.name());

        let ledger = Ledger::new();
        let flow = Flow {
            bootstrap: self.cluster.bootstrap().to_owned(),
            topic: names.input.clone(),
            records: self.options.records,
            keys: plan.keys,
            over: plan.length() + Duration::from_secs(1),
        };
        let feed = Feed::start(flow, Dice::of("feed", seed));
        let order = self.order(&plan, &names);
        let mut stage = Stage::new(&self.cluster, &self.options.program, self.options.worker.name, order, &ledger);
        stage.play(&plan.steps);
        while !feed.is_done() {
            stage.wait_until(Instant::now() + PAUSE);
        }
        feed.join();
        let unfinished = self.settle(&mut stage, &names);
        let events = stage.events();
        let lives = stage.end();

        let evidence = Evidence {
            worker: self.options.worker,
            plan: &plan,
            bootstrap: self.cluster.bootstrap(),
            output: &names.output,
            input: oracle::read_all(self.cluster.bootstrap(), &names.input, Isolation::ReadUncommitted),
            lines: ledger.lines(),
            lives,
            unfinished,
        };
        let findings = (self.scenario.judge)(&evidence);
        let ran = Ran {
            scenario: self.scenario.name,
            worker: self.options.worker.name,
            seed,
            plan: &plan,
            records: evidence.input.len(),
            events,
            lives: evidence.lives.len(),
            took: start.elapsed(),
        };
        let report = Report::new(ran, findings);
        if !report.ok {
            eprintln!("  ledger and what the members said: {}", ledger.keep().display());
        }
        report
    }

    fn names(&self, plan: &Plan) -> Names {
        let (bootstrap, replicas) = (self.cluster.bootstrap(), i32::try_from(self.scenario.nodes).unwrap_or(1));
        let [input, output] = ["input", "output"].map(unique);
        oracle::create_topic(bootstrap, &input, plan.partitions, replicas);
        oracle::create_topic(bootstrap, &output, plan.partitions, replicas);
        Names { input, output, group: plan.protocol.group_on(bootstrap, plan.session) }
    }

    fn order(&self, plan: &Plan, names: &Names) -> Order {
        plan.order
            .clone()
            .with("bootstrap", self.cluster.proxied_bootstrap())
            .with("protocol", plan.protocol.name())
            .with("session", plan.session.as_millis())
            .with("input", &names.input)
            .with("output", &names.output)
            .with("group", &names.group)
    }

    /// Waits until the group has committed the end of the input, and no transaction is open. Returns why it has not.
    fn settle(&self, stage: &mut Stage<'_>, names: &Names) -> Option<String> {
        let bootstrap = self.cluster.bootstrap();
        let written = oracle::end_offsets(bootstrap, &names.input).into_iter().filter(|(_, end)| *end > 0).collect();
        let deadline = Instant::now() + SETTLES;
        loop {
            let committed = oracle::committed(bootstrap, &names.group, &names.input);
            let open = [Isolation::ReadCommitted, Isolation::ReadUncommitted]
                .map(|isolation| oracle::end_offsets_as(bootstrap, &names.output, isolation));
            if committed == written && open[0] == open[1] {
                return None;
            }
            if Instant::now() >= deadline {
                return Some(format!(
                    "not finished within {SETTLES:?}: {committed:?} of {written:?} are committed, transactions end before \
                     {:?} of {:?}",
                    open[0], open[1]
                ));
            }
            stage.wait_until(Instant::now() + PAUSE);
        }
    }
}

/// Runs a member, as a [`Runner`] starts it: `worker KIND ORDER`.
///
/// # Errors
///
/// Why it ended by itself.
pub fn worker(kind: &str, order: &str) -> Result<(), String> {
    let order = Order::parse(order);
    if let Some(parent) = order.number("parent") {
        process::die_with(parent);
    }
    let kinds = SCENARIOS.iter().flat_map(|scenario| scenario.workers);
    let kind = kinds.into_iter().find(|one| one.name == kind).ok_or_else(|| format!("no worker {kind}"))?;
    (kind.run)(&order)
}
