use super::*;
use crate::fixture::{
    Headers, decode_from, decode_resolved, encode_resolved, encode_with_headers, random_bytes, survives_poison,
};
use crate::{Part, SchemaId, SchemaReference};
use base64::Engine as _;

/// `Inner` and `Second` are nested after a field that is a map.
const FILE: &str = r#"
syntax = "proto3";
package shop;
message First { int32 x = 1; }
message Outer {
  map<string, int32> counts = 1;
  message Inner { string text = 1; }
  message Second { string text = 1; }
  Inner inner = 2;
}
"#;

#[derive(Clone, PartialEq, Message)]
struct First {
    #[prost(int32, tag = "1")]
    x: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Outer {
    #[prost(btree_map = "string, int32", tag = "1")]
    counts: std::collections::BTreeMap<String, i32>,
    #[prost(message, optional, tag = "2")]
    inner: Option<Inner>,
}

#[derive(Clone, PartialEq, Message)]
struct Inner {
    #[prost(string, tag = "1")]
    text: String,
}

fn inner() -> Inner {
    Inner { text: "x".into() }
}

/// The same file as a base64 descriptor, as Python and JavaScript register it.
fn descriptor_of(text: &str) -> String {
    let (descriptor, is_text) = file::descriptor(text).unwrap();
    assert!(is_text);
    base64::engine::general_purpose::STANDARD.encode(descriptor.encode_to_vec())
}

fn payload(registry: &Registry, schema: &str, index: &[u8], data: &[u8]) -> Vec<u8> {
    // A topic for each schema, which need not be compatible with another.
    let subject = format!("s{}", schema.len());
    let found = futures::executor::block_on(registry.register(&subject, &Schema::protobuf(schema))).unwrap();
    [&[0][..], &found.id.unwrap().to_be_bytes(), index, data].concat()
}

fn serde<M>(registry: &Registry, name: &str) -> Protobuf<M> {
    Protobuf::with_schema(registry, Schema::protobuf(FILE), name)
}

const DATA: &[u8] = &[10, 1, b'x'];

#[test]
fn a_message_is_framed_with_its_index_and_comes_back() {
    let registry = Registry::in_memory();
    let first = serde::<First>(&registry, "shop.First");
    let bytes = encode_resolved(&first, &First { x: 1 }, Part::Value).unwrap();
    assert_eq!(bytes[5..], [0, 8, 1]);
    assert_eq!(decode_resolved(&first, &bytes).unwrap(), First { x: 1 });

    let outer = serde::<Outer>(&registry, "shop.Outer");
    let value = Outer { counts: [("a".into(), 1)].into(), inner: Some(inner()) };
    let bytes = encode_resolved(&outer, &value, Part::Value).unwrap();
    assert_eq!(bytes[5..7], [2, 2]);
    assert_eq!(decode_resolved(&outer, &bytes).unwrap(), value);
}

/// schema_registry_converter drops the messages that maps make from an index that counts them.
#[test]
fn a_map_counts_in_a_descriptor_and_not_in_a_text() {
    let registry = Registry::in_memory();
    let nested = serde::<Inner>(&registry, "shop.Outer.Inner");
    let bytes = encode_resolved(&nested, &inner(), Part::Value).unwrap();
    assert_eq!(bytes[5..], [4, 2, 0, 10, 1, b'x'], "text: Inner is 0 in Outer");

    // Registered as a descriptor, the map's entry is 0 and Inner is 1; it is written and read so.
    let in_descriptor =
        Protobuf::<Inner>::with_schema(&registry, Schema::protobuf(descriptor_of(FILE)), "shop.Outer.Inner");
    let to = &mut Target::new("other", Part::Value);
    let bytes = encode_with_headers(&in_descriptor, &inner(), to).unwrap();
    assert_eq!(decode_resolved(&nested, &bytes).unwrap(), inner());
    let python = payload(&registry, &descriptor_of(FILE), &[4, 2, 2], DATA);
    assert_eq!(decode_resolved(&nested, &python).unwrap(), inner());
}

#[test]
fn an_index_that_leads_to_another_message_is_refused_and_names_it() {
    let registry = Registry::in_memory();
    let nested = serde::<Inner>(&registry, "shop.Outer.Inner");
    for (index, found) in [
        (&[0][..], "the payload is a shop.First"),
        (&[2, 2], "the payload is a shop.Outer"),
        (&[4, 2, 2], "the payload is a shop.Outer.Second"),
        (&[2, 4], "the payload's index [2] leads to no message of its schema"),
        (&[6, 2, 0, 0], "the payload's index [1, 0, 0] leads to no message"),
        (&[2, 1], "the payload's index [-1] leads to no message"),
    ] {
        let error = decode_resolved(&nested, &payload(&registry, FILE, index, DATA)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(matches!(error.schema_id(), Some(SchemaId::Id(_))));
        assert!(error.to_string().contains(found), "{error}");
    }
}

/// In a text, index 2 in `Outer` is no message; only who counts the map's entry means `Second` by it. Index 1 is
/// `Second` for those who do not count it, and stays so.
#[test]
fn the_other_way_of_counting_is_taken_only_where_nothing_else_is_meant() {
    let registry = Registry::in_memory();
    let second = serde::<Inner>(&registry, "shop.Outer.Second");
    assert!(decode_resolved(&second, &payload(&registry, FILE, &[4, 2, 4], DATA)).is_ok());
    assert!(decode_resolved(&second, &payload(&registry, FILE, &[4, 2, 2], DATA)).is_ok());
    let first = serde::<Inner>(&registry, "shop.Outer.Inner");
    assert!(decode_resolved(&first, &payload(&registry, FILE, &[4, 2, 2], DATA)).is_err());
    // JavaScript registers a descriptor and does not count: index 0 is the entry, so it can only mean Inner.
    let javascript = payload(&registry, &descriptor_of(FILE), &[4, 2, 0], DATA);
    assert!(decode_resolved(&first, &javascript).is_ok());
    assert!(decode_resolved(&second, &javascript).is_err());
}

#[test]
fn a_writer_that_ordered_its_messages_otherwise_is_understood() {
    let registry = Registry::in_memory();
    let turned = r#"syntax = "proto3"; package shop; message Zero {} message New {} message First { int32 x = 1; string y = 2; }"#;
    let first = serde::<First>(&registry, "shop.First");
    let bytes = payload(&registry, turned, &[2, 4], &[8, 1, 18, 1, b'y']);
    assert_eq!(decode_resolved(&first, &bytes).unwrap(), First { x: 1 });
}

#[test]
fn the_index_travels_in_the_header_with_the_schema() {
    let registry = Registry::in_memory();
    let nested = serde::<Inner>(&registry, "shop.Outer.Inner").framing(Framing::Header);
    let mut headers = Headers::default();
    let bytes =
        encode_with_headers(&nested, &inner(), &mut Target::new("orders", Part::Value).with_headers(&mut headers))
            .unwrap();
    assert_eq!(bytes, DATA);
    let value = headers.0[0].1.clone().unwrap();
    assert_eq!((value[0], &value[17..]), (1, &[4, 2, 0][..]));
    let from = Source::new("orders", Part::Value).with_headers(&headers);
    assert_eq!(decode_from(&nested, &bytes, &from).unwrap(), inner());
    headers.0[0].1.as_mut().unwrap().push(0);
    let from = Source::new("orders", Part::Value).with_headers(&headers);
    assert!(decode_from(&nested, &bytes, &from).is_err());
}

#[test]
fn an_empty_message_is_a_value_and_an_empty_payload_is_not() {
    let registry = Registry::in_memory();
    let first = serde::<First>(&registry, "shop.First");
    let bytes = encode_resolved(&first, &First { x: 0 }, Part::Value).unwrap();
    assert_eq!(bytes[5..], [0]);
    assert_eq!(decode_resolved(&first, &bytes).unwrap(), First { x: 0 });
    assert!(decode_resolved(&first, &bytes[..5]).unwrap_err().to_string().contains("ends within the index"));
    assert!(decode_resolved(&first, b"").is_err());
}

#[test]
fn a_message_that_the_schema_lacks_is_named() {
    let registry = Registry::in_memory();
    let wrong = serde::<First>(&registry, "shop.Nope");
    let error = encode_resolved(&wrong, &First { x: 1 }, Part::Value).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSchema);
    assert!(error.to_string().ends_with("the schema has no message called shop.Nope"), "{error}");
}

#[test]
fn an_import_is_found_among_the_references_by_a_message_of_any_type() {
    let registry = Registry::in_memory();
    let airport = Schema::protobuf(r#"syntax = "proto3"; package air; message Airport { string code = 1; }"#);
    futures::executor::block_on(registry.register("airport", &airport)).unwrap();
    let flight = Schema::protobuf(
        r#"syntax = "proto3"; package air; import "air/airport.proto"; import "google/protobuf/timestamp.proto";
           message Flight { Airport to = 1; repeated int32 delays = 2; map<int32, string> notes = 3;
                            google.protobuf.Timestamp at = 4; optional string tail = 5; }"#,
    )
    .with_reference(SchemaReference::new("air/airport.proto", "airport", 1));

    #[derive(Clone, PartialEq, Message)]
    struct Flight {
        #[prost(message, optional, tag = "1")]
        to: Option<Inner>,
        #[prost(int32, repeated, tag = "2")]
        delays: Vec<i32>,
        #[prost(btree_map = "int32, string", tag = "3")]
        notes: std::collections::BTreeMap<i32, String>,
    }
    let flights = Protobuf::<Flight>::with_schema(&registry, flight, "air.Flight");
    let value = Flight { to: Some(inner()), delays: vec![1, 2], notes: [(7, "late".into())].into() };
    let bytes = encode_resolved(&flights, &value, Part::Value).unwrap();
    assert_eq!(decode_resolved(&flights, &bytes).unwrap(), value);

    let dynamic = DynamicProtobuf::new(&registry);
    let message = decode_resolved(&dynamic, &bytes).unwrap();
    assert_eq!(message.name(), "air.Flight");
    assert_eq!(message.get("delays"), Some(Value::List(vec![Value::I32(1), Value::I32(2)])));
    assert_eq!(message.get("notes"), Some(Value::Map([("7".to_owned(), Value::String("late".into()))].into())));
    let Some(Value::Message(to)) = message.get("to") else { panic!("{message:?}") };
    assert_eq!((to.name().as_str(), to.get("code")), ("air.Airport", Some(Value::String("x".into()))));
    assert_eq!((message.get("at"), message.has("tail"), message.get("nope")), (None, false, None));
    // And it can be written again.
    assert_eq!(encode_resolved(&dynamic, &message, Part::Value).unwrap()[5..], bytes[5..]);
}

#[test]
fn files_that_are_none_are_refused() {
    for (schema, why) in [("message {", "no .proto text"), ("AAAA", "no FileDescriptorProto")] {
        let error = File::parse(schema).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSchema);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_written_map_entry_counts_in_a_text() {
    // As Confluent's registry prints a descriptor that was registered.
    let printed = r#"syntax = "proto3"; package shop; message Outer {
        repeated CountsEntry counts = 1;
        message CountsEntry { option map_entry = true; string key = 1; int32 value = 2; }
        message Inner { string text = 1; } }"#;
    let file = File::parse(printed).unwrap();
    assert_eq!(file.index("shop.Outer.Inner").unwrap().path(), [0, 1]);
    assert_eq!(file.index("shop.Outer.CountsEntry"), None, "no payload is an entry");
}

#[test]
fn any_bytes_are_an_error_or_a_value_never_a_panic() {
    let registry = Registry::in_memory();
    let outer = serde::<Outer>(&registry, "shop.Outer");
    let prefix = encode_resolved(&outer, &Outer::default(), Part::Value).unwrap();
    decode_resolved(&outer, &prefix).unwrap();
    let dynamic = DynamicProtobuf::new(&registry);
    decode_resolved(&dynamic, &prefix).unwrap();
    let random = random_bytes(50_000);
    for start in 0..random.len() - 32 {
        for cut in [5, 7] {
            let bytes = [&prefix[..cut], &random[start..start + start % 32]].concat();
            let _ = decode_resolved(&outer, &bytes);
            let _ = decode_resolved(&dynamic, &bytes);
        }
    }
    // Deep nesting is refused by the decoder.
    let deep = [&prefix[..7], &[18, 0x7f].repeat(10_000)].concat();
    assert!(decode_resolved(&outer, &deep).is_err());
    use crate::DeserializerExt;
    survives_poison(&crate::Bytes.try_map(|bytes| Index::read(&bytes).map(|_| ())));
}

#[test]
fn messages_within_messages_without_end_are_refused_and_are_no_stack_overflow() {
    let deep = |levels: usize| format!("syntax = \"proto3\"; {} {}", "message A {".repeat(levels), "}".repeat(levels));
    let index = File::parse(&deep(30)).unwrap().index(&["A"; 30].join(".")).unwrap();
    assert_eq!(index.path(), [0; 30]);
    for levels in [1_000, 20_000] {
        let error = File::parse(&deep(levels)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSchema);
    }
    // As a descriptor.
    let mut message = prost_reflect::prost_types::DescriptorProto::default();
    for _ in 0..500 {
        message = prost_reflect::prost_types::DescriptorProto { nested_type: vec![message], ..Default::default() };
    }
    let file = prost_reflect::prost_types::FileDescriptorProto { message_type: vec![message], ..Default::default() };
    assert!(File::parse(&base64::engine::general_purpose::STANDARD.encode(file.encode_to_vec())).is_err());
}
