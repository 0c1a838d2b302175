//! What happens before the consumer starts: the producer is built, and the topics are as they have to be.

use std::sync::atomic::Ordering;

use kafka_client::{
    BoxError, ConsumerBuilder, Error, ErrorKind, Guarantee, Kafka, Producer, TopicDescription, TopicSpec,
};

use super::Settings;
use super::core::Core;

/// What a record may take beside what its consumer may send: the headers.
const ROOM_FOR_HEADERS: u64 = 64 << 10;
/// librdkafka's default.
const DEFAULT_MAX_MESSAGE: u64 = 1_000_000;
/// No retry topic may delete what is younger than this: a week.
const LEAST_RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// What is known when the route is joined.
pub(super) struct Plan {
    kafka: Kafka,
    /// Whether dead letters and retries are part of transactions, as far as is known.
    transactional: bool,
    /// Why keys cannot keep an order.
    contradiction: Option<String>,
}

impl Plan {
    pub(super) fn new(builder: &ConsumerBuilder, unordered: bool) -> Self {
        let contradiction = match unordered {
            true => Some("its route handles records of one key at the same time (`Concurrency::unordered`)".to_owned()),
            false => separates_partitions(builder),
        };
        let transactional = builder.guaranteed() == Guarantee::ExactlyOnce;
        Self { kafka: builder.kafka().clone(), transactional, contradiction }
    }

    pub(super) async fn carry_out(self, core: &Core) -> Result<(), BoxError> {
        let settings = &core.settings;
        if let (true, Some(why)) = (settings.keeps_order(), &self.contradiction) {
            let order = settings.retry_topic.as_ref().map(|topic| topic.kind());
            return Err(format!("the recovery of topic {} cannot keep {order:?}: {why}", core.source).into());
        }
        match settings.quarantine {
            Some(deaths) if !(2..=255).contains(&deaths) => {
                return Err(format!(
                    "the recovery of topic {} has `quarantine({deaths})`: it takes 2 deaths at least to know the record, and \
                     no more than 255 are counted",
                    core.source
                )
                .into());
            }
            Some(_) if settings.dead_letter.is_none() => {
                return Err(format!(
                    "the recovery of topic {} has `quarantine` and no `dead_letter`: there is nowhere to put the records",
                    core.source
                )
                .into());
            }
            _ => (),
        }
        if !self.transactional {
            core.writer.producer()?;
        }
        let source = match core.source.starts_with('^') {
            true => None,
            false => self.kafka.admin().describe_topic(&core.source).await?,
        };
        let partitions = source.as_ref().map(TopicDescription::partitions);
        if settings.keeps_order() && partitions.is_none() {
            let why = match core.source.starts_with('^') {
                true => "is a pattern: give each topic a route of its own, or the retry topic `Order::Unordered`",
                false => "does not exist, so that nobody knows how many partitions its retry topic needs",
            };
            return Err(format!("the recovery of topic {} cannot keep the order of keys: it {why}", core.source).into());
        }
        if let Some(topic) = &settings.retry_topic {
            let found = self.topic(core, topic.name(), partitions, "retry").await?;
            if let (true, Some(wanted)) =
                (settings.keeps_order(), partitions.filter(|wanted| *wanted != found.partitions))
            {
                return Err(format!(
                    "retry topic {} has {} partitions, and {} has {wanted}: to keep the order of keys both need as many. {}",
                    topic.name(),
                    found.partitions,
                    core.source,
                    command(topic.name(), wanted)
                )
                .into());
            }
            core.retry_partitions.store(found.partitions, Ordering::Relaxed);
            found.bound_timestamps(core);
            if found.retention_ms.is_some_and(|ms| (0..LEAST_RETENTION_MS).contains(&ms)) {
                return Err(format!(
                    "retry topic {} deletes records after {} ms, also those that wait. Run `kafka-configs.sh --alter \
                     --entity-type topics --entity-name {} --add-config retention.ms=-1`",
                    topic.name(),
                    found.retention_ms.unwrap_or_default(),
                    topic.name()
                )
                .into());
            }
        }
        if let Some(topic) = &settings.dead_letter {
            let found = self.topic(core, topic, partitions, "dead-letter").await?;
            core.dead_letter_partitions.store(found.partitions, Ordering::Relaxed);
            core.retention_ms.store(found.retention_ms.unwrap_or(-1), Ordering::Relaxed);
            found.bound_timestamps(core);
        }
        Ok(())
    }

    /// Sees to it that a topic is there, and fit to keep records.
    async fn topic(&self, core: &Core, name: &str, partitions: Option<i32>, what: &str) -> Result<Found, BoxError> {
        if let Some(found) = self.kafka.admin().describe_topic(name).await? {
            if found.config("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
                return Err(format!(
                    "{what} topic {name} is compacted, which deletes all records of a key but the last. Run \
                     `kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config cleanup.policy=delete`"
                )
                .into());
            }
            let number = |key: &str| found.config(key).and_then(|ms| ms.parse().ok());
            return Ok(Found {
                partitions: found.partitions(),
                retention_ms: number("retention.ms"),
                timestamp_before_ms: number("message.timestamp.before.max.ms"),
                timestamp_after_ms: number("message.timestamp.after.max.ms"),
            });
        }
        let wanted = partitions.unwrap_or(1);
        if !core.settings.creates_topics {
            return Err(format!("{what} topic {name} does not exist. {}", command(name, wanted)).into());
        }
        let spec = TopicSpec::new(name, wanted).config("retention.ms", "-1").config("cleanup.policy", "delete");
        let refused = |error: Error| -> BoxError {
            match error.kind() {
                ErrorKind::Denied => format!(
                    "{what} topic {name} does not exist, and may not be created ({error}). {}",
                    command(name, wanted)
                )
                .into(),
                _ => error.into(),
            }
        };
        self.kafka.ensure_topics(&[spec]).await.map_err(refused)?;
        tracing::info!(topic = name, partitions = wanted, "created the {what} topic");
        // As it was created: with its broker's settings for the rest.
        let found = self.kafka.admin().describe_topic(name).await?;
        let number = |key: &str| found.as_ref()?.config(key)?.parse().ok();
        Ok(Found {
            partitions: wanted,
            retention_ms: Some(-1),
            timestamp_before_ms: number("message.timestamp.before.max.ms"),
            timestamp_after_ms: number("message.timestamp.after.max.ms"),
        })
    }
}

/// Makes the producer of records that are not part of a transaction.
pub(super) fn producer(
    builder: &ConsumerBuilder,
    settings: &Settings,
) -> impl Fn() -> Result<Producer, Error> + Send + Sync + 'static {
    let (kafka, given) = (builder.kafka().clone(), settings.producer.clone());
    let most = builder.setting("message.max.bytes").and_then(|bytes| bytes.parse().ok());
    let most: u64 = most.unwrap_or(DEFAULT_MAX_MESSAGE) + ROOM_FOR_HEADERS;
    move || match &given {
        Some(producer) => Ok(producer.clone()),
        None => kafka.producer().set("message.max.bytes", most.to_string()).build(),
    }
}

struct Found {
    partitions: i32,
    /// `None` where the cluster does not tell.
    retention_ms: Option<i64>,
    timestamp_before_ms: Option<i64>,
    timestamp_after_ms: Option<i64>,
}

impl Found {
    fn bound_timestamps(&self, core: &Core) {
        core.timestamp_before_ms.fetch_min(self.timestamp_before_ms.unwrap_or(i64::MAX), Ordering::Relaxed);
        core.timestamp_after_ms.fetch_min(self.timestamp_after_ms.unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

fn command(topic: &str, partitions: i32) -> String {
    format!(
        "Run `kafka-topics.sh --create --topic {topic} --partitions {partitions} --config retention.ms=-1 --config \
         cleanup.policy=delete`"
    )
}

/// Why partitions of equal number may belong to different members, where they may. Measured to hold: classic `range`, and
/// `group.remote.assignor=range`.
fn separates_partitions(builder: &ConsumerBuilder) -> Option<String> {
    let setting = |key| builder.setting(key).unwrap_or_default();
    if setting("group.protocol").eq_ignore_ascii_case("consumer") {
        let assignor = setting("group.remote.assignor");
        return (assignor != "range").then(|| {
            format!(
                "with `group.protocol=consumer` partitions of equal number stay together only under \
                 `group.remote.assignor=range`, not under `{}`",
                if assignor.is_empty() { "uniform" } else { assignor }
            )
        });
    }
    let strategy = setting("partition.assignment.strategy");
    let first = strategy.split(',').next().unwrap_or_default().trim();
    (!first.is_empty() && first != "range").then(|| {
        format!("partitions of equal number stay together only under `partition.assignment.strategy=range`, not under `{strategy}`")
    })
}
