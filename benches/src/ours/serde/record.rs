//! The record of all cases: 8 fields, 7 allocations to own it.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) customer: String,
    pub(crate) item: String,
    pub(crate) currency: String,
    pub(crate) cents: i64,
    pub(crate) paid: bool,
    pub(crate) note: Option<String>,
    pub(crate) tags: Vec<String>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded, and thrown away")]
pub(crate) struct OrderRef<'a> {
    id: i64,
    customer: &'a str,
    item: &'a str,
    currency: &'a str,
    cents: i64,
    paid: bool,
    note: Option<&'a str>,
    tags: Vec<&'a str>,
}

pub(crate) fn order() -> Order {
    Order {
        id: 4_211_000_017,
        customer: "customer-0042".into(),
        item: "a pound of green tea".into(),
        currency: "EUR".into(),
        cents: 1_250,
        paid: true,
        note: Some("leave at the door".into()),
        tags: vec!["organic".into(), "express".into()],
    }
}

pub(crate) const AVRO: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},
    {"name":"customer","type":"string"},
    {"name":"item","type":"string"},
    {"name":"currency","type":"string"},
    {"name":"cents","type":"long"},
    {"name":"paid","type":"boolean"},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"tags","type":{"type":"array","items":"string"},"default":[]}]}"#;

/// As it was: without `tags`, with `weight`, and with fewer cents.
pub(crate) const OLDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},
    {"name":"customer","type":"string"},
    {"name":"weight","type":"double"},
    {"name":"item","type":"string"},
    {"name":"currency","type":"string"},
    {"name":"cents","type":"int"},
    {"name":"paid","type":"boolean"},
    {"name":"note","type":["null","string"],"default":null}]}"#;

#[derive(Serialize)]
pub(crate) struct Older {
    id: i64,
    customer: String,
    weight: f64,
    item: String,
    currency: String,
    cents: i32,
    paid: bool,
    note: Option<String>,
}

pub(crate) fn older() -> Older {
    let Order { id, customer, item, currency, cents, paid, note, .. } = order();
    Older { id, customer, weight: 0.5, item, currency, cents: cents as i32, paid, note }
}

pub(crate) const JSON: &str = r#"{"title":"Order","type":"object","required":["id","customer","item"],"properties":{
    "id":{"type":"integer","minimum":1},"customer":{"type":"string","minLength":1},"item":{"type":"string"},
    "currency":{"type":"string","maxLength":3},"cents":{"type":"integer","minimum":0},"paid":{"type":"boolean"},
    "note":{"type":["string","null"]},"tags":{"type":"array","items":{"type":"string"}}}}"#;

pub(crate) const PROTO: &str = r#"syntax = "proto3"; package shop; message Order {
    int64 id = 1; string customer = 2; string item = 3; string currency = 4; int64 cents = 5; bool paid = 6;
    optional string note = 7; repeated string tags = 8; }"#;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    customer: String,
    #[prost(string, tag = "3")]
    item: String,
    #[prost(string, tag = "4")]
    currency: String,
    #[prost(int64, tag = "5")]
    cents: i64,
    #[prost(bool, tag = "6")]
    paid: bool,
    #[prost(string, optional, tag = "7")]
    note: Option<String>,
    #[prost(string, repeated, tag = "8")]
    tags: Vec<String>,
}

pub(crate) fn message() -> Message {
    let Order { id, customer, item, currency, cents, paid, note, tags } = order();
    Message { id, customer, item, currency, cents, paid, note, tags }
}
