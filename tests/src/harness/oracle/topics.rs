//! Creates and deletes topics, and waits until every broker has heard of it.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::PATIENCE;
use crate::harness::eventually_blocking;

/// Creates topic `name` and returns when every broker knows a leader for each of its partitions.
///
/// # Panics
///
/// If the topic exists, or has no leaders within 30 s.
#[track_caller]
pub fn create_topic(bootstrap: &str, name: &str, partitions: i32, replication: i32) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
    let create = || futures::executor::block_on(admin(bootstrap).create_topics([&topic], &within_patience()));
    let mut created = create();
    // A broker that was stopped for longer than its session, or has just been started, counts as dead for a moment.
    eventually_blocking(&format!("brokers enough for topic {name}"), PATIENCE, || {
        if too_few_brokers(&created) {
            created = create();
        }
        !too_few_brokers(&created)
    });
    check("create", name, created);
    let led = |topic: &MetadataTopic| {
        let partitions = topic.partitions();
        !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0)
    };
    everywhere(bootstrap, name, "has leaders", |topic| topic.is_some_and(led));
}

/// Deletes topic `name` and returns when no broker knows it any more.
///
/// # Panics
///
/// If there is no such topic, or it is still there after 30 s.
#[track_caller]
pub fn delete_topic(bootstrap: &str, name: &str) {
    let deleted = futures::executor::block_on(admin(bootstrap).delete_topics(&[name], &within_patience()));
    check("delete", name, deleted);
    everywhere(bootstrap, name, "is gone", |topic| topic.is_none());
}

/// Returns the id of the broker that leads `partition`, or -1 while none does.
///
/// # Panics
///
/// If there is no such partition.
#[track_caller]
pub fn leader(bootstrap: &str, topic: &str, partition: i32) -> i32 {
    let metadata = of_topic(bootstrap, topic);
    let partitions = find(&metadata, topic).map_or(&[][..], MetadataTopic::partitions);
    let found = partitions.iter().find(|candidate| candidate.id() == partition);
    found.unwrap_or_else(|| panic!("there is no partition {topic}-{partition}")).leader()
}

/// Returns the ids of the brokers that the one at `address` knows to be alive.
pub(crate) fn brokers(address: &str) -> KafkaResult<Vec<i32>> {
    Ok(metadata(address, None)?.brokers().iter().map(|broker| broker.id()).collect())
}

/// Returns the partitions of `topic`.
#[track_caller]
pub(super) fn partitions(bootstrap: &str, topic: &str) -> Vec<i32> {
    let metadata = of_topic(bootstrap, topic);
    let found = find(&metadata, topic).unwrap_or_else(|| panic!("there is no topic {topic}"));
    found.partitions().iter().map(|partition| partition.id()).collect()
}

#[track_caller]
fn of_topic(bootstrap: &str, topic: &str) -> Metadata {
    let mut answer = metadata(bootstrap, Some(topic));
    // One address of several may be that of a killed broker.
    eventually_blocking(&format!("metadata of {topic}"), PATIENCE, || {
        answer.is_ok() || {
            answer = metadata(bootstrap, Some(topic));
            answer.is_ok()
        }
    });
    answer.unwrap_or_else(|e| panic!("no metadata of {topic}: {e}"))
}

/// A client a question: one that lives on has heard of other brokers, and asks any of them.
fn metadata(address: &str, topic: Option<&str>) -> KafkaResult<Metadata> {
    let client: BaseConsumer = super::client(address).create()?;
    client.fetch_metadata(topic, std::time::Duration::from_secs(1))
}

/// Waits until every live broker's answer about `topic` satisfies `agreed`: a topic reaches the brokers one after
/// the other, and a client may ask any of them.
#[track_caller]
fn everywhere(bootstrap: &str, topic: &str, what: &str, agreed: impl Fn(Option<&MetadataTopic>) -> bool) {
    let asked = |address: &str| metadata(address, Some(topic)).ok().filter(|answer| agreed(find(answer, topic)));
    eventually_blocking(&format!("topic {topic} {what} on every broker"), PATIENCE, || {
        asked(bootstrap).is_some_and(|answer| {
            let mut brokers = answer.brokers().iter();
            brokers.all(|broker| asked(&format!("{}:{}", broker.host(), broker.port())).is_some())
        })
    });
}

/// The topic in an answer; a topic that does not exist is answered with an error in its place.
fn find<'a>(metadata: &'a Metadata, topic: &str) -> Option<&'a MetadataTopic> {
    metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none())
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    super::client(bootstrap).create().unwrap_or_else(|e| panic!("no admin client: {e}"))
}

fn within_patience() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn too_few_brokers(answered: &KafkaResult<Vec<TopicResult>>) -> bool {
    let too_few = |result: &TopicResult| matches!(result, Err((_, RDKafkaErrorCode::InvalidReplicationFactor)));
    answered.as_ref().is_ok_and(|results| results.iter().any(too_few))
}

#[track_caller]
fn check(verb: &str, topic: &str, answered: KafkaResult<Vec<TopicResult>>) {
    let results = answered.unwrap_or_else(|e| panic!("could not {verb} topic {topic}: {e}"));
    for result in results {
        if let Err((_, e)) = result {
            panic!("could not {verb} topic {topic}: {e}");
        }
    }
}
