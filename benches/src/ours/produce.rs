//! Producing, each way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::try_join_all;
use kafka_client::Delivery;
use tokio::sync::Notify;

use super::{HELD, producer, runtime, topic, warm_up};
use crate::frame::{Load, MAX_IN_FLIGHT, Outcome, PARTITIONS, SATURATED_QUEUE, SATURATED_TASKS, Sample, VALUE};
use crate::meter::Window;

/// Records of one `send_batch` call.
const BATCH: u64 = 10_000;
/// Calls under way at once; together they stay within the room.
const BATCHES: u64 = 10;

/// Batches, one answer each; a few at a time, so that the next is on its way while one is answered.
pub(crate) fn batch(load: &Load) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let (producer, topic, keys) = (producer(load, MAX_IN_FLIGHT)?, topic(load), Load::keys());
        warm_up(&producer, &topic).await?;
        let window = Window::open();
        try_join_all((0..BATCHES).map(async |sender| {
            let mut from = sender * BATCH;
            while from < load.messages {
                let count = BATCH.min(load.messages - from) as usize;
                let records = keys.iter().cycle().take(count).map(|key| topic.record(key, VALUE));
                producer.send_batch(records).await?;
                from += BATCHES * BATCH;
            }
            Outcome::Ok(())
        }))
        .await?;
        Ok(Sample::rate(load.messages, window.close()))
    })
}

/// The single-owner sender; every delivery is awaited.
pub(crate) fn awaited(load: &Load) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let (producer, topic, keys) = (producer(load, MAX_IN_FLIGHT)?, topic(load), Load::keys());
        warm_up(&producer, &topic).await?;
        let mut sender = producer.sender(&topic)?;
        let mut deliveries = VecDeque::with_capacity(HELD);
        let window = Window::open();
        for (_, key) in (0..load.messages).zip(keys.iter().cycle()) {
            if deliveries.len() == HELD {
                settle(&mut deliveries, HELD / 2).await?;
            }
            deliveries.push_back(sender.enqueue(topic.record(key, VALUE)).await?);
        }
        let rest = deliveries.len();
        settle(&mut deliveries, rest).await?;
        Ok(Sample::rate(load.messages, window.close()))
    })
}

/// The handle that everybody clones; every delivery is awaited.
pub(crate) fn awaited_shared(load: &Load) -> Outcome<Sample> {
    runtime()?.block_on(async {
        let (producer, topic, keys) = (producer(load, MAX_IN_FLIGHT)?, topic(load), Load::keys());
        warm_up(&producer, &topic).await?;
        let mut deliveries = VecDeque::with_capacity(HELD);
        let window = Window::open();
        for (_, key) in (0..load.messages).zip(keys.iter().cycle()) {
            if deliveries.len() == HELD {
                settle(&mut deliveries, HELD / 2).await?;
            }
            deliveries.push_back(producer.enqueue(topic.record(key, VALUE)).await?);
        }
        let rest = deliveries.len();
        settle(&mut deliveries, rest).await?;
        Ok(Sample::rate(load.messages, window.close()))
    })
}

/// Awaits the oldest `count` deliveries.
async fn settle(deliveries: &mut VecDeque<Delivery>, count: usize) -> Outcome<()> {
    for delivery in deliveries.drain(..count) {
        delivery.await?;
    }
    Ok(())
}

/// A callback a record.
pub(crate) fn callback(load: &Load) -> Outcome<Sample> {
    #[derive(Default)]
    struct Answers {
        delivered: AtomicU64,
        failed: AtomicU64,
        last: Notify,
    }
    runtime()?.block_on(async {
        let (producer, topic, keys) = (producer(load, MAX_IN_FLIGHT)?, topic(load), Load::keys());
        warm_up(&producer, &topic).await?;
        // Leaked, a few bytes a run: a count of owners would be one more cache line that two threads write, where the
        // twin's callback finds its counters by a plain pointer.
        let (answers, messages): (&Answers, _) = (Box::leak(Box::default()), load.messages);
        let window = Window::open();
        for (_, key) in (0..messages).zip(keys.iter().cycle()) {
            let count = move |outcome: kafka_client::Outcome| {
                if outcome.is_err() {
                    answers.failed.fetch_add(1, Ordering::Relaxed);
                }
                if answers.delivered.fetch_add(1, Ordering::AcqRel) + 1 == messages {
                    answers.last.notify_one();
                }
            };
            producer.send_with(topic.record(key, VALUE), count).await?;
        }
        answers.last.notified().await;
        let window = window.close();
        match answers.failed.load(Ordering::Relaxed) {
            0 => Ok(Sample::rate(messages, window)),
            failed => Err(format!("{failed} deliveries failed").into()),
        }
    })
}

/// Many tasks share a producer with little room; each hands over all of its records, then waits for their deliveries.
pub(crate) fn saturated(load: &Load) -> Outcome<Sample> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let (producer, topic) = (producer(load, SATURATED_QUEUE)?, topic(load));
        warm_up(&producer, &topic).await?;
        let each = load.messages / SATURATED_TASKS;
        let window = Window::open();
        let tasks = (0..SATURATED_TASKS).map(|task| {
            let (producer, topic) = (producer.clone(), topic.clone());
            tokio::spawn(async move {
                let partition = task as i32 % PARTITIONS;
                let mut deliveries = Vec::with_capacity(each as usize);
                for _ in 0..each {
                    deliveries.push(producer.enqueue(topic.record(b"in order", VALUE).partition(partition)).await?);
                }
                let delivered = try_join_all(deliveries).await?;
                Outcome::Ok(delivered.windows(2).all(|pair| pair[0].offset() < pair[1].offset()))
            })
        });
        let mut order_kept = true;
        for task in tasks.collect::<Vec<_>>() {
            order_kept &= task.await??;
        }
        let mut sample = Sample::rate(each * SATURATED_TASKS, window.close());
        sample.order_kept = Some(order_kept);
        Ok(sample)
    })
}
