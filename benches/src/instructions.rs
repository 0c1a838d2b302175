//! Instructions a message, counted by callgrind: the figure that a noisy machine does not move.
//!
//! This program starts itself under valgrind as one side of one case, once with few and once with many messages. What
//! the two counts differ by is what the further messages cost: start-up, connecting and shutting down cancel out.

use std::fs;
use std::process::{self, Command, Stdio};

use serde::Serialize;

use crate::broker::Broker;
use crate::cases::{self, Case};
use crate::frame::{self, Load, Outcome, Side};
use crate::meter;

/// The command with which this program starts itself as one side of a case.
pub(crate) const SIDE_COMMAND: &str = "side";

/// Valgrind makes a client some fifty times slower, and 5 ms would then end a batch of a few messages where the real
/// client fills it with hundreds. A longer wait restores the size of the batches.
const LINGER_MS: u32 = 200;

#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    unit: &'a str,
    baseline_name: &'a str,
    ours: f64,
    baseline: f64,
    /// What ours takes for each instruction of the baseline: less is better.
    ours_per_baseline: f64,
    rounds: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<Second<'a>>,
    allocator: &'a str,
}

#[derive(Serialize)]
struct Second<'a> {
    baseline_name: &'a str,
    baseline: f64,
    ours_per_baseline: f64,
}

/// Counts one case and prints its line; with `twin_only`, counts the baselines alone and prints none.
pub(crate) fn count(
    case: &Case,
    broker: &Broker,
    rounds: usize,
    messages: Option<u64>,
    twin_only: bool,
) -> Outcome<()> {
    let many = messages.unwrap_or(200_000).min(broker.keeps());
    let few = many / 4;
    // A topic each: a consumer fetches ahead, so a shared one would cost the shorter run more than it reads.
    let topics = [frame::prepare(case, broker, few)?, frame::prepare(case, broker, many)?];
    let loads = topics.each_ref().map(|(_, load)| Load { linger_ms: LINGER_MS, ..load.clone() });
    let per_message = |side: &str, name: &str| -> Outcome<f64> {
        let mut counts = Vec::new();
        for round in 1..=rounds {
            let [fewer, more] = [collected(case, side, &loads[0])?, collected(case, side, &loads[1])?];
            let each = (more as f64 - fewer as f64) / (many - few) as f64;
            eprintln!("{} {round}/{rounds} {name:<28} {each:>10.1} instructions/msg", case.name);
            counts.push(each);
        }
        counts.sort_unstable_by(f64::total_cmp);
        Ok(frame::median(&counts))
    };
    let baseline = per_message("baseline", case.baseline.name)?;
    let second = case.second.as_ref().map(|peer| per_message("second", peer.name).map(|count| (peer.name, count)));
    let second = second.transpose()?;
    if twin_only {
        return Ok(());
    }
    let ours = per_message("ours", "ours")?;
    let line = Line {
        case: case.name,
        unit: "instructions/msg",
        baseline_name: case.baseline.name,
        ours: ours.round(),
        baseline: baseline.round(),
        ours_per_baseline: frame::rounded(ours / baseline),
        rounds,
        second: second.map(|(baseline_name, count)| Second {
            baseline_name,
            baseline: count.round(),
            ours_per_baseline: frame::rounded(ours / count),
        }),
        allocator: meter::ALLOCATOR_NAME,
    };
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}

/// Runs one side under callgrind and answers how many instructions the whole process took.
fn collected(case: &Case, side: &str, load: &Load) -> Outcome<u64> {
    let report = std::env::temp_dir().join(format!("benches-callgrind-{}", process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--fair-sched=yes", "--quiet"])
        .arg(format!("--callgrind-out-file={}", report.display()))
        .arg(std::env::current_exe()?)
        .args([SIDE_COMMAND, case.name, side, &serde_json::to_string(load)?])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind does not start ({error}): install it for --instructions"))?;
    let text = fs::read_to_string(&report);
    // Nothing to remove is what the next line reports.
    let _ = fs::remove_file(&report);
    if !output.status.success() {
        return Err(format!("{}, {side}: {}", case.name, String::from_utf8_lossy(&output.stderr)).into());
    }
    total(&text?).ok_or_else(|| "callgrind's report has no total".into())
}

/// The sum over all functions and threads, from a report of callgrind.
fn total(report: &str) -> Option<u64> {
    let line =
        report.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Is one side: does the work that the arguments after the command tell, and prints nothing.
pub(crate) fn run_side(mut arguments: impl Iterator<Item = String>) -> Outcome<()> {
    let mut next = || arguments.next().ok_or("benches side CASE SIDE LOAD");
    let (name, side) = (next()?, next()?);
    let load: Load = serde_json::from_str(&next()?)?;
    let case = cases::named(&name).first().copied().ok_or("there is no such case")?;
    let side: Side = match (side.as_str(), &case.second) {
        ("ours", _) => case.ours,
        ("baseline", _) => case.baseline.side,
        ("second", Some(second)) => second.side,
        _ => return Err("the case has no such side".into()),
    };
    side(&load).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_of_a_report_is_read() {
        assert_eq!(total("# callgrind format\nevents: Ir\nfn=(1) main\n16 400\n\ntotals: 1234\n"), Some(1234));
    }
}
