use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Order {
    id: i64,
    customer: String,
    cents: i32,
    paid: bool,
    weight: f64,
    note: Option<String>,
    tags: Vec<String>,
    state: State,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Copy)]
enum State {
    Open,
    Shipped,
}

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},
    {"name":"customer","type":{"type":"string"}},
    {"name":"cents","type":"int"},
    {"name":"paid","type":"boolean"},
    {"name":"weight","type":"double"},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"tags","type":{"type":"array","items":"string"}},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["Open","Shipped"]}}]}"#;

fn order() -> Order {
    Order {
        id: -3_000_000_000,
        customer: "\u{e9}va".into(),
        cents: i32::MIN,
        paid: true,
        weight: 0.1,
        note: Some("x".repeat(100)),
        tags: vec![String::new(), "b".into()],
        state: State::Shipped,
    }
}

#[test]
fn a_record_is_written_as_apache_avro_does_and_read_back() {
    let ours = encode(ORDER, &order());
    let schema = apache_avro::Schema::parse_str(ORDER).unwrap();
    let theirs = apache_avro::writer::datum::GenericDatumWriter::builder(&schema)
        .build()
        .unwrap()
        .write_ser_to_vec(&order())
        .unwrap();
    assert_eq!(ours, theirs);
    assert_eq!(decode::<Order>(ORDER, &ours).unwrap(), order());
}

#[test]
fn fields_come_in_any_order_on_either_side() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Turned {
        state: State,
        tags: Vec<String>,
        id: i64,
        weight: f64,
        customer: String,
        paid: bool,
        cents: i32,
        note: Option<String>,
    }
    let Order { id, customer, cents, paid, weight, note, tags, state } = order();
    let turned = Turned { state, tags, id, weight, customer, paid, cents, note };
    assert_eq!(encode(ORDER, &turned), encode(ORDER, &order()));
    assert_eq!(decode::<Turned>(ORDER, &encode(ORDER, &order())).unwrap(), turned);
}

#[test]
fn a_field_that_is_left_out_gets_its_default_and_a_stray_one_is_named() {
    #[derive(Serialize)]
    struct Short {
        b: i32,
    }
    let schema = record(
        r#"{"name":"a","type":"int","default":7},{"name":"b","type":"int"},{"name":"c","type":"string","default":"x"}"#,
    );
    assert_eq!(encode(&schema, &Short { b: 1 }), [14, 2, 2, b'x']);
    let missing = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    assert_eq!(refused(&missing, &Short { b: 1 }), "a: the field is missing and has no default");
    assert_eq!(refused(&record(""), &Short { b: 1 }), "b: record R has no such field");
}

#[test]
fn a_map_with_the_names_of_fields_is_a_record() {
    let schema = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    let map = BTreeMap::from([("b", 2), ("a", 1)]);
    assert_eq!(encode(&schema, &map), [2, 4]);
    assert_eq!(
        decode::<BTreeMap<String, i32>>(&schema, &[2, 4]).unwrap(),
        BTreeMap::from([("a".into(), 1), ("b".into(), 2)])
    );
    assert_eq!(decode::<(i32, i32)>(&schema, &[2, 4]).unwrap(), (1, 2));
    assert_eq!(encode(&schema, &(1, 2)), [2, 4]);
}

#[test]
fn flattened_structs_and_other_tricks_of_serde_work() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Outer {
        a: i32,
        #[serde(flatten)]
        inner: Inner,
        #[serde(skip)]
        skipped: u8,
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct Inner {
        the_b: String,
    }
    let schema = record(r#"{"name":"a","type":"int"},{"name":"theB","type":"string"}"#);
    let value = Outer { a: 1, inner: Inner { the_b: "x".into() }, skipped: 0 };
    assert_eq!(encode(&schema, &value), [2, 2, b'x']);
    assert_eq!(decode::<Outer>(&schema, &[2, 2, b'x']).unwrap(), value);
}

#[test]
fn a_type_that_reads_structs_by_name_only_gets_its_names() {
    struct ByName(i32);
    impl<'de> Deserialize<'de> for ByName {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = ByName;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("names")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<ByName, A::Error> {
                    let entry = map.next_entry::<String, i32>()?;
                    assert_eq!(map.next_entry::<String, i32>()?, None);
                    Ok(ByName(entry.unwrap().1))
                }
            }
            deserializer.deserialize_struct("ByName", &["a"], Visitor)
        }
    }
    assert_eq!(decode::<ByName>(&record(r#"{"name":"a","type":"int"}"#), &[2]).unwrap().0, 1);
}

#[test]
fn numbers_keep_their_value_or_are_refused() {
    assert_eq!(encode(r#""int""#, &i32::MAX), [0xfe, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(encode(r#""long""#, &i64::MIN), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert_eq!(encode(r#""long""#, &7_u8), [14]);
    assert_eq!(encode(r#""int""#, &7_u64), [14]);
    assert_eq!(encode(r#""double""#, &1_i32), 1_f64.to_le_bytes());
    assert_eq!(encode(r#""float""#, &0.5_f64), 0.5_f32.to_le_bytes());
    assert_eq!(refused(r#""int""#, &(1_i64 << 31)), "2147483648 is out of range for an int");
    assert_eq!(refused(r#""long""#, &u64::MAX), "18446744073709551615 is out of range for a long");
    assert_eq!(refused(r#""float""#, &0.1_f64), "the double 0.1 does not fit float");
    assert_eq!(refused(r#""double""#, &i64::MAX), "the number 9223372036854775807 does not fit double");
    assert_eq!(refused(r#""string""#, &1), "the number 1 does not fit string");
    assert_eq!(decode::<i64>(r#""long""#, &encode(r#""long""#, &i64::MIN)).unwrap(), i64::MIN);
    assert_eq!(decode::<u32>(r#""int""#, &[14]).unwrap(), 7);
    assert!(decode::<u32>(r#""int""#, &[13]).is_err());
    assert!(
        decode::<i32>(r#""int""#, &encode(r#""long""#, &(1_i64 << 31)))
            .unwrap_err()
            .contains("out of range for an int")
    );
}

#[test]
fn unions_find_their_branch_by_type_or_by_the_name_of_a_variant() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    enum Event {
        Created { id: i32 },
        Renamed(Name),
        String(String),
        Long(i64),
        Colour(Colour),
        Null,
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Name {
        name: String,
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    enum Colour {
        Red,
    }
    let schema = r#"["null","long","string",
        {"type":"record","name":"a.Created","fields":[{"name":"id","type":"int"}]},
        {"type":"record","name":"a.Renamed","fields":[{"name":"name","type":"string"}]},
        {"type":"enum","name":"a.Colour","symbols":["Red"]}]"#;
    for (event, bytes) in [
        (Event::Created { id: 1 }, &[6, 2][..]),
        (Event::Renamed(Name { name: "x".into() }), &[8, 2, b'x']),
        (Event::String("x".into()), &[4, 2, b'x']),
        (Event::Long(1), &[2, 2]),
        (Event::Colour(Colour::Red), &[10, 0]),
        (Event::Null, &[0]),
    ] {
        assert_eq!(encode(schema, &event), bytes, "{event:?}");
        assert_eq!(decode::<Event>(schema, bytes).unwrap(), event);
    }
    assert_eq!(encode(schema, &None::<i32>), [0]);
    assert_eq!(encode(schema, &Some(1_i32)), [2, 2]);
    assert_eq!(encode(schema, "x"), [4, 2, b'x']);
    assert_eq!(decode::<Option<i64>>(schema, &[2, 2]).unwrap(), Some(1));
    assert_eq!(decode::<Option<i64>>(schema, &[0]).unwrap(), None);
    assert_eq!(encode(schema, &Colour::Red), [10, 0]);
    assert!(refused(schema, &true).starts_with("a boolean does not fit a union of null, long"));
    assert!(decode::<Event>(r#"["double"]"#, &[0; 9]).unwrap_err().contains("no variant stands for double"));
}

#[test]
fn an_enum_without_names_of_branches_is_found_by_its_shape() {
    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    let schema = r#"["long","string"]"#;
    assert_eq!(decode::<Either>(schema, &[0, 2]).unwrap(), Either::Number(1));
    assert_eq!(decode::<Either>(schema, &[2, 2, b'x']).unwrap(), Either::Text("x".into()));
}

#[test]
fn bytes_are_read_into_anything_that_holds_bytes() {
    let schema = record(r#"{"name":"b","type":"bytes"},{"name":"f","type":{"type":"fixed","name":"F","size":2}}"#);
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Plain {
        b: Vec<u8>,
        f: [u8; 2],
    }
    let plain = Plain { b: vec![1, 200, 3], f: [4, 5] };
    assert_eq!(encode(&schema, &plain), [6, 1, 200, 3, 4, 5]);
    assert_eq!(decode::<Plain>(&schema, &[6, 1, 200, 3, 4, 5]).unwrap(), plain);
    assert!(refused(&schema, &(vec![1_u8], [1_u8; 3])).contains("3 bytes do not fit a fixed of 2"));
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        b: &'a [u8],
        f: &'a [u8],
    }
    let bytes = [6, 1, 200, 3, 4, 5];
    let plan = plan(&schema, &schema);
    let borrowed: Borrowed<'_> = read(&plan, &bytes).unwrap();
    assert_eq!((borrowed.b.as_ptr(), borrowed.f.as_ptr()), (bytes[1..].as_ptr(), bytes[4..].as_ptr()));
}

#[test]
fn top_level_bytes_are_raw_as_confluent_writes_them() {
    for schema in [r#""bytes""#, r#"{"type":"bytes"}"#] {
        for bytes in [vec![], vec![1], vec![7; 300]] {
            assert_eq!(encode(schema, &bytes), bytes);
            assert_eq!(decode::<Vec<u8>>(schema, &bytes).unwrap(), bytes);
            assert_eq!(encode_value(schema, &Value::Bytes(bytes.clone())), bytes);
            assert_eq!(decode_value(schema, &bytes).unwrap(), Value::Bytes(bytes));
        }
    }
    // Anywhere else they have a length.
    assert_eq!(encode(r#"["null","bytes"]"#, &Some(vec![7_u8])), [2, 2, 7]);
    // Read as text, by promotion, they are still raw.
    assert_eq!(evolve::<String>(r#""bytes""#, r#""string""#, b"text").unwrap(), "text");
}

#[test]
fn other_top_level_primitives_are_plain_data() {
    assert_eq!(encode(r#""string""#, "x"), [2, b'x']);
    assert_eq!(encode(r#"{"type":"string"}"#, "x"), [2, b'x']);
    assert_eq!(encode(r#"{"type":{"type":"string"}}"#, "x"), [2, b'x']);
    assert!(encode(r#""null""#, &()).is_empty());
    assert_eq!(encode(r#""boolean""#, &true), [1]);
    assert!(decode::<bool>(r#""boolean""#, &[2]).is_err());
    decode::<()>(r#""null""#, &[]).unwrap();
    assert_eq!(decode::<String>("string", &[2, b'x']).unwrap(), "x");
}

#[test]
fn arrays_and_maps_are_read_in_blocks_with_and_without_sizes() {
    let array = r#"{"type":"array","items":"int"}"#;
    // Two blocks, the first with its size in bytes, as Go writes it.
    assert_eq!(decode::<Vec<i32>>(array, &[3, 4, 2, 4, 2, 6, 0]).unwrap(), [1, 2, 3]);
    assert_eq!(encode(array, &[1, 2, 3]), [6, 2, 4, 6, 0]);
    assert_eq!(encode(array, &Vec::<i32>::new()), [0]);
    let map = r#"{"type":"map","values":"int"}"#;
    let entries = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!(encode(map, &entries), [4, 2, b'a', 2, 2, b'b', 4, 0]);
    assert_eq!(decode::<BTreeMap<String, i32>>(map, &[1, 6, 2, b'a', 2, 2, 2, b'b', 4, 0]).unwrap(), entries);
    assert_eq!(encode(map, &BTreeMap::from([(7, 1)])), [2, 2, b'7', 2, 0]);
    assert_eq!(decode::<[i32; 2]>(array, &[4, 2, 4, 0]).unwrap(), [1, 2]);
    assert!(decode::<[i32; 2]>(array, &[6, 2, 4, 6, 0]).unwrap_err().contains("more than 2 items"));
}

#[test]
fn a_sequence_of_unknown_length_makes_room_for_its_count() {
    struct Odd;
    impl Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut seq = serializer.serialize_seq(None)?;
            for number in 0..100 {
                seq.serialize_element(&number)?;
            }
            seq.end()
        }
    }
    let array = r#"{"type":"array","items":"int"}"#;
    assert_eq!(encode(array, &Odd), encode(array, &(0..100).collect::<Vec<i32>>()));
}

#[test]
fn decimals_are_text_numbers_or_bytes() {
    let bytes = record(r#"{"name":"p","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}}"#);
    let fixed = record(
        r#"{"name":"p","type":{"type":"fixed","name":"F","size":4,"logicalType":"decimal","precision":9,"scale":2}}"#,
    );
    assert_eq!(encode(&bytes, &("-1.28",)), [2, 0x80]);
    assert_eq!(encode(&fixed, &("-1.28",)), [0xff, 0xff, 0xff, 0x80]);
    assert_eq!(encode(&bytes, &(3,)), encode(&bytes, &("3.00",)));
    for java_and_python in [&[2, 0x80][..], &[4, 0xff, 0x80]] {
        assert_eq!(decode::<(String,)>(&bytes, java_and_python).unwrap().0, "-1.28");
        assert_eq!(decode::<(f64,)>(&bytes, java_and_python).unwrap().0, -1.28);
        let value = decode_value(&bytes, java_and_python).unwrap();
        assert_eq!(value.get("p").unwrap().to_decimal_text().unwrap(), "-1.28");
        assert_eq!(encode_value(&bytes, &value), [2, 0x80]);
    }
    assert!(refused(&bytes, &("1.234",)).contains("not a decimal with up to 2 digits"));
    assert!(refused(&fixed, &("99999999999",)).contains("does not fit into 4"));
}

#[test]
fn uuids_and_durations_have_both_forms() {
    let text = record(r#"{"name":"u","type":{"type":"string","logicalType":"uuid"}}"#);
    let fixed = record(r#"{"name":"u","type":{"type":"fixed","name":"F","size":16,"logicalType":"uuid"}}"#);
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    assert_eq!(encode(&text, &(id,)).len(), 37);
    assert_eq!(encode(&fixed, &(id,)).len(), 16);
    for schema in [&text, &fixed] {
        assert_eq!(decode::<(String,)>(schema, &encode(schema, &(id,))).unwrap().0, id);
        let value = decode_value(schema, &encode(schema, &(id,))).unwrap();
        assert_eq!(encode_value(schema, &value), encode(schema, &(id,)));
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Duration {
        months: u32,
        days: u32,
        milliseconds: u32,
    }
    let schema = record(r#"{"name":"d","type":{"type":"fixed","name":"F","size":12,"logicalType":"duration"}}"#);
    let duration = Duration { months: 1, days: 2, milliseconds: 3 };
    assert_eq!(encode(&schema, &(&duration,)), [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(decode::<(Duration,)>(&schema, &encode(&schema, &(&duration,))).unwrap().0, duration);
}

#[test]
fn types_that_contain_themselves_work() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Node {
        value: i32,
        next: Option<Box<Node>>,
    }
    let schema = r#"{"type":"record","name":"Node","fields":[
        {"name":"value","type":"int"},{"name":"next","type":["null","Node"],"default":null}]}"#;
    let list = Node { value: 1, next: Some(Box::new(Node { value: 2, next: None })) };
    assert_eq!(encode(schema, &list), [2, 2, 4, 0]);
    assert_eq!(decode::<Node>(schema, &[2, 2, 4, 0]).unwrap(), list);
}

#[test]
fn names_are_resolved_in_their_namespaces() {
    let schema = r#"{"type":"record","name":"R","namespace":"a","fields":[
        {"name":"x","type":{"type":"record","name":"X","namespace":"b","fields":[
            {"name":"y","type":{"type":"enum","name":"Y","symbols":["S"]}},{"name":"y2","type":"Y"},{"name":"r","type":["null","a.R"]}]}},
        {"name":"y3","type":"b.Y"}]}"#;
    let value = decode_value(schema, &[0, 0, 0, 0]).unwrap();
    assert_eq!(value.get("y3"), Some(&Value::Enum("b.Y".into(), "S".into())));
    let wrong = schema.replace("\"b.Y\"", "\"Y\"");
    assert!(parse::parse(&wrong, []).unwrap_err().contains("there is no type called \"Y\""));
}

#[test]
fn schemas_that_mean_nothing_are_refused_and_say_why() {
    for (text, why) in [
        ("{", "not JSON"),
        ("7", "not 7"),
        ("[]", "a union has no branch"),
        (r#"["null",["null"]]"#, "stands directly in a union"),
        (r#"["int","int"]"#, "two branches of type int"),
        (r#"{"type":"array"}"#, "no \"items\""),
        (r#"{"type":"map"}"#, "no \"values\""),
        (r#"{"type":"record","name":"R"}"#, "no \"fields\""),
        (r#"{"type":"record","fields":[]}"#, "has no \"name\""),
        (r#"{"type":"fixed","name":"F","size":-1}"#, "out of range"),
        (r#"{"type":"enum","name":"E","symbols":["a","a"]}"#, "twice"),
        (r#"{"type":"record","name":"R","fields":[{"name":"a","type":"Nope"}]}"#, "field \"a\" of R: there is no type"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
            "two fields",
        ),
    ] {
        let error = parse::parse(text, []).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
