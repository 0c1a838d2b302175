//! `#[derive(AvroSchema)]` makes the schema that one would write by hand.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;

use kafka_serde::{Avro, AvroSchema, Deserializer, Encoded, Part, Registry, Serializer, Source, Stop, Target};
use serde::{Deserialize, Serialize};

/// An order.
#[derive(AvroSchema, Serialize, Deserialize, Debug, PartialEq)]
#[avro(namespace = "shop", alias = "OldOrder")]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: i64,
    /// Who pays.
    #[avro(alias = "buyer", default = "\"nobody\"")]
    customer: String,
    note: Option<String>,
    #[avro(bytes)]
    picture: Vec<u8>,
    #[avro(schema = r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#)]
    price: String,
    state: State,
    before: State,
    tags: BTreeMap<String, Vec<f64>>,
    payment: Payment,
    parent: Option<Box<Order>>,
    #[serde(skip)]
    cached: u8,
}

#[derive(AvroSchema, Serialize, Deserialize, Debug, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    Open,
    #[avro(default)]
    Unknown,
}

#[derive(AvroSchema, Serialize, Deserialize, Debug, PartialEq)]
enum Payment {
    Card(Card),
    String(String),
    Null,
}

#[derive(AvroSchema, Serialize, Deserialize, Debug, PartialEq)]
struct Card {
    number: u32,
}

#[derive(AvroSchema, Serialize, Deserialize, Debug, PartialEq)]
struct Wrapped(Card);

fn order(payment: Payment) -> Order {
    Order {
        order_id: 1,
        customer: "eva".into(),
        note: Some("x".into()),
        picture: vec![1, 255],
        price: "12.50".into(),
        state: State::Open,
        before: State::Unknown,
        tags: BTreeMap::from([("a".into(), vec![0.5])]),
        payment,
        parent: None,
        cached: 0,
    }
}

#[test]
fn the_schema_is_the_one_to_expect() {
    let expected = concat!(
        r#"{"type":"record","name":"Order","namespace":"shop","doc":"An order.","aliases":["OldOrder"],"fields":["#,
        r#"{"name":"orderId","type":"long"},"#,
        r#"{"name":"customer","doc":"Who pays.","aliases":["buyer"],"type":"string","default":"nobody"},"#,
        r#"{"name":"note","type":["null","string"],"default":null},"#,
        r#"{"name":"picture","type":"bytes"},"#,
        r#"{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},"#,
        r#"{"name":"state","type":{"type":"enum","name":"State","symbols":["OPEN","UNKNOWN"],"default":"UNKNOWN"}},"#,
        r#"{"name":"before","type":"shop.State"},"#,
        r#"{"name":"tags","type":{"type":"map","values":{"type":"array","items":"double"}}},"#,
        r#"{"name":"payment","type":[{"type":"record","name":"Card","fields":[{"name":"number","type":"long"}]},"#,
        r#""string","null"]},"#,
        r#"{"name":"parent","type":["null","shop.Order"],"default":null}]}"#,
    );
    assert_eq!(&*Order::avro_schema().text, expected);
    assert_eq!(Wrapped::avro_schema().text, Card::avro_schema().text);
}

#[test]
fn what_is_derived_encodes_and_decodes() {
    let orders = Avro::<Order>::new(&Registry::in_memory());
    for payment in [Payment::Card(Card { number: 7 }), Payment::String("cash".into()), Payment::Null] {
        let value = Order { parent: Some(Box::new(order(Payment::Null))), ..order(payment) };
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match orders.serialize(&value, &mut Target::new("orders", Part::Value), &mut bytes) {
                Ok(encoded) => break assert_eq!(encoded, Encoded::Bytes),
                Err(Stop::Miss(miss)) => futures::executor::block_on(miss.resolve()).unwrap(),
                Err(Stop::Error(error)) => panic!("{error}"),
            }
        }
        assert_eq!(orders.deserialize(Some(&bytes), &Source::new("orders", Part::Value)).unwrap(), value);
    }
}
