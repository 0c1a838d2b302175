//! Order by key: with work that waits, and with none.

use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Concurrency, Error, Received};

use super::consume::Tally;
use super::fill::scattered;
use super::work::{self, Done, Half, Halves};
use super::{consumer, runtime, topic};
use crate::frame::{Load, Outcome, Sample};

const IN_FLIGHT: usize = 100;

/// The same for a record in every run: evenly between 0 and 5 ms.
fn time(offset: i64) -> Duration {
    Duration::from_micros(scattered(offset.unsigned_abs()) % 5_001)
}

const AT_RANDOM: i32 = 0;
const IN_TURN: i32 = 1;

fn worked(load: &Load, partition: i32, concurrency: Concurrency) -> Outcome<Done> {
    runtime()?.block_on(work::run(load, (partition, load.messages), concurrency, time))
}

fn sample(load: &Load, done: &Done) -> Sample {
    Sample { order_kept: Some(done.order_kept), ..Sample::rate(load.messages, done.used) }
}

/// Keys at random, so that some collide in flight; and a control, which must lose their order.
pub(crate) fn at_random(load: &Load) -> Outcome<Sample> {
    let done = worked(load, AT_RANDOM, Concurrency::by_key(IN_FLIGHT))?;
    if worked(load, AT_RANDOM, Concurrency::unordered(IN_FLIGHT))?.order_kept {
        return Err("without order the keys' order was kept: the check finds nothing".into());
    }
    Ok(Sample { control_failed: Some(true), ..sample(load, &done) })
}

/// The same records one after the other.
pub(crate) fn serial(load: &Load) -> Outcome<Sample> {
    Ok(sample(load, &worked(load, AT_RANDOM, Concurrency::by_partition())?))
}

static TURNS: Halves = Halves::new();

/// Keys in turn: none waits for another.
pub(crate) fn in_turn(load: &Load) -> Outcome<Sample> {
    TURNS.ask(Half::Ours, || turns(load))
}

/// What the handlers slept, divided by how many run at once.
pub(crate) fn in_turn_ideal(load: &Load) -> Outcome<Sample> {
    TURNS.ask(Half::Ideal, || turns(load))
}

fn turns(load: &Load) -> Outcome<[Sample; 2]> {
    let done = worked(load, IN_TURN, Concurrency::by_key(IN_FLIGHT))?;
    let seconds = done.used.wall.as_secs_f64();
    let ours = Sample { figures: [Some(("seconds", seconds)), None, None], ..sample(load, &done) };
    Ok([ours, Sample::rate(load.messages, done.ideal(IN_FLIGHT))])
}

/// No work: what the order by key costs.
pub(crate) fn empty(load: &Load) -> Outcome<Sample> {
    counted(load, Concurrency::by_key(IN_FLIGHT))
}

/// No work, one record after the other.
pub(crate) fn empty_serial(load: &Load) -> Outcome<Sample> {
    counted(load, Concurrency::by_partition())
}

fn counted(load: &Load, concurrency: Concurrency) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let (tally, expected) = (Arc::new(Tally::default()), load.messages);
        let handler = {
            let tally = tally.clone();
            move |record: Received<Vec<u8>, Vec<u8>>| {
                tally.add(1, record.key().len() + record.value().len(), record.offset(), expected);
                async { Ok::<(), Error>(()) }
            }
        };
        let consumer = consumer(load)
            .route_concurrent(&topic(load), concurrency, handler)
            .assign((0..3).map(|partition| (load.topic.as_str(), partition)))
            .build()?;
        consumer.run_until(tally.last.notified()).await?;
        tally.sample()
    })
}
