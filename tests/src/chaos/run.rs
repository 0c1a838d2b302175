//! Runs seeds of a scenario, one after the other, against one cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::dice::Dice;
use super::evidence::Evidence;
use super::feed::{Feed, Flow};
use super::judge::OUTPUT;
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
    /// By role.
    topics: BTreeMap<&'static str, String>,
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
            sort: plan.records,
            origin: names.topics.get(OUTPUT.name).cloned().unwrap_or_default(),
        };
        let clock = Arc::new(Clock::start());
        let feed = Feed::start(flow, Dice::of("feed", seed), clock.clone());
        let order = self.order(&plan, &names);
        let mut stage = Stage::new(&self.cluster, &self.options.program, self.options.worker.name, order, &ledger);
        stage.play(&plan.steps, &clock);
        while !feed.is_done() {
            stage.wait_until(Instant::now() + PAUSE);
        }
        feed.join();
        let unfinished = self.settle(&mut stage, &plan, &names);
        let events = stage.events();
        let lives = stage.end();

        let evidence = Evidence {
            worker: self.options.worker,
            plan: &plan,
            bootstrap: self.cluster.bootstrap(),
            group: names.group,
            topics: names.topics,
            input_name: names.input.clone(),
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
        // Of a naive worker it is known what is wrong.
        if !report.ok && self.scenario.workers.first().is_some_and(|first| first.name == self.options.worker.name) {
            eprintln!("  ledger and what the members said: {}", ledger.keep().display());
        }
        report
    }

    fn names(&self, plan: &Plan) -> Names {
        let (bootstrap, replicas) = (self.cluster.bootstrap(), i32::try_from(self.scenario.nodes).unwrap_or(1));
        let create = |role: &str| {
            let topic = unique(role);
            oracle::create_topic(bootstrap, &topic, plan.partitions, replicas);
            topic
        };
        let topics = plan.topics.iter().map(|role| (role.name, create(role.name))).collect();
        let input = create("input");
        let group = (plan.group)(&input);
        plan.protocol.prepare(bootstrap, &group, plan.session);
        Names { input, topics, group }
    }

    fn order(&self, plan: &Plan, names: &Names) -> Order {
        let order = plan
            .order
            .clone()
            .with("bootstrap", self.cluster.proxied_bootstrap())
            .with("protocol", plan.protocol.name())
            .with("session", plan.session.as_millis())
            .with("input", &names.input)
            .with("group", &names.group);
        names.topics.iter().fold(order, |order, (role, topic)| order.with(role, topic))
    }

    /// Waits until the group has committed the ends of what it reads, and no transaction is open. Returns why it has not.
    fn settle(&self, stage: &mut Stage<'_>, plan: &Plan, names: &Names) -> Option<String> {
        let deadline = Instant::now() + SETTLES;
        let read = plan.topics.iter().filter(|role| role.is_read).map(|role| &names.topics[role.name]);
        // The input first: what has gone from there to another topic is in that one by then.
        let read: Vec<&String> = [&names.input].into_iter().chain(read).collect();
        loop {
            let waits = read.iter().find_map(|topic| self.lags(&names.group, topic));
            if waits.is_some() && stage.is_given_up() {
                return Some("too many members died by themselves".to_owned());
            }
            let waits = waits.or_else(|| names.topics.values().find_map(|topic| self.is_open(topic)));
            match waits {
                None => return None,
                Some(why) if Instant::now() >= deadline => return Some(format!("not over within {SETTLES:?}: {why}")),
                Some(_) => stage.wait_until(Instant::now() + PAUSE),
            }
        }
    }

    /// Why the group has not read the topic to its end.
    fn lags(&self, group: &str, topic: &str) -> Option<String> {
        // The ends are the later ones: a record that is written to the same topic again, before it is committed, counts.
        let committed = oracle::committed(self.cluster.bootstrap(), group, topic);
        let ends = oracle::end_offsets(self.cluster.bootstrap(), topic);
        let ends: BTreeMap<_, _> = ends.into_iter().filter(|(_, end)| *end > 0).collect();
        (committed != ends).then(|| format!("{committed:?} of {ends:?} is committed for {topic}"))
    }

    /// Where a transaction is open.
    fn is_open(&self, topic: &str) -> Option<String> {
        let [seen, all] = [Isolation::ReadCommitted, Isolation::ReadUncommitted]
            .map(|isolation| oracle::end_offsets_as(self.cluster.bootstrap(), topic, isolation));
        (seen != all).then(|| format!("transactions are open from {seen:?} of {all:?} of {topic}"))
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
