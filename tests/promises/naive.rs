//! Consumers as they are often written, which the checks must find fault with.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::message::OwnedMessage;
use rdkafka::{ClientContext, Message as _, Offset, TopicPartitionList};
use tests::chaos::process::asked_to_end;

use crate::ledger::{Pen, What};
use crate::member_process::{Order, Work};

/// Tells the ledger of rebalances, and takes its time for revocations: nobody sets it a deadline.
pub(crate) struct Patient {
    pub(crate) pen: Pen,
    pub(crate) listens_for: Duration,
}

impl Patient {
    fn tell(&self, what: What, partitions: &TopicPartitionList) {
        partitions.elements().iter().for_each(|element| self.pen.partition(what, element.partition()));
    }
}

impl ClientContext for Patient {}

impl ConsumerContext for Patient {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(partitions) if partitions.count() > 0 => {
                self.tell(What::Revoking, partitions);
                thread::sleep(self.listens_for);
                self.tell(What::Revoked, partitions);
            }
            _ => (),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            self.tell(What::Assigned, partitions);
        }
    }
}

/// Commits what is finished, whoever owns the partition by then: it knows no epoch.
pub(crate) fn commits_late(order: &Order) {
    let work = Work::of(order);
    let consumer: Arc<BaseConsumer<Patient>> = Arc::new(
        order
            .protocol()
            .foreign(order.text("bootstrap"), order.text("group"), order.session())
            .set("enable.auto.commit", "false")
            .create_with_context(Patient { pen: work.pen.clone(), listens_for: Duration::ZERO })
            .unwrap(),
    );
    consumer.subscribe(&[order.text("topic")]).unwrap();
    // A thread a partition, which handles in order and commits each record.
    let mut partitions: HashMap<i32, Sender<OwnedMessage>> = HashMap::new();
    let ended = thread::spawn(asked_to_end);
    while !ended.is_finished() {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(10)) else { continue };
        let sender = partitions.entry(record.partition()).or_insert_with(|| {
            let (sender, records) = channel::<OwnedMessage>();
            let (work, consumer) = (work.clone(), consumer.clone());
            thread::spawn(move || {
                for record in records {
                    handle(&work, &record);
                    let mut list = TopicPartitionList::new();
                    let next = Offset::Offset(record.offset() + 1);
                    list.add_partition_offset(record.topic(), record.partition(), next).unwrap();
                    let _ = consumer.commit(&list, CommitMode::Sync);
                }
            });
            sender
        });
        let _ = sender.send(record.detach());
    }
}

/// Polls on, and hands over by a channel without a bound.
pub(crate) fn hoards(order: &Order) {
    let work = Work::of(order);
    let consumer: BaseConsumer = order
        .protocol()
        .foreign(order.text("bootstrap"), order.text("group"), order.time("session").unwrap())
        .set("queued.max.messages.kbytes", "1024")
        .create()
        .unwrap();
    consumer.subscribe(&[order.text("topic")]).unwrap();
    let mut partitions: HashMap<i32, Sender<OwnedMessage>> = HashMap::new();
    let ended = thread::spawn(asked_to_end);
    while !ended.is_finished() {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(10)) else { continue };
        let sender = partitions.entry(record.partition()).or_insert_with(|| {
            let (sender, records) = channel::<OwnedMessage>();
            let work = work.clone();
            thread::spawn(move || records.iter().for_each(|record| handle(&work, &record)));
            sender
        });
        let _ = sender.send(record.detach());
    }
}

fn handle(work: &Work, record: &OwnedMessage) {
    let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
    work.begin(record.partition(), record.offset(), &key);
    thread::sleep(work.takes(record.offset()));
    while work.is_held(record.partition(), record.offset()) {
        thread::sleep(Duration::from_millis(5));
    }
    work.finish(record.partition(), record.offset(), &key);
}
