//! Payloads that are no value of the schema they name, in each format: whoever takes them is told kind, schema, topic,
//! partition, offset and field, and has the bytes; their neighbours are handled.

use std::error::Error as _;

use kafka_client::serde::{
    Avro, Deserializer, Error as SerdeError, ErrorKind, JsonSchema, Part, Protobuf, Registry, Schema, SchemaId,
    Serializer, Stop, Target, Validation,
};
use kafka_client::{Error, FailedRecord, Received, Topic, Utf8};
use serde::{Deserialize, Serialize};
use tests::harness::{Cluster, eventually, oracle, unique};

use crate::given::{kafka, topic};
use crate::group::{Member, SOON, Taken, committed_of, quick};

#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
struct Order {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    item: String,
}

const AVRO: &str =
    r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"item","type":"string"}]}"#;
const JSON: &str = r#"{"type":"object","required":["id","item"],"properties":{"id":{"type":"integer"},"item":{"type":"string","minLength":1}}}"#;
const PROTO: &str = "syntax = \"proto3\"; message Order { int64 id = 1; string item = 2; }";

/// What stands behind a prefix and is refused, and the field that is named, where the format can name one.
type Wrong = (&'static [u8], Option<&'static str>);

/// A registry that knows one schema; a payload of it that is in order.
async fn known<S: Serializer<Input = Order>>(registry: &Registry, serde: &S, topic: &str) -> (i32, Vec<u8>) {
    let order = Order { id: 1, item: "tea".into() };
    let payload = loop {
        let mut out = Vec::new();
        match serde.serialize(&order, &mut Target::new(topic, Part::Value), &mut out) {
            Ok(_) => break out,
            Err(Stop::Miss(miss)) => miss.resolve().await.unwrap(),
            Err(Stop::Error(error)) => panic!("{error}"),
        }
    };
    (registry.latest(&format!("{topic}-value")).await.unwrap().id.unwrap(), payload)
}

async fn each_is_told_with_all_that_is_known<S>(registry: Registry, serde: S, wrong: &[Wrong])
where
    S: Serializer<Input = Order> + Deserializer<Output = Order>,
{
    let (lines, group) = (topic("poison", 1), unique("billing"));
    let (id, good) = known(&registry, &serde, lines.name()).await;
    let behind = |id: i32, rest: &[u8]| [&[0][..], &id.to_be_bytes(), rest].concat();
    // The bytes, the kind, the schema and the field that are told.
    let mut poison = vec![
        (vec![], ErrorKind::Malformed, None, None),
        (b"{}".to_vec(), ErrorKind::Malformed, None, None),
        (vec![0, 0, 0], ErrorKind::Malformed, None, None),
        (behind(77_777, &good[5..]), ErrorKind::SchemaNotFound, Some(77_777), None),
        (good[..good.len() - 1].to_vec(), ErrorKind::Malformed, Some(id), None),
    ];
    poison.extend(wrong.iter().map(|(rest, field)| (behind(id, rest), ErrorKind::Malformed, Some(id), *field)));

    let pair = |bytes| [(Some(0), Some(&b"o-1"[..]), Some(&good[..])), (Some(0), Some(&b"o-2"[..]), Some(bytes))];
    let written = Vec::from_iter(poison.iter().flat_map(|(bytes, ..)| pair(&bytes[..])));
    oracle::produce(Cluster::shared().bootstrap(), lines.name(), &written);

    let (handled, failed) = (Taken::new(), Taken::new());
    let (book, taken) = (handled.clone(), failed.clone());
    let consumer = quick(&kafka(), &group)
        .route(&Topic::new(lines.name(), Utf8, serde), move |order: Received<String, Order>| {
            book.push((order.offset(), order.value().clone()));
            async { Ok::<_, Error>(()) }
        })
        .on_failed_record(move |record: FailedRecord| {
            taken.push(record);
            async { Ok::<_, Error>(()) }
        });
    let member = Member::start(consumer);
    let all = [(0, written.len() as i64)].into();
    eventually("all is committed", SOON, async || committed_of(&group, lines.name()) == all).await;
    member.stop().await;

    let neighbours = (0..poison.len() as i64).map(|number| (2 * number, Order { id: 1, item: "tea".into() }));
    assert!(handled.take().into_iter().eq(neighbours));
    let failed = failed.take();
    assert_eq!(failed.len(), poison.len());
    for (number, (record, (bytes, kind, schema, field))) in failed.iter().zip(poison).enumerate() {
        let at = 2 * number as i64 + 1;
        assert_eq!((record.value_bytes(), record.key_bytes()), (Some(&bytes[..]), Some(&b"o-2"[..])));
        let error = record.error();
        assert_eq!((error.topic(), error.partition(), error.offset()), (Some(lines.name()), Some(0), Some(at)));
        let cause = error.source().unwrap().downcast_ref::<SerdeError>().unwrap();
        assert_eq!((cause.kind(), cause.part()), (kind, Some(Part::Value)), "{cause}");
        assert_eq!(cause.schema_id(), schema.map(SchemaId::Id), "{cause}");
        if let Some(field) = field {
            assert_eq!(cause.field(), Some(field), "{cause}");
            assert!(cause.to_string().contains(field), "{cause}");
        }
    }
}

#[tokio::test]
async fn poison_in_avro_is_told_with_schema_and_field() {
    let registry = Registry::in_memory();
    let serde = Avro::<Order>::with_schema(&registry, Schema::avro(AVRO));
    let wrong: &[Wrong] = &[
        (&[0x02, 0xfe, 0xff, 0xff, 0xff, 0x01], Some("item")),
        (&[0x02, 0x02, 0xff], Some("item")),
        (&[0xff; 12], Some("id")),
        (&[0x02, 0x02, b'a', b'b'], None),
    ];
    each_is_told_with_all_that_is_known(registry, serde, wrong).await;
}

#[tokio::test]
async fn poison_in_json_is_told_with_schema_and_field() {
    let registry = Registry::in_memory();
    let serde = JsonSchema::<Order>::with_schema(&registry, Schema::json(JSON)).validation(Validation::Decode);
    let wrong: &[Wrong] = &[
        (br#"{"id":"one","item":"tea"}"#, Some("id")),
        (br#"{"id":1,"item":""}"#, Some("item")),
        (br#"{"id":1}"#, None),
        (b"[[[[[[", None),
    ];
    each_is_told_with_all_that_is_known(registry, serde, wrong).await;
}

#[tokio::test]
async fn poison_in_protobuf_is_told_with_its_schema() {
    let registry = Registry::in_memory();
    let serde = Protobuf::<Order>::with_schema(&registry, Schema::protobuf(PROTO), "Order");
    let wrong: &[Wrong] = &[
        (&[0x00, 0x12, 0xff, 0xff, 0xff, 0x7f], None),
        (&[0x02, 0x02, 0x08, 0x01], None),
        (&[0x42], None),
        (&[0x00, 0x12, 0x01, 0xff], None),
    ];
    each_is_told_with_all_that_is_known(registry, serde, wrong).await;
}
