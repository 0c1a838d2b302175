//! The frame of every case: rounds of all sides in random order, a ratio a round, one JSON line at the end.

use std::collections::BTreeMap;
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::iter;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::broker::{Broker, Topic};
use crate::cases::{Case, Peer, Starts, Unit};
use crate::meter::{self, Used};
use crate::{ours, twin};

/// What can fail in a benchmark: anything; the message is all that anybody wants of it.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Partitions of every topic here.
pub(crate) const PARTITIONS: i32 = 8;

/// The value of every record of the throughput cases: 100 bytes that are also text.
pub(crate) const VALUE: &[u8; 100] = &[b'v'; 100];

/// Messages that a side may have unacknowledged: the same bound for all.
pub(crate) const MAX_IN_FLIGHT: u64 = 100_000;

/// Tasks of the saturated case, and the queue that they share.
pub(crate) const SATURATED_TASKS: u64 = 3_000;
pub(crate) const SATURATED_QUEUE: u64 = 100;

/// One side of a case: does the work once and tells what it took.
pub(crate) type Side = fn(&Load) -> Outcome<Sample>;

/// The work of one side in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) bootstrap: String,
    /// It exists, with [`PARTITIONS`] partitions; for the consuming cases it holds exactly `messages` messages.
    pub(crate) topic: String,
    /// A second one, where the case has it.
    pub(crate) output: String,
    pub(crate) messages: u64,
    pub(crate) linger_ms: u32,
    pub(crate) starts: Starts,
    pub(crate) fetch_wait_ms: u32,
}

impl Load {
    /// The settings of every throughput producer. Without `bootstrap.servers`, [`Load::bootstrap`].
    pub(crate) fn producer_settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("enable.idempotence", "true".into()),
            ("acks", "all".into()),
            ("linger.ms", self.linger_ms.to_string()),
            // Ten times MAX_IN_FLIGHT: the side's own bound is the one that is met.
            ("queue.buffering.max.messages", (10 * MAX_IN_FLIGHT).to_string()),
            ("queue.buffering.max.kbytes", "1048576".into()),
            ("compression.type", "none".into()),
            ("partitioner", "murmur2_random".into()),
        ]
    }

    /// The settings of every consumer. Without `bootstrap.servers`, [`Load::bootstrap`].
    pub(crate) fn consumer_settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("group.id", format!("{}-{:08x}", self.topic, random() as u32)),
            ("enable.auto.commit", "false".into()),
            ("enable.auto.offset.store", "false".into()),
            ("auto.offset.reset", if self.starts.is_filled() { "earliest" } else { "latest" }.into()),
            ("fetch.wait.max.ms", self.fetch_wait_ms.to_string()),
            // The default stops fetching a partition for a whole second once 100,000 messages wait.
            ("queued.min.messages", "1000000".into()),
            ("queued.max.messages.kbytes", "1048576".into()),
        ]
    }

    /// Keys of eight bytes that are also text; message `i` has key `i % keys.len()`.
    pub(crate) fn keys() -> Vec<[u8; 8]> {
        (0..1024u32)
            .map(|number| {
                let mut key = *b"key-0000";
                for (digit, place) in key[4..].iter_mut().rev().zip(0..) {
                    *digit += (number / 10u32.pow(place) % 10) as u8;
                }
                key
            })
            .collect()
    }
}

/// What one side made of its load in one round.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// In the unit of the case.
    pub(crate) value: f64,
    pub(crate) operations: u64,
    pub(crate) used: Used,
    /// Whether each task's records were stored in the order of its calls, where the case asks.
    pub(crate) order_kept: Option<bool>,
    /// What else ours tells, by the keys of the line.
    pub(crate) figures: [Option<(&'static str, f64)>; 3],
    /// Whether a control, which must lose the order, has lost it.
    pub(crate) control_failed: Option<bool>,
    /// The parts that a worst one was chosen from: ratios, or in the unit of the case.
    pub(crate) cells: Vec<(String, f64)>,
}

impl Sample {
    fn new(value: f64, operations: u64, used: Used) -> Self {
        Self { value, operations, used, order_kept: None, figures: [None; 3], control_failed: None, cells: Vec::new() }
    }

    /// Operations a second.
    pub(crate) fn rate(operations: u64, used: Used) -> Self {
        Self::new(operations as f64 / used.wall.as_secs_f64(), operations, used)
    }

    /// A share of what was asked for.
    pub(crate) fn percent(percent: f64, operations: u64, used: Used) -> Self {
        Self::new(percent, operations, used)
    }

    /// Microseconds in all.
    pub(crate) fn microseconds(operations: u64, used: Used) -> Self {
        Self::new(used.wall.as_secs_f64() * 1e6, operations, used)
    }

    /// Nanoseconds an operation.
    pub(crate) fn nanoseconds(operations: u64, used: Used) -> Self {
        Self::new(used.wall.as_secs_f64() * 1e9 / operations as f64, operations, used)
    }

    /// Bytes, however long it took to find them out.
    pub(crate) fn bytes(bytes: f64, operations: u64, used: Used) -> Self {
        Self::new(bytes, operations, used)
    }

    /// The median of `latencies`, in microseconds.
    pub(crate) fn median_latency(latencies: &mut [Duration], used: Used) -> Outcome<Self> {
        latencies.sort_unstable();
        let middle = latencies.get(latencies.len() / 2).ok_or("no latency was measured")?;
        Ok(Self::new(middle.as_secs_f64() * 1e6, latencies.len() as u64, used))
    }

    fn cpu_s_per_million(&self) -> f64 {
        self.used.cpu.as_secs_f64() / self.operations as f64 * 1e6
    }

    fn allocations_per_operation(&self) -> f64 {
        self.used.allocations as f64 / self.operations as f64
    }
}

/// The line on standard output. Field order is key order.
#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    unit: &'a str,
    baseline_name: &'a str,
    ours: f64,
    baseline: f64,
    ratio: Spread,
    allocs_per_op: f64,
    rounds: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_s_per_million: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_cpu_s_per_million: Option<f64>,
    /// For times: ours less the baseline's of the same round.
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_kept: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_order_kept: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<Second<'a>>,
    #[serde(flatten)]
    further: BTreeMap<&'a str, FurtherFigures<'a>>,
    #[serde(flatten)]
    figures: BTreeMap<&'a str, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_failed: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    cells: BTreeMap<&'a str, f64>,
    allocator: &'a str,
}

#[derive(Serialize)]
struct Second<'a> {
    baseline_name: &'a str,
    baseline: f64,
    ratio: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_cpu_s_per_million: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<Spread>,
}

#[derive(Serialize)]
struct FurtherFigures<'a> {
    baseline_name: &'a str,
    ours: f64,
    baseline: f64,
    ratio: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_kept: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<Second<'a>>,
    #[serde(flatten)]
    figures: BTreeMap<&'a str, f64>,
}

#[derive(Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

/// The samples of one side, a round each.
struct Series {
    name: &'static str,
    side: Side,
    samples: Vec<Sample>,
}

impl Series {
    fn new(name: &'static str, side: Side) -> Self {
        Self { name, side, samples: Vec::new() }
    }

    fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.samples.iter().map(figure).collect();
        figures.sort_unstable_by(f64::total_cmp);
        median(&figures)
    }

    /// The medians of what else the samples tell.
    fn figures(&self) -> BTreeMap<&str, f64> {
        medians(self.samples.iter().flat_map(|sample| sample.figures).flatten())
    }

    fn cells(&self) -> BTreeMap<&str, f64> {
        medians(self.samples.iter().flat_map(|sample| &sample.cells).map(|(key, figure)| (key.as_str(), *figure)))
    }

    fn order_kept(&self) -> Option<bool> {
        self.in_all_rounds(|sample| sample.order_kept)
    }

    fn control_failed(&self) -> Option<bool> {
        self.in_all_rounds(|sample| sample.control_failed)
    }

    fn in_all_rounds(&self, told: impl Fn(&Sample) -> Option<bool>) -> Option<bool> {
        self.samples.iter().map(told).reduce(|all, one| Some(all? && one?)).flatten()
    }
}

/// The median of the figures of each key.
fn medians<'a>(all: impl Iterator<Item = (&'a str, f64)>) -> BTreeMap<&'a str, f64> {
    let mut figures = BTreeMap::<_, Vec<f64>>::new();
    for (key, figure) in all {
        figures.entry(key).or_default().push(figure);
    }
    figures.values_mut().for_each(|figures| figures.sort_unstable_by(f64::total_cmp));
    figures.into_iter().map(|(key, figures)| (key, rounded(median(&figures)))).collect()
}

/// Ours and what it is compared with.
struct Contest {
    ours: Series,
    baseline: Series,
    second: Option<Series>,
}

impl Contest {
    fn new(name: &'static str, ours: Side, baseline: &Peer, second: Option<&Peer>) -> Self {
        let peer = |peer: &Peer| Series::new(peer.name, peer.side);
        Self { ours: Series::new(name, ours), baseline: peer(baseline), second: second.map(peer) }
    }

    fn sides(&mut self, with_ours: bool) -> impl Iterator<Item = &mut Series> {
        let ours = with_ours.then_some(&mut self.ours);
        ours.into_iter().chain([&mut self.baseline]).chain(&mut self.second)
    }
}

/// Runs the rounds of one case and prints its line; with `twin_only`, runs the baselines alone and prints none.
pub(crate) fn measure(
    case: &Case,
    broker: &Broker,
    rounds: usize,
    messages: Option<u64>,
    twin_only: bool,
) -> Outcome<()> {
    let mut messages = messages.unwrap_or(case.messages);
    if case.starts.is_filled() {
        messages = messages.min(broker.keeps());
    }
    if case.further.is_some() {
        messages = messages.min(case.messages);
    }
    // Deletes the topics in the end.
    let (_topics, load) = prepare(case, broker, messages)?;
    let mut contest = Contest::new("ours", case.ours, &case.baseline, case.second.as_ref());
    let mut further = case
        .further
        .as_ref()
        .map(|further| Contest::new("ours, further", further.ours, &further.baseline, further.second.as_ref()));
    for round in 0..=rounds {
        // Each round shuffles the sides, so that no side always runs second.
        let mut sides: Vec<_> =
            iter::once(&mut contest).chain(&mut further).flat_map(|contest| contest.sides(!twin_only)).collect();
        shuffle(&mut sides);
        sides.into_iter().try_for_each(|series| run(case, &load, (round, rounds), series))?;
    }
    if !twin_only {
        println!("{}", serde_json::to_string(&line(case, rounds, &contest, further.as_ref()))?);
    }
    Ok(())
}

/// Makes the topics that a case starts from, where it needs any.
pub(crate) fn prepare<'b>(case: &Case, broker: &'b Broker, messages: u64) -> Outcome<([Option<Topic<'b>>; 2], Load)> {
    let topic = match case.starts {
        Starts::Nowhere => None,
        _ => Some(broker.topic(case.name)?),
    };
    let output = case.starts.has_output().then(|| broker.topic(&format!("{}-out", case.name))).transpose()?;
    let named = |topic: &Option<Topic<'_>>| topic.as_ref().map(|topic| topic.name.clone()).unwrap_or_default();
    let load = Load {
        bootstrap: broker.bootstrap().into(),
        topic: named(&topic),
        output: named(&output),
        messages,
        linger_ms: case.linger_ms,
        starts: case.starts,
        fetch_wait_ms: broker.fetch_wait_ms(),
    };
    if case.starts.is_filled() {
        eprintln!("{}: filling a topic with {messages} messages", case.name);
    }
    match case.starts {
        Starts::Full => twin::fill(&load)?,
        Starts::Pipeline => ours::fill_numbered(&load)?,
        Starts::Keyed(keyed) => ours::fill(&load, keyed)?,
        Starts::Empty | Starts::Nowhere | Starts::Transactions(_) | Starts::Group => (),
    }
    Ok(([topic, output], load))
}

/// Runs one side once. Round 0 warms up the broker and is forgotten.
fn run(case: &Case, load: &Load, (round, rounds): (usize, usize), series: &mut Series) -> Outcome<()> {
    let sample = (series.side)(load).map_err(|error| format!("{}, {}: {error}", case.name, series.name))?;
    eprintln!(
        "{} {round}/{rounds} {:<28} {:>12.1} {} {:>7.3} cpu s/M {:>6.2} allocs/op{}",
        case.name,
        series.name,
        sample.value,
        case.unit.name(),
        sample.cpu_s_per_million(),
        sample.allocations_per_operation(),
        sample.order_kept.map(|kept| if kept { ", order kept" } else { ", ORDER LOST" }).unwrap_or_default(),
    );
    if round > 0 {
        series.samples.push(sample);
    }
    Ok(())
}

fn line<'a>(
    case: &'a Case,
    rounds: usize,
    Contest { ours, baseline, second }: &'a Contest,
    further: Option<&'a Contest>,
) -> Line<'a> {
    let unit = case.unit;
    let cpu = |series: &Series| unit.is_rate().then(|| rounded(series.median(Sample::cpu_s_per_million)));
    let value = |series: &Series| rounded(series.median(|sample| sample.value));
    let second_of = |ours: &Series, second: &'a Series| Second {
        baseline_name: second.name,
        baseline: value(second),
        ratio: ratio(unit, ours, second),
        baseline_cpu_s_per_million: cpu(second),
        added: (!unit.is_rate()).then(|| added(ours, second)),
    };
    let further_of = |Contest { ours, baseline, second }: &'a Contest| FurtherFigures {
        baseline_name: baseline.name,
        ours: value(ours),
        baseline: value(baseline),
        ratio: ratio(unit, ours, baseline),
        added: (!unit.is_rate()).then(|| added(ours, baseline)),
        order_kept: ours.order_kept(),
        second: second.as_ref().map(|second| second_of(ours, second)),
        figures: ours.figures(),
    };
    Line {
        case: case.name,
        unit: unit.name(),
        baseline_name: baseline.name,
        ours: value(ours),
        baseline: value(baseline),
        ratio: ratio(unit, ours, baseline),
        allocs_per_op: rounded(ours.median(Sample::allocations_per_operation)),
        rounds,
        cpu_s_per_million: cpu(ours),
        baseline_cpu_s_per_million: cpu(baseline),
        added: (!unit.is_rate()).then(|| added(ours, baseline)),
        order_kept: ours.order_kept(),
        baseline_order_kept: baseline.order_kept(),
        second: second.as_ref().map(|second| second_of(ours, second)),
        further: case
            .further
            .iter()
            .zip(further)
            .map(|(further, contest)| (further.key, further_of(contest)))
            .collect(),
        figures: ours.figures(),
        control_failed: ours.control_failed(),
        cells: ours.cells(),
        allocator: meter::ALLOCATOR_NAME,
    }
}

/// Ours less the baseline of the same round, over the rounds.
fn added(ours: &Series, baseline: &Series) -> Spread {
    paired(ours, baseline, |ours, theirs| ours - theirs)
}

/// How many times better ours is than the baseline of the same round, over the rounds.
fn ratio(unit: Unit, ours: &Series, baseline: &Series) -> Spread {
    paired(ours, baseline, |ours, theirs| if unit.is_rate() { ours / theirs } else { theirs / ours })
}

/// Compares the two sides of each round.
fn paired(ours: &Series, baseline: &Series, compare: impl Fn(f64, f64) -> f64) -> Spread {
    let pairs = ours.samples.iter().zip(&baseline.samples);
    let mut figures: Vec<f64> = pairs.map(|(ours, theirs)| compare(ours.value, theirs.value)).collect();
    figures.sort_unstable_by(f64::total_cmp);
    Spread {
        min: rounded(figures.first().copied().unwrap_or(f64::NAN)),
        median: rounded(median(&figures)),
        max: rounded(figures.last().copied().unwrap_or(f64::NAN)),
    }
}

/// The median of figures in ascending order.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (odd, middle) if odd % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Keeps what the measurement can tell: three places, and none for thousands.
pub(crate) fn rounded(figure: f64) -> f64 {
    if figure.abs() >= 1000.0 { figure.round() } else { (figure * 1000.0).round() / 1000.0 }
}

fn shuffle<T>(order: &mut [T]) {
    for end in (1..order.len()).rev() {
        order.swap(end, (random() % (end as u64 + 1)) as usize);
    }
}

/// A number that nobody can guess but nobody needs to: the seed that the standard library gives each hasher.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Window;

    fn series(values: &[f64]) -> Series {
        let mut series = Series::new("", |_| Err("not run".into()));
        series.samples = values.iter().map(|&value| Sample::new(value, 1, Window::open().close())).collect();
        series
    }

    #[test]
    fn a_ratio_pairs_the_sides_of_one_round() {
        let ratio = ratio(Unit::MessagesASecond, &series(&[10.0, 40.0, 30.0]), &series(&[10.0, 20.0, 10.0]));
        assert_eq!((ratio.min, ratio.median, ratio.max), (1.0, 2.0, 3.0));
    }

    #[test]
    fn a_shorter_time_is_the_better_one() {
        let ratio = ratio(Unit::Microseconds, &series(&[5.0]), &series(&[10.0]));
        assert_eq!(ratio.median, 2.0);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[1.0, 3.0, 5.0, 100.0]), 4.0);
    }

    #[test]
    fn keys_are_text_and_differ() {
        let mut keys = Load::keys();
        assert_eq!(&keys[1023], b"key-1023");
        keys.dedup();
        assert_eq!(keys.len(), 1024);
    }
}
