//! Which schema is written with, by each choice; what modes allow; and what is fetched ahead.

use kafka_serde::{ErrorKind, Mode, Registry, RegistryCode, RegistryServer, Schema, SchemaChoice, SchemaId};

const SUBJECT: &str = "orders-value";
const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;
/// The same, with its keys in another order.
const TURNED: &str = r#"{"fields":[{"type":"string","name":"id"}],"name":"Order","type":"record"}"#;
const WIDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"n","type":"int","default":0}]}"#;
const WIDEST: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"n","type":"long","default":0}]}"#;
const OTHER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"other","type":"int"}]}"#;

async fn served() -> (RegistryServer, Registry) {
    let server = RegistryServer::start(&Registry::in_memory(), "127.0.0.1:0").await.unwrap();
    let registry = Registry::connect(server.url()).unwrap();
    (server, registry)
}

#[tokio::test]
async fn each_choice_finds_the_schema_that_it_names() {
    let (_server, registry) = served().await;
    let order = Schema::avro(ORDER);
    let missing = registry.to_write(SUBJECT, &order, &SchemaChoice::look_up()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::SchemaNotFound);
    let first = registry.to_write(SUBJECT, &order, &SchemaChoice::register()).await.unwrap();
    let owned = Schema::avro(WIDER).with_metadata(r#"{"properties":{"owner":"shop","tier":"1"}}"#);
    let second = registry.register(SUBJECT, &owned).await.unwrap();
    let third = registry.register(SUBJECT, &Schema::avro(WIDEST)).await.unwrap();
    for (choice, found) in [
        (SchemaChoice::register(), &first),
        (SchemaChoice::look_up(), &first),
        (SchemaChoice::latest(), &third),
        (SchemaChoice::latest_with([("owner", "shop")]), &second),
        (SchemaChoice::latest_with([("owner", "shop"), ("tier", "1")]), &second),
        (SchemaChoice::id(second.id.unwrap()), &second),
        (SchemaChoice::guid(first.guid.unwrap()), &first),
    ] {
        let written = registry.to_write(SUBJECT, &order, &choice).await.unwrap();
        assert_eq!((written.id, &*written.schema.text), (found.id, &*found.schema.text), "{choice:?}");
        assert!(registry.known_to_write(SUBJECT, &order, &choice).is_some(), "{choice:?} is known then");
    }
    assert_eq!(registry.latest_with(SUBJECT, &[("owner", "shop")]).await.unwrap().id, second.id);
    let nobody = SchemaChoice::latest_with([("owner", "nobody")]);
    assert_eq!(registry.to_write(SUBJECT, &order, &nobody).await.unwrap_err().kind(), ErrorKind::SchemaNotFound);
}

#[tokio::test]
async fn a_schema_that_cannot_read_what_the_encoder_writes_is_taken_unchecked_only() {
    let (_server, registry) = served().await;
    let found = registry.register(SUBJECT, &Schema::avro(ORDER)).await.unwrap();
    let (id, guid) = (found.id.unwrap(), found.guid.unwrap());
    for choice in [SchemaChoice::latest(), SchemaChoice::id(id), SchemaChoice::guid(guid)] {
        let error = registry.to_write(SUBJECT, &Schema::avro(OTHER), &choice).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{choice:?}");
        let taken = registry.to_write(SUBJECT, &Schema::avro(OTHER), &choice.clone().unchecked()).await.unwrap();
        assert_eq!(taken.id, Some(id), "{choice:?}");
    }
}

#[tokio::test]
async fn normal_forms_are_one_schema_where_it_is_asked_for() {
    let (_server, registry) = served().await;
    let first = registry.register(SUBJECT, &Schema::avro(ORDER)).await.unwrap();
    let turned = Schema::avro(TURNED);
    let choice = SchemaChoice::look_up();
    assert_eq!(registry.to_write(SUBJECT, &turned, &choice).await.unwrap_err().kind(), ErrorKind::SchemaNotFound);
    for choice in [choice.normalized(), SchemaChoice::register().normalized()] {
        assert_eq!(registry.to_write(SUBJECT, &turned, &choice).await.unwrap().id, first.id, "{choice:?}");
    }
    assert_eq!(registry.versions(SUBJECT, Default::default()).await.unwrap(), [1]);
    assert_ne!(registry.register(SUBJECT, &turned).await.unwrap().id, first.id);
}

#[tokio::test]
async fn a_mode_is_kept_until_it_is_reset() {
    let (_server, registry) = served().await;
    registry.register(SUBJECT, &Schema::avro(ORDER)).await.unwrap();
    assert_eq!(registry.mode(None).await.unwrap(), Some(Mode::ReadWrite));
    assert_eq!(registry.mode(Some(SUBJECT)).await.unwrap(), None);

    registry.set_mode(Some(SUBJECT), Mode::ReadOnly, false).await.unwrap();
    assert_eq!(registry.mode(Some(SUBJECT)).await.unwrap(), Some(Mode::ReadOnly));
    let error = registry.register(SUBJECT, &Schema::avro(WIDER)).await.unwrap_err();
    assert_eq!((error.kind(), error.registry_code()), (ErrorKind::Refused, Some(RegistryCode::NOT_PERMITTED)));
    assert_eq!(&*registry.latest(SUBJECT).await.unwrap().schema.text, ORDER, "reading goes on");
    registry.register("refunds-value", &Schema::avro(WIDER)).await.unwrap();

    registry.reset_mode(SUBJECT).await.unwrap();
    registry.register(SUBJECT, &Schema::avro(WIDER)).await.unwrap();

    // For all at once, whatever the subjects' own modes are.
    registry.set_mode(Some(SUBJECT), Mode::ReadWrite, false).await.unwrap();
    registry.set_mode(None, Mode::ReadOnlyOverride, false).await.unwrap();
    registry.register(SUBJECT, &Schema::avro(WIDEST)).await.unwrap_err();
    registry.set_mode(None, Mode::ReadWrite, false).await.unwrap();
    registry.register(SUBJECT, &Schema::avro(WIDEST)).await.unwrap();
    let error = registry.set_mode(None, Mode::Import, false).await.unwrap_err();
    assert_eq!(error.registry_code(), Some(RegistryCode::NOT_PERMITTED), "there are schemas");
}

#[tokio::test]
async fn what_is_fetched_ahead_is_there_when_the_registry_is_not() {
    let (server, registry) = served().await;
    let first = registry.register(SUBJECT, &Schema::avro(ORDER)).await.unwrap();
    let second = registry.register(SUBJECT, &Schema::avro(WIDER)).await.unwrap();
    let other = registry.register("refunds-value", &Schema::avro(OTHER)).await.unwrap();

    let reader = Registry::builder(server.url()).retries(0).build().unwrap();
    let (id, guid) = (SchemaId::Id(first.id.unwrap()), SchemaId::Guid(other.guid.unwrap()));
    let error = reader.prewarm([SchemaId::Id(77_777), id, guid]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaNotFound, "and the others are tried");
    let error = reader.prewarm_subjects(["nobody-value", SUBJECT]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaNotFound);
    let asked = reader.stats().requests;

    drop(server);
    for (id, schema) in [(id, ORDER), (guid, OTHER), (SchemaId::Id(second.id.unwrap()), WIDER)] {
        assert_eq!(&*reader.schema(id).await.unwrap().schema.text, schema);
    }
    assert_eq!(reader.stats().requests, asked);
}

#[tokio::test]
async fn a_registry_in_the_process_is_found_by_its_name_as_long_as_somebody_has_it() {
    let registry = Registry::in_memory_named("choices-shared");
    let id = registry.register(SUBJECT, &Schema::avro(ORDER)).await.unwrap().id.unwrap();
    let other = Registry::connect("mock://choices-shared").unwrap();
    assert_eq!(&*other.schema(SchemaId::Id(id)).await.unwrap().schema.text, ORDER);
    for another in [Registry::in_memory_named("choices-alone"), Registry::in_memory()] {
        assert_eq!(another.subjects(Default::default()).await.unwrap(), [""; 0]);
    }
    drop((registry, other));
    let anew = Registry::in_memory_named("choices-shared");
    assert_eq!(anew.subjects(Default::default()).await.unwrap(), [""; 0]);
}
