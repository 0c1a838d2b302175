use kafka_serde::{
    CompatibilityLevel, Delete, Deleted, ErrorKind, Registry, RegistryCode, RegistryServer, Schema, SchemaId,
    SchemaReference, Version,
};

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;
const WIDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"n","type":"int","default":0}]}"#;
const BREAKING: &str = r#"{"type":"record","name":"Order","fields":[{"name":"other","type":"int"}]}"#;

async fn served() -> (RegistryServer, Registry) {
    let server = RegistryServer::start(&Registry::in_memory(), "127.0.0.1:0").await.unwrap();
    let registry = Registry::connect(server.url()).unwrap();
    (server, registry)
}

#[tokio::test]
async fn schemas_are_registered_found_and_listed() {
    let (server, registry) = served().await;
    let first = registry.register("orders-value", &Schema::avro(ORDER)).await.unwrap();
    let again = registry.register("other-value", &Schema::avro(ORDER)).await.unwrap();
    assert_eq!(first.id, again.id, "equal schemas share an id");
    let second = registry.register("orders-value", &Schema::avro(WIDER)).await.unwrap();

    // Another client, which knows nothing yet.
    let reader = Registry::connect(server.url()).unwrap();
    assert_eq!(&*reader.schema(SchemaId::Id(first.id.unwrap())).await.unwrap().schema.text, ORDER);
    let latest = reader.latest("orders-value").await.unwrap();
    assert_eq!((latest.id, latest.version), (second.id, Some(2)));
    let guid = latest.guid.unwrap();
    assert_eq!(&*reader.schema(SchemaId::Guid(guid)).await.unwrap().schema.text, WIDER);
    assert_eq!(reader.version("orders-value", 1).await.unwrap().id, first.id);
    assert_eq!(reader.look_up("orders-value", &Schema::avro(ORDER)).await.unwrap().id, first.id);
    assert_eq!(reader.subjects(Deleted::Without).await.unwrap(), ["orders-value", "other-value"]);
}

#[tokio::test]
async fn references_are_resolved_to_any_depth() {
    let (server, registry) = served().await;
    let airport = Schema::avro(r#"{"type":"record","name":"Airport","fields":[]}"#);
    registry.register("Airport", &airport).await.unwrap();
    let flight = Schema::avro(r#"{"type":"record","name":"Flight","fields":[{"name":"to","type":"Airport"}]}"#)
        .with_reference(SchemaReference::new("Airport", "Airport", 1));
    let id = registry.register("flights-value", &flight).await.unwrap().id.unwrap();
    let read = Registry::connect(server.url()).unwrap().schema(SchemaId::Id(id)).await.unwrap();
    assert_eq!(read.references[0].1.schema, airport);
    let error = registry.delete_version("Airport", 1, Delete::Soft).await.unwrap_err();
    assert_eq!(error.registry_code(), Some(RegistryCode::REFERENCE_EXISTS));
}

#[tokio::test]
async fn compatibility_is_checked() {
    let (_server, registry) = served().await;
    registry.register("orders-value", &Schema::avro(ORDER)).await.unwrap();
    assert_eq!(registry.compatibility_level(None).await.unwrap(), Some(CompatibilityLevel::Backward));
    assert_eq!(registry.compatibility_level(Some("orders-value")).await.unwrap(), None);
    let error = registry.register("orders-value", &Schema::avro(BREAKING)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(!registry.could_register("orders-value", &Schema::avro(BREAKING)).await.unwrap().is_compatible);
    let towards = registry.is_compatible("orders-value", Version::Latest, &Schema::avro(WIDER)).await.unwrap();
    assert!(towards.is_compatible);
    registry.set_compatibility_level(Some("orders-value"), CompatibilityLevel::None).await.unwrap();
    registry.register("orders-value", &Schema::avro(BREAKING)).await.unwrap();
    registry.reset_compatibility_level(Some("orders-value")).await.unwrap();
}

#[tokio::test]
async fn deletions_are_soft_first() {
    let (_server, registry) = served().await;
    let id = registry.register("orders-value", &Schema::avro(ORDER)).await.unwrap().id.unwrap();
    let error = registry.delete_subject("orders-value", Delete::Permanent).await.unwrap_err();
    assert_eq!(error.registry_code(), Some(RegistryCode::SUBJECT_NOT_SOFT_DELETED));
    assert_eq!(registry.delete_subject("orders-value", Delete::Soft).await.unwrap(), [1]);
    let error = registry.latest("orders-value").await.unwrap_err();
    assert_eq!(error.registry_code(), Some(RegistryCode::SUBJECT_NOT_FOUND));
    registry.forget();
    assert!(registry.schema(SchemaId::Id(id)).await.is_ok(), "records that carry it can be read");
    registry.delete_subject("orders-value", Delete::Permanent).await.unwrap();
}

#[tokio::test]
async fn every_name_is_one_segment() {
    let (_server, registry) = served().await;
    for subject in ["a/b", "a#b", "a b", "ü", "a?b=c&d", "100%", "a+b", "%2F"] {
        registry.register(subject, &Schema::avro(ORDER)).await.unwrap();
        assert_eq!(&*registry.latest(subject).await.unwrap().schema.text, ORDER, "{subject}");
        assert!(registry.subjects(Deleted::Without).await.unwrap().contains(&subject.to_owned()), "{subject}");
    }
    for subject in ["", ".", ".."] {
        let error = registry.register(subject, &Schema::avro(ORDER)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{subject}");
    }
}

#[tokio::test]
async fn contexts_have_subjects_and_ids_of_their_own() {
    let (_server, registry) = served().await;
    let staging = registry.with_context("staging");
    registry.register("orders-value", &Schema::avro(ORDER)).await.unwrap();
    let id = staging.register("orders-value", &Schema::avro("\"long\"")).await.unwrap().id.unwrap();
    assert_eq!(registry.contexts().await.unwrap(), [".", ".staging"]);
    staging.forget();
    assert_eq!(&*staging.schema(SchemaId::Id(id)).await.unwrap().schema.text, "\"long\"");
}

#[tokio::test]
async fn a_registry_elsewhere_cannot_be_served() {
    let (_server, registry) = served().await;
    let error = RegistryServer::start(&registry, "127.0.0.1:0").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSetting);
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let registry = Registry::connect("http://127.0.0.1:1").unwrap();
    let error = futures::executor::block_on(registry.schema(SchemaId::Id(1))).unwrap_err();
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[tokio::test]
async fn a_protobuf_schema_is_given_as_a_descriptor_to_who_asks_for_one() {
    let (server, registry) = served().await;
    let inner = Schema::protobuf("syntax = \"proto3\"; package shop; message Inner { string text = 1; }");
    registry.register("inner", &inner).await.unwrap();
    let text =
        "syntax = \"proto3\"; package shop; import \"inner.proto\"; message Order { map<string, Inner> items = 1; }";
    let order = Schema::protobuf(text).with_reference(SchemaReference::new("inner.proto", "inner", 1));
    let id = registry.register("orders-value", &order).await.unwrap().id.unwrap();
    for path in [format!("/schemas/ids/{id}"), "/subjects/orders-value/versions/1".to_owned()] {
        let body = get(&server, &format!("{path}?format=serialized")).await;
        let base64 = body["schema"].as_str().unwrap();
        // Our own registry takes it back as the same schema, in the other form.
        let described = Schema::protobuf(base64).with_reference(SchemaReference::new("inner.proto", "inner", 1));
        registry.register("described", &described).await.unwrap();
        assert!(registry.is_compatible("orders-value", Version::Latest, &described).await.unwrap().is_compatible);
        assert_eq!(body["references"][0]["name"], "inner.proto");
        assert_eq!(get(&server, &path).await["schema"], text);
    }
    registry.register("s", &Schema::avro(ORDER)).await.unwrap();
    assert_eq!(get(&server, "/subjects/s/versions/1?format=serialized").await["schema"], ORDER);
}

async fn get(server: &RegistryServer, target: &str) -> serde_json::Value {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}
