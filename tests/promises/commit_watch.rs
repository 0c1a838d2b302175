//! Somebody who looks at the group's offsets all the time, from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::group::SOON;
use crate::ledger::Ledger;

/// Looks until it is stopped.
pub(crate) struct CommitWatch {
    stopped: Arc<AtomicBool>,
    task: JoinHandle<Seen>,
}

/// What was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Offsets that moved back: partition, from, to.
    pub(crate) back: Vec<(i32, i64, i64)>,
    /// Offsets that were ahead of what was finished: partition, committed, finished.
    pub(crate) ahead: Vec<(i32, i64, i64)>,
    /// How often it looked; a watch that never looked proves nothing.
    pub(crate) looks: usize,
    last: BTreeMap<i32, i64>,
}

impl CommitWatch {
    /// Has looked when it returns: what was committed before is where offsets move back from.
    pub(crate) async fn start(
        bootstrap: &str,
        group: &str,
        topic: &str,
        partitions: i32,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", group).create().unwrap();
        let (topic, ledger, stopped) = (topic.to_owned(), ledger.clone(), Arc::new(AtomicBool::new(false)));
        let stop = stopped.clone();
        let (looked, first_look) = oneshot::channel();
        let mut looked = Some(looked);
        let task = spawn_blocking(move || {
            let mut seen = Seen::default();
            // One more look after it was told to stop.
            loop {
                let last = stop.load(SeqCst);
                seen.look(&consumer, &topic, partitions, &ledger);
                if seen.looks > 0 {
                    // Nobody waits any more where the test has failed.
                    looked.take().map(|looked| looked.send(()));
                }
                if last {
                    return seen;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let watch = Self { stopped, task };
        tokio::time::timeout(SOON, first_look).await.expect("the watch can look").unwrap();
        watch
    }

    pub(crate) async fn stop(mut self) -> Seen {
        self.stopped.store(true, SeqCst);
        let seen = (&mut self.task).await.unwrap();
        assert!(seen.looks > 0, "the watch could never look");
        seen
    }
}

impl Drop for CommitWatch {
    fn drop(&mut self) {
        // A test that fails ends: its runtime waits for this thread.
        self.stopped.store(true, SeqCst);
    }
}

impl Seen {
    fn look(&mut self, consumer: &BaseConsumer, topic: &str, partitions: i32, ledger: &Ledger) {
        let mut asked = TopicPartitionList::new();
        for partition in 0..partitions {
            asked.add_partition(topic, partition);
        }
        // A broker that is being restarted does not answer.
        let Ok(answered) = consumer.committed_offsets(asked, Duration::from_secs(1)) else { return };
        let unfinished = ledger.lines().unfinished(partitions);
        for element in answered.elements() {
            let (partition, Offset::Offset(offset)) = (element.partition(), element.offset()) else { continue };
            if offset > unfinished[&partition] {
                self.ahead.push((partition, offset, unfinished[&partition]));
            }
            match self.last.insert(partition, offset) {
                Some(before) if before > offset => self.back.push((partition, before, offset)),
                _ => (),
            }
        }
        self.looks += 1;
    }
}
