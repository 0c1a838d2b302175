//! One conversation, held with our own registry over HTTP and with Apicurio Registry. Where the two differ, the test says
//! what Confluent documents, and what Apicurio does in its place.

use std::collections::BTreeSet;

use futures::future::join_all;
use kafka_client::serde::{
    CompatibilityLevel, Delete, Deleted, Error, ErrorKind, Registry, RegistryCode, RegistryServer, Schema,
    SchemaChoice, SchemaId, SchemaReference, Version,
};
use tests::harness::{SchemaRegistry, unique};

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;
const WIDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"n","type":"int","default":0}]}"#;
const BREAKING: &str = r#"{"type":"record","name":"Order","fields":[{"name":"other","type":"int"}]}"#;

/// Whom a test talks to.
enum Talk {
    Ours(RegistryServer),
    Apicurio(&'static SchemaRegistry),
}

impl Talk {
    async fn ours() -> Self {
        Self::Ours(RegistryServer::start(&Registry::in_memory(), "127.0.0.1:0").await.unwrap())
    }

    async fn apicurio() -> Self {
        // Its start blocks.
        Self::Apicurio(tokio::task::spawn_blocking(SchemaRegistry::shared).await.unwrap())
    }

    /// Another client, which knows nothing so far.
    fn client(&self) -> Registry {
        match self {
            Self::Ours(server) => Registry::connect(server.url()).unwrap(),
            Self::Apicurio(registry) => Registry::connect(registry.url()).unwrap(),
        }
    }

    /// What Confluent documents, or what Apicurio does.
    fn documented<T>(&self, documented: T, apicurio: T) -> T {
        match self {
            Self::Ours(_) => documented,
            Self::Apicurio(_) => apicurio,
        }
    }

    /// The compatibility that Confluent starts with. Apicurio starts with NONE.
    async fn backward(&self, subject: &str) -> Registry {
        let registry = self.client();
        if let Self::Apicurio(_) = self {
            registry.set_compatibility_level(Some(subject), CompatibilityLevel::Backward).await.unwrap();
        }
        registry
    }
}

/// Each promise twice: with ours, and with Apicurio.
macro_rules! with_both {
    ($($promise:ident),* $(,)?) => {
        mod ours {
            $(#[tokio::test] async fn $promise() { super::$promise(super::Talk::ours().await).await; })*
        }
        mod apicurio {
            $(#[tokio::test] async fn $promise() { super::$promise(super::Talk::apicurio().await).await; })*
        }
    };
}

with_both!(
    what_is_registered_is_found_by_id_version_and_text,
    equal_schemas_have_one_id,
    references_are_resolved_and_kept_from_deletion,
    compatibility_is_checked,
    a_level_can_be_set_and_reset,
    deletions_are_soft_first,
    what_is_not_there_is_told_apart,
    what_is_no_schema_is_refused,
    all_three_languages_are_known,
    a_json_schema_need_not_say_that_it_is_one,
    every_name_is_one_segment,
    the_latest_version_is_written_with,
    who_register_the_same_at_once_get_one_id,
);

fn code(error: &Error) -> RegistryCode {
    error.registry_code().unwrap_or_else(|| panic!("no code: {error:?}"))
}

async fn what_is_registered_is_found_by_id_version_and_text(talk: Talk) {
    let (subject, registry) = (unique("orders"), talk.client());
    let first = registry.register(&subject, &Schema::avro(ORDER)).await.unwrap();
    let second = registry.register(&subject, &Schema::avro(WIDER)).await.unwrap();
    assert_ne!(first.id, second.id);

    let reader = talk.client();
    let read = reader.schema(SchemaId::Id(first.id.unwrap())).await.unwrap();
    assert_eq!(&*read.schema.text, ORDER);
    let latest = reader.latest(&subject).await.unwrap();
    assert_eq!((latest.id, latest.version, &*latest.schema.text), (second.id, Some(2), WIDER));
    let one = reader.version(&subject, 1).await.unwrap();
    assert_eq!((one.id, &*one.schema.text), (first.id, ORDER));
    assert_eq!(reader.look_up(&subject, &Schema::avro(ORDER)).await.unwrap().id, first.id);
    assert_eq!(reader.versions(&subject, Deleted::Without).await.unwrap(), [1, 2]);
    assert!(reader.subjects(Deleted::Without).await.unwrap().contains(&subject));
    let places = reader.places(second.id.unwrap()).await.unwrap();
    assert!(places.iter().any(|place| place.subject == subject && place.version == 2), "{places:?}");

    // The same again is no new version.
    assert_eq!(talk.client().register(&subject, &Schema::avro(WIDER)).await.unwrap().id, second.id);
    assert_eq!(reader.versions(&subject, Deleted::Without).await.unwrap(), [1, 2]);
}

async fn equal_schemas_have_one_id(talk: Talk) {
    let (one, other, registry) = (unique("one"), unique("other"), talk.client());
    let first = registry.register(&one, &Schema::avro(ORDER)).await.unwrap();
    let second = registry.register(&other, &Schema::avro(ORDER)).await.unwrap();
    assert_eq!(first.id, second.id);
    // The same with other white space: one schema to Confluent, which parses it; another one to Apicurio.
    let spaced = Schema::avro(ORDER.replace(':', " : "));
    let third = talk.client().register(&one, &spaced.clone()).await.unwrap();
    assert_eq!(third.id == first.id, talk.documented(true, false));
}

async fn references_are_resolved_and_kept_from_deletion(talk: Talk) {
    let (used, user, registry) = (unique("Airport"), unique("flights"), talk.client());
    let airport = Schema::avro(r#"{"type":"record","name":"Airport","namespace":"air","fields":[]}"#);
    registry.register(&used, &airport).await.unwrap();
    let flight = r#"{"type":"record","name":"Flight","fields":[{"name":"to","type":"air.Airport"}]}"#;
    let flight = Schema::avro(flight).with_reference(SchemaReference::new("air.Airport", &used, 1));
    let id = registry.register(&user, &flight).await.unwrap().id.unwrap();

    let read = talk.client().schema(SchemaId::Id(id)).await.unwrap();
    assert_eq!(read.schema.references, flight.references);
    assert_eq!(read.references[0].1.schema, airport);
    assert_eq!(registry.referenced_by(&used, 1).await.unwrap(), [id]);
    let deleted = registry.delete_version(&used, 1, Delete::Soft).await;
    assert_eq!(deleted.as_ref().map_err(code), Err(RegistryCode::REFERENCE_EXISTS));
    // What is not there cannot be referred to.
    let nowhere = Schema::avro(r#"{"type":"record","name":"F","fields":[{"name":"to","type":"a.Nowhere"}]}"#)
        .with_reference(SchemaReference::new("a.Nowhere", unique("nowhere"), 1));
    let error = registry.register(&unique("f"), &nowhere).await.unwrap_err();
    assert_eq!(code(&error), talk.documented(RegistryCode::INVALID_SCHEMA, RegistryCode::INVALID_SCHEMA));
}

async fn compatibility_is_checked(talk: Talk) {
    let subject = unique("orders");
    let registry = talk.backward(&subject).await;
    registry.register(&subject, &Schema::avro(ORDER)).await.unwrap();
    let error = registry.register(&subject, &Schema::avro(BREAKING)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert_eq!(code(&error), talk.documented(RegistryCode::INCOMPATIBLE, RegistryCode::new(409)));
    let breaking = registry.is_compatible(&subject, Version::Latest, &Schema::avro(BREAKING)).await.unwrap();
    assert!(!breaking.is_compatible);
    let wider = registry.is_compatible(&subject, Version::Latest, &Schema::avro(WIDER)).await.unwrap();
    assert!(wider.is_compatible);
    let wider = registry.could_register(&subject, &Schema::avro(WIDER)).await.unwrap();
    assert!(wider.is_compatible);
    registry.register(&subject, &Schema::avro(WIDER)).await.unwrap();
    // And no more once nothing has to be kept.
    registry.set_compatibility_level(Some(&subject), CompatibilityLevel::None).await.unwrap();
    registry.register(&subject, &Schema::avro(BREAKING)).await.unwrap();
}

async fn a_level_can_be_set_and_reset(talk: Talk) {
    let (subject, registry) = (unique("orders"), talk.client());
    registry.register(&subject, &Schema::avro(ORDER)).await.unwrap();
    let global = registry.compatibility_level(None).await.unwrap();
    assert_eq!(global, Some(talk.documented(CompatibilityLevel::Backward, CompatibilityLevel::None)));
    for level in [
        CompatibilityLevel::Backward,
        CompatibilityLevel::BackwardTransitive,
        CompatibilityLevel::Forward,
        CompatibilityLevel::ForwardTransitive,
        CompatibilityLevel::Full,
        CompatibilityLevel::FullTransitive,
        CompatibilityLevel::None,
    ] {
        registry.set_compatibility_level(Some(&subject), level).await.unwrap();
        assert_eq!(registry.compatibility_level(Some(&subject)).await.unwrap(), Some(level));
    }
    registry.reset_compatibility_level(Some(&subject)).await.unwrap();
    // Nothing of its own; Apicurio tells the global one in its place.
    let reset = registry.compatibility_level(Some(&subject)).await.unwrap();
    assert_eq!(reset, talk.documented(None, Some(CompatibilityLevel::None)));
}

async fn deletions_are_soft_first(talk: Talk) {
    let (subject, registry) = (unique("orders"), talk.client());
    let first = registry.register(&subject, &Schema::avro(ORDER)).await.unwrap().id.unwrap();
    registry.register(&subject, &Schema::avro(WIDER)).await.unwrap();
    let error = registry.delete_version(&subject, 1, Delete::Permanent).await.unwrap_err();
    assert_eq!(code(&error), RegistryCode::VERSION_NOT_SOFT_DELETED);
    assert_eq!(registry.delete_version(&subject, 1, Delete::Soft).await.unwrap(), 1);
    assert_eq!(registry.versions(&subject, Deleted::Without).await.unwrap(), [2]);
    assert_eq!(registry.versions(&subject, Deleted::With).await.unwrap(), [1, 2]);
    // Records that carry it can be read.
    assert_eq!(&*talk.client().schema(SchemaId::Id(first)).await.unwrap().schema.text, ORDER);
    assert_eq!(registry.delete_version(&subject, 1, Delete::Permanent).await.unwrap(), 1);
    assert_eq!(registry.versions(&subject, Deleted::With).await.unwrap(), [2]);

    let error = registry.delete_subject(&subject, Delete::Permanent).await.unwrap_err();
    assert_eq!(code(&error), RegistryCode::SUBJECT_NOT_SOFT_DELETED);
    assert_eq!(registry.delete_subject(&subject, Delete::Soft).await.unwrap(), [2]);
    assert!(!registry.subjects(Deleted::Without).await.unwrap().contains(&subject));
    assert!(registry.subjects(Deleted::With).await.unwrap().contains(&subject));
    let error = registry.latest(&subject).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaNotFound, "{error}");
    registry.delete_subject(&subject, Delete::Permanent).await.unwrap();
    assert!(!registry.subjects(Deleted::With).await.unwrap().contains(&subject));
}

async fn what_is_not_there_is_told_apart(talk: Talk) {
    let (subject, registry) = (unique("orders"), talk.client());
    let error = registry.latest(&subject).await.unwrap_err();
    assert_eq!((code(&error), error.kind()), (RegistryCode::SUBJECT_NOT_FOUND, ErrorKind::SchemaNotFound));
    registry.register(&subject, &Schema::avro(ORDER)).await.unwrap();
    let error = registry.version(&subject, 7).await.unwrap_err();
    assert_eq!((code(&error), error.kind()), (RegistryCode::VERSION_NOT_FOUND, ErrorKind::SchemaNotFound));
    let error = registry.look_up(&subject, &Schema::avro(WIDER)).await.unwrap_err();
    assert_eq!((code(&error), error.kind()), (RegistryCode::SCHEMA_NOT_FOUND, ErrorKind::SchemaNotFound));
    let error = registry.schema(SchemaId::Id(2_000_000_000)).await.unwrap_err();
    assert_eq!((code(&error), error.kind()), (RegistryCode::SCHEMA_NOT_FOUND, ErrorKind::SchemaNotFound));
    let error = registry.delete_subject(&unique("nowhere"), Delete::Soft).await.unwrap_err();
    assert_eq!(code(&error), RegistryCode::SUBJECT_NOT_FOUND);
}

async fn what_is_no_schema_is_refused(talk: Talk) {
    let (subject, registry) = (unique("orders"), talk.client());
    for schema in [
        Schema::avro("{\"type\":\"no such type\"}"),
        Schema::avro("not JSON"),
        Schema::json("not JSON"),
        Schema::protobuf("no .proto text"),
    ] {
        let error = registry.register(&subject, &schema).await.unwrap_err();
        assert_eq!(
            (code(&error), error.kind()),
            (RegistryCode::INVALID_SCHEMA, ErrorKind::InvalidSchema),
            "{schema:?}"
        );
    }
    assert!(!registry.subjects(Deleted::Without).await.unwrap().contains(&subject));
}

async fn all_three_languages_are_known(talk: Talk) {
    let registry = talk.client();
    let types = BTreeSet::from_iter(registry.schema_types().await.unwrap());
    assert_eq!(types, BTreeSet::from(["AVRO", "JSON", "PROTOBUF"].map(str::to_owned)));
    let proto = "syntax = \"proto3\";\npackage shop;\n\nmessage Order {\n  string id = 1;\n}\n";
    let json = r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}"#;
    for schema in [Schema::avro("\"string\""), Schema::json(json), Schema::protobuf(proto)] {
        let id = registry.register(&unique("s"), &schema).await.unwrap().id.unwrap();
        let read = talk.client().schema(SchemaId::Id(id)).await.unwrap();
        assert_eq!(read.schema.schema_type, schema.schema_type);
        assert_eq!(
            read.schema.text.split_whitespace().collect::<String>(),
            schema.text.split_whitespace().collect::<String>()
        );
    }
}

async fn a_json_schema_need_not_say_that_it_is_one(talk: Talk) {
    let registered = talk.client().register(&unique("s"), &Schema::json(r#"{"type":"object"}"#)).await;
    match talk {
        Talk::Ours(_) => drop(registered.unwrap()),
        // It looks for the language in the text, whatever the request says, and finds none without `$schema`.
        Talk::Apicurio(_) => assert_eq!(code(&registered.unwrap_err()), RegistryCode::INVALID_SCHEMA),
    }
}

async fn every_name_is_one_segment(talk: Talk) {
    let registry = talk.client();
    for name in ["a/b", "a#b", "a b", "ü", "a?b=c&d", "100%", "a+b", "%2F"] {
        let subject = unique(name);
        let id = registry.register(&subject, &Schema::avro(ORDER)).await.unwrap().id;
        assert_eq!(talk.client().latest(&subject).await.unwrap().id, id, "{subject}");
        assert!(registry.subjects(Deleted::Without).await.unwrap().contains(&subject), "{subject}");
    }
}

async fn the_latest_version_is_written_with(talk: Talk) {
    let subject = unique("orders");
    let registry = talk.backward(&subject).await;
    registry.register(&subject, &Schema::avro(ORDER)).await.unwrap();
    let latest = registry.register(&subject, &Schema::avro(WIDER)).await.unwrap();
    let writer = talk.client();
    let written = writer.to_write(&subject, &Schema::avro(ORDER), &SchemaChoice::latest()).await.unwrap();
    assert_eq!((written.id, &*written.schema.text), (latest.id, WIDER));
    let error = writer.to_write(&subject, &Schema::avro(BREAKING), &SchemaChoice::latest()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    let error = writer.to_write(&subject, &Schema::avro(BREAKING), &SchemaChoice::look_up()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaNotFound);
}

async fn who_register_the_same_at_once_get_one_id(talk: Talk) {
    let subject = unique("orders");
    // Each is another process.
    let clients = Vec::from_iter((0..16).map(|_| talk.client()));
    let schemas = [Schema::avro(ORDER), Schema::avro(WIDER)];
    let registered =
        clients.iter().zip(schemas.iter().cycle()).map(|(client, schema)| client.register(&subject, schema));
    let ids = join_all(registered).await.into_iter().map(|found| found.unwrap().id.unwrap());
    let ids = Vec::from_iter(ids);
    assert_eq!(BTreeSet::from_iter(&ids).len(), 2, "{ids:?}");
    assert!(ids.iter().step_by(2).all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(talk.client().versions(&subject, Deleted::Without).await.unwrap(), [1, 2]);
}
