//! Consuming, on the embedded broker.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kafka_client::{Error, Kafka, Received, Topic, Utf8};

async fn produced(kafka: &Kafka, topic: &Topic<Utf8, Utf8>, n: usize) {
    let producer = kafka.producer().build().unwrap();
    let lines: Vec<String> = (0..n).map(|n| n.to_string()).collect();
    assert_eq!(producer.send_batch(lines.iter().map(|l| topic.record(l, l))).await.unwrap(), n);
    assert!(producer.close(Duration::from_secs(5)).await.is_complete());
}

#[tokio::test]
async fn everything_is_handled_and_committed() {
    let kafka = Kafka::embedded().unwrap();
    let lines = Topic::new("lines", Utf8, Utf8);
    produced(&kafka, &lines, 1000).await;
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let consumer = kafka
        .consumer("g")
        .route(&lines, move |r: Received<String, String>| {
            let tx = tx.clone();
            async move {
                tx.send(r.into_value()).unwrap();
                Ok::<(), Error>(())
            }
        })
        .build()
        .unwrap();
    let seen = Arc::new(tokio::sync::Notify::new());
    let done = seen.clone();
    let count = tokio::spawn(async move {
        let mut all = Vec::new();
        while all.len() < 1000 {
            all.push(rx.recv().await.unwrap());
        }
        done.notify_one();
        all
    });
    let t = std::time::Instant::now();
    let report = consumer.run_until(async move { seen.notified().await }).await.unwrap();
    println!("{:?} {report:?}", t.elapsed());
    assert_eq!(count.await.unwrap().len(), 1000);
    assert_eq!(report.handled, 1000);
    assert_eq!(report.committed.values().sum::<i64>(), 1000);
    assert!(report.left_group);
}

#[tokio::test]
async fn a_stream_commits_what_is_acknowledged() {
    let kafka = Kafka::embedded().unwrap();
    let lines = Topic::new("lines", Utf8, Utf8);
    produced(&kafka, &lines, 100).await;
    let mut stream = kafka.consumer("g").stream(&lines).unwrap();
    for _ in 0..100 {
        stream.next().await.unwrap().unwrap().ack();
    }
    let report = stream.close().await.unwrap();
    assert_eq!(report.committed.values().sum::<i64>(), 100);
}
