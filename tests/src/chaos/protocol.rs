//! The ways in which members of a group agree on who reads what; a promise about groups holds in all three of them.

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
    /// KIP-848 with the assignor that keeps partitions of one number together.
    ConsumerRange,
}

impl Protocol {
    /// All of them, with the assignor that each has by default.
    pub const ALL: [Self; 3] = [Self::Range, Self::Cooperative, Self::Consumer];
    /// Those that give partitions of one number to one member, in all topics with as many partitions.
    pub const TOGETHER: [Self; 2] = [Self::Range, Self::ConsumerRange];

    /// The one of that name.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn named(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .chain(Self::TOGETHER)
            .find(|one| one.name() == name)
            .unwrap_or_else(|| panic!("no protocol {name}"))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Cooperative => "cooperative",
            Self::Consumer => "consumer",
            Self::ConsumerRange => "consumer-range",
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
        self.prepare(bootstrap, &group, session);
        group
    }

    /// Sees to it that members of this group are taken for dead after `session`, as far as that is the broker's business.
    ///
    /// # Panics
    ///
    /// If the broker does not answer.
    pub fn prepare(self, bootstrap: &str, group: &str, session: Duration) {
        if self.is_new() {
            // The session is the group's here, not the member's.
            oracle::configure_group(
                bootstrap,
                group,
                &[("consumer.session.timeout.ms", &millis(session)), ("consumer.heartbeat.interval.ms", "100")],
            );
        }
    }

    fn is_new(self) -> bool {
        matches!(self, Self::Consumer | Self::ConsumerRange)
    }

    /// A cluster whose consumers are members of this protocol, for those whose options cannot be reached.
    pub fn settle_all(self, kafka: Kafka, session: Duration) -> Kafka {
        let kafka = match self {
            Self::Range => kafka.set("partition.assignment.strategy", "range"),
            Self::Cooperative => kafka.set("partition.assignment.strategy", "cooperative-sticky"),
            Self::Consumer => kafka.set("group.protocol", "consumer"),
            Self::ConsumerRange => kafka.set("group.protocol", "consumer").set("group.remote.assignor", "range"),
        };
        self.raw(session).into_iter().fold(kafka, |kafka, (key, value)| kafka.set(key, value))
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
            Self::ConsumerRange => GroupProtocol::Consumer { remote_assignor: Some("range".to_owned()) },
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
            Self::ConsumerRange => config.set("group.protocol", "consumer").set("group.remote.assignor", "range"),
        };
        for (key, value) in self.raw(session) {
            config.set(key, value);
        }
        config
    }

    fn raw(self, session: Duration) -> Vec<(&'static str, String)> {
        match self.is_new() {
            true => Vec::new(),
            false => vec![("session.timeout.ms", millis(session)), ("heartbeat.interval.ms", "100".to_owned())],
        }
    }
}

/// A time as librdkafka's settings have it.
pub fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}
