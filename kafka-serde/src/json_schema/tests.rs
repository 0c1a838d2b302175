use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::fixture::{decode_resolved, encode_resolved};
use crate::{Part, SchemaId, SchemaReference};

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Order {
    id: u64,
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Item {
    name: String,
    price: f64,
}

const ORDER: &str = r#"{"title":"Order","type":"object","required":["id","items"],"properties":{
    "id":{"type":"integer","minimum":1},
    "items":{"type":"array","items":{"type":"object","properties":{"price":{"type":"number","exclusiveMinimum":0}}}}}}"#;

fn order(price: f64) -> Order {
    Order { id: 1, items: vec![Item { name: "tea".into(), price }] }
}

fn orders(registry: &Registry, validation: Validation) -> JsonSchema<Order> {
    JsonSchema::with_schema(registry, Schema::json(ORDER)).validation(validation)
}

#[test]
fn a_document_is_framed_and_comes_back() {
    let registry = Registry::in_memory();
    for validation in [Validation::Off, Validation::Encode, Validation::Decode, Validation::Both] {
        let orders = orders(&registry, validation);
        let bytes = encode_resolved(&orders, &order(2.5), Part::Value).unwrap();
        assert_eq!(bytes[5..], serde_json::to_vec(&order(2.5)).unwrap());
        assert_eq!(decode_resolved(&orders, &bytes).unwrap(), order(2.5));
    }
}

#[test]
fn what_is_checked_is_what_was_asked_for() {
    let registry = Registry::in_memory();
    let bytes = encode_resolved(&orders(&registry, Validation::Off), &order(0.0), Part::Value).unwrap();
    for (validation, encodes, decodes) in [
        (Validation::Off, true, true),
        (Validation::Encode, false, true),
        (Validation::Decode, true, false),
        (Validation::Both, false, false),
    ] {
        let orders = orders(&registry, validation);
        let encoded = encode_resolved(&orders, &order(0.0), Part::Value);
        let decoded = decode_resolved(&orders, &bytes);
        assert_eq!((encoded.is_ok(), decoded.is_ok()), (encodes, decodes), "{validation:?}");
        for (error, kind) in [(encoded.err(), ErrorKind::Unencodable), (decoded.err(), ErrorKind::Malformed)] {
            let Some(error) = error else { continue };
            assert_eq!((error.kind(), error.field()), (kind, Some("items[0].price")));
            assert!(matches!(error.schema_id(), Some(SchemaId::Id(_))));
            assert!(
                error.to_string().contains("items[0].price: 0.0 is less than or equal to the minimum of 0"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_document_that_does_not_fit_the_type_is_told_with_line_and_field() {
    let registry = Registry::in_memory();
    let any = JsonSchema::<serde_json::Value>::with_schema(&registry, Schema::json("{}"));
    let bytes = encode_resolved(&any, &serde_json::json!({"id": -1, "items": []}), Part::Value).unwrap();
    for validation in [Validation::Off, Validation::Decode] {
        let error = decode_resolved(&orders(&registry, validation), &bytes).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Malformed, Some("id")));
        assert!(error.to_string().ends_with("JSON of another shape at line 1 column 8 in id"), "{error}");
    }
    assert!(decode_resolved(&any, &bytes[..5]).unwrap_err().to_string().contains("empty payload"));
    assert!(decode_resolved(&any, &[&bytes[..5], b"{"].concat()).is_err());
}

#[test]
fn references_are_found_by_name_and_by_id_at_any_depth() {
    let registry = Registry::in_memory();
    let register = |subject: &str, schema: &Schema| {
        futures::executor::block_on(registry.register(subject, schema)).unwrap();
    };
    register("code", &Schema::json(r#"{"type":"string","pattern":"^[A-Z]{3}$"}"#));
    let airport = Schema::json(
        r#"{"$id":"http://air.example/airport.json","type":"object","properties":{"code":{"$ref":"code.json"}}}"#,
    )
    .with_reference(SchemaReference::new("code.json", "code", 1));
    register("airport", &airport);
    let flight = Schema::json(
        r#"{"$id":"http://air.example/flight.json","type":"object","properties":{
            "to":{"$ref":"airport.json"},"code":{"$ref":"code.json"}}}"#,
    )
    .with_reference(SchemaReference::new("airport.json", "airport", 1))
    .with_reference(SchemaReference::new("code.json", "code", 1));
    let flights =
        JsonSchema::<BTreeMap<String, serde_json::Value>>::with_schema(&registry, flight).validation(Validation::Both);
    let flight = |code: &str| BTreeMap::from([("to".to_owned(), serde_json::json!({ "code": code }))]);
    let bytes = encode_resolved(&flights, &flight("JFK"), Part::Value).unwrap();
    assert_eq!(decode_resolved(&flights, &bytes).unwrap(), flight("JFK"));
    let error = encode_resolved(&flights, &flight("jfk"), Part::Value).unwrap_err();
    assert_eq!(error.field(), Some("to.code"));
}

#[test]
fn a_reference_without_an_id_around_it_is_found() {
    let registry = Registry::in_memory();
    futures::executor::block_on(registry.register("code", &Schema::json(r#"{"type":"string"}"#))).unwrap();
    let schema = Schema::json(r#"{"type":"object","properties":{"code":{"$ref":"code.json"}}}"#)
        .with_reference(SchemaReference::new("code.json", "code", 1));
    let serde = JsonSchema::<serde_json::Value>::with_schema(&registry, schema).validation(Validation::Both);
    assert!(encode_resolved(&serde, &serde_json::json!({"code": "x"}), Part::Value).is_ok());
    assert!(encode_resolved(&serde, &serde_json::json!({"code": 1}), Part::Value).is_err());
}

#[test]
fn what_is_no_reference_is_never_fetched() {
    let registry = Registry::in_memory();
    for address in ["http://127.0.0.1:1/x.json", "file:///etc/hostname", "other.json"] {
        let schema = Schema::json(format!(r#"{{"properties":{{"a":{{"$ref":"{address}"}}}}}}"#));
        let serde = JsonSchema::<serde_json::Value>::with_schema(&registry, schema)
            .subject(SubjectName::custom(move |_, _, _| format!("s-{}", address.len())))
            .validation(Validation::Encode);
        let error = encode_resolved(&serde, &serde_json::json!({}), Part::Value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSchema, "{error}");
    }
}

#[test]
fn each_draft_means_what_it_says_and_draft_7_is_meant_by_silence() {
    let registry = Registry::in_memory();
    let fits = |subject: &str, schema: &str, document: serde_json::Value| {
        let subject = subject.to_owned();
        let serde = JsonSchema::<serde_json::Value>::with_schema(&registry, Schema::json(schema))
            .subject(SubjectName::custom(move |_, _, _| subject.clone()))
            .validation(Validation::Encode);
        encode_resolved(&serde, &document, Part::Value).is_ok()
    };
    // Draft 4: exclusiveMinimum is a flag beside minimum.
    let draft4 = r#"{"$schema":"http://json-schema.org/draft-04/schema#","minimum":1,"exclusiveMinimum":true}"#;
    assert!(!fits("d4", draft4, 1.into()) && fits("d4", draft4, 2.into()));
    // 2020-12: prefixItems; draft 7 does not know it.
    let tuple = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","prefixItems":[{"type":"string"}]}"#;
    assert!(!fits("d20", tuple, serde_json::json!([1])));
    assert!(fits("silent", r#"{"prefixItems":[{"type":"string"}]}"#, serde_json::json!([1])));
    assert!(!fits("silent7", r#"{"items":[{"type":"string"}]}"#, serde_json::json!([1])));
}

#[test]
fn a_schema_that_refers_to_itself_without_end_does_not_overflow_the_stack() {
    let registry = Registry::in_memory();
    for (number, text) in [
        r##"{"$ref":"#"}"##,
        r##"{"allOf":[{"$ref":"#"}]}"##,
        r##"{"definitions":{"a":{"$ref":"#/definitions/b"},"b":{"$ref":"#/definitions/a"}},"$ref":"#/definitions/a"}"##,
        r##"{"properties":{"next":{"$ref":"#"}}}"##,
    ]
    .into_iter()
    .enumerate()
    {
        let serde = JsonSchema::<serde_json::Value>::with_schema(&registry, Schema::json(text))
            .subject(SubjectName::custom(move |_, _, _| format!("s{number}")))
            .validation(Validation::Both);
        let mut document = serde_json::json!({});
        for _ in 0..100 {
            document = serde_json::json!({ "next": document });
        }
        let _ = encode_resolved(&serde, &document, Part::Value);
    }
}

#[test]
fn any_bytes_are_an_error_or_a_value_never_a_panic() {
    let registry = Registry::in_memory();
    let orders = orders(&registry, Validation::Both);
    let valid = encode_resolved(&orders, &order(2.5), Part::Value).unwrap();
    let random = crate::fixture::random_bytes(20_000);
    for start in 0..random.len() - 32 {
        let mut bytes = valid.clone();
        let at = 5 + start % (bytes.len() - 5);
        bytes[at] = random[start];
        let _ = decode_resolved(&orders, &bytes);
        bytes.truncate(at);
        assert!(decode_resolved(&orders, &bytes).is_err());
        let _ = decode_resolved(&orders, &[&valid[..5], &random[start..start + start % 32]].concat());
    }
}
