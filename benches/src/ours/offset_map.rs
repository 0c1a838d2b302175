//! What it costs to tell, and to read, what is finished beyond a committed offset; and how long it becomes.

use std::time::{Duration, Instant};

use kafka_client::internals::{Begun, OffsetMap, Tracker};

use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;

const WINDOW: i64 = 10_000;

pub(crate) fn written_and_read(load: &Load) -> Outcome<Sample> {
    let (one_hole, scattered) = (one_hole_in_a_million()?, scattered()?);
    let committed = scattered.watermark().ok_or("nothing is finished")?;
    let (mut text, mut latencies) = (String::new(), Vec::with_capacity(load.messages as usize));
    let window = Window::open();
    for _ in 0..load.messages {
        let start = Instant::now();
        scattered.encode_map(&mut text);
        let read = OffsetMap::decode(&text, committed)?.ok_or("the map is gone")?;
        latencies.push(start.elapsed());
        drop(read);
    }
    let sample = Sample::median_latency(&mut latencies, window.close())?;
    let scattered_bytes = text.len() as f64;
    one_hole.encode_map(&mut text);
    Ok(Sample {
        figures: [
            Some(("bytes_of_one_hole_in_a_million", text.len() as f64)),
            Some(("bytes_of_10_000_at_random", scattered_bytes)),
            Some(("p99", p99(&latencies).as_secs_f64() * 1e6)),
        ],
        ..sample
    })
}

pub(crate) fn json_written_and_read(load: &Load) -> Outcome<Sample> {
    let scattered = scattered()?;
    let mut text = String::new();
    scattered.encode_map(&mut text);
    let map = OffsetMap::decode(&text, scattered.watermark().unwrap_or_default())?.ok_or("the map is gone")?;
    let mut latencies = Vec::with_capacity(load.messages as usize);
    let window = Window::open();
    for _ in 0..load.messages {
        let start = Instant::now();
        let ranges: Vec<(i64, i64)> = map.ranges().iter().map(|range| (range.start, range.end)).collect();
        let text = serde_json::to_string(&ranges)?;
        let read: Vec<(i64, i64)> = serde_json::from_str(&text)?;
        latencies.push(start.elapsed());
        drop(read);
    }
    Sample::median_latency(&mut latencies, window.close())
}

/// Of latencies in ascending order.
fn p99(latencies: &[Duration]) -> Duration {
    latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default()
}

fn one_hole_in_a_million() -> Outcome<Tracker> {
    let mut tracker = Tracker::new();
    for offset in 0..1_000_000 {
        begin(&mut tracker, offset)?;
        if offset > 0 {
            tracker.finish(offset);
        }
    }
    Ok(tracker)
}

/// Each of 10,000 is finished with a probability of one half; the same ones each time.
fn scattered() -> Outcome<Tracker> {
    let mut tracker = Tracker::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for offset in 0..WINDOW {
        begin(&mut tracker, offset)?;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if offset > 0 && state >> 63 == 1 {
            tracker.finish(offset);
        }
    }
    Ok(tracker)
}

fn begin(tracker: &mut Tracker, offset: i64) -> Outcome<()> {
    match tracker.begin(offset) {
        Begun::New => Ok(()),
        other => Err(format!("offset {offset} is {other:?}").into()),
    }
}
