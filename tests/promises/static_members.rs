//! Static members: a name that outlives a restart.

use kafka_client::{Assignor, ConfigAlteration, ConfigResource, Error, ErrorKind, GroupProtocol, Received};
use tests::harness::{eventually, unique};

use crate::given;
use crate::group::{Account, Member, SOON, fill, quick};

fn handler(by: char, account: &Account) -> impl kafka_client::Handler<Received<String, String>> + use<> {
    let account = account.clone();
    move |record: Received<String, String>| {
        account.record(by, &record);
        async { Ok::<_, Error>(()) }
    }
}

#[tokio::test]
async fn a_restart_within_the_session_moves_nothing() {
    let (topic, group, account) = (given::topic("orders", 4), unique("billing"), Account::default());
    let member = |by: char, name: &str| {
        let consumer = quick(&given::kafka(), &group).group_protocol(GroupProtocol::Classic(Assignor::Range));
        Member::start(consumer.static_member(name).route(&topic, handler(by, &account)))
    };
    (0..4).for_each(|partition| fill(&topic, partition, 5));
    let a = member('a', "one");
    account.reaches(20).await;
    let b = member('b', "two");
    eventually("both have a share", SOON, async || {
        (0..4).for_each(|partition| fill(&topic, partition, 1));
        account.of('a') > 0 && account.of('b') > 0
    })
    .await;
    let of_b = |account: &Account| {
        let mut partitions: Vec<i32> =
            account.all().iter().filter(|one| one.by == 'b').map(|one| one.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    };
    let before = of_b(&account);
    // It leaves without a word, and comes back under its name.
    a.stop().await;
    let a = member('A', "one");
    eventually("it is back", SOON, async || {
        (0..4).for_each(|partition| fill(&topic, partition, 1));
        account.of('A') > 0
    })
    .await;
    assert_eq!(of_b(&account), before, "the other one got nothing of it");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn with_the_consumer_protocol_one_that_was_killed_comes_back_when_its_session_has_ended() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    let session = ConfigAlteration::new(ConfigResource::group(&group))
        .set("consumer.session.timeout.ms", "4000")
        .set("consumer.heartbeat.interval.ms", "500");
    given::kafka().admin().alter_configs_incremental(&[session]).await.unwrap().remove(0).unwrap();
    let member = |by: char| {
        let consumer =
            given::kafka().consumer(&group).group_protocol(GroupProtocol::Consumer { remote_assignor: None });
        Member::start(consumer.static_member("one").route(&topic, handler(by, &account)))
    };
    fill(&topic, 0, 5);
    let a = member('a');
    account.reaches(5).await;
    a.drop_it().await;
    fill(&topic, 0, 5);
    let b = member('b');
    eventually("it handles what is new", SOON, async || account.of('b') >= 5).await;
    b.stop().await;
}

#[tokio::test]
async fn a_name_that_another_member_takes_ends_the_consumer_with_what_to_do() {
    let (topic, group, account) = (given::topic("orders", 1), unique("billing"), Account::default());
    let member = |by: char| {
        let consumer = quick(&given::kafka(), &group).group_protocol(GroupProtocol::Classic(Assignor::Range));
        Member::start(consumer.static_member("one").route(&topic, handler(by, &account)))
    };
    fill(&topic, 0, 5);
    let first = member('a');
    account.reaches(5).await;
    let second = member('b');
    let error = first.failure().await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::Fenced, Some("FENCED_INSTANCE_ID")), "{error:?}");
    assert!(error.to_string().contains("give each its own"), "{error}");
    fill(&topic, 0, 5);
    eventually("the other one goes on", SOON, async || account.of('b') >= 5).await;
    second.stop().await;
}

#[tokio::test]
async fn an_assignor_that_the_broker_does_not_know_ends_the_consumer_with_what_to_do() {
    let (topic, account) = (given::topic("orders", 1), Account::default());
    let unknown = GroupProtocol::Consumer { remote_assignor: Some("sticky".to_owned()) };
    let consumer = given::kafka().consumer(unique("billing")).group_protocol(unknown);
    let error = Member::start(consumer.route(&topic, handler('a', &account))).failure().await;
    assert_eq!(error.code(), Some("UNSUPPORTED_ASSIGNOR"), "{error:?}");
    assert!(error.to_string().contains("`uniform` and `range`"), "{error}");
}
