//! Protobuf: a file with all that it imports.

mod changes;
mod parse;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protox::prost_reflect::prost::Message;
use protox::prost_reflect::prost_types::{DescriptorProto, FileDescriptorProto};

use crate::RegisteredSchema;

pub(super) use changes::unreadable;

/// A file, and the messages and enums that it can name.
pub(crate) struct File {
    file: FileDescriptorProto,
    types: BTreeMap<String, Type>,
}

/// A message or an enum by its full name, `.shop.Order.Line`.
struct Type {
    /// With the dots around it: `.shop.`.
    package: String,
    /// None of an enum.
    message: Option<DescriptorProto>,
}

impl File {
    /// Its descriptor, in which every type has its full name, in base64.
    pub(super) fn serialized(&self) -> String {
        STANDARD.encode(self.file.encode_to_vec())
    }

    /// Understands a schema after all that it imports.
    pub(super) fn parse(schema: &RegisteredSchema) -> Result<Self, String> {
        let files = parse::files(schema)?;
        let mut types = BTreeMap::new();
        for file in &files {
            let package = match file.package() {
                "" => ".".to_owned(),
                package => format!(".{package}."),
            };
            collect(&package, &package, &file.message_type, &mut types);
            for named in &file.enum_type {
                types.insert(format!("{package}{}", named.name()), Type { package: package.clone(), message: None });
            }
        }
        let file = files.into_iter().find(|file| file.name() == parse::ROOT);
        Ok(Self { file: file.ok_or("the file is not among those that were read")?, types })
    }

    /// What the descriptor says, without places in the text.
    pub(super) fn normal_form(&self) -> String {
        let mut file = self.file.clone();
        file.source_code_info = None;
        file.dependency.sort_unstable();
        file.message_type.iter_mut().for_each(order);
        file.message_type.sort_by(|a, b| a.name().cmp(b.name()));
        file.enum_type.sort_by(|a, b| a.name().cmp(b.name()));
        format!("{file:?}")
    }
}

/// Fields by number, and the rest by name.
fn order(message: &mut DescriptorProto) {
    message.field.sort_by_key(|field| field.number());
    message.nested_type.iter_mut().for_each(order);
    message.nested_type.sort_by(|a, b| a.name().cmp(b.name()));
    message.enum_type.sort_by(|a, b| a.name().cmp(b.name()));
}

fn collect(package: &str, scope: &str, messages: &[DescriptorProto], types: &mut BTreeMap<String, Type>) {
    for message in messages {
        let name = format!("{scope}{}", message.name());
        collect(package, &format!("{name}."), &message.nested_type, types);
        for named in &message.enum_type {
            let name = format!("{name}.{}", named.name());
            types.insert(name, Type { package: package.to_owned(), message: None });
        }
        types.insert(name, Type { package: package.to_owned(), message: Some(message.clone()) });
    }
}
