//! The three ways in which members of a group agree on who reads what; a promise about groups holds in all of them.

use std::time::Duration;

use kafka_client::{Assignor, ConsumerBuilder, GroupProtocol, Kafka};
use rdkafka::ClientConfig;
use tests::harness::{Cluster, oracle, unique};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Range,
    Cooperative,
    /// KIP-848.
    Consumer,
}

/// A session long enough for a machine that is busy with other tests.
pub(crate) const SESSION: Duration = Duration::from_secs(6);
/// A session for tests that wait for its end.
pub(crate) const SHORT_SESSION: Duration = Duration::from_millis(2_000);

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Range, Self::Cooperative, Self::Consumer];

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|one| one.name() == name).unwrap_or_else(|| panic!("no protocol {name}"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Cooperative => "cooperative",
            Self::Consumer => "consumer",
        }
    }

    /// A group of its own on the shared broker, whose members are taken for dead after `session`.
    pub(crate) fn group(self, session: Duration) -> String {
        self.group_on(Cluster::shared().bootstrap(), session)
    }

    pub(crate) fn group_on(self, bootstrap: &str, session: Duration) -> String {
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
    pub(crate) fn member(self, kafka: &Kafka, group: &str, session: Duration) -> ConsumerBuilder {
        let member = kafka
            .consumer(group)
            .commit_interval(Duration::from_millis(10))
            .set("fetch.wait.max.ms", "20")
            .group_protocol(self.settled());
        self.raw(session).into_iter().fold(member, |member, (key, value)| member.set(key, value))
    }

    fn settled(self) -> GroupProtocol {
        match self {
            Self::Range => GroupProtocol::Classic(Assignor::Range),
            Self::Cooperative => GroupProtocol::Classic(Assignor::CooperativeSticky),
            Self::Consumer => GroupProtocol::Consumer { remote_assignor: None },
        }
    }

    /// As `member`, for a consumer that is not ours.
    pub(crate) fn foreign(self, bootstrap: &str, group: &str, session: Duration) -> ClientConfig {
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

pub(crate) fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}
