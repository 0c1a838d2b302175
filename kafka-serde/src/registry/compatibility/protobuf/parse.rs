//! Reads `.proto` texts and base64 descriptors, with what they import.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::prost::Message;
use protox::prost_reflect::prost_types::FileDescriptorProto;

use crate::{RegisteredSchema, SchemaType};

/// What the file itself is called: nobody imports it.
pub(super) const ROOT: &str = "schema.proto";

/// The file and all that it imports, resolved: every type has its full name.
pub(super) fn files(schema: &RegisteredSchema) -> Result<Vec<FileDescriptorProto>, String> {
    let mut files = Files(BTreeMap::new());
    for (reference, used) in schema.dependencies() {
        let of = |why: String| format!("reference {}: {why}", reference.name);
        if used.schema.schema_type != SchemaType::Protobuf {
            return Err(of("it is not a Protobuf schema".to_owned()));
        }
        let file = file(&reference.name, &used.schema.text).map_err(of)?;
        files.0.insert(reference.name.clone(), file);
    }
    files.0.insert(ROOT.to_owned(), file(ROOT, &schema.schema.text)?);
    let mut resolver = ChainFileResolver::new();
    resolver.add(files);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(false);
    compiler.open_file(ROOT).map_err(|error| told(&error))?;
    Ok(compiler.file_descriptor_set().file)
}

/// A text, or what some clients register in place of one: a descriptor in base64.
fn file(name: &str, text: &str) -> Result<FileDescriptorProto, String> {
    let mut file = match STANDARD.decode(text.trim()) {
        // A text of letters alone is no .proto file.
        Ok(bytes) if !text.trim().is_empty() => {
            FileDescriptorProto::decode(&*bytes).map_err(|error| format!("not a file descriptor: {error}"))?
        }
        _ => File::from_source(name, text).map_err(|error| told(&error))?.file_descriptor_proto().clone(),
    };
    file.name = Some(name.to_owned());
    Ok(file)
}

fn told(error: &protox::Error) -> String {
    // The long form has the line, and draws it; the short one is a sentence.
    error.to_string()
}

struct Files(BTreeMap<String, FileDescriptorProto>);

impl FileResolver for Files {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().filter(|name| self.0.contains_key(*name)).map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let file = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        Ok(File::from_file_descriptor_proto(file.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Schema, SchemaReference};

    const ORDER: &str = r#"syntax = "proto3"; package shop;
        message Order { string id = 1; map<string, int32> lines = 2; }"#;

    fn registered(text: &str, references: Vec<(SchemaReference, Arc<RegisteredSchema>)>) -> RegisteredSchema {
        RegisteredSchema::new(Schema::protobuf(text), references)
    }

    #[test]
    fn a_text_and_its_descriptor_are_the_same_file() {
        let text = files(&registered(ORDER, vec![])).unwrap();
        let mut unresolved = File::from_source("x", ORDER).unwrap().file_descriptor_proto().clone();
        unresolved.source_code_info = None;
        let from =
            |file: &FileDescriptorProto| files(&registered(&STANDARD.encode(file.encode_to_vec()), vec![])).unwrap();
        assert_eq!(from(&text[0]), text);
        assert_eq!(from(&unresolved), text);
    }

    #[test]
    fn imports_are_found_among_the_references_and_the_well_known_types() {
        let order = Arc::new(registered(ORDER, vec![]));
        let uses = r#"syntax = "proto3"; import "order.proto"; import "google/protobuf/timestamp.proto";
            message Paid { shop.Order order = 1; google.protobuf.Timestamp at = 2; }"#;
        let reference = (SchemaReference::new("order.proto", "orders", 1), order);
        assert!(files(&registered(uses, vec![reference])).is_ok());
        let problem = files(&registered(uses, vec![])).unwrap_err();
        assert!(problem.contains("order.proto"), "{problem}");
    }

    #[test]
    fn what_is_no_protobuf_is_refused() {
        for text in ["", "abcd", "message {", "syntax = \"proto3\"; message A { B b = 1; }", "{}"] {
            assert!(text.is_empty() || files(&registered(text, vec![])).is_err(), "{text}");
        }
    }
}
