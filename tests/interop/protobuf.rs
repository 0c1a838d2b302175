use std::collections::BTreeMap;

use kafka_client::serde::{Framing, Protobuf, Schema, SchemaChoice};
use serde_json::{Value, json};

use crate::{Job, Place, Records, speak};

/// What the peer builds by descriptor; it registers a descriptor, in which the map's message counts.
const FILE: &str = "syntax = \"proto3\";\npackage shop;\n\nmessage First {\n  int32 x = 1;\n}\n\nmessage Outer {\n  \
    map<string, int32> counts = 1;\n  Inner inner = 2;\n\n  message Inner {\n    string text = 1;\n  }\n  \
    message Second {\n    string text = 1;\n  }\n}\n";

#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Outer {
    /// One entry at most: the order of more is the writer's.
    #[prost(btree_map = "string, int32", tag = "1")]
    counts: BTreeMap<String, i32>,
    #[prost(message, optional, tag = "2")]
    inner: Option<Text>,
}

async fn both_ways(place: Place, framing: Framing) {
    let real = matches!(place, Place::Real(_));
    let values = [
        Some(Outer { counts: BTreeMap::from([("a".into(), -1)]), inner: Some(Text { text: "x".into() }) }),
        None,
        Some(Outer { counts: BTreeMap::new(), inner: Some(Text { text: "h\u{e9}".repeat(100) }) }),
    ];
    // The key is the nested message behind the map's own: what real clients count in different ways.
    let key = |number: usize| Text { text: format!("o-{number}") };
    let ours = Vec::from_iter(values.into_iter().enumerate().map(|(number, value)| (key(number), value)));
    let said = |value: &Outer| {
        let mut said = json!({});
        if !value.counts.is_empty() {
            said["counts"] = json!(value.counts);
        }
        if let Some(inner) = &value.inner {
            said["inner"] = json!({"text": inner.text});
        }
        said
    };
    let theirs = ours.iter().map(|(key, value)| (json!({"text": key.text}), value.as_ref().map_or(Value::Null, said)));
    let theirs = theirs.collect();
    let registry = place.client();
    // Python asks for descriptors, and a registry that gives the text in place of one is not understood by it: there, its
    // own descriptor is what we write with.
    let choice = match real {
        true => SchemaChoice::id(registered_by_python(&place).await).unchecked(),
        false => SchemaChoice::register(),
    };
    let serdes = || {
        let file = || Schema::protobuf(FILE);
        let key = Protobuf::<Text>::with_schema(&registry, file(), "shop.Outer.Second");
        let value = Protobuf::<Outer>::with_schema(&registry, file(), "shop.Outer");
        (key.framing(framing).choose(choice.clone()), value.framing(framing).choose(choice.clone()))
    };
    let job = job(&place, framing);
    // The index is one into each writer's own schema: a descriptor there, a text here. Behind it all is the same.
    let same = |theirs: &[u8], ours: &[u8]| match framing {
        Framing::Prefix => message(theirs) == message(ours),
        Framing::Header => theirs == ours,
    };
    speak(job, Records { ours, theirs }, serdes, same).await;
}

fn job(place: &Place, framing: Framing) -> Job {
    let (key, value) = ("shop.Outer.Second".into(), "shop.Outer".into());
    Job { format: "protobuf", framing, registry: place.url(), key, value }
}

/// The id under which the peer registers its descriptor.
async fn registered_by_python(place: &Place) -> i32 {
    let topic = crate::topic("protobuf");
    let records = json!([[{"text": "k"}, {"inner": {"text": "v"}}]]);
    job(place, Framing::Prefix).ask(json!({"do": "write", "topic": topic, "records": records})).await;
    place.client().latest(&format!("{topic}-value")).await.unwrap().id.unwrap()
}

/// What stands behind the index; all numbers here are small.
fn message(payload: &[u8]) -> &[u8] {
    let count = usize::from(payload[0] / 2);
    &payload[1 + count..]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf_with_a_prefix() {
    both_ways(Place::ours().await, Framing::Prefix).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf_with_a_header() {
    both_ways(Place::ours().await, Framing::Header).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf_with_a_real_registry() {
    both_ways(Place::real().await, Framing::Prefix).await;
}
