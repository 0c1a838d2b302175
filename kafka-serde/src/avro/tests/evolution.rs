use serde::Deserialize;

use super::*;

#[test]
fn a_field_that_the_writer_lacks_gets_the_default_of_the_schema() {
    #[derive(Deserialize, Debug, PartialEq)]
    struct Now {
        a: i32,
        b: String,
        c: Vec<i64>,
        d: Inner,
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Inner {
        x: i32,
        y: Option<f64>,
    }
    let then = record(r#"{"name":"a","type":"int"}"#);
    let now = record(
        r#"{"name":"a","type":"int"},{"name":"b","type":"string","default":"none"},
           {"name":"c","type":{"type":"array","items":"long"},"default":[1,2]},
           {"name":"d","type":{"type":"record","name":"D","fields":[
               {"name":"x","type":"int","default":5},{"name":"y","type":["null","double"],"default":null}]},"default":{"x":9}}"#,
    );
    let value: Now = evolve(&then, &now, &[2]).unwrap();
    assert_eq!(value, Now { a: 1, b: "none".into(), c: vec![1, 2], d: Inner { x: 9, y: None } });
    // And the new data is read by the old schema.
    let written = [&[2, 8][..], b"some", &[0, 2, 0]].concat();
    assert_eq!(evolve::<(i32,)>(&now, &then, &written).unwrap().0, 1);
}

#[test]
fn a_field_without_a_default_is_named_before_any_data_is_read() {
    let (writer, reader) = (model(&record("")), model(&record(r#"{"name":"a","type":"int"}"#)));
    let error = Plan::resolve(&writer, &reader).unwrap_err();
    assert_eq!(error, "field \"a\" of R: it has no default, and the writer has no such field");
}

#[test]
fn aliases_find_fields_and_types_that_were_renamed() {
    let then = r#"{"type":"record","name":"old.Before","fields":[{"name":"was","type":"int"}]}"#;
    let now = r#"{"type":"record","name":"Now","namespace":"new","aliases":["old.Before"],"fields":[
        {"name":"is","type":"int","aliases":["was"]}]}"#;
    assert_eq!(evolve_value(then, now, &[2]).unwrap(), Value::record("new.Now", [("is", Value::Int(1))]));
    let unrelated = then.replace("Before", "Other");
    let error = Plan::resolve(&model(&unrelated), &model(now)).unwrap_err();
    assert_eq!(error, "record old.Other cannot be read as record new.Now");
}

#[test]
fn promotions_are_those_of_the_specification_and_no_others() {
    let types = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    let allowed = [
        ("int", "long"),
        ("int", "float"),
        ("int", "double"),
        ("long", "float"),
        ("long", "double"),
        ("float", "double"),
        ("string", "bytes"),
        ("bytes", "string"),
    ];
    for writer in types {
        for reader in types {
            let fits = Plan::resolve(&model(&format!("\"{writer}\"")), &model(&format!("\"{reader}\""))).is_ok();
            assert_eq!(fits, writer == reader || allowed.contains(&(writer, reader)), "{writer} to {reader}");
        }
    }
    assert_eq!(evolve_value(r#""int""#, r#""double""#, &[3]).unwrap(), Value::Double(-2.0));
    assert_eq!(evolve_value(r#""long""#, r#""float""#, &[3]).unwrap(), Value::Float(-2.0));
    assert_eq!(evolve_value(r#""float""#, r#""double""#, &0.5_f32.to_le_bytes()).unwrap(), Value::Double(0.5));
    assert_eq!(evolve::<f64>(r#""float""#, r#""double""#, &0.5_f32.to_le_bytes()).unwrap(), 0.5);
    assert_eq!(evolve_value(r#""string""#, r#""bytes""#, &[2, 7]).unwrap(), Value::Bytes(vec![7]));
}

#[test]
fn unions_are_resolved_branch_by_branch() {
    // A branch the reader does not have is an error of the record that has it, and of no other.
    let (writer, reader) = (r#"["null","string","int"]"#, r#"["null","long"]"#);
    assert_eq!(evolve_value(writer, reader, &[4, 2]).unwrap(), Value::Long(1));
    assert_eq!(evolve_value(writer, reader, &[0]).unwrap(), Value::Null);
    let error = evolve_value(writer, reader, &[2, 2, b'x']).unwrap_err();
    assert!(error.starts_with("string does not fit any of null, long"), "{error}");
    // Into a union, out of a union.
    assert_eq!(evolve::<Option<i32>>(r#""int""#, r#"["null","int"]"#, &[2]).unwrap(), Some(1));
    assert_eq!(evolve::<i32>(r#"["null","int"]"#, r#""int""#, &[2, 2]).unwrap(), 1);
    assert!(evolve::<i32>(r#"["null","int"]"#, r#""int""#, &[0]).unwrap_err().contains("null cannot be read as int"));
    // The same type comes before a promotion, wherever it stands.
    assert_eq!(evolve_value(r#""int""#, r#"["double","long","int"]"#, &[2]).unwrap(), Value::Int(1));
}

#[test]
fn a_record_in_a_union_is_found_by_its_name() {
    let one = r#"{"type":"record","name":"a.One","fields":[{"name":"x","type":"int"}]}"#;
    let two = r#"{"type":"record","name":"a.Two","fields":[{"name":"x","type":"int"}]}"#;
    let (writer, reader) = (format!("[{one},{two}]"), format!("[{two},{one}]"));
    assert_eq!(evolve_value(&writer, &reader, &[2, 2]).unwrap(), Value::record("a.Two", [("x", Value::Int(1))]));
}

#[test]
fn a_symbol_that_the_reader_does_not_know_becomes_the_default() {
    let symbols = |symbols: &str, more: &str| format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]{more}}}"#);
    let writer = symbols(r#""A","B","C""#, "");
    let with_default = symbols(r#""Unknown","C","A""#, r#","default":"Unknown""#);
    for (written, read) in [(0, "A"), (2, "Unknown"), (4, "C")] {
        assert_eq!(evolve::<String>(&writer, &with_default, &[written]).unwrap(), read);
    }
    let error = evolve::<String>(&writer, &symbols(r#""A""#, ""), &[2]).unwrap_err();
    assert_eq!(error, "enum E has no symbol \"B\" and no default");
    assert_eq!(evolve::<String>(&writer, &writer, &[6]).unwrap_err(), "there is no symbol 3, the schema has 3");
}

#[test]
fn what_the_reader_does_not_want_is_skipped_whatever_it_is() {
    let all = r#"{"name":"skipped","type":{"type":"record","name":"S","fields":[
        {"name":"a","type":"null"},{"name":"b","type":"boolean"},{"name":"c","type":"int"},{"name":"d","type":"long"},
        {"name":"e","type":"float"},{"name":"f","type":"double"},{"name":"g","type":"bytes"},{"name":"h","type":"string"},
        {"name":"i","type":{"type":"array","items":"string"}},{"name":"j","type":{"type":"map","values":"int"}},
        {"name":"k","type":["null","S"]},{"name":"l","type":{"type":"enum","name":"E","symbols":["A"]}},
        {"name":"m","type":{"type":"fixed","name":"F","size":3}}]}},{"name":"kept","type":"int"}"#;
    let bytes = [
        &[1][..],            // b
        &[2, 4],             // c, d
        &[0; 4],             // e
        &[0; 8],             // f
        &[2, 9, 2, b'h'],    // g, h
        &[1, 4, 2, b'x', 0], // i: a block of one item and its size, 2 bytes
        &[2, 2, b'k', 2, 0], // j
        &[0, 0, 1, 2, 3],    // k, l, m
        &[14],               // kept
    ]
    .concat();
    let reader = record(r#"{"name":"kept","type":"int"}"#);
    assert_eq!(evolve::<(i32,)>(&record(all), &reader, &bytes).unwrap().0, 7);
}

#[test]
fn decimals_of_another_scale_are_not_misread() {
    let decimal =
        |scale| model(&format!(r#"{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{scale}}}"#));
    assert!(Plan::resolve(&decimal(2), &decimal(2)).is_ok());
    let error = Plan::resolve(&decimal(2), &decimal(3)).unwrap_err();
    assert_eq!(error, "a decimal of scale 2 cannot be read with scale 3");
}

#[test]
fn a_default_that_grows_without_end_is_no_default() {
    // Each level holds the next one twice: 2^40 values.
    let mut schema = r#"{"type":"record","name":"L0","fields":[{"name":"x","type":"int","default":0}]}"#.to_owned();
    for level in 1..40 {
        let below = level - 1;
        schema = format!(
            r#"{{"type":"record","name":"L{level}","fields":[{{"name":"a","type":{schema},"default":{{}}}},{{"name":"b","type":"L{below}","default":{{}}}}]}}"#
        );
    }
    assert!(model(&schema).nodes.len() < 200);
}

#[test]
fn a_type_that_contains_itself_is_resolved_once() {
    let then =
        r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]},{"name":"v","type":"int"}]}"#;
    let now = r#"{"type":"record","name":"N","fields":[
        {"name":"v","type":"long"},{"name":"next","type":["null","N"]},{"name":"w","type":"int","default":3}]}"#;
    #[derive(Deserialize, Debug, PartialEq)]
    struct N {
        v: i64,
        next: Option<Box<N>>,
        w: i32,
    }
    let value: N = evolve(then, now, &[2, 0, 2, 4]).unwrap();
    assert_eq!(value, N { v: 2, next: Some(Box::new(N { v: 1, next: None, w: 3 })), w: 3 });
}

/// Types that refer to the one before, by name, as deep as anybody likes: only the text is flat.
#[test]
fn a_chain_of_types_without_end_is_refused_and_is_no_stack_overflow() {
    let chain = |length: usize| {
        let link = |n: usize| match n {
            0 => r#"{"name":"f0","type":{"type":"record","name":"A0","fields":[]}}"#.to_owned(),
            n => format!(
                r#"{{"name":"f{n}","type":{{"type":"record","name":"A{n}","fields":[{{"name":"x","type":"A{}"}}]}}}}"#,
                n - 1
            ),
        };
        record(&(0..length).map(link).collect::<Vec<_>>().join(","))
    };
    let (text, last) = (chain(20_000), "\"A19999\"");
    let model = parse::parse(last, [text.as_str()]).unwrap();
    assert!(Plan::of(&model).unwrap_err().contains("too deep"));
    let list = parse::parse(r#"{"type":"array","items":"A50"}"#, [text.as_str()]).unwrap();
    assert!(Plan::of(&list).is_ok());
    assert!(Plan::of(&parse::parse(r#"{"type":"array","items":"A19999"}"#, [text.as_str()]).unwrap()).is_err());
}
