//! The three ways in which members of a group agree on who reads what; a promise about groups holds in all of them.

use std::time::Duration;

use kafka_client::{Assignor, ConsumerBuilder, GroupProtocol, Kafka};
use rdkafka::ClientConfig;

use crate::harness::{Cluster, oracle, unique};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The classic one, where all partitions are given back at each rebalance.
    Range,
    /// The classic one, where only partitions that move are.
    Cooperative,
    /// KIP-848.
    Consumer,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Range, Self::Cooperative, Self::Consumer];

    /// The one of that name.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|one| one.name() == name).unwrap_or_else(|| panic!("no protocol {name}"))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Cooperative => "cooperative",
            Self::Consumer => "consumer",
        }
    }

    /// A group of its own on the shared broker, whose members are taken for dead after `session`.
    ///
    /// # Panics
    ///
    /// If the broker does not answer.
    pub fn group(self, session: Duration) -> String {
        self.group_on(Cluster::shared().bootstrap(), session)
    }

    /// As [`group`](Self::group), on any broker.
    ///
    /// # Panics
    ///
    /// If the broker does not answer.
    pub fn group_on(self, bootstrap: &str, session: Duration) -> String {
        let group = unique("billing");
        if self == Self::Consumer {
            // The session is the group's here, not the member's.
            oracle::configure_group(
                bootstrap,
                &group,
                &[("consumer.session.timeout.ms", &millis(session)), ("consumer.heartbeat.interval.ms", "100")],
            );
        }
        group
    }

    /// A member that notices and commits within milliseconds.
    pub fn member(self, kafka: &Kafka, group: &str, session: Duration) -> ConsumerBuilder {
        self.settle(kafka.consumer(group).commit_interval(Duration::from_millis(10)), session)
    }

    /// Makes a member of this protocol that notices within milliseconds.
    pub fn settle(self, member: ConsumerBuilder, session: Duration) -> ConsumerBuilder {
        let member = member.set("fetch.wait.max.ms", "20").group_protocol(self.settled());
        self.raw(session).into_iter().fold(member, |member, (key, value)| member.set(key, value))
    }

    fn settled(self) -> GroupProtocol {
        match self {
            Self::Range => GroupProtocol::Classic(Assignor::Range),
            Self::Cooperative => GroupProtocol::Classic(Assignor::CooperativeSticky),
            Self::Consumer => GroupProtocol::Consumer { remote_assignor: None },
        }
    }

    /// As [`member`](Self::member), for a consumer that is not ours.
    pub fn foreign(self, bootstrap: &str, group: &str, session: Duration) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "20");
        match self {
            Self::Range => config.set("partition.assignment.strategy", "range"),
            Self::Cooperative => config.set("partition.assignment.strategy", "cooperative-sticky"),
            Self::Consumer => config.set("group.protocol", "consumer"),
        };
        for (key, value) in self.raw(session) {
            config.set(key, value);
        }
        config
    }

    fn raw(self, session: Duration) -> Vec<(&'static str, String)> {
        match self {
            Self::Consumer => Vec::new(),
            _ => vec![("session.timeout.ms", millis(session)), ("heartbeat.interval.ms", "100".to_owned())],
        }
    }
}

/// A time as librdkafka's settings have it.
pub fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}
