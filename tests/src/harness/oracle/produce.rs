//! Writes records without the toolkit.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::PATIENCE;

/// What [`produce`] writes: partition, key and value.
pub type ToProduce<'a> = (Option<i32>, Option<&'a [u8]>, Option<&'a [u8]>);

/// Produces `records`, in this order, and returns when all are acknowledged by all
/// replicas in sync.
///
/// Without a partition the key decides, as Kafka's Java producer would. No key or no value is a null. The order
/// holds in any case; if a broker is lost meanwhile, a record may be stored twice.
///
/// # Panics
///
/// If a record is not acknowledged within 30 s.
#[track_caller]
pub fn produce(bootstrap: &str, topic: &str, records: &[ToProduce<'_>]) {
    let producer: BaseProducer<Deliveries> = super::client(bootstrap)
        // Not idempotent: asking for a producer id goes in steps of 500 ms, and tests call this often.
        .set("max.in.flight.requests.per.connection", "1")
        .set("retry.backoff.ms", "20")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "0")
        .create_with_context(Deliveries::default())
        .unwrap_or_else(|e| panic!("no producer: {e}"));
    let deadline = Instant::now() + PATIENCE;
    for &(partition, key, value) in records {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        record.partition = partition;
        record.key = key;
        record.payload = value;
        while let Err((e, unsent)) = producer.send(record) {
            let full = e == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert!(full && Instant::now() < deadline, "producing to {topic} failed: {e}");
            producer.poll(Duration::from_millis(10));
            record = unsent;
        }
    }
    // Not flush(), which looks every 100 ms.
    while producer.in_flight_count() > 0 {
        assert!(Instant::now() < deadline, "{topic} acknowledged no more after {PATIENCE:?}");
        producer.poll(Duration::from_millis(1));
    }
    if let Some(e) = producer.context().failure.lock().take() {
        panic!("producing {} records to {topic} failed: {e}", records.len());
    }
}

/// Keeps the first failed delivery.
#[derive(Default)]
struct Deliveries {
    failure: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((e, _)) = result {
            self.failure.lock().get_or_insert_with(|| e.clone());
        }
    }
}
