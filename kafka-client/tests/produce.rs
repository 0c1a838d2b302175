//! Producing, on the embedded broker.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use kafka_client::{Kafka, Topic, Utf8};

#[tokio::test]
async fn a_record_is_acknowledged_with_its_offset() {
    let kafka = Kafka::embedded().unwrap();
    let producer = kafka.producer().build().unwrap();
    let lines = Topic::new("lines", Utf8, Utf8);
    for n in 0..3 {
        let d = producer.send(lines.record("k", "v").partition(0)).await.unwrap();
        assert_eq!(d.offset(), n);
    }
    let batch = (0..1000).map(|_| lines.record("k", "v").partition(1));
    assert_eq!(producer.send_batch(batch).await.unwrap(), 1000);
    let (tx, rx) = std::sync::mpsc::channel();
    producer.send_with(lines.record("k", "v").header("a", "b"), move |o| tx.send(o).unwrap()).await.unwrap();
    rx.recv_timeout(Duration::from_secs(5)).unwrap().unwrap();
    let report = producer.close(Duration::from_secs(5)).await;
    assert!(report.is_complete());
}
