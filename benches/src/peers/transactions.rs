//! Transactions through rdkafka's safe calls.

use std::time::Duration;

use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::util::Timeout;

use super::config;
use crate::audit::Stamp;
use crate::frame::{self, Load, Outcome, PARTITIONS, Sample};
use crate::meter::Window;
use crate::ours::ticker::{Ticker, runtime_of_the_ticker};
use crate::ours::transactions::{WARM_UP, audited, of_warm_up};

/// A tenth of the transactions of ten records: each waits for steps of 100 ms.
pub(crate) fn of_ten(load: &Load) -> Outcome<Sample> {
    audited(load, |stamp| {
        let writer = Writer::start(load, stamp)?;
        let messages = (load.messages / 10).max(100);
        let window = Window::open();
        for from in (0..messages).step_by(10) {
            writer.transaction(from..messages.min(from + 10))?;
        }
        Ok((messages, messages + WARM_UP, window.close()))
    })
}

/// The ticker of a thread that makes some of these calls: they block it.
pub(crate) fn ticker(load: &Load) -> Outcome<Sample> {
    let audit = crate::audit::Audit::open(&load.bootstrap, &load.output);
    let stamp = audit.stamp();
    let window = Window::open();
    let to_the_output = Load { topic: load.output.clone(), ..load.clone() };
    let worst = runtime_of_the_ticker()?.block_on(async {
        let ticker = Ticker::start();
        let writer = Writer::start(&to_the_output, stamp)?;
        for from in (0..50).step_by(10) {
            writer.transaction(from..from + 10)?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Outcome::Ok(ticker.stop().await)
    })?;
    audit.close(50 + WARM_UP)?;
    Sample::median_latency(&mut [worst], window.close())
}

struct Writer {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    keys: Vec<[u8; 8]>,
    stamp: Stamp,
}

impl Writer {
    fn start(load: &Load, stamp: Stamp) -> Outcome<Self> {
        let mut config = config(load, load.producer_settings());
        config.set("transactional.id", format!("{}-{:08x}", load.topic, frame::random() as u32));
        let producer: ThreadedProducer<_> = config.create()?;
        producer.init_transactions(Timeout::Never)?;
        let writer = Self { producer, topic: load.topic.clone(), keys: Load::keys(), stamp };
        writer.producer.begin_transaction()?;
        for partition in 0..PARTITIONS {
            let value = stamp.value(of_warm_up(0, partition));
            let record = BaseRecord::to(&writer.topic).partition(partition).key("warm up!").payload(&value);
            writer.producer.send(record).map_err(|(error, _)| error)?;
        }
        writer.producer.commit_transaction(Timeout::Never)?;
        Ok(writer)
    }

    fn transaction(&self, numbers: std::ops::Range<u64>) -> Outcome<()> {
        self.producer.begin_transaction()?;
        for number in numbers {
            let (key, value) = (&self.keys[number as usize % self.keys.len()], self.stamp.value(number));
            let record = BaseRecord::to(&self.topic).key(key).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(self.producer.commit_transaction(Timeout::Never)?)
    }
}
