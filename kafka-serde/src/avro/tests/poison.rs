use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::fixture::random_bytes;

const ALL: &str = r#"{"type":"record","name":"R","fields":[
    {"name":"a","type":["null","string","R"]},{"name":"b","type":{"type":"array","items":"bytes"}},
    {"name":"c","type":{"type":"map","values":"long"}},{"name":"d","type":{"type":"enum","name":"E","symbols":["A","B"]}},
    {"name":"e","type":{"type":"fixed","name":"F","size":4}},{"name":"f","type":"double"},
    {"name":"g","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"h","type":{"type":"array","items":"null"}}]}"#;

#[derive(Deserialize)]
#[allow(dead_code)]
struct R {
    a: Option<A>,
    b: Vec<Vec<u8>>,
    c: BTreeMap<String, i64>,
    d: String,
    e: [u8; 4],
    f: f64,
    g: String,
    h: Vec<()>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
enum A {
    String(String),
    R(Box<R>),
}

#[test]
fn any_bytes_are_an_error_or_a_value_never_a_panic() {
    let plan = plan(ALL, ALL);
    let mut random = random_bytes(200_000);
    for (index, byte) in random.iter_mut().enumerate() {
        // Small numbers get further than any.
        if index % 3 != 0 {
            *byte &= 0x0f;
        }
    }
    for start in 0..random.len() - 64 {
        let bytes = &random[start..start + start % 64];
        let typed = read::<R>(&plan, bytes).is_ok();
        let mut input = Input::new(bytes);
        let generic = value::read(&plan, &mut input).and_then(|_| input.end()).is_ok();
        // What is a value of the schema is one of the type, unless it is text that is not UTF-8.
        assert!(generic || !typed);
    }
}

#[test]
fn a_datum_cut_short_or_too_long_is_refused() {
    let bytes = [&[2, 2, b'x'][..], &[2, 2, 7, 0], &[2, 2, b'k', 2, 0], &[2], &[1, 2, 3, 4], &[0; 8], &[2, 5], &[6, 0]]
        .concat();
    read::<R>(&plan(ALL, ALL), &bytes).map_err(|fault| fault.to_string()).unwrap();
    for length in 0..bytes.len() {
        assert!(decode::<R>(ALL, &bytes[..length]).is_err(), "{length}");
        assert!(decode_value(ALL, &bytes[..length]).is_err(), "{length}");
    }
    let error = decode::<R>(ALL, &[&bytes[..], &[0]].concat()).err().unwrap();
    assert_eq!(error, "1 bytes are left after the value");
}

#[test]
fn lengths_that_the_payload_cannot_hold_are_refused_before_anything_is_allocated() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for schema in
        [r#""string""#, r#"["bytes"]"#, r#"{"type":"array","items":"int"}"#, r#"{"type":"map","values":"int"}"#]
    {
        for length in [&huge[..], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], &[0x01], &[0x80]] {
            let bytes = [if schema.starts_with('[') { &[0][..] } else { &[] }, length].concat();
            assert!(decode_value(schema, &bytes).is_err(), "{schema} {bytes:x?}");
        }
    }
    let error =
        decode::<Vec<i32>>(r#"{"type":"array","items":"int"}"#, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0]).unwrap_err();
    assert_eq!(error, "a block claims 2147483647 items, and 1 bytes are left");
    let doubles =
        decode::<Vec<f64>>(r#"{"type":"array","items":"double"}"#, &[16, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(doubles, "a block claims 8 items, and 9 bytes are left");
}

#[test]
fn items_of_no_size_have_a_bound_of_their_own() {
    let nulls = r#"{"type":"array","items":"null"}"#;
    assert_eq!(decode::<Vec<()>>(nulls, &[30, 0]).unwrap().len(), 15);
    assert!(decode::<Vec<()>>(nulls, &[200, 1, 0]).is_err());
    assert!(decode::<Vec<()>>(nulls, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0]).is_err());
    let empty = format!(r#"{{"type":"array","items":{}}}"#, record(""));
    assert!(decode_value(&empty, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0]).is_err());
    // Many blocks come to the same sum.
    assert!(decode_value(&empty, &[32; 100]).unwrap_err().contains("claims 16 items"));
}

#[test]
fn deep_nesting_is_refused_and_is_no_stack_overflow() {
    let list = r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]}]}"#;
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct N {
        next: Option<Box<N>>,
    }
    let deep = vec![2; 100_000];
    for error in [decode::<N>(list, &deep).err().unwrap(), decode_value(list, &deep).unwrap_err()] {
        assert!(error.ends_with("nested deeper than 64 levels") && error.len() < 1_000, "{error}");
    }
    assert!(evolve::<(i32,)>(list, &record("").replace("\"R\"", "\"N\""), &deep).is_err());
    // A type that contains itself without a choice has no value at all.
    let endless = r#"{"type":"record","name":"N","fields":[{"name":"next","type":"N"}]}"#;
    assert!(decode_value(endless, &deep).is_err());
    assert!(decode_value(&format!(r#"{{"type":"array","items":{endless}}}"#), &[2, 0]).is_err());
}

#[test]
fn a_number_of_more_than_64_bits_is_refused() {
    let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(decode::<i64>(r#""long""#, &bytes).unwrap(), i64::MIN);
    for last in [0x02, 0x7f, 0x81] {
        let bytes = [&bytes[..9], &[last, 0]].concat();
        assert!(decode::<i64>(r#""long""#, &bytes).unwrap_err().contains("longer than 64 bits"));
    }
}

#[test]
fn the_field_is_named_wherever_it_is() {
    let schema = record(
        r#"{"name":"items","type":{"type":"array","items":{"type":"record","name":"I","fields":[
            {"name":"prices","type":{"type":"map","values":"string"}}]}}}"#,
    );
    let bytes = [4, 0, 2, 4, b'd', b'e', 2, 0xff, 0, 0];
    let why = "items[1].prices.de: not UTF-8 at byte 0";
    assert_eq!(decode_value(&schema, &bytes).unwrap_err(), why);
    #[derive(Deserialize, Debug)]
    #[allow(dead_code)]
    struct Typed {
        items: Vec<Item>,
    }
    #[derive(Deserialize, Debug)]
    #[allow(dead_code)]
    struct Item {
        prices: BTreeMap<String, String>,
    }
    assert_eq!(decode::<Typed>(&schema, &bytes).unwrap_err(), why);
    // A type that expects something else is named in the same way.
    #[derive(Deserialize, Debug)]
    #[allow(dead_code)]
    struct Other {
        items: Vec<Flag>,
    }
    #[derive(Deserialize, Debug)]
    #[allow(dead_code)]
    struct Flag {
        prices: bool,
    }
    let error = decode::<Other>(&schema, &[2, 0, 0]).unwrap_err();
    assert_eq!(error, "items[0].prices: invalid type: map, expected a boolean");
}

#[test]
fn a_long_key_does_not_make_a_long_message() {
    let key = "\u{e9}".repeat(10_000);
    let mut bytes = vec![2];
    crate::avro::input::put_bytes(key.as_bytes(), &mut bytes);
    bytes.push(7);
    let error = decode_value(r#"{"type":"map","values":"boolean"}"#, &bytes).unwrap_err();
    assert!(error.contains("a boolean is 00 or 01") && error.len() < 400, "{}", error.len());
}
