//! Measures the client against a C program and against rdkafka, and prints one JSON line a case.
//!
//! ```text
//!   main (arguments) ── cases (what is compared) ── frame (rounds, shuffled; ratios; the line)
//!                         │                           │
//!        ┌────────────────┼─────────────┐             ├── meter        wall, client CPU, Rust allocations
//!      ours             twin          peers           ├── broker       real, given or mock; another process
//!   kafka-client    C, as raw calls   rdkafka         └── instructions the same sides under callgrind
//! ```
//!
//! Standard output carries the JSON lines only; what is going on goes to standard error.

mod audit;
mod broker;
mod cases;
mod frame;
mod instructions;
mod meter;
mod ours;
mod peers;
mod trip;
mod twin;

use std::process::ExitCode;

use cases::Case;
use frame::Outcome;

const USAGE: &str = "usage: benches CASE... [--rounds N] [--messages N] [--instructions] [--broker real|mock]

Without a case: the list of cases.

  CASE            a name below, or the start of several: `produce`, `avro`, `latency`
  --rounds N      measured rounds, after one that is not (9; 3 with --instructions)
  --messages N    messages a side and round, in place of the case's own number (of which `latency` takes no more)
  --instructions  counts instructions a message under callgrind in place of time
  --broker KIND   `real` (KAFKA_BOOTSTRAP_SERVERS if set, else one is started), or `mock`, librdkafka's own
";

/// What the command line asks for.
struct Request {
    names: Vec<String>,
    rounds: Option<usize>,
    messages: Option<u64>,
    instructions: bool,
    twin_only: bool,
    help: bool,
    broker: broker::Kind,
}

fn main() -> ExitCode {
    // Commands that only this program gives to itself.
    let mut arguments = std::env::args().skip(1);
    let hidden = match arguments.next().as_deref() {
        Some(broker::MOCK_COMMAND) => Some(broker::serve_mock()),
        Some(instructions::SIDE_COMMAND) => Some(instructions::run_side(arguments)),
        Some(ours::failover::MEMBER_COMMAND) => Some(ours::failover::be_member(arguments)),
        _ => None,
    };
    let outcome = match hidden {
        Some(outcome) => outcome,
        None => match parse() {
            Ok(request) => run(&request),
            Err(complaint) => {
                eprintln!("{complaint}\n\n{USAGE}\n{}", cases::list());
                return ExitCode::from(2);
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Outcome<Request> {
    use lexopt::prelude::*;

    let mut request = Request {
        names: Vec::new(),
        rounds: None,
        messages: None,
        instructions: false,
        twin_only: false,
        help: false,
        broker: broker::Kind::Real,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => request.help = true,
            Long("rounds") => request.rounds = Some(at_least_one(parser.value()?.parse()?, "--rounds")?),
            Long("messages") => request.messages = Some(at_least_one(parser.value()?.parse()?, "--messages")?),
            Long("instructions") => request.instructions = true,
            // For work on the twins: runs the baselines alone and prints no line.
            Long("twin-only") => request.twin_only = true,
            Long("broker") => request.broker = parser.value()?.parse()?,
            Value(name) => {
                let name = name.string()?;
                if cases::named(&name).is_empty() {
                    return Err(format!("there is no case `{name}`").into());
                }
                request.names.push(name);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(request)
}

fn at_least_one<T: PartialOrd + From<u8>>(number: T, option: &str) -> Outcome<T> {
    if number < T::from(1) { Err(format!("{option} must be at least 1").into()) } else { Ok(number) }
}

fn run(request: &Request) -> Outcome<()> {
    if request.help {
        println!("{USAGE}\n{}", cases::list());
        return Ok(());
    }
    if request.names.is_empty() {
        // The list alone: `.ci/benches` takes what looks like a name.
        print!("{}", cases::list());
        return Ok(());
    }
    let chosen: Vec<&Case> = request.names.iter().flat_map(|name| cases::named(name)).collect();
    let mut stages = broker::Stages::new(request.broker);
    for case in &chosen {
        let broker = stages.broker(case.starts)?;
        if !request.instructions {
            frame::measure(case, broker, request.rounds.unwrap_or(9), request.messages, request.twin_only)?;
        } else if case.hot {
            instructions::count(case, broker, request.rounds.unwrap_or(3), request.messages, request.twin_only)?;
        } else {
            eprintln!("{}: compared in time only", case.name);
        }
    }
    Ok(())
}
