//! Dead letters that are Protobuf messages, or documents with a JSON Schema: seen, mended, written as the newest schema has
//! it, and checked.

use kafka_client::RawRecord;
use kafka_client::serde::{
    CompatibilityLevel, Deserializer, JsonSchema, Part, Protobuf, Registry, Schema, Serializer, Source, Target,
    Validation,
};
use kafka_dlq::{Redrive, RedriveReport, Selection};
use prost::Message;
use serde_json::{Value, json};

use crate::dead_letters::Given;
use crate::redrive_values::{only_reason, warm};

/// The order is the second message.
const FIRST: &str = r#"syntax = "proto3"; package shop;
    message Parcel { int32 x = 1; }
    message Order { int64 id = 1; string amount = 2; bytes token = 3; map<string, int64> stock = 4;
        optional string note = 5; }"#;
/// A price is a number now; and the order is the first message.
const SECOND: &str = r#"syntax = "proto3"; package shop;
    message Order { int64 id = 1; string amount = 2; bytes token = 3; map<string, int64> stock = 4;
        optional string note = 5; double price = 6; }
    message Parcel { int32 x = 1; }"#;

/// An order as both files have it.
#[derive(Clone, PartialEq, Message)]
struct Order {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    amount: String,
    #[prost(bytes = "vec", tag = "3")]
    token: Vec<u8>,
    #[prost(btree_map = "string, int64", tag = "4")]
    stock: std::collections::BTreeMap<String, i64>,
    #[prost(string, optional, tag = "5")]
    note: Option<String>,
    #[prost(double, tag = "6")]
    price: f64,
}

fn order(id: i64) -> Order {
    Order {
        // More than a double holds.
        id: i64::MAX - id,
        amount: format!("{id}.5"),
        token: vec![0, 255, id as u8],
        stock: [("a".to_owned(), id)].into(),
        note: (id % 2 == 0).then(String::new),
        price: 0.0,
    }
}

async fn encoded<S: Serializer>(serde: &S, given: &Given, value: &S::Input) -> Vec<u8> {
    warm(|| {
        let mut out = Vec::new();
        serde.serialize(value, &mut Target::new(given.orders.name(), Part::Value), &mut out).map(|_| out)
    })
    .await
}

/// What was sent, by a serde.
async fn sent<D: Deserializer>(serde: &D, given: &Given) -> Vec<D::Output> {
    let mut sent = Vec::new();
    for stored in given.sent() {
        let from = Source::new(given.orders.name(), Part::Value);
        sent.push(warm(|| serde.deserialize(stored.value.as_deref(), &from)).await);
    }
    sent
}

async fn run(job: Redrive) -> RedriveReport {
    job.run_until(std::future::pending::<()>()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_selected_and_mended_and_written_as_the_newest_of_its_name() {
    let (registry, given) = (Registry::in_memory(), Given::new(1));
    let first = Protobuf::<Order>::with_schema(&registry, Schema::protobuf(FIRST), "shop.Order");
    let mut letters = Vec::new();
    for id in 0..10 {
        let mut letter = given.letter(id, "amount");
        letter.value = Some(encoded(&first, &given, &order(id)).await);
        letters.push(letter);
    }
    // One more, with a field that its schema does not know: 15.
    let mut strange: RawRecord = given.letter(10, "amount");
    strange.value = Some([encoded(&first, &given, &order(10)).await, vec![0x78, 1]].concat());
    given.write(letters.into_iter().chain([strange])).await;
    let subject = format!("{}-value", given.orders.name());
    registry.set_compatibility_level(Some(&subject), CompatibilityLevel::None).await.unwrap();
    registry.register(&subject, &Schema::protobuf(SECOND)).await.unwrap();

    let job = |change: &str| {
        let selection = Selection::all().jq(".value.stock.a >= 7").unwrap();
        given.redrive().registry(&registry).select(selection).transform_jq(change).unwrap()
    };
    // What it would not be is left, by the name of the field.
    let wrong = job(".price = \"a lot\"").dry_run().await.unwrap();
    let reasons: Vec<_> = wrong.left().keys().cloned().collect();
    assert!(wrong.sent() == 0 && reasons.iter().any(|reason| reason.contains("price")), "{wrong}");
    let unknown = job(".amuont = 1").dry_run().await.unwrap();
    assert!(unknown.left().keys().any(|reason| reason.contains("amuont")), "{unknown}");

    let report = run(job(".price = (.amount | tonumber) | .amount = \"\"")).await;
    assert_eq!(report.sent(), 3, "{report}");
    let lost = report.left().iter().find(|(reason, _)| reason.contains("would lose them"));
    assert_eq!(lost.map(|(_, count)| *count), Some(1), "{report}");
    let second = Protobuf::<Order>::with_schema(&registry, Schema::protobuf(SECOND), "shop.Order");
    let expected = |id: i64| Order { amount: String::new(), price: id as f64 + 0.5, ..order(id) };
    assert_eq!(sent(&second, &given).await, [7, 8, 9].map(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_checked_against_its_schema_before_it_is_sent() {
    const SCHEMA: &str = r#"{"type":"object","required":["id"],
        "properties":{"id":{"type":"integer"},"amount":{"type":"number","minimum":0}}}"#;
    let (registry, given) = (Registry::in_memory(), Given::new(1));
    let careless = JsonSchema::<Value>::with_schema(&registry, Schema::json(SCHEMA)).validation(Validation::Off);
    let mut letters = Vec::new();
    for id in 0..10 {
        let mut letter = given.letter(id, "amount");
        let amount = if id % 2 == 0 { id } else { -id };
        letter.value = Some(encoded(&careless, &given, &json!({ "id": id, "amount": amount })).await);
        letters.push(letter);
    }
    given.write(letters).await;
    let job = || given.redrive().registry(&registry);
    let as_they_are = job().dry_run().await.unwrap();
    assert_eq!(as_they_are.sent(), 5, "{as_they_are}");
    assert!(as_they_are.left().keys().all(|reason| reason.contains("amount")), "{as_they_are}");
    // The control: unchecked, all of them would go.
    assert_eq!(job().validate(false).dry_run().await.unwrap().sent(), 10);
    let wrong = job().transform_jq(".amount = \"x\"").unwrap().dry_run().await.unwrap();
    assert!(wrong.sent() == 0 && only_reason(&wrong).contains("it is no value of"), "{wrong}");

    let report = run(job().transform_jq(".amount |= fabs").unwrap()).await;
    assert_eq!((report.sent(), report.left().len()), (10, 0), "{report}");
    let strict = careless.validation(Validation::Both);
    let amounts: Vec<_> = sent(&strict, &given).await.iter().map(|value| value["amount"].as_f64()).collect();
    assert_eq!(amounts, (0..10).map(|id| Some(f64::from(id))).collect::<Vec<_>>());
}
