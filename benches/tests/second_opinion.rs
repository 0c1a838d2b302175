//! schema_registry_converter as a second opinion on plain records: what it writes we read, and what we write it reads, byte
//! by byte.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

use kafka_serde::{
    Avro, Deserializer, Part, Protobuf, Registry, RegistryServer, Schema, Serializer, Source, Stop, Target,
};
use prost::Message as _;
use schema_registry_converter::async_impl::avro::{AvroDecoder, AvroEncoder};
use schema_registry_converter::async_impl::proto_raw::{ProtoRawDecoder, ProtoRawEncoder};
use schema_registry_converter::async_impl::schema_registry::SrSettings;
use schema_registry_converter::schema_registry_common::SubjectNameStrategy;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Order {
    id: i64,
    item: String,
    note: Option<String>,
    tags: Vec<String>,
    price: f64,
}

const AVRO: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"},
    {"name":"item","type":"string"},{"name":"note","type":["null","string"]},
    {"name":"tags","type":{"type":"array","items":"string"}},{"name":"price","type":"double"}]}"#;

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(sint64, tag = "2")]
    count: i64,
}

const PROTO: &str = "syntax = \"proto3\"; package shop; message First { string a = 1; }
    message Outer { message Item { string name = 1; sint64 count = 2; } Item item = 1; }";

fn orders() -> Vec<Order> {
    let order = |id, item: &str, note: Option<&str>, tags: &[&str], price| Order {
        id,
        item: item.into(),
        note: note.map(str::to_owned),
        tags: tags.iter().map(|tag| tag.to_string()).collect(),
        price,
    };
    vec![
        order(0, "", None, &[], 0.0),
        order(-1, "tea", Some("h\u{e9}"), &["hot"], -2.5),
        order(i64::MIN, &"x".repeat(300), Some(""), &["", "b", "c"], f64::MAX),
        order(i64::MAX, "jam", None, &["a"; 100], f64::MIN_POSITIVE),
    ]
}

async fn encoded<S: Serializer>(serde: &S, value: &S::Input) -> Vec<u8> {
    loop {
        let mut out = Vec::new();
        match serde.serialize(value, &mut Target::new("orders", Part::Value), &mut out) {
            Ok(_) => return out,
            Err(Stop::Miss(miss)) => miss.resolve().await.unwrap(),
            Err(Stop::Error(error)) => panic!("{error:?}"),
        }
    }
}

async fn decoded<D: Deserializer>(serde: &D, bytes: &[u8]) -> D::Output {
    loop {
        match serde.deserialize(Some(bytes), &Source::new("orders", Part::Value)) {
            Ok(value) => return value,
            Err(Stop::Miss(miss)) => miss.resolve().await.unwrap(),
            Err(Stop::Error(error)) => panic!("{error:?}"),
        }
    }
}

/// A registry, our handle to it, and their settings for it.
async fn between() -> (RegistryServer, Registry, SrSettings) {
    // Fails where it is set already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = RegistryServer::start(&Registry::in_memory(), "127.0.0.1:0").await.unwrap();
    let registry = Registry::connect(server.url()).unwrap();
    let settings = SrSettings::new_builder(server.url()).no_proxy().build().unwrap();
    (server, registry, settings)
}

fn subject() -> SubjectNameStrategy {
    SubjectNameStrategy::TopicNameStrategy("orders".into(), false)
}

#[tokio::test]
async fn both_write_and_read_the_same_avro() {
    let (_server, registry, settings) = between().await;
    let ours = Avro::<Order>::with_schema(&registry, Schema::avro(AVRO));
    let (encoder, decoder) = (AvroEncoder::new(settings.clone()), AvroDecoder::new(settings));
    for order in orders() {
        let bytes = encoded(&ours, &order).await;
        assert_eq!(bytes, encoder.encode_struct(&order, &subject()).await.unwrap());
        let theirs = decoder.decode(Some(&bytes)).await.unwrap();
        assert_eq!(apache_avro::from_value::<Order>(&theirs.value).unwrap(), order);
        assert_eq!(decoded(&ours, &bytes).await, order);
    }
}

#[tokio::test]
async fn both_write_and_read_the_same_protobuf_index_and_all() {
    let (_server, registry, settings) = between().await;
    let ours = Protobuf::<Item>::with_schema(&registry, Schema::protobuf(PROTO), "shop.Outer.Item");
    let (encoder, decoder) = (ProtoRawEncoder::new(settings.clone()), ProtoRawDecoder::new(settings));
    for item in
        [Item::default(), Item { name: "tea".into(), count: -3 }, Item { name: "x".repeat(300), count: i64::MAX }]
    {
        let bytes = encoded(&ours, &item).await;
        let message = item.encode_to_vec();
        assert_eq!(bytes, encoder.encode(&message, "shop.Outer.Item", subject()).await.unwrap());
        let theirs = decoder.decode(Some(&bytes)).await.unwrap().unwrap();
        assert_eq!((theirs.bytes, theirs.full_name.to_string()), (message, "shop.Outer.Item".to_owned()));
        assert_eq!(decoded(&ours, &bytes).await, item);
    }
}
