//! Where partitions start, end, and are at a time.

use std::collections::HashMap;
use std::time::SystemTime;

use super::session::Session;
use super::{Admin, is_topic_name};
use crate::native::admin::Requests;
use crate::native::admin::offsets::{Listed, Spec};
use crate::native::{Event, NativeError};
use crate::record::epoch_millis;
use crate::{Error, ErrorKind};

const LIST: &str = "list offsets";

impl Admin {
    /// Tells the offsets of partitions: the first, the next to be written, or the first since a time. One answer a
    /// line, in the order of `of`; a partition may be there more than once.
    ///
    /// `isolation` says where a partition ends: with [`Isolation::ReadCommitted`] where the first transaction begins
    /// that is still open.
    ///
    /// The [embedded broker](crate::Kafka::embedded) knows [`Earliest`](OffsetSpec::Earliest) and
    /// [`Latest`](OffsetSpec::Latest) only.
    ///
    /// ```
    /// use kafka_client::{Isolation, Kafka, OffsetSpec, TopicSpec};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), kafka_client::Error> {
    /// # let kafka = Kafka::embedded()?;
    /// kafka.ensure_topics(&[TopicSpec::new("orders", 1)]).await?;
    /// let of = [("orders", 0, OffsetSpec::Earliest), ("orders", 0, OffsetSpec::Latest)];
    /// for listed in kafka.admin().list_offsets(&of, Isolation::ReadUncommitted).await? {
    ///     let listed = listed?;
    ///     println!("{}-{}: {:?}", listed.topic(), listed.partition(), listed.offset());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// For all: [`ErrorKind::Config`] for a topic, partition or time that cannot be, and [`ErrorKind::Unreachable`] or
    /// [`ErrorKind::Timeout`], when nobody answers. For one: [`ErrorKind::UnknownTopic`] when there is no such
    /// partition, [`ErrorKind::Denied`], [`ErrorKind::Broker`].
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn list_offsets(
        &self,
        of: &[(&str, i32, OffsetSpec)],
        isolation: Isolation,
    ) -> Result<Vec<Result<ListedOffset, Error>>, Error> {
        let named = |error: Error| error.with_operation(LIST);
        let listed = self.list_all(of, isolation).await.map_err(named)?;
        Ok(listed.into_iter().map(|offset| offset.map_err(named)).collect())
    }

    async fn list_all(
        &self,
        of: &[(&str, i32, OffsetSpec)],
        isolation: Isolation,
    ) -> Result<Vec<Result<ListedOffset, Error>>, Error> {
        of.iter().try_for_each(|(topic, partition, _)| check_partition(topic, *partition))?;
        let asked = of.iter().map(|(topic, partition, spec)| Ok((*topic, *partition, spec.native()?)));
        let asked = asked.collect::<Result<Vec<_>, Error>>()?;
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = Session::open(&self.kafka, self.timeout).await?;
        let answers = list(&mut session, &asked, isolation).await?;
        let one = |((topic, partition, _), answer): (&(&str, i32, Spec), Result<Listed, Error>)| {
            let Listed { offset, timestamp_ms, leader_epoch } = answer?;
            Ok(ListedOffset { topic: (*topic).to_owned(), partition: *partition, offset, timestamp_ms, leader_epoch })
        };
        Ok(asked.iter().zip(answers).map(one).collect())
    }
}

/// What the leaders say, in the order asked. A partition may be there more than once.
pub(super) async fn list(
    session: &mut Session,
    of: &[(&str, i32, Spec)],
    isolation: Isolation,
) -> Result<Vec<Result<Listed, Error>>, Error> {
    let by_time = |spec: &Spec| !matches!(spec, Spec::Earliest | Spec::Latest);
    if session.is_embedded() && of.iter().any(|(.., spec)| by_time(spec)) {
        return Err(Error::new(ErrorKind::Broker, "the embedded broker cannot look for a time"));
    }
    // Asked first, because librdkafka has one error for all when it finds a leader of none.
    let known = partition_counts(session, of).await?;
    let mut answers: Vec<Option<Result<Listed, Error>>> =
        of.iter().map(|(topic, partition, _)| unknown(&known, topic, *partition).map(Err)).collect();
    // librdkafka takes a partition once a request, so what is there twice is asked for in another round.
    loop {
        let mut round: HashMap<(&str, i32), usize> = HashMap::new();
        for (at, (topic, partition, _)) in of.iter().enumerate().rev().filter(|(at, _)| answers[*at].is_none()) {
            round.insert((topic, *partition), at);
        }
        let mut round: Vec<usize> = round.into_values().collect();
        if round.is_empty() {
            return Ok(answers.into_iter().flatten().collect());
        }
        round.sort_unstable();
        let keys: Vec<(String, i32)> = round.iter().map(|at| (of[*at].0.to_owned(), of[*at].1)).collect();
        let submit = |requests: &Requests<'_>, open: &[usize]| {
            let open: Vec<_> = open.iter().map(|at| of[round[*at]]).collect();
            requests.list_offsets(&open, isolation == Isolation::ReadCommitted)
        };
        let explain = |at: usize, error| partition_error(keys[at].0.as_str(), keys[at].1, error);
        let listed = session.each(&keys, submit, Event::listed_offsets, explain).await?;
        round.into_iter().zip(listed).for_each(|(at, listed)| answers[at] = Some(listed));
    }
}

/// How many partitions each topic has.
async fn partition_counts<'a>(
    session: &mut Session,
    of: &[(&'a str, i32, Spec)],
) -> Result<HashMap<&'a str, Result<i32, Error>>, Error> {
    let mut topics: Vec<&str> = of.iter().map(|(topic, ..)| *topic).collect();
    topics.sort_unstable();
    topics.dedup();
    let keys: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let submit = |requests: &Requests<'_>, open: &[usize]| {
        requests.describe_topics(&open.iter().map(|at| topics[*at]).collect::<Vec<_>>(), false)
    };
    let explain = |at: usize, error| Error::native(error).with_topic(topics[at]);
    let found = session.each(&keys, submit, Event::topic_descriptions, explain).await?;
    Ok(topics.iter().copied().zip(found.into_iter().map(|found| found.map(|found| found.partitions))).collect())
}

/// Why there is nothing to ask about a partition, if so.
fn unknown(known: &HashMap<&str, Result<i32, Error>>, topic: &str, partition: i32) -> Option<Error> {
    match known.get(topic) {
        Some(Ok(partitions)) if partition < *partitions => None,
        Some(Ok(partitions)) => {
            let error = NativeError::unknown_topic().with_text(format!("the topic has {partitions} partitions"));
            Some(partition_error(topic, partition, error))
        }
        Some(Err(error)) => Some(error.clone().with_partition(Some(partition))),
        None => Some(partition_error(topic, partition, NativeError::unknown_topic())),
    }
}

pub(super) fn partition_error(topic: &str, partition: i32, error: NativeError) -> Error {
    Error::native(error).with_topic(topic).with_partition(Some(partition))
}

/// Refuses what cannot be a partition of a topic.
pub(super) fn check_partition(topic: &str, partition: i32) -> Result<(), Error> {
    if !is_topic_name(topic) {
        return Err(Error::config(format!("{topic:?} is no name of a topic")));
    }
    match partition {
        0.. => Ok(()),
        _ => Err(Error::config(format!("a partition's number is not negative, as {partition} is")).with_topic(topic)),
    }
}

/// Which offset of a partition is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// That of the oldest record that is kept, or will be: where the partition starts.
    Earliest,
    /// That which the next record gets: where the partition ends.
    Latest,
    /// That of the record with the highest timestamp. There is none in an empty partition.
    MaxTimestamp,
    /// That of the first record whose timestamp is this or later. There may be none.
    Timestamp(SystemTime),
}

impl OffsetSpec {
    pub(super) fn native(self) -> Result<Spec, Error> {
        match self {
            Self::Earliest => Ok(Spec::Earliest),
            Self::Latest => Ok(Spec::Latest),
            Self::MaxTimestamp => Ok(Spec::MaxTimestamp),
            Self::Timestamp(time) => match epoch_millis(time) {
                millis @ 0.. => Ok(Spec::Timestamp(millis)),
                _ => Err(Error::config("Kafka has no records from before 1970 to look for")),
            },
        }
    }
}

/// Which records count. Corresponds to `isolation.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// All of them, those of open and aborted transactions too. The default.
    #[default]
    ReadUncommitted,
    /// Those before the first transaction that is still open: the ones that a `read_committed` consumer can have.
    ReadCommitted,
}

/// An offset of a partition, as its leader tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    topic: String,
    partition: i32,
    offset: Option<i64>,
    timestamp_ms: Option<i64>,
    leader_epoch: Option<i32>,
}

impl ListedOffset {
    /// The name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset; `None` if there is no such record.
    pub fn offset(&self) -> Option<i64> {
        self.offset
    }

    /// The timestamp of the record that was found by time, in milliseconds since the epoch.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp_ms
    }

    /// The epoch of the leader that wrote there; `None` where there is no record yet, or the broker does not tell.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }
}
