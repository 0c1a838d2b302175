//! Kills, suspends and cuts off members of a group and their brokers, by a seeded schedule, and counts what became of the
//! records. See `tests/README.md`.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use lexopt::prelude::*;
use tests::chaos::{Kind, Options, Runner, SCENARIOS, Scenario, process, worker};

/// A promise was broken.
const BROKEN: u8 = 1;
/// The command makes no sense, or the harness itself is at its end.
const UNFIT: u8 = 2;
/// No promise was broken, and none was put to the test: nothing that happened hit a transaction.
const PROVES_NOTHING: u8 = 3;

/// What is asked for.
struct Asked {
    scenario: &'static Scenario,
    seeds: std::ops::RangeInclusive<u64>,
    options: Options,
}

fn main() -> ExitCode {
    let asked = match parse(lexopt::Parser::from_env()) {
        Ok(Command::Run(asked)) => asked,
        Ok(Command::Worker(kind, order)) => return be_worker(&kind, &order),
        Ok(Command::Help) => {
            eprint!("{}", usage());
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprint!("{problem}\n\n{}", usage());
            return ExitCode::from(UNFIT);
        }
    };
    // What fails says why, where it fails: a seed that cannot be run is no broken promise.
    catch_unwind(AssertUnwindSafe(|| run(&asked))).unwrap_or(ExitCode::from(UNFIT))
}

fn run(asked: &Asked) -> ExitCode {
    let runner = Runner::start(asked.scenario, asked.options.clone());
    let (mut broken, mut count) = (Vec::new(), 0);
    for seed in asked.seeds.clone() {
        let report = runner.run(seed);
        if !report.ok {
            broken.push(seed);
        }
        count += u64::from(report.counts);
        if writeln!(io::stdout(), "{report}").is_err() {
            // Nobody reads on.
            break;
        }
    }
    let name = asked.scenario.name;
    let run = asked.seeds.clone().count();
    if let Some(first) = broken.first() {
        let Options { records, events, worker, .. } = &asked.options;
        eprintln!("{name}: {} of {run} seeds broke a promise: {broken:?}", broken.len());
        eprintln!("again: chaos {name} --seed {first} --records {records} --events {events} --worker {}", worker.name);
        return ExitCode::from(BROKEN);
    }
    eprintln!("{name}: {run} seeds kept all promises; {count} of them hit what they aimed at");
    if count == 0 { ExitCode::from(PROVES_NOTHING) } else { ExitCode::SUCCESS }
}

fn be_worker(kind: &str, order: &str) -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    match worker(kind, order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

enum Command {
    Run(Asked),
    /// A member, as the runner starts it.
    Worker(String, String),
    Help,
}

fn parse(mut arguments: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut scenario, mut seeds, mut records, mut events) = (None, 1..=1, 5_000, 5);
    let (mut naive, mut named) = (false, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seeds") => seeds = 1..=arguments.value()?.parse()?,
            Long("seed") => {
                let seed = arguments.value()?.parse()?;
                seeds = seed..=seed;
            }
            Long("records") => records = arguments.value()?.parse()?,
            Long("events") => events = arguments.value()?.parse()?,
            Long("naive") => naive = true,
            Long("worker") => named = Some(arguments.value()?.string()?),
            Long("help") | Short('h') => return Ok(Command::Help),
            Value(name) if name == "worker" && scenario.is_none() => {
                return Ok(Command::Worker(arguments.value()?.string()?, arguments.value()?.string()?));
            }
            Value(name) if scenario.is_none() => {
                let name = name.string()?;
                scenario = Some(Scenario::named(&name).ok_or_else(|| format!("`{name}` is no scenario"))?);
            }
            other => return Err(other.unexpected()),
        }
    }
    let Some(scenario) = scenario else { return Ok(Command::Help) };
    if seeds.is_empty() || records == 0 {
        return Err("--seeds and --records are at least 1".into());
    }
    let worker = chosen(scenario, naive, named.as_deref())?;
    let options = Options { program: process::this_program(), records, events, worker };
    Ok(Command::Run(Asked { scenario, seeds, options }))
}

fn chosen(scenario: &'static Scenario, naive: bool, named: Option<&str>) -> Result<&'static Kind, String> {
    let of_name = |name: &str| scenario.workers.iter().find(|kind| kind.name == name);
    match (naive, named) {
        (true, Some(_)) => Err("--naive and --worker both say who works".to_owned()),
        (_, Some(name)) => of_name(name).ok_or_else(|| format!("{} has no worker `{name}`", scenario.name)),
        (naive, None) => {
            let index = usize::from(naive);
            scenario.workers.get(index).ok_or_else(|| format!("{} has no naive worker", scenario.name))
        }
    }
}

fn usage() -> String {
    let mut usage = "\
usage: chaos SCENARIO [--seeds N | --seed S] [--records R] [--events E] [--naive | --worker NAME]

  --seeds N      runs the seeds 1 to N (default 1)
  --seed S       runs one seed
  --records R    produces so many records a seed (default 5000)
  --events E     so much happens, beside what starts and ends a seed (default 5)
  --naive        runs the first naive worker of the scenario, which must be caught
  --worker NAME  runs a worker by its name

A line of JSON a seed on standard output. Ends with 1 if a promise was broken, with 2 if it could not be put to the test,
with 3 if nothing that happened put it to the test.
"
    .to_owned();
    for scenario in SCENARIOS {
        usage += &format!("\n{}: {}\n", scenario.name, scenario.about);
        for worker in scenario.workers {
            usage += &format!("    {:24} {}\n", worker.name, worker.about);
        }
    }
    usage
}
