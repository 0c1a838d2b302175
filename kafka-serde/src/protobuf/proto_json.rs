//! Messages as the JSON that Protobuf defines for them.

use std::fmt;

use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, ReflectMessage as _, SerializeOptions};
use serde_json::Value;

use super::dynamic::{DynamicFormat, newest, read};
use crate::error::path_of;
use crate::registered::Registered;
use crate::wire::Framing;
use crate::{Deserializer, Encoded, Error, ErrorKind, Registry, Serializer, Source, Stop, SubjectName, Target};

/// Any message of any registered Protobuf schema as [ProtoJSON](https://protobuf.dev/programming-guides/json/), for tools:
/// expressions, terminals, files of lines.
///
/// It reads a payload by the file it was written with. What it writes are messages of the newest version of the subject, as
/// the first [message](Self::message) of the file unless another one is named.
///
/// Fields have their names in the file, enums theirs, 64-bit integers are numbers; `bytes` are base64, and types that come
/// with Protobuf have their own forms (a `Timestamp` is a text). A field that is not set is there with its default, but for
/// fields of which Protobuf knows whether they were set: messages, `optional` and `oneof`. It takes what others write, too:
/// `lowerCamelCase` names, numbers of enums, integers as text.
///
/// What JSON cannot hold is what a message has that its schema does not know: see
/// [`Dynamic::has_unknown_fields`](super::Dynamic::has_unknown_fields).
///
/// ```
/// use kafka_serde::protobuf::ProtoJson;
/// use kafka_serde::{Part, Registry, Schema, Serializer, Stop, Target};
/// use serde_json::json;
///
/// # async fn example() -> Result<(), Stop> {
/// let registry = Registry::in_memory();
/// let file = Schema::protobuf(r#"syntax = "proto3"; package shop; message Order { int64 id = 1; }"#);
/// registry.register("orders-value", &file).await?;
///
/// let (orders, mut bytes) = (ProtoJson::new(&registry), Vec::new());
/// while let Err(stop) = orders.serialize(&json!({"id": 1}), &mut Target::new("orders", Part::Value), &mut bytes) {
///     let Stop::Miss(miss) = stop else { return Err(stop) };
///     miss.resolve().await?;
/// }
/// assert_eq!(bytes[5..], [0, 8, 1]);
/// # Ok(())
/// # }
/// # futures::executor::block_on(example()).unwrap();
/// ```
#[derive(Clone)]
pub struct ProtoJson {
    registered: Registered<DynamicFormat>,
}

impl ProtoJson {
    /// Reads and writes by what the registry knows.
    pub fn new(registry: &Registry) -> Self {
        Self { registered: newest(registry) }
    }

    /// Writes the message of this full name (`shop.Order`), overriding the default of the first one in the file.
    pub fn message(self, name: impl Into<String>) -> Self {
        Self { registered: self.registered.with_format(DynamicFormat::named(name.into())) }
    }

    /// Sets how subjects are called, overriding the default `orders-value`. Reading does not ask for subjects.
    pub fn subject(self, name: SubjectName) -> Self {
        Self { registered: self.registered.with(|settings| settings.subject = name) }
    }

    /// Sets where the schema's name and the index are written, overriding the default, in front of the payload.
    pub fn framing(self, framing: Framing) -> Self {
        Self { registered: self.registered.with(|settings| settings.framing = framing) }
    }
}

impl fmt::Debug for ProtoJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProtoJson")
    }
}

impl Serializer for ProtoJson {
    type Input = Value;

    fn serialize(&self, value: &Value, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.registered.encode(to, out, |writer, out| {
            // What the schema does not know would be dropped.
            let options = DeserializeOptions::new().deny_unknown_fields(true);
            let message =
                DynamicMessage::deserialize_with_options(writer.message.clone(), value, &options).map_err(|error| {
                    // Once more, for the field: only a refused value has to pay for that.
                    let mut track = serde_path_to_error::Track::new();
                    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
                    let again = DynamicMessage::deserialize_with_options(writer.message.clone(), tracked, &options);
                    let field = again.err().and_then(|_| path_of(&track.path()));
                    let name = writer.message.full_name();
                    match field {
                        Some(field) => {
                            let message = format!("it is no {name}: {field}: {error}");
                            Error::new(ErrorKind::Unencodable, message).with_field(field)
                        }
                        None => Error::new(ErrorKind::Unencodable, format!("it is no {name}: {error}")),
                    }
                })?;
            // As in `Protobuf`: a `Vec` has room.
            message.encode_raw(out);
            Ok(())
        })
    }
}

impl Deserializer for ProtoJson {
    type Output = Value;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<Value, Stop> {
        self.registered.decode(bytes, from, |reader, frame| {
            let message = read(reader, &frame)?;
            let options = SerializeOptions::new()
                .stringify_64_bit_integers(false)
                .use_proto_field_name(true)
                .skip_default_fields(false);
            message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| {
                let name = message.descriptor().full_name().to_owned();
                Error::new(ErrorKind::Malformed, format!("this {name} has no form in JSON")).with_source(error)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use serde_json::json;

    use super::*;
    use crate::fixture::{decode_resolved, encode_resolved};
    use crate::protobuf::{Dynamic, DynamicProtobuf};
    use crate::{Part, Schema};

    const FILE: &str = r#"syntax = "proto3";
        package shop;
        import "google/protobuf/timestamp.proto";
        message First { int32 x = 1; }
        enum Kind { NONE = 0; HOT = 1; }
        message Order {
          message Line { string item_name = 1; sint32 count = 2; }
          int64 id = 1;
          repeated Line lines = 2;
          map<string, uint64> stock = 3;
          oneof how { double price = 4; bytes token = 5; }
          optional string note = 6;
          Kind kind = 7;
          google.protobuf.Timestamp at = 8;
          Order next = 9;
        }"#;

    fn registry() -> Registry {
        let registry = Registry::in_memory();
        block_on(registry.register("orders-value", &Schema::protobuf(FILE))).unwrap();
        registry
    }

    fn written(serde: &ProtoJson, value: &Value) -> Vec<u8> {
        encode_resolved(serde, value, Part::Value).unwrap()
    }

    fn order() -> Value {
        json!({
            "id": i64::MAX, "lines": [{ "item_name": "tea", "count": -2 }, { "item_name": "", "count": 0 }],
            "stock": { "a": u64::MAX }, "token": "AP+A", "note": "", "kind": "HOT", "at": "2026-11-23T10:00:00.500Z",
            "next": { "id": 2, "lines": [], "stock": {}, "kind": "NONE" },
        })
    }

    #[test]
    fn a_message_comes_back_with_all_that_it_had_and_nothing_that_it_had_not() {
        let registry = registry();
        let orders = ProtoJson::new(&registry).message("shop.Order");
        let bytes = written(&orders, &order());
        // The second message of the file.
        assert_eq!(bytes[5..7], [2, 2]);
        assert_eq!(decode_resolved(&orders, &bytes).unwrap(), order());
        // A reader needs no name, and sees the same as the one of values.
        assert_eq!(decode_resolved(&ProtoJson::new(&registry), &bytes).unwrap(), order());
        let message: Dynamic = decode_resolved(&DynamicProtobuf::new(&registry), &bytes).unwrap();
        assert_eq!(message.get("token"), Some(crate::protobuf::Value::Bytes(vec![0, 255, 128])));
        assert!(!message.has("price") && message.has("note") && !message.has_unknown_fields());
    }

    #[test]
    fn what_others_write_is_taken_too() {
        let orders = ProtoJson::new(&registry()).message("shop.Order");
        let theirs = json!({ "id": "7", "lines": [{ "itemName": "tea" }], "kind": 1, "price": 4 });
        let bytes = written(&orders, &theirs);
        let lines = json!([{ "item_name": "tea", "count": 0 }]);
        let ours = json!({ "id": 7, "lines": lines, "stock": {}, "price": 4.0, "kind": "HOT" });
        assert_eq!(decode_resolved(&orders, &bytes).unwrap(), ours);
    }

    #[test]
    fn what_is_no_such_message_is_refused_by_its_field() {
        let orders = ProtoJson::new(&registry()).message("shop.Order");
        written(&orders, &order());
        let refused = |value: Value| {
            let error = encode_resolved(&orders, &value, Part::Value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unencodable);
            (error.field().unwrap_or_default().to_owned(), error.to_string())
        };
        assert_eq!(refused(json!({ "lines": [{ "count": 1 }, { "count": "many" }] })).0, "lines[1].count");
        assert_eq!(refused(json!({ "id": 1.5 })).0, "id");
        assert_eq!(refused(json!({ "kind": "COLD" })).0, "kind");
        let (_, unknown) = refused(json!({ "id": 1, "amount": 3 }));
        assert!(unknown.contains("amount"), "{unknown}");
        assert!(refused(json!([])).1.contains("shop.Order"));
    }

    #[test]
    fn a_message_that_the_file_lacks_is_named() {
        let lacks = ProtoJson::new(&registry()).message("shop.Parcel");
        let said = encode_resolved(&lacks, &json!({}), Part::Value).unwrap_err().to_string();
        assert!(said.contains("no message shop.Parcel"), "{said}");
    }

    #[test]
    fn fields_that_the_schema_does_not_know_are_noticed_at_any_depth() {
        let registry = registry();
        let orders = ProtoJson::new(&registry).message("shop.Order");
        let known = written(&orders, &json!({ "next": {} }));
        let dynamic = DynamicProtobuf::new(&registry);
        let has_unknown = |bytes: &[u8]| decode_resolved(&dynamic, bytes).unwrap().has_unknown_fields();
        assert!(!has_unknown(&known));
        // Field 15 of the message itself, and of the one within it.
        assert!(has_unknown(&[&known[..], &[0x78, 1]].concat()));
        let within = [&known[..known.len() - 1], &[2, 0x78, 1]].concat();
        assert!(has_unknown(&within));
    }
}
