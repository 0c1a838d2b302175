//! The C transactions: one thread begins, produces and commits.

use std::ops::Range;

use rdkafka_sys::bindings as c;

use super::{Client, TopicHandle, UNASSIGNED, error_text, last_error, send};
use crate::audit::Stamp;
use crate::frame::{self, Load, Outcome, PARTITIONS, Sample};
use crate::meter::Window;
use crate::ours::transactions::{LARGE, WARM_UP, audited, of_warm_up};

/// As long as the transaction may take.
const NO_TIMEOUT: i32 = -1;

/// Transactions of ten records.
pub(crate) fn transactions_of_ten(load: &Load) -> Outcome<Sample> {
    run(load, 10)
}

/// Transactions of 10,000 records.
pub(crate) fn large_transactions(load: &Load) -> Outcome<Sample> {
    run(load, LARGE)
}

/// Without delivery reports: the commit fails where a delivery has failed.
fn run(load: &Load, size: u64) -> Outcome<Sample> {
    audited(load, |stamp| {
        let kind = c::rd_kafka_type_t::RD_KAFKA_PRODUCER;
        let mut settings = load.producer_settings();
        settings.push(("transactional.id", format!("{}-{:08x}", load.topic, frame::random() as u32)));
        let client = Client::open(kind, &load.bootstrap, &settings, &(), |_| ())?;
        // SAFETY: the client is alive; an error that is not null is ours.
        checked(unsafe { c::rd_kafka_init_transactions(client.handle, NO_TIMEOUT) })?;
        let topic = client.topic(&load.topic)?;
        transaction(&client, || {
            (0..PARTITIONS)
                .try_for_each(|partition| produce(&topic, partition, b"warm up!", stamp, of_warm_up(0, partition)))
        })?;
        let keys = Load::keys();
        let window = Window::open();
        for from in (0..load.messages).step_by(size as usize) {
            let numbers: Range<u64> = from..load.messages.min(from + size);
            transaction(&client, || {
                let mut keyed = numbers.map(|number| (number, &keys[number as usize % keys.len()]));
                keyed.try_for_each(|(number, key)| produce(&topic, UNASSIGNED, key, stamp, number))
            })?;
        }
        Ok((load.messages, load.messages + WARM_UP, window.close()))
    })
}

fn transaction(client: &Client<'_, ()>, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    // SAFETY: the client is alive; an error that is not null is ours.
    checked(unsafe { c::rd_kafka_begin_transaction(client.handle) })?;
    work()?;
    // SAFETY: as above. It sends what lingers, and waits for the acknowledgements.
    checked(unsafe { c::rd_kafka_commit_transaction(client.handle, NO_TIMEOUT) })
}

fn produce(topic: &TopicHandle<'_>, partition: i32, key: &[u8], stamp: Stamp, number: u64) -> Outcome<()> {
    // SAFETY: the topic is alive.
    match unsafe { send(topic.handle, partition, key, &stamp.value(number)) } {
        true => Ok(()),
        false => Err(last_error().into()),
    }
}

fn checked(error: *mut c::rd_kafka_error_t) -> Outcome<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, ours, and destroyed once.
    let text = unsafe {
        let text = error_text(c::rd_kafka_error_code(error));
        c::rd_kafka_error_destroy(error);
        text
    };
    Err(text.into())
}
