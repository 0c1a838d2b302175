//! What handles ask of a running consumer.

use super::control::{Control, Key};
use super::handle::{Command, PartitionStatus, RunningHandler};
use super::lag::{lag, reached};
use super::lives::{Again, RunningLane};
use super::running::{CoarseClock, LongRunning};
use crate::error::Error;
use crate::partition::TopicPartition;

impl Control {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Pause(partitions, paused, answer) => {
                for partition in partitions {
                    let key = (partition.topic_arc().clone(), partition.partition());
                    if let Some(lane) = self.lanes.get(&key) {
                        lane.state.pause(paused);
                    }
                    match paused {
                        true => self.paused.insert(key),
                        false => self.paused.remove(&key),
                    };
                }
                let _ = answer.send(Ok(()));
            }
            Command::Seek(partition, to, answer) => {
                let key = (partition.topic_arc().clone(), partition.partition());
                match self.lanes.get_mut(&key).filter(|lane| lane.again.is_none()) {
                    Some(lane) => {
                        lane.again = Some(Again::Seek(to, answer));
                        lane.state.stop();
                    }
                    None => {
                        let text = "seek: the partition is not assigned to this member now, or is being moved already";
                        let error = Error::config(text).with_operation("seek");
                        let error = error.with_topic(partition.topic()).with_partition(Some(partition.partition()));
                        let _ = answer.send(Err(error));
                    }
                }
            }
            Command::Partitions(answer) => {
                let clock = &self.settings.clock;
                let _ = answer.send(Ok(self.lanes.iter().map(|lane| status(lane, clock)).collect()));
            }
            Command::Lag(answer) => {
                let positions: Vec<_> = self.lanes.iter().map(|(key, lane)| (key.clone(), reached(lane))).collect();
                self.asking.spawn(lag(self.client.clone(), positions, answer));
            }
        }
    }
}

fn status((key, lane): (&Key, &RunningLane), clock: &CoarseClock) -> PartitionStatus {
    let state = &lane.state;
    let mut running: Vec<_> = state.running.all(clock).into_iter().map(shown).collect();
    running.sort_by_key(|one| one.offset);
    PartitionStatus {
        partition: TopicPartition::new(key.0.clone(), key.1),
        position: state.position(),
        head: reached(lane),
        committed: lane.committed.as_ref().map(|point| point.offset),
        in_flight: state.totals().unfinished,
        exposure: state.exposed(),
        buffered_records: state.held.records(),
        buffered_bytes: state.held.bytes(),
        paused: state.is_paused(),
        running,
    }
}

fn shown(one: LongRunning) -> RunningHandler {
    RunningHandler { offset: one.offset, key: one.key, running_for: one.running_for }
}
