//! A registered file: the tree of its messages, as each way of counting sees it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost_reflect::prost_types::{DescriptorProto, FileDescriptorProto, UninterpretedOption};
use protox::file::File as Parsed;

use super::index::Index;
use crate::{Error, ErrorKind};

/// The messages of a file.
#[derive(Debug)]
pub(crate) struct File {
    roots: Vec<Message>,
    /// Whether the registry has a text: there a `map<K, V>` counts for nothing.
    text: bool,
}

#[derive(Debug)]
struct Message {
    /// With package and outer messages.
    name: String,
    kind: Kind,
    nested: Vec<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It can be a payload.
    Message,
    /// Made by a `map<K, V>`: not in the text, and in the descriptor.
    Entry,
    /// `option map_entry = true` in the text: Confluent's registry prints descriptors so. It counts, and is no payload.
    WrittenEntry,
}

impl File {
    /// Reads a `.proto` text, or a base64 `FileDescriptorProto`.
    pub(crate) fn parse(schema: &str) -> Result<Self, Error> {
        let (descriptor, text) = descriptor(schema)?;
        let package = descriptor.package();
        let roots = descriptor.message_type.iter().map(|message| Message::of(message, package)).collect();
        Ok(Self { roots, text })
    }

    /// The index of a message, as Confluent's Java counts.
    pub(crate) fn index(&self, name: &str) -> Option<Index> {
        Index::new(&path(&self.roots, name, self.text)?)
    }

    /// The index of a message as those count who do it the other way; `None` where Java finds a message there.
    pub(crate) fn other_index(&self, name: &str) -> Option<Index> {
        let other = Index::new(&path(&self.roots, name, !self.text)?)?;
        self.at(&other, self.text).is_none().then_some(other)
    }

    /// The message that an index leads to.
    pub(crate) fn resolve(&self, index: &Index) -> Option<&str> {
        let found = self.at(index, self.text).or_else(|| self.at(index, !self.text))?;
        Some(&found.name)
    }

    fn at(&self, index: &Index, text: bool) -> Option<&Message> {
        let (first, rest) = index.path().split_first()?;
        let root = nth(&self.roots, *first, text)?;
        let found = rest.iter().try_fold(root, |message, place| nth(&message.nested, *place, text))?;
        (found.kind == Kind::Message).then_some(found)
    }
}

impl Message {
    // As deep as the parser allows.
    fn of(descriptor: &DescriptorProto, around: &str) -> Self {
        let name =
            if around.is_empty() { descriptor.name().to_owned() } else { format!("{around}.{}", descriptor.name()) };
        let options = descriptor.options.as_ref();
        let written = |option: &UninterpretedOption| {
            matches!(&*option.name, [part] if part.name_part == "map_entry" && !part.is_extension)
                && option.identifier_value() == "true"
        };
        let kind = match options {
            Some(options) if options.map_entry() => Kind::Entry,
            Some(options) if options.uninterpreted_option.iter().any(written) => Kind::WrittenEntry,
            _ => Kind::Message,
        };
        let nested = descriptor.nested_type.iter().map(|nested| Self::of(nested, &name)).collect();
        Self { name, kind, nested }
    }
}

/// The messages that count.
fn counted(messages: &[Message], text: bool) -> impl Iterator<Item = &Message> {
    messages.iter().filter(move |message| !text || message.kind != Kind::Entry)
}

fn nth(messages: &[Message], place: i32, text: bool) -> Option<&Message> {
    counted(messages, text).nth(usize::try_from(place).ok()?)
}

fn path(messages: &[Message], name: &str, text: bool) -> Option<Vec<i32>> {
    counted(messages, text).zip(0..).find_map(|(message, place)| {
        if message.name == name && message.kind == Kind::Message {
            return Some(vec![place]);
        }
        if !name.starts_with(message.name.as_str()) {
            return None;
        }
        let mut rest = path(&message.nested, name, text)?;
        rest.insert(0, place);
        Some(rest)
    })
}

/// The descriptor of a schema, and whether the schema is a text.
pub(crate) fn descriptor(schema: &str) -> Result<(FileDescriptorProto, bool), Error> {
    let invalid = |what: &str| Error::new(ErrorKind::InvalidSchema, what);
    // No `.proto` text is base64: it has a space or a semicolon at least.
    if let Ok(bytes) = STANDARD.decode(schema.trim())
        && !bytes.is_empty()
    {
        return match FileDescriptorProto::decode(&*bytes) {
            Ok(descriptor) => Ok((descriptor, false)),
            Err(error) => Err(invalid("the schema is base64, and no FileDescriptorProto").with_source(error)),
        };
    }
    let parsed = Parsed::from_source("schema.proto", schema)
        .map_err(|error| invalid(&format!("the schema is no .proto text: {error}")).with_source(error))?;
    Ok((parsed.file_descriptor_proto().clone(), true))
}
