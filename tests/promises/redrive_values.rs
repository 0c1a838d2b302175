//! Dead letters whose values have schemas: seen, mended, written as the newest schema, and checked against their target.

use std::process::{Command, Stdio};

use kafka_client::RawRecord;
use kafka_client::serde::{
    Avro, CompatibilityLevel, Deserializer, Encoded, Part, Registry, RegistryServer, Schema, SchemaChoice, Serializer,
    Source, Stop, Target,
};
use kafka_dlq::{RedriveReport, Selection};
use serde_json::{Value, json};
use tests::harness::Cluster;

use crate::dead_letters::Given;

const FIRST: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"amount","type":"string"},
    {"name":"note","type":["null","string"]}]}"#;
/// An amount is a number now; there is a currency.
const SECOND: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"amount","type":"double"},
    {"name":"note","type":["null","string"]},{"name":"currency","type":"string","default":"EUR"}]}"#;

pub(crate) async fn warm<T>(mut work: impl FnMut() -> Result<T, Stop>) -> T {
    loop {
        match work() {
            Ok(done) => return done,
            Err(Stop::Miss(miss)) => miss.resolve().await.unwrap(),
            Err(Stop::Error(error)) => panic!("{error}"),
        }
    }
}

/// A value with its schema, which is registered under the orders' subject.
async fn encoded(registry: &Registry, given: &Given, schema: &str, value: &Value) -> Vec<u8> {
    let serde =
        Avro::<Value>::with_schema(registry, Schema::avro(schema)).choose(SchemaChoice::Register { normalize: false });
    warm(|| {
        let mut out = Vec::new();
        let mut target = Target::new(given.orders.name(), Part::Value);
        serde.serialize(value, &mut target, &mut out).map(|encoded| {
            assert_eq!(encoded, Encoded::Bytes);
            out
        })
    })
    .await
}

async fn decoded(registry: &Registry, given: &Given, bytes: &[u8]) -> Value {
    let serde = Avro::<Value>::from_registry(registry);
    warm(|| serde.deserialize(Some(bytes), &Source::new(given.orders.name(), Part::Value))).await
}

/// Ten orders of the first schema, dead-lettered for their amounts, and then the second schema is registered.
async fn orders(registry: &Registry) -> (Given, Vec<RawRecord>) {
    let given = Given::new(1);
    let mut letters = Vec::new();
    for id in 0..10 {
        let value = json!({ "id": id, "amount": format!("{}", id * 10), "note": if id % 2 == 0 { Value::Null } else { "odd".into() } });
        let mut letter = given.letter(id, "amount");
        letter.value = Some(encoded(registry, &given, FIRST, &value).await);
        letters.push(letter);
    }
    given.write(letters.iter().cloned()).await;
    (given, letters)
}

async fn second(registry: &Registry, given: &Given) {
    let subject = format!("{}-value", given.orders.name());
    registry.set_compatibility_level(Some(&subject), CompatibilityLevel::None).await.unwrap();
    registry.register(&subject, &Schema::avro(SECOND)).await.unwrap();
}

pub(crate) fn only_reason(report: &RedriveReport) -> &str {
    let left = report.left();
    assert_eq!(left.len(), 1, "{report}");
    left.keys().next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_selected_and_mended_as_its_schema_says_and_written_as_the_newest() {
    let registry = Registry::in_memory();
    let (given, _) = orders(&registry).await;
    second(&registry, &given).await;
    let mend = || {
        let selection = Selection::all().jq(".value.id >= 4 and .value.note == \"odd\"").unwrap();
        given
            .redrive()
            .registry(&registry)
            .select(selection)
            .transform_jq(".amount |= tonumber | .currency = \"SEK\"")
            .unwrap()
    };
    let dry = mend().dry_run().await.unwrap();
    assert_eq!((dry.sent(), given.sent().len()), (3, 0), "{dry}");
    let report = mend().run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!(report.sent(), 3, "{report}");
    let mut sent = Vec::new();
    for stored in given.sent() {
        sent.push(decoded(&registry, &given, stored.value.as_deref().unwrap()).await);
    }
    let expected = |id: i64| json!({ "id": id, "amount": id as f64 * 10.0, "note": "odd", "currency": "SEK" });
    assert_eq!(sent, [expected(5), expected(7), expected(9)]);
    // The control: without a registry the value is no JSON, nothing is selected by it, and nothing mended.
    let blind = given.redrive().select(Selection::all().jq(".value.id >= 4").unwrap()).dry_run().await.unwrap();
    assert_eq!(blind.sent(), 0, "{blind}");
    let blind = given.redrive().transform_jq(".").unwrap().dry_run().await.unwrap();
    assert!(only_reason(&blind).contains("no JSON"), "{blind}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_its_target_is_left_with_the_reason() {
    let registry = Registry::in_memory();
    let (given, letters) = orders(&registry).await;
    let cut = |mut letter: RawRecord| {
        letter.value.as_mut().unwrap().truncate(7);
        letter
    };
    let bare = |mut letter: RawRecord| {
        letter.value = Some(b"{}".to_vec());
        letter
    };
    let unknown = |mut letter: RawRecord| {
        letter.value.as_mut().unwrap()[1..5].copy_from_slice(&77_777_i32.to_be_bytes());
        letter
    };
    let null = |mut letter: RawRecord| {
        letter.value = None;
        letter
    };
    let strange = given.letter(100, "amount");
    given.write([cut(letters[0].clone()), bare(letters[1].clone()), unknown(letters[2].clone()), null(strange)]).await;
    let job = || given.redrive().registry(&registry).duplicates(true);
    let dry = job().dry_run().await.unwrap();
    // Ten, and a tombstone, which fits every subject.
    assert_eq!(dry.sent(), 11, "{dry}");
    let left = |report: &RedriveReport, why: &str| {
        report.left().iter().filter(|(reason, _)| reason.contains(why)).map(|(_, count)| *count).sum::<u64>()
    };
    assert_eq!(left(&dry, "its bytes are no value of schema"), 1, "{dry}");
    assert_eq!(left(&dry, "its bytes name none"), 1, "{dry}");
    assert_eq!(left(&dry, "does not know its schema 77777"), 1, "{dry}");
    let report = job().run_until(std::future::pending::<()>()).await.unwrap();
    assert_eq!((report.sent(), report.left()), (11, dry.left()), "{report}");
    // To a topic without a subject anything goes; and the control, unchecked, sends it all to its origin.
    let elsewhere = crate::given::topic("anything", 1);
    let report = job().to(kafka_dlq::Target::Topic(elsewhere.name().to_owned())).dry_run().await.unwrap();
    assert_eq!(report.sent(), 14, "{report}");
    let report = job().validate(false).dry_run().await.unwrap();
    assert_eq!(report.left().len(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_the_target_could_not_have_is_refused_and_an_outage_fails_the_job() {
    let registry = Registry::in_memory();
    let (given, _) = orders(&registry).await;
    let other = crate::given::topic("invoices", 1);
    let invoice = r#"{"type":"record","name":"Invoice","fields":[{"name":"number","type":"string"}]}"#;
    registry.register(&format!("{}-value", other.name()), &Schema::avro(invoice)).await.unwrap();
    let to_other =
        |registry: &Registry| given.redrive().registry(registry).to(kafka_dlq::Target::Topic(other.name().to_owned()));
    let dry = to_other(&registry).dry_run().await.unwrap();
    assert!(dry.sent() == 0 && only_reason(&dry).contains("is not compatible with"), "{dry}");

    let server = RegistryServer::start(&registry, ("127.0.0.1", 0)).await.unwrap();
    let gone = Registry::builder(server.url()).retries(0).build().unwrap();
    drop(server);
    let error = to_other(&gone).run_until(std::future::pending::<()>()).await.unwrap_err();
    let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    assert!(chain.map(ToString::to_string).any(|text| text.contains("registry")), "{error:?}");
    assert_eq!(crate::given::log(&other), [], "nothing was sent, and nothing was judged by an outage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_sees_values_by_their_schemas() {
    let registry = Registry::in_memory();
    let (given, _) = orders(&registry).await;
    let server = RegistryServer::start(&registry, ("127.0.0.1", 0)).await.unwrap();
    let run = |arguments: Vec<String>| async move {
        let ended = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dlq-command"));
            command.env_clear().env("KAFKA_BOOTSTRAP_SERVERS", Cluster::shared().bootstrap());
            command.args(arguments).stdin(Stdio::null()).output().unwrap()
        })
        .await
        .unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap()
    };
    let arguments = |text: &str| -> Vec<String> {
        let text = text.replace("TOPIC", given.letters.name());
        let words = text.split(' ').map(str::to_owned);
        words.chain(["--registry".to_owned(), server.url(), "--json".to_owned()]).collect()
    };
    let peeked = run(arguments("peek TOPIC --where .value.id==7")).await;
    assert_eq!(peeked.lines().count(), 1, "{peeked}");
    assert_eq!(serde_json::from_str::<Value>(&peeked).unwrap()["value"]["amount"], "70");
    let report = run(arguments("redrive TOPIC --where .value.id>7 --execute")).await;
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap()["sent"], 2, "{report}");
}
