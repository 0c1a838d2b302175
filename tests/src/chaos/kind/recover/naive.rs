//! Dead letters as they are often written.

use std::convert::Infallible;

use kafka_client::{Concurrency, Headers, Kafka, RawReceived};
use kafka_dlq::{Failure, dialect};

use super::{COUNTED, DEAD, Got, WAITING, member, outcome, run};
use crate::chaos::fate::Fate;
use crate::chaos::kind::Kind;
use crate::chaos::kind::member::told;
use crate::chaos::ledger::What;
use crate::chaos::order::Order;

/// Nobody hears whether a dead letter was written.
pub(in crate::chaos) const SENDS_AND_GOES_ON: Kind = Kind {
    name: "sends-and-goes-on",
    about: "sends to the dead-letter topic without awaiting it, and commits",
    lives: false,
    run: sends_and_goes_on,
};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn sends_and_goes_on(order: &Order) -> Result<(), String> {
    let producer = Kafka::connect(order.text("bootstrap")).producer().build().map_err(told)?;
    let (pen, dead, waiting) = (order.pen(), order.text(DEAD.name).to_owned(), order.text(WAITING.name).to_owned());
    let handler = move |record: RawReceived| {
        let (pen, producer) = (pen.clone(), producer.clone());
        let (dead, waiting) = (dead.clone(), waiting.clone());
        async move {
            let fate = COUNTED.of(record.key_bytes(), record.value_bytes());
            let got = Got::of_raw(&record);
            pen.write(got.entry(What::Begin));
            if fate.is_handled() {
                while outcome(fate).is_err() {}
                pen.write(got.entry(What::Finish));
                return Ok::<_, Infallible>(());
            }
            pen.write(got.entry(What::Failed));
            let mut copy = record.to_raw().for_topic(if fate == Fate::Parked { waiting } else { dead });
            let mut headers = std::mem::replace(&mut copy.headers, Headers::new());
            dialect::ours::write(&Failure::at(record.topic(), record.partition(), record.offset()), &mut headers);
            copy.headers = headers;
            // In the queue, and out of mind.
            drop(producer.enqueue(copy).await);
            Ok(())
        }
    };
    run(member(order).route_undecoded(order.text("input"), Concurrency::by_key(8), handler)).await
}
