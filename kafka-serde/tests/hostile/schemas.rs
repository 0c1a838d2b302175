//! Schemas from anybody: a registry, or whoever may register there, cannot bring the process down.

use kafka_serde::avro::Value;
use kafka_serde::protobuf::DynamicProtobuf;
use kafka_serde::{Avro, Deserializer, JsonSchema, Part, Protobuf, Registry, Schema, Source, Stop, Validation};
use tokio::runtime::Runtime;

use crate::answers::{Liar, runtime};
use crate::meter::Meter;
use crate::mutate::Dice;
use crate::rounds;

/// A registry that gives any text as the schema 1, and serdes that believe it.
struct Compilers {
    liar: Liar,
    runtime: Runtime,
}

impl Compilers {
    fn new() -> Self {
        Self { liar: Liar::start(), runtime: runtime() }
    }

    /// Lets every serde compile a schema, and read a payload with it; and our own registry look at it.
    fn compile(&self, schema: &Schema) {
        self.liar.gives(schema);
        let registry = self.liar.client();
        let payload = [0, 0, 0, 0, 1, 0, 2, 0, 4, 65, 66];
        self.ask(&Avro::<Value>::with_schema(&registry, schema.clone()), &payload);
        self.ask(&Avro::<Value>::with_schema(&registry, Schema::avro(AVRO)), &payload);
        self.ask(&DynamicProtobuf::new(&registry), &payload);
        self.ask(&Protobuf::<()>::with_schema(&registry, schema.clone(), "shop.Order"), &payload);
        let json = JsonSchema::<serde_json::Value>::with_schema(&registry, schema.clone());
        self.ask(&json.validation(Validation::Decode), b"\0\0\0\0\x01{\"id\":1,\"a\":[1],\"p\":\"aab\"}");
        let own = Registry::in_memory();
        let _ = self.runtime.block_on(own.register("s", schema));
        let _ = self.runtime.block_on(own.register("s", schema));
    }

    fn ask<D: Deserializer>(&self, serde: &D, bytes: &[u8]) {
        for _ in 0..3 {
            match serde.deserialize(Some(bytes), &Source::new("orders", Part::Value)) {
                Err(Stop::Miss(miss)) => match self.runtime.block_on(miss.resolve()) {
                    Ok(()) => (),
                    Err(_) => return,
                },
                Err(Stop::Error(error)) => {
                    let length = format!("{error} {error:?}").len();
                    return assert!(length < 32 * 1024, "{length} bytes of text");
                }
                Ok(_) => return,
            }
        }
    }
}

const AVRO: &str = r#"{"type":"record","name":"Order","namespace":"shop","aliases":["O"],"fields":[
    {"name":"id","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"n","type":["null","Order"],"default":null},
    {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}},{"name":"m","type":{"type":"map",
    "values":{"type":"array","items":{"type":"fixed","name":"F","size":3}}},"default":{"k":[]}},
    {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2},"default":"\u00ff"}]}"#;
const PROTO: &str = "syntax = \"proto3\"; package shop; import \"google/protobuf/timestamp.proto\";
    message Order { int64 id = 1; oneof x { string s = 2; Inner i = 3; } map<string, Inner> m = 4; enum E { A = 0; } E e = 5;
    message Inner { repeated int32 n = 1 [packed = true]; google.protobuf.Timestamp t = 2; } reserved 9, 10 to 12; }";
const JSON: &str = r##"{"$schema":"http://json-schema.org/draft-07/schema#","$id":"http://a/b.json","type":"object",
    "definitions":{"p":{"type":"string","pattern":"^a+$","format":"email"}},"properties":{"id":{"type":"integer","minimum":1},
    "p":{"$ref":"#/definitions/p"},"a":{"oneOf":[{"type":"array","items":{"$ref":"#"}},{"const":1},{"enum":[1,"x"]}]}},
    "patternProperties":{"^x-":{"not":{"type":"null"}}},"if":{"required":["id"]},"then":{"maxProperties":9}}"##;

#[test]
fn schemas_with_wounds_are_compiled_or_refused() {
    let (compilers, meter) = (Compilers::new(), Meter::take());
    let mut dice = Dice::new(0x5c4e);
    for schema in [Schema::avro(AVRO), Schema::protobuf(PROTO), Schema::json(JSON)] {
        let seeds = [schema.text.as_bytes().to_vec()];
        for _ in 0..rounds(60) {
            let text = String::from_utf8_lossy(&dice.payload(&seeds)).into_owned();
            let wounded = Schema::new(schema.schema_type, text.as_str());
            // Parsers take what they need; only a blow-up is of interest.
            let used = meter.bytes(64 << 20, || compilers.compile(&wounded));
            assert!(used <= 64 << 20, "{used} bytes for {text}");
        }
    }
}

#[test]
fn schemas_nested_without_end_are_refused_and_are_no_stack_overflow() {
    // In a thread with the stack of a runtime's worker.
    let run = || {
        let compilers = Compilers::new();
        let compile = |schema: &Schema| compilers.compile(schema);
        for depth in [100, 1_000, 100_000] {
            let avro = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(depth), "}".repeat(depth));
            compile(&Schema::avro(avro));
            let union = format!("{}\"int\"{}", "[".repeat(depth), "]".repeat(depth));
            compile(&Schema::avro(union));
            let json = format!("{}true{}", r#"{"not":"#.repeat(depth), "}".repeat(depth));
            compile(&Schema::json(json));
            let messages = format!("syntax = \"proto3\"; {}{}", "message M { ".repeat(depth), "}".repeat(depth));
            compile(&Schema::protobuf(messages));
            let options = format!("syntax = \"proto3\"; option (a) = {}{};", "{ a: ".repeat(depth), "}".repeat(depth));
            compile(&Schema::protobuf(options));
            let patterns =
                format!(r#"{{"properties":{{"id":{{"pattern":"{}a{}"}}}}}}"#, "(".repeat(depth), ")".repeat(depth));
            compile(&Schema::json(patterns));
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn schemas_that_go_in_circles_are_refused_or_end() {
    let run = || {
        let compilers = Compilers::new();
        let compile = |schema: &Schema| compilers.compile(schema);
        for text in [
            r##"{"$ref":"#"}"##,
            r##"{"allOf":[{"$ref":"#"}]}"##,
            r##"{"definitions":{"a":{"$ref":"#/definitions/b"},"b":{"$ref":"#/definitions/a"}},"$ref":"#/definitions/a"}"##,
            r##"{"anyOf":[{"$ref":"#/definitions/a"}],"definitions":{"a":{"not":{"$ref":"#"}}}}"##,
            r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","$dynamicRef":"#"}"##,
            r##"{"$ref":"elsewhere.json"}"##,
            r##"{"$ref":"file:///etc/passwd"}"##,
        ] {
            compile(&Schema::json(text));
        }
        for text in [
            r#"{"type":"record","name":"N","fields":[{"name":"n","type":"N"}]}"#,
            r#"{"type":"record","name":"A","fields":[{"name":"b","type":{"type":"record","name":"B","fields":[{"name":"a","type":"A"}]}}]}"#,
            r#"{"type":"array","items":{"type":"record","name":"N","fields":[{"name":"n","type":{"type":"array","items":"N"}}]}}"#,
        ] {
            compile(&Schema::avro(text));
        }
        for text in [
            "syntax = \"proto3\"; message A { A a = 1; }",
            "syntax = \"proto3\"; import \"__registered.proto\"; message A { }",
            "syntax = \"proto3\"; import \"schema.proto\"; message A { }",
        ] {
            compile(&Schema::protobuf(text));
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}
