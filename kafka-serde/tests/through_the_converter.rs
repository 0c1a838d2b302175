//! A registry through the settings of `schema_registry_converter`, and that crate as a second opinion on plain records.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use kafka_serde::{
    Avro, Delete, Deserializer, Encoded, ErrorKind, Part, Registry, RegistryCode, RegistryServer, Schema, SchemaChoice,
    SchemaId, SchemaReference, Serializer, Source, Stop, Target,
};
use schema_registry_converter::async_impl::avro::{AvroDecoder, AvroEncoder};
use schema_registry_converter::async_impl::schema_registry::SrSettings;
use schema_registry_converter::schema_registry_common::SubjectNameStrategy;
use serde::{Deserialize, Serialize};

async fn served() -> (RegistryServer, SrSettings) {
    let server = RegistryServer::start(&Registry::in_memory(), ("127.0.0.1", 0)).await.unwrap();
    // Fails where another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = SrSettings::new(server.url());
    (server, settings)
}

#[tokio::test]
async fn the_six_questions_are_answered_as_without_it() {
    let (server, settings) = served().await;
    let registry = Registry::through(settings);
    for subject in ["orders-value", "a/b", "a#b", "a b", "ü", "100%"] {
        let text = Schema::avro(r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}"#);
        let registered = registry.register(subject, &text).await.unwrap();
        let id = registered.id.unwrap();
        let found = registry.schema(SchemaId::Id(id)).await.unwrap();
        assert_eq!(found.schema.text, text.text, "{subject}");
        for choice in [SchemaChoice::Latest { check: true }, SchemaChoice::LookUp { normalize: false }] {
            assert_eq!(registry.to_write(subject, &text, &choice).await.unwrap().id, Some(id), "{subject} {choice:?}");
        }
        if let Some(guid) = registered.guid {
            registry.forget();
            assert_eq!(registry.schema(SchemaId::Guid(guid)).await.unwrap().schema.text, text.text);
        }
    }
    let airport = Schema::avro(r#"{"type":"record","name":"Airport","fields":[{"name":"code","type":"string"}]}"#);
    registry.register("airport", &airport).await.unwrap();
    let mut flight = Schema::avro(r#"{"type":"record","name":"Flight","fields":[{"name":"from","type":"Airport"}]}"#);
    flight.references = vec![SchemaReference::new("Airport", "airport", 1)];
    let id = registry.register("flights-value", &flight).await.unwrap().id.unwrap();
    registry.forget();
    let found = registry.schema(SchemaId::Id(id)).await.unwrap();
    assert_eq!(found.schema.references, flight.references);
    drop(server);
}

#[tokio::test]
async fn refusals_and_outages_are_told_apart_and_what_it_cannot_ask_is_named() {
    let (server, settings) = served().await;
    let registry = Registry::through(settings);
    let missing = registry.schema(SchemaId::Id(7)).await.unwrap_err();
    assert_eq!(
        (missing.kind(), missing.registry_code()),
        (ErrorKind::SchemaNotFound, Some(RegistryCode::SCHEMA_NOT_FOUND))
    );
    let wrong = registry.register("orders-value", &Schema::avro("{")).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidSchema);
    registry.register("orders-value", &Schema::avro(r#""string""#)).await.unwrap();
    let other = registry.register("orders-value", &Schema::avro(r#""long""#)).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Incompatible);

    let refused = registry.delete_subject("orders-value", Delete::Soft).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidSetting);
    assert!(refused.to_string().contains("DELETE /subjects/orders-value"), "{refused}");
    let normalized = SchemaChoice::Register { normalize: true };
    let refused = registry.to_write("other", &Schema::avro(r#""long""#), &normalized).await.unwrap_err();
    assert!(refused.to_string().contains("`normalize`"), "{refused}");

    drop(server);
    registry.forget();
    let down = registry.schema(SchemaId::Id(8)).await.unwrap_err();
    assert_eq!(down.kind(), ErrorKind::RegistryUnavailable, "{down}");
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Order {
    id: i64,
    item: String,
    cents: Option<i32>,
    tags: Vec<String>,
}

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"item","type":"string"},
    {"name":"cents","type":["null","int"]},{"name":"tags","type":{"type":"array","items":"string"}}]}"#;

/// Encodes, after what it misses has been fetched.
async fn encoded(serde: &Avro<Order>, order: &Order) -> Vec<u8> {
    loop {
        let mut bytes = Vec::new();
        match serde.serialize(order, &mut Target::new("orders", Part::Value), &mut bytes) {
            Ok(Encoded::Bytes) => return bytes,
            Err(Stop::Miss(miss)) => miss.resolve().await.unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn plain_records_are_the_same_to_both() {
    let (_server, settings) = served().await;
    let registry = Registry::through(settings.clone());
    registry.register("orders-value", &Schema::avro(ORDER)).await.unwrap();
    let ours = Avro::<Order>::with_schema(&registry, Schema::avro(ORDER));
    let subject = SubjectNameStrategy::TopicNameStrategy("orders".to_owned(), false);
    let (encoder, decoder) = (AvroEncoder::new(settings.clone()), AvroDecoder::new(settings));
    for (id, item, cents, tags) in [
        (1, "tea", Some(250), vec!["hot", "black"]),
        (-1, "", None, vec![]),
        (i64::MAX, "\u{e9}\n", Some(i32::MIN), vec![""]),
    ] {
        let order = Order { id, item: item.to_owned(), cents, tags: tags.into_iter().map(str::to_owned).collect() };
        let by_us = encoded(&ours, &order).await;
        let by_them = encoder.encode_struct(&order, &subject).await.unwrap();
        assert_eq!(by_us, by_them);
        let read = decoder.decode(Some(&by_us)).await.unwrap();
        assert_eq!(apache_avro::from_value::<Order>(&read.value).unwrap(), order);
        assert_eq!(decoded(&ours, &by_them).await, order);
    }
}

async fn decoded(serde: &Avro<Order>, bytes: &[u8]) -> Order {
    loop {
        match serde.deserialize(Some(bytes), &Source::new("orders", Part::Value)) {
            Ok(order) => return order,
            Err(Stop::Miss(miss)) => miss.resolve().await.unwrap(),
            other => panic!("{other:?}"),
        }
    }
}
