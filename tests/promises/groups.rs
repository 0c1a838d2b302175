//! Groups are listed, described, moved and deleted as they are, in both protocols; what fails for one hides no other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kafka_client::{
    AclOperation, Admin, ConsumerBuilder, Error, ErrorKind, GroupDescription, GroupState, GroupType, Isolation, Kafka,
    OffsetSpec, OffsetTarget, Received, TopicSpec,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given::{self, Lines};
use crate::group::{Account, Member, SOON, committed, fill, quick};

const BOTH: [GroupType; 2] = [GroupType::Classic, GroupType::Consumer];

fn admin() -> Admin {
    given::kafka().admin()
}

/// A consumer of the protocol that notices within milliseconds.
fn of_protocol(protocol: GroupType, group: &str) -> ConsumerBuilder {
    match protocol {
        GroupType::Consumer => {
            given::kafka().consumer(group).set("group.protocol", "consumer").set("fetch.wait.max.ms", "20")
        }
        _ => quick(&given::kafka(), group),
    }
    .commit_interval(Duration::from_millis(10))
}

fn member(builder: ConsumerBuilder, topic: &Lines, account: &Account) -> Member {
    let account = account.clone();
    Member::start(builder.route(topic, move |record: Received<String, String>| {
        account.record('a', &record);
        async { Ok::<_, Error>(()) }
    }))
}

async fn described(group: &str) -> Result<GroupDescription, Error> {
    admin().describe_groups(&[group]).await?.remove(0)
}

/// Waits until the group is stable with so many members.
async fn stable(group: &str, members: usize) -> GroupDescription {
    eventually(&format!("{members} members of {group}"), SOON, async || match described(group).await {
        Ok(group) => {
            let read = group.members().iter().filter(|member| !member.assignment().is_empty()).count();
            group.state() == GroupState::Stable && read == members
        }
        Err(_) => false,
    })
    .await;
    described(group).await.unwrap()
}

/// The group as the list has it.
async fn listed(group: &str, states: &[GroupState]) -> Option<(GroupState, GroupType, bool)> {
    let list = admin().list_groups_in(states).await.unwrap();
    assert!(list.errors().is_empty(), "{list:?}");
    let group = list.groups().iter().find(|one| one.id() == group)?;
    Some((group.state(), group.group_type(), group.is_simple()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_listed_and_described_with_their_members() {
    for protocol in BOTH {
        let (topic, group, missing) = (given::topic("orders", 4), unique("billing"), unique("nobody"));
        let account = Account::default();
        let one = of_protocol(protocol, &group).set("client.id", "one").set("group.instance.id", "till-1");
        let other = of_protocol(protocol, &group).set("client.id", "other");
        let _members = [member(one, &topic, &account), member(other, &topic, &account)];
        let told = stable(&group, 2).await;

        assert_eq!((told.id(), told.group_type(), told.is_simple()), (group.as_str(), protocol, false));
        assert!(told.assignor().is_some_and(|assignor| !assignor.is_empty()), "{told:?}");
        let coordinator = told.coordinator().unwrap();
        let address = format!("{}:{}", coordinator.host(), coordinator.port());
        assert!(Cluster::shared().bootstrap().contains(&address), "{address}");
        let operations = told.authorized_operations().unwrap();
        assert!(
            [AclOperation::Read, AclOperation::Delete].iter().all(|one| operations.contains(one)),
            "{operations:?}"
        );
        let mut read: Vec<_> = told.members().iter().flat_map(|member| member.assignment().to_vec()).collect();
        read.sort_unstable();
        assert_eq!(read, (0..4).map(|partition| (topic.name().to_owned(), partition)).collect::<Vec<_>>());
        for (client, instance) in [("one", Some("till-1")), ("other", None)] {
            let member = told.members().iter().find(|member| member.client_id() == client).unwrap();
            assert_eq!(member.instance_id(), instance);
            assert!(!member.id().is_empty() && member.host().contains("127.0.0.1"), "{member:?}");
            match protocol {
                GroupType::Consumer => assert_eq!(member.target_assignment(), Some(member.assignment())),
                _ => assert_eq!(member.target_assignment(), None),
            }
        }

        let expected = Some((GroupState::Stable, protocol, false));
        assert_eq!(listed(&group, &[]).await, expected);
        assert_eq!(listed(&group, &[GroupState::Empty, GroupState::Stable, GroupState::Stable]).await, expected);
        assert_eq!(listed(&group, &[GroupState::Empty]).await, None);
        assert_eq!(listed(&missing, &[]).await, None);

        let both = admin().describe_groups(&[&missing, &group]).await.unwrap();
        let error = both[0].as_ref().unwrap_err();
        assert_eq!(error.code(), Some("GROUP_ID_NOT_FOUND"));
        assert_eq!(
            error.to_string(),
            format!("describe groups failed: group {missing} does not exist (GROUP_ID_NOT_FOUND)")
        );
        assert_eq!(both[1].as_ref().unwrap().id(), group);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_at_work_keeps_its_offsets_and_one_at_rest_goes_on_where_it_is_told_to() {
    for protocol in BOTH {
        let (topic, group, account) = (given::topic("orders", 2), unique("billing"), Account::default());
        fill(&topic, 0, 10);
        fill(&topic, 1, 5);
        let (orders, admin) = ([(topic.name(), 0), (topic.name(), 1)], admin());
        let running = member(of_protocol(protocol, &group), &topic, &account);
        account.reaches(15).await;
        eventually("all is committed", SOON, async || committed(&group, &topic) == [(0, 10), (1, 5)].into()).await;

        let error = admin.alter_group_offsets(&group, &orders, OffsetSpec::Earliest).await.unwrap_err();
        assert_eq!(error.code(), Some("NON_EMPTY_GROUP"), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "alter group offsets failed: group {group} has 1 member: stop them first, or wait until their session \
                 ends (NON_EMPTY_GROUP)"
            )
        );
        // A dry run may look at any time.
        let planned = admin.plan_group_offsets(&group, &orders, OffsetTarget::ShiftBy(-7)).await.unwrap();
        let told: Vec<_> =
            planned.iter().flatten().map(|one| (one.partition(), one.from(), one.to(), one.wanted())).collect();
        assert_eq!(told, [(0, Some(10), 3, None), (1, Some(5), 0, Some(-2))]);
        assert_eq!(committed(&group, &topic), [(0, 10), (1, 5)].into());

        running.stop().await;
        eventually("the group is empty", SOON, async || listed(&group, &[GroupState::Empty]).await.is_some()).await;
        let altered = admin.alter_group_offsets(&group, &orders, OffsetTarget::ShiftBy(-7)).await.unwrap();
        assert_eq!(
            altered.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
            planned.into_iter().map(Result::unwrap).collect::<Vec<_>>()
        );
        assert_eq!(committed(&group, &topic), [(0, 3), (1, 0)].into());
        let again = member(of_protocol(protocol, &group), &topic, &account);
        account.reaches(15 + 12).await;
        again.stop().await;
        let read = |partition| account.offsets(partition);
        assert_eq!(read(0), (0..10).chain(3..10).collect::<Vec<_>>());
        assert_eq!(read(1), (0..5).chain(0..5).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_offset_outside_the_log_is_brought_to_its_end_and_said_to_be() {
    let (topic, group, admin) = (given::topic("orders", 1), unique("billing"), admin());
    fill(&topic, 0, 20);
    let native: AdminClient<_> = plain(&group).create().unwrap();
    native.delete_records(&offset(&topic, 8, ""), &AdminOptions::new()).await.unwrap();
    let of = [(topic.name(), 0)];
    for (target, from, to, wanted) in [
        (OffsetTarget::Exact(3), None, 8, Some(3)),
        (OffsetTarget::Exact(15), Some(8), 15, None),
        (OffsetTarget::ShiftBy(-10), Some(15), 8, Some(5)),
        (OffsetTarget::ShiftBy(100), Some(8), 20, Some(108)),
        (OffsetSpec::Earliest.into(), Some(20), 8, None),
        (OffsetSpec::Latest.into(), Some(8), 20, None),
    ] {
        let altered = admin.alter_group_offsets(&group, &of, target).await.unwrap().remove(0).unwrap();
        assert_eq!((altered.from(), altered.to(), altered.wanted()), (from, to, wanted), "{target:?}");
        assert_eq!(committed(&group, &topic), [(0, to)].into());
    }
    // Never joined, and there all the same.
    let (state, _, simple) = listed(&group, &[]).await.unwrap();
    assert_eq!((state, simple), (GroupState::Empty, true));
}

#[tokio::test]
async fn what_was_committed_is_told_with_its_metadata_and_the_way_to_the_end() {
    let (topic, other, group) = (given::topic("orders", 3), given::topic("refunds", 1), unique("billing"));
    fill(&topic, 0, 10);
    fill(&other, 0, 4);
    let consumer: BaseConsumer = plain(&group).create().unwrap();
    consumer.commit(&offset(&topic, 4, "half, ½, of it"), CommitMode::Sync).unwrap();
    consumer.commit(&offset(&other, 1, ""), CommitMode::Sync).unwrap();
    drop(consumer);
    let admin = admin();
    let told: BTreeSet<_> = admin
        .group_offsets(&group)
        .await
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .map(|one| (one.topic().to_owned(), one.partition(), one.offset(), one.metadata().to_vec()))
        .collect();
    assert_eq!(
        told,
        [
            (topic.name().to_owned(), 0, Some(4), "half, ½, of it".as_bytes().to_vec()),
            (other.name().to_owned(), 0, Some(1), Vec::new()),
        ]
        .into()
    );
    let some = [(topic.name(), 2), (topic.name(), 0), ("never-was", 0)];
    let told = admin.group_offsets_of(&group, &some).await.unwrap();
    let told: Vec<_> = told.into_iter().map(Result::unwrap).map(|one| (one.partition(), one.offset())).collect();
    assert_eq!(told, [(2, None), (0, Some(4)), (0, None)]);
    assert!(admin.group_offsets(&unique("nobody")).await.unwrap().is_empty());

    let lag = async || {
        let lags = admin.group_lag(&group, Isolation::ReadUncommitted).await.unwrap();
        lags.into_iter().map(|lag| lag.map(|lag| (lag.committed(), lag.end(), lag.lag()))).collect::<Vec<_>>()
    };
    let known: BTreeSet<_> = lag().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(known, [(4, 10, 6), (1, 4, 3)].into());
    // Kafka forgets the offsets of a topic that goes; a partition that is gone may be heard of all the same.
    given::kafka().delete_topics(&[other.name()]).await.unwrap();
    let lags = lag().await;
    assert!(lags.iter().any(|lag| lag.as_ref().is_ok_and(|lag| *lag == (4, 10, 6))), "{lags:?}");
    assert!(lags.iter().flatten().count() == 1, "{lags:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_and_groups_are_deleted_when_nobody_uses_them() {
    for protocol in BOTH {
        let (topic, group, missing) = (given::topic("orders", 2), unique("billing"), unique("nobody"));
        let (account, admin) = (Account::default(), admin());
        fill(&topic, 0, 3);
        fill(&topic, 1, 3);
        let running = member(of_protocol(protocol, &group), &topic, &account);
        account.reaches(6).await;
        eventually("all is committed", SOON, async || committed(&group, &topic) == [(0, 3), (1, 3)].into()).await;
        for refused in [
            admin.delete_group_offsets(&group, &[(topic.name(), 0)]).await.unwrap().remove(0).unwrap_err(),
            admin.delete_groups(&[&missing, &group]).await.unwrap().remove(1).unwrap_err(),
        ] {
            assert_eq!(refused.code(), Some("NON_EMPTY_GROUP"), "{refused:?}");
            assert!(
                refused.to_string().contains(&group) && refused.to_string().contains("stop them first"),
                "{refused}"
            );
        }
        assert_eq!(committed(&group, &topic), [(0, 3), (1, 3)].into());
        running.stop().await;
        eventually("the group is empty", SOON, async || listed(&group, &[GroupState::Empty]).await.is_some()).await;

        let deleted = admin.delete_group_offsets(&group, &[(topic.name(), 0)]).await.unwrap();
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
        assert_eq!(committed(&group, &topic), [(1, 3)].into());
        let error = admin.delete_group_offsets(&missing, &[(topic.name(), 0)]).await.unwrap_err();
        assert_eq!(error.code(), Some("GROUP_ID_NOT_FOUND"), "{error:?}");

        for existed in [true, false] {
            let deleted = admin.delete_groups(&[&missing, &group]).await.unwrap();
            let told: Vec<_> = deleted.iter().flatten().map(|one| (one.id(), one.existed())).collect();
            assert_eq!(told, [(missing.as_str(), false), (group.as_str(), existed)]);
        }
        assert_eq!(listed(&group, &[]).await, None);
        assert_eq!(committed(&group, &topic), [].into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_all_brokers_are_found_also_after_one_of_them_dies() {
    let cluster = Cluster::start(3);
    let kafka = Kafka::connect(cluster.bootstrap());
    kafka.ensure_topics(&[TopicSpec::new("orders", 1).replication(3)]).await.unwrap();
    oracle::produce(cluster.bootstrap(), "orders", &[(Some(0), Some(b"o-1"), Some(b"paid"))]);
    let groups: Vec<String> = (0..9).map(|number| format!("billing-{number}")).collect();
    let ids: Vec<&str> = groups.iter().map(String::as_str).collect();
    for id in &ids {
        let altered = kafka.admin().alter_group_offsets(id, &[("orders", 0)], OffsetSpec::Latest).await.unwrap();
        assert_eq!(altered[0].as_ref().unwrap().to(), 1);
    }
    let all_are_told = async |at: &str| {
        let start = Instant::now();
        eventually(&format!("all are listed {at}"), SOON, async || {
            let list = kafka.admin().list_groups().await.unwrap();
            list.errors().is_empty() && list.groups().iter().map(|one| one.id()).eq(ids.iter().copied())
        })
        .await;
        let described = kafka.admin().describe_groups(&ids).await.unwrap();
        for (id, described) in ids.iter().zip(&described) {
            assert_eq!(described.as_ref().unwrap_or_else(|error| panic!("{id} {at}: {error:?}")).id(), *id);
            let offsets = kafka.admin().group_offsets(id).await.unwrap();
            assert_eq!(offsets[0].as_ref().unwrap().offset(), Some(1), "{id} {at}");
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{at}: {:?}", start.elapsed());
        described.iter().flatten().filter_map(|one| one.coordinator()).map(|node| node.id()).collect::<BTreeSet<_>>()
    };
    assert!(all_are_told("at first").await.len() > 1, "one broker coordinates all: nothing to prove");
    cluster.node(0).kill();
    assert!(!all_are_told("after a death").await.contains(&1));
}

#[tokio::test]
async fn a_cluster_that_stops_in_the_middle_is_told_within_the_timeout() {
    let cluster = Cluster::start(1);
    let kafka = Kafka::connect(cluster.bootstrap());
    kafka.ensure_topics(&[TopicSpec::new("orders", 1)]).await.unwrap();
    let admin = kafka.admin().timeout(Duration::from_secs(1));
    cluster.node(0).stop();
    let start = Instant::now();
    for error in [
        admin.list_groups().await.err(),
        admin.describe_groups(&["billing"]).await.err(),
        admin.group_offsets("billing").await.err(),
        admin.group_lag("billing", Isolation::ReadCommitted).await.err(),
        admin.list_offsets(&[("orders", 0, OffsetSpec::Latest)], Isolation::ReadUncommitted).await.err(),
        admin.delete_groups(&["billing"]).await.err(),
    ] {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Timeout));
    }
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    cluster.node(0).cont();
    assert!(kafka.admin().list_groups().await.unwrap().groups().is_empty());
}

fn plain(group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", Cluster::shared().bootstrap()).set("group.id", group);
    config
}

/// An offset of the first partition, as the plain crate has it.
fn offset(topic: &Lines, offset: i64, metadata: &str) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic.name(), 0, Offset::Offset(offset)).unwrap();
    list.find_partition(topic.name(), 0).unwrap().set_metadata(metadata);
    list
}
