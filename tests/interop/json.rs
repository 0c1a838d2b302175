use kafka_client::serde::{Framing, JsonSchema, Schema, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Job, Place, Records, speak};

const KEY: &str = r#"{"$schema": "http://json-schema.org/draft-07/schema#", "title": "Key", "type": "object", "properties": {"id": {"type": "string"}}}"#;
const VALUE: &str = r#"{"$schema": "http://json-schema.org/draft-07/schema#", "title": "Order", "type": "object",
    "required": ["id"], "properties": {"id": {"type": "integer", "minimum": 1}, "item": {"type": ["string", "null"]},
    "price": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string", "minLength": 1}}}}"#;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Key {
    id: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Order {
    id: u64,
    item: Option<String>,
    price: f64,
    tags: Vec<String>,
}

async fn both_ways(place: Place, framing: Framing) {
    let order = Order { id: 1, item: Some("h\u{e9} <&> \u{2028} \"tea\"".into()), price: 2.5, tags: vec!["a".into()] };
    let values = [Some(order.clone()), None, Some(Order { id: 1 << 53, item: None, price: 1e-3, tags: vec![] })];
    let key = |number: usize| Key { id: format!("o-{number}") };
    let ours = Vec::from_iter(values.into_iter().enumerate().map(|(number, value)| (key(number), value)));
    let said = |value: &Option<Order>| value.as_ref().map_or(Value::Null, |order| json!(order));
    let theirs = ours.iter().map(|(key, value)| (json!(key), said(value))).collect();
    let registry = place.client();
    let serdes = || {
        let key = JsonSchema::<Key>::with_schema(&registry, Schema::json(KEY)).framing(framing);
        let value = JsonSchema::<Order>::with_schema(&registry, Schema::json(VALUE)).framing(framing);
        (key, value.validation(Validation::Both))
    };
    let job = Job { format: "json", framing, registry: place.url(), key: KEY.into(), value: VALUE.into() };
    // White space and escapes are the writer's.
    let same = |theirs: &[u8], ours: &[u8]| {
        let [theirs, ours] = [theirs, ours].map(|json| serde_json::from_slice::<Value>(json).unwrap());
        theirs == ours
    };
    speak(job, Records { ours, theirs }, serdes, same).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_with_a_prefix() {
    both_ways(Place::ours().await, Framing::Prefix).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_with_a_header() {
    both_ways(Place::ours().await, Framing::Header).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_with_a_real_registry() {
    both_ways(Place::real().await, Framing::Prefix).await;
}
