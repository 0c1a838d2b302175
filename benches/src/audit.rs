//! What a `read_committed` reader finds of a round: each record once, or the round does not count.

use std::collections::BTreeMap;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::{Duration, Instant};

use ::tests::harness::oracle::{self, Isolation};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::frame::{self, Outcome, VALUE};

/// How long nothing may come before the reader gives up. Longer than a transaction that was left open lasts.
const PATIENCE: Duration = Duration::from_secs(30);

/// The record's number, unlike that of any other of its round.
pub(crate) type Number = u64;

/// A reader that begins where the topic ended before the round.
pub(crate) struct Audit {
    bootstrap: String,
    topic: String,
    stamp: Stamp,
    starts: BTreeMap<i32, i64>,
}

/// Makes the values of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp(u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Stamp {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// How many transactions have written to the partition that most have written to: each leaves a marker there.
    pub(crate) transactions: u64,
    /// Records in the log that the reader must not see: of aborted transactions.
    pub(crate) hidden: u64,
}

impl Stamp {
    /// Of an input that is read in many rounds.
    pub(crate) const OF_INPUT: Self = Self(0);

    /// Of a round: any number but that.
    pub(crate) fn new(number: u64) -> Self {
        Self(number | 1)
    }

    pub(crate) fn value(self, number: Number) -> [u8; VALUE.len()] {
        let mut value = *VALUE;
        value[..8].copy_from_slice(&self.0.to_le_bytes());
        value[8..16].copy_from_slice(&number.to_le_bytes());
        value
    }

    pub(crate) fn number(self, value: &[u8]) -> Option<Number> {
        let field = |at: usize| Some(u64::from_le_bytes(value.get(at..at + 8)?.try_into().ok()?));
        (field(0)? == self.0).then(|| field(8)).flatten()
    }
}

impl Audit {
    pub(crate) fn open(bootstrap: &str, topic: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            stamp: Stamp::new(frame::random()),
            starts: oracle::end_offsets_as(bootstrap, topic, Isolation::ReadUncommitted),
        }
    }

    /// For what was copied from an input whose values are all [`Stamp::OF_INPUT`]'s.
    pub(crate) fn of_numbers(self) -> Self {
        Self { stamp: Stamp::OF_INPUT, ..self }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Reads what the round has written.
    ///
    /// # Errors
    /// Unless there are so many records, each number once, and nothing else.
    pub(crate) fn close(self, records: u64) -> Outcome<Found> {
        let ends = self.settled()?;
        let mut numbers = Vec::with_capacity(records as usize);
        let mut seen = BTreeMap::<i32, u64>::new();
        let mut strangers = 0_u64;
        self.read("read_committed", &ends, |partition, value| {
            *seen.entry(partition).or_default() += 1;
            match self.stamp.number(value) {
                Some(number) => numbers.push(number),
                None => strangers += 1,
            }
        })?;
        let count = numbers.len() as u64;
        numbers.sort_unstable();
        numbers.dedup();
        let twice = count - numbers.len() as u64;
        if (count, twice, strangers) != (records, 0, 0) {
            return Err(format!(
                "{records} records were to be visible once: {count} are, {twice} of them again, {strangers} others"
            )
            .into());
        }
        let mut all = BTreeMap::<i32, u64>::new();
        self.read("read_uncommitted", &ends, |partition, _| *all.entry(partition).or_default() += 1)?;
        let markers = |(partition, end): (&i32, &i64)| {
            (end - self.starts.get(partition).unwrap_or(&0)) as u64 - all.get(partition).copied().unwrap_or_default()
        };
        Ok(Found {
            transactions: ends.iter().map(markers).max().unwrap_or_default(),
            hidden: all.values().sum::<u64>() - seen.values().sum::<u64>(),
        })
    }

    /// The ends of the partitions, once no transaction is open on them: markers are written after a commit is answered.
    fn settled(&self) -> Outcome<BTreeMap<i32, i64>> {
        let start = Instant::now();
        loop {
            let [all, committed] = [Isolation::ReadUncommitted, Isolation::ReadCommitted]
                .map(|isolation| oracle::end_offsets_as(&self.bootstrap, &self.topic, isolation));
            if all == committed {
                return Ok(all);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("a transaction is still open on {}", self.topic).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn read(&self, isolation: &str, ends: &BTreeMap<i32, i64>, mut each: impl FnMut(i32, &[u8])) -> Outcome<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("group.id", "audit").set("enable.auto.commit", "false");
        config.set("isolation.level", isolation).set("enable.partition.eof", "true").set("check.crcs", "true");
        let consumer: BaseConsumer = config.create()?;
        let mut unread = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for (&partition, &end) in ends {
            let start = self.starts.get(&partition).copied().unwrap_or_default();
            if start < end {
                unread.insert(partition, end);
                assignment.add_partition_offset(&self.topic, partition, Offset::Offset(start))?;
            }
        }
        consumer.assign(&assignment)?;
        let mut heard = Instant::now();
        while !unread.is_empty() {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    each(message.partition(), message.payload().unwrap_or_default());
                    heard = Instant::now();
                }
                // Behind all: nothing is written meanwhile.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    unread.remove(&partition);
                }
                Some(Err(_)) | None if heard.elapsed() < PATIENCE => (),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(format!("the reader got stuck before {unread:?}").into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_number_to_its_round_alone() {
        let value = Stamp(7).value(42);
        assert_eq!((Stamp(7).number(&value), Stamp(8).number(&value)), (Some(42), None));
        assert_eq!(Stamp(7).number(b"short"), None);
    }
}
