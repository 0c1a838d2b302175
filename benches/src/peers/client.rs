//! schema-registry-client, set up as its users would best do it.
//!
//! By default it registers the schema with every record, a request each. Here that is done once; then registering is
//! off, so that the id is looked up once and known; subjects are called after the topic, which asks for no associations.

use std::collections::HashMap;
use std::hint::black_box;

use bytes::{Buf, BufMut};
use prost_0_13::DecodeError;
use prost_0_13::encoding::{DecodeContext, WireType};
use prost_reflect_0_15::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect_0_15::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, OneofDescriptorProto,
};
use prost_reflect_0_15::{DescriptorPool, MessageDescriptor};
use schema_registry_client::rest::client_config::ClientConfig;
use schema_registry_client::rest::models::Schema;
use schema_registry_client::rest::schema_registry_client::{Client, SchemaRegistryClient};
use schema_registry_client::serdes::avro::{AvroDeserializer, AvroSerializer};
use schema_registry_client::serdes::config::{DeserializerConfig, SerializerConfig};
use schema_registry_client::serdes::json::{JsonDeserializer, JsonSerializer};
use schema_registry_client::serdes::protobuf::{ProtobufDeserializer, ProtobufSerializer};
use schema_registry_client::serdes::serde::{
    SerdeError, SerdeFormat, SerdeType, SerializationContext, SubjectNameStrategyType,
};
use tokio::runtime::Runtime;

use super::place::Place;
use crate::frame::{Load, Outcome, Sample};
use crate::meter::Window;
use crate::ours::serde::{AVRO, JSON, Message, Order, message, order};

/// A registry, their client of it, and what runs their futures.
struct Theirs {
    client: SchemaRegistryClient,
    runtime: Runtime,
    _place: Place,
}

impl Theirs {
    fn new() -> Outcome<Self> {
        // Fails where it is set already, which is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let place = Place::new()?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let client = SchemaRegistryClient::new(ClientConfig { client: http, ..ClientConfig::new(vec![place.url()]) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, runtime, _place: place })
    }
}

fn context(format: SerdeFormat) -> SerializationContext {
    SerializationContext { topic: "orders".into(), serde_type: SerdeType::Value, serde_format: format, headers: None }
}

fn writes(register: bool) -> SerializerConfig {
    let mut config = SerializerConfig::new(register, None, false, false, HashMap::new());
    config.subject_name_strategy_type = SubjectNameStrategyType::Topic;
    config
}

fn reads() -> DeserializerConfig {
    let mut config = DeserializerConfig::new(None, false, HashMap::new());
    config.subject_name_strategy_type = SubjectNameStrategyType::Topic;
    config
}

/// Their error cannot be shared between threads.
fn told(error: SerdeError) -> String {
    error.to_string()
}

/// Awaits the same again and again: once before the clock starts.
macro_rules! again {
    ($load:expr, $theirs:expr, $work:expr) => {
        $theirs.runtime.block_on(async {
            $work;
            let window = Window::open();
            for _ in 0..$load.messages {
                black_box($work);
            }
            Ok(Sample::rate($load.messages, window.close()))
        })
    };
}

fn avro_schema() -> Schema {
    Schema::new(Some("AVRO".into()), AVRO.into())
}

/// A payload; the schema is registered after that.
fn avro_payload(theirs: &Theirs, schema: &Schema) -> Outcome<Vec<u8>> {
    let serializer = AvroSerializer::new(&theirs.client, Some(schema), None, writes(true)).map_err(told)?;
    Ok(theirs.runtime.block_on(serializer.serialize_ser(&context(SerdeFormat::Avro), order())).map_err(told)?)
}

pub(crate) fn avro_encode(load: &Load) -> Outcome<Sample> {
    let (theirs, schema, value) = (Theirs::new()?, avro_schema(), order());
    avro_payload(&theirs, &schema)?;
    let serializer = AvroSerializer::new(&theirs.client, Some(&schema), None, writes(false)).map_err(told)?;
    let context = context(SerdeFormat::Avro);
    again!(load, theirs, serializer.serialize_ser(&context, black_box(&value)).await.map_err(told)?)
}

pub(crate) fn avro_decode(load: &Load) -> Outcome<Sample> {
    let theirs = Theirs::new()?;
    let payload = avro_payload(&theirs, &avro_schema())?;
    let deserializer = AvroDeserializer::new(&theirs.client, None, reads()).map_err(told)?;
    let context = context(SerdeFormat::Avro);
    again!(load, theirs, {
        let named = deserializer.deserialize(&context, black_box(&payload)).await.map_err(told)?;
        apache_avro_0_21::from_value::<Order>(&named.value)?
    })
}

fn json_schema() -> Schema {
    Schema::new(Some("JSON".into()), JSON.into())
}

fn json_payload(theirs: &Theirs, schema: &Schema) -> Outcome<Vec<u8>> {
    let serializer = JsonSerializer::new(&theirs.client, Some(schema), None, writes(true)).map_err(told)?;
    let value = serde_json::to_value(order())?;
    Ok(theirs.runtime.block_on(serializer.serialize(&context(SerdeFormat::Json), value)).map_err(told)?)
}

pub(crate) fn json_encode(load: &Load) -> Outcome<Sample> {
    let (theirs, schema, value) = (Theirs::new()?, json_schema(), order());
    json_payload(&theirs, &schema)?;
    let serializer = JsonSerializer::new(&theirs.client, Some(&schema), None, writes(false)).map_err(told)?;
    let context = context(SerdeFormat::Json);
    again!(load, theirs, serializer.serialize(&context, serde_json::to_value(black_box(&value))?).await.map_err(told)?)
}

pub(crate) fn json_decode(load: &Load) -> Outcome<Sample> {
    let theirs = Theirs::new()?;
    let payload = json_payload(&theirs, &json_schema())?;
    let deserializer = JsonDeserializer::new(&theirs.client, None, reads()).map_err(told)?;
    let context = context(SerdeFormat::Json);
    again!(load, theirs, {
        let document = deserializer.deserialize(&context, black_box(&payload)).await.map_err(told)?;
        serde_json::from_value::<Order>(document)?
    })
}

/// The message for the version of prost that they use; its code is the same.
#[derive(Debug, Default)]
struct Theirs013(Message);

impl prost_0_13::Message for Theirs013 {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        prost::Message::encode_raw(&self.0, buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        _context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let failed = |error: prost::DecodeError| DecodeError::new(error.to_string());
        let wire_type = prost::encoding::WireType::try_from(wire_type as u64).map_err(failed)?;
        prost::Message::merge_field(&mut self.0, tag, wire_type, buffer, Default::default()).map_err(failed)
    }

    fn encoded_len(&self) -> usize {
        prost::Message::encoded_len(&self.0)
    }

    fn clear(&mut self) {
        prost::Message::clear(&mut self.0);
    }
}

/// What they know a message by.
fn descriptor() -> Outcome<MessageDescriptor> {
    let field = |(number, (name, kind)): (i32, (&str, Type))| FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(if name == "tags" { Label::Repeated } else { Label::Optional }.into()),
        r#type: Some(kind.into()),
        oneof_index: (name == "note").then_some(0),
        proto3_optional: (name == "note").then_some(true),
        ..Default::default()
    };
    let fields = [
        ("id", Type::Int64),
        ("customer", Type::String),
        ("item", Type::String),
        ("currency", Type::String),
        ("cents", Type::Int64),
        ("paid", Type::Bool),
        ("note", Type::String),
        ("tags", Type::String),
    ];
    let order = DescriptorProto {
        name: Some("Order".into()),
        field: (1..).zip(fields).map(field).collect(),
        oneof_decl: vec![OneofDescriptorProto { name: Some("_note".into()), options: None }],
        ..Default::default()
    };
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_proto(FileDescriptorProto {
        name: Some("order.proto".into()),
        package: Some("shop".into()),
        message_type: vec![order],
        syntax: Some("proto3".into()),
        ..Default::default()
    })?;
    Ok(pool.get_message_by_name("shop.Order").ok_or("no such message")?)
}

fn protobuf_payload(theirs: &Theirs, descriptor: &MessageDescriptor) -> Outcome<Vec<u8>> {
    let serializer = ProtobufSerializer::new(&theirs.client, None, writes(true)).map_err(told)?;
    let (context, value) = (context(SerdeFormat::Protobuf), Theirs013(message()));
    Ok(theirs.runtime.block_on(serializer.serialize_with_message_desc(&context, &value, descriptor)).map_err(told)?)
}

pub(crate) fn protobuf_encode(load: &Load) -> Outcome<Sample> {
    let (theirs, descriptor, value) = (Theirs::new()?, descriptor()?, Theirs013(message()));
    protobuf_payload(&theirs, &descriptor)?;
    let serializer = ProtobufSerializer::new(&theirs.client, None, writes(false)).map_err(told)?;
    let context = context(SerdeFormat::Protobuf);
    again!(load, theirs, {
        serializer.serialize_with_message_desc(&context, black_box(&value), &descriptor).await.map_err(told)?
    })
}

pub(crate) fn protobuf_decode(load: &Load) -> Outcome<Sample> {
    let theirs = Theirs::new()?;
    let payload = protobuf_payload(&theirs, &descriptor()?)?;
    let deserializer = ProtobufDeserializer::new(&theirs.client, None, reads()).map_err(told)?;
    let context = context(SerdeFormat::Protobuf);
    again!(load, theirs, deserializer.deserialize::<Theirs013>(&context, black_box(&payload)).await.map_err(told)?)
}
