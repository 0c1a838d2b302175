//! How near handlers that wait come to the ideal, in which always as many run as may.

use std::time::Duration;

use kafka_client::Concurrency;

use super::runtime;
use super::work::{self, Half, Halves};
use crate::frame::{Load, Outcome, Sample};

const MILLIS: [u64; 4] = [1, 5, 20, 100];
const IN_FLIGHT: [usize; 3] = [10, 100, 1_000];

/// The name of a way to handle many records at once, and the way.
type Way = (&'static str, fn(usize) -> Concurrency);

const WAYS: [Way; 2] = [("unordered", Concurrency::unordered), ("by key", Concurrency::by_key)];

static WORST: Halves = Halves::new();

/// The cell that is furthest from its ideal.
pub(crate) fn worst(load: &Load) -> Outcome<Sample> {
    WORST.ask(Half::Ours, || all(load))
}

/// The ideal of that cell: what its handlers slept, divided by how many run at once.
pub(crate) fn ideal(load: &Load) -> Outcome<Sample> {
    WORST.ask(Half::Ideal, || all(load))
}

struct Cell {
    ours: Sample,
    ideal: Sample,
    /// What handlers slept, for each moment that they asked for.
    overslept: f64,
}

impl Cell {
    fn ratio(&self) -> f64 {
        self.ideal.value / self.ours.value
    }
}

fn all(load: &Load) -> Outcome<[Sample; 2]> {
    let (mut cells, mut worst, mut overslept) = (Vec::new(), None::<Cell>, 0.0_f64);
    for (name, way) in WAYS {
        for millis in MILLIS {
            for in_flight in IN_FLIGHT {
                let cell = measure(load, way(in_flight), millis)?;
                cells.push((format!("{name}, {millis} ms, {in_flight}"), cell.ratio()));
                overslept = overslept.max(cell.overslept);
                if worst.as_ref().is_none_or(|worst| cell.ratio() < worst.ratio()) {
                    worst = Some(cell);
                }
            }
        }
    }
    let Cell { ours, ideal, .. } = worst.ok_or("there is no cell")?;
    Ok([Sample { cells, figures: [Some(("most_overslept", overslept)), None, None], ..ours }, ideal])
}

fn measure(load: &Load, concurrency: Concurrency, millis: u64) -> Outcome<Cell> {
    let in_flight = concurrency.in_flight();
    // About half a second or ten turns of all handlers, whichever is more; all turns are full.
    let turns = (500 / millis).max(10).min(load.messages / in_flight as u64);
    let records = turns * in_flight as u64;
    let time = Duration::from_millis(millis);
    let done = runtime()?.block_on(work::run(load, (0, records), concurrency, move |_| time))?;
    Ok(Cell {
        ours: Sample::microseconds(records, done.used),
        ideal: Sample::microseconds(records, done.ideal(in_flight)),
        overslept: done.slept.as_secs_f64() / (time.as_secs_f64() * records as f64),
    })
}
