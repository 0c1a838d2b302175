//! Configurations are changed line by line, and only those lines; what fails for one resource hides no other.

use std::time::{Duration, Instant};

use kafka_client::{
    Admin, ConfigAlteration, ConfigResource, ConfigSource, Error, ErrorKind, Received, ResourceConfig, TopicSpec,
};
use tests::harness::{eventually, unique};

use crate::given;
use crate::group::{Member, SOON};

fn admin() -> Admin {
    given::kafka().admin()
}

async fn config(resource: &ConfigResource) -> Result<ResourceConfig, Error> {
    admin().describe_configs(std::slice::from_ref(resource)).await?.remove(0)
}

async fn alter(alteration: ConfigAlteration) -> Result<(), Error> {
    admin().alter_configs_incremental(&[alteration]).await?.remove(0)
}

/// Waits until a key has this value, from this source. Brokers take changes one after the other.
async fn becomes(resource: &ConfigResource, key: &str, value: Option<&str>, source: ConfigSource) {
    eventually(&format!("{key} of {resource} is {value:?} by {source:?}"), SOON, async || {
        let config = config(resource).await.unwrap();
        let entry = config.get(key).unwrap_or_else(|| panic!("{resource} has no {key}"));
        entry.value() == value && entry.source() == source
    })
    .await;
}

#[tokio::test]
async fn lines_of_a_topic_are_set_extended_reduced_and_taken_back() -> Result<(), Error> {
    let name = unique("orders");
    given::kafka().ensure_topics(&[TopicSpec::new(&name, 1).config("segment.ms", "700000")]).await?;
    let topic = ConfigResource::topic(&name);
    let change = || ConfigAlteration::new(topic.clone());
    alter(change().set("retention.ms", "86400000").append("cleanup.policy", "compact")).await?;
    becomes(&topic, "retention.ms", Some("86400000"), ConfigSource::DynamicTopic).await;
    becomes(&topic, "cleanup.policy", Some("delete,compact"), ConfigSource::DynamicTopic).await;
    alter(change().delete("retention.ms").subtract("cleanup.policy", "delete")).await?;
    becomes(&topic, "cleanup.policy", Some("compact"), ConfigSource::DynamicTopic).await;
    becomes(&topic, "retention.ms", Some("604800000"), ConfigSource::Default).await;
    // What nobody named is as it was.
    becomes(&topic, "segment.ms", Some("700000"), ConfigSource::DynamicTopic).await;
    assert!(config(&topic).await?.get("retention.ms").is_some_and(|entry| entry.is_default()));
    Ok(())
}

#[tokio::test]
async fn a_broker_is_changed_while_it_runs() -> Result<(), Error> {
    const KEY: &str = "background.threads";
    let broker = ConfigResource::broker(1);
    becomes(&broker, KEY, Some("10"), ConfigSource::Default).await;
    alter(ConfigAlteration::new(broker.clone()).set(KEY, "11")).await?;
    becomes(&broker, KEY, Some("11"), ConfigSource::DynamicBroker).await;
    alter(ConfigAlteration::new(broker.clone()).delete(KEY)).await?;
    becomes(&broker, KEY, Some("10"), ConfigSource::Default).await;
    let config = config(&broker).await?;
    let stated = config.get("node.id").unwrap();
    assert_eq!((stated.value(), stated.source(), stated.is_read_only()), (Some("1"), ConfigSource::StaticBroker, true));
    assert!(config.entries().iter().any(|entry| entry.is_sensitive()));
    assert!(config.entries().iter().all(|entry| !entry.is_sensitive() || entry.value().is_none()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_the_consumer_protocol_is_given_a_session_that_its_members_have() -> Result<(), Error> {
    const SESSION: &str = "consumer.session.timeout.ms";
    let (id, topic) = (unique("billing"), given::topic("orders", 1));
    let group = ConfigResource::group(&id);
    assert_eq!(config(&group).await?.get(SESSION).and_then(|entry| entry.value()), Some("45000"));
    alter(ConfigAlteration::new(group.clone()).set(SESSION, "2000")).await?;
    becomes(&group, SESSION, Some("2000"), ConfigSource::Group).await;

    let members = async || {
        let group = admin().describe_groups(&[&id]).await.unwrap().remove(0);
        group.map_or(0, |group| group.members().len())
    };
    let handler = async |_: Received<String, String>| Ok::<_, Error>(());
    let consumer = given::kafka().consumer(&id).set("group.protocol", "consumer").route(&topic, handler);
    let member = Member::start(consumer);
    eventually("it has joined", SOON, async || members().await == 1).await;
    // It says no word any more: with the default it would be a member for 45 s.
    member.drop_it().await;
    let gone = Instant::now();
    eventually("its session has ended", SOON, async || members().await == 0).await;
    assert!(gone.elapsed() < Duration::from_secs(15), "{:?}", gone.elapsed());

    alter(ConfigAlteration::new(group.clone()).delete(SESSION)).await?;
    eventually("the default is back", SOON, async || {
        config(&group).await.unwrap().get(SESSION).and_then(|entry| entry.value()) == Some("45000")
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn what_fails_for_one_resource_hides_no_other() -> Result<(), Error> {
    let (good, missing, group) = (unique("orders"), unique("refunds"), unique("billing"));
    given::kafka().ensure_topics(&[TopicSpec::new(&good, 1)]).await?;
    let of = |name: &str| ConfigAlteration::new(ConfigResource::topic(name));
    let start = Instant::now();
    let altered = admin()
        .alter_configs_incremental(&[
            of(&missing).set("retention.ms", "1"),
            ConfigAlteration::new(ConfigResource::broker(77)).set("background.threads", "8"),
            ConfigAlteration::new(ConfigResource::group(&group)).set("consumer.session.timeout.ms", "1"),
            of(&good).set("retention.ms", "86400000"),
        ])
        .await?;
    // A broker that does not exist is not waited for.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let failure = |at: usize| altered[at].as_ref().unwrap_err();
    assert_eq!((failure(0).kind(), failure(0).topic()), (ErrorKind::UnknownTopic, Some(missing.as_str())));
    assert_eq!(
        (failure(1).kind(), failure(1).to_string().as_str()),
        (ErrorKind::Config, "alter configurations failed: broker 77 is not in the cluster: [1] are")
    );
    assert_eq!(failure(2).kind(), ErrorKind::Config, "{}", failure(2));
    let text = failure(2).to_string();
    assert!(text.contains(&group) && text.contains("consumer.session.timeout.ms"), "{text}");
    assert!(altered[3].is_ok(), "{:?}", altered[3]);
    becomes(&ConfigResource::topic(&good), "retention.ms", Some("86400000"), ConfigSource::DynamicTopic).await;

    for (change, word) in [
        (of(&good).set("retention.msec", "1"), "retention.msec"),
        (of(&good).set("retention.ms", "soon"), "retention.ms"),
        (of(&good).append("retention.ms", "1"), "retention.ms"),
    ] {
        let error = alter(change).await.unwrap_err();
        assert_eq!((error.kind(), error.topic()), (ErrorKind::Config, Some(good.as_str())), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }

    // More than go into one request, and the one that is missing among them.
    let mut all: Vec<ConfigResource> =
        (0..40).map(|number| ConfigResource::group(format!("{group}-{number}"))).collect();
    all.extend([ConfigResource::broker(1), ConfigResource::topic(&missing), ConfigResource::topic(&good)]);
    let told = admin().describe_configs(&all).await?;
    for (resource, told) in all.iter().zip(&told) {
        match told {
            Ok(config) => assert_eq!(config.resource(), resource),
            Err(error) => assert_eq!((error.topic(), error.kind()), (Some(missing.as_str()), ErrorKind::UnknownTopic)),
        }
    }
    assert_eq!(told.iter().flatten().count(), 42);
    Ok(())
}
