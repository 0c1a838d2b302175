//! Spring Kafka's retry topics, of versions 3 and 4: four attempts, over `<orders>-retry-0` to `-2`, to `<orders>-dlt`.

use kafka_dlq::{Dialect, Refusal, TimestampType};
use tests::harness::{JavaProgram, unique};

use super::{
    ODD, PARTITIONS, assert_returned, bootstrap, create, letter_of, letters, producer, sent_back, wait_for, write,
};

async fn four_attempts(module: &str) {
    let topic = unique("orders");
    let retries = [0, 1, 2].map(|hop| format!("{topic}-retry-{hop}"));
    let dead = format!("{topic}-dlt");
    create(&[topic.clone(), dead.clone()], PARTITIONS).await;
    // Fewer partitions than the source.
    create(&retries, 1).await;
    let mut records = ODD.to_vec();
    records.push((Some(b"k"), Some(b"again")));
    let producer = producer();
    let orders = write(&producer, &topic, &records).await;
    let mut program = JavaProgram::start(module, "spring.RetryTopics", &[bootstrap(), &topic]);
    // One of them twice, for its handler there fails as well.
    wait_for(&mut program, &[(&dead, orders.len() + 1)]);
    drop(program);

    for (hop, retry) in (1..).zip(&retries) {
        let all = letters(retry);
        for original in &orders {
            let found = letter_of(&all, &topic, original);
            let letter = found.read();
            assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::SpringRetry]);
            assert_eq!(letter.attempts(), Some(hop), "{}", found.place());
            assert_eq!(found.count("retry_topic-attempts"), hop as usize, "one a hop");
            assert_eq!(letter.refusal(), Some(Refusal::Pending), "what waits is not dead");
            found.assert_holds(original);
        }
        assert_eq!(all[0].explained()["redrive"], format!("stays: {}", Refusal::Pending));
        let report = sent_back(retry, |redrive| redrive).await;
        assert_eq!(
            (report.sent(), report.left().get(&Refusal::Pending.to_string())),
            (0, Some(&(orders.len() as u64)))
        );
    }

    let all = letters(&dead);
    let (again, others) = orders.split_last().unwrap();
    for original in others {
        let found = letter_of(&all, &topic, original);
        let letter = found.read();
        assert_eq!(letter.dialects().collect::<Vec<_>>(), [Dialect::SpringRetry]);
        assert_eq!(letter.attempts(), Some(4));
        assert_eq!((letter.life(), letter.last_hop()), (letter.origin(), letter.origin()), "the hops are not recorded");
        assert_eq!(letter.class().as_deref(), Some("spring.Declined"));
        assert_eq!(letter.message().as_deref(), Some("card declined"));
        assert_eq!(letter.cause_class().as_deref(), Some("java.io.IOException"));
        assert!(letter.trace().unwrap().contains("card declined"));
        assert_eq!(letter.group().as_deref(), Some("billing"));
        assert_eq!(letter.original_timestamp_ms(), original.timestamp);
        assert_eq!(letter.original_timestamp_type(), Some(TimestampType::CreateTime));
        assert_eq!((letter.missing(), letter.damage(), letter.refusal()), (vec![], vec![], None));
        found.assert_holds(original);
    }
    assert_eq!(all[0].explained()["redrive"], format!("goes to {topic}"));
    let twice: Vec<_> = all.iter().filter(|letter| letter.stored.value == again.value).collect();
    assert_eq!(twice.len(), 2);
    for found in &twice {
        assert_eq!(found.read().origin(), twice[0].read().origin());
        assert_eq!(found.read().life(), twice[0].read().life());
        found.assert_holds(again);
    }

    let report = sent_back(&dead, |redrive| redrive).await;
    assert_eq!(report.sent(), orders.len() as u64, "each once: {report}");
    assert_eq!(report.left().get("another dead letter of the same record"), Some(&1), "{report}");
    assert_returned(&topic, &orders, &orders);
}

#[tokio::test]
async fn retry_topics_of_version_3() {
    four_attempts("spring-3").await;
}

#[tokio::test]
async fn retry_topics_of_version_4() {
    four_attempts("spring-4").await;
}
