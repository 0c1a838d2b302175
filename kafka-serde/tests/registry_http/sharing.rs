use futures::future::join_all;
use kafka_serde::{Registry, Schema, SchemaChoice, SchemaId};

use crate::script::{Script, answered, found, hasty};

#[tokio::test]
async fn a_hundred_who_miss_the_same_schema_ask_once() {
    let script = Script::start(&[&found()]).await;
    let registry = hasty(&script.url).build().unwrap();
    let all = join_all((0..100).map(|_| registry.schema(SchemaId::Id(1)))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn a_schema_that_is_not_there_is_asked_for_once_in_a_while() {
    let none = answered("404 Not Found", "", r#"{"error_code":40403,"message":"Schema 1 not found"}"#);
    let script = Script::start(&[&none]).await;
    let registry = Registry::connect(&script.url).unwrap();
    for _ in 0..10 {
        registry.schema(SchemaId::Id(1)).await.unwrap_err();
    }
    assert_eq!((script.asked().len(), registry.stats().failures_served), (1, 9));
}

#[tokio::test]
async fn a_million_warm_look_ups_over_twenty_topics_cost_one_request_a_schema() {
    let answers: Vec<String> = (1..=20).map(|id| answered("200 OK", "", &format!(r#"{{"id":{id}}}"#))).collect();
    let script = Script::start(&answers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let registry = hasty(&script.url).build().unwrap();
    let (schema, choice) = (Schema::avro("\"string\""), SchemaChoice::register());
    let subjects: Vec<String> = (0..20).map(|topic| format!("topic-{topic}-value")).collect();
    for _ in 0..25_000 {
        for (id, subject) in (1..).zip(&subjects) {
            let written = registry.to_write(subject, &schema, &choice).await.unwrap();
            assert_eq!(written.id, Some(id));
            assert!(registry.known(SchemaId::Id(id)).is_some());
        }
    }
    assert_eq!(script.asked().len(), 20);
    assert_eq!((registry.stats().requests, registry.stats().misses), (20, 20));
}
