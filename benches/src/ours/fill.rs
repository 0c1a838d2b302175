//! Topics whose keys matter.

use std::collections::VecDeque;

use super::{HELD, producer, runtime, topic};
use crate::audit::Stamp;
use crate::cases::Keyed;
use crate::frame::{Load, MAX_IN_FLIGHT, Outcome, VALUE};

/// Keys, where messages share them.
const KEYS: u64 = 1_000;

/// Writes the messages of the load.
pub(crate) fn fill(load: &Load, keyed: Keyed) -> Outcome<()> {
    runtime()?.block_on(async {
        let (producer, topic) = (producer(load, MAX_IN_FLIGHT)?, topic(load));
        let mut sender = producer.sender(&topic)?;
        let mut deliveries = VecDeque::with_capacity(HELD);
        for number in 0..load.messages {
            for (partition, key) in places(keyed, number).into_iter().flatten() {
                let key = format!("{key:08}");
                deliveries.push_back(sender.enqueue(topic.record(key.as_bytes(), VALUE).partition(partition)).await?);
            }
            while deliveries.len() > HELD {
                deliveries.pop_front().ok_or("nothing is under way")?.await?;
            }
        }
        for delivery in deliveries {
            delivery.await?;
        }
        Ok(())
    })
}

/// Writes the messages of the load, numbered, where their keys belong.
pub(crate) fn fill_numbered(load: &Load) -> Outcome<()> {
    const BATCH: u64 = 10_000;
    runtime()?.block_on(async {
        let (producer, topic, keys) = (producer(load, MAX_IN_FLIGHT)?, topic(load), Load::keys());
        for from in (0..load.messages).step_by(BATCH as usize) {
            let numbers = from..load.messages.min(from + BATCH);
            let values: Vec<_> = numbers.map(|number| Stamp::OF_INPUT.value(number)).collect();
            producer
                .send_batch(values.iter().zip(keys.iter().cycle()).map(|(value, key)| topic.record(key, value)))
                .await?;
        }
        Ok(())
    })
}

/// Where a message goes, and the number of its key there.
fn places(keyed: Keyed, number: u64) -> [Option<(i32, u64)>; 2] {
    match keyed {
        Keyed::AtRandomAndInTurn => [Some((0, scattered(number) % KEYS)), Some((1, number % KEYS))],
        Keyed::Own => [Some((0, number)), None],
        Keyed::InThree => [Some(((number % 3) as i32, number % KEYS)), None],
    }
}

/// A number that looks like chance and is the same each time: splitmix64.
pub(super) fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
