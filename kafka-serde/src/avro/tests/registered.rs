//! With a registry: the faults of other clients, each by name.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::fixture::{Headers, decode_from, decode_resolved, encode_resolved, encode_with_headers};
use crate::{
    Avro, AvroSchema, Deserializer, DeserializerExt, ErrorKind, Framing, Json, Optional, Part, Registry, Schema,
    SchemaChoice, SchemaId, SchemaReference, Serializer, Source, Stop, SubjectName, Target,
};

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Order {
    id: i64,
    item: String,
}

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},{"name":"item","type":"string"}]}"#;

impl AvroSchema for Order {
    fn avro_schema() -> Schema {
        Schema::avro(ORDER)
    }
}

fn order() -> Order {
    Order { id: 1, item: "tea".into() }
}

fn id(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes[1..5].try_into().unwrap())
}

fn register(registry: &Registry, subject: &str, schema: &Schema) -> i32 {
    futures::executor::block_on(registry.register(subject, schema)).unwrap().id.unwrap()
}

#[test]
fn a_value_is_framed_and_comes_back() {
    let registry = Registry::in_memory();
    let orders = Avro::<Order>::new(&registry);
    let bytes = encode_resolved(&orders, &order(), Part::Value).unwrap();
    assert_eq!((bytes[0], &bytes[5..]), (0, &[2, 6, b't', b'e', b'a'][..]));
    assert_eq!(decode_resolved(&orders, &bytes).unwrap(), order());
    // Another process, which knows nothing yet.
    assert_eq!(decode_resolved(&Avro::<Order>::new(&registry), &bytes).unwrap(), order());
    let found = futures::executor::block_on(registry.latest("orders-value")).unwrap();
    assert_eq!(found.id, Some(id(&bytes)));
}

#[test]
fn a_cold_serde_misses_once_and_a_warm_one_never() {
    let registry = Registry::in_memory();
    let orders = Avro::<Order>::new(&registry);
    let to = &mut Target::new("orders", Part::Value);
    let mut out = Vec::new();
    assert!(matches!(orders.serialize(&order(), to, &mut out), Err(Stop::Miss(_))));
    let bytes = encode_resolved(&orders, &order(), Part::Value).unwrap();
    for _ in 0..3 {
        out.clear();
        assert!(orders.serialize(&order(), to, &mut out).is_ok());
        assert_eq!(out, bytes);
    }
    // Clones share what was compiled; a key is another subject, and misses of its own.
    assert!(orders.clone().serialize(&order(), to, &mut Vec::new()).is_ok());
    let key = &mut Target::new("orders", Part::Key);
    assert!(matches!(orders.serialize(&order(), key, &mut Vec::new()), Err(Stop::Miss(_))));
}

/// schema_registry_converter keys its encoder's cache by the subject alone.
#[test]
fn two_types_under_one_subject_name_each_get_their_own_schema() {
    let registry = Registry::in_memory();
    let by_record = |schema: &str| {
        Avro::<BTreeMap<String, i32>>::with_schema(&registry, Schema::avro(schema))
            .subject(SubjectName::custom(|_, _, _| "one".into()))
    };
    futures::executor::block_on(registry.set_compatibility_level(Some("one"), crate::CompatibilityLevel::None))
        .unwrap();
    let schema = |name: &str, field: &str| {
        format!(r#"{{"type":"record","name":"{name}","fields":[{{"name":"{field}","type":"int"}}]}}"#)
    };
    let (a, b) = (by_record(&schema("A", "a")), by_record(&schema("B", "b")));
    let one = encode_resolved(&a, &BTreeMap::from([("a".into(), 1)]), Part::Value).unwrap();
    let two = encode_resolved(&b, &BTreeMap::from([("b".into(), 1)]), Part::Value).unwrap();
    assert_ne!(id(&one), id(&two));
    assert_eq!(one, encode_resolved(&a, &BTreeMap::from([("a".into(), 1)]), Part::Value).unwrap());
}

#[test]
fn one_serde_serves_many_topics_and_each_has_its_subject() {
    let registry = Registry::in_memory();
    let orders = Avro::<Order>::new(&registry);
    for round in 0..2 {
        for topic in ["orders", "a", "zebra", "orders.eu", "b"] {
            let bytes = encode_with_headers(&orders, &order(), &mut Target::new(topic, Part::Value)).unwrap();
            assert_eq!(decode_resolved(&orders, &bytes).unwrap(), order(), "{round} {topic}");
            let found = futures::executor::block_on(registry.latest(&format!("{topic}-value"))).unwrap();
            assert_eq!(found.id, Some(id(&bytes)));
        }
    }
    let by_record = orders.subject(SubjectName::Record);
    encode_resolved(&by_record, &order(), Part::Value).unwrap();
    assert!(futures::executor::block_on(registry.latest("shop.Order")).is_ok());
}

/// schema_registry_converter decodes a payload with a GUID header with another schema's data.
#[test]
fn a_guid_in_the_header_finds_its_own_schema_and_no_other() {
    let registry = Registry::in_memory();
    for number in 0..20 {
        register(
            &registry,
            &format!("s{number}"),
            &Schema::avro(format!(r#"{{"type":"fixed","name":"F","size":{number}}}"#)),
        );
    }
    let orders = Avro::<Order>::new(&registry).framing(Framing::Header);
    let mut headers = Headers::default();
    let bytes =
        encode_with_headers(&orders, &order(), &mut Target::new("orders", Part::Value).with_headers(&mut headers))
            .unwrap();
    assert_eq!(bytes, [2, 6, b't', b'e', b'a'], "no prefix");
    assert_eq!(headers.0.len(), 1);
    let (name, value) = &headers.0[0];
    assert_eq!((name.as_str(), value.as_ref().unwrap().len()), ("__value_schema_id", 17));
    let from = Source::new("orders", Part::Value).with_headers(&headers);
    assert_eq!(decode_from(&Avro::<Order>::new(&registry), &bytes, &from).unwrap(), order());

    // A GUID that nobody registered is an error, whatever its bytes look like as an id.
    let mut made_up = Headers::default();
    made_up.0.push(("__value_schema_id".into(), Some([vec![1], vec![0; 15], vec![1]].concat())));
    let from = Source::new("orders", Part::Value).with_headers(&made_up);
    let error = decode_from(&Avro::<Order>::new(&registry), &bytes, &from).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaNotFound);
    assert!(matches!(error.schema_id(), Some(SchemaId::Guid(_))));
    // Without a place for headers, it says so.
    let error = encode_resolved(&orders, &order(), Part::Value).unwrap_err();
    assert!(error.to_string().contains("use Framing::Prefix"), "{error}");
}

/// schema-registry-client panics on payloads under six bytes; Python refuses all of them.
#[test]
fn short_payloads_are_errors_and_an_empty_bytes_value_is_a_value() {
    let registry = Registry::in_memory();
    let orders = Avro::<Order>::new(&registry);
    let random = crate::fixture::random_bytes(20_000);
    for start in 0..random.len() - 24 {
        // Ids that might be there, and any.
        let prefix: &[u8] = if start % 2 == 0 { &[0, 0, 0, 0] } else { &[] };
        assert!(decode_resolved(&orders, &[prefix, &random[start..start + start % 24]].concat()).is_err());
    }
    for length in 0..5 {
        assert_eq!(decode_resolved(&orders, &vec![0; length]).unwrap_err().kind(), ErrorKind::Malformed);
    }
    let raw = Avro::<Vec<u8>>::with_schema(&registry, Schema::avro("\"bytes\""));
    let bytes = encode_with_headers(&raw, &vec![], &mut Target::new("raw", Part::Value)).unwrap();
    assert_eq!(bytes.len(), 5);
    assert!(decode_resolved(&raw, &bytes).unwrap().is_empty());
}

/// schema_registry_converter puts references into the text, and panics where one has no namespace.
#[test]
fn references_of_any_depth_are_found_and_a_diamond_is_one_type() {
    let registry = Registry::in_memory();
    let code = Schema::avro(r#"{"type":"enum","name":"Code","symbols":["JFK","LAX"]}"#);
    register(&registry, "code", &code);
    let airport = Schema::avro(r#"{"type":"record","name":"Airport","fields":[{"name":"code","type":"Code"}]}"#)
        .with_reference(SchemaReference::new("Code", "code", 1));
    register(&registry, "airport", &airport);
    let city = Schema::avro(r#"{"type":"record","name":"geo.City","fields":[{"name":"main","type":"Code"}]}"#)
        .with_reference(SchemaReference::new("Code", "code", 1));
    register(&registry, "city", &city);

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Flight {
        to: Airport,
        city: City,
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Airport {
        code: String,
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct City {
        main: String,
    }
    let flight = Schema::avro(
        r#"{"type":"record","name":"Flight","namespace":"air","fields":[
            {"name":"to","type":"Airport"},{"name":"city","type":"geo.City"}]}"#,
    )
    .with_reference(SchemaReference::new("Airport", "airport", 1))
    .with_reference(SchemaReference::new("geo.City", "city", 1));
    let flights = Avro::<Flight>::with_schema(&registry, flight);
    let value = Flight { to: Airport { code: "JFK".into() }, city: City { main: "LAX".into() } };
    let bytes = encode_resolved(&flights, &value, Part::Value).unwrap();
    assert_eq!(bytes[5..], [0, 2]);
    assert_eq!(decode_resolved(&flights, &bytes).unwrap(), value);
    let generic = decode_resolved(&Avro::<Value>::from_registry(&registry), &bytes).unwrap();
    assert_eq!(generic.get("city").unwrap().get("main").unwrap().as_str(), Some("LAX"));
}

#[test]
fn old_and_new_records_are_read_side_by_side() {
    let registry = Registry::in_memory();
    let old = encode_resolved(&Avro::<Order>::new(&registry), &order(), Part::Value).unwrap();
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Newer {
        id: i64,
        item: String,
        amount: i32,
    }
    let schema = ORDER.replace("]}", r#",{"name":"amount","type":"int","default":1}]}"#);
    let newer = Avro::<Newer>::with_schema(&registry, Schema::avro(schema));
    let new = encode_resolved(&newer, &Newer { id: 2, item: "jam".into(), amount: 3 }, Part::Value).unwrap();
    assert_ne!(id(&old), id(&new));
    assert_eq!(decode_resolved(&newer, &old).unwrap(), Newer { id: 1, item: "tea".into(), amount: 1 });
    assert_eq!(decode_resolved(&newer, &new).unwrap().amount, 3);
    let back = decode_resolved(&Avro::<Order>::new(&registry), &new).unwrap();
    assert_eq!(back, Order { id: 2, item: "jam".into() });
}

#[test]
fn latest_writes_the_version_that_is_there_and_generic_values_find_their_fields() {
    let registry = Registry::in_memory();
    let number = register(&registry, "orders-value", &Schema::avro(ORDER));
    let generic = Avro::<Value>::from_registry(&registry);
    let value = Value::record("shop.Order", [("item", Value::String("tea".into())), ("id", Value::Long(1))]);
    let bytes = encode_resolved(&generic, &value, Part::Value).unwrap();
    assert_eq!((id(&bytes), &bytes[5..]), (number, &[2, 6, b't', b'e', b'a'][..]));
    let latest = Avro::<Order>::new(&registry).choose(SchemaChoice::latest());
    assert_eq!(encode_resolved(&latest, &order(), Part::Value).unwrap(), bytes);
    let error =
        encode_resolved(&generic, &Value::record("shop.Order", [("id", Value::Null)]), Part::Value).unwrap_err();
    assert_eq!(
        (error.kind(), error.field(), error.schema_id()),
        (ErrorKind::Unencodable, Some("id"), Some(SchemaId::Id(number)))
    );
}

#[test]
fn a_payload_of_an_unknown_or_unfit_schema_is_named() {
    let registry = Registry::in_memory();
    let orders = Avro::<Order>::new(&registry);
    let error = decode_resolved(&orders, &[0, 0x7f, 0xff, 0xff, 0xff, 1]).unwrap_err();
    assert_eq!((error.kind(), error.schema_id()), (ErrorKind::SchemaNotFound, Some(SchemaId::Id(i32::MAX))));

    let other = register(&registry, "other", &Schema::avro(r#""int""#));
    let json = register(&registry, "json", &Schema::json("{}"));
    for (id, why) in [(other, "int cannot be read as shop.Order"), (json, "the schema is JSON, and Avro is expected")] {
        let payload = [&[0][..], &id.to_be_bytes(), &[2]].concat();
        for _ in 0..2 {
            let error = decode_resolved(&orders, &payload).unwrap_err();
            assert_eq!((error.kind(), error.schema_id()), (ErrorKind::InvalidSchema, Some(SchemaId::Id(id))));
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}

#[test]
fn a_malformed_value_is_told_with_kind_schema_and_field() {
    let registry = Registry::in_memory();
    let orders = Avro::<Order>::new(&registry);
    let mut bytes = encode_resolved(&orders, &order(), Part::Value).unwrap();
    *bytes.last_mut().unwrap() = 0xff;
    let error = decode_resolved(&orders, &bytes).unwrap_err();
    let schema = id(&bytes);
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert_eq!(error.schema_id(), Some(SchemaId::Id(schema)));
    assert_eq!(error.field(), Some("item"));
    assert_eq!(error.to_string(), format!("schema {schema}: item: not UTF-8 at byte 2"));
}

#[test]
fn tombstones_pass_through_optional_and_ask_no_registry() {
    let registry = Registry::in_memory();
    let orders = Optional::new(Avro::<Order>::new(&registry));
    let mut out = Vec::new();
    let encoded = orders.serialize(&None, &mut Target::new("orders", Part::Value), &mut out).unwrap();
    assert_eq!((encoded, out.len()), (crate::Encoded::Null, 0));
    assert_eq!(orders.deserialize(None, &Source::new("orders", Part::Value)).unwrap(), None);
    assert!(futures::executor::block_on(registry.latest("orders-value")).is_err());
    let error = Avro::<Order>::new(&registry).deserialize(None, &Source::new("orders", Part::Value)).unwrap_err();
    assert_eq!(error.to_string(), "null where Avro is expected; use Optional to accept null");
}

#[test]
fn a_migration_from_json_is_one_line() {
    let registry = Registry::in_memory();
    let orders = Avro::<Order>::new(&registry).or_else(Json::<Order>::new());
    let new = encode_resolved(&orders, &order(), Part::Value).unwrap();
    let old = br#"{"id":1,"item":"tea"}"#;
    assert_eq!(decode_resolved(&orders, &new).unwrap(), order());
    assert_eq!(decode_resolved(&orders, old).unwrap(), order());
}

#[test]
fn a_view_borrows_from_the_payload_also_through_another_schema() {
    let registry = Registry::in_memory();
    let bytes = encode_resolved(&Avro::<Order>::new(&registry), &order(), Part::Value).unwrap();
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        item: &'a str,
        added: &'a str,
    }
    let schema = ORDER.replace("]}", r#",{"name":"added","type":"string","default":"new"}]}"#);
    let orders = Avro::<()>::with_schema(&registry, Schema::avro(schema));
    let from = Source::new("orders", Part::Value);
    let view = orders.view(Some(&bytes), &from).unwrap();
    let borrowed: Borrowed<'_> = view.get().unwrap();
    assert_eq!((borrowed.item, borrowed.added), ("tea", "new"));
    assert_eq!(borrowed.item.as_ptr(), bytes[7..].as_ptr());
}

#[test]
fn a_schema_that_cannot_be_used_is_an_error_of_the_record() {
    let registry = Registry::in_memory();
    let number = register(&registry, "orders-value", &Schema::avro(ORDER));
    let orders = Avro::<Order>::with_schema(&registry, Schema::avro("{"));
    let payload = [&[0][..], &number.to_be_bytes(), &[2, 0]].concat();
    let error = decode_resolved(&orders, &payload).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSchema);
    assert!(encode_resolved(&orders, &order(), Part::Value).is_err());
}

/// schema-registry-client makes a request a message.
#[test]
fn warm_messages_over_twenty_topics_ask_the_registry_once_a_topic() {
    let registry = Registry::in_memory();
    let orders = Avro::<Order>::new(&registry);
    let topics: Vec<String> = (0..20).map(|number| format!("orders.{number}")).collect();
    for _ in 0..2_000 {
        for topic in &topics {
            let bytes = encode_with_headers(&orders, &order(), &mut Target::new(topic, Part::Value)).unwrap();
            assert_eq!(decode_from(&orders, &bytes, &Source::new(topic, Part::Value)).unwrap(), order());
        }
    }
    assert_eq!(registry.stats().requests, 20);
}

#[test]
fn a_newer_latest_is_written_with_once_the_registry_says_so() {
    let registry = Registry::in_memory();
    let first = register(&registry, "orders-value", &Schema::avro(ORDER));
    let latest = Avro::<Order>::new(&registry).choose(SchemaChoice::latest());
    let newer = ORDER.replace("]}", r#",{"name":"amount","type":"int","default":3}]}"#);
    let written = || encode_resolved(&latest, &order(), Part::Value).unwrap();
    assert_eq!(id(&written()), first);
    for round in 1..7 {
        let next = newer.replace("\"default\":3", &format!("\"default\":{round}"));
        let second = register(&registry, "orders-value", &Schema::avro(next));
        registry.forget();
        let bytes = written();
        assert_eq!(id(&bytes), second);
        // The field that `Order` lacks has the default of the schema.
        assert_eq!(*bytes.last().unwrap(), 2 * round);
        assert_eq!(written(), bytes);
    }
}

#[test]
fn more_schemas_than_are_kept_are_all_read() {
    let registry = Registry::in_memory();
    let numbers = Avro::<Value>::from_registry(&registry);
    let ids: Vec<i32> = (1..1_200)
        .map(|size| {
            register(
                &registry,
                &format!("s{size}"),
                &Schema::avro(format!(r#"{{"type":"fixed","name":"F","size":{size}}}"#)),
            )
        })
        .collect();
    for _ in 0..2 {
        for (id, size) in ids.iter().zip(1..) {
            let bytes = [&[0][..], &id.to_be_bytes(), &vec![7; size]].concat();
            assert_eq!(decode_resolved(&numbers, &bytes).unwrap(), Value::Fixed("F".into(), vec![7; size]));
        }
    }
}
